"""Interventions on faces: the same face shrunk, blurred, darkened, …, or cut from another box.

Each change acts on the face at the resolution of its photograph, before it is resized for a model, as the
cause it stands for would. A new one is one entry in `INTERVENTIONS`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from maskbench.data.boxes import BOX_COLUMNS, square_around
from maskbench.data.crops import CANVAS_FACTOR, Bytes, FaceCrops, context_regions, photograph_bounds
from maskbench.data.faces import canvas_size, resize_region, shown_squares
from maskbench.seeding import derive_seed

Floats = NDArray[np.float64]

#: That draw at most: what each does between calls that leave the interpreter's lock grows with their number.
_THREADS = 8
#: Beyond this many standard deviations a Gaussian blur brings in less than 0.3 % of a pixel.
_BLUR_REACH = 3.0


@dataclass(frozen=True, eq=False)
class NativeFace:
    """A face with its surroundings at the photograph's resolution.

    Attributes:
        pixels: uint8 (H, W, 3), a part of the photograph.
        origin: int64 (2,), x and y of the corner of `pixels`, px.
        box: float64 (4,) `xmin ymin xmax ymax`, px, in the coordinates of `origin`.
        margin: context that the model is shown, on each side, as a share of the box's longer side.
    """

    pixels: Bytes
    origin: NDArray[np.int64]
    box: Floats
    margin: float

    @property
    def side(self) -> float:
        """The box's longer side, px."""
        return float((self.box[2:] - self.box[:2]).max())

    def trimmed(self, extra: float = 0.0) -> NativeFace:
        """Cut to what a canvas shows, with `extra` context as a share of the box's longer side."""
        height, width = self.pixels.shape[:2]
        bounds = (np.tile(self.origin, 2) + np.array([0, 0, width, height])).astype(float)
        region = context_regions(self.box[None], self.margin + extra, bounds[None])[0]
        x0, y0, x1, y1 = region - np.tile(self.origin, 2)
        return replace(self, pixels=self.pixels[y0:y1, x0:x1], origin=region[:2])

    def canvas(self, input_size: int) -> Bytes:
        """The face as `make_canvases` shows it: uint8 (C, C, 3), byte for byte."""
        part = self.trimmed()
        square = shown_squares(part.box[None], part.margin, input_size)[0] - np.tile(part.origin, 2)
        return resize_region(part.pixels, square, canvas_size(input_size))


#: From a face, a level and a source of random numbers to the changed face; the same object when the level
#: changes nothing. The source is the same for all levels of a face.
Change = Callable[[NativeFace, float, np.random.Generator], NativeFace]


def _margin_alone(margin: float, level: float) -> float:
    return margin


@dataclass(frozen=True)
class Intervention:
    """One way of changing a face, at several levels.

    Attributes:
        name: identifier, in tables.
        label: what is done, for figures.
        unit: of the levels; may be empty.
        levels: from mild to strong; two-sided ones (`neutral`) in rising order.
        reference: the moderate level at which interventions are ranked, one of `levels`.
        change: does it.
        neutral: the level that changes nothing, given the study's margin; None: levels go one way only.
        context: given the study's margin and a level, the photograph it needs around the box, as a share of the
            box's longer side.
    """

    name: str
    label: str
    unit: str
    levels: tuple[float, ...]
    reference: float
    change: Change
    neutral: Callable[[float], float] | None = None
    context: Callable[[float, float], float] = _margin_alone

    def __post_init__(self) -> None:
        """Refuse an entry whose reference is none of its levels."""
        if self.reference not in self.levels:
            raise ValueError(f"intervention {self.name}: reference {self.reference} is not one of its levels")

    def positions(self, margin: float) -> dict[float, int]:
        """Each level's distance from the untouched face in steps; to the other side of a two-sided one, negative.

        Args:
            margin: the study's; a level that changes nothing at it is left out.
        """
        if self.neutral is None:
            return {level: index for index, level in enumerate(self.levels, start=1)}
        neutral = self.neutral(margin)
        below = [level for level in self.levels if level < neutral]
        above = [level for level in self.levels if level > neutral]
        return {level: index - len(below) for index, level in enumerate(below)} | {
            level: index for index, level in enumerate(above, start=1)
        }


