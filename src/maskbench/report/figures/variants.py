"""Figures of variants of the study: each experiment's levels, every arm, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import colours, markers, new_figure, wrapped

#: What each experiment varies, for title and axis.
WORDS = {
    "leakage": ("What leakage does: faces split at random against whole photographs", "split"),
    "losses": ("Losses and sampling strategies", "loss or sampler"),
    "imbalance": ("Balance of the classes at equal size of the training set", "balance"),
    "label_noise": ("Wrong labels in the training set", "share of the training labels"),
}


def variant_figures(
    summary: pd.DataFrame, arms: Sequence[str], experiments: Sequence[str], metric: str = "f1_macro"
) -> list[Drawing]:
    """One figure per experiment that was run.

    Args:
        summary: `schemas.experiments.VARIANT_SUMMARY`.
        arms: the study's arms, in order.
        experiments: those wanted, in order.
        metric: over all classes.
    """
    return [fig_variant(summary, arms, name, metric) for name in experiments if (summary["experiment"] == name).any()]


@styled
def fig_variant(summary: pd.DataFrame, arms: Sequence[str], experiment: str, metric: str = "f1_macro") -> Drawing:
    """Levels of an experiment from left to right, arms side by side.

    Args:
        summary: `schemas.experiments.VARIANT_SUMMARY`.
        arms: the study's arms, in order.
        experiment: the one drawn.
        metric: over all classes.
    """
    table = summary[(summary["experiment"] == experiment) & (summary["metric"] == metric)]
    table = table[table["class_name"] == ""]
    levels = list(dict.fromkeys(table["level"]))
    title, axis = WORDS.get(experiment, (experiment.replace("_", " "), "level"))
    figure, axes = new_figure(size=(max(6.0, 1.6 + 1.2 * len(levels)), 3.9))
    ax, paint, shapes = axes[0], colours(arms), markers(arms)
    shown = [arm for arm in arms if (table["arm"] == arm).any()]
    for place, arm in enumerate(shown):
        part = table[table["arm"] == arm].set_index("level").reindex(levels)
        places = np.arange(len(levels)) + (place - (len(shown) - 1) / 2) * min(0.2, 0.6 / len(shown))
        values = part["value"].to_numpy(dtype=float)
        reach = np.abs(part[["low", "high"]].to_numpy(dtype=float).T - values)
        ordered = "-" if part["amount"].notna().all() else "none"
        ax.errorbar(places, values, yerr=reach, color=paint[arm], marker=shapes[arm], linestyle=ordered, linewidth=1.2,
                    capsize=3, label=arm)  # fmt: skip
    reference = str(table["reference"].iloc[0])
    names = [f"{level}\n(reference)" if level == reference else level for level in levels]
    ax.set_xticks(np.arange(len(levels)), [wrapped(name, 18) for name in names])
    ax.set_xlim(-0.6, len(levels) - 0.4)
    ax.set_xlabel(axis)
    ax.set_ylabel("test macro-F1" if metric == "f1_macro" else metric.replace("_", " "))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=max(1, min(len(shown), 3)))
    row = table.iloc[0]
    caption = (
        f"Points are means over {row['seeds']} run{'s' if row['seeds'] > 1 else ''} of each arm, bars their "
        f"{row['confidence']:.0%} intervals over {row['covers']} ({row['faces']} test faces, {row['images']} "
        "photographs at the first level). Look for levels whose bars lie apart from those of the reference; the table "
        "gives the interval of the difference itself, which is narrower where both were measured on the same faces."
    )
    return finished(figure, f"variants_{experiment}", title, caption)
