"""Which explanations can be trusted: means of every measure with intervals, against maps that know nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.eda.bootstrap import LEAST_PHOTOGRAPHS
from maskbench.evaluation.intervals import Kind, drawn_weights, interval
from maskbench.schemas.faithfulness import FAITHFULNESS_SUMMARY

#: A measure in which less is better.
LOWER_IS_BETTER = frozenset({"deletion", "similarity_random"})
#: Whose map would be the same had the model learned nothing: rank correlations below 0.5 leave over three quarters of
#: the ranks' variance unexplained.
UNCHANGED = 0.5
UNTRAINED = "similarity_random"
RANDOM, CENTRE = "random", "centre"
#: Measures of how much the model's answer rests on what a map marks.
FAITHFUL = ("deletion", "insertion")
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
    """Means over faces and seeds, with intervals over photographs.

    Args:
        table: `schemas.faithfulness.FAITHFULNESS`; methods `random` and `centre` in it are what others are compared
            with.
        labels: method -> how people call it.
        baselines: methods that know nothing of the model.
        resamples: draws of whole photographs, the same for all methods of an arm.
        confidence: of the intervals.
        seed: of the draws.

    Returns:
        `schemas.faithfulness.FAITHFULNESS_SUMMARY`; no interval from fewer than `LEAST_PHOTOGRAPHS` photographs.
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
        own = self._mean(method, measure)
        kind: Kind = "share difference" if measure.startswith(("stability", "similarity")) else "share"
        low, high = self._limits(own, kind)
        gaps = {name: self._gap(own, method, null, measure) for name, null in (("gap", RANDOM), ("centre", CENTRE))}
        defined = rows["value"].notna()
        return {
            "measure": measure,
            "value": own.value,
            "low": low,
            "high": high,
            "gap": gaps["gap"][0],
            "gap_low": gaps["gap"][1],
            "gap_high": gaps["gap"][2],
            "centre_gap": gaps["centre"][0],
            "centre_low": gaps["centre"][1],
            "centre_high": gaps["centre"][2],
            "better": measure != UNTRAINED and all(_good(gap, measure) for gap in gaps.values()),
            "check": _check(low, high) if measure == UNTRAINED else "",
            "confidence": self.confidence,
            "maps": int(defined.sum()),
            "undefined": int((~defined).sum()),
            "faces": int(rows.loc[defined, "face_id"].nunique()),
            "images": own.images,
            "seeds": int(rows["seed"].nunique()),
            "reason": self._reason(rows[~defined], own),
        }

    def _reason(self, missing: pd.DataFrame, own: _Mean) -> str:
        if not own.images:
            return str(missing["reason"].iloc[0]) if len(missing) else "not measured"
        few = own.images < LEAST_PHOTOGRAPHS
        return f"no interval from {own.images} photographs: fewer than {LEAST_PHOTOGRAPHS}" if few else ""

    def _gap(self, own: _Mean, method: str, null: str, measure: str) -> tuple[float, float, float]:
        """Difference to a map that knows nothing, on the same draws, with its interval."""
        base = self._mean(null, measure)
        # Of untrained networks such maps are what they are of trained ones: there is nothing to be better than.
        if method in (RANDOM, CENTRE) or measure == UNTRAINED or not base.images:
            return np.nan, np.nan, np.nan
        gap = _Mean(own.value - base.value, own.draws - base.draws, min(own.images, base.images))
        return gap.value, *self._limits(gap, "share difference")

    def _mean(self, method: str, measure: str) -> _Mean:
        """The mean over faces and seeds, and on every draw; NaN where nothing is defined."""
        rows = self.table[
            (self.table["method"] == method) & (self.table["measure"] == measure) & self.table["value"].notna()
        ]
        if rows.empty:
            return _Mean(np.nan, np.full(len(self.weights), np.nan), 0)
        places = rows["image_id"].map(self.position).to_numpy()
        size = len(self.position)
        total = np.bincount(places, weights=rows["value"].to_numpy(dtype=float), minlength=size)
        count = np.bincount(places, minlength=size).astype(float)
        drawn = self.weights @ count
        draws = np.divide(self.weights @ total, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
        return _Mean(float(rows["value"].mean()), draws, int((count > 0).sum()))

    def _limits(self, mean: _Mean, kind: Kind) -> tuple[float, float]:
        if mean.images < LEAST_PHOTOGRAPHS:
            return np.nan, np.nan
        found = interval(np.array([mean.value]), mean.draws[None], mean.images, kind, confidence=self.confidence)
        return found.low, found.high


@dataclass(frozen=True, eq=False)
class _Mean:
    """A mean, the same on every draw of photographs, and how many photographs it rests on."""

    value: float
    draws: Floats
    images: int


def _good(gap: tuple[float, float, float], measure: str) -> bool:
    """Whether the interval of a gap lies on the better side of 0."""
    _, low, high = gap
    return bool(high < 0 if measure in LOWER_IS_BETTER else low > 0)


def _check(low: float, high: float) -> str:
    """What the interval of the likeness to an untrained network's map says."""
    if low >= UNCHANGED:
        return "fails"
    return "passes" if high < UNCHANGED else "undecided"


def faithfulness_sentences(summary: pd.DataFrame) -> tuple[str, ...]:
    """Which methods say more than maps that know nothing, and which would say the same of an untrained model.

    Args:
        summary: of `faithfulness_summary`.
    """
    methods = summary[~summary["baseline"]]
    sentences = [_more_than_nothing(methods[methods["arm"] == arm], arm) for arm in dict.fromkeys(summary["arm"])]
    return (*sentences, _randomisation(methods[methods["measure"] == UNTRAINED]))


def decisions_sentence(summary: pd.DataFrame) -> str:
    """Question 3 about decisions: which maps can be taken as what a model decides by.

    Those that beat both null maps by deletion and by insertion, and that change with the weights.

    Args:
        summary: of `faithfulness_summary`.
    """
    methods = summary[~summary["baseline"]]
    told = []
    for arm, part in methods.groupby("arm", sort=False):
        passing = set(part.loc[(part["measure"] == UNTRAINED) & (part["check"] == "passes"), "method"])
        beyond = part[part["measure"].isin(FAITHFUL)].groupby("method", sort=False)
        names = [str(rows["label"].iloc[0]) for name, rows in beyond if rows["better"].all() and name in passing]
        told.append(f"{_listed(names) or 'no method'} in {arm}")
    return (
        f"To understand decisions: of {methods['method'].nunique()} methods, {_listed(told)} told more of what the "
        "model uses than a blob in the middle of every face and changed when the weights were drawn anew; any other "
        "map is no evidence of what a decision rests on."
    )


def _more_than_nothing(part: pd.DataFrame, arm: str) -> str:
    """Which methods beat which null maps by deletion and by insertion."""
    asked = part[part["measure"].isin(FAITHFUL)]
    both, random_only = [], []
    for _, group in asked.groupby("method", sort=False):
        over_random = [
            _good((float(row["gap"]), float(row["gap_low"]), float(row["gap_high"])), str(row["measure"]))
            for row in group.to_dict("records")
        ]
        if group["better"].all():
            both.append(str(group["label"].iloc[0]))
        elif all(over_random):
            random_only.append(str(group["label"].iloc[0]))
    more = f"; {_listed(random_only)} more than a random map, not more than the blob" if random_only else ""
    return (
        f"{arm}: by deletion and by insertion, {_listed(both) or 'no method'} say{_s(both)} more than a random map and "
        f"than a blob in the middle of every face{more} ({asked['faces'].max()} faces drawn evenly over classes, so no "
        "means of the test set; intervals over photographs)."
    )


def _randomisation(part: pd.DataFrame) -> str:
    """Which methods' maps stay when all weights are drawn anew."""
    told = []
    for state, words in (
        ("fails", "the map stays the same"),
        ("undecided", "undecided"),
        ("passes", "the map changes"),
    ):
        rows = part[part["check"] == state]
        if len(rows):
            named = [f"{row.label} ({row.arm}, {row.value:.2f})" for row in rows.itertuples()]
            told.append(f"{words}: {_listed(named)}")
    if not told:
        return "The randomisation check was not made."
    return f"When all weights are drawn anew (rank correlation of the maps, limit {UNCHANGED:g}), {'; '.join(told)}."


def _s(names: Sequence[str]) -> str:
    return "" if len(names) > 1 else "s"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