def _shrink(face: NativeFace, target: float, source: np.random.Generator) -> NativeFace:
    """Reduce the face until its box's longer side has `target` px; the model's resizing enlarges it again."""
    if face.side <= target:
        return face
    factor = target / face.side
    shown = square_around(square_around(face.box[None], face.margin), (CANVAS_FACTOR - 1) / 2)[0]
    pixels = int(np.ceil((shown[2] - shown[0]) * factor)) + 2
    # A whole number of pixels makes the scale exact.
    corner = (shown[:2] + shown[2:]) / 2 - pixels / factor / 2
    region = np.concatenate([corner, corner + pixels / factor]) - np.tile(face.origin, 2)
    small = resize_region(face.pixels, region, pixels)
    return NativeFace(small, np.zeros(2, dtype=np.int64), (face.box - np.tile(corner, 2)) * factor, face.margin)


def _blur(face: NativeFace, level: float, source: np.random.Generator) -> NativeFace:
    part = face.trimmed(_BLUR_REACH * level)
    # Pillow's blur keeps the variance below one pixel too (Gwosdek et al., SSVM 2011), where a sampled Gaussian
    # would do nothing.
    blurred = Image.fromarray(part.pixels).filter(ImageFilter.GaussianBlur(level * face.side))
    return replace(part, pixels=np.asarray(blurred))


def _darken(face: NativeFace, factor: float, source: np.random.Generator) -> NativeFace:
    part = face.trimmed()
    table = np.rint(np.arange(256) * factor).astype(np.uint8)
    return replace(part, pixels=table[part.pixels])


def _add_noise(face: NativeFace, sigma: float, source: np.random.Generator) -> NativeFace:
    part = face.trimmed()
    noise = source.standard_normal(part.pixels.shape, dtype=np.float32)
    noisy = np.rint(np.clip(part.pixels + np.float32(sigma) * noise, 0, 255))
    return replace(part, pixels=noisy.astype(np.uint8))


def _compress(face: NativeFace, quality: float, source: np.random.Generator) -> NativeFace:
    part, file = face.trimmed(), io.BytesIO()
    Image.fromarray(part.pixels).save(file, format="JPEG", quality=int(quality))
    return replace(part, pixels=np.asarray(Image.open(file).convert("RGB")))


def _shift_box(face: NativeFace, share: float, source: np.random.Generator) -> NativeFace:
    angle = source.uniform(0, 2 * np.pi)
    offset = share * face.side * np.array([np.cos(angle), np.sin(angle)])
    return replace(face, box=face.box + np.tile(offset, 2))


def _scale_box(face: NativeFace, factor: float, source: np.random.Generator) -> NativeFace:
    centre, half = (face.box[:2] + face.box[2:]) / 2, (face.box[2:] - face.box[:2]) / 2
    return replace(face, box=np.concatenate([centre - factor * half, centre + factor * half]))


def _change_margin(face: NativeFace, margin: float, source: np.random.Generator) -> NativeFace:
    return replace(face, margin=margin)


#: All interventions. Reference levels are moderate ones, chosen before any model was measured; see each.
INTERVENTIONS: dict[str, Intervention] = {
    item.name: item
    for item in (
        # In photographs of crowds many faces are no larger (Face Mask Detection: a quarter).
        Intervention("shrink", "face shrunk to", "px", (128, 96, 64, 48, 32, 24, 16, 12, 8), 16, _shrink),
        # Half of a point's light spreads over a spot an eighth of the box wide: the mouth runs, the head stays.
        Intervention(
            "blur", "Gaussian blur, σ", "of box side", (0.01, 0.02, 0.05, 0.1, 0.2), 0.05, _blur,
            context=lambda margin, level: margin + _BLUR_REACH * level,
        ),
        # Half the code value is about a quarter of the light (sRGB).
        Intervention("darken", "darkened to", "of its value", (0.75, 0.5, 0.35, 0.2, 0.1), 0.5, _darken),
        # A peak signal-to-noise ratio of 22 dB: visible at a glance.
        Intervention("noise", "Gaussian noise, σ", "grey levels", (5, 10, 20, 40, 80), 20, _add_noise),
        # Blocks can be seen at this quality.
        Intervention("jpeg", "JPEG compression at quality", "", (75, 50, 30, 20, 10, 5), 20, _compress),
        # The next two: boxes that overlap the true one by an IoU of about 0.7, as a good detector's do.
        Intervention(
            "shift_box", "box shifted by", "of its side", (0.05, 0.1, 0.15, 0.2, 0.3, 0.5), 0.15, _shift_box,
            context=lambda margin, level: margin + level,
        ),
        Intervention(
            "scale_box", "box scaled to", "of its side", (0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.4, 1.6), 1.2, _scale_box,
            neutral=lambda margin: 1.0, context=lambda margin, level: max(margin, level * (0.5 + margin) - 0.5),
        ),
        # The box alone.
        Intervention(
            "margin", "margin set to", "of box side", (0, 0.1, 0.25, 0.5, 0.75, 1), 0, _change_margin,
            neutral=lambda margin: margin, context=max,
        ),
    )
}  # fmt: skip


