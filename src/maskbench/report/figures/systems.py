"""What figures of detection share: how a system looks.

Its arm has a colour and a marker, its pipeline a line style, a filling and a hatch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maskbench.report.style import colours, linestyles, markers, short_name
from maskbench.schemas.detection import PIPELINES

#: An arm and a pipeline.
Pair = tuple[str, str]
_HATCHES = dict(zip(PIPELINES, ("", "////"), strict=True))


def pairs_in(table: pd.DataFrame, arms: Sequence[str]) -> list[Pair]:
    """The systems of a table, by arm and then pipeline."""
    present = set(zip(table["arm"], table["pipeline"], strict=True))
    return [(arm, pipeline) for arm in arms for pipeline in PIPELINES if (arm, pipeline) in present]


def rows_of(table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """The rows of one system."""
    return table[(table["arm"] == pair[0]) & (table["pipeline"] == pair[1])]


def label_of(pair: Pair, pairs: Sequence[Pair]) -> str:
    """The name of a system: its arm, and its pipeline where there are several."""
    several = len({pipeline for _, pipeline in pairs}) > 1
    return short_name(pair[0], 40) + (f", {pair[1]}" if several else "")


def line_of(pair: Pair, arms: Sequence[str]) -> dict[str, Any]:
    """Colour, line style and width."""
    return {"color": colours(arms)[pair[0]], "linestyle": linestyles(PIPELINES)[pair[1]], "linewidth": 1.8}


def dot_of(pair: Pair, arms: Sequence[str]) -> dict[str, Any]:
    """Marker and colour, hollow for the second pipeline."""
    colour = colours(arms)[pair[0]]
    filling = colour if pair[1] == PIPELINES[0] else "white"
    look = {"marker": markers(arms)[pair[0]], "color": colour, "markerfacecolor": filling, "markersize": 6}
    return look | {"linestyle": "none"}


def bar_of(pair: Pair, arms: Sequence[str]) -> dict[str, Any]:
    """Filling and hatch."""
    hatch = _HATCHES[pair[1]]
    return {"facecolor": colours(arms)[pair[0]], "hatch": hatch, "edgecolor": "white", "linewidth": 0.6}


def line_handle(pair: Pair, arms: Sequence[str], label: str) -> Line2D:
    """A sample of a system's line for a legend."""
    return Line2D([], [], label=label, **line_of(pair, arms))


def systems_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend below all panels."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, min(len(handles), int(figure.get_figwidth() * 11 / (longest + 8))))
    columns = math.ceil(len(handles) / math.ceil(len(handles) / columns)) if handles else 1
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, handlelength=2.6)


def rows_axis(ax: Axes, names: Sequence[str]) -> None:
    """Rows from top to bottom, every second one shaded."""
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0, pad=6)
    for row in range(0, len(names), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#F3F4F6", zorder=0)


def number(value: float, digits: int = 3) -> str:
    """A share, or a dash where it is undefined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def least_scores(table: pd.DataFrame, pairs: Sequence[Pair]) -> str:
    """A sentence on the `min_score` of each system."""
    found = {pair: rows_of(table, pair)["min_score"].unique() for pair in pairs}
    texts = {pair: " and ".join(f"{score:.2f}" for score in np.sort(scores)) for pair, scores in found.items()}
    if set(texts.values()) == {"0.00"} and all((scores == 0).all() for scores in found.values()):
        return "All boxes, whatever their score."
    if len(set(texts.values())) == 1:
        return f"Boxes of a score of {next(iter(texts.values()))} or more."
    listed = ", ".join(f"{text} ({label_of(pair, pairs)})" for pair, text in texts.items())
    return f"Boxes of at least these scores: {listed}."
