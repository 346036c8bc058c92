"""What the page and the API ask for: the faces of a photograph by every arm, and what an answer rests on."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from maskbench.app.models import Arm, Classifier
from maskbench.app.photographs import Box, Picture, check_boxes, read_picture
from maskbench.data.faces import resize_region
from maskbench.report.figures.portraits import overlay

#: Requests that may wait for their turn; more are sent away.
WAITING = 8
#: Side of an explained face, px.
FACE_SIDE = 320

NOT_FOUND = "This model names faces but does not find them: the whole photograph is taken for one face."
NOT_NAMED = "This model finds faces itself and cannot name boxes that are given."
NO_MAPS = "Maps need a classifier of faces; this model is a detector alone."


class BusyError(RuntimeError):
    """Too many requests are waiting."""


class WishError(ValueError):
    """Something is asked that cannot be answered; the message is one line that names the field."""


@dataclass(frozen=True)
class Face:
    """One face by one arm.

    Attributes:
        box: `xmin, ymin, xmax, ymax`, px of the photograph, inside it.
        label: class.
        score: in [0, 1]: of the detector; times the probability of the class where a classifier names what the
            detector found (the chance of a face of that class); that probability alone where boxes were given.
        probabilities: by class, in the classifier's order, adding up to 1; None where only a detector looked.
    """

    box: Box
    label: str
    score: float
    probabilities: dict[str, float] | None


@dataclass(frozen=True)
class ArmFaces:
    """What one arm sees.

    Attributes:
        arm: its name.
        classes: class order.
        faces: by falling score; boxes that were given keep their order.
        note: what a reader has to know; empty: nothing.
    """

    arm: str
    classes: tuple[str, ...]
    faces: tuple[Face, ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why one arm says what it says of a face.

    Attributes:
        arm: its name.
        label: the class it gives.
        explained: the class whose evidence the map shows.
        probabilities: by class.
        face: (S, S, 3) uint8, what the model sees, cut from the photograph.
        overlay: likewise, grey under the map; the map is shown as a share of its own peak.
        evidence: False: the map is zero everywhere.
    """

    arm: str
    label: str
    explained: str
    probabilities: dict[str, float]
    face: NDArray[np.uint8]
    overlay: NDArray[np.uint8]
    evidence: bool


class Service:
    """Arms that are asked by one caller at a time.

    Args:
        arms: at least one.
        max_bytes: of a photograph's file.
        waiting: callers that may wait.

    Raises:
        ValueError: no arm.
    """

    def __init__(self, arms: Sequence[Arm], *, max_bytes: int, waiting: int = WAITING) -> None:
        if not arms:
            raise ValueError("a service needs at least one arm")
        self.arms, self.max_bytes = tuple(arms), max_bytes
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._turn = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other caller decodes or computes.

        Models are not made for two threads, and memory is bounded only if one photograph is open at a time.

        Raises:
            BusyError: too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("busy: too many photographs are waiting; try again in a few seconds")
        try:
            with self._turn:
                yield
        finally:
            self._places.release()

    def read(self, content: bytes, name: str) -> Picture:
        """A photograph from the bytes of a file.

        Raises:
            ImageError: see `read_picture`.
        """
        return read_picture(content, name, max_bytes=self.max_bytes)

    def look(self, picture: Picture, *, min_score: float, boxes: Sequence[Box] = ()) -> tuple[ArmFaces, ...]:
        """The faces of a photograph by every arm.

        Args:
            picture: from `read`.
            min_score: faces with a smaller score are left out; boxes that are given all stay.
            boxes: faces that are given; empty: detectors find them.

        Raises:
            BoxError: see `check_boxes`.
            WishError: `min_score` is not in 0…1.
        """
        if not (math.isfinite(min_score) and 0 <= min_score <= 1):
            raise WishError(f"min_score: in 0…1, not {min_score}")
        check_boxes(boxes, picture)
        return tuple(_seen_by(arm, picture, min_score, boxes) for arm in self.arms)

    def explain(self, picture: Picture, box: Box, *, class_name: str = "") -> tuple[Explanation, ...]:
        """What the answers of all arms that have a classifier rest on, by Grad-CAM.

        Args:
            picture: from `read`.
            box: of the face.
            class_name: the class that is explained; empty: of each arm its own answer.

        Raises:
            BoxError: see `check_boxes`.
            WishError: no arm has a classifier, or one of them does not know the class.
        """
        check_boxes([box], picture)
        asked = [arm for arm in self.arms if arm.classifier is not None]
        if not asked:
            raise WishError(NO_MAPS)
        for arm in asked:
            if class_name and class_name not in arm.classes:
                raise WishError(f"class_name {class_name[:60]!r}: {arm.name} knows {', '.join(arm.classes)}")
        return tuple(found for arm in asked if (found := _explained_by(arm, picture, box, class_name)))


