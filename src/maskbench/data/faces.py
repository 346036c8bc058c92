"""Faces as models get them: square canvases, resized once from native crops, so no epoch decodes or resizes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from maskbench.data.boxes import BOX_COLUMNS, square_around
from maskbench.data.crops import CANVAS_FACTOR, Bytes, FaceCrops
from maskbench.steps import in_order


def shown_squares(boxes_xyxy: NDArray[np.float64], margin: float, input_size: int) -> NDArray[np.float64]:
    """(N, 4) squares, px, that canvases for `input_size` show of boxes (N, 4)."""
    # The canvas's rounding changes its reach by under one pixel: scale the square to match exactly.
    return square_around(square_around(boxes_xyxy, margin), (canvas_size(input_size) / input_size - 1) / 2)


def canvas_size(input_size: int) -> int:
    """Side of a canvas in px; canvas and input differ by an even number, so the view is a plain slice."""
    return input_size + 2 * round(input_size * (CANVAS_FACTOR - 1) / 2)


def make_canvases(crops: FaceCrops, faces: pd.DataFrame, margin: float, input_size: int) -> torch.Tensor:
    """Resize every face to a square canvas, antialiased; beyond the photograph its edge is repeated.

    Args:
        crops: native crops, in the order of `faces`.
        faces: `schemas.FACES`.
        margin: the margin the crops were cut with.
        input_size: side of the model's input in px.

    Returns:
        (N, 3, C, C) uint8 with C = `canvas_size(input_size)`; the central `input_size` px are the
        view without augmentation.
    """
    side = canvas_size(input_size)
    squares = shown_squares(faces[BOX_COLUMNS].to_numpy(dtype=float), margin, input_size)
    squares = squares - np.tile(crops.regions[:, :2], (1, 2))
    canvases = np.empty((len(crops), side, side, 3), dtype=np.uint8)
    made = in_order(lambda index: resize_region(crops.crop(index), squares[index], side), range(len(crops)), 2)
    for index, canvas in enumerate(made):
        canvases[index] = canvas
    return torch.from_numpy(canvases).permute(0, 3, 1, 2).contiguous()


def resize_region(image: Bytes, square: NDArray[np.float64], side: int) -> Bytes:
    """The part of `image` under `square`, resized to `side` × `side` px.

    Args:
        image: (H, W, 3) uint8.
        square: `x0 y0 x1 y1` in px, possibly fractional or reaching outside; outside, edges repeat.
        side: of the result, px.

    Returns:
        (side, side, 3) uint8; bilinear with antialiasing (Pillow's filter support grows with the scale).
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (float(value) for value in square)
    before = (max(0, int(np.ceil(-y0))), max(0, int(np.ceil(-x0))))
    after = (max(0, int(np.ceil(y1 - height))), max(0, int(np.ceil(x1 - width))))
    if any(before) or any(after):
        image = np.pad(image, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
    box = (x0 + before[1], y0 + before[0], x1 + before[1], y1 + before[0])
    # Rounding may put an edge a hair outside the padded image, which Pillow refuses.
    wide, high = float(image.shape[1]), float(image.shape[0])
    clipped = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], wide), min(box[3], high))
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=clipped))
