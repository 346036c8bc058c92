"""Question 3: do explanations tell which faces are misclassified, beyond what the probabilities tell?

Features of the maps and of the probabilities are used to predict mistakes on photographs that the predicting model
has not seen. What maps are needed for is what they add there: the paired difference of both together to the
probabilities alone.
"""

from __future__ import annotations

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
from maskbench.eda.bootstrap import Resamples, draw_resamples
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
#: The check need not be as exact as the answer.
_PARTITIONS_OF = {"forest": 1}
CONFIDENCE = "confidence"

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


@dataclass(frozen=True)
class Answer:
    """Question 3 answered.

    Attributes:
        answer: the verdict with its numbers.
        would_change: what would change it.
    """

    answer: str
    would_change: str


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
        The tables. Faces are compared within one fold and one run only, summed over `PARTITIONS` partitions. Where
        mistakes lie in fewer than `LEAST_FOLDS` photographs: NaN with a reason.

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
        partitions = []
        if not reason:
            for number in range(PARTITIONS):
                dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + number)
                partitions.append([np.asarray(out) for _, out in dealt.split(table, wrong, photographs)])
        columns = {"probability": PROBABILITY, "maps": tuple(maps), "both": (*PROBABILITY, *maps)}
        return cls(table, wrong, photographs, draws, partitions, columns, seed, reason)

    def basis(self) -> dict[str, Any]:
        return {
            "faces": len(self.table),
            "images": len(self.draws.image_ids),
            "mistakes": int(self.wrong.sum()),
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
        scores = {("none", CONFIDENCE): [1 - self.table["prob_top"].to_numpy(dtype=float)] * len(self.partitions)}
        scores |= {(model, features): self.held_out(model, features) for model in MODELS for features in self.columns}
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
                rows.append(facts | {"confidence": self.draws.confidence} | self._interval("value", values))
        return rows

    def gains(self, measured: Measured) -> list[dict[str, Any]]:
        """Rows of `MISTAKE_GAIN`: both, and maps alone, against the probabilities, fitted and as they are."""
        rows = []
        for model in MODELS:
            for features, baseline in (("both", "probability"), ("both", CONFIDENCE), ("maps", "probability")):
                for metric in ("auc", "average_precision"):
                    values = None
                    if measured:
                        against = measured["none" if baseline == CONFIDENCE else model, baseline]
                        values = measured[model, features][metric] - against[metric]
                    found = self._interval("gain", values)
                    facts = {"model": model, "features": features, "baseline": baseline, "metric": metric}
                    verdict = {"shown": bool(found["low"] > 0), "beyond_margin": not found["high"] <= MARGIN}
                    rows.append(facts | found | verdict | {"margin": MARGIN})
        return rows

    def single(self) -> list[dict[str, Any]]:
        """Rows of `MISTAKE_FEATURES`."""
        rows, coefficients = [], self._coefficients()
        for name in self.columns["both"]:
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
                | self._interval("auc", values) | {"reason": reason}
            )  # fmt: skip
        return rows

    def _coefficients(self) -> dict[str, float]:
        if self.reason:
            return {}
        names = self.columns["both"]
        fitted = _logistic(self.seed).fit(self.table[list(names)].to_numpy(dtype=float), self.wrong > 0)
        return dict(zip(names, map(float, fitted[-1].coef_[0][: len(names)]), strict=True))

    def _interval(self, name: str, values: Floats | None) -> dict[str, float]:
        if values is None:
            return {name: np.nan, "low": np.nan, "high": np.nan}
        found = self.draws.interval(values[1:], len(self.draws.image_ids))
        return {name: float(values[0]), "low": found.low, "high": found.high}


def mistakes_answer(tables: MistakeTables) -> Answer:
    """Question 3 in two sentences, and what would change the verdict.

    Args:
        tables: of `mistake_models`.
    """
    arms = list(dict.fromkeys(tables.skill["arm"]))
    verdicts = [_verdict(tables, arm) for arm in arms]
    answer = "To find mistakes: " + "; ".join(verdicts) + "."
    return Answer(answer, _would_change(tables.gain, arms))


def _row(table: pd.DataFrame, **where: str) -> Any:
    """The first row with these values."""
    chosen = np.logical_and.reduce([table[name] == value for name, value in where.items()])
    return table[chosen].iloc[0]


def _verdict(tables: MistakeTables, arm: str) -> str:
    fitted = {"arm": arm, "model": "logistic", "metric": "auc"}
    both, alone = (_row(tables.skill, features=name, **fitted) for name in ("both", "probability"))
    if both["reason"]:
        return f"in {arm} nothing can be said ({both['reason']})"
    maps = _row(tables.skill, features="maps", **fitted)
    plain = _row(tables.skill, arm=arm, features=CONFIDENCE, metric="auc")
    gain = _row(tables.gain, features="both", baseline="probability", **fitted)
    if _shown(tables.gain, arm, "logistic"):
        verdict = f"explanations add to the probabilities of {arm}"
    elif not gain["beyond_margin"]:
        verdict = f"explanations are not needed in {arm}: gains above {MARGIN:g} do not fit the data"
    else:
        verdict = f"no gain from explanations is shown in {arm}"
    return (
        f"{verdict} (AUC of finding its {both['mistakes']} mistakes in {both['faces']} faces: largest probability "
        f"{plain['value']:.2f}, probabilities {alone['value']:.2f}, maps alone {maps['value']:.2f}, both "
        f"{both['value']:.2f}; gain {gain['gain']:+.3f}, {both['confidence']:.0%} interval {gain['low']:+.3f} to "
        f"{gain['high']:+.3f})"
    )


def _would_change(gain: pd.DataFrame, arms: Sequence[str]) -> str:
    asked = {"metric": "auc", "features": "both", "baseline": "probability"}
    rows = [_row(gain, arm=arm, model="logistic", **asked) for arm in arms]
    known = [row for row in rows if not row["reason"]]
    if not known:
        return "More test photographs with mistakes would make an answer possible."
    widest = max(known, key=lambda row: row["high"])
    agree = all(_shown(gain, row["arm"], "logistic") == _shown(gain, row["arm"], "forest") for row in known)
    return (
        f"It rests on {' and '.join(str(row['mistakes']) for row in known)} mistakes: true gains of up to "
        f"{widest['high']:.3f} fit these data, so more photographs could change it; a forest in place of the "
        f"regression {'says the same' if agree else 'says otherwise'}. It is an answer for these features of maps and "
        "for finding mistakes; what a person learns from a map that shows a mistake's cause is not measured by it."
    )


def _shown(gain: pd.DataFrame, arm: str, model: str) -> bool:
    """Whether maps add to the probabilities, fitted and as they are: a weak fit of these must not be their gain."""
    asked = {"arm": arm, "model": model, "metric": "auc", "features": "both"}
    return all(bool(_row(gain, baseline=baseline, **asked)["shown"]) for baseline in ("probability", CONFIDENCE))
