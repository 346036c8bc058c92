"""One photograph: who stands where, who hides whom, and the truth about every face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from maskbench.data.sample import body, hair, head
from maskbench.data.sample import mask as masks
from maskbench.data.sample.backdrop import draw_backdrop
from maskbench.data.sample.camera import Shot, draw_shot, expose, to_file_pixels
from maskbench.data.sample.outline import clip_polygon, trace_outline
from maskbench.data.sample.paint import FloatArray, Layer, Placement
from maskbench.data.sample.params import SampleParams
from maskbench.data.sample.plan import PhotoPlan
from maskbench.data.sample.traits import Person, draw_person

_ATTEMPTS = 70
_HEAD_WINDOW = (-2.6, -2.5, 2.6, 4.4)  # units around a head: hat to scarf and sleeve
_BODY_WINDOW = (-2.7, -2.2, 2.7, body.FEET + 0.4)


@dataclass(frozen=True)
class Face:
    """The truth about one drawn face; `box` and `mask_polygon` in px of the photograph."""

    box: tuple[int, int, int, int]
    mask_polygon: list[list[float]]
    truncated: bool
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Photo:
    """One finished photograph; `pixels` as they go into the file."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    faces: list[Face]


def compose(params: SampleParams, plan: PhotoPlan) -> Photo:
    """Draw one photograph: the same for the same parameters and plan, wherever it is drawn."""
    rng = np.random.default_rng(np.random.SeedSequence([params.seed, plan.index]))
    shot = draw_shot(rng, params)
    wanted = [draw_person(rng, params, label, side) for label, side in zip(plan.labels, plan.sides, strict=True)]
    people, places = _place(rng, wanted, plan.size, params)
    largest = max(person.side for person in people) / min(plan.size)
    feet = min(place.y + body.FEET * place.unit for place in places) - 2
    floor = float(np.clip(feet / plan.size[1], 0.34, 0.86))
    backdrop, picture = draw_backdrop(rng, plan.size, params, min(1.0, 2.2 * largest), floor)
    order = sorted(range(len(people)), key=lambda k: (people[k].side, -k))  # the nearest, largest one last; as placed
    owner = np.full((plan.size[1], plan.size[0]), -1, np.int32)
    for k in order:
        _paint_person(picture, owner, k, people[k], places[k], shot)
    pixels = expose(picture, shot, rng)
    deep = to_file_pixels(pixels, plan.png, plan.transparent, params.low_order_bits, rng)
    faces = [
        _truth(k, person, place, owner, plan, shot, backdrop)
        for k, (person, place) in enumerate(zip(people, places, strict=True))
    ]
    return Photo(pixels=deep, faces=faces)


def _place(
    rng: np.random.Generator, people: list[Person], size: tuple[int, int], params: SampleParams
) -> tuple[list[Person], list[Placement]]:
    """Find room for everyone, the largest first; a person without room steps back and gets smaller."""
    width, height = size
    n = len(people)
    order = sorted(range(n), key=lambda k: (-people[k].side, k))
    # perspective: at eye level all faces lie on the horizon; a raised camera sees near faces lower down
    horizon = float(rng.uniform(0.26, 0.45)) if n <= 4 else float(rng.uniform(0.16, 0.34))
    raised = float(rng.uniform(-0.6, 1.2)) if n <= 4 else float(rng.uniform(1.0, 3.0)) + 0.12 * min(n, 40)
    final = list(people)
    places: list[Placement | None] = [None] * n
    taken: list[tuple[float, float, float]] = []  # x, y, unit of those in front
    for k in order:
        person = people[k]
        side = min(person.side, 0.78 * height, 0.78 * width)
        may_be_cut = rng.random() < params.truncated_rate
        tolerance = params.crowding * float(rng.random()) ** 3
        best: tuple[float, float, float, float] | None = None
        while True:
            unit = side / 2.12
            for attempt in range(_ATTEMPTS):
                margin = 0.2 * unit if may_be_cut else 1.15 * unit
                x = float(rng.uniform(margin, width - margin))
                tall = float(rng.normal(0, 0.5)) * unit  # people differ in height
                drift = attempt / _ATTEMPTS * height * (0.12 if n <= 8 else 0.35)  # looser when it gets crowded
                y = horizon * height + raised * unit + tall + float(rng.normal(0, 1)) * drift
                if n <= 2:
                    x = 0.5 * x + 0.25 * width
                y = float(np.clip(y, 0.95 * unit if not may_be_cut else 0.4 * unit, height - 1.35 * unit))
                hidden = _hidden_share(x, y, unit, taken)
                if best is None or hidden < best[0]:
                    best = (hidden, x, y, unit)
                if hidden <= tolerance:
                    break
            if best is not None and (best[0] <= params.crowding or side < 0.45 * person.side or side < 7):
                break
            side *= 0.9
        while best[0] > params.crowding and side >= 7:  # chance found no gap: look everywhere, ever smaller
            best = min(best, _freest_place(side / 2.12, size, taken))
            side *= 0.75
        _, x, y, unit = best
        final[k] = person if unit * 2.12 == person.side else _resized(person, unit * 2.12)
        places[k] = Placement(x, y, unit, person.roll, 1.15)
        taken.append((x, y, unit))
    return final, [place for place in places if place is not None]


