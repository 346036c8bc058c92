"""How far the test figures could have come out otherwise: bootstrap intervals over photographs.

Faces of one photograph resemble each other, so photographs are drawn with replacement, not faces.
The intervals cover the choice of test photographs; they do not cover the seed of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench import schemas
from maskbench.evaluation.classification import Scored
from maskbench.evaluation.weighted import WeightedMetrics, metric_names

#: Weights held at a time: 4 million float64 are 32 MB.
_CHUNK = 4_000_000


def intervals_table(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Percentile bootstrap intervals of the headline figures of every arm, seed and split.

    Args:
        predictions: `schemas.PREDICTIONS`.
        classes: class order.
        seed: of the resampling; equal photographs are drawn for all arms.
        resamples: draws of as many photographs as there are.
        confidence: share of resamples between `low` and `high`.

    Returns:
        `schemas.INTERVALS` for `accuracy`, `balanced_accuracy`, `f1_macro`, `roc_auc_macro`, and `f1`
        and `roc_auc` per class. A resample that draws no face of a class says nothing about that
        class: it is left out for the class and for means over classes, and counted in `incomplete`.
        `low` and `high` are NaN with fewer than two photographs or where the value is undefined.
        Photographs without faces are not in the table of predictions and are not drawn.

    Raises:
        ValueError: fewer than two resamples or a confidence outside (0, 1).

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3 (percentile interval);
        Field & Welsh, J. R. Stat. Soc. B 69 (2007) (drawing clusters).
    """
    _check(resamples, confidence)
    rows: list[dict[str, Any]] = []
    for (arm, run_seed, split), part in predictions.groupby(["arm", "seed", "split"], sort=False):
        scored = Scored.of(part, classes)
        statistics = _Bootstrap(scored, classes, seed, resamples)
        key = {"arm": arm, "seed": run_seed, "split": split}
        rows += [key | row for row in _rows(statistics, statistics.value, statistics.drawn, classes, confidence)]
    return pd.DataFrame(rows, columns=list(schemas.INTERVALS.columns))


