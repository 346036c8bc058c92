"""Train the detector of one arm: the protocol around Lightning's Trainer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from maskbench.config import ArmConfig, Config
from maskbench.data.detection import training_loader
from maskbench.data.photographs import Photographs
from maskbench.models.detectors import build_detector
from maskbench.models.execution import Execution, resolve_execution
from maskbench.models.pretrained import LoadedWeights
from maskbench.schemas import write_table
from maskbench.seeding import seed_everything
from maskbench.storage import write_json
from maskbench.training.callbacks import KeepBest, LiveTable
from maskbench.training.checkpoint import BEST, DETECTOR, LAST, RESUME, save_checkpoint
from maskbench.training.detector import DetectorModule
from maskbench.training.history import TABLES
from maskbench.training.trainer import build_trainer, describe_weights, fit_module

#: Tables that the training of a detector leaves.
DETECTOR_TABLES = ("epochs", "steps")


@dataclass(frozen=True, eq=False)
class DetectorInputs:
    """What the detectors of a study share.

    Attributes:
        photographs: all of the study.
        train: int64 (M,), positions of those trained on.
        val: int64 (V,), positions of those validated on.
        classes: class order.
        versions: of the software, saved in checkpoints.
    """

    photographs: Photographs
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    classes: tuple[str, ...]
    versions: dict[str, str]


def fit_detector(
    inputs: DetectorInputs,
    config: Config,
    arm: ArmConfig,
    seed: int,
    loaded: LoadedWeights | None,
    folder: Path,
    *,
    notify: Callable[[str], None],
    progress: bool = False,
) -> dict[str, Any]:
    """Train the detector of `arm` with `seed`, or continue an interrupted run in `folder`; leaves its files there.

    Files: `best.safetensors` and `last.safetensors` (averaged weights, with JSON beside), `epochs` and `steps` tables,
    `weights.json`, `fit.json`, TensorBoard logs, and while unfinished `resume.ckpt`.

    Args:
        inputs: photographs, sides, classes.
        config: the study's configuration.
        arm: implementation and initialisation.
        seed: number of the run.
        loaded: pretrained tensors for a pretrained arm, None for a random one.
        folder: of this run.
        notify: receives one line per epoch.
        progress: show a progress bar.

    Returns:
        The content of `fit.json`.
    """
    detect, init_seed = config.detect, config.seeds.init_seed(seed)
    seed_everything(init_seed, "detector", arm.name)
    model, weights = build_detector(
        arm.implementation, len(inputs.classes), detect, mean=config.faces.mean, std=config.faces.std, seed=init_seed,
        loaded=loaded,
    )  # fmt: skip
    execution = resolve_execution(detect, max(detect.crop_sizes))
    execution.place(model)
    module = DetectorModule(
        model, arm=arm.name, run=seed, seed=init_seed, classes=inputs.classes, photographs=inputs.photographs,
        execution=execution, config=detect,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "weights.json", weights.to_dict())
    notify(f"detector of {arm.name} seed {seed}: {describe_weights(weights)}")
    record = _record(inputs, config, arm, seed, execution, weights.to_dict())
    best = KeepBest(folder / BEST, record)
    started = time.perf_counter()
    trainer = build_trainer(
        execution, folder, [best, LiveTable(folder / "epochs.csv", notify)], epochs=detect.epochs,
        resume_seconds=detect.resume_seconds, progress=progress,
    )  # fmt: skip
    loaders = _loaders(inputs, config, init_seed, execution)
    fit_module(trainer, module, folder, train_dataloaders=loaders[0], val_dataloaders=loaders[1])
    for name in DETECTOR_TABLES:
        write_table(folder / f"{name}.parquet", module.history.table(name), TABLES[name])
    save_checkpoint(folder / LAST, module.released(), {**record, "epoch": detect.epochs - 1})
    fitted = _summary(module, best, len(inputs.train), time.perf_counter() - started)
    write_json(folder / "fit.json", fitted)
    (folder / RESUME).unlink(missing_ok=True)
    return fitted


def _loaders(
    inputs: DetectorInputs, config: Config, seed: int, execution: Execution
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training views, and the positions of validation photographs in batches of like shape."""
    detect = config.detect
    workers = detect.workers
    if workers < 0:  # on a CPU the cores are busy with the network
        workers = 0 if execution.device == "cpu" else min(8, os.cpu_count() or 1)
    sizes = inputs.photographs.sizes[inputs.val]
    order = inputs.val[np.argsort(sizes[:, 0] / sizes[:, 1], kind="stable")]
    starts = range(0, len(order), detect.eval_batch_size)
    parts = [torch.from_numpy(order[start : start + detect.eval_batch_size]) for start in starts]
    return (
        training_loader(inputs.photographs, inputs.train, detect, seed, workers),
        DataLoader(parts, batch_size=None),  # type: ignore[arg-type]  # a list is a dataset
    )


def _record(
    inputs: DetectorInputs, config: Config, arm: ArmConfig, seed: int, execution: Execution, weights: dict[str, Any]
) -> dict[str, Any]:
    """What a checkpoint says about itself; primitives only."""
    return {
        "kind": DETECTOR,
        "arm": arm.name,
        "implementation": arm.implementation,
        "initialisation": arm.initialisation,
        "seed": seed,
        "init_seed": config.seeds.init_seed(seed),
        "split_id": config.seeds.split_id(seed),
        "classes": list(inputs.classes),
        "preprocess": {"mean": list(config.faces.mean), "std": list(config.faces.std), "colour": "RGB"},
        "execution": execution.to_dict(),
        "protocol": config.detect.model_dump(mode="json"),
        "weights": weights,
        "versions": inputs.versions,
    }


def _summary(module: DetectorModule, best: KeepBest, photographs: int, seconds: float) -> dict[str, Any]:
    epochs, total = len(module.history.batches), sum(module.history.epoch_seconds)
    return {
        "arm": module.history.arm,
        "seed": module.history.seed,
        "epochs_run": epochs,
        "best_epoch": best.epoch,
        "best_ap": best.score[0],
        "seconds": total,
        "seconds_this_process": seconds,
        "epoch_seconds": module.history.epoch_seconds,
        "train_photographs": photographs,
        "photographs_per_second": photographs * epochs / total,
        "parameters": sum(p.numel() for p in module.model.parameters()),
        **module.execution.to_dict(),
        "threads": torch.get_num_threads(),
        "batches_sha256": module.history.batches,
    }
