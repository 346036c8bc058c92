"""A trained model on intervened faces: the same faces, changed in one way at a time, one row per face and level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
    model: nn.Module,
    record: dict[str, Any],
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
    intervention changes are predicted again.

    Args:
        model: from `load_checkpoint`; it is placed on its device.
        record: the checkpoint's.
        crops: of all faces, cut with `interventions.context_margin` of the study's margin.
        faces: `schemas.FACES`, in the order of `crops`.
        rows: (M,) places in `faces` of the test faces, rising.
        interventions: what to do to them.
        seed: of what interventions draw at random.
        progress: called with levels done and in all.

    Returns:
        `schemas.INTERVENED`.

    Raises:
        ValueError: a label of `faces` is none of the checkpoint's classes, there is no face, or `crops` do not fit.
    """
    if not len(rows):
        raise ValueError("rows: no face to intervene on")
    classes, margin = tuple(record["classes"]), float(record["preprocess"]["margin"])
    execution, position = execution_of(record), {name: index for index, name in enumerate(classes)}
    unknown = sorted(set(faces["label"].iloc[rows]) - set(classes))
    if unknown:
        raise ValueError(f"faces: label {unknown[0]!r} is none of the checkpoint's classes")
    execution.place(model)
    predictor = _Predictor(model, preprocess_of(record), execution, record["evaluate"])
    shown = _Shown(crops, faces, rows, margin, predictor.preprocess, seed)
    targets = torch.tensor([position[label] for label in faces["label"].iloc[rows]])
    untouched = shown.canvases()
    found = predictor.predict(untouched, targets, rows)
    describe = _Describe(record["arm"], int(record["seed"]), faces.iloc[rows], classes)
    still = np.zeros(len(rows))
    parts = [describe.part(found, still, intervention=UNTOUCHED, description="untouched")]
    steps = [(item, *step) for item in interventions for step in item.positions(margin).items()]
    for done, (item, level, place) in enumerate(steps, start=1):
        canvases = shown.canvases(item, level)
        distortion = _distortion(canvases, untouched, predictor.preprocess)
        changed = np.flatnonzero(distortion > 0)
        logits = found.logits.copy()
        if len(changed):
            logits[changed] = predictor.predict(canvases[changed], targets[changed], rows[changed]).logits
        after = Logits(logits, found.targets, found.rows)
        parts.append(
            describe.part(
                after, distortion, intervention=item.name, description=item.label, level=level, unit=item.unit,
                position=place, reference=level == item.reference,
            )
        )  # fmt: skip
        if progress:
            progress(done, len(steps))
    return pd.concat(parts, ignore_index=True)


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


@dataclass(frozen=True)
class _Describe:
    """Rows of the table."""

    arm: str
    seed: int
    faces: pd.DataFrame
    classes: tuple[str, ...]

    def part(
        self, found: Logits, distortion: NDArray[np.float64], *, intervention: str, description: str,
        level: float = float("nan"), unit: str = "", position: int = 0, reference: bool = False,
    ) -> pd.DataFrame:  # fmt: skip
        """The faces under one level."""
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
        return pd.DataFrame(columns)


def _distortion(canvases: torch.Tensor, untouched: torch.Tensor, preprocess: Preprocess) -> NDArray[np.float64]:
    """(M,) root mean square difference of the views in grey levels; 0 where no pixel differs."""
    border = (canvases.shape[-1] - preprocess.input_size) // 2
    inside = slice(border, border + preprocess.input_size)
    found = np.empty(len(canvases))
    for row, (one, other) in enumerate(zip(canvases[..., inside, inside], untouched[..., inside, inside], strict=True)):
        found[row] = np.sqrt(np.square(one.numpy().astype(np.float32) - other.numpy()).mean())
    return found
