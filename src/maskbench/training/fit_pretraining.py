"""Pretrain a backbone: the recipe around Lightning's Trainer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from maskbench.config.pretraining import PretrainConfig
from maskbench.data.datamodule import FaceDataModule
from maskbench.data.image_store import StoredImages
from maskbench.models.execution import Execution, resolve_execution
from maskbench.models.registry import build_model
from maskbench.models.together import with_global_norms
from maskbench.schemas import write_table
from maskbench.seeding import seed_everything
from maskbench.storage import write_json
from maskbench.training.callbacks import LiveTable
from maskbench.training.checkpoint import BACKBONE, LAST, RESUME, save_checkpoint
from maskbench.training.history import TABLES
from maskbench.training.losses import build_loss
from maskbench.training.pretraining import PretrainModule
from maskbench.training.processes import ALONE, Processes
from maskbench.training.trainer import build_trainer, fit_module

#: Tables that a pretraining leaves.
PRETRAIN_TABLES = ("epochs", "steps")
#: What a finished training says of itself; its presence says that it is finished.
FITTED = "fit.json"


@dataclass(frozen=True, eq=False)
class PretrainInputs:
    """Images to pretrain on.

    Attributes:
        images: of both sides.
        split: `label` and `split` (`train`, `val`; empty: not used) of each image.
        classes: class order.
        native: side of the images in their files, px.
        versions: of the software, saved in the checkpoint.
    """

    images: StoredImages
    split: pd.DataFrame
    classes: tuple[str, ...]
    native: int
    versions: dict[str, str]


def build_pretraining_data(inputs: PretrainInputs, recipe: PretrainConfig) -> FaceDataModule:
    """The batches: the study's own, from whole images."""
    return FaceDataModule(
        inputs.images, inputs.split, inputs.classes, seed=recipe.seed, batch_size=recipe.train.batch_size,
        eval_batch_size=recipe.evaluate_batch_size, balanced=recipe.train.balanced_sampler,
    )  # fmt: skip


def fit_backbone(
    inputs: PretrainInputs,
    recipe: PretrainConfig,
    folder: Path,
    *,
    notify: Callable[[str], None],
    progress: bool = False,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Pretrain, or continue an interrupted run in `folder`; leaves its files there.

    Files: `last.safetensors` (averaged weights with their head, JSON beside), `epochs` and `steps` tables, `fit.json`,
    TensorBoard logs, and while unfinished `resume.ckpt`.

    Args:
        inputs: images, sides, classes.
        recipe: sizes, augmentation, optimiser.
        folder: of this run.
        notify: receives one line per epoch.
        progress: show a progress bar.
        processes: that train this model together, each calling this with the same arguments; the first writes.

    Returns:
        The content of `fit.json`.

    Raises:
        ValueError: the loss is not finite, or fewer training images than a step needs.
    """
    seed_everything(recipe.seed, "pretrain")
    model, execution = _placed_model(inputs, recipe, processes)
    data = build_pretraining_data(inputs, recipe)
    images = int(data.class_counts().sum())
    if images < 2:
        raise ValueError(f"{images} training images; batch norm needs two at least")
    module = PretrainModule(
        model, classes=inputs.classes, criterion=build_loss(recipe.train, data.class_counts()), execution=execution,
        recipe=recipe, images=inputs.images, native=inputs.native,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    trainer = build_trainer(
        execution, folder, [LiveTable(folder / "epochs.csv", notify)], epochs=recipe.epochs,
        resume_seconds=recipe.train.resume_seconds, progress=progress, processes=processes,
    )  # fmt: skip
    fit_module(trainer, module, folder, datamodule=data)
    fitted = _summary(module, images, time.perf_counter() - started) | {"processes": processes.count}
    if processes.first:
        _write(folder, module, _record(inputs, recipe, execution), fitted)
    return fitted


def _write(folder: Path, module: PretrainModule, record: dict[str, Any], fitted: dict[str, Any]) -> None:
    for name in PRETRAIN_TABLES:
        write_table(folder / f"{name}.parquet", module.history.table(name), TABLES[name])
    last = len(module.history.batches) - 1
    save_checkpoint(folder / LAST, module.released(), record | {"epoch": last, **module.described(last)})
    write_json(folder / FITTED, fitted)
    (folder / RESUME).unlink(missing_ok=True)


def _placed_model(inputs: PretrainInputs, recipe: PretrainConfig, processes: Processes) -> tuple[nn.Module, Execution]:
    model, _ = build_model(
        recipe.implementation, len(inputs.classes), seed=recipe.seed, loaded=None,
        zero_init_residual=recipe.train.zero_init_residual,
    )  # fmt: skip
    execution = resolve_execution(recipe.train, recipe.longest_size)
    processes.use_device(execution.device)
    if processes.count > 1:
        model = with_global_norms(model, execution.device)
    return execution.place(model), execution


def _record(inputs: PretrainInputs, recipe: PretrainConfig, execution: Execution) -> dict[str, Any]:
    """What the checkpoint says about itself; primitives only."""
    return {
        "kind": BACKBONE,
        "arm": recipe.implementation,
        "implementation": recipe.implementation,
        "initialisation": "random",
        "seed": recipe.seed,
        "classes": list(inputs.classes),
        "preprocess": {
            "input_size": recipe.sizes[-1].size,
            "mean": list(recipe.mean),
            "std": list(recipe.std),
            "colour": "RGB",
        },
        "execution": execution.to_dict(),
        "protocol": recipe.model_dump(mode="json"),
        "versions": inputs.versions,
    }


def _summary(module: PretrainModule, images: int, seconds: float) -> dict[str, Any]:
    epochs, total = len(module.history.batches), sum(module.history.epoch_seconds)
    return {
        "epochs_run": epochs,
        "train_images": images,
        "seconds": total,
        "seconds_this_process": seconds,
        "epoch_seconds": module.history.epoch_seconds,
        "images_per_second": images * epochs / total,
        "parameters": sum(p.numel() for p in module.model.parameters()),
        **module.execution.to_dict(),
        "threads": torch.get_num_threads(),
        "batches_sha256": module.history.batches,
    }