def differences_table(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Intervals of the difference between every two arms, paired: both are measured on the same draws.

    Args:
        predictions: `schemas.PREDICTIONS`.
        classes: class order.
        seed: of the resampling.
        resamples: draws of as many photographs as there are.
        confidence: share of resamples between `low` and `high`.

    Returns:
        `schemas.DIFFERENCES`: `arm` minus `baseline`, where the baseline is the arm that comes first in
        `predictions`; figures as in `intervals_table`. No rows for a single arm.

    Raises:
        ValueError: two arms of one seed and split were not measured on the same faces.
    """
    _check(resamples, confidence)
    rows: list[dict[str, Any]] = []
    for (run_seed, split), part in predictions.groupby(["seed", "split"], sort=False):
        arms = list(part["arm"].unique())
        tables = {arm: part[part["arm"] == arm].sort_values("face_id") for arm in arms}
        for baseline, arm in combinations(arms, 2):
            check_same_faces(tables[baseline], tables[arm])
        found = {arm: _Bootstrap(Scored.of(table, classes), classes, seed, resamples) for arm, table in tables.items()}
        for baseline, arm in combinations(arms, 2):
            a, b = found[arm], found[baseline]
            key = {"arm": arm, "baseline": baseline, "seed": run_seed, "split": split}
            rows += [key | row for row in _rows(a, a.value - b.value, a.drawn - b.drawn, classes, confidence)]
    return pd.DataFrame(rows, columns=list(schemas.DIFFERENCES.columns))


def check_same_faces(baseline: pd.DataFrame, arm: pd.DataFrame) -> None:
    """Refuse to pair runs that were not measured on the same faces.

    Args:
        baseline: `schemas.PREDICTIONS` of one arm, seed and split, sorted by `face_id`.
        arm: the same for another arm.

    Raises:
        ValueError: faces, their photographs or labels differ.
    """
    for column in ("face_id", "image_id", "label"):
        if list(arm[column]) != list(baseline[column]):
            names = [part["arm"].iloc[0] if len(part) else "an arm without faces" for part in (arm, baseline)]
            where = next(
                f"seed {part['seed'].iloc[0]}, {part['split'].iloc[0]}" for part in (arm, baseline) if len(part)
            )
            raise ValueError(
                f"{names[0]} and {names[1]}, {where}: not measured on the same faces ({_unlike(arm, baseline, column)})"
            )


def _unlike(arm: pd.DataFrame, baseline: pd.DataFrame, column: str) -> str:
    """In what two runs differ that should have the same faces."""
    if column == "face_id":
        alone = sorted(set(arm["face_id"]) ^ set(baseline["face_id"]))
        told = f"{len(arm)} and {len(baseline)} faces"
        return f"{told}, {len(alone)} of them in one only, {alone[0]!r} for one" if alone else f"{told}, some repeated"
    pairs = zip(arm["face_id"], arm[column], baseline[column], strict=True)
    face, one, other = next(row for row in pairs if row[1] != row[2])
    return f"{column} of {face!r} is {one!r} and {other!r}"


class _Bootstrap:
    """The headline figures of one arm on the photographs as they are, and on every draw of them.

    Attributes:
        value: (M,) on the photographs as they are; M as in `_names`.
        drawn: (R, M) on the draws; NaN where a class that the figure needs was not drawn.
        support: int64 (K,) faces per class.
        images: photographs.
    """

    def __init__(self, scored: Scored, classes: Sequence[str], seed: int, resamples: int) -> None:
        metrics = WeightedMetrics(scored)
        self.images, self.support = metrics.images, metrics.support
        every = metric_names(classes)
        chosen = [every.index(name) for name in _names(classes)]
        self.value = metrics.measure(np.ones((1, self.images)))[0, chosen]
        rng = np.random.default_rng(seed)
        step = max(1, _CHUNK // max(len(scored.true), 1))
        parts = []
        for start in range(0, resamples if self.images else 0, step):
            size = min(step, resamples - start)
            weights = rng.multinomial(self.images, np.full(self.images, 1 / self.images), size=size)
            parts.append(metrics.measure(weights.astype(np.float64))[:, chosen])
        self.drawn = np.concatenate(parts) if parts else np.full((resamples, len(self.value)), np.nan)


def _names(classes: Sequence[str]) -> list[tuple[str, str]]:
    """The figures of the tables, in order."""
    overall = [("accuracy", ""), ("balanced_accuracy", ""), ("f1_macro", ""), ("roc_auc_macro", "")]
    return [*overall, *(("f1", name) for name in classes), *(("roc_auc", name) for name in classes)]


def _rows(
    source: _Bootstrap,
    value: NDArray[np.float64],
    drawn: NDArray[np.float64],
    classes: Sequence[str],
    confidence: float,
) -> list[dict[str, Any]]:
    """One row per figure, with the percentile limits of `drawn` (R, M) around `value` (M,)."""
    tail = (1 - confidence) / 2
    faces = {"": int(source.support.sum())} | {name: int(n) for name, n in zip(classes, source.support, strict=True)}
    rows = []
    for m, (metric, class_name) in enumerate(_names(classes)):
        known = drawn[~np.isnan(drawn[:, m]), m]
        usable = source.images > 1 and len(known) and not np.isnan(value[m])
        low, high = np.quantile(known, [tail, 1 - tail]) if usable else (np.nan, np.nan)
        rows.append(
            {
                "metric": metric,
                "class_name": class_name,
                "value": float(value[m]),
                "low": float(low),
                "high": float(high),
                "confidence": confidence,
                "resamples": len(drawn),
                "incomplete": len(drawn) - len(known),
                "images": source.images,
                "faces": faces[class_name],
            }
        )
    return rows


def _check(resamples: int, confidence: float) -> None:
    if resamples < 2:
        raise ValueError(f"resamples: at least 2, not {resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
