"""Which explanations can be trusted: means of every measure with intervals, against maps that know nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.comparison.bootstrap import drawn_weights
from maskbench.schemas.faithfulness import FAITHFULNESS_SUMMARY

#: A measure in which less is better.
LOWER_IS_BETTER = frozenset({"deletion", "similarity_random"})
#: Whose map would be the same had the model learned nothing: rank correlations below 0.5 leave over three quarters of
#: the ranks' variance unexplained.
UNCHANGED = 0.5
RANDOM = "random"
#: How figures and tables call the measures, in their order.
MEASURES = {
    "deletion": "deletion area (less is better)",
    "insertion": "insertion area",
    "pointing_lower": "pointing game, lower half",
    "energy_lower": "energy in the lower half",
    "iou_lower": "IoU with the lower half",
    "pointing_mask": "pointing game, true mask",
    "energy_mask": "energy in the true mask",
    "iou_mask": "IoU with the true mask",
    "stability_shift": "stable under a shift",
    "stability_mirror": "stable under mirroring",
    "similarity_random": "similar after all weights were randomised (less is better)",
}

Floats = NDArray[np.float64]


def faithfulness_summary(
    table: pd.DataFrame,
    labels: Mapping[str, str],
    baselines: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Means over faces and seeds, with percentile intervals over photographs.

    Args:
        table: `schemas.faithfulness.FAITHFULNESS`; a method `random` in it is what others are compared with.
        labels: method -> how people call it.
        baselines: methods that know nothing of the model.
        resamples: draws of whole photographs, the same for all methods of an arm.
        confidence: of the intervals.
        seed: of the draws.

    Returns:
        `schemas.faithfulness.FAITHFULNESS_SUMMARY`.
    """
    rows: list[dict[str, Any]] = []
    for arm in dict.fromkeys(table["arm"]):
        part = table[table["arm"] == arm]
        images = sorted(part["image_id"].unique())
        weights = drawn_weights(np.random.default_rng(seed), len(images), resamples)
        means = _Means(part, images, weights, confidence)
        for measure in [name for name in MEASURES if (part["measure"] == name).any()]:
            for method in dict.fromkeys(part["method"]):
                facts = {"arm": str(arm), "method": method, "label": labels[method], "baseline": method in baselines}
                rows.append(facts | means.row(method, measure))
    return pd.DataFrame(rows, columns=list(FAITHFULNESS_SUMMARY.columns))


class _Means:
    """Means of one arm's measures on the same draws of photographs."""

    def __init__(self, table: pd.DataFrame, images: list[str], weights: Floats, confidence: float) -> None:
        self.table, self.weights, self.confidence = table, weights, confidence
        self.position = {image_id: index for index, image_id in enumerate(images)}

    def row(self, method: str, measure: str) -> dict[str, Any]:
        """One row of the summary, but for the names of arm and method."""
        rows = self.table[(self.table["method"] == method) & (self.table["measure"] == measure)]
        value, draws = self._mean(method, measure)
        base, base_draws = self._mean(RANDOM, measure)
        gap = draws - base_draws
        low, high = self._limits(draws)
        gap_low, gap_high = self._limits(gap) if method != RANDOM else (np.nan, np.nan)
        good = gap_high < 0 if measure in LOWER_IS_BETTER else gap_low > 0
        defined = rows["value"].notna()
        return {
            "measure": measure,
            "value": value,
            "low": low,
            "high": high,
            "gap": value - base if method != RANDOM else np.nan,
            "gap_low": gap_low,
            "gap_high": gap_high,
            "better": bool(good),
            "fails": bool(measure == "similarity_random" and low >= UNCHANGED),
            "confidence": self.confidence,
            "faces": int(rows.loc[defined, "face_id"].nunique()),
            "undefined": int((~defined).sum()),
            "images": int(rows.loc[defined, "image_id"].nunique()),
            "seeds": int(rows["seed"].nunique()),
            "reason": "" if defined.any() else str(rows["reason"].iloc[0]),
        }

    def _mean(self, method: str, measure: str) -> tuple[float, Floats]:
        """The mean over faces and seeds, and on every draw; NaN where nothing is defined."""
        rows = self.table[
            (self.table["method"] == method) & (self.table["measure"] == measure) & self.table["value"].notna()
        ]
        if rows.empty:
            return np.nan, np.full(len(self.weights), np.nan)
        places = rows["image_id"].map(self.position).to_numpy()
        size = len(self.position)
        total = np.bincount(places, weights=rows["value"].to_numpy(dtype=float), minlength=size)
        count = np.bincount(places, minlength=size).astype(float)
        drawn = self.weights @ count
        draws = np.divide(self.weights @ total, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
        return float(rows["value"].mean()), draws

    def _limits(self, draws: Floats) -> tuple[float, float]:
        found = draws[np.isfinite(draws)]
        if not len(found):
            return np.nan, np.nan
        tail = (1 - self.confidence) / 2
        return float(np.quantile(found, tail)), float(np.quantile(found, 1 - tail))


def faithfulness_sentences(summary: pd.DataFrame) -> tuple[str, ...]:
    """Which methods say more than a random map, and which would say the same of an untrained model.

    Args:
        summary: of `faithfulness_summary`.
    """
    arms = list(dict.fromkeys(summary["arm"]))
    methods = summary[~summary["baseline"]]
    sentences = []
    for arm in arms:
        part = methods[methods["arm"] == arm]
        both = [
            str(group["label"].iloc[0])
            for _, group in part[part["measure"].isin(["deletion", "insertion"])].groupby("method", sort=False)
            if group["better"].all()
        ]
        faces = int(part["faces"].max())
        sentences.append(
            f"{arm}: by deletion and by insertion, {_listed(both) or 'no method'} say{'s' if len(both) == 1 else ''} "
            f"more than a random map ({faces} faces, intervals over photographs)."
        )
    failing = methods[methods["fails"]]
    named = [f"{row.label} ({row.arm}, {row.value:.2f})" for row in failing.itertuples()]
    sentences.append(
        f"Fail{'s' if len(named) == 1 else ''} the randomisation check, for the map stays the same when all weights "
        f"are drawn anew: {_listed(named)}."
        if named
        else "No method fails the randomisation check: every map changes when all weights are drawn anew."
    )
    return tuple(sentences)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
