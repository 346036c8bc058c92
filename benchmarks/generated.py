"""A study's folder of ten runs as the stages would leave it, generated: what `benchmarks/comparison.py` compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from maskbench import schemas
from maskbench.schemas import write_table
from maskbench.schemas.factors import PROPERTIES, RUN_TRAINING_PROPERTIES
from maskbench.storage import write_json

ARMS, SEEDS, PHOTOGRAPHS, FACES = ("a", "b"), range(5), 130, 610
CLASSES, SHARES = ("incorrect", "with", "without"), (0.03, 0.79, 0.18)
EPOCHS, STEPS = 14, 90
#: Parameter tensors of a ResNet34, of which gradients are recorded.
TENSORS, GRADIENT_STEPS = 110, 3


def predictions_of_all() -> pd.DataFrame:
    """Predictions of all runs on validation and test faces, right in about 95 of 100."""
    rng = np.random.default_rng(0)
    faces = {side: rng.integers(0, PHOTOGRAPHS, FACES) for side in ("val", "test")}
    true = {side: rng.choice(len(CLASSES), size=FACES, p=SHARES) for side in faces}
    hard = {side: rng.normal(size=FACES) for side in faces}
    tables = [
        _run(arm, seed, side, faces[side], true[side], hard[side], rng)
        for seed in SEEDS for arm in ARMS for side in faces
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def _run(
    arm: str, seed: int, side: str, photographs: np.ndarray, true: np.ndarray, hard: np.ndarray,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    logits = rng.normal(size=(len(true), len(CLASSES))) + (4.2 - hard)[:, None] * np.eye(len(CLASSES))[true]
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    names, predicted = np.array(CLASSES), logits.argmax(axis=1)
    rows = np.arange(len(true))
    table = pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "split": side,
            "face_id": [f"{side}{row}" for row in rows],
            "image_id": [f"{side}-photo{number}" for number in photographs],
            "label": names[true],
            "predicted": names[predicted],
            "correct": predicted == true,
            "loss": -log_probs[rows, true],
        }
    )
    table[[f"prob_{name}" for name in CLASSES]] = np.exp(log_probs)
    table[[f"logit_{name}" for name in CLASSES]] = logits
    return table


def properties_of(predictions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every property that a study measures: of the test faces, and of them by the training side of each run."""
    rng = np.random.default_rng(1)
    test = predictions[predictions["split"] == "test"].drop_duplicates("face_id")
    count = len(test)
    width, height = rng.lognormal(3, 0.6, count), rng.lognormal(3.1, 0.6, count)
    inside = {name: rng.random(count) for name in ("centre_x", "centre_y", "centre_distance", "view_outside")}
    levels = {name: rng.uniform(20, 230, count) for name in ("brightness", "contrast", "saturation")}
    alone = rng.random(count) < 0.2
    properties = pd.DataFrame(
        {
            "face_id": test["face_id"].to_numpy(),
            "image_id": test["image_id"].to_numpy(),
            "box_width": width,
            "box_height": height,
            "box_area": width * height,
            "box_share": width * height / 1e6,
            "box_aspect": width / height,
            **inside,
            "at_border": rng.random(count) < 0.1,
            "faces_in_image": test.groupby("image_id")["face_id"].transform("size").to_numpy(),
            "neighbour_iou": rng.random(count) / 4,
            "neighbour_distance": np.where(alone, np.nan, rng.lognormal(1, 0.5, count)),
            "sharpness": rng.lognormal(0, 0.5, count),
            **levels,
            "reason": "",
        }
    )[list(PROPERTIES.columns)]
    shares = test["label"].map(dict(zip(CLASSES, SHARES, strict=True))).to_numpy()
    training = pd.concat(
        [
            pd.DataFrame(
                {
                    "seed": seed,
                    "face_id": test["face_id"].to_numpy(),
                    "class_share": shares,
                    "train_face_distance": rng.uniform(5, 60, count),
                    "train_hash_distance": rng.integers(2, 30, count).astype(float),
                    "reason": "",
                }
            )
            for seed in SEEDS
        ],
        ignore_index=True,
    )
    return properties, training


def write_study(folder: Path) -> None:
    """Leave what a comparison reads of a study: predictions, properties, and the tables of ten trainings.

    Args:
        folder: `results/NAME`.
    """
    predictions = predictions_of_all()
    properties, training = properties_of(predictions)
    (folder / "evaluate").mkdir(parents=True)
    predictions.to_parquet(folder / "evaluate" / "predictions.parquet")
    write_table(folder / "factors" / "properties.parquet", properties, PROPERTIES)
    write_table(folder / "factors" / "training_properties.parquet", training, RUN_TRAINING_PROPERTIES)
    rng = np.random.default_rng(2)
    for arm in ARMS:
        for seed in SEEDS:
            _write_training(folder / "train" / arm / f"seed{seed}", arm, seed, rng)


def _write_training(folder: Path, arm: str, seed: int, rng: np.random.Generator) -> None:
    run = {"arm": arm, "seed": seed}
    curve = 0.85 - 0.5 * np.exp(-np.arange(EPOCHS) / 3) + rng.normal(0, 0.01, EPOCHS)
    epochs = pd.DataFrame(
        {**run, "epoch": np.arange(EPOCHS), "split": "val", "metric": "f1_macro", "class_name": "", "value": curve}
    )
    count = EPOCHS * STEPS
    loss = pd.Series(0.2 + np.exp(-np.arange(count) / 300) + rng.normal(0, 0.05, count))
    epoch = np.repeat(np.arange(EPOCHS), STEPS)
    expanding = loss.groupby(epoch).expanding()
    steps = pd.DataFrame(
        {
            **run, "epoch": epoch, "step": np.arange(count), "loss": loss,
            "loss_mean": expanding.mean().to_numpy(), "loss_variance": expanding.var().to_numpy(),
            "loss_moving_average": loss.ewm(alpha=0.05).mean(), "learning_rate": 4e-4,
        }
    )  # fmt: skip
    recorded = np.arange(0, count, STEPS // GRADIENT_STEPS)
    groups = [f"layer{1 + 4 * tensor // TENSORS}" for tensor in range(TENSORS)]
    rows = len(recorded) * TENSORS
    gradients = pd.DataFrame(
        {
            **run, "epoch": np.repeat(recorded // STEPS, TENSORS), "step": np.repeat(recorded, TENSORS),
            "depth": np.tile(np.arange(TENSORS), len(recorded)),
            "layer": [f"tensor{tensor}" for tensor in range(TENSORS)] * len(recorded),
            "group": groups * len(recorded), "gradient_norm": rng.lognormal(0, 1, rows),
            "weight_norm": rng.lognormal(1, 1, rows), "update_ratio": rng.lognormal(-6, 1, rows),
        }
    )  # fmt: skip
    write_table(folder / "epochs.parquet", epochs, schemas.EPOCHS)
    write_table(folder / "steps.parquet", steps, schemas.STEPS)
    write_table(folder / "gradients.parquet", gradients, schemas.GRADIENTS)
    write_json(folder / "fit.json", {**run, "epoch_seconds": [20.0] * EPOCHS})
