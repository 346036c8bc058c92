"""Where boxes lie in the photographs: exact areas on grids, nothing rasterised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.data.boxes import BOX_COLUMNS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Their shares of 40 strips take 1.3 MB.
_BOXES_AT_ONCE = 4096


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


def covered_strips(low: Floats, high: Floats, cells: int) -> Floats:
    """Share of each of `cells` equal strips of [0, 1] inside each interval: (N,) ends to (N, cells)."""
    grid = np.linspace(0, 1, cells + 1)
    reach = np.minimum(high[:, None], grid[None, 1:]) - np.maximum(low[:, None], grid[None, :-1])
    return np.asarray(np.clip(reach * cells, 0, 1))


def overlaps(boxes: Floats, groups: Ints) -> Ints:
    """Pairs of boxes of a group that share area.

    Args:
        boxes: (N, 4) `xmin ymin xmax ymax`.
        groups: (N,) whole numbers.

    Returns:
        (M, 2) rows of `boxes`, each pair once; a group's boxes are compared among themselves only.
    """
    order = np.argsort(groups, kind="stable")
    ordered, member = boxes[order], groups[order]
    found = [np.empty((0, 2), dtype=np.int64)]
    largest = int(np.bincount(groups).max()) if len(groups) else 0
    for apart in range(1, largest):  # each box with the one so many places after it
        first = np.flatnonzero(member[apart:] == member[:-apart])
        a, b = ordered[first], ordered[first + apart]
        first = first[(np.minimum(a[:, 2:], b[:, 2:]) > np.maximum(a[:, :2], b[:, :2])).all(axis=1)]
        found.append(order[np.stack([first, first + apart], axis=1)])
    return np.concatenate(found)


def twos_and_heaps(pairs: Ints, count: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Overlapping boxes by what their union takes.

    Two boxes that overlap each other and no third cover the sum of their areas less that of their intersection, which
    is a box itself. Boxes in larger heaps have to be cut up together.

    Args:
        pairs: (M, 2), `overlaps` of `count` boxes.
        count: N.

    Returns:
        Pairs that are such twos, (T, 2); which boxes are in larger heaps, (N,).
    """
    partners = np.bincount(pairs.ravel(), minlength=count)
    twos = pairs[(partners[pairs] == 1).all(axis=1)]
    heaped = partners > 0
    heaped[twos] = False
    return twos, heaped


def intersections(boxes: Floats, pairs: Ints) -> Floats:
    """What the boxes of each pair (M, 2) share: (M, 4)."""
    a, b = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    return np.concatenate([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])], axis=1)


def total_coverage(boxes: Floats, groups: Ints, cells: int) -> Floats:
    """Sum over groups of the share of each cell that lies inside at least one box of the group.

    Boxes that share no area with others add up, and their areas are products: one matrix product does for all of them,
    and another for the intersections of twos. Only larger heaps of overlapping boxes are taken apart.

    Args:
        boxes: (N, 4) shares of the photograph's width and height.
        groups: (N,) whole number of each box's photograph.
        cells: cells along each side.

    Returns:
        (cells, cells): the sum of `covered_cells` of every group, but for rounding.
    """
    boxes = np.clip(boxes, 0, 1)
    return _coverage(boxes, groups, overlaps(boxes, groups), np.ones(len(boxes), dtype=bool), cells)


def _coverage(boxes: Floats, groups: Ints, pairs: Ints, chosen: NDArray[np.bool_], cells: int) -> Floats:
    """`total_coverage` of the `chosen` (N,) of boxes inside their photographs, with the `overlaps` of all."""
    twos, heaped = twos_and_heaps(pairs[chosen[pairs].all(axis=1)], len(boxes))
    total = _sum_of_cells(boxes[chosen & ~heaped], cells) - _sum_of_cells(intersections(boxes, twos), cells)
    for rows in _members(groups, np.flatnonzero(heaped)):
        total += covered_cells(boxes[rows], cells)
    return total


def _sum_of_cells(boxes: Floats, cells: int) -> Floats:
    """Sum over boxes of the share of each cell inside it, (cells, cells)."""
    total = np.zeros((cells, cells))
    for start in range(0, len(boxes), _BOXES_AT_ONCE):
        some = boxes[start : start + _BOXES_AT_ONCE]
        down, across = (covered_strips(some[:, axis], some[:, axis + 2], cells) for axis in (1, 0))
        total += down.T @ across
    return total


def _members(groups: Ints, chosen: Ints) -> list[Ints]:
    """The rows of each group among `chosen` rows."""
    order = chosen[np.argsort(groups[chosen], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []


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
    boxes, ids = np.clip(relative_boxes(faces), 0, 1), images["image_id"]
    position = pd.Index(ids).get_indexer(pd.Index(faces["image_id"]))
    boxes, position = boxes[position >= 0], position[position >= 0]
    areas = _areas(boxes)
    sums = np.bincount(position, areas, minlength=len(ids)).astype(np.float64)  # of no box: whole numbers
    twos, heaped = twos_and_heaps(overlaps(boxes, position), len(boxes))
    union = sums.copy()
    np.subtract.at(union, position[twos[:, 0]], _areas(intersections(boxes, twos)))
    for rows in _members(position, np.flatnonzero(heaped)):
        union[position[rows[0]]] += covered_cells(boxes[rows], 1)[0, 0] - areas[rows].sum()
    return pd.DataFrame(
        {
            "image_id": ids,
            "faces": np.bincount(position, minlength=len(ids)),
            "coverage": np.minimum(union, 1),
            "share_sum": sums,
        }
    ).reset_index(drop=True)


def _areas(boxes: Floats) -> Floats:
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1))


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
    groups = pd.factorize(faces["image_id"])[0].astype(np.int64)
    inside = np.clip(boxes, 0, 1)
    pairs = overlaps(inside, groups)
    tables = []
    for name in ("", *classes):
        chosen = np.ones(len(faces), dtype=bool) if name == "" else np.asarray(labels == name)
        photographs = len(np.unique(groups[chosen]))
        if chosen.any():
            centres = _centres(boxes[chosen], cells)
            coverage = np.clip(_coverage(inside, groups, pairs, chosen, cells) / photographs, 0, 1)
        else:
            centres = coverage = np.full((cells, cells), np.nan)
        for quantity, values in (("centres", centres), ("coverage", coverage)):
            tables.append(_long(values).assign(quantity=quantity, class_name=name, faces=int(chosen.sum()),
                                               photographs=photographs))  # fmt: skip
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
