"""What is behind the people: walls, streets, halls, foliage, distant crowds, lights out of focus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from maskbench.data.sample.paint import Colour, ellipse, ints, mix, scaled
from maskbench.data.sample.params import SampleParams
from maskbench.data.sample.traits import CAMOUFLAGE_COLOURS, CLOTHING_COLOURS

_OVERSAMPLE = 2
_WALLS: tuple[Colour, ...] = (
    (206, 200, 190),
    (182, 190, 196),
    (160, 168, 160),
    (196, 176, 152),
    (140, 146, 158),
    (214, 208, 204),
    (122, 112, 104),
    (168, 190, 204),
)
_SKIES: tuple[Colour, ...] = ((168, 200, 228), (204, 212, 218), (226, 206, 186), (148, 160, 176))


def _colour(rng: np.random.Generator, palette: tuple[Colour, ...]) -> Colour:
    return scaled(palette[int(rng.integers(len(palette)))], float(rng.uniform(0.85, 1.1)))


def _gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    share = np.linspace(0, 1, size[1], dtype=np.float32)[:, None, None]
    rows = np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share
    return Image.fromarray(np.clip(np.broadcast_to(rows, (size[1], size[0], 3)), 0, 255).astype(np.uint8))


def _box(draw: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
    draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), fill=ints(colour))


def _blob(draw: ImageDraw.ImageDraw, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
    draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=ints(colour))


def _texture(rng: np.random.Generator, size: tuple[int, int], scales: tuple[float, ...]) -> NDArray[np.float32]:
    """Smooth noise of several scales (in px), zero mean, sd about 1, (h, w)."""
    width, height = size
    total = np.zeros((height, width), np.float32)
    for scale in scales:
        grid = rng.standard_normal((int(height / scale) + 3, int(width / scale) + 3)).astype(np.float32)
        picture = Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)
        total += np.asarray(picture, dtype=np.float32)
    return np.asarray(total / max(float(total.std()), 1e-6), dtype=np.float32)


def _plain(rng: np.random.Generator, size: tuple[int, int], camouflage: float, floor: float) -> Image.Image:
    wall = _colour(rng, CAMOUFLAGE_COLOURS if rng.random() < camouflage else _WALLS)
    picture = _gradient(size, scaled(wall, 1.06), scaled(wall, 0.8))
    if floor < 0.85:
        ground = scaled(wall, float(rng.uniform(0.6, 0.9)))
        _box(ImageDraw.Draw(picture), 0, floor * size[1], size[0], size[1], ground)
    light = _texture(rng, size, (size[0] / 2,))
    lit = np.asarray(picture, np.float32) * (1 + 0.07 * light[..., None])
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _wall(rng: np.random.Generator, size: tuple[int, int], camouflage: float, floor: float) -> Image.Image:
    picture = _plain(rng, size, camouflage, floor)
    draw = ImageDraw.Draw(picture)
    width, height = size
    if rng.random() < 0.5:  # bricks
        brick: Colour = (158, 96, 74) if rng.random() < 0.6 else (186, 182, 174)
        _box(draw, 0, 0, width, height, scaled(brick, 1.18))
        h = height / rng.uniform(14, 26)
        for row in range(int(height / h) + 1):
            for column in range(-1, int(width / (2.4 * h)) + 1):
                x = (column + 0.5 * (row % 2)) * 2.4 * h
                tint = scaled(brick, float(rng.uniform(0.84, 1.06)))
                _box(draw, x, row * h, x + 2.4 * h - 3, row * h + h - 3, tint)
        if floor < 0.85:
            pavement = _colour(rng, ((150, 146, 140), (120, 120, 124), (172, 164, 152)))
            _box(draw, 0, floor * height, width, height, pavement)
            _box(draw, 0, floor * height, width, floor * height + 6, scaled(pavement, 0.7))
    else:  # a room: skirting, door or posters
        base = height * floor
        _box(draw, 0, base, width, height, _colour(rng, ((112, 92, 76), (128, 128, 130), (94, 90, 92))))
        _box(draw, 0, base - 8, width, base, (226, 222, 216))
        for _ in range(int(rng.integers(1, 5))):
            x, y = rng.uniform(0, width * 0.9), rng.uniform(0, height * 0.5)
            w, h2 = rng.uniform(0.08, 0.24) * width, rng.uniform(0.14, 0.4) * height
            frame = _colour(rng, CLOTHING_COLOURS)
            _box(draw, x, y, x + w, y + h2, scaled(frame, 0.6))
            inner = _colour(rng, CAMOUFLAGE_COLOURS if rng.random() < camouflage else _SKIES)
            _box(draw, x + 6, y + 6, x + w - 6, y + h2 - 6, inner)
            _box(draw, x + 6, y + h2 * rng.uniform(0.4, 0.8), x + w - 6, y + h2 - 6, scaled(inner, 0.75))
    return picture


def _street(rng: np.random.Generator, size: tuple[int, int], camouflage: float, floor: float) -> Image.Image:
    width, height = size
    sky = _colour(rng, _SKIES)
    picture = _gradient(size, sky, mix(sky, (255, 250, 240), 0.5))
    draw = ImageDraw.Draw(picture)
    horizon = height * floor
    x = -0.05 * width
    while x < width:
        w, top = rng.uniform(0.14, 0.34) * width, horizon * rng.uniform(-0.1, 0.55)
        facade = _colour(rng, _WALLS)
        _box(draw, x, top, x + w, horizon, facade)
        step_x, step_y = w / int(rng.integers(3, 6)), (horizon - top) / int(rng.integers(4, 8))
        glass = _colour(rng, ((74, 92, 110), (58, 62, 72), (156, 182, 200)))
        for row in np.arange(top + 0.3 * step_y, horizon - 0.8 * step_y, step_y):
            for column in np.arange(x + 0.22 * step_x, x + w - 0.5 * step_x, step_x):
                tint = scaled(glass, float(rng.uniform(0.8, 1.4)))
                _box(draw, column, row, column + 0.56 * step_x, row + 0.6 * step_y, tint)
        if rng.random() < 0.6:  # shop front and sign
            sign = _colour(rng, CAMOUFLAGE_COLOURS if rng.random() < camouflage else CLOTHING_COLOURS)
            _box(draw, x, horizon - 0.2 * (horizon - top), x + w, horizon - 0.12 * (horizon - top), sign)
        x += w
    road = _colour(rng, ((122, 120, 120), (146, 142, 136), (96, 98, 104)))
    _box(draw, 0, horizon, width, height, road)
    _box(draw, 0, horizon, width, horizon + 0.03 * height, scaled(road, 1.2))
    for _ in range(int(rng.integers(2, 6))):
        y, x0 = rng.uniform(horizon, height), rng.uniform(0, width)
        _box(draw, x0, y, x0 + rng.uniform(0.1, 0.5) * width, y + 4, scaled(road, 1.18))
    for _ in range(int(rng.integers(0, 4))):  # parked cars, poles
        x0, w = rng.uniform(0, width), rng.uniform(0.12, 0.25) * width
        paint = _colour(rng, CLOTHING_COLOURS)
        draw.rounded_rectangle((x0, horizon - 0.14 * w, x0 + w, horizon + 0.2 * w), radius=0.08 * w, fill=ints(paint))
        draw.rounded_rectangle(
            (x0 + 0.2 * w, horizon - 0.32 * w, x0 + 0.8 * w, horizon), radius=0.1 * w, fill=ints(scaled(paint, 0.6))
        )
    for _ in range(int(rng.integers(0, 3))):
        x0 = rng.uniform(0, width)
        _box(draw, x0, 0, x0 + 0.012 * width, horizon * 1.05, (70, 72, 74))
    return picture


def _hall(rng: np.random.Generator, size: tuple[int, int], camouflage: float, floor: float) -> Image.Image:
    width, height = size
    wall = _colour(rng, _WALLS)
    picture = _gradient(size, scaled(wall, 0.74), scaled(wall, 1.02))
    draw = ImageDraw.Draw(picture)
    deep = min(0.98, floor + 0.08)
    vanish = (width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.45))
    tiles = _colour(rng, ((178, 172, 164), (140, 144, 150), (188, 180, 168)))
    draw.polygon(
        [
            (0, height),
            (0, height * deep),
            (0.3 * width, height * floor),
            (0.75 * width, height * floor),
            (width, height * deep),
            (width, height),
        ],
        fill=ints(tiles),
    )
    for share in np.linspace(-0.6, 1.6, 9):  # ceiling lights run to the vanishing point
        end = (vanish[0] + 0.25 * (share * width - vanish[0]), vanish[1] - 0.2 * height)
        draw.line([(share * width, -20), end], fill=(244, 246, 240), width=int(rng.integers(3, 9)))
    for _ in range(int(rng.integers(2, 6))):  # columns, windows, signs
        x, w = rng.uniform(0, width), rng.uniform(0.04, 0.1) * width
        _box(draw, x, 0, x + w, height * (floor + 0.02), scaled(wall, float(rng.uniform(0.7, 1.2))))
        _box(draw, x + 0.75 * w, 0, x + w, height * (floor + 0.02), scaled(wall, 0.62))
    for _ in range(int(rng.integers(1, 5))):
        x, y, w = rng.uniform(0, width), rng.uniform(0.05, 0.4) * height, rng.uniform(0.08, 0.22) * width
        board = _colour(rng, CAMOUFLAGE_COLOURS if rng.random() < max(camouflage, 0.3) else CLOTHING_COLOURS)
        _box(draw, x, y, x + w, y + 0.3 * w, board)
        for row in (0.25, 0.55):
            _box(
                draw,
                x + 0.1 * w,
                y + row * 0.3 * w,
                x + w * rng.uniform(0.4, 0.9),
                y + (row + 0.14) * 0.3 * w,
                (240, 238, 226),
            )
    return picture


def _foliage(rng: np.random.Generator, size: tuple[int, int], camouflage: float, floor: float) -> Image.Image:
    width, height = size
    green = _colour(rng, ((74, 104, 58), (96, 120, 62), (58, 86, 64), (132, 122, 66)))
    noise = _texture(rng, size, (5, 11, 30, 80))
    light = _texture(rng, size, (60,))
    base = np.array(green, np.float32) * (1 + 0.3 * noise[..., None] + 0.14 * light[..., None])
    base += np.array([26, 28, 4], np.float32) * np.clip(noise, 0.6, 3)[..., None]
    picture = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    if floor < 0.85:
        ground = height * floor
        grass = np.asarray(picture.crop((0, int(ground), width, height)), np.float32)
        tint = np.array(_colour(rng, ((150, 168, 96), (172, 156, 124))), np.float32)
        picture.paste(Image.fromarray(np.clip(0.35 * grass + 0.65 * tint, 0, 255).astype(np.uint8)), (0, int(ground)))
    for _ in range(int(rng.integers(0, 4))):
        x = rng.uniform(0, width)
        _box(
            draw,
            x,
            0,
            x + width * rng.uniform(0.015, 0.05),
            height * (floor + 0.03),
            scaled((92, 74, 58), float(rng.uniform(0.6, 1.1))),
        )
    for _ in range(int(rng.integers(0, 30))):  # sky through the leaves
        x, y, r = rng.uniform(0, width), rng.uniform(0, 0.4 * height), rng.uniform(2, 9)
        _blob(draw, x, y, r, r, (214, 224, 230))
    return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))


def _crowd(rng: np.random.Generator, size: tuple[int, int], camouflage: float, floor: float) -> Image.Image:
    """Coats, bags and boards of a distant crowd, seen from behind: clutter without any face."""
    width, height = size
    picture = _hall(rng, size, camouflage, floor) if rng.random() < 0.5 else _street(rng, size, camouflage, floor)
    draw = ImageDraw.Draw(picture)
    for row in range(3):
        scale = height * (0.05 + 0.025 * row)
        for _ in range(int(width / scale / 1.6)):
            x, y = rng.uniform(0, width), height * (floor - 0.16 + 0.07 * row) + rng.normal(0, 0.3 * scale)
            coat = _colour(rng, CAMOUFLAGE_COLOURS if rng.random() < camouflage else CLOTHING_COLOURS)
            hair = scaled((44, 36, 32), float(rng.uniform(0.6, 2.2)))
            draw.rounded_rectangle((x - scale, y, x + scale, y + 5 * scale), radius=0.6 * scale, fill=ints(coat))
            _blob(draw, x, y - 0.55 * scale, 0.55 * scale, 0.7 * scale, hair)  # the back of a head
    return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(3.5, 7))))


def _lights(rng: np.random.Generator, size: tuple[int, int], camouflage: float, floor: float) -> Image.Image:
    width, height = size
    dark = _colour(rng, ((46, 48, 62), (70, 60, 56), (36, 54, 62)))
    picture = _gradient(size, dark, scaled(dark, 1.7))
    for _ in range(int(rng.integers(14, 40))):
        disc = Image.new("L", size)
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.015, 0.07) * width
        low = (max(0, int(x - r)), max(0, int(y - r)))
        high = (min(width, int(x + r) + 1), min(height, int(y + r) + 1))
        if high[0] <= low[0] or high[1] <= low[1]:
            continue
        disc = Image.new("L", (high[0] - low[0], high[1] - low[1]))
        points = [(float(a), float(b)) for a, b in ellipse(x - low[0], y - low[1], r, r)]
        ImageDraw.Draw(disc).polygon(points, fill=int(rng.integers(40, 150)))
        tint = _colour(rng, ((250, 214, 150), (236, 240, 246), (150, 198, 228), (226, 120, 100), (142, 208, 188)))
        picture.paste(ints(tint), (*low, *high), disc)
    return picture


_KINDS: dict[str, tuple[float, Callable[[np.random.Generator, tuple[int, int], float, float], Image.Image]]] = {
    "plain": (0.12, _plain),
    "wall": (0.18, _wall),
    "street": (0.22, _street),
    "hall": (0.2, _hall),
    "foliage": (0.12, _foliage),
    "crowd": (0.1, _crowd),
    "lights": (0.06, _lights),
}


def draw_backdrop(
    rng: np.random.Generator, size: tuple[int, int], params: SampleParams, depth: float, floor: float
) -> tuple[str, Image.Image]:
    """A background of `size` px.

    Args:
        rng: the photograph's generator; it advances.
        size: width and height in px.
        params: for the share of mask-coloured things.
        depth: 0 … 1, how far out of focus it is (1 when a large face fills the picture).
        floor: where the ground begins, as a share of the height: just above the farthest person's feet.

    Returns:
        Its kind and the picture, RGB.
    """
    names = tuple(_KINDS)
    weights = np.array([_KINDS[name][0] for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    large = (size[0] * _OVERSAMPLE, size[1] * _OVERSAMPLE)
    picture = _KINDS[name][1](rng, large, params.camouflage_rate, floor).reduce(_OVERSAMPLE)
    sd = float(rng.uniform(0.3, 1.0)) + depth * float(rng.uniform(0.5, 5.0))
    picture = picture.filter(ImageFilter.GaussianBlur(sd))
    grain = ndimage.gaussian_filter(rng.standard_normal((size[1], size[0])).astype(np.float32), 1.0)
    lit = np.asarray(picture, np.float32) * (1 + 0.05 * grain[..., None])
    return name, Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
