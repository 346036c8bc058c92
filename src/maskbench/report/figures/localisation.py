"""Faces whose box lies badly: the true box solid, the predicted one dashed, the worst first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import new_figure, wrapped
from maskbench.schemas.detection import LEAST_PLACED_IOU

#: Bright and dark on a dark or bright edge: both stand out from any photograph, and their dashes in grey.
_TRUE, _PREDICTED = "#FFFFFF", "#F0E442"
_EDGE = "#111827"
_CELL = 1.45
_LINE = 0.13
#: Letters that fit under a cell.
_LETTERS = 24

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Placed:
    """A piece of a photograph with a face and the box that came nearest to it.

    Attributes:
        pixels: (H, W, 3) uint8.
        true: `xmin, ymin, xmax, ymax` of the face, px of the piece.
        predicted: of the box that found it or lies best on it; None: no box touches the face.
        iou: of both, in [0, 1]; NaN without a box.
        lines: below, after the IoU.
    """

    pixels: NDArray[np.uint8]
    true: Box
    predicted: Box | None
    iou: float
    lines: tuple[str, ...] = ()


@styled
def fig_localisation(faces: Sequence[Placed], *, name: str, title: str, caption: str, columns: int = 6) -> Drawing:
    """A gallery of badly placed boxes, faces without a box first, then by rising IoU.

    Args:
        faces: pieces of photographs, in any order.
        name: stem of the file.
        title: says what is shown.
        caption: says what to look for; what the lines mean is added.
        columns: from left to right, ≥ 1.

    Raises:
        ValueError: no faces, or pixels that are no colour image.
    """
    if not faces:
        raise ValueError(f"{name}: at least one face")
    for face in faces:
        if face.pixels.dtype != np.uint8 or face.pixels.ndim != 3 or face.pixels.shape[2] != 3:
            raise ValueError(f"{name}: pixels of {face.pixels.dtype} {face.pixels.shape}, not uint8 (H, W, 3)")
    ordered = sorted(faces, key=lambda face: -1.0 if math.isnan(face.iou) else face.iou)
    columns = min(columns, len(ordered))
    rows = [ordered[start : start + columns] for start in range(0, len(ordered), columns)]
    below = [max(_text(face).count("\n") + 1 for face in row) for row in rows]
    heights = [_CELL + _LINE * lines + 0.1 for lines in below]
    size = (max(4.6, 0.2 + columns * _CELL), 0.6 + sum(heights))
    figure, axes = new_figure(len(rows), columns, size, gridspec_kw={"height_ratios": heights})
    for ax in axes:
        ax.set_axis_off()
    for ax, face in zip(axes, ordered, strict=False):
        _draw(ax, face)
    words = (
        " Solid white: the true box; dashed yellow: the predicted one. The worst come first. Not among them are boxes "
        f"that found another face and boxes that only graze one (IoU below {LEAST_PLACED_IOU:g})."
    )
    return finished(figure, name, title, caption + words)


def _text(face: Placed) -> str:
    first = "no box" if math.isnan(face.iou) else f"IoU {face.iou:.2f}"
    return "\n".join([first, *(wrapped(line, _LETTERS) for line in face.lines)]).replace("$", r"\$")


def _draw(ax: Axes, face: Placed) -> None:
    height, width = face.pixels.shape[:2]
    # Pixel edges are whole numbers, as in boxes; pieces of any shape are centred in a square.
    ax.imshow(face.pixels, interpolation="nearest", extent=(0, width, height, 0))
    side = max(width, height)
    ax.set(
        xlim=((width - side) / 2, (width + side) / 2),
        ylim=((height + side) / 2, (height - side) / 2),
        aspect="equal",
        anchor="N",
    )
    _frame(ax, face.true, _TRUE, "-")
    if face.predicted is not None:
        _frame(ax, face.predicted, _PREDICTED, (0, (3.2, 2.2)))
    ax.annotate(_text(face), (0.5, -0.03), xycoords="axes fraction", ha="center", va="top", fontsize=6.8,
                linespacing=1.15)  # fmt: skip


def _frame(ax: Axes, box: Box, colour: str, line: str | tuple[int, tuple[float, float]]) -> None:
    """A box on a dark line, which also shows between its dashes."""
    for edge, width, style in ((_EDGE, 2.8, "-"), (colour, 1.4, line)):
        ax.add_patch(
            Rectangle(
                (box[0], box[1]), box[2] - box[0], box[3] - box[1], fill=False, edgecolor=edge, linewidth=width,
                linestyle=style,
            )
        )  # fmt: skip
