"""Polygons: cut to a rectangle, and traced around a region of cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskbench.data.sample.paint import FloatArray


def clip_polygon(polygon: FloatArray, rectangle: tuple[float, float, float, float]) -> FloatArray:
    """The part of a polygon inside a rectangle.

    Args:
        polygon: (n, 2) x and y.
        rectangle: x0, y0, x1, y1.

    Returns:
        (m, 2); m = 0 if nothing is inside.

    Source: Sutherland & Hodgman 1974, "Reentrant polygon clipping".

    Example:
        >>> clip_polygon(np.array([[-1.0, 0], [1, 0], [1, 1], [-1, 1]]), (0, 0, 2, 2)).tolist()
        [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    """
    x0, y0, x1, y1 = rectangle
    points = [(float(x), float(y)) for x, y in polygon]
    for axis, limit, sign in ((0, x0, 1.0), (0, x1, -1.0), (1, y0, 1.0), (1, y1, -1.0)):
        kept: list[tuple[float, float]] = []
        for i, here in enumerate(points):
            before = points[i - 1]
            d_here, d_before = sign * (here[axis] - limit), sign * (before[axis] - limit)
            if (d_here >= 0) != (d_before >= 0):
                t = d_before / (d_before - d_here)
                kept.append((before[0] + t * (here[0] - before[0]), before[1] + t * (here[1] - before[1])))
            if d_here >= 0:
                kept.append(here)
        points = kept
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def trace_outline(cells: NDArray[np.bool_]) -> FloatArray:
    """Outer boundary of a 4-connected region of unit cells, along the cells' edges.

    Args:
        cells: (h, w) bool, one region; holes are ignored.

    Returns:
        (n, 2) x and y of the corners, clockwise on the screen; (0, 2) if there is no cell.

    Example:
        >>> trace_outline(np.array([[True, True]])).tolist()
        [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]]
    """
    if not cells.any():
        return np.zeros((0, 2))
    padded = np.pad(cells, 1)

    def is_set(x: int, y: int) -> bool:
        return bool(padded[y + 1, x + 1])

    y0 = int(np.flatnonzero(cells.any(1))[0])
    x0 = int(np.flatnonzero(cells[y0])[0])
    # walk along the edges with the region on the right hand; the first edge is the top of the first cell
    x, y, dx, dy = x0, y0, 1, 0
    corners: list[tuple[int, int]] = []
    while True:
        corners.append((x, y))
        while True:  # straight on while the cell ahead-right is set and ahead-left is not
            x, y = x + dx, y + dy
            ahead_right = is_set(x + min(dx, 0) + min(-dy, 0), y + min(dy, 0) + min(dx, 0))
            ahead_left = is_set(x + min(dx, 0) + min(dy, 0), y + min(dy, 0) + min(-dx, 0))
            if not ahead_right:
                dx, dy = -dy, dx  # the region ends: turn right, around its corner
                break
            if ahead_left:
                dx, dy = dy, -dx  # the region bulges: turn left
                break
        if (x, y) == (x0, y0):
            return np.array(corners, dtype=np.float64)
