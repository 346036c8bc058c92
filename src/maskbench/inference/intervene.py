"""Trained models on intervened faces: the same faces, changed in one way at a time, one row per face and level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from maskbench.data.batch import Batch
from maskbench.data.crops import FaceCrops
from maskbench.data.interventions import INTERVENTIONS, Intervention, intervened_canvases
from maskbench.data.transforms import Preprocess
from maskbench.inference.predict import Logits, predict_logits
from maskbench.models.execution import Execution
from maskbench.schemas.interventions import UNTOUCHED
from maskbench.training.checkpoint import execution_of, preprocess_of

Rows = NDArray[np.int64]


def intervened_table(
    models: Sequence[tuple[nn.Module, dict[str, Any]]],
    crops: FaceCrops,
    faces: pd.DataFrame,
    rows: Rows,
    interventions: Iterable[Intervention] = tuple(INTERVENTIONS.values()),
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Predict faces untouched and under every level of every intervention.

    Untouched faces are predicted as the evaluation does, in the same batches; of the others only those that an
    intervention changes are predicted again. A change is made once, for all models that see these faces alike.

    Args:
        models: each with its checkpoint's record, from `load_checkpoint`; they are placed on their devices.
        crops: of all faces, cut with `interventions.context_margin` of the study's margin.
        faces: `schemas.FACES`, in the order of `crops`.
        rows: (M,) places in `faces` of the test faces, rising.
        interventions: what to do to them.
        seed: of what interventions draw at random.
        progress: called with levels done and in all.

    Returns:
        `schemas.INTERVENED`, model after model.

    Raises:
        ValueError: a label of `faces` is none of a checkpoint's classes, there is no face, `crops` do not fit, or the
            models do not see faces alike.
    """
    if not len(rows):
        raise ValueError("rows: no face to intervene on")
    seen = {(preprocess_of(record), float(record["preprocess"]["margin"])) for _, record in models}
    if len(seen) != 1:
        raise ValueError("models: they see faces with unlike preprocessing")
    preprocess, margin = seen.pop()
    shown = _Shown(crops, faces, rows, margin, preprocess, seed)
    untouched = shown.canvases()
    subjects = [_Subject.shown(untouched, model, record, faces.iloc[rows], rows) for model, record in models]
    steps = [(item, *step) for item in interventions for step in item.positions(margin).items()]
    for done, (item, level, place) in enumerate(steps, start=1):
        canvases = shown.canvases(item, level)
        distortion = _distortion(canvases, untouched, preprocess)
        for subject in subjects:
            subject.meet(
                canvases, distortion, intervention=item.name, description=item.label, level=level, unit=item.unit,
                position=place, reference=level == item.reference,
            )  # fmt: skip
        if progress:
            progress(done, len(steps))
    return pd.concat([part for subject in subjects for part in subject.parts], ignore_index=True)


@dataclass(frozen=True)
class _Predictor:
    """Predicts as the evaluation does."""

    model: nn.Module
    preprocess: Preprocess
    execution: Execution
    evaluate: dict[str, Any]

    def predict(self, canvases: torch.Tensor, targets: torch.Tensor, rows: Rows) -> Logits:
        """Logits of faces, in batches of the evaluation's size."""
        size, places = self.evaluate["batch_size"], torch.from_numpy(rows)
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]
        return predict_logits(
            self.model, [Batch(canvases[part], targets[part], places[part]) for part in parts],
            self.preprocess, self.execution, flip_average=self.evaluate["flip_average"],
        )  # fmt: skip


@dataclass(frozen=True)
class _Shown:
    """What the model is shown of the faces."""

    crops: FaceCrops
    faces: pd.DataFrame
    rows: Rows
    margin: float
    preprocess: Preprocess
    seed: int

    def canvases(self, intervention: Intervention | None = None, level: float = float("nan")) -> torch.Tensor:
        """Canvases under an intervention, or untouched."""
        return intervened_canvases(
            self.crops, self.faces, self.rows, self.margin, self.preprocess.input_size, intervention, level,
            seed=self.seed,
        )  # fmt: skip


