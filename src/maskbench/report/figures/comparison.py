"""Figures of question 1: the arms over all seeds, their paired differences, and every seed by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from maskbench.comparison.answer import p_text
from maskbench.comparison.paired import LOWER_IS_BETTER, UNDECIDED
from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.evaluation import HEADLINES
from maskbench.report.style import MUTED, colours, markers, new_figure, short_name, wrapped

_INK = "#111827"
_LOSS = "Cross-entropy, nats\n(lower is better)"
#: In place of a verdict, where the interval is missing that it needs.
NO_INTERVAL = "no interval, no verdict"
#: Seeds that get their number written beside their line.
_MOST_LABELS = 12


def comparison_figures(
    seeds: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame, classes: Sequence[str], arms: Sequence[str]
) -> list[Drawing]:
    """All figures of this module, in the report's order.

    Args:
        seeds: `schemas.COMPARISON_SEEDS`.
        summary: `schemas.COMPARISON_SUMMARY`.
        differences: `schemas.COMPARISON_DIFFERENCES`, empty for a single arm.
        classes: class order.
        arms: the study's arms, in order.
    """
    pairs = list(dict.fromkeys(zip(differences["arm"], differences["baseline"], strict=True)))
    return [
        fig_summary_forest(summary, seeds, classes, arms),
        *(fig_difference_forest(differences, classes, arm, baseline, n) for n, (arm, baseline) in enumerate(pairs, 1)),
        *([fig_seed_slopes(seeds, arms)] if len(arms) > 1 else []),
    ]


@styled
def fig_summary_forest(
    summary: pd.DataFrame, seeds: pd.DataFrame, classes: Sequence[str], arms: Sequence[str]
) -> Drawing:
    """Forest plot: mean over seeds of every arm with its interval, and a small dot for every seed.

    Args:
        summary: `schemas.COMPARISON_SUMMARY`.
        seeds: `schemas.COMPARISON_SEEDS`.
        classes: class order.
        arms: the study's arms, in order.
    """
    rows = [*((metric, "") for metric in HEADLINES), *(("f1", name) for name in classes)]
    pitch = max(0.5, 0.2 * len(arms) + 0.15)
    sizes = [0.7 + pitch * len(rows), 0.7 + pitch]
    figure, axes = new_figure(
        2, 1, size=(8.2, sum(sizes) + 0.9 + 0.18 * -(-len(arms) // 2)), gridspec_kw={"height_ratios": sizes}
    )
    paint, shapes = colours(arms), markers(arms)
    for ax, part in zip(axes, (rows, [("loss", "")]), strict=True):
        for index, arm in enumerate(arms):
            places = np.arange(len(part)) + (index - (len(arms) - 1) / 2) * 0.72 / len(arms)
            means, single = summary[summary["arm"] == arm], seeds[seeds["arm"] == arm]
            _intervals(ax, _picked(means, part), places, paint[arm], shapes[arm], short_name(arm, 40))
            for place, (metric, name) in zip(places, part if seeds["seed"].nunique() > 1 else [], strict=False):
                values = single.loc[(single["metric"] == metric) & (single["class_name"] == name), "value"]
                ax.plot(
                    values, np.full(len(values), place), linestyle="none", marker=".", markersize=4, color=_INK,
                    alpha=0.55, zorder=4,
                )  # fmt: skip
        _rows_axis(ax, [_row_name(metric, name) for metric, name in part])
    axes[0].set_xlabel("share, or area under the curve")
    axes[1].set_xlabel("nats")
    _within(
        axes[0], summary[[pair in rows for pair in zip(summary["metric"], summary["class_name"], strict=True)]], 0, 1
    )
    _within(axes[1], summary[summary["metric"] == "loss"], 0, None)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    title = "The arms over all seeds"
    return finished(
        figure, "comparison-arms", title,
        f"Large markers: {_means(summary)}. Bars: {_confidence(summary)} intervals over {_covers(summary)}, from "
        f"{_basis(summary)}. Bars of two arms may overlap although the arms differ, since both were measured on the "
        "same photographs: read the paired differences. The fewer photographs show a class, the longer its bar. A "
        "triangle marks a bar that goes on beyond the figure.",
    )  # fmt: skip


@styled
def fig_difference_forest(
    differences: pd.DataFrame, classes: Sequence[str], arm: str, baseline: str, number: int = 1
) -> Drawing:
    """Forest plot of one pair's differences around zero, with Holm's p and the verdict at the side.

    Args:
        differences: `schemas.COMPARISON_DIFFERENCES`.
        classes: class order.
        arm: one arm.
        baseline: the other.
        number: of the pair, for the file's name.
    """
    table = differences[(differences["arm"] == arm) & (differences["baseline"] == baseline)]
    rows = [*((metric, "") for metric in HEADLINES), ("loss", "")]
    rows += [(metric, name) for metric in ("f1", "roc_auc") for name in classes]
    measured = set(zip(table["metric"], table["class_name"], strict=True))
    rows = [row for row in rows if row in measured]
    figure, axes = new_figure(size=(8.6, 1.9 + 0.33 * len(rows)))
    ax, picked = axes[0], _picked(table, rows)
    shown = ~picked["verdict"].isin(UNDECIDED).to_numpy()
    places = np.arange(len(rows))
    _intervals(ax, picked, places, _INK, "o", "", hollow=~shown)
    ax.axvline(0, color=MUTED, linewidth=1.2, linestyle="--", zorder=1)
    _rows_axis(ax, [_row_name(metric, name) for metric, name in rows])
    # Shares differ by 1 at most, cross-entropies by any number of nats.
    losses = picked.loc[picked["metric"].isin(LOWER_IS_BETTER), ["value", "low", "high"]]
    reach = float(np.nanmax([1.0, *losses.abs().max()]))
    _within(ax, picked, -reach, reach, holds=0.0)
    right = ax.secondary_yaxis("right")
    right.set_yticks(
        places,
        [f"{p_text(row['p_holm'])}   {_short_verdict(row)}" for row in picked.to_dict("records")],
        fontsize=8,
    )
    right.tick_params(length=0, pad=9)
    right.spines["right"].set_visible(False)
    for label, bold in zip(right.get_yticklabels(), shown, strict=True):
        label.set_fontweight("bold" if bold else "normal")
    for name, side, words in ((baseline, "right", "← {} higher"), (arm, "left", "{} higher →")):
        ax.annotate(
            words.format(short_name(name, 30)), (0, 1), xycoords=("data", "axes fraction"), ha=side, va="bottom",
            xytext=(6 if side == "left" else -6, 4), textcoords="offset points", fontsize=8, color="#374151",
        )  # fmt: skip
    ax.set_xlabel("difference")
    title = f"{short_name(arm, 40)} minus {short_name(baseline, 40)}, paired by photograph"
    tests = len(differences)
    alpha = float(table["alpha"].iloc[0]) if len(table) else 0.05
    return finished(
        figure, f"comparison-differences-{number}", title,
        f"Mean over {_seed_count(table)}; bars: {_confidence(table)} intervals over {_covers(table)}, from "
        f"{_basis(table)}. At the side: p of the permutation test that swaps whole photographs, corrected by Holm "
        f"over {tests} differences, and the verdict. A filled marker is a difference that is shown: p at most "
        f"{alpha:g} and an interval without 0. A hollow one is no proof that the arms are equal: all values inside its "
        f"bar fit the data. A triangle marks a bar that goes on beyond the figure. {_without_interval(picked)}".strip(),
    )  # fmt: skip


@styled
def fig_seed_slopes(seeds: pd.DataFrame, arms: Sequence[str], metric: str = "f1_macro") -> Drawing:
    """Slope chart: one line per seed from arm to arm.

    Args:
        seeds: `schemas.COMPARISON_SEEDS`.
        arms: the study's arms, in order.
        metric: over all classes.
    """
    table = seeds[(seeds["metric"] == metric) & (seeds["class_name"] == "")]
    wide = table.pivot_table(index="seed", columns="arm", values="value", dropna=False).reindex(columns=list(arms))
    figure, axes = new_figure(size=(max(4.6, 1.6 + 1.5 * len(arms)), 3.9))
    ax, paint, shapes = axes[0], colours(arms), markers(arms)
    places = np.arange(len(arms))
    for values in wide.to_numpy(dtype=float):
        ax.plot(places, values, color=MUTED, linewidth=1.0, alpha=0.8, zorder=2)
    for place, arm in zip(places, arms, strict=True):
        ax.plot(
            np.full(len(wide), place), wide[arm], linestyle="none", marker=shapes[arm], color=paint[arm],
            markersize=6, markeredgecolor="white", markeredgewidth=0.6, zorder=3,
        )  # fmt: skip
    if len(wide) > 1:
        means = wide.mean().to_numpy(dtype=float)
        ax.plot(places, means, color=_INK, linewidth=2.2, linestyle="--", zorder=4)
        first = int(np.argmax(~np.isnan(means)))
        ax.annotate(
            "mean", (first, means[first]), xytext=(-9, 0), textcoords="offset points", ha="right", va="center",
            fontsize=8, fontweight="bold",
        )  # fmt: skip
    ax.set_xticks(places, [wrapped(short_name(arm, 40), 16) for arm in arms])
    ax.set_xlim(-0.4, len(arms) - 0.45)
    low, high = np.nanmin(wide.to_numpy(dtype=float)), np.nanmax(wide.to_numpy(dtype=float))
    spread = max(high - low, 0.02)  # a smaller one would blow up what does not matter
    ax.set_ylim((low + high) / 2 - 0.62 * spread, (low + high) / 2 + 0.62 * spread)
    ax.grid(visible=False, axis="x")
    ax.set_ylabel(HEADLINES.get(metric, metric))
    _seed_labels(ax, wide)
    both = wide.dropna()
    up = int((both.iloc[:, -1] > both.iloc[:, 0]).sum()) if len(arms) > 1 else 0
    reading = (
        f"{arms[-1]} is above {arms[0]} in {up} of {len(both)}. "
        + "Lines that cross say that the seed decides which arm is ahead. " * (len(wide) > 1)
        if len(arms) > 1
        else ""
    )
    return finished(
        figure, f"comparison-seeds-{metric.replace('_', '-')}", f"{HEADLINES.get(metric, metric)} of every seed",
        f"One line per seed: its arms were trained with the same batches and tested on the same faces. {reading}"
        f"From {_basis(table)} in each seed; {len(wide)} seed{'' if len(wide) == 1 else 's'}.",
    )  # fmt: skip


def _intervals(
    ax: Axes, rows: pd.DataFrame, places: np.ndarray, colour: str, marker: str, label: str,
    hollow: np.ndarray | None = None,
) -> None:  # fmt: skip
    """A bar from low to high and a marker at the value of each row."""
    known = rows[["low", "high"]].notna().all(axis=1).to_numpy()
    low, high = rows.loc[known, "low"], rows.loc[known, "high"]
    ax.hlines(places[known], low, high, color=colour, linewidth=2.2, alpha=0.75, zorder=2)
    values = rows["value"].to_numpy(dtype=float)
    empty = np.zeros(len(rows), dtype=bool) if hollow is None else hollow
    style = {"linestyle": "none", "marker": marker, "color": colour, "markersize": 6.5, "zorder": 3}
    ax.plot(values[~empty], places[~empty], label=label or None, **style)  # type: ignore[arg-type]
    if empty.any():
        ax.plot(values[empty], places[empty], markerfacecolor="white", **style)  # type: ignore[arg-type]
    for place, value in zip(places, values, strict=True):
        if np.isnan(value):
            ax.annotate("–", (0.01, place), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=9)


def _within(ax: Axes, rows: pd.DataFrame, least: float | None, most: float | None, holds: float = float("nan")) -> None:
    """Limits that hold all values, `holds` and bars of usual length; bars that are longer end in a triangle."""
    values = rows["value"].to_numpy(dtype=float)
    if np.isnan(values).all():
        return
    reach = (rows["high"] - rows["low"]).to_numpy(dtype=float)
    usual = 4 * np.nanmedian(reach) if not np.isnan(reach).all() else 0.1
    lows, highs = rows["low"].fillna(rows["value"]), rows["high"].fillna(rows["value"])
    low = np.nanmin([*np.fmin(values, np.fmax(lows, values - usual)), holds])
    high = np.nanmax([*np.fmax(values, np.fmin(highs, values + usual)), holds])
    margin = 0.04 * max(high - low, 1e-3)
    left = low - margin if least is None else max(low, least) - margin
    right = high + margin if most is None else min(high, most) + margin
    ax.set_xlim(left, right)
    for collection in ax.collections:
        for (start, place), (end, _) in getattr(collection, "get_segments", list)():
            for beyond, edge, marker in ((start < left, left, "<"), (end > right, right, ">")):
                if beyond:
                    ax.plot([edge], [place], marker=marker, color=collection.get_edgecolor()[0], clip_on=False)


def _rows_axis(ax: Axes, names: Sequence[str]) -> None:
    """Rows from top to bottom, every second one shaded."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0, pad=8)
    for row in range(0, len(names), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#F3F4F6", zorder=0)


def _seed_labels(ax: Axes, wide: pd.DataFrame) -> None:
    """The number of each seed at the right end of its line, moved apart where they would overlap."""
    ends = wide.iloc[:, -1].dropna().sort_values()
    if not 1 < len(ends) <= _MOST_LABELS:
        return
    low, high = ax.get_ylim()
    gap, spots = (high - low) * 0.045, ends.to_numpy(dtype=float).copy()
    for i in range(1, len(spots)):
        spots[i] = max(spots[i], spots[i - 1] + gap)
    spots -= (spots - ends.to_numpy(dtype=float)).mean()
    place = wide.shape[1] - 1
    for seed, value, spot in zip(ends.index, ends, spots, strict=True):
        ax.annotate(
            f"seed {seed}", (place, value), xytext=(place + 0.12, spot), textcoords="data", va="center", fontsize=7.5,
            color="#374151", arrowprops={"arrowstyle": "-", "color": "#9CA3AF", "linewidth": 0.6, "shrinkB": 4},
        )  # fmt: skip


def _picked(table: pd.DataFrame, rows: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The rows of these measurements, in this order; NaN where there is none."""
    index = pd.MultiIndex.from_tuples(list(rows), names=["metric", "class_name"])
    return table.set_index(["metric", "class_name"]).reindex(index).reset_index()


def _row_name(metric: str, name: str) -> str:
    if metric in LOWER_IS_BETTER:
        return _LOSS
    if name:
        return f"{ {'f1': 'F1', 'roc_auc': 'AUC'}.get(metric, metric) } of {short_name(name, 28)}"
    return HEADLINES[metric]


def _short_verdict(row: Mapping[Any, Any]) -> str:
    """The verdict; where there is no interval none can be given, which is no word on the difference."""
    if not isinstance(row["verdict"], str):
        return "–"
    return short_name(NO_INTERVAL if np.isnan(row["low"]) else row["verdict"], 40)


def _without_interval(picked: pd.DataFrame) -> str:
    """How many rows have none."""
    rows = picked[picked["low"].isna() & picked["value"].notna()]
    if rows.empty:
        return ""
    verb = "row has" if len(rows) == 1 else "rows have"
    return f"{len(rows)} {verb} no interval and therefore no verdict: the table's `reason` says why."


def _means(table: pd.DataFrame) -> str:
    several = len(table) and int(table["seeds"].max()) > 1
    return f"mean over {_seed_count(table)}; small dots: single seeds" if several else "one seed"


def _seed_count(table: pd.DataFrame) -> str:
    count = int(table["seeds"].max()) if len(table) else 0
    return f"{count} seed{'' if count == 1 else 's'}"


def _confidence(table: pd.DataFrame) -> str:
    return f"{float(table['confidence'].iloc[0]):.0%}" if len(table) else "95%"


def _covers(table: pd.DataFrame) -> str:
    return " or ".join(dict.fromkeys(table["covers"]))


def _basis(table: pd.DataFrame) -> str:
    if table.empty:
        return "no faces"
    images, faces = int(table["images"].max()), int(table["faces"].max())
    return f"{images} test photograph{'' if images == 1 else 's'} with {faces} face{'' if faces == 1 else 's'}"