def _freest_place(
    unit: float, size: tuple[int, int], taken: list[tuple[float, float, float]]
) -> tuple[float, float, float, float]:
    """The least hidden place on a grid: hidden share, x, y, unit."""
    xs = np.linspace(1.1 * unit, size[0] - 1.1 * unit, 24).tolist()
    ys = np.linspace(unit, 0.8 * size[1], 16).tolist()
    return min((_hidden_share(x, y, unit, taken), x, y, unit) for x in xs for y in ys)


def _resized(person: Person, side: float) -> Person:
    return Person(**{**person.__dict__, "side": side})


_PROBES = np.stack(np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-0.9, 1.3, 8)), -1).reshape(-1, 2)


def _hidden_share(x: float, y: float, unit: float, taken: list[tuple[float, float, float]]) -> float:
    """Share of a face at (x, y) behind the heads and trunks of those in front, roughly."""
    if not taken:
        return 0.0
    front = np.array(taken)
    probe = _PROBES * unit + (x, y)
    dx = (probe[:, None, 0] - front[None, :, 0]) / front[None, :, 2]
    dy = (probe[:, None, 1] - front[None, :, 1]) / front[None, :, 2]
    in_head = (dx / 1.35) ** 2 + ((dy + 0.15) / 1.75) ** 2 < 1
    in_trunk = (np.abs(dx) < body.SHOULDER_HALF) & (dy > body.SHOULDER_TOP) & (dy < body.FEET)
    in_neck = (np.abs(dx) < 1.45) & (dy > 0.9) & (dy < 2.0)
    hidden = float((in_head | in_neck | in_trunk).any(1).mean())
    # two equally large faces side by side hide nothing, yet their boxes must not merge
    distance = np.hypot((x - front[:, 0]) / (unit + front[:, 2]), (y - front[:, 1]) / (1.1 * (unit + front[:, 2])))
    return max(hidden, float(np.clip(1.0 - distance.min(), 0, 1)))


