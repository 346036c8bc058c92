"""Which box found which face, as COCO decides it, for all IoU thresholds and bands of size at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskbench.data.boxes import box_iou
from maskbench.evaluation.detection_boxes import Bools, Detected, Floats, Ints

#: 0.50, 0.55 … 0.95.
COCO_IOUS: Floats = np.linspace(0.5, 0.95, 10)
#: Area, px², up to which COCO counts.
_MOST = 1e5**2


def _below(side: float) -> float:
    """The greatest area that is smaller than that of a square of this side."""
    return float(np.nextafter(side**2, 0))


#: Areas in px², both ends included. COCO's own bands (a face of exactly 32² px is small *and* medium there), and bands
#: of the side of a square of equal area that suit faces in crowds: under 16 px, 16 to 32, 32 to 96, 96 and more.
BANDS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, _MOST),
    "coco_small": (0.0, 32.0**2),
    "coco_medium": (32.0**2, 96.0**2),
    "coco_large": (96.0**2, _MOST),
    "tiny": (0.0, _below(16)),
    "small": (16.0**2, _below(32)),
    "medium": (32.0**2, _below(96)),
    "large": (96.0**2, _MOST),
}
#: The bands of `BANDS` that part all faces, by rising size, with what they hold.
SIZE_BANDS: Mapping[str, str] = {"tiny": "< 16 px", "small": "16–32 px", "medium": "32–96 px", "large": "≥ 96 px"}


@dataclass(frozen=True, eq=False)
class Matches:
    """Boxes of a class (or of all) over all photographs, by falling score, with the faces they found.

    Attributes:
        boxes: int64 (n,), rows of `Detected.boxes`. Of equal scores the one in the earlier photograph comes first.
        faces: int64 (m,), rows of `Detected.face_boxes`.
        found: int64 (B, T, n), row of `Detected.face_boxes`, or -1: the box found no face.
        ignored: bool (B, T, n): the box counts neither as right nor as wrong in this band.
        wanted: bool (B, m): the face is of this band.
    """

    boxes: Ints
    faces: Ints
    found: Ints
    ignored: Bools
    wanted: Bools


def match(
    detected: Detected, class_index: int | None, ious: Sequence[float] | Floats, bands: Sequence[str] = ("all",)
) -> Matches:
    """Match greedily, by falling score, within each photograph.

    A box takes the free face on which it lies best, if their IoU reaches the threshold; of equal ones the last.
    Faces outside a band are ignored: a box takes one only if no face of the band is left for it, and then counts
    neither as right nor as wrong; nor does a box without a face whose own size is outside the band.

    Args:
        detected: faces and boxes.
        class_index: the class matched, 0…K-1; None: any box may take any face.
        ious: T thresholds in (0, 1].
        bands: B names from `BANDS`.

    Source:
        Lin et al., Microsoft COCO, ECCV 2014, and `COCOeval.evaluateImg` of its authors' pycocotools.
    """
    faces, boxes = detected.chosen(class_index)
    thresholds = np.minimum(np.asarray(ious, dtype=np.float64), 1 - 1e-10)
    limits = np.array([BANDS[band] for band in bands])  # (B, 2)
    wanted = _within(detected.face_areas[faces], limits)
    found = np.full((len(bands), len(thresholds), len(boxes)), -1, dtype=np.int64)
    face_images, box_images = detected.face_images[faces], detected.box_images[boxes]
    for image in np.intersect1d(face_images, box_images):
        g = slice(*np.searchsorted(face_images, [image, image + 1]))
        d = slice(*np.searchsorted(box_images, [image, image + 1]))
        overlaps = box_iou(detected.boxes[boxes[d]], detected.face_boxes[faces[g]])
        taken = _greedy(overlaps, wanted[:, g], thresholds)
        found[..., d] = np.where(taken >= 0, faces[g][taken], -1)
    place = np.full(len(detected.face_ids), -1, dtype=np.int64)
    place[faces] = np.arange(len(faces))
    rows = np.arange(len(bands))[:, None, None]
    on_ignored = (found >= 0) & ~wanted[rows, place[found]] if len(faces) else np.zeros(found.shape, dtype=bool)
    outside = ~_within(detected.box_areas[boxes], limits)[:, None, :]
    ignored = on_ignored | ((found < 0) & outside)
    order = np.argsort(-detected.scores[boxes], kind="stable")
    return Matches(boxes[order], faces, found[..., order], ignored[..., order], wanted)


def _within(areas: Floats, limits: Floats) -> Bools:
    """(B, n): is the area within the band."""
    return np.asarray((areas >= limits[:, :1]) & (areas <= limits[:, 1:]))


def _greedy(overlaps: Floats, wanted: Bools, thresholds: Floats) -> Ints:
    """The face that each box takes.

    Args:
        overlaps: (d, g) IoU of boxes, by falling score, with faces.
        wanted: (B, g).
        thresholds: (T,).

    Returns:
        int64 (B, T, d), column of the face or -1.
    """
    taken = np.full((len(wanted), len(thresholds), len(overlaps)), -1, dtype=np.int64)
    free = np.ones((len(wanted), len(thresholds), overlaps.shape[1]), dtype=bool)
    b, t = np.indices(taken.shape[:2])
    for box in np.flatnonzero((overlaps >= thresholds.min()).any(axis=1)):
        near = np.flatnonzero(overlaps[box] >= thresholds.min())[::-1]  # of equal ones argmax takes the last face
        overlap = overlaps[box, near]
        usable = free[:, :, near] & (overlap >= thresholds[:, None])  # (B, T, c)
        regular = usable & wanted[:, None, near]
        usable = np.where(regular.any(axis=2, keepdims=True), regular, usable)
        best = near[np.where(usable, overlap, -1.0).argmax(axis=2)]  # (B, T)
        hit = usable.any(axis=2)
        taken[:, :, box] = np.where(hit, best, -1)
        free[b[hit], t[hit], best[hit]] = False
    return taken
