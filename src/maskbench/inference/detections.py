"""What was found in one photograph, as users get it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Detection:
    """One face.

    Attributes:
        box: `xmin, ymin, xmax, ymax`, px of the photograph.
        label: class.
        score: in [0, 1].
    """

    box: tuple[float, float, float, float]
    label: str
    score: float


@dataclass(frozen=True, eq=False)
class Detections:
    """Faces found in one photograph, by falling score.

    Attributes:
        boxes: float32 (N, 4) `xmin, ymin, xmax, ymax`, px of the photograph, inside it; read-only.
        labels: N class names.
        scores: float32 (N,) in [0, 1], falling; read-only.
        width: of the photograph, px.
        height: likewise.
        classes: class order.

    Example:
        >>> found = Detections.of([[0, 0, 9, 9], [1, 1, 5, 6]], ["no", "yes"], [0.4, 0.9], 20, 10, ("no", "yes"))
        >>> len(found), found.labels, [face.score for face in found.above(0.5)]
        (2, ('yes', 'no'), [0.9])
    """

    boxes: NDArray[np.float32]
    labels: tuple[str, ...]
    scores: NDArray[np.float32]
    width: int
    height: int
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        boxes: ArrayLike,
        labels: Sequence[str],
        scores: ArrayLike,
        width: int,
        height: int,
        classes: Sequence[str],
    ) -> Detections:
        """Check, order by falling score, and copy.

        Raises:
            ValueError: sizes differ, a number is not finite, a box is inverted or reaches outside the photograph by
                more than a pixel, a score is not in [0, 1], or a label is not among the classes.
        """
        found = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        sure = np.array(scores, dtype=np.float32).reshape(-1)
        if not len(found) == len(sure) == len(labels):
            raise ValueError(f"boxes, labels and scores: {len(found)}, {len(labels)} and {len(sure)} of them")
        if not (np.isfinite(found).all() and np.isfinite(sure).all()):
            raise ValueError("boxes and scores: a number is not finite")
        if ((sure < 0) | (sure > 1)).any():
            raise ValueError("scores: in 0…1")
        if (found[:, 2:] < found[:, :2]).any():
            raise ValueError("boxes: xmin, ymin, xmax, ymax; one has its corners the other way round")
        limits = np.array([width, height, width, height], dtype=np.float32)
        if ((found < -1) | (found > limits + 1)).any():
            raise ValueError(f"boxes: one reaches outside the photograph of {width} × {height} px")
        if unknown := sorted(set(labels) - set(classes)):
            raise ValueError(f"labels: {unknown[0]!r} is not among the classes {', '.join(classes)}")
        order = np.argsort(-sure, kind="stable")
        found, sure = np.clip(found, 0, limits)[order], sure[order]
        found.flags.writeable = sure.flags.writeable = False
        return cls(found, tuple(labels[k] for k in order), sure, int(width), int(height), tuple(classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Detection]:
        for box, label, score in zip(self.boxes.tolist(), self.labels, self.scores.tolist(), strict=True):
            xmin, ymin, xmax, ymax = box
            yield Detection((xmin, ymin, xmax, ymax), label, round(score, 6))

    def above(self, min_score: float) -> Detections:
        """Those of at least this score."""
        count = int((self.scores >= min_score).sum())
        return replace(self, boxes=self.boxes[:count], labels=self.labels[:count], scores=self.scores[:count])

    def to_coco(self, image_id: int | str = 0) -> list[dict[str, Any]]:
        """As COCO's results: `bbox` is `x, y, width, height` in px, categories count from 1 in class order."""
        number = {name: index for index, name in enumerate(self.classes, start=1)}
        return [
            {
                "image_id": image_id,
                "category_id": number[face.label],
                "bbox": [face.box[0], face.box[1], face.box[2] - face.box[0], face.box[3] - face.box[1]],
                "score": face.score,
            }
            for face in self
        ]

    def to_table(self, image: str) -> pd.DataFrame:
        """A row per face: `image`, `label`, `score`, `xmin`, `ymin`, `xmax`, `ymax`."""
        corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), self.boxes.astype(float).T, strict=True))
        return pd.DataFrame({"image": image, "label": list(self.labels), "score": self.scores.astype(float), **corners})

    def plot(self, image: NDArray[np.uint8] | Image.Image) -> Image.Image:
        """The photograph with boxes, classes and scores drawn on a copy of it.

        Args:
            image: RGB, of this size.

        Raises:
            ValueError: it has another size.
        """
        from maskbench.inference.annotate import annotated

        return annotated(image, self)