def _layer(
    person: Person, placement: Placement, window: tuple[float, float, float, float], size: tuple[int, int], finer: int
) -> Layer | None:
    """A layer over the visible part of `window` (in units), painted larger the smaller the face is."""
    low_x, low_y, high_x, high_y = window
    corners = placement.to_image([(low_x, low_y), (high_x, low_y), (high_x, high_y), (low_x, high_y)])
    low = np.clip(np.floor(corners.min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, size).astype(int)
    if (high <= low).any():
        return None
    oversample = 4 if person.side < 16 else 3 if person.side < 80 else 2
    return Layer(placement, (int(low[0]), int(low[1]), int(high[0]), int(high[1])), max(2, oversample - finer))


def _paint_person(
    picture: Image.Image, owner: NDArray[np.int32], k: int, person: Person, place: Placement, shot: Shot
) -> None:
    """Paint one person over `picture` and note in `owner` whose pixels they are (both are changed)."""
    upright = Placement(place.x, place.y, place.unit)
    trunk = _layer(person, upright, _BODY_WINDOW, picture.size, 1)
    if trunk is not None:
        hair.paint_back_hair(trunk, person)
        body.paint_body(trunk, person)
        x, y = trunk.units()
        trunk.light(_body_light(x, y, shot) * np.float32(person.light))
        _blend(picture, owner, k, trunk, person)
    top = _layer(person, place, _HEAD_WINDOW, picture.size, 0)
    if top is not None:
        head.paint_face(top, person, shot.light_x)
        hair.paint_hair(top, person)
        masks.paint_mask(top, person, shot.light_x)
        hair.paint_glasses(top, person)
        body.paint_occluder(top, person)
        x, y = top.units()
        top.light(_head_light(x, y, shot) * np.float32(person.light))
        _blend(picture, owner, k, top, person)


def _blend(picture: Image.Image, owner: NDArray[np.int32], k: int, layer: Layer, person: Person) -> None:
    flat = layer.flatten()
    sd = person.blur_share * person.side
    if sd > 0.2:
        flat = flat.convert("RGBa").filter(ImageFilter.GaussianBlur(sd)).convert("RGBA")
    x0, y0, x1, y1 = layer.window
    picture.paste(flat, (x0, y0, x1, y1), flat)
    alpha = np.asarray(flat.getchannel("A"))
    owner[y0:y1, x0:x1][alpha > 127] = k


def _head_light(x: NDArray[np.float32], y: NDArray[np.float32], shot: Shot) -> NDArray[np.float32]:
    """Lambert's law on the ellipsoid a head is, softened below it, (h, w)."""
    nx = np.clip(x / 1.3, -1, 1)
    ny = np.clip((y + 0.1) / 1.9, -1, 1)
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0.05, 1))
    angle = np.deg2rad(shot.light_degrees)
    lx, ly, lz = 0.75 * np.cos(angle), -0.55 * np.sin(angle), 0.65
    length = float(np.sqrt(lx * lx + ly * ly + lz * lz))
    lambert = np.clip((nx * lx + ny * ly + nz * lz) / length, 0, 1)
    strength = 0.35 + 0.5 * shot.harshness
    return np.asarray(1.05 - strength + strength * 1.25 * lambert, dtype=np.float32)


def _body_light(x: NDArray[np.float32], y: NDArray[np.float32], shot: Shot) -> NDArray[np.float32]:
    """Light on a trunk: a cylinder, darker downwards, (h, w)."""
    nx = np.clip(x / 2.6, -1, 1)
    nz = np.sqrt(1 - np.minimum(nx * nx, 0.96))
    strength = 0.3 + 0.45 * shot.harshness
    lambert = np.clip(0.65 * shot.light_x * nx + 0.76 * nz, 0, 1)
    fall = 1 - 0.02 * np.clip(y - 2, 0, 12)
    return np.asarray((1.05 - strength + strength * 1.2 * lambert) * fall, dtype=np.float32)


def _raster(polygons: list[FloatArray], window: tuple[int, int, int, int], scale: int) -> NDArray[np.bool_]:
    """Which cells of `window` (at `scale` cells per px) lie in any of the polygons (in image px)."""
    cells = Image.new("1", ((window[2] - window[0]) * scale, (window[3] - window[1]) * scale))
    draw = ImageDraw.Draw(cells)
    for polygon in polygons:
        local = (polygon - window[:2]) * scale - 0.5
        draw.polygon([(float(x), float(y)) for x, y in local], fill=1)
    return np.asarray(cells, dtype=bool)


