"""Average precision and recall when each photograph counts any number of times, for hundreds of weightings at once.

Boxes are matched within photographs, so matches do not depend on how often a photograph counts: a bootstrap draw of
photographs is a weighting, and only the ranking is summed up anew.
"""

from __future__ import annotations

import numpy as np

from maskbench.evaluation.detection_boxes import Bools, Detected, Floats, Ints
from maskbench.evaluation.detection_matching import BANDS, COCO_IOUS, Matches, match
from maskbench.schemas.detection import ALL_CLASSES, ANY_FACE

#: Recalls at which COCO reads the interpolated precision: 0, 0.01 … 1.
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
#: What each metric reads (precision or recall), at which of `COCO_IOUS`.
_READS: dict[str, tuple[int, slice]] = {
    "ap": (0, slice(None)),
    "ap50": (0, slice(0, 1)),
    "ap75": (0, slice(5, 6)),
    "ar_max": (1, slice(None)),
    "ar50": (1, slice(0, 1)),
    "ar75": (1, slice(5, 6)),
}
METRICS = tuple(_READS)
#: Weights held at a time: 4 million float64 are 32 MB.
_CHUNK = 4_000_000


def metric_names(classes: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Metric, class name and band of each column of `WeightedDetection.measure`.

    `ap` (mean over IoU 0.50, 0.55 … 0.95), `ap50`, `ap75`, and the same of recall, however low the score:
    `ar_max`, `ar50`, `ar75`; over all classes (`ALL_CLASSES`, their mean), by class, and with classes not minded
    (`ANY_FACE`); in every band of `BANDS`.
    """
    names = (ALL_CLASSES, *classes, ANY_FACE)
    return [(metric, name, band) for name in names for band in BANDS for metric in METRICS]


class WeightedDetection:
    """One system's matches, ready for any weighting of photographs.

    Attributes:
        images: I, photographs.
        faces: int64 (C, B), faces that count, by class (all classes, each, any face) and band.
    """

    def __init__(self, detected: Detected) -> None:
        """Match once.

        Args:
            detected: faces and boxes of I photographs.
        """
        self.images = len(detected.image_ids)
        self._detected = detected
        kinds: list[int | None] = [*range(len(detected.classes)), None]
        self._matches = [match(detected, kind, COCO_IOUS, list(BANDS)) for kind in kinds]
        own = np.array([found.wanted.sum(axis=1) for found in self._matches], dtype=np.int64)  # (K + 1, B)
        self.faces = np.concatenate([own[:-1].sum(axis=0, keepdims=True), own])

    def measure(self, weights: Floats) -> Floats:
        """The metrics under weights of photographs.

        Args:
            weights: (R, I), how often each photograph counts, ≥ 0; whole numbers.

        Returns:
            (R, M), columns as in `metric_names`. A weighting without any face of a class and band says nothing about
            it: NaN there, and in the mean over classes. A class without such a face under any weighting is
            left out of the mean, as COCO does.

        Source:
            Lin et al., Microsoft COCO, ECCV 2014 (101-point interpolation, mean over IoU).
        """
        longest = max((len(found.boxes) for found in self._matches), default=0)
        step = max(1, _CHUNK // max(longest, 1))
        parts = [self._block(weights[start : start + step]) for start in range(0, len(weights), step)]
        return np.concatenate(parts) if parts else np.zeros((0, len(metric_names(self._detected.classes))))

    def _block(self, weights: Floats) -> Floats:
        by_photo = np.ascontiguousarray(weights.T)  # (I, R): gathering rows and summing down them is what is fast
        curves = np.stack([self._class_curves(found, by_photo) for found in self._matches])  # (K + 1, B, 2, T, R)
        per_class = curves[:-1]
        present = self.faces[1:-1] > 0  # (K, B)
        total = np.where(present[:, :, None, None, None], per_class, 0.0).sum(axis=0)
        count = present.sum(axis=0)[:, None, None, None]
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        every = np.concatenate([mean[None], curves])  # (C, B, 2, T, R)
        columns = [every[:, :, side, ious].mean(axis=2) for side, ious in _READS.values()]  # each (C, B, R)
        return np.stack(columns, axis=2).reshape(-1, weights.shape[0]).T

    def _class_curves(self, found: Matches, by_photo: Floats) -> Floats:
        """(B, 2, T, R): average precision and recall of one class."""
        bands, ious = found.found.shape[:2]
        result = np.full((bands, 2, ious, by_photo.shape[1]), np.nan)
        photos = self._detected.box_images[found.boxes]
        for band in range(bands):
            wanted = self._detected.face_images[found.faces[found.wanted[band]]]
            if len(wanted) == 0:
                continue
            faces = np.bincount(wanted, minlength=self.images).astype(np.float64) @ by_photo  # (R,)
            for iou in range(ious):
                counts = ~found.ignored[band, iou]
                right = (found.found[band, iou] >= 0) & counts
                result[band, :, iou] = _precision_and_recall(photos, counts, right, faces, by_photo)
        return result


def _precision_and_recall(photos: Ints, counts: Bools, right: Bools, faces: Floats, by_photo: Floats) -> Floats:
    """Average precision and final recall of one ranking under each weighting.

    Precision between two right boxes is highest at the first of them, so the curve is read at right boxes only.

    Args:
        photos: (n,) photograph of each box, by falling score.
        counts: (n,) the box is right or wrong, not ignored.
        right: (n,) it found a face.
        faces: (R,) weighted count of faces.
        by_photo: (I, R) weights.

    Returns:
        (2, R); NaN where no face has weight.
    """
    chosen = np.flatnonzero(counts)
    places = np.flatnonzero(right[chosen])
    if len(places) == 0:
        return np.where(faces > 0, 0.0, np.nan) * np.ones((2, 1))
    chosen = chosen[: places[-1] + 1]
    seen = np.cumsum(by_photo[photos[chosen]], axis=0)[places]  # (P, R)
    hits = np.cumsum(by_photo[photos[chosen[places]]], axis=0)
    defined = faces > 0
    recall = np.divide(hits, faces, out=np.zeros_like(hits), where=defined)
    area = average_precision(hits, seen, recall)
    return np.where(defined, np.stack([area, recall[-1]]), np.nan)


def average_precision(hits: Floats, seen: Floats, recall: Floats) -> Floats:
    """COCO's 101-point average of the interpolated precision.

    Args:
        hits: (P, R) right boxes so far, at each right box, by falling score; R rankings.
        seen: (P, R) boxes so far.
        recall: (P, R) in [0, 1], rising.

    Returns:
        (R,) in [0, 1].

    Example:
        >>> one = np.array([[1.0], [2.0]])
        >>> average_precision(one, np.array([[1.0], [4.0]]), one / 2).round(4).tolist()  # 51 × 1 and 50 × 1/2, over 101
        [0.7525]
    """
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    interpolated = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = np.searchsorted(RECALLS, recall, side="right")  # how many of the 101 recalls are reached
    newly = np.diff(reached, axis=0, prepend=0)
    return np.asarray(np.einsum("pr,pr->r", newly.astype(np.float64), interpolated) / len(RECALLS))
