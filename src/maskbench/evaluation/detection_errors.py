"""What detection gets wrong, by kind, and how much of AP50 each kind costs (TIDE)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from maskbench.data.boxes import box_iou
from maskbench.evaluation.detection_boxes import Bools, Detected, Floats, Ints
from maskbench.evaluation.detection_matching import match
from maskbench.evaluation.detection_weighted import average_precision
from maskbench.schemas.detection import DETECTION_ERRORS, ERROR_KINDS

#: A box with this overlap or more is on the face (Bolya's t_f), with less than the other it is on none (t_b).
FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = ERROR_KINDS


@dataclass(frozen=True, eq=False)
class Errors:
    """The kind of each wrong box, and which faces were missed.

    Attributes:
        boxes: int64 (n,), rows of `Detected.boxes` that count, by falling score.
        found: int64 (n,), row of the face that the box found, or -1.
        kinds: str (n,), one of `ERROR_KINDS`, empty for a right box.
        aims: int64 (n,), the face that a box of the kinds classification and localisation would have found, else -1.
        missed: bool (F,), no box found the face, nor would one with its class or place mended.
    """

    boxes: Ints
    found: Ints
    kinds: np.ndarray
    aims: Ints
    missed: Bools


def find_errors(detected: Detected) -> Errors:
    """Sort the boxes that found no face, and the faces that no box found.

    A box is, in this order: *localisation*, its best overlap with a face of its class is in [0.1, 0.5);
    *classification*, its best overlap with a face of another class is ≥ 0.5; *duplicate*, it has an overlap ≥ 0.5 with
    a face of its class, which a box of higher score found; *background*, it has no overlap ≥ 0.1; *both*: the rest,
    an overlap in [0.1, 0.5) with another class only. A face is *missed* where no box found it and none of the
    kinds classification and localisation aims at it.

    Source:
        Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020, section 2.2; the order
        is that of its authors' code.
    """
    boxes, found = _matched(detected)
    kinds = np.full(len(boxes), "", dtype=object)
    aims = np.full(len(boxes), -1, dtype=np.int64)
    for row in np.flatnonzero(found < 0):
        box = boxes[row]
        start, end = np.searchsorted(detected.face_images, detected.box_images[box] + np.array([0, 1]))
        overlaps = box_iou(detected.boxes[[box]], detected.face_boxes[start:end])[0]
        same = detected.face_classes[start:end] == detected.box_classes[box]
        kinds[row], aim = _kind(np.where(same, overlaps, 0.0), np.where(same, 0.0, overlaps))
        aims[row] = -1 if aim < 0 else start + aim
    missed = np.ones(len(detected.face_ids), dtype=bool)
    missed[found[found >= 0]] = False
    missed[aims[aims >= 0]] = False
    return Errors(boxes, found, kinds, aims, missed)


def errors_table(detected: Detected, min_score: float = 0.0) -> pd.DataFrame:
    """Count each kind of error, and the AP50 won by mending that kind alone.

    What mending does, by kind. Classification: the box gets the face's class; localisation: the face's box; where two
    boxes would then find one face, the one of higher score does and the other is taken away. Both, duplicate,
    background: the box is taken away. Missed: the face is not asked for, so the curve is stretched, as if missed
    faces were found as precisely as the rest; a class that has no other faces keeps its AP of 0.

    Gains do not add up to what is lacking: mending one kind changes what the others cost.

    Args:
        detected: faces and boxes.
        min_score: boxes of this score or more count, in [0, 1]; 0 as in the paper.

    Returns:
        `schemas.detection.DETECTION_ERRORS`; `ap50` is the mean over classes with faces, NaN without any. `count` is
        of faces for `missed`, else of boxes.

    Raises:
        ValueError: `min_score` is not in [0, 1].

    Source:
        Bolya et al., ECCV 2020, sections 2.2 and 2.3. Where a mended box and a right one meet on a face, the authors'
        code takes the mended one away whatever its score; here, as in the paper, the lower score goes.
    """
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score: between 0 and 1, not {min_score}")
    kept = detected.above(min_score)
    errors = find_errors(kept)
    before = _mean_ap(kept, errors, "")
    rows = []
    for kind in ERROR_KINDS:
        count = int(errors.missed.sum() if kind == _MISSED else (errors.kinds == kind).sum())
        row = {"kind": kind, "count": count, "ap50": before, "gain": _mean_ap(kept, errors, kind) - before}
        rows.append(kept.system.row() | row | {"min_score": float(min_score)})
    return pd.DataFrame(rows, columns=list(DETECTION_ERRORS.columns))


def _matched(detected: Detected) -> tuple[Ints, Ints]:
    """Boxes of all classes by falling score, and the face of its class that each found, or -1."""
    matches = [match(detected, number, [FOREGROUND_IOU]) for number in range(len(detected.classes))]
    none = np.zeros(0, dtype=np.int64)
    boxes = np.concatenate([none, *(one.boxes for one in matches)])
    found = np.concatenate([none, *(one.found[0, 0] for one in matches)])
    order = np.lexsort([boxes, -detected.scores[boxes]])
    return boxes[order], found[order]


def _kind(own: Floats, other: Floats) -> tuple[str, int]:
    """The kind of a box that found no face, and the face aimed at, from overlaps with faces of its class and others."""
    best_own, best_other = own.max(initial=0.0), other.max(initial=0.0)
    if BACKGROUND_IOU <= best_own < FOREGROUND_IOU:
        return _LOCALISATION, int(own.argmax())
    if best_other >= FOREGROUND_IOU:
        return _CLASSIFICATION, int(other.argmax())
    if best_own >= FOREGROUND_IOU:
        return _DUPLICATE, -1
    if best_other < BACKGROUND_IOU:
        return _BACKGROUND, -1
    return _BOTH, -1


def _mean_ap(detected: Detected, errors: Errors, kind: str) -> float:
    """Mean AP50 over the classes with faces once errors of one kind are mended; an empty kind mends nothing."""
    wrong = errors.kinds == kind if kind else np.zeros(len(errors.boxes), dtype=bool)
    target = errors.found.copy()
    classes = detected.box_classes[errors.boxes].copy()
    kept = ~wrong
    if kind in (_CLASSIFICATION, _LOCALISATION):
        target[wrong] = errors.aims[wrong]
        classes[wrong] = detected.face_classes[errors.aims[wrong]]
        first = np.zeros(len(target), dtype=bool)
        first[np.unique(target, return_index=True)[1]] = True  # of each face, the box of the highest score
        kept = (target < 0) | first
    asked = ~errors.missed if kind == _MISSED else np.ones(len(errors.missed), dtype=bool)
    values = []
    for number in np.unique(detected.face_classes):
        faces = int((asked & (detected.face_classes == number)).sum())
        values.append(_ap(target[kept & (classes == number)] >= 0, faces))
    return float(np.mean(values)) if values else float("nan")


def _ap(right: Bools, faces: int) -> float:
    """COCO's AP of one ranking."""
    places = np.flatnonzero(right)
    if len(places) == 0:
        return 0.0
    hits: Floats = np.arange(1, len(places) + 1, dtype=np.float64)[:, None]
    seen = (places + 1).astype(np.float64)[:, None]
    return float(average_precision(hits, seen, hits / faces)[0])
