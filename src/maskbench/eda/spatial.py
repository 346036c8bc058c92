"""Where boxes lie in the photographs: exact areas on grids, nothing rasterised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.data.boxes import BOX_COLUMNS

Floats = NDArray[np.float64]


def covered_cells(boxes: Floats, cells: int) -> Floats:
    """Share of each cell of a grid over the unit square that lies inside at least one box.

    Box edges and grid lines together cut the square into rectangles that are wholly covered or not;
    their areas are summed per cell. Exact for any overlap; O((n + cells)²) for n boxes.

    Args:
        boxes: (n, 4) `xmin ymin xmax ymax` as shares of the photograph's width and height; parts
            outside [0, 1] are cut off.
        cells: cells along each side, ≥ 1.

    Returns:
        (cells, cells) in [0, 1]; row 0 is the top.

    Source:
        Coordinate compression for the measure of a union of rectangles (Klee's problem in the
        plane; Preparata & Shamos 1985, "Computational Geometry", sec. 8.4) with a two-dimensional
        difference array.

    Example:
        >>> covered_cells(np.array([[0.0, 0, 0.5, 0.25], [0.25, 0, 0.5, 0.5]]), 2).tolist()
        [[0.75, 0.0], [0.0, 0.0]]
    """
    boxes = np.clip(boxes, 0, 1)
    grid = np.linspace(0, 1, cells + 1)
    xs = np.unique(np.concatenate([grid, boxes[:, 0], boxes[:, 2]]))
    ys = np.unique(np.concatenate([grid, boxes[:, 1], boxes[:, 3]]))
    left, right = np.searchsorted(xs, boxes[:, 0]), np.searchsorted(xs, boxes[:, 2])
    top, bottom = np.searchsorted(ys, boxes[:, 1]), np.searchsorted(ys, boxes[:, 3])
    steps = np.zeros((len(ys), len(xs)), dtype=np.int64)
    right, bottom = np.maximum(right, left), np.maximum(bottom, top)  # inverted boxes are empty
    np.add.at(steps, (top, left), 1)
    np.add.at(steps, (bottom, right), 1)
    np.add.at(steps, (top, right), -1)
    np.add.at(steps, (bottom, left), -1)
    inside = steps.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    areas = inside * np.diff(ys)[:, None] * np.diff(xs)[None, :]
    by_row = np.add.reduceat(areas, np.searchsorted(ys, grid[:-1]), axis=0)
    by_cell = np.add.reduceat(by_row, np.searchsorted(xs, grid[:-1]), axis=1)
    return np.asarray(np.clip(by_cell * cells**2, 0, 1))


def relative_boxes(faces: pd.DataFrame) -> Floats:
    """Boxes as shares of their photograph's width and height, (N, 4) in [0, 1] for boxes inside it."""
    sizes = faces[["image_width", "image_height", "image_width", "image_height"]].to_numpy(dtype=float)
    return np.asarray(faces[BOX_COLUMNS].to_numpy(dtype=float) / sizes)


def image_coverage(images: pd.DataFrame, faces: pd.DataFrame) -> pd.DataFrame:
    """Share of each photograph that its boxes cover.

    Args:
        images: `schemas.IMAGES`.
        faces: `schemas.FACES`.

    Returns:
        `schemas.IMAGE_COVERAGE`, one row per photograph in the same order; 0 without faces.
    """
    boxes = relative_boxes(faces)
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    sums = pd.Series(sides.prod(axis=1), index=faces["image_id"].to_numpy()).groupby(level=0).sum()
    groups = faces.groupby("image_id", sort=False).indices
    union = {image_id: float(covered_cells(boxes[rows], 1)[0, 0]) for image_id, rows in groups.items()}
    ids = images["image_id"]
    return pd.DataFrame(
        {
            "image_id": ids,
            "faces": ids.map({image_id: len(rows) for image_id, rows in groups.items()}).fillna(0).astype(int),
            "coverage": ids.map(union).fillna(0.0).astype(float),
            "share_sum": ids.map(sums).fillna(0.0).astype(float),
        }
    ).reset_index(drop=True)


def heatmaps(faces: pd.DataFrame, classes: Sequence[str], cells: int) -> pd.DataFrame:
    """Where box centres lie and what boxes cover, over all classes and for each.

    Args:
        faces: `schemas.FACES`.
        classes: in class order.
        cells: cells along each side of the photograph.

    Returns:
        `schemas.HEATMAPS`: `centres` is the share of the faces whose box centre is in the cell (sums
        to 1 over the grid); `coverage` the mean share of the cell inside a box of the class, over
        photographs with a face of it (exact area). NaN with a reason for a class without faces.
    """
    boxes, labels = relative_boxes(faces), faces["label"].to_numpy()
    tables = []
    for name in ("", *classes):
        chosen = np.ones(len(faces), dtype=bool) if name == "" else np.asarray(labels == name)
        photographs = faces.loc[chosen].groupby("image_id", sort=False).indices
        if chosen.any():
            centres = _centres(boxes[chosen], cells)
            coverage = np.zeros((cells, cells))
            for rows in photographs.values():
                coverage += covered_cells(boxes[chosen][rows], cells)
            coverage /= len(photographs)
        else:
            centres = coverage = np.full((cells, cells), np.nan)
        for quantity, values in (("centres", centres), ("coverage", coverage)):
            tables.append(_long(values).assign(quantity=quantity, class_name=name, faces=int(chosen.sum()),
                                               photographs=len(photographs)))  # fmt: skip
    table = pd.concat(tables, ignore_index=True)
    table["reason"] = np.where(table["faces"] > 0, "", "no face of this class")
    table["reason"] = table["reason"].astype(str)
    return table[["quantity", "class_name", "row", "column", "value", "faces", "photographs", "reason"]]


def _centres(boxes: Floats, cells: int) -> Floats:
    """Share of the boxes whose centre is in each cell; a centre on a grid line counts right and below."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    columns, rows = np.clip((centres * cells).astype(np.int64), 0, cells - 1).T
    counts = np.bincount(rows * cells + columns, minlength=cells**2)
    return np.asarray(counts.reshape(cells, cells) / len(boxes))


def _long(values: Floats) -> pd.DataFrame:
    rows, columns = np.indices(values.shape)
    return pd.DataFrame({"row": rows.ravel(), "column": columns.ravel(), "value": values.ravel()})
