"""What one system found in photographs, beside the truth: the arrays that all measures of detection start from.

A photograph without faces counts as much as any other (what is found there is false), so the photographs are named
explicitly and never taken from either table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.data.boxes import BOX_COLUMNS, box_area
from maskbench.schemas.detection import ALL_CLASSES, ANY_FACE, BACKGROUND, SYSTEM

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Names that mean something else in the tables.
_RESERVED = (ALL_CLASSES, ANY_FACE, BACKGROUND)


@dataclass(frozen=True, order=True)
class System:
    """What was measured: an arm, a run of it, a side of the split, a way from boxes to classes."""

    arm: str
    seed: int
    split: str
    pipeline: str

    def row(self) -> dict[str, Any]:
        """The columns that tables are keyed by."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Detected:
    """Faces and found boxes of the same photographs, in the order in which COCO takes them.

    Attributes:
        system: what found the boxes.
        classes: K class names, in the study's order.
        image_ids: I photographs, with and without faces.
        max_detections: boxes of one photograph that count, the highest scores first; for a class as COCO has it,
            of that class.
        face_ids: F names of faces.
        face_boxes: float64 (F, 4), `xmin, ymin, xmax, ymax`, px of the photograph.
        face_classes: int64 (F,), 0…K-1.
        face_images: int64 (F,), 0…I-1, rising.
        boxes: float64 (N, 4), px.
        scores: float64 (N,), in [0, 1]; falling within a photograph.
        box_classes: int64 (N,), 0…K-1.
        box_images: int64 (N,), 0…I-1, rising.
        box_answers: bool (N,), the box is what a user is told; the others are further classes of the same places.
    """

    system: System
    classes: tuple[str, ...]
    image_ids: tuple[str, ...]
    max_detections: int
    face_ids: tuple[str, ...]
    face_boxes: Floats
    face_classes: Ints
    face_images: Ints
    boxes: Floats
    scores: Floats
    box_classes: Ints
    box_images: Ints
    box_answers: Bools

    @classmethod
    def of(
        cls,
        detections: pd.DataFrame,
        faces: pd.DataFrame,
        image_ids: Sequence[str],
        classes: Sequence[str],
        system: System,
        *,
        max_detections: int = 300,
    ) -> Detected:
        """One system on these photographs.

        Args:
            detections: `schemas.DETECTIONS`; rows of other systems and photographs are left out. None of this
                system means that it found nothing.
            faces: `schemas.FACES`; rows of other photographs are left out.
            image_ids: the photographs, those without faces too.
            classes: class order.
            system: whose detections.
            max_detections: as in the attributes; ≥ 1. COCO's 100 is less than one photograph may have faces.

        Raises:
            ValueError: a photograph or class is named twice, a label is not among the classes, a class has a name
                that the tables use otherwise, a box is inside out or not finite, or `max_detections` < 1.
        """
        _check(image_ids, classes, max_detections)
        numbers = {image_id: number for number, image_id in enumerate(image_ids)}
        mine = np.logical_and.reduce([detections[name] == value for name, value in system.row().items()])
        found = _numbered(detections[mine], numbers).sort_values(
            ["image", "score", "rank"], ascending=[True, False, True], kind="stable"
        )
        truth = _numbered(faces, numbers).sort_values("image", kind="stable")
        return cls(
            system=system,
            classes=tuple(classes),
            image_ids=tuple(image_ids),
            max_detections=max_detections,
            face_ids=tuple(truth["face_id"]),
            face_boxes=_boxes(truth, "faces"),
            face_classes=_class_numbers(truth["label"], classes),
            face_images=truth["image"].to_numpy(dtype=np.int64),
            boxes=_boxes(found, "detections"),
            scores=found["score"].to_numpy(dtype=np.float64),
            box_classes=_class_numbers(found["label"], classes),
            box_images=found["image"].to_numpy(dtype=np.int64),
            box_answers=found["answer"].to_numpy(dtype=np.bool_),
        )

    def chosen(self, class_index: int | None) -> tuple[Ints, Ints]:
        """Rows of the faces and of the boxes of a class that count; all faces and all answers where it is None.

        The boxes are those of highest score in each photograph, `max_detections` at most.
        """
        every = class_index is None
        faces = np.arange(len(self.face_ids)) if every else np.flatnonzero(self.face_classes == class_index)
        boxes = np.flatnonzero(self.box_answers if every else self.box_classes == class_index)
        place = np.arange(len(boxes)) - np.searchsorted(self.box_images[boxes], self.box_images[boxes])
        return faces, boxes[place < self.max_detections]

    def above(self, min_score: float) -> Detected:
        """The same with the boxes of a score of `min_score` or more only."""
        return self._with(self.scores >= min_score)

    def answered(self) -> Detected:
        """The same with what a user is told only: one box per face."""
        return self._with(self.box_answers)

    def _with(self, kept: Bools) -> Detected:
        names = ("boxes", "scores", "box_classes", "box_images", "box_answers")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    @property
    def face_areas(self) -> Floats:
        """(F,) px²."""
        return box_area(self.face_boxes)

    @property
    def box_areas(self) -> Floats:
        """(N,) px²."""
        return box_area(self.boxes)


def systems_in(detections: pd.DataFrame) -> list[System]:
    """The systems of `schemas.DETECTIONS`, in the table's order; one that found nothing at all is not in it."""
    keys = detections[list(SYSTEM)].drop_duplicates()
    return [System(str(row.arm), int(row.seed), str(row.split), str(row.pipeline)) for row in keys.itertuples()]  # type: ignore[arg-type]


def _check(image_ids: Sequence[str], classes: Sequence[str], max_detections: int) -> None:
    for what, names in (("photographs", image_ids), ("classes", classes)):
        if len(set(names)) != len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise ValueError(f"{what}: {twice!r} is named twice")
    if reserved := set(classes) & set(_RESERVED):
        raise ValueError(f"a class cannot be called {sorted(reserved)[0]!r}: the tables of detection use that name")
    if max_detections < 1:
        raise ValueError(f"max_detections: at least 1, not {max_detections}")


def _numbered(table: pd.DataFrame, numbers: dict[str, int]) -> pd.DataFrame:
    """The rows of these photographs, with their number as `image`."""
    kept = table[table["image_id"].isin(numbers.keys())]
    return kept.assign(image=kept["image_id"].map(numbers).astype(np.int64))


def _boxes(table: pd.DataFrame, what: str) -> Floats:
    boxes = table[BOX_COLUMNS].to_numpy(dtype=np.float64)
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{what}: box {boxes[row].tolist()} in {table['image_id'].iloc[row]} is inside out or undefined"
        )
    return boxes


def _class_numbers(labels: pd.Series[str], classes: Sequence[str]) -> Ints:
    numbers = pd.Index(list(classes)).get_indexer(pd.Index(labels)).astype(np.int64)
    if (numbers < 0).any():
        unknown = labels[numbers < 0].iloc[0]
        raise ValueError(f"label {unknown!r} is not among the classes {', '.join(classes)}")
    return numbers
