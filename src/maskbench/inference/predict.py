"""A model and faces in, one row per face out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from maskbench.data.batch import Batch
from maskbench.data.boxes import box_properties
from maskbench.data.transforms import Preprocess
from maskbench.models.execution import Execution
from maskbench.models.forward import evaluation_logits


@dataclass(frozen=True)
class Logits:
    """Logits with their labels, from one pass.

    Attributes:
        logits: float32 (M, K).
        targets: int64 (M,), positions in the class order.
        rows: int64 (M,), positions in the faces table.
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    rows: NDArray[np.int64]

    def log_probs(self) -> NDArray[np.float64]:
        """(M, K) natural logarithms of the probabilities."""
        logits = self.logits.astype(np.float64)
        return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))

    def losses(self) -> NDArray[np.float64]:
        """(M,) cross-entropy of each face, nats, ≥ 0."""
        return np.asarray(np.abs(self.log_probs()[np.arange(len(self.targets)), self.targets]))


def predict_logits(
    model: nn.Module,
    batches: Sequence[Batch] | torch.utils.data.DataLoader[Batch],
    preprocess: Preprocess,
    execution: Execution,
    *,
    flip_average: bool,
) -> Logits:
    """Logits and labels of all batches, saved together so they are never joined by position.

    Args:
        model: in evaluation mode, placed by `execution`.
        batches: in the order of the result.
        preprocess: view and normalisation.
        execution: device, precision, layout.
        flip_average: average each face with its mirror image.
    """
    parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for batch in batches:
        placed = batch.to(torch.device(execution.device))
        logits = evaluation_logits(model, placed.canvases, preprocess, execution, flip_average=flip_average)
        parts.append((logits.cpu(), batch.targets.cpu(), batch.rows.cpu()))
    columns = [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
    return Logits(*columns)


def prediction_table(
    found: Logits,
    faces: pd.DataFrame,
    images: pd.DataFrame,
    classes: tuple[str, ...],
    *,
    arm: str,
    seed: int,
    split: str,
) -> pd.DataFrame:
    """The predictions table (`schemas.PREDICTIONS`) of one arm on one side.

    Args:
        found: logits and labels.
        faces: `schemas.FACES`, the table that `found.rows` counts in.
        images: `schemas.IMAGES`.
        classes: class order of the logits.
        arm: name of the arm.
        seed: the run's seed.
        split: the side.

    Raises:
        ValueError: a label of `faces` contradicts the saved target.
    """
    part = faces.iloc[found.rows].reset_index(drop=True)
    names = np.asarray(classes, dtype=object)
    if (part["label"].to_numpy() != names[found.targets]).any():
        raise ValueError("labels of the faces table contradict those the model was given")
    logits, log_probs = found.logits.astype(np.float64), found.log_probs()
    predicted = names[logits.argmax(axis=1)]
    quality = images.set_index("image_id").loc[part["image_id"], ["brightness", "contrast", "sharpness"]]
    properties = box_properties(faces).iloc[found.rows].reset_index(drop=True)
    columns: dict[str, Any] = {
        "arm": arm,
        "seed": seed,
        "split": split,
        "face_id": part["face_id"],
        "image_id": part["image_id"],
        "label": part["label"],
        "predicted": predicted,
        "correct": part["label"].to_numpy() == predicted,
        "loss": found.losses(),
        **{f"prob_{name}": np.exp(log_probs[:, k]) for k, name in enumerate(classes)},
        **{f"logit_{name}": logits[:, k] for k, name in enumerate(classes)},
        **{str(name): properties[name] for name in properties},
        **{f"image_{name}": quality[name].to_numpy() for name in quality},
    }
    return pd.DataFrame(columns)