def face_at(faces: Sequence[Face], x: float, y: float) -> int | None:
    """The position of the face at a point, px of the photograph: the smallest box that holds it.

    Example:
        >>> around, inside = (Face(box, "a", 1.0, None) for box in ((0, 0, 9, 9), (2, 2, 4, 4)))
        >>> face_at([around, inside], 3, 3), face_at([around, inside], 8, 8), face_at([around, inside], 9.5, 3)
        (1, 0, None)
    """
    holding = [k for k, face in enumerate(faces) if face.box[0] <= x <= face.box[2] and face.box[1] <= y <= face.box[3]]
    return min(holding, key=lambda k: _area(faces[k].box), default=None)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _seen_by(arm: Arm, picture: Picture, min_score: float, given: Sequence[Box]) -> ArmFaces:
    if arm.classifier is None:
        if given:
            return ArmFaces(arm.name, arm.classes, (), NOT_NAMED)
        return ArmFaces(arm.name, arm.classes, tuple(_found(arm, picture, min_score)))
    if arm.detector is None or given:
        boxes = given or [picture.whole]
        faces = _named(arm.classifier, picture, boxes, None, whole=_is_whole(arm, picture, boxes))
        return ArmFaces(arm.name, arm.classes, tuple(faces), "" if given else NOT_FOUND)
    found = _found(arm, picture, min_score)
    named = _named(arm.classifier, picture, [face.box for face in found], [face.score for face in found])
    sure = sorted((face for face in named if face.score >= min_score), key=lambda face: -face.score)
    return ArmFaces(arm.name, arm.classes, tuple(sure))


def _found(arm: Arm, picture: Picture, min_score: float) -> list[Face]:
    """By falling score, with the detector's own classes."""
    if arm.detector is None:
        return []
    found = arm.detector.detect([picture.pixels])[0].above(min_score)
    limits = np.array([picture.width, picture.height] * 2, dtype=float)
    boxes = np.clip(found.boxes / picture.scale, 0, limits).round(2)
    kept = np.all(boxes[:, 2:] - boxes[:, :2] >= 1, axis=1).tolist()  # what cannot be asked for again is not shown
    return [
        Face(_box(box), label, float(score), None)
        for box, label, score, keep in zip(boxes, found.labels, found.scores, kept, strict=True)
        if keep
    ]


def _named(
    classifier: Classifier, picture: Picture, boxes: Sequence[Box], scores: Sequence[float] | None, *,
    whole: bool = False,
) -> list[Face]:  # fmt: skip
    """In the order of the boxes; `scores` are the detector's."""
    inside = np.array(boxes, dtype=float).reshape(-1, 4) * picture.scale
    probs = classifier.probabilities(picture.pixels, inside, whole=whole)
    found = np.ones(len(boxes)) if scores is None else np.array(scores, dtype=float)
    return [
        Face(box, classifier.classes[int(row.argmax())], float(score * row.max()), _by_class(classifier, row))
        for box, score, row in zip(boxes, found, probs, strict=True)
    ]


def _explained_by(arm: Arm, picture: Picture, box: Box, class_name: str) -> Explanation | None:
    """None where the arm has no classifier."""
    if (classifier := arm.classifier) is None:
        return None
    whole = _is_whole(arm, picture, [box])
    inside = np.array(box, dtype=float) * picture.scale
    probs = classifier.probabilities(picture.pixels, inside[None], whole=whole)[0]
    label = classifier.classes[int(probs.argmax())]
    explained = class_name or label
    heat = classifier.grad_cam(picture.pixels, inside, classifier.classes.index(explained), whole=whole)
    face = resize_region(picture.pixels, classifier.view_square(inside, whole=whole), FACE_SIDE)
    large = F.interpolate(torch.from_numpy(heat)[None, None], (FACE_SIDE, FACE_SIDE), mode="bilinear")[0, 0].numpy()
    shown = np.round(overlay(face, large) * 255).astype(np.uint8)
    evidence = bool(heat.max() > 0)
    return Explanation(arm.name, label, explained, _by_class(classifier, probs), face, shown, evidence)


def _is_whole(arm: Arm, picture: Picture, boxes: Sequence[Box]) -> bool:
    """Whether the photograph itself is the face: it is then shown without the context that boxes get."""
    return arm.detector is None and list(boxes) == [picture.whole]


def _by_class(classifier: Classifier, probs: NDArray[np.float64]) -> dict[str, float]:
    return {label: float(prob) for label, prob in zip(classifier.classes, probs, strict=True)}


def _box(values: NDArray[np.float64]) -> Box:
    xmin, ymin, xmax, ymax = (float(value) for value in values)
    return xmin, ymin, xmax, ymax
