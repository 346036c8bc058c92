"""Classification figures from the predictions table: measurements, confusion, ROC and precision–recall curves.

Nothing undefined becomes a number: such a value is NaN and its row says why. Means over classes say
which classes they do not cover. Every function treats each arm, seed and split by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench import schemas
from maskbench.evaluation.confusion import PER_CLASS, confusion_counts, confusion_metrics

_KEYS = ["arm", "seed", "split"]

ABSENT = "no face of this class"
NEVER_PREDICTED = "never predicted"
ABSENT_AND_NEVER_PREDICTED = "no face of this class, and never predicted"
ONLY_CLASS = "no face of another class"
NO_FACES = "no faces"


@dataclass(frozen=True)
class Scored:
    """Predictions of one arm, one seed and one split as arrays.

    Attributes:
        true: int64 (N,), positions in the class order.
        predicted: int64 (N,).
        probs: float64 (N, K), 0…1.
        loss: float64 (N,), cross-entropy in nats.
        images: int64 (N,), a number per photograph, 0…I-1, by sorted `image_id`.
        image_count: I.
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probs: NDArray[np.float64]
    loss: NDArray[np.float64]
    images: NDArray[np.int64]
    image_count: int

    @classmethod
    def of(cls, predictions: pd.DataFrame, classes: Sequence[str]) -> Scored:
        """The arrays of `predictions` (`schemas.PREDICTIONS`), in its row order.

        Raises:
            ValueError: a label or decision is not in `classes`, or a class has no probabilities.
        """
        missing = [f"prob_{name}" for name in classes if f"prob_{name}" not in predictions]
        if missing:
            raise ValueError(f"predictions: columns missing: {', '.join(missing)}")
        codes, ids = pd.factorize(predictions["image_id"], sort=True)
        return cls(
            true=_positions(predictions["label"], classes),
            predicted=_positions(predictions["predicted"], classes),
            probs=predictions[[f"prob_{name}" for name in classes]].to_numpy(dtype=np.float64),
            loss=predictions["loss"].to_numpy(dtype=np.float64),
            images=codes.astype(np.int64),
            image_count=len(ids),
        )

    def counts(self) -> NDArray[np.int64]:
        """Confusion matrix (K, K), row = true."""
        return confusion_counts(self.true, self.predicted, self.probs.shape[1])


def metrics_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Measure every arm, seed and split.

    Args:
        predictions: `schemas.PREDICTIONS`.
        classes: class order, at least two.

    Returns:
        `schemas.METRICS`. Over all classes: `accuracy`, `balanced_accuracy`, `mcc`, `kappa`, `loss`
        (mean cross-entropy, nats), `support` (faces), and `precision`, `recall`, `f1` as `_macro` and
        `_weighted`, `roc_auc_macro`, `average_precision_macro`. Per class: `precision`, `recall`,
        `f1`, `support`, `roc_auc` and `average_precision` (one class against the rest).
        For a class without faces, `roc_auc`, `average_precision` and `recall` are NaN and the means
        of the first two leave it out; `f1` is NaN unless it was wrongly predicted (then 0). For a
        class that has faces but is never predicted, `precision` is NaN, counts 0 in
        `precision_macro`, and `f1` is 0. `f1_macro` equals scikit-learn's. `reason` says why a
        value is NaN, or what a mean does not cover.

    Raises:
        ValueError: a label or decision is not in `classes`, or a class has no probabilities.

    Source:
        MCC of K classes: Gorodkin, Comput. Biol. Chem. 28 (2004), eq. 2. Kappa: Cohen, Educ.
        Psychol. Meas. 20 (1960). AUC: Hanley & McNeil, Radiology 143 (1982).
    """
    return _per_run(predictions, schemas.METRICS, lambda part: _metric_rows(Scored.of(part, classes), classes))


def confusion_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Confusion matrices of every arm, seed and split.

    Args:
        predictions: `schemas.PREDICTIONS`.
        classes: class order.

    Returns:
        `schemas.CONFUSION`, row by row; `share` of the true class's faces, NaN where it has none.
    """

    def rows(part: pd.DataFrame) -> Iterator[dict[str, Any]]:
        counts = Scored.of(part, classes).counts()
        for true, line in zip(classes, counts, strict=True):
            total = int(line.sum())
            for predicted, count in zip(classes, line, strict=True):
                share = count / total if total else float("nan")
                yield {"true": true, "predicted": predicted, "count": int(count), "share": float(share)}

    return _per_run(predictions, schemas.CONFUSION, rows)