@dataclass
class _Subject:
    """A model and what it said of the faces.

    Attributes:
        predictor: of the model.
        arm, seed: whose it is.
        classes: class order.
        faces: that it is shown.
        rows: their places.
        targets: int64 (M,), their classes.
        found: logits of the untouched faces.
        parts: of the table, so far.
    """

    predictor: _Predictor
    arm: str
    seed: int
    classes: tuple[str, ...]
    faces: pd.DataFrame
    rows: Rows
    targets: torch.Tensor
    found: Logits
    parts: list[pd.DataFrame] = field(default_factory=list)

    @classmethod
    def shown(
        cls, untouched: torch.Tensor, model: nn.Module, record: dict[str, Any], faces: pd.DataFrame, rows: Rows
    ) -> _Subject:
        """A checkpoint's, after it has seen the faces (M) as they are.

        Raises:
            ValueError: a label is none of its classes.
        """
        classes = tuple(record["classes"])
        position = {name: index for index, name in enumerate(classes)}
        unknown = sorted(set(faces["label"]) - set(classes))
        if unknown:
            raise ValueError(f"faces: label {unknown[0]!r} is none of the checkpoint's classes")
        execution = execution_of(record)
        execution.place(model)
        predictor = _Predictor(model, preprocess_of(record), execution, record["evaluate"])
        targets = torch.tensor([position[label] for label in faces["label"]])
        found = predictor.predict(untouched, targets, rows)
        subject = cls(predictor, record["arm"], int(record["seed"]), classes, faces, rows, targets, found)
        subject._note(found, np.zeros(len(rows)), intervention=UNTOUCHED, description="untouched")
        return subject

    def meet(self, canvases: torch.Tensor, distortion: NDArray[np.float64], **told: Any) -> None:
        """Predict those that are changed; `told`: what the table says of the change."""
        changed, logits = np.flatnonzero(distortion > 0), self.found.logits.copy()
        if len(changed):
            predicted = self.predictor.predict(canvases[changed], self.targets[changed], self.rows[changed])
            logits[changed] = predicted.logits
        self._note(Logits(logits, self.found.targets, self.found.rows), distortion, **told)

    def _note(
        self, found: Logits, distortion: NDArray[np.float64], *, intervention: str, description: str,
        level: float = float("nan"), unit: str = "", position: int = 0, reference: bool = False,
    ) -> None:  # fmt: skip
        labels = self.faces["label"].to_numpy()
        predicted = np.asarray(self.classes, dtype=object)[found.logits.argmax(axis=1)]
        columns = {
            "arm": self.arm,
            "seed": self.seed,
            "intervention": intervention,
            "description": description,
            "level": float(level),
            "unit": unit,
            "position": position,
            "reference": reference,
            "face_id": self.faces["face_id"].to_numpy(),
            "image_id": self.faces["image_id"].to_numpy(),
            "label": labels,
            "predicted": predicted,
            "correct": labels == predicted,
            "loss": found.losses(),
            "changed": distortion > 0,
            "distortion": distortion,
        }
        self.parts.append(pd.DataFrame(columns))


def _distortion(canvases: torch.Tensor, untouched: torch.Tensor, preprocess: Preprocess) -> NDArray[np.float64]:
    """(M,) root mean square difference of the views in grey levels; 0 where no pixel differs."""
    border = (canvases.shape[-1] - preprocess.input_size) // 2
    inside = slice(border, border + preprocess.input_size)
    found = np.empty(len(canvases))
    for row, (one, other) in enumerate(zip(canvases[..., inside, inside], untouched[..., inside, inside], strict=True)):
        found[row] = np.sqrt(np.square(one.numpy().astype(np.float32) - other.numpy()).mean())
    return found
