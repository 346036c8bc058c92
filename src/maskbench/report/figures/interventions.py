"""Figures of interventions: what each level costs, and which intervention costs most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, colours, linestyles, markers, new_figure, short_name, wrapped

_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
_NAMES = {"f1_macro": "macro-F1", "accuracy": "accuracy"}
_COLUMNS = 3


@styled
def fig_intervention_curves(curves: pd.DataFrame, arms: Sequence[str], *, metric: str = "f1_macro") -> Drawing:
    """A measurement against the level of each intervention, arms overlaid, with the untouched faces in each curve.

    Args:
        curves: `schemas.INTERVENTION_CURVES`.
        arms: the study's arms, in order.
        metric: `f1_macro` or `accuracy`.
    """
    table, label = curves[curves["metric"] == metric], _NAMES.get(metric, metric)
    names = list(table["intervention"].unique())
    columns = max(1, min(_COLUMNS, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure, axes = new_figure(rows, columns, size=(max(5.0, 3.5 * columns), 2.75 * rows + 0.7), sharey=True)
    for ax, name in zip(axes, names, strict=False):
        _panel(ax, table[table["intervention"] == name], arms)
    for ax in axes[::columns]:
        ax.set_ylabel(f"test {label}")
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    if names:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms) + 1, 3))
    return finished(
        figure, f"interventions-{metric.replace('_', '-')}", f"Interventions on the test faces: {label} by level",
        f"The dotted line marks the untouched faces; away from it the same faces are changed more strongly. Steps "
        f"between levels are not to scale. {_bands(table)}A curve that falls shows a cause, not a mere company, of "
        f"errors; in brackets, how many faces a level changes, where not all. {_basis(table)}",
    )  # fmt: skip


def _panel(ax: Axes, part: pd.DataFrame, arms: Sequence[str]) -> None:
    """The curves of one intervention."""
    paint, shapes, styles = colours(arms), markers(arms), linestyles(arms)
    ax.axvline(0, color=MUTED, linewidth=1.1, linestyle=":", zorder=1, label="untouched")
    for arm in arms:
        rows = part[part["arm"] == arm].sort_values("position")
        ax.fill_between(rows["position"], rows["low"], rows["high"], color=paint[arm], alpha=0.15, linewidth=0)
        ax.plot(
            rows["position"], rows["value"], color=paint[arm], linestyle=styles[arm], marker=shapes[arm],
            markersize=4.5, linewidth=1.6, label=short_name(arm, 30),
        )  # fmt: skip
    levels = part.drop_duplicates("position").sort_values("position")
    ax.set_xticks(
        levels["position"], [_tick(row) for row in levels.to_dict("records")], fontsize=7.5 if len(levels) < 10 else 6.8
    )
    some = levels.iloc[0]
    ax.set(title=wrapped(some["description"], 34), xlabel=some["unit"])
    ax.grid(visible=False, axis="x")
    ax.yaxis.set_major_locator(MaxNLocator(6))


def _tick(row: Mapping[Any, Any]) -> str:
    """A level; under it how many faces it changes, if not all."""
    if row["position"] == 0:
        return "as is"
    text = f"{row['level']:g}"
    return text if row["changed"] == row["faces"] else f"{text}\n({row['changed']})"


@styled
def fig_intervention_ranking(ranking: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """What each intervention costs at its reference level, costliest (over the arms) first.

    Args:
        ranking: `schemas.INTERVENTION_RANKING` of one metric.
        arms: the study's arms, in order.
    """
    label = _NAMES.get(str(ranking["metric"].iloc[0]), "value") if len(ranking) else "value"
    mean = ranking.groupby("intervention", sort=False)["drop"].mean().sort_values(ascending=False, kind="stable")
    names, height = list(mean.index), 0.8 / max(1, len(arms))
    figure, axes = new_figure(size=(7.4, 1.6 + len(names) * max(0.42, 0.24 * len(arms))))
    ax, paint = axes[0], colours(arms)
    for index, arm in enumerate(arms):
        rows = ranking[ranking["arm"] == arm].set_index("intervention").reindex(names)
        places = np.arange(len(names)) + (index - (len(arms) - 1) / 2) * height
        ax.barh(
            places, rows["drop"], height * 0.9, color=paint[arm], edgecolor="white", linewidth=0.6,
            hatch=_HATCHES[index % len(_HATCHES)], label=short_name(arm, 30),
        )  # fmt: skip
        ax.hlines(places, rows["low"], rows["high"], color="#111827", linewidth=1.2)
        for place, drop, high in zip(places, rows["drop"], rows["high"], strict=True):
            missing = pd.isna(drop)
            end = 0.0 if missing else float(np.nanmax([drop, high, 0]))
            text = "–" if missing else f"{drop:.3f}".replace("-", "−")
            ax.annotate(
                text, (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7.5,
                color="#374151",
            )  # fmt: skip
    ax.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
    first = ranking.drop_duplicates("intervention").set_index("intervention")
    ax.set_yticks(range(len(names)), [wrapped(_reference(first.loc[name].to_dict()), 34) for name in names])
    ax.set(ylim=(len(names) - 0.4, -0.6), xlabel=f"drop of test {label} against the untouched faces")
    ax.margins(x=0.12)
    ax.grid(visible=False, axis="y")
    if names:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=max(1, min(len(arms), 3)))
    faces = int(ranking["faces"].max()) if len(ranking) else 0
    return finished(
        figure, "interventions-ranking", f"What a moderate intervention costs: drop of {label}",
        "Lines are intervals of the drop over photographs, paired: where one contains 0, no loss is shown. The levels "
        "were fixed as moderate ones before any model was measured; a stronger level of one intervention may cost more "
        f"than those above it. {faces:,} test face{'' if faces == 1 else 's'}.",
    )  # fmt: skip


def _reference(row: Mapping[Any, Any]) -> str:
    return f"{row['description']} {row['level']:g} {row['unit']}".strip()


def _bands(table: pd.DataFrame) -> str:
    if not len(table) or table["low"].isna().all():
        return "No bands. "
    return f"Bands: {float(table['confidence'].iloc[0]):.0%} intervals over photographs, not over seeds. "


def _basis(table: pd.DataFrame) -> str:
    """On how much the curves rest."""
    if not len(table):
        return "Nothing was measured."
    counts = [int(table[column].max()) for column in ("faces", "images", "seeds")]
    things = ("test face", "photograph", "seed")
    words = [f"{n:,} {thing}{'' if n == 1 else 's'}" for n, thing in zip(counts, things, strict=True)]
    return f"{words[0]} in {words[1]}, {words[2]}."