def roc_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """ROC curves, each class against the rest, by its probability.

    Args:
        predictions: `schemas.PREDICTIONS` of one split.
        classes: class order.

    Returns:
        `schemas.ROC`: corners of the curve from (0, 0) to (1, 1); points on a straight line between
        two others are left out. No rows for a class whose curve is undefined (no faces, or no others).

    Raises:
        ValueError: there is more than one split.

    Source:
        Fawcett, Pattern Recognition Letters 27 (2006), algorithm 1 (equal scores move together).
    """
    _one_split(predictions)

    def rows(part: pd.DataFrame) -> Iterator[dict[str, Any]]:
        scored = Scored.of(part, classes)
        for k, name in enumerate(classes):
            curve = threshold_curve(scored.true == k, scored.probs[:, k])
            if curve.undefined():
                continue
            corner = curve.corners()
            for false, true, threshold in zip(
                curve.false_positives[corner] / curve.negatives,
                curve.true_positives[corner] / curve.positives,
                curve.thresholds[corner],
                strict=True,
            ):
                yield {
                    "class_name": name,
                    "false_positive_rate": float(false),
                    "true_positive_rate": float(true),
                    "threshold": float(threshold),
                }

    return _per_run(predictions, schemas.ROC, rows)


def precision_recall_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Precision–recall curves, each class against the rest, by its probability.

    Args:
        predictions: `schemas.PREDICTIONS` of one split.
        classes: class order.

    Returns:
        `schemas.PRECISION_RECALL`: one point per distinct probability, from the highest down, after
        the conventional point (recall 0, precision 1). The curve is a step function: precision at a
        recall holds back to the previous recall. No rows for a class without faces.

    Raises:
        ValueError: there is more than one split.

    Source:
        Davis & Goadrich, ICML 2006 (no linear interpolation between points).
    """
    _one_split(predictions)

    def rows(part: pd.DataFrame) -> Iterator[dict[str, Any]]:
        scored = Scored.of(part, classes)
        for k, name in enumerate(classes):
            curve = threshold_curve(scored.true == k, scored.probs[:, k])
            if not curve.positives:
                continue
            recall, precision = curve.recall_precision()
            for r, p, threshold in zip(recall, precision, curve.thresholds, strict=True):
                yield {"class_name": name, "recall": float(r), "precision": float(p), "threshold": float(threshold)}

    return _per_run(predictions, schemas.PRECISION_RECALL, rows)


@dataclass(frozen=True)
class ThresholdCurve:
    """What is called positive as the threshold falls.

    Attributes:
        true_positives: float64 (T + 1,), from 0; one more entry than distinct scores.
        false_positives: float64 (T + 1,).
        thresholds: float64 (T + 1,), falling from infinity; scores ≥ threshold count as positive.
    """

    true_positives: NDArray[np.float64]
    false_positives: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def positives(self) -> float:
        """Faces of the class."""
        return float(self.true_positives[-1])

    @property
    def negatives(self) -> float:
        """Faces of other classes."""
        return float(self.false_positives[-1])

    def undefined(self) -> str:
        """Why there is no ROC curve; empty when there is one."""
        if not self.positives:
            return ABSENT if self.negatives else NO_FACES
        return "" if self.negatives else ONLY_CLASS

    def roc_auc(self) -> float:
        """Area under the ROC curve; NaN where undefined."""
        if self.undefined():
            return float("nan")
        area = np.trapezoid(self.true_positives, self.false_positives)
        return float(area / (self.positives * self.negatives))

    def recall_precision(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Recall and precision at each threshold; the first point is (0, 1) by convention."""
        called = self.true_positives + self.false_positives
        precision = np.divide(self.true_positives, called, out=np.ones_like(called), where=called > 0)
        return self.true_positives / self.positives, precision

    def average_precision(self) -> float:
        """Σ (R_n - R_{n-1}) · P_n; NaN without faces of the class.

        Source:
            Manning, Raghavan & Schütze, Introduction to Information Retrieval, 2008, section 8.4.
        """
        if not self.positives:
            return float("nan")
        recall, precision = self.recall_precision()
        return float((np.diff(recall) * precision[1:]).sum())

    def corners(self) -> NDArray[np.bool_]:
        """(T + 1,): the points at which the ROC curve changes direction, with both ends."""
        across, up = np.diff(self.false_positives), np.diff(self.true_positives)
        turns = across[:-1] * up[1:] != across[1:] * up[:-1]
        return np.concatenate([[True], turns, [True]])


