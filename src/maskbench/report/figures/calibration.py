"""Figures of calibration: reliability diagrams and the scores before and after temperature scaling.

The faces of all seeds of an arm are drawn together; arms keep their colour from one figure to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, colours, linestyles, markers, new_figure, percent_ticks, short_name, wrapped

NAMES = {"raw": "as trained", "temperature": "temperature-scaled"}
#: Scores shown, with their axis labels.
SCORES = {
    "ece": "ECE (equal width)",
    "ece_adaptive": "ECE (equal mass)",
    "nll": "NLL (nats)",
    "brier": "Brier score",
}
#: The markers of `style.markers` as letters.
GLYPHS = "●■▲◆▼✚✖★"
_DARK = "#374151"


def calibration_figures(
    reliability: pd.DataFrame,
    calibration: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
    split: str = "test",
) -> list[Drawing]:
    """All figures of this module, in the report's order.

    Args:
        reliability: `schemas.RELIABILITY_POOLED`.
        calibration: `schemas.CALIBRATION_POOLED`.
        classes: class order.
        arms: the study's arms, in order.
        split: side shown.
    """
    return [
        fig_reliability(reliability, calibration, arms, split),
        fig_class_reliability(reliability, calibration, classes, arms, split),
        fig_calibration_scores(calibration, arms, split),
    ]


@styled
def fig_reliability(
    reliability: pd.DataFrame, calibration: pd.DataFrame, arms: Sequence[str], split: str = "test"
) -> Drawing:
    """Reliability diagrams of the top label, raw above and scaled below, each over its histogram of confidences.

    Args:
        reliability: `schemas.RELIABILITY_POOLED`.
        calibration: `schemas.CALIBRATION_POOLED`, for the errors in the panels.
        arms: the study's arms, in order.
        split: side shown.
    """
    points = reliability[
        (reliability["split"] == split) & (reliability["scheme"] == "equal_width") & (reliability["class_name"] == "")
    ]
    scores = calibration[(calibration["split"] == split) & (calibration["class_name"] == "")]
    figure, axes = new_figure(
        4, len(arms), size=(3.5 * len(arms) + 0.4, 9.4), sharex=True, sharey="row", height_ratios=[3, 1, 3, 1]
    )
    paint, shapes = colours(arms), markers(arms)
    for row, calibrated in enumerate(NAMES):
        for column, arm in enumerate(arms):
            diagram, histogram = (axes[(2 * row + lower) * len(arms) + column] for lower in (0, 1))
            part = points[(points["arm"] == arm) & (points["calibrated"] == calibrated)]
            _diagram(diagram, part, paint[arm], shapes[arm])
            _note(diagram, scores[(scores["arm"] == arm) & (scores["calibrated"] == calibrated)])
            _histogram(histogram, part, paint[arm])
            diagram.set_title(f"{wrapped(short_name(arm, 30), 24)}\n{NAMES[calibrated]}", pad=34)
            if column == 0:
                diagram.set_ylabel("share that is right")
                histogram.set_ylabel("share of faces")
            if row == 1:
                histogram.set_xlabel("stated confidence")
    title = "Reliability: is a face called with 90 % confidence right 9 times of 10?"
    return finished(
        figure, f"reliability-{split}", title,
        "Points below the diagonal are overconfident, above it too modest. Each point is a bin of confidence, its size "
        "grows with its faces; lines are bootstrap intervals over photographs (exact ones where all faces are "
        "right), histograms below show where the faces are: a point over few faces says little. 'By chance' is the ECE "
        "that a perfectly calibrated model of these confidences shows on as many faces. The temperature is fitted on "
        f"validation faces and changes no decision. {_basis(scores, split)}",
    )  # fmt: skip


@styled
def fig_class_reliability(
    reliability: pd.DataFrame,
    calibration: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
    split: str = "test",
) -> Drawing:
    """Reliability of each class's probability against the rest, arms overlaid, bins of equal mass.

    Args:
        reliability: `schemas.RELIABILITY_POOLED`.
        calibration: `schemas.CALIBRATION_POOLED`, for the errors in the legends.
        classes: class order.
        arms: the study's arms, in order.
        split: side shown.
    """
    points = reliability[(reliability["split"] == split) & (reliability["scheme"] == "equal_mass")]
    scores = calibration[(calibration["split"] == split) & (calibration["metric"] == "ece_adaptive")]
    columns = min(3, len(classes))
    rows = -(-len(classes) // columns)
    figure, axes = new_figure(2 * rows, columns, size=(3.6 * columns, 6.6 * rows + 0.3), sharex=True, sharey=True)
    paint, shapes, styles = colours(arms), markers(arms), linestyles(arms)
    for row, calibrated in enumerate(NAMES):
        for place, name in enumerate(classes):
            ax = axes[(2 * (place // columns) + row) * columns + place % columns]
            ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=":")
            for index, arm in enumerate(arms):
                keys = {"arm": arm, "calibrated": calibrated, "class_name": name}
                part = _where(points, **keys).sort_values("bin")
                part = part[part["faces"] > 0]
                ax.vlines(
                    part["stated"], part["low"], part["high"], color=paint[arm], linewidth=1.0, alpha=0.45,
                    clip_on=False,
                )  # fmt: skip
                ax.plot(
                    part["stated"], part["observed"], color=paint[arm], linestyle=styles[arm], marker=shapes[arm],
                    markersize=4, linewidth=1.3, label=short_name(arm, 30), clip_on=False, zorder=3,
                    in_layout=False,  # an arm without points has no extent
                )  # fmt: skip
                # The errors in the order of the legend, last at the bottom.
                height = 0.04 + 0.065 * (len(arms) - 1 - index)
                value = f"{GLYPHS[index % len(GLYPHS)]} {_text(_one(_where(scores, **keys), 'value'))}"
                _corner(ax, value, height, paint[arm], bold=True)
            _corner(ax, "adaptive ECE", 0.04 + 0.065 * len(arms), _DARK)
            faces = _where(scores, class_name=name, calibrated=calibrated)["faces"]
            count = int(faces.max()) if len(faces) else 0
            ax.set_title(f"{short_name(name)} ({count:,})\n{NAMES[calibrated]}")
            _unit_square(ax)
            if place % columns == 0:
                ax.set_ylabel("share that is of the class")
            if row == 1 and place + columns >= len(classes):
                ax.set_xlabel("stated probability")
                ax.tick_params(labelbottom=True)  # panels below may be empty
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=_columns(figure))
    _hide_unused(axes, len(classes), rows, columns)
    title = "Reliability of each class's probability"
    return finished(
        figure, f"reliability-classes-{split}", title,
        "Each class against the rest; every point holds nearly as many faces as any other (10 of a run or "
        "more), so most lie where most probabilities are. The adaptive ECE is of all the bins named at the end. "
        "A rare class has few points away from 0: its calibration there is hardly "
        "known. Numbers in brackets are faces of the class; lines are bootstrap intervals over photographs. "
        f"{_basis(scores, split)}",
    )  # fmt: skip


@styled
def fig_calibration_scores(calibration: pd.DataFrame, arms: Sequence[str], split: str = "test") -> Drawing:
    """Calibration errors, NLL and Brier score with intervals, raw and scaled, one panel per score.

    Args:
        calibration: `schemas.CALIBRATION_POOLED`.
        arms: the study's arms, in order.
        split: side shown.
    """
    table = calibration[(calibration["split"] == split) & (calibration["class_name"] == "")]
    figure, axes = new_figure(2, 2, size=(8.6, 2.2 + 1.2 * len(arms)), sharey=True)
    paint, shapes = colours(arms), markers(arms)
    for ax, (metric, label) in zip(axes, SCORES.items(), strict=True):
        for index, arm in enumerate(arms):
            for shift, calibrated in ((-0.17, "raw"), (0.17, "temperature")):
                part = _where(table, arm=arm, calibrated=calibrated)
                row = part[part["metric"] == metric]
                chance = part[part["metric"] == f"{metric}_if_calibrated"]
                place = index + shift
                if len(chance):
                    span = (_one(chance, "low"), _one(chance, "high"))
                    ax.fill_betweenx([place - 0.14, place + 0.14], *span, color="#9CA3AF", alpha=0.4, linewidth=0)
                ax.hlines(place, row["low"], row["high"], color=paint[arm], linewidth=2.0, alpha=0.8)
                ax.plot(
                    row["value"], np.full(len(row), place), linestyle="none", marker=shapes[arm], markersize=6,
                    color=paint[arm], markerfacecolor=paint[arm] if calibrated == "temperature" else "white",
                )  # fmt: skip
                value = _one(row, "value")
                if not math.isnan(value):
                    ax.annotate(
                        _text(value), (value, place), xytext=(0, 5), textcoords="offset points", ha="center",
                        fontsize=7, color=_DARK,
                    )  # fmt: skip
        ax.set_xlabel(label)
        ax.set_yticks(range(len(arms)), [wrapped(short_name(arm, 36), 18) for arm in arms])
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.margins(x=0.08)
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.grid(visible=False, axis="y")
    handles: list[Any] = [
        Line2D([], [], linestyle="none", marker="o", color=_DARK, markerfacecolor="white", label=NAMES["raw"]),
        Line2D([], [], linestyle="none", marker="o", color=_DARK, label=NAMES["temperature"]),
        Patch(color="#9CA3AF", alpha=0.4, linewidth=0, label="if perfectly calibrated"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    title = "Calibration before and after temperature scaling"
    return finished(
        figure, f"calibration-scores-{split}", title,
        "Lower is better everywhere. Lines are bootstrap intervals over photographs. The grey range is where the "
        "binned errors of a perfectly calibrated model fall by chance: a dot inside it shows no miscalibration. NLL "
        "and Brier score also measure how well the classes are told apart, which scaling cannot change much. "
        f"{_basis(table, split)}",
    )  # fmt: skip


def _diagram(ax: Axes, part: pd.DataFrame, colour: str, marker: str) -> None:
    """Points of one reliability diagram."""
    known = part[part["faces"] > 0]
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=":")
    ax.vlines(known["stated"], known["low"], known["high"], color=colour, linewidth=1.3, alpha=0.6, clip_on=False)
    total = max(int(part["faces"].sum()), 1)
    sizes = 18 + 150 * np.sqrt(known["faces"].to_numpy(dtype=float) / total)
    ax.scatter(
        known["stated"], known["observed"], s=sizes, color=colour, marker=marker, edgecolor="white", zorder=3,
        clip_on=False,
    )  # fmt: skip
    if known.empty:
        ax.text(0.5, 0.62, "no temperature", transform=ax.transAxes, ha="center", color=MUTED)
    _unit_square(ax)


def _histogram(ax: Axes, part: pd.DataFrame, colour: str) -> None:
    """Share of the faces in each bin."""
    total = max(int(part["faces"].sum()), 1)
    ax.bar(
        part["lower"], part["faces"] / total, part["upper"] - part["lower"], align="edge", color=colour,
        edgecolor="white", linewidth=0.6,
    )  # fmt: skip
    percent_ticks(ax.yaxis)


def _note(ax: Axes, scores: pd.DataFrame) -> None:
    """The errors of a panel, above it: inside, an interval may run anywhere."""

    def value(metric: str, column: str = "value") -> str:
        return _text(_one(scores[scores["metric"] == metric], column))

    lines = [
        f"ECE {value('ece')} [{value('ece', 'low')}, {value('ece', 'high')}]",
        f"by chance {value('ece_if_calibrated')}, adaptive {value('ece_adaptive')}",
    ]
    ax.annotate(
        "\n".join(lines), (0.5, 1), xycoords="axes fraction", xytext=(0, 9), textcoords="offset points", ha="center",
        va="bottom", fontsize=7.5, color=_DARK,
    )  # fmt: skip


def _corner(ax: Axes, text: str, height: float, colour: str, *, bold: bool = False) -> None:
    """A line of text in the lower right corner, where points rarely are."""
    ax.text(
        0.97, height, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=7.5, color=colour, zorder=4,
        fontweight="bold" if bold else "normal",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
    )  # fmt: skip


def _columns(figure: Figure) -> int:
    """How many legend entries fit side by side."""
    return max(1, int(figure.get_figwidth() // 2.6))


def _unit_square(ax: Axes) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_xticks([0.2, 0.4, 0.6, 0.8, 1.0])  # 0 would run into the panel to the left; the other axis has it
    percent_ticks(ax.xaxis)
    percent_ticks(ax.yaxis)


def _hide_unused(axes: Sequence[Axes], count: int, rows: int, columns: int) -> None:
    """Take away the panels to the right of the last class, in its two rows."""
    for place in range(count, rows * columns):
        for row in (0, 1):
            axes[(2 * (place // columns) + row) * columns + place % columns].set_axis_off()


def _where(table: pd.DataFrame, **where: str) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def _one(rows: pd.DataFrame, column: str) -> float:
    """The value of a single row, NaN without one."""
    return float(rows[column].iloc[0]) if len(rows) else float("nan")


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _basis(scores: pd.DataFrame, split: str) -> str:
    """What the figure rests on."""
    side = {"test": "Test", "val": "Validation", "train": "Training"}[split]
    if scores.empty:
        return f"No {side.lower()} faces."
    overall = scores[scores["class_name"] == ""]
    some = (overall if len(overall) else scores).iloc[0]
    runs = int(scores["runs"].max())
    seeds = f", {runs} seeds together (a face counts once per seed)" if runs > 1 else ", one seed"
    return (
        f"{side} faces: {int(some['faces']):,} of {int(some['images']):,} photographs{seeds}, {int(some['bins'])} bins."
    )
