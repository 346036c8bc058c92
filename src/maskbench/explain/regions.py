"""Regions of the model's view that an explanation can be held against: the face, its lower half, the true mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maskbench.data.boxes import square_around

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]
#: Outlines are drawn this many times finer, for Pillow counts every pixel that an edge touches as inside.
_FINER = 8


def boxes_in_view(boxes_xyxy: Floats, margin: float, input_size: int) -> Floats:
    """Boxes in the pixels of what the model sees.

    Args:
        boxes_xyxy: (N, 4), px of the photograph.
        margin: context around the box, as the model was trained.
        input_size: side S of the view, px.

    Returns:
        (N, 4) `x0 y0 x1 y1`, px of the view.

    Example:
        >>> boxes_in_view(np.array([[10.0, 20, 30, 40]]), 0.5, 64).tolist()
        [[16.0, 16.0, 48.0, 48.0]]
    """
    squares = square_around(boxes_xyxy, margin)
    scale = input_size / (squares[:, 2] - squares[:, 0])
    return np.asarray((boxes_xyxy - np.tile(squares[:, :2], (1, 2))) * scale[:, None])


def box_masks(boxes_view: Floats, input_size: int) -> Masks:
    """(N, S, S): pixels whose centre lies in the box."""
    centres = np.arange(input_size) + 0.5
    x0, y0, x1, y1 = (boxes_view[:, k, None] for k in range(4))
    across, down = (centres >= x0) & (centres < x1), (centres >= y0) & (centres < y1)  # (N, S)
    return np.asarray(down[:, :, None] & across[:, None, :])


def lower_half_masks(boxes_view: Floats, input_size: int) -> Masks:
    """(N, S, S): the lower half of the face's box, where a mask is worn."""
    lower = boxes_view.copy()
    lower[:, 1] = (boxes_view[:, 1] + boxes_view[:, 3]) / 2
    return box_masks(lower, input_size)


def polygon_masks(
    polygons: Sequence[Sequence[Sequence[float]]], boxes_xyxy: Floats, margin: float, input_size: int
) -> Masks:
    """Outlines in the photograph as regions of the view.

    Args:
        polygons: N lists of `x, y` corners, px of the photograph; an empty list: nothing.
        boxes_xyxy: (N, 4), px of the photograph.
        margin: context around the box.
        input_size: side S of the view, px.

    Returns:
        (N, S, S).
    """
    squares = square_around(boxes_xyxy, margin)
    found = np.zeros((len(polygons), input_size, input_size), dtype=bool)
    for row, (polygon, square) in enumerate(zip(polygons, squares, strict=True)):
        if len(polygon):
            corners = (np.asarray(polygon) - square[:2]) * input_size / (square[2] - square[0])
            side = input_size * _FINER
            image = Image.new("1", (side, side))
            # Pillow names pixels by their centres.
            ImageDraw.Draw(image).polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in corners * _FINER], fill=1)
            cells = np.asarray(image).reshape(input_size, _FINER, input_size, _FINER)
            found[row] = cells.mean(axis=(1, 3)) >= 0.5
    return found
