"""Question 3: do explanations tell which faces are misclassified, beyond what the probabilities tell?

Features of the maps and of the probabilities are used to predict mistakes on photographs that the predicting model
has not seen. What maps are needed for is what they add there: the paired difference of both together to the
probabilities alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from maskbench.comparison.concordance import average_precision, wrong_right_pairs
from maskbench.eda.bootstrap import LEAST_PHOTOGRAPHS, Resamples, draw_resamples
from maskbench.evaluation.intervals import Kind, interval
from maskbench.schemas.mistakes import MISTAKE_FEATURES, MISTAKE_GAIN, MISTAKE_SKILL

#: Features of the probabilities: the baseline.
PROBABILITY = ("prob_top", "entropy", "margin")
#: A gain of AUC below this changes little: of 100 pairs of a wrong and a right face it sorts two more.
MARGIN = 0.02
#: Strength of the ridge penalty's inverse: few mistakes carry few coefficients.
_C = 0.1
_TREES, _LEAST_LEAF = 100, 5
#: Partitions into folds that scores are compared over, so that one lucky partition decides nothing.
PARTITIONS = 3
#: With fewer, a model would be fitted on half of the mistakes or less.
LEAST_FOLDS = 3
#: The check need not be as exact as the answer; what it is compared with is taken over the same partitions.
_PARTITIONS_OF = {"forest": 1}
CONFIDENCE = "confidence"
#: Agreement with the maps of the other arms: a second model's opinion, so no part of what maps of one model say.
ARMS = "arm_agreement"
#: Deals that are tried for folds whose training parts all hold mistakes.
_DEALS = 20

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: By model and features, then by metric: of all faces, then of every draw of photographs.
Measured = dict[tuple[str, str], dict[str, Floats]]


@dataclass(frozen=True)
class MistakeTables:
    """What was found.

    Attributes:
        skill: `schemas.mistakes.MISTAKE_SKILL`.
        gain: `schemas.mistakes.MISTAKE_GAIN`.
        features: `schemas.mistakes.MISTAKE_FEATURES`.
    """

    skill: pd.DataFrame
    gain: pd.DataFrame
    features: pd.DataFrame


def probability_features(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """What the probabilities alone say of how sure a model is.

    Args:
        predictions: `schemas.PREDICTIONS`.
        classes: class order.

    Returns:
        Rows of `predictions` with `arm`, `seed`, `face_id`, `image_id`, `wrong` and `PROBABILITY`: the largest
        probability, the entropy in nats, and the difference of the two largest.

    Raises:
        ValueError: a class has no column of probabilities.
    """
    missing = [f"prob_{name}" for name in classes if f"prob_{name}" not in predictions]
    if missing:
        raise ValueError(f"predictions: columns missing: {', '.join(missing)}")
    probs = predictions[[f"prob_{name}" for name in classes]].to_numpy(dtype=float)
    ordered = np.sort(probs, axis=1)
    safe = np.maximum(probs, 1e-300)
    found = predictions[["arm", "seed", "face_id", "image_id"]].copy()
    found["wrong"] = ~predictions["correct"].to_numpy(dtype=bool)
    found["prob_top"] = ordered[:, -1]
    found["entropy"] = -(probs * np.log(safe)).sum(axis=1)
    found["margin"] = ordered[:, -1] - ordered[:, -2]
    return found


def mistake_models(
    table: pd.DataFrame,
    maps: Sequence[str],
    *,
    folds: int = 5,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> MistakeTables:
    """Predict mistakes from probabilities, from maps, and from both, for each arm.

    Args:
        table: of `probability_features`, joined with one column per feature of the maps (NaN: undefined).
        maps: names of those columns.
        folds: of whole photographs, with mistakes spread evenly; fewer where mistakes lie in fewer photographs.
        resamples: draws of photographs for intervals; models are not fitted again, so these cover the choice of test
            photographs.
        confidence: of the intervals.
        seed: of folds, forests and draws.

    Returns:
        The tables. For AUC, predictions of fitted models are compared within one fold and one run only, summed over
        `PARTITIONS` partitions (of the forest one); average precision and single features compare all predictions of
        an arm. Where mistakes lie in fewer than `LEAST_FOLDS` photographs, or no deal of folds leaves mistakes to
        learn from: NaN with a reason. Where they lie in fewer than `LEAST_PHOTOGRAPHS`: values without intervals.

    Raises:
        ValueError: `folds` below `LEAST_FOLDS`, or a column is missing.

    Source:
        Hanley & McNeil 1982 (AUC); Roberts et al. 2017, Ecography 40:913-929 (folds of whole clusters); Hendrycks &
        Gimpel, ICLR 2017 (the largest probability as a baseline for finding mistakes).
    """
    if folds < LEAST_FOLDS:
        raise ValueError(f"folds: at least {LEAST_FOLDS}, not {folds}")
    missing = [name for name in (*PROBABILITY, *maps) if name not in table]
    if missing:
        raise ValueError(f"columns missing: {', '.join(missing)}")
    skill: list[dict[str, Any]] = []
    gain: list[dict[str, Any]] = []
    single: list[dict[str, Any]] = []
    for arm in dict.fromkeys(table["arm"]):
        found = _Arm.of(table[table["arm"] == arm], maps, folds, resamples, confidence, seed)
        facts = {"arm": str(arm)} | found.basis()
        measured = {} if found.reason else found.measured()
        skill += [facts | row for row in found.skill(measured)]
        gain += [facts | row for row in found.gains(measured)]
        single += [facts | row for row in found.single()]
    return MistakeTables(
        pd.DataFrame(skill, columns=list(MISTAKE_SKILL.columns)),
        pd.DataFrame(gain, columns=list(MISTAKE_GAIN.columns)),
        pd.DataFrame(single, columns=list(MISTAKE_FEATURES.columns)),
    )


def _logistic(_seed: int) -> Pipeline:
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler(),
        LogisticRegression(C=_C, max_iter=2000),
    )  # fmt: skip


def _forest(seed: int) -> Pipeline:
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        RandomForestClassifier(_TREES, min_samples_leaf=_LEAST_LEAF, random_state=seed, n_jobs=1),
    )


#: Ways to put features together; the first one answers, the second is the check that its form does not matter.
MODELS: dict[str, Callable[[int], Pipeline]] = {"logistic": _logistic, "forest": _forest}


@dataclass(frozen=True, eq=False)
class _Arm:
    """One arm's faces with the held-out scores of every model."""

    table: pd.DataFrame
    wrong: Floats
    photographs: Ints
    least: int
    draws: Resamples
    partitions: list[list[Ints]]
    columns: dict[str, tuple[str, ...]]
    seed: int
    reason: str

    @classmethod
    def of(
        cls, table: pd.DataFrame, maps: Sequence[str], folds: int, resamples: int, confidence: float, seed: int
    ) -> _Arm:
        table = table.reset_index(drop=True)
        ids = pd.Series(sorted(table["image_id"].unique()))
        draws = draw_resamples(ids, resamples, confidence, seed)
        photographs, wrong = draws.positions(table["image_id"]), table["wrong"].to_numpy(dtype=float)
        least = min(len(np.unique(photographs[wrong == kind])) for kind in (0, 1))
        folds = min(folds, least)
        reason = "" if folds >= LEAST_FOLDS else f"wrong or right faces in {least} photographs: at least {LEAST_FOLDS}"
        partitions = [] if reason else deal_folds(wrong, photographs, folds, seed)
        if not reason and not partitions:
            reason = "mistakes lie so unevenly that folds leave none to learn from"
        own = tuple(name for name in maps if name != ARMS)
        columns = {"probability": PROBABILITY, "maps": own, "both": (*PROBABILITY, *own)}
        if ARMS in maps:
            columns["arms"] = (*PROBABILITY, *own, ARMS)
        return cls(table, wrong, photographs, least, draws, partitions, columns, seed, reason)

    def basis(self) -> dict[str, Any]:
        return {
            "predictions": len(self.table),
            "faces": int(self.table["face_id"].nunique()),
            "images": len(self.draws.image_ids),
            "seeds": int(self.table["seed"].nunique()),
            "mistakes": int(self.wrong.sum()),
            "mistaken_faces": int(self.table.loc[self.wrong > 0, "face_id"].nunique()),
            "mistaken_images": self.least,
            "reason": self.reason,
        }

    def held_out(self, model: str, features: str) -> list[Floats]:
        """Scores of every face by a model that has not seen its photograph, for each partition it is asked for."""
        values = self.table[list(self.columns[features])].to_numpy(dtype=float)
        found = []
        for number, parts in enumerate(self.partitions[: _PARTITIONS_OF.get(model)]):
            scores = np.empty(len(values))
            for outside in parts:
                inside = np.setdiff1d(np.arange(len(values)), outside)
                fitted = MODELS[model](self.seed + number).fit(values[inside], self.wrong[inside] > 0)
                scores[outside] = fitted.predict_proba(values[outside])[:, 1]
            found.append(scores)
        return found

    def auc(self, partitions: list[Floats]) -> Floats:
        """(1 + R,) of all faces, then of every draw: pairs of one fold and one run, over all partitions."""
        runs, pairs = self.table["seed"].to_numpy(), []
        for scores, parts in zip(partitions, self.partitions, strict=False):
            for outside in parts:
                for run in np.unique(runs[outside]):
                    rows = outside[runs[outside] == run]
                    count = len(self.draws.image_ids)
                    pairs.append(wrong_right_pairs(scores[rows], self.wrong[rows], self.photographs[rows], count))
        return reduce(add, pairs).auc(self._weights())

    def precision(self, partitions: list[Floats]) -> Floats:
        """(1 + R,) average precision, the mean over partitions."""
        by_face = self._weights()[:, self.photographs]
        return np.asarray(
            np.stack([average_precision(scores, self.wrong, by_face) for scores in partitions]).mean(axis=0)
        )

    def _weights(self) -> Floats:
        return np.concatenate([np.ones((1, len(self.draws.image_ids))), self.draws.weights.astype(float)])

    def measured(self) -> Measured:
        """AUC and average precision of every model and set of features, on the same draws."""
        plain = [1 - self.table["prob_top"].to_numpy(dtype=float)]
        scores = {("none", CONFIDENCE): plain * len(self.partitions)}
        for model in MODELS:
            scores |= {(model, features): self.held_out(model, features) for features in self.columns}
            scores[model, CONFIDENCE] = plain * len(scores[model, "both"])
        return {
            key: {"auc": self.auc(found), "average_precision": self.precision(found)} for key, found in scores.items()
        }

    def skill(self, measured: Measured) -> list[dict[str, Any]]:
        """Rows of `MISTAKE_SKILL`."""
        chance = {"auc": 0.5, "average_precision": float(self.wrong.mean())}
        keys = [("none", CONFIDENCE), *((model, features) for model in MODELS for features in self.columns)]
        rows = []
        for model, features in keys:
            for metric, by_chance in chance.items():
                facts = {"model": model, "features": features, "metric": metric, "chance": by_chance}
                values = measured[model, features][metric] if measured else None
                kind: Kind = "area" if metric == "auc" else "share"
                rows.append(facts | {"confidence": self.draws.confidence} | self._interval("value", values, kind))
        return rows

    def gains(self, measured: Measured) -> list[dict[str, Any]]:
        """Rows of `MISTAKE_GAIN`: both, and maps alone, against the probabilities, fitted and as they are."""
        rows = []
        asked = [("both", "probability"), ("both", CONFIDENCE), ("maps", "probability")]
        asked += [("arms", "both")] if "arms" in self.columns else []
        for model in MODELS:
            for features, baseline in asked:
                for metric in ("auc", "average_precision"):
                    values = None
                    if measured:
                        values = measured[model, features][metric] - measured[model, baseline][metric]
                    found = self._interval("gain", values, "share difference")
                    # Limits from R draws waver by about 1 / √(2R) of their distance: no verdict may hang on that.
                    spare = (found["high"] - found["gain"]) * 3 / np.sqrt(2 * len(self.draws.weights))
                    facts = {"model": model, "features": features, "baseline": baseline, "metric": metric}
                    verdict = {
                        "shown": bool(found["low"] - spare > 0),
                        "beyond_margin": not found["high"] + spare <= MARGIN,
                    }
                    rows.append(facts | found | verdict | {"margin": MARGIN})
        return rows

    def single(self) -> list[dict[str, Any]]:
        """Rows of `MISTAKE_FEATURES`."""
        rows, coefficients = [], self._coefficients()
        for name in self.columns.get("arms", self.columns["both"]):
            column = self.table[name].to_numpy(dtype=float)
            known = np.isfinite(column)
            values, reason = None, self.reason
            if not reason and (known.sum() < 2 or np.ptp(column[known]) == 0):
                reason = "the feature has one value"
            if not reason:
                pairs = wrong_right_pairs(
                    column[known], self.wrong[known], self.photographs[known], len(self.draws.image_ids)
                )
                values = pairs.auc(self._weights())
            rows.append(
                {"feature": name, "kind": "probability" if name in PROBABILITY else "maps",
                 "log_odds": coefficients.get(name, np.nan), "missing": int((~known).sum())}
                | self._interval("auc", values, "area") | {"reason": reason}
            )  # fmt: skip
        return rows

    def _coefficients(self) -> dict[str, float]:
        if self.reason:
            return {}
        names = self.columns["both"]
        fitted = _logistic(self.seed).fit(self.table[list(names)].to_numpy(dtype=float), self.wrong > 0)
        return dict(zip(names, map(float, fitted[-1].coef_[0][: len(names)]), strict=True))

    def _interval(self, name: str, values: Floats | None, kind: Kind) -> dict[str, float]:
        """A value with its interval; none where mistakes lie in too few photographs for one."""
        if values is None or not self.least >= LEAST_PHOTOGRAPHS:
            return {name: np.nan if values is None else float(values[0]), "low": np.nan, "high": np.nan}
        found = interval(values[:1], values[None, 1:], self.least, kind, confidence=self.draws.confidence)
        return {name: float(values[0]), "low": found.low, "high": found.high}


def deal_folds(wrong: Floats, photographs: Ints, folds: int, seed: int) -> list[list[Ints]]:
    """`PARTITIONS` deals of whole photographs into folds, each of whose training parts holds wrong and right faces.

    Args:
        wrong: (M,) 1 for a mistake.
        photographs: (M,) whose face it is.
        folds: wanted; fewer, down to `LEAST_FOLDS`, where no deal of as many will do.
        seed: of the deals.

    Returns:
        Positions outside of each fold's training part, by partition; empty where no deal will do.
    """
    rows = np.arange(len(wrong))
    for count in range(folds, LEAST_FOLDS - 1, -1):
        found: list[list[Ints]] = []
        for number in range(_DEALS):
            dealt = StratifiedGroupKFold(count, shuffle=True, random_state=seed + number)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The least populated class")  # looked at below
                parts = [np.asarray(out) for _, out in dealt.split(rows, wrong, photographs)]
            if all(len(np.unique(np.delete(wrong, out))) == 2 for out in parts):
                found.append(parts)
            if len(found) == PARTITIONS:
                return found
    return []
