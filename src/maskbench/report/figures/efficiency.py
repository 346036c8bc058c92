"""Figures of data efficiency: learning curves, what a label is worth, and fine-tuning regimes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import colours, linestyles, markers, new_figure, short_name, wrapped

_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
_DARK = "#374151"
#: What an interval is for, by its basis.
_OVER = {
    "seeds": "another seed",
    "photographs": "other test photographs",
    "photographs and seeds": "other test photographs and another seed",
}


@styled
def fig_learning_curves(
    curves: pd.DataFrame,
    worth: pd.DataFrame,
    arms: Sequence[str],
    *,
    metric: str = "f1_macro",
    label: str = "test macro-F1",
) -> Drawing:
    """A figure over the number of training faces, with intervals, and arrows for what labels are worth.

    Args:
        curves: `schemas.LEARNING_CURVES`.
        worth: `schemas.LABEL_WORTH` of the same metric, may be empty.
        arms: the study's arms, in order.
        metric: name of the metric.
        label: what it is, for the axis.
    """
    table = curves[curves["metric"] == metric]
    figure, axes = new_figure(size=(6.6, 4.4))
    ax, paint, shapes, styles = axes[0], colours(arms), markers(arms), linestyles(arms)
    for arm in arms:
        part = table[(table["arm"] == arm) & table["mean"].notna()].sort_values("train_faces")
        ax.fill_between(part["train_faces"], part["low"], part["high"], color=paint[arm], alpha=0.15, linewidth=0)
        ax.plot(
            part["train_faces"], part["mean"], color=paint[arm], linestyle=styles[arm], marker=shapes[arm],
            markersize=5, linewidth=1.7, label=short_name(arm, 30),
        )  # fmt: skip
    ax.set(xscale="log", xlabel="training faces (share of all)", ylabel=label)
    _arrows(ax, worth[worth["metric"] == metric] if len(worth) else worth)
    _share_ticks(ax, table)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=max(1, min(len(arms), 3)))
    bases = [text for basis, text in _OVER.items() if (table["basis"] == basis).any()]
    bands = f"Bands: intervals for {' or '.join(bases)}. " if bases else "No bands. "
    some = worth["baseline"].iloc[0] if len(worth) else ""
    arrows = (
        f"An arrow leads from a point to the place where {some} is as good, with the factor between their numbers of "
        f"faces; '>' where {some} never is, among the faces there are. "
        if some
        else ""
    )
    runs = int(table["runs"].max()) if len(table) else 0
    title = f"Data efficiency: {label} by number of training faces"
    return finished(
        figure, f"learning-curves-{metric.replace('_', '-')}", title,
        f"The horizontal axis is logarithmic: equal steps are equal factors. {bands}{arrows}Where bands overlap, the "
        f"factor is uncertain. {runs} seed{'' if runs == 1 else 's'} a point.",
    )  # fmt: skip


def _arrows(ax: Axes, worth: pd.DataFrame) -> None:
    """From each point of the arm to where the baseline is as good."""
    for row in worth.to_dict("records"):
        here, value, there = float(row["train_faces"]), float(row["value"]), float(row["baseline_faces"])
        text = f"×{row['worth']:.2g}"
        if math.isnan(there):
            there = float(row["at_least"])
            if math.isnan(there) or there <= here:
                continue
            text = f">×{there / here:.2g}"
        if math.isclose(here, there, rel_tol=0.02):
            continue
        ax.annotate(
            "", (there, value), (here, value), zorder=1,
            arrowprops={"arrowstyle": "->", "color": _DARK, "linewidth": 0.9, "linestyle": ":"},
        )  # fmt: skip
        ax.annotate(
            text, (float(np.sqrt(here * there)), value), xytext=(0, 2), textcoords="offset points", ha="center",
            fontsize=7.5, color=_DARK,
        )  # fmt: skip


def _share_ticks(ax: Axes, table: pd.DataFrame) -> None:
    """A tick at each share of the training faces, with the number of faces and the share."""
    places = table.groupby("fraction")["train_faces"].mean().sort_values()
    names = {float(x): f"{x:,.0f}\n{share:.3g}" for share, x in zip(places.index * 100, places, strict=True)}
    ax.xaxis.set_major_locator(FixedLocator(list(names)))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: (names[min(names, key=lambda at: abs(at - x))] + " %") if names else "")
    )
    ax.xaxis.set_minor_locator(NullLocator())


@styled
def fig_regimes(
    regimes: pd.DataFrame, arms: Sequence[str], *, metric: str = "f1_macro", label: str = "test macro-F1"
) -> Drawing:
    """Fine-tuning regimes side by side: the figure with its interval, trained parameters, seconds.

    Args:
        regimes: `schemas.REGIMES`.
        arms: the study's arms, in order; those without regimes are left out.
        metric: name of the metric.
        label: what it is, for the axis.
    """
    table = regimes[regimes["metric"] == metric]
    names, shown = list(table["regime"].unique()), [arm for arm in arms if (table["arm"] == arm).any()]
    figure, axes = new_figure(
        1, 3, size=(9.6, 1.7 + 0.34 * len(names) * max(1, len(shown)) + 0.3), sharey=True, width_ratios=[1.4, 1, 1]
    )
    paint, height = colours(arms), 0.8 / max(1, len(shown))
    for index, arm in enumerate(shown):
        rows = table[table["arm"] == arm].set_index("regime").reindex(names)
        places = np.arange(len(names)) + (index - (len(shown) - 1) / 2) * height
        for ax, column in zip(axes, ("mean", "trained_parameters", "seconds"), strict=True):
            ax.barh(
                places, rows[column], height * 0.9, color=paint[arm], edgecolor="white", linewidth=0.6,
                hatch=_HATCHES[list(arms).index(arm) % len(_HATCHES)], label=short_name(arm, 30),
            )  # fmt: skip
            for place, value, end in zip(places, rows[column], rows["high"], strict=True):
                missing = pd.isna(value)
                reach = 0 if missing else max(value, end) if column == "mean" and not pd.isna(end) else value
                ax.annotate(
                    "–" if missing else f"{value:.3f}" if column == "mean" else f"{value:,.0f}", (reach, place),
                    xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5, color=_DARK,
                )  # fmt: skip
        axes[0].hlines(places, rows["low"], rows["high"], color="#111827", linewidth=1.3)
    for ax, name in zip(axes, (label, "trained parameters", "seconds of training"), strict=True):
        ax.set_xlabel(name)
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.margins(x=0.28)
        ax.set_xlim(left=0)
    if table["mean"].max() <= 1:
        axes[0].xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))  # room for labels is no share
    axes[0].set_yticks(range(len(names)), [wrapped(short_name(name, 36), 18) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for ax in axes[1:]:
        ax.xaxis.set_major_formatter(FuncFormatter(_short_count))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=max(1, min(len(shown), 3)))
    runs = int(table["runs"].max()) if len(table) else 0
    what = " or ".join(text for basis, text in _OVER.items() if (table["basis"] == basis).any())
    title = "Fine-tuning regimes side by side"
    return finished(
        figure, f"regimes-{metric.replace('_', '-')}", title,
        f"{f'Lines are intervals for {what}. ' if what else 'No intervals. '}A regime that trains few parameters and "
        "comes close to the best is a bargain; where lines overlap, no difference is shown. Trained parameters are "
        f"those that learn at the end. {runs} seed{'' if runs == 1 else 's'} a bar.",
    )  # fmt: skip


def _short_count(value: float, _position: object) -> str:
    """A large number on an axis: 5M, 20k."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
