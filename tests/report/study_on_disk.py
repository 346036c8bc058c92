"""A plausible finished study, in tables and on disk, without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maskbench import schemas
from maskbench.config import make_config
from maskbench.evaluation import classification, uncertainty
from maskbench.evaluation.confusion import confusion_metrics
from maskbench.schemas import write_table
from maskbench.storage import write_json, write_yaml
from tests.evaluation.tables import plausible_predictions

CLASSES = ("alpha", "beta", "gamma")
SHARES = (0.79, 0.18, 0.03)
ARMS = ("manual-random", "torchvision-pretrained")
SEPARATION = {"manual-random": 1.9, "torchvision-pretrained": 3.0}


def history_tables(
    classes: Sequence[str] = CLASSES,
    shares: Sequence[float] = SHARES,
    arms: Sequence[str] = ARMS,
    *,
    epochs: int = 12,
    steps: int = 40,
    seeds: Sequence[int] = (0,),
    interval: int = 20,
) -> dict[str, pd.DataFrame]:
    """Tables `epochs`, `confusion`, `steps`, `gradients` of trainings that went well."""
    rows: dict[str, list[dict[str, Any]]] = {"epochs": [], "confusion": [], "steps": [], "gradients": []}
    support = np.maximum(1, np.round(np.asarray(shares) * 600)).astype(int)
    layers = resnet_tensors()
    for number, arm in enumerate(arms):
        for seed in seeds:
            rng = np.random.default_rng([number, seed])
            run = {"arm": arm, "seed": seed}
            average = 0.0
            for epoch in range(epochs):
                skill = 1 - np.exp(-(epoch + 1 + 3 * number) / (4.5 - number))
                for split, gain in (("train", 1.0), ("val", 0.92)):
                    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
                    for k, total in enumerate(support):
                        right = np.clip(skill * gain * (1 - 0.5 * (shares[k] < 0.1)) + 0.05 * rng.normal(), 0.02, 0.99)
                        others = np.where(np.arange(len(classes)) == k, 0, np.asarray(shares))
                        weights = others / others.sum() * (1 - right)
                        weights[k] = right
                        counts[k] = rng.multinomial(total, weights)
                    level = 1.05 * np.exp(-epoch / (4 - number)) + (0.12 if split == "train" else 0.2 + 0.012 * epoch)
                    loss = level + 0.02 * rng.normal()
                    measured = [("loss", "", loss), ("cross_entropy", "", 0.9 * loss)]
                    measured += confusion_metrics(counts, classes)
                    where = {**run, "epoch": epoch, "split": split}
                    rows["epochs"] += [
                        {**where, "metric": m, "class_name": c, "value": float(v)} for m, c, v in measured
                    ]
                    rows["confusion"] += [
                        {**where, "true": t, "predicted": p, "count": int(counts[i, j])}
                        for i, t in enumerate(classes)
                        for j, p in enumerate(classes)
                    ]
                batch = (1.05 * np.exp(-epoch / (4 - number)) + 0.12) * rng.gamma(9, 1 / 9, size=steps)
                for position, loss in enumerate(batch):
                    step = epoch * steps + position
                    average = 0.95 * average + 0.05 * loss
                    seen = batch[: position + 1]
                    rows["steps"].append(
                        {
                            **run, "epoch": epoch, "step": step, "loss": float(loss), "loss_mean": float(seen.mean()),
                            "loss_variance": float(seen.var(ddof=1)) if position else float("nan"),
                            "loss_moving_average": average / (1 - 0.95 ** (step + 1)),
                            "learning_rate": 1e-3 * (1 - step / (epochs * steps)),
                        }
                    )  # fmt: skip
                    if step % interval == 0:
                        rows["gradients"] += [
                            {
                                **run, "epoch": epoch, "step": step, "depth": depth, "layer": layer, "group": group,
                                "gradient_norm": float(
                                    10 ** (-1.4 - 0.1 * epoch + 0.006 * depth * (1 - number) + 0.15 * rng.normal())
                                ),
                                "weight_norm": float(8 + depth / 10),
                                "update_ratio": float(10 ** (-2.6 - epoch * 0.06 - number * 0.3 + 0.1 * rng.normal())),
                            }
                            for depth, (layer, group) in enumerate(layers)
                        ]  # fmt: skip
    schema = {
        "epochs": schemas.EPOCHS, "confusion": schemas.EPOCH_CONFUSION, "steps": schemas.STEPS,
        "gradients": schemas.GRADIENTS,
    }  # fmt: skip
    return {name: pd.DataFrame(rows[name])[list(schema[name].columns)] for name in rows}


def resnet_tensors() -> list[tuple[str, str]]:
    """(parameter name, group) of a ResNet34, in the model's order."""
    names = [("conv1.weight", "stem"), ("bn1.weight", "stem"), ("bn1.bias", "stem")]
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            here = f"layer{stage}.{block}"
            for part in (1, 2):
                names += [(f"{here}.conv{part}.weight", f"layer{stage}")]
                names += [(f"{here}.bn{part}.{kind}", f"layer{stage}") for kind in ("weight", "bias")]
            if stage > 1 and block == 0:
                names += [(f"{here}.downsample.{kind}", f"layer{stage}") for kind in ("0.weight", "1.weight", "1.bias")]
    return [*names, ("fc.weight", "head"), ("fc.bias", "head")]


def best_epochs(epochs: pd.DataFrame) -> dict[tuple[str, int], int]:
    """Epoch of the highest validation macro-F1 by (arm, seed)."""
    table = epochs[(epochs["metric"] == "f1_macro") & (epochs["split"] == "val")]
    rows = table.loc[table.groupby(["arm", "seed"])["value"].idxmax()]
    return {(row.arm, int(row.seed)): int(row.epoch) for row in rows.itertuples()}


def evaluation_tables(
    classes: Sequence[str] = CLASSES,
    shares: Sequence[float] = SHARES,
    arms: Sequence[str] = ARMS,
    *,
    faces: int = 620,
    seeds: Sequence[int] = (0,),
    resamples: int = 200,
) -> dict[str, pd.DataFrame]:
    """The tables of the evaluate stage."""
    separation = {arm: SEPARATION.get(arm, 1.5 + number) for number, arm in enumerate(arms)}
    predictions = plausible_predictions(classes, shares, faces=faces, arms=separation, seeds=seeds)
    return {
        "predictions": predictions,
        "metrics": classification.metrics_table(predictions, classes),
        "confusion": classification.confusion_table(predictions, classes),
        "roc": classification.roc_table(predictions, classes),
        "precision_recall": classification.precision_recall_table(predictions, classes),
        "intervals": uncertainty.intervals_table(predictions, classes, resamples=resamples),
        "differences": uncertainty.differences_table(predictions, classes, resamples=resamples),
    }
