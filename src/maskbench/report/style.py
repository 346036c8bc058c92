"""One look for every figure: fonts, colours, markers; readable in grey and for colour-blind readers.

Figures are made with matplotlib's object interface (no pyplot, no global state), so drawing a figure
never changes how a caller's own figures look.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

#: Okabe & Ito's palette (2008), ordered so that neighbours differ in lightness too.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINESTYLES = ("-", "--", "-.", ":")
SEQUENTIAL = "viridis"
MUTED = "#6B7280"

#: Tried in turn for each letter: class names may be in any script that an installed font covers.
_WISHED = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "Microsoft YaHei", "Hiragino Sans",
           "Noto Sans Arabic", "Noto Sans Devanagari", "Arial Unicode MS")  # fmt: skip
_INSTALLED = {font.name for font in fontManager.ttflist}
FAMILIES = ("DejaVu Sans", *(name for name in _WISHED if name in _INSTALLED))

RC: dict[str, Any] = {
    "font.size": 9,
    "font.family": list(FAMILIES),
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


def wrapped(name: str, width: int = 14) -> str:
    r"""`name` over several lines of at most `width` characters, broken after `_`, `-` and at spaces.

    Example:
        >>> wrapped("worn_but_not_well", 12)
        'worn_but_\nnot_well'
    """
    width = max(width, 2)
    lines = [""]
    for piece in re.findall(r"[^\s_-]*[_-]+|[^\s_-]+|\s+", name):
        if len(lines[-1]) + len(piece.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.strip() for line in lines if line.strip())


def plain_log_ticks(axis: Axis, *, percent: bool = False) -> None:
    """Label a logarithmic axis with plain numbers (1, 10, 1,000), or shares as percentages."""

    def text(value: float, _position: object) -> str:
        shown = value * 100 if percent else value
        return (f"{shown:,.0f}" if shown >= 1 and shown == round(shown) else f"{shown:g}") + ("%" if percent else "")

    low, high = sorted(axis.get_view_interval())
    narrow = low > 0 and high / low < 100
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(NullFormatter())


def short_name(name: str, longest: int = 22) -> str:
    """A class name that fits on an axis; its dollar signs are text, not mathematics."""
    return literal(name if len(name) <= longest else name[: longest - 1] + "…")


def literal(text: str) -> str:
    r"""Text that matplotlib shows as it is: dollar signs are no mathematics. What was literal stays as it was.

    Example:
        >>> literal(literal("5$"))
        '5\\$'
    """
    return re.sub(r"(?<!\\)\$", r"\\$", text)


def percent_ticks(axis: Axis) -> None:
    """Label an axis of shares in [0, 1] in percent, with no more decimals than its ticks need."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.6g}%"))


def thousands_ticks(axis: Axis) -> None:
    """Label an axis of counts with separated thousands, whole numbers only."""
    axis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