def _truth(
    k: int, person: Person, place: Placement, owner: NDArray[np.int32], plan: PhotoPlan, shot: Shot, backdrop: str
) -> Face:
    width, height = plan.size
    face = place.to_image(head.Geometry.of(person).face_region())
    cloth_units = masks.mask_polygon(person)
    cloth = None if cloth_units is None else place.to_image(cloth_units)
    extent = face if cloth is None else np.concatenate([face, cloth])
    low, high = np.floor(extent.min(0) + 0.25), np.ceil(extent.max(0) - 0.25)
    xmin, ymin = (int(v) for v in np.clip(low, 0, (width - 2, height - 2)))
    xmax, ymax = (int(v) for v in np.clip(high, (xmin + 2, ymin + 2), (width, height)))
    truncated = bool((low < 0).any() or high[0] > width or high[1] > height)

    # what can be seen of face and mask, on a grid fine enough for an 8 px face
    scale = max(1, min(8, round(64 / person.side)))
    window = (xmin, ymin, xmax, ymax)
    others = owner[ymin:ymax, xmin:xmax] != k
    by_others = np.repeat(np.repeat(others, scale, 0), scale, 1)
    held = [place.to_image(polygon) for polygon in body.occluder_polygons(person)]
    by_own = _raster(held, window, scale) if held else np.zeros_like(by_others)
    region = _raster([face] if cloth is None else [face, cloth], window, scale)
    whole = max(int(region.sum()), 1)
    share_others = float((region & by_others).sum() / whole)
    share_own = float((region & by_own & ~by_others).sum() / whole)
    kind = "none"
    if share_others + share_own > 0.02:
        kind = "person" if share_others >= share_own else person.occluder

    polygon: list[list[float]] = []
    visible_share = 0.0
    if cloth is not None:
        cells = _raster([cloth], window, scale)
        seen = cells & ~by_others & ~by_own
        visible_share = float(seen.sum() / max(int(cells.sum()), 1))
        inside = clip_polygon(cloth, (0.0, 0.0, float(width), float(height)))
        if visible_share < 0.97:
            labels, count = ndimage.label(seen)
            if count:
                areas = np.bincount(labels.ravel())[1:]
                inside = trace_outline(labels == int(np.argmax(areas)) + 1) / scale + (xmin, ymin)
            else:
                inside = np.zeros((0, 2))
        polygon = [[round(float(x), 2), round(float(y), 2)] for x, y in inside]

    mask = person.mask
    blur = float(np.hypot(shot.blur_px, person.blur_share * person.side))
    attributes: dict[str, Any] = {
        "label": person.label,
        "side_px": round(person.side, 3),
        "box_width": xmax - xmin,
        "box_height": ymax - ymin,
        "centre_x": round(place.x, 2),
        "centre_y": round(place.y, 2),
        "blur_sigma_px": round(blur, 3),
        "noise_sd": round(shot.noise, 3),
        "jpeg_quality": shot.jpeg_quality,
        "occlusion_fraction": round(min(1.0, share_others + share_own), 4),
        "occlusion_kind": kind,
        "truncated": int(truncated),
        "yaw_degrees": round(float(np.rad2deg(person.yaw)), 2),
        "pitch_degrees": round(float(np.rad2deg(person.pitch)), 2),
        "roll_degrees": round(float(np.rad2deg(person.roll)), 2),
        "light": round(shot.brightness * person.light, 4),
        "light_degrees": round(shot.light_degrees, 2),
        "light_harshness": round(shot.harshness, 4),
        "contrast": round(shot.contrast, 4),
        "skin_tone": person.skin_name,
        "hair_style": person.hair_style,
        "hair_colour": person.hair_name,
        "hat": person.hat,
        "glasses": person.glasses,
        "beard": person.beard,
        "mouth_open": person.mouth,
        "clothing": person.clothing,
        "held": person.occluder,
        "mask_kind": "none" if mask is None else mask.kind,
        "mask_colour": "none" if mask is None else mask.colour_name,
        "mask_style": "none" if mask is None else mask.style,
        "mask_visible_fraction": round(visible_share, 4),
        "background": backdrop,
        "faces_in_image": len(plan.labels),
    }
    return Face(box=(xmin, ymin, xmax, ymax), mask_polygon=polygon, truncated=truncated, attributes=attributes)
