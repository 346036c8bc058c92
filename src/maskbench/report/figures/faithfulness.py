"""Figures on how far explanations can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from maskbench.comparison.faithfulness import MEASURES, UNCHANGED
from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, colours, linestyles, markers, new_figure, short_name, wrapped

_COLUMNS = 4


def faithfulness_figures(summary: pd.DataFrame, curves: pd.DataFrame, arms: Sequence[str]) -> list[Drawing]:
    """All figures of this kind."""
    return [fig_faithfulness(summary, arms), fig_deletion_insertion(curves, summary, arms)]


@styled
def fig_faithfulness(summary: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Every measure of every method with its interval, arms beside each other, null maps at the bottom.

    Args:
        summary: `schemas.faithfulness.FAITHFULNESS_SUMMARY`.
        arms: in order.
    """
    measures = [name for name in MEASURES if (summary["measure"] == name).any()]
    order = summary.drop_duplicates("method").sort_values("baseline", kind="stable")
    names, labels = list(order["method"]), list(order["label"])
    nulls = int(order["baseline"].sum())
    rows = -(-len(measures) // _COLUMNS)
    figure, axes = new_figure(rows, _COLUMNS, size=(13.0, rows * (0.85 + 0.23 * len(names)) + 0.9), sharey=True)
    paint, shapes = colours(arms), markers(arms)
    for ax, measure in zip(axes, measures, strict=False):
        for place, arm in enumerate(arms):
            part = summary[(summary["arm"] == arm) & (summary["measure"] == measure)].set_index("method").reindex(names)
            y = [index + (place - (len(arms) - 1) / 2) * 0.28 for index in range(len(names))]
            errors = [part["value"] - part["low"], part["high"] - part["value"]]
            ax.errorbar(
                part["value"], y, xerr=[one.clip(lower=0) for one in errors], fmt=shapes[arm], color=paint[arm],
                markersize=4.5, linewidth=1.2, label=short_name(arm, 30),
            )  # fmt: skip
        ax.axhline(len(names) - nulls - 0.5, color=MUTED, linewidth=0.8)
        if measure == "similarity_random":
            ax.axvline(UNCHANGED, color=MUTED, linewidth=1, linestyle=":")
        ax.set_title(wrapped(MEASURES[measure], 34), fontsize=9)
        ax.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(names)), labels)
    axes[0].invert_yaxis()
    for ax in axes[len(measures) :]:
        ax.set_axis_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms), 3))
    faces, images = int(summary["faces"].max()), int(summary["images"].max())
    return finished(
        figure, "faithfulness", "How far maps can be trusted: every measure, every method",
        "Below the line: maps that know nothing of the model; a method says something where it lies clearly on the "
        "better side of both, the random map and the blob in the middle. Right of the dotted line, maps stay the same "
        f"when the weights are drawn anew: they show the face, not the model. Means over at most {faces} test faces, "
        f"drawn evenly over classes, in {images} photographs and {_runs(summary)}, with "
        f"{summary['confidence'].iloc[0]:.0%} intervals over photographs.",
    )  # fmt: skip


@styled
def fig_deletion_insertion(curves: pd.DataFrame, summary: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Probability of the explained class against the share of pixels taken away or given.

    Args:
        curves: `schemas.faithfulness.FAITHFULNESS_CURVES`.
        summary: gives the methods' labels.
        arms: in order.
    """
    order = summary.drop_duplicates("method").sort_values("baseline", kind="stable")
    labels = dict(zip(order["method"], order["label"], strict=True))
    nulls = set(order.loc[order["baseline"], "method"])
    paint, styles = colours(list(labels)), linestyles(list(labels))
    figure, axes = new_figure(len(arms), 2, size=(9.5, 2.9 * len(arms) + 0.9), sharex=True, sharey=True)
    means = curves.groupby(["arm", "method", "kind", "share"], sort=False)["prob"].mean()
    for row, arm in enumerate(arms):
        for column, kind in enumerate(("deletion", "insertion")):
            ax = axes[2 * row + column]
            for method, label in labels.items():
                part = means[arm, method, kind].sort_index()
                null = method in nulls
                ax.plot(
                    part.index, part, color=MUTED if null else paint[method], linewidth=2.2 if null else 1.4,
                    linestyle=(":" if method == "random" else "--") if null else styles[method], label=label,
                )  # fmt: skip
            ax.set_title(f"{short_name(arm, 30)}: {kind}", fontsize=9)
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            if row == len(arms) - 1:
                ax.set_xlabel("pixels taken away" if kind == "deletion" else "pixels given")
        axes[2 * row].set_ylabel("probability of the explained class")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return finished(
        figure, "deletion-insertion", "Deletion and insertion",
        "Pixels in the order of the map. A good map makes the probability fall early when they are taken away and rise "
        f"early when they are given back to a blurred face; thick grey: maps that know nothing. Means over "
        f"{int(curves['faces'].max())} faces and {_runs(curves)}.",
    )  # fmt: skip


def _runs(table: pd.DataFrame) -> str:
    count = int(table["seeds"].max()) if "seeds" in table else table["seed"].nunique()
    return f"{count} run{'s' if count > 1 else ''} of each arm"