def threshold_curve(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> ThresholdCurve:
    """Sort by score and count; faces of equal score fall together.

    Args:
        positive: (N,), is it of the class.
        scores: (N,), higher means more so.

    Example:
        >>> threshold_curve(np.array([True, False, True]), np.array([0.9, 0.4, 0.4])).roc_auc()
        0.75
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], positive[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.array([], dtype=int)
    true, false = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    zero = np.zeros(1)
    return ThresholdCurve(
        np.concatenate([zero, true]), np.concatenate([zero, false]), np.concatenate([[np.inf], ranked[last]])
    )


def _metric_rows(scored: Scored, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    counts = scored.counts()
    support, decided = counts.sum(axis=1), counts.sum(axis=0)
    nothing = NO_FACES if not len(scored.true) else ""
    missing = {name: int(n) == 0 for name, n in zip(classes, support, strict=True)}
    unseen = [name for name, n in zip(classes, support + decided, strict=True) if n == 0]
    absent = [name for name in classes if missing[name]]

    def row(metric: str, class_name: str, value: float, reason: str) -> dict[str, Any]:
        return {"metric": metric, "class_name": class_name, "value": float(value), "reason": reason}

    for metric, name, value in confusion_metrics(counts, classes):
        if name:
            k = list(classes).index(name)
            reason = _why_undefined(metric, int(support[k]), int(decided[k])) if np.isnan(value) else ""
        elif metric in {f"{base}_macro" for base in PER_CLASS}:
            base = metric.removesuffix("_macro")
            zero = {"precision": decided, "recall": support}.get(base, support + decided) == 0
            counted = [name for name, z in zip(classes, zero, strict=True) if z and name not in unseen]
            reason = nothing or "; ".join(filter(None, [_not_covered(unseen), _counted_zero(counted)]))
        else:
            reason = nothing or (_not_covered(absent) if metric == "balanced_accuracy" else "")
        yield row(metric, name, value, reason)
    yield row("mcc", "", *_mcc(counts))
    yield row("kappa", "", *_kappa(counts))
    yield row("loss", "", scored.loss.mean() if len(scored.loss) else float("nan"), nothing)
    yield row("support", "", len(scored.true), "")
    for name, n in zip(classes, support, strict=True):
        yield row("support", name, n, "")
    curves = {name: threshold_curve(scored.true == k, scored.probs[:, k]) for k, name in enumerate(classes)}
    areas = {name: (curve.roc_auc(), curve.undefined()) for name, curve in curves.items()}
    precisions = {
        name: (curve.average_precision(), (nothing or ABSENT) if not curve.positives else "")
        for name, curve in curves.items()
    }
    for metric, values in (("roc_auc", areas), ("average_precision", precisions)):
        for name, (value, reason) in values.items():
            yield row(metric, name, value, reason)
        defined = [value for value, reason in values.values() if not reason]
        left_out = [name for name, (_, reason) in values.items() if reason]
        mean = float(np.mean(defined)) if defined else float("nan")
        yield row(f"{metric}_macro", "", mean, nothing or _not_covered(left_out))


def _why_undefined(metric: str, support: int, decided: int) -> str:
    """Why a per-class ratio is NaN."""
    if metric == "f1":
        return ABSENT_AND_NEVER_PREDICTED
    if metric == "recall":
        return ABSENT
    return NEVER_PREDICTED if support or decided else ABSENT_AND_NEVER_PREDICTED


def _not_covered(names: Sequence[str]) -> str:
    return f"without {', '.join(names)}: undefined there" if names else ""


def _counted_zero(names: Sequence[str]) -> str:
    return f"{', '.join(names)} counted as 0: undefined there" if names else ""


def _mcc(counts: NDArray[np.int64]) -> tuple[float, str]:
    """Matthews correlation of K classes, -1…1, with the reason where undefined."""
    matrix = counts.astype(np.float64)
    total, support, decided = matrix.sum(), matrix.sum(axis=1), matrix.sum(axis=0)
    if not total:
        return float("nan"), NO_FACES
    spread_true, spread_decided = total**2 - support @ support, total**2 - decided @ decided
    if not spread_true or not spread_decided:
        return float("nan"), "all faces have one class" if not spread_true else "all decisions are one class"
    return float((np.trace(matrix) * total - support @ decided) / np.sqrt(spread_true * spread_decided)), ""


def _kappa(counts: NDArray[np.int64]) -> tuple[float, str]:
    """Cohen's kappa, at most 1, with the reason where undefined."""
    matrix = counts.astype(np.float64)
    total = matrix.sum()
    if not total:
        return float("nan"), NO_FACES
    expected = float(matrix.sum(axis=1) @ matrix.sum(axis=0) / total**2)
    if expected == 1:
        return float("nan"), "all faces and decisions are one class"
    return (float(np.trace(matrix) / total) - expected) / (1 - expected), ""


def _positions(names: pd.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    positions = {name: k for k, name in enumerate(classes)}
    unknown = sorted(set(names.unique()) - set(positions))
    if unknown:
        raise ValueError(f"predictions: not a class of this study: {', '.join(map(repr, unknown))}")
    return np.asarray(names.map(positions), dtype=np.int64)


def _one_split(predictions: pd.DataFrame) -> None:
    splits = sorted(predictions["split"].unique())
    if len(splits) > 1:
        raise ValueError(f"curves are drawn of one split, not of {', '.join(splits)} together")


def _per_run(predictions: pd.DataFrame, schema: Any, rows: Any) -> pd.DataFrame:
    """Rows of every arm, seed and split (in order of appearance) with their keys, in the schema's columns."""
    columns = list(schema.columns)
    found = [
        dict(zip(_KEYS, key, strict=True)) | row
        for key, part in predictions.groupby(_KEYS, sort=False)
        for row in rows(part)
    ]
    if not found:
        return schemas.empty_table(schema)
    return pd.DataFrame(found)[columns]