def context_margin(margin: float, interventions: Iterable[Intervention] = tuple(INTERVENTIONS.values())) -> float:
    """The margin that crops must be cut with, so that no intervention has to make up photograph.

    Args:
        margin: the study's.
        interventions: those that will be made.

    Example:
        >>> context_margin(0.25)
        1.0
    """
    return float(max([margin, *(item.context(margin, level) for item in interventions for level in item.levels)]))


def intervened_canvases(
    crops: FaceCrops,
    faces: pd.DataFrame,
    rows: NDArray[np.int64],
    margin: float,
    input_size: int,
    intervention: Intervention | None = None,
    level: float = float("nan"),
    *,
    seed: int = 0,
) -> torch.Tensor:
    """Canvases of faces under one intervention, in place of `make_canvases`.

    What is drawn at random follows from `seed`, the intervention and the face's place in `faces` alone: all
    levels share it (the noise of a face grows, its box moves on in one direction), and so do all models.
    Beyond the photograph its edge is repeated, as it is in training.

    Args:
        crops: of all faces, cut with `context_margin` or more.
        faces: `schemas.FACES`, in the order of `crops`.
        rows: (M,) places in `faces` of those that are wanted.
        margin: the study's margin, in share of the box's longer side.
        input_size: side of the model's input, px.
        intervention: what to do; None: nothing.
        level: how strongly, in the intervention's unit.
        seed: of random draws.

    Returns:
        (M, 3, C, C) uint8. Only the central `input_size` px, the model's view, are sure to show photograph:
        around it, edges of the crop may be repeated. Without intervention the view is that of `make_canvases`,
        byte for byte.

    Raises:
        ValueError: `crops` are not of `faces`, or were cut too close for this level.
    """
    if crops.face_ids != tuple(faces["face_id"]):
        raise ValueError("crops: not of these faces, in this order")
    boxes = faces[BOX_COLUMNS].to_numpy(dtype=float)
    _check_context(crops, faces.iloc[rows], rows, intervention.context(margin, level) if intervention else margin)
    name = intervention.name if intervention else ""

    def draw(row: int) -> Bytes:
        face = NativeFace(crops.crop(row), crops.regions[row, :2], boxes[row], margin)
        if intervention:
            face = intervention.change(face, level, np.random.default_rng(derive_seed(seed, name, row)))
        return face.canvas(input_size)

    side = canvas_size(input_size)
    canvases = np.empty((len(rows), side, side, 3), dtype=np.uint8)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for index, canvas in enumerate(pool.map(draw, rows.tolist())):
            canvases[index] = canvas
    return torch.from_numpy(canvases).permute(0, 3, 1, 2).contiguous()


def _check_context(crops: FaceCrops, part: pd.DataFrame, rows: NDArray[np.int64], margin: float) -> None:
    """Refuse crops that end, inside the photograph, closer to a box than `margin`."""
    squares = square_around(part[BOX_COLUMNS].to_numpy(dtype=float), margin)
    bounds = photograph_bounds(part)
    lower, upper = np.maximum(squares[:, :2], bounds[:, :2]), np.minimum(squares[:, 2:], bounds[:, 2:])
    regions = crops.regions[rows]
    if (lower < regions[:, :2]).any() or (upper > regions[:, 2:]).any():
        raise ValueError(f"crops: cut too close for an intervention that needs a margin of {margin:g}; cut them wider")
