"""Precision against recall as the score that a box needs falls, and the score to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maskbench.evaluation.detection_boxes import Bools, Detected, Floats, Ints
from maskbench.evaluation.detection_matching import match
from maskbench.schemas import empty_table
from maskbench.schemas.detection import ANY_FACE, DETECTION_CURVES

#: At which overlaps curves are drawn: COCO's loose and strict one.
CURVE_IOUS = (0.5, 0.75)


def curves_table(detected: Detected, ious: Sequence[float] = CURVE_IOUS) -> pd.DataFrame:
    """Precision–recall curves of every class and of any face.

    Args:
        detected: faces and boxes.
        ious: least overlaps in (0, 1].

    Returns:
        `schemas.detection.DETECTION_CURVES`: a point for each different score, since a threshold on the score takes
        all boxes of equal score or none (COCO ranks these one by one, so its AP may differ a little from the area
        below `interpolated`). A class without faces has no rows; one without boxes has none either.

    Source:
        Everingham et al., The Pascal VOC Challenge, IJCV 88 (2010), section 4.2 (interpolated precision).
    """
    parts = []
    for number, name in [*enumerate(detected.classes), (None, ANY_FACE)]:
        found = match(detected, number, ious)
        if len(found.faces) == 0 or len(found.boxes) == 0:
            continue
        for index, iou in enumerate(ious):
            right = found.found[0, index] >= 0
            last, hits, seen = _by_score(detected.scores[found.boxes], right)
            precision = hits / seen
            columns = {
                "class_name": name,
                "iou": float(iou),
                "point": np.arange(len(last)),
                "score": detected.scores[found.boxes][last],
                "recall": hits / len(found.faces),
                "precision": precision,
                "interpolated": np.maximum.accumulate(precision[::-1])[::-1],
            }
            parts.append(pd.DataFrame(detected.system.row() | columns))
    if not parts:
        return empty_table(DETECTION_CURVES)
    return pd.concat(parts, ignore_index=True)[list(DETECTION_CURVES.columns)]


@dataclass(frozen=True)
class ScoreChoice:
    """The least score of the boxes that are kept, and how well they do on the photographs it was chosen on.

    Attributes:
        min_score: boxes of this score or more are kept; NaN where there is nothing to choose.
        f1: of boxes and faces with their classes, at IoU ≥ 0.5, all classes counted together.
        precision: share of the kept boxes that are right.
        recall: share of the faces that are found as what they are.
        reason: why there is no choice; else empty.
    """

    min_score: float
    f1: float
    precision: float
    recall: float
    reason: str = ""


def best_score_threshold(detected: Detected, iou: float = 0.5) -> ScoreChoice:
    """The score with the highest F1; of equally good ones the highest score.

    Choose it on validation photographs: on those that it is then used on it would flatter.

    Args:
        detected: faces and boxes of validation photographs; only answers are looked at.
        iou: least overlap of a box that is right, in (0, 1].

    Returns:
        The choice; without faces, or without a box that is right at any score, all of it NaN, with a reason.
    """
    detected = detected.answered()
    right = np.zeros(len(detected.scores), dtype=bool)
    counted = np.zeros(len(detected.scores), dtype=bool)
    for number in range(len(detected.classes)):
        found = match(detected, number, [iou])
        counted[found.boxes] = True
        right[found.boxes] = found.found[0, 0] >= 0
    faces = len(detected.face_ids)
    if not right.any():
        reason = "no box is right at any score" if faces else "no faces"
        return ScoreChoice(np.nan, np.nan, np.nan, np.nan, reason)
    kept = np.flatnonzero(counted)
    kept = kept[np.argsort(-detected.scores[kept], kind="stable")]
    last, hits, seen = _by_score(detected.scores[kept], right[kept])
    f1 = 2 * hits / (seen + faces)
    best = int(np.argmax(f1))
    score = float(detected.scores[kept][last[best]])
    return ScoreChoice(score, float(f1[best]), float(hits[best] / seen[best]), float(hits[best] / faces))


def _by_score(scores: Floats, right: Bools) -> tuple[Ints, Ints, Ints]:
    """At each different score: its last box, the right boxes so far, all boxes so far; boxes by falling score."""
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.zeros(0, dtype=np.int64)
    hits = np.cumsum(right, dtype=np.int64)
    return last.astype(np.int64), hits[last], last.astype(np.int64) + 1
