"""How well systems detect: average precision and recall with intervals over photographs, and paired differences.

Values come from `faster_coco_eval`, intervals from the same rules under weights of photographs (`detection_weighted`).
Boxes of one photograph depend on each other, so photographs are drawn, not boxes or faces. The intervals cover the
choice of photographs, not the seed of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.evaluation.detection_boxes import Detected, Floats, System
from maskbench.evaluation.detection_coco import coco_metrics
from maskbench.evaluation.detection_matching import BANDS
from maskbench.evaluation.detection_weighted import METRICS, WeightedDetection, metric_names
from maskbench.evaluation.intervals import MOST_INCOMPLETE
from maskbench.schemas import empty_table
from maskbench.schemas.detection import (
    ALL_CLASSES,
    ANY_FACE,
    DETECTION_DIFFERENCES,
    DETECTION_METRICS,
)


@dataclass(frozen=True, eq=False)
class Measured:
    """The figures of one system on the photographs as they are, and on every draw of them.

    Attributes:
        system: what was measured.
        classes: class order.
        truth: what pairs of systems must share: photographs, names, classes and boxes of faces.
        value: float64 (M,), as in `detection_weighted.metric_names`; NaN where there is no such face.
        drawn: float64 (R, M) on the draws; NaN where a class that the figure needs was not drawn.
        faces: int64 (M,), faces that count.
        images: photographs.
    """

    system: System
    classes: tuple[str, ...]
    truth: tuple[Any, ...]
    value: Floats
    drawn: Floats
    faces: NDArray[np.int64]
    images: int


def measure(detected: Detected, *, resamples: int = 500, seed: int = 0) -> Measured:
    """All figures of one system.

    Args:
        detected: faces and boxes.
        resamples: draws of as many photographs as there are, with replacement; ≥ 2.
        seed: of the draws: equal numbers draw equal photographs for all systems.

    Raises:
        ValueError: fewer than two resamples.
    """
    if resamples < 2:
        raise ValueError(f"resamples: at least 2, not {resamples}")
    weighted = WeightedDetection(detected)
    images = weighted.images
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=resamples) if images else np.zeros((0, 0))
    return Measured(
        system=detected.system,
        classes=detected.classes,
        truth=(detected.image_ids, detected.face_ids, detected.face_classes.tolist(), detected.face_boxes.tolist()),
        value=coco_metrics(detected)["value"].to_numpy(dtype=np.float64),
        drawn=weighted.measure(weights.astype(np.float64)),
        faces=np.repeat(weighted.faces.ravel(), len(METRICS)),
        images=images,
    )


def metrics_table(measured: Sequence[Measured], *, confidence: float = 0.95) -> pd.DataFrame:
    """The figures of systems with percentile bootstrap intervals.

    Args:
        measured: from `measure`.
        confidence: share of draws between `low` and `high`.

    Returns:
        `schemas.detection.DETECTION_METRICS`. A draw without a face of a class says nothing about that class: it is
        left out for the class and for means over classes, and counted in `incomplete`. With more than
        `MOST_INCOMPLETE` of them, or fewer than two photographs, `low` and `high` are NaN and `reason` says so.

    Raises:
        ValueError: a confidence outside (0, 1).

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3 (percentile interval);
        Field & Welsh, J. R. Stat. Soc. B 69 (2007) (drawing clusters).
    """
    rows = []
    for one in measured:
        found = _rows(one, one.value, one.drawn, confidence)
        rows += [one.system.row() | row | {"faces": int(n)} for row, n in zip(found, one.faces, strict=True)]
    return pd.DataFrame(rows, columns=list(DETECTION_METRICS.columns))


def differences_table(measured: Sequence[Measured], *, confidence: float = 0.95) -> pd.DataFrame:
    """One system minus another, paired: both are measured on the same draws of the same photographs.

    Args:
        measured: from `measure`, with the same `resamples` and `seed`.
        confidence: share of draws between `low` and `high`.

    Returns:
        `schemas.detection.DETECTION_DIFFERENCES` for every two systems (arm and pipeline) of one seed and split; the
        baseline is the one that comes first in `measured`. Draws count as in `metrics_table`. No rows without a pair.

    Raises:
        ValueError: two systems of one seed and split were not measured on the same photographs, faces and draws, or a
            confidence outside (0, 1).
    """
    rows = []
    for baseline, one in combinations(measured, 2):
        if (baseline.system.seed, baseline.system.split) != (one.system.seed, one.system.split):
            continue
        _check_pair(baseline, one)
        key = one.system.row()
        key |= {"baseline_arm": baseline.system.arm, "baseline_pipeline": baseline.system.pipeline}
        rows += [key | row for row in _rows(one, one.value - baseline.value, one.drawn - baseline.drawn, confidence)]
    if not rows:
        return empty_table(DETECTION_DIFFERENCES)
    return pd.DataFrame(rows, columns=list(DETECTION_DIFFERENCES.columns))


def _check_pair(baseline: Measured, one: Measured) -> None:
    same = baseline.classes == one.classes and baseline.truth == one.truth
    if not same or baseline.drawn.shape != one.drawn.shape:
        what = "draws" if same else "photographs and faces"
        raise ValueError(f"{one.system} and {baseline.system}: not measured on the same {what}")


def _rows(one: Measured, value: Floats, drawn: Floats, confidence: float) -> list[dict[str, Any]]:
    """One row per figure: the percentile limits of `drawn` (R, M) around `value` (M,)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
    tail = (1 - confidence) / 2
    missing = np.isnan(drawn).sum(axis=0) if len(drawn) else np.zeros(len(value), dtype=int)
    rows = []
    for m, (metric, class_name, band) in enumerate(metric_names(one.classes)):
        reason = _reason(float(value[m]), class_name, band, one.images, int(missing[m]), len(drawn))
        known = drawn[~np.isnan(drawn[:, m]), m]
        low, high = (np.nan, np.nan) if reason else np.quantile(known, [tail, 1 - tail])
        rows.append(
            {
                "metric": metric,
                "class_name": class_name,
                "band": band,
                "value": float(value[m]),
                "low": float(low),
                "high": float(high),
                "images": one.images,
                "confidence": confidence,
                "resamples": len(drawn),
                "incomplete": int(missing[m]),
                "reason": reason,
            }
        )
    return rows


def _reason(value: float, class_name: str, band: str, images: int, missing: int, draws: int) -> str:
    """Why there is no value or no interval; empty where there are both."""
    faces = "faces" if class_name in (ALL_CLASSES, ANY_FACE) else f"faces of {class_name}"
    where = "" if band == next(iter(BANDS)) else f" of size {band}"
    if np.isnan(value):
        return f"no {faces}{where}"
    if images < 2:
        return "no interval: one photograph"
    if missing > MOST_INCOMPLETE * draws:
        lacking = f"some class's {faces}" if class_name == ALL_CLASSES else faces
        return f"no interval: {missing} of {draws} draws of photographs lack {lacking}{where}"
    return ""
