"""Figures of question 3: what finds mistakes, and what maps add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from maskbench.comparison.mistakes import CONFIDENCE
from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, colours, markers, new_figure, short_name

_SETS = {
    CONFIDENCE: "largest probability, nothing fitted",
    "probability": "probability, entropy, margin",
    "maps": "features of the maps",
    "both": "both together",
}
#: How figures and tables call the features.
FEATURES = {
    "prob_top": "largest probability",
    "entropy": "entropy of the probabilities",
    "margin": "margin of the two largest",
    "energy_lower": "map in the face's lower half",
    "energy_box": "map inside the face's box",
    "dispersion": "spread of the map",
    "map_entropy": "entropy of the map",
    "peak_x": "peak of the map, across",
    "peak_y": "peak of the map, down",
    "method_agreement": "agreement between methods",
    "arm_agreement": "agreement between arms",
}


def mistake_figures(
    skill: pd.DataFrame, gain: pd.DataFrame, features: pd.DataFrame, arms: Sequence[str]
) -> list[Drawing]:
    """All figures of this kind; none where nothing could be measured."""
    if skill["value"].isna().all():
        return []
    return [fig_mistake_skill(skill, gain, arms), fig_mistake_features(features, arms)]


@styled
def fig_mistake_skill(skill: pd.DataFrame, gain: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """AUC of finding mistakes by what is known, and what the maps add.

    Args:
        skill: `schemas.mistakes.MISTAKE_SKILL`.
        gain: `schemas.mistakes.MISTAKE_GAIN`.
        arms: in order.
    """
    figure, axes = new_figure(1, 2, size=(11.5, 1.7 + 0.45 * len(_SETS)), gridspec_kw={"width_ratios": [1.25, 1]})
    auc = skill[(skill["metric"] == "auc") & skill["model"].isin(["none", "logistic"])]
    _dots(axes[0], auc.rename(columns={"features": "row"}), list(_SETS), arms, "value")
    axes[0].set_yticks(range(len(_SETS)), list(_SETS.values()))
    axes[0].axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
    axes[0].set(title="AUC of finding mistakes", xlabel="AUC (0.5: chance)")
    both = gain[(gain["metric"] == "auc") & (gain["features"] == "both")]
    rows = {f"{model}, {base}": f"{model}, over {_short(base)}" for model in ("logistic", "forest")
            for base in ("probability", CONFIDENCE)}  # fmt: skip
    both = both.assign(row=both["model"] + ", " + both["baseline"])
    _dots(axes[1], both, list(rows), arms, "gain")
    axes[1].set_yticks(range(len(rows)), list(rows.values()))
    margin = float(gain["margin"].iloc[0])
    axes[1].axvspan(-margin, margin, color=MUTED, alpha=0.15, linewidth=0)
    axes[1].axvline(0, color=MUTED, linewidth=1, linestyle=":")
    axes[1].set(title="What maps add to it", xlabel="gain of AUC")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms), 3))
    row = skill.iloc[0]
    return finished(
        figure, "mistake-skill", "Do explanations find mistakes that probabilities do not?",
        "A gain is shown where its interval lies right of 0; the grey band marks gains too small to matter. Every "
        "face is scored by a model that has not seen its photograph. "
        f"{'; '.join(_basis(skill, arm) for arm in arms)}; {row['confidence']:.0%} intervals over photographs.",
    )  # fmt: skip


def _short(base: str) -> str:
    return "the largest alone" if base == CONFIDENCE else "probabilities"


def _basis(skill: pd.DataFrame, arm: str) -> str:
    row = skill[skill["arm"] == arm].iloc[0]
    return f"{arm}: {row['mistakes']} mistakes in {row['predictions']} predictions of {row['faces']} faces"


def _dots(ax: Axes, table: pd.DataFrame, rows: Sequence[str], arms: Sequence[str], value: str) -> None:
    """Values with intervals, a row each, arms side by side."""
    paint, shapes = colours(arms), markers(arms)
    for place, arm in enumerate(arms):
        part = table[table["arm"] == arm].drop_duplicates("row").set_index("row").reindex(list(rows))
        y = np.arange(len(rows)) + (place - (len(arms) - 1) / 2) * 0.25
        bounds = part[[value, "low", "high"]].to_numpy(dtype=float)
        errors = np.nan_to_num(np.stack([bounds[:, 0] - bounds[:, 1], bounds[:, 2] - bounds[:, 0]])).clip(0)
        ax.errorbar(
            part[value], y, xerr=errors, fmt=shapes[arm], color=paint[arm], markersize=5, linewidth=1.3,
            label=short_name(arm, 30),
        )  # fmt: skip
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")


@styled
def fig_mistake_features(features: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Each feature alone.

    Args:
        features: `schemas.mistakes.MISTAKE_FEATURES`.
        arms: in order.
    """
    names = list(features.drop_duplicates("feature")["feature"])
    figure, (ax,) = new_figure(1, 1, size=(8.0, 1.5 + 0.32 * len(names)))
    _dots(ax, features.rename(columns={"feature": "row"}), names, arms, "auc")
    ax.set_yticks(range(len(names)), [FEATURES.get(name, name) for name in names])
    ax.axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
    kinds = list(features.drop_duplicates("feature")["kind"])
    ax.axhline(kinds.count("probability") - 0.5, color=MUTED, linewidth=0.8)
    ax.set(xlabel="AUC of the feature alone (0.5: says nothing)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms), 3))
    return finished(
        figure, "mistake-features", "Which single features go with mistakes",
        "Right of 0.5: misclassified faces have larger values, left of it smaller ones. Above the line what the "
        f"probabilities say, below it what the maps say. {'; '.join(_basis(features, arm) for arm in arms)}; "
        "intervals over photographs.",
    )  # fmt: skip
