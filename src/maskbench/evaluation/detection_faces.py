"""Which faces were found, by which box, and as what: classes are not minded while boxes are matched.

A box of the wrong class on a face is then one mistake, a face named wrongly, not a false box and a missed face.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from maskbench.data.boxes import BOX_COLUMNS, box_iou
from maskbench.evaluation.detection_boxes import Detected, Floats, Ints
from maskbench.evaluation.detection_matching import match
from maskbench.schemas import empty_table
from maskbench.schemas.detection import BACKGROUND, DETECTION_CONFUSION, FOUND_FACES

#: Least overlap of a box that found a face.
FOUND_IOU = 0.5


def found_faces_table(detected: Detected, min_score: float) -> pd.DataFrame:
    """Every face with the box that found it, or that lies best on it.

    Args:
        detected: faces and boxes.
        min_score: boxes of this score or more count, in [0, 1].

    Returns:
        `schemas.detection.FOUND_FACES`, faces in the order of their photographs. `found`: a box was matched, by
        falling score, each box to the free face on which it lies best, at IoU ≥ 0.5, whatever its class. The best-lying
        box of a face that was not found may have found another one (of equally good ones the highest score).
        IoU, class, score and box are NaN or empty where no box touches the face.

    Raises:
        ValueError: `min_score` is not in [0, 1].
    """
    _check(min_score)
    if not detected.face_ids:
        return empty_table(FOUND_FACES)
    kept = detected.above(min_score)
    finder = _finder(kept)
    box, iou = _best_boxes(kept, finder)
    some = box >= 0
    names = np.array([*kept.classes, ""], dtype=object)
    predicted = names[np.where(some, kept.box_classes[box], -1)] if len(kept.scores) else np.full(len(box), "")
    labels = names[kept.face_classes]
    corners = np.full((len(box), 4), np.nan)
    corners[some] = kept.boxes[box[some]]
    scores = np.full(len(box), np.nan)
    scores[some] = kept.scores[box[some]]
    columns = {
        "face_id": list(kept.face_ids),
        "image_id": [kept.image_ids[image] for image in kept.face_images],
        "label": labels,
        "side": np.sqrt(kept.face_areas),
        "found": finder >= 0,
        "named": (finder >= 0) & (labels == predicted),
        "iou": iou,
        "predicted": predicted,
        "score": scores,
        "min_score": float(min_score),
        **dict(zip(BOX_COLUMNS, corners.T, strict=True)),
    }
    table = pd.DataFrame(detected.system.row() | columns, index=range(len(box)), columns=list(FOUND_FACES.columns))
    return table.astype(dict.fromkeys(("arm", "split", "pipeline", "face_id", "image_id", "label", "predicted"), "str"))


def confusion_table(detected: Detected, min_score: float) -> pd.DataFrame:
    """How often faces of each class were found as each class, or not, and boxes lay on no face.

    Args:
        detected: faces and boxes.
        min_score: boxes of this score or more count, in [0, 1].

    Returns:
        `schemas.detection.DETECTION_CONFUSION`, matched as in `found_faces_table`: rows by class order, then
        `BACKGROUND`. A second box on a face that is already found counts as a box on no face.

    Raises:
        ValueError: `min_score` is not in [0, 1].
    """
    _check(min_score)
    kept = detected.above(min_score)
    K = len(kept.classes)
    finder = _finder(kept)
    counts = np.zeros((K + 1, K + 1), dtype=np.int64)
    predicted = np.full(len(finder), K)
    predicted[finder >= 0] = kept.box_classes[finder[finder >= 0]]
    np.add.at(counts, (kept.face_classes, predicted), 1)
    _, used = kept.chosen(None)
    alone = np.setdiff1d(used, finder)
    counts[K] += np.bincount(kept.box_classes[alone], minlength=K + 1)
    names = [*kept.classes, BACKGROUND]
    rows = [
        kept.system.row()
        | {"label": names[i], "predicted": names[j], "count": int(counts[i, j]), "min_score": float(min_score)}
        for i in range(K + 1)
        for j in range(K + 1)
        if (i, j) != (K, K)
    ]
    return pd.DataFrame(rows, columns=list(DETECTION_CONFUSION.columns))


def _check(min_score: float) -> None:
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score: between 0 and 1, not {min_score}")


def _finder(detected: Detected) -> Ints:
    """(F,) row of the box that found each face, or -1."""
    found = match(detected, None, [FOUND_IOU])
    finder = np.full(len(detected.face_ids), -1, dtype=np.int64)
    taken = found.found[0, 0]
    finder[taken[taken >= 0]] = found.boxes[taken >= 0]
    return finder


def _best_boxes(detected: Detected, finder: Ints) -> tuple[Ints, Floats]:
    """(F,) row of the finder or of the best-lying box, -1 where none touches the face; (F,) its IoU or NaN."""
    _, used = detected.chosen(None)
    box, iou = finder.copy(), np.full(len(finder), np.nan)
    for image in np.intersect1d(detected.face_images, detected.box_images[used]):
        faces = np.flatnonzero(detected.face_images == image)
        boxes = used[detected.box_images[used] == image]
        overlaps = box_iou(detected.face_boxes[faces], detected.boxes[boxes])
        best = np.where(overlaps.max(axis=1) > 0, boxes[overlaps.argmax(axis=1)], -1)
        box[faces] = np.where(finder[faces] >= 0, finder[faces], best)
        touched = box[faces] >= 0
        iou[faces[touched]] = overlaps[touched, np.searchsorted(boxes, box[faces[touched]])]
    return box, iou
