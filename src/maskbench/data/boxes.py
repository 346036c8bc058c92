"""Geometry of boxes: pure functions over arrays and tables.

A box is `xmin, ymin, xmax, ymax` in pixels, x to the right and y down, as Pascal VOC annotations
give it; its width is `xmax - xmin`. Nothing is shifted by one. VOC counts pixels from 1, and the real
dataset seems to (its boxes begin at 1, never at 0, and 83 end on the last pixel or the one after it):
there, left and upper edges lie up to one pixel too far in.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOX_COLUMNS = ["xmin", "ymin", "xmax", "ymax"]


def box_area(boxes_xyxy: Floats) -> Floats:
    """Areas in px², 0 where a box is empty or inverted.

    Args:
        boxes_xyxy: (N, 4) float, pixels.

    Returns:
        (N,) float, ≥ 0.

    Example:
        >>> box_area(np.array([[0.0, 0, 4, 3], [2, 2, 1, 5]])).tolist()
        [12.0, 0.0]
    """
    sides = np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1])


def clip_boxes(boxes_xyxy: Floats, width: float, height: float) -> Floats:
    """Boxes cut to an image of `width` × `height` px; a new array, same shape."""
    limits = np.array([width, height, width, height], dtype=float)
    return np.asarray(np.clip(boxes_xyxy, 0, limits))


def box_iou(boxes_a: Floats, boxes_b: Floats) -> Floats:
    """Intersection over union of every pair.

    Args:
        boxes_a: (N, 4) float, pixels.
        boxes_b: (M, 4) float, pixels.

    Returns:
        (N, M) float in [0, 1]; 0 where both boxes are empty.
    """
    top_left = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    bottom_right = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0, None)  # (N, M, 2)
    intersection = sides[..., 0] * sides[..., 1]
    union = box_area(boxes_a)[:, None] + box_area(boxes_b)[None, :] - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0))


def square_around(boxes_xyxy: Floats, margin: float) -> Floats:
    """Squares that share the boxes' centres, with context on each side.

    A square keeps the face's proportions when it is resized to the model's square input.

    Args:
        boxes_xyxy: (N, 4) float, pixels.
        margin: context on each side as a share of the box's longer side, ≥ 0.

    Returns:
        (N, 4) float, pixels; may reach outside the image.

    Example:
        >>> square_around(np.array([[10.0, 20, 30, 60]]), 0.25).tolist()
        [[-10.0, 10.0, 50.0, 70.0]]
    """
    centre = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    half = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1, keepdims=True) * (0.5 + margin)
    return np.concatenate([centre - half, centre + half], axis=1)


def box_properties(faces: pd.DataFrame) -> pd.DataFrame:
    """Geometric properties of each face's box.

    Args:
        faces: the faces table (`schemas.FACES`).

    Returns:
        One row per face in the same order and index: `box_width`, `box_height` (px), `box_area`
        (px²), `box_aspect` (width / height), `box_share` (of the image's area), `centre_x`,
        `centre_y` (share of the image's width and height), `at_border` (the box touches the
        image's edge; it begins at pixel 0 or 1, since VOC counts from 1), `faces_in_image`.
    """
    width = faces["xmax"] - faces["xmin"]
    height = faces["ymax"] - faces["ymin"]
    area = width * height
    at_border = (
        (faces["xmin"] <= 1)
        | (faces["ymin"] <= 1)
        | (faces["xmax"] >= faces["image_width"])
        | (faces["ymax"] >= faces["image_height"])
    )
    return pd.DataFrame(
        {
            "box_width": width,
            "box_height": height,
            "box_area": area,
            "box_aspect": width / height,
            "box_share": area / (faces["image_width"] * faces["image_height"]),
            "centre_x": (faces["xmin"] + faces["xmax"]) / 2 / faces["image_width"],
            "centre_y": (faces["ymin"] + faces["ymax"]) / 2 / faces["image_height"],
            "at_border": at_border,
            "faces_in_image": faces.groupby("image_id")["face_id"].transform("size").astype(int),
        }
    )
