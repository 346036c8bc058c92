"""One look for every figure: fonts, colours, markers; readable in grey and for colour-blind readers.

Figures are made with matplotlib's object interface (no pyplot, no global state), so drawing a figure
never changes how a caller's own figures look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Okabe & Ito's palette (2008), ordered so that neighbours differ in lightness too.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINESTYLES = ("-", "--", "-.", ":")
SEQUENTIAL = "viridis"
MUTED = "#6B7280"

RC: dict[str, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E7EB",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "maskbench",
}


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with the house style and its axes in reading order.

    Args:
        rows: axes from top to bottom.
        columns: axes from left to right.
        size: width and height in inches; by default 4.2 × 3.2 per axes.
        options: passed to `Figure.subplots` (e.g. `sharey=True`).
    """
    with mpl.rc_context(RC):  # type: ignore[arg-type]
        figure = Figure(figsize=size or (4.2 * columns, 3.2 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name (arm or class), by its position: the same in every figure."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}


def markers(names: Sequence[str]) -> dict[str, str]:
    """A marker for each name, so that lines stay apart without colour."""
    return {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(names)}


def linestyles(names: Sequence[str]) -> dict[str, str]:
    """A line style for each name."""
    return {name: LINESTYLES[index % len(LINESTYLES)] for index, name in enumerate(names)}
