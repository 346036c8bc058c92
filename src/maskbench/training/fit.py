"""Train one arm: the protocol around Lightning's Trainer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from maskbench.config import ArmConfig, Config
from maskbench.data.datamodule import FaceDataModule
from maskbench.data.transforms import Preprocess
from maskbench.models.execution import Execution, resolve_execution
from maskbench.models.pretrained import LoadedWeights
from maskbench.models.registry import build_model
from maskbench.models.together import with_global_norms
from maskbench.schemas import write_table
from maskbench.seeding import derive_seed, seed_everything
from maskbench.splits.subsets import describe_training_faces, training_faces
from maskbench.storage import write_json
from maskbench.training.callbacks import KeepBest, LiveTable
from maskbench.training.checkpoint import BEST, LAST, RESUME, save_checkpoint
from maskbench.training.history import TABLES
from maskbench.training.losses import build_loss
from maskbench.training.module import ArmModule
from maskbench.training.processes import ALONE, Processes
from maskbench.training.trainer import build_trainer, describe_weights, fit_module


@dataclass(frozen=True)
class FitInputs:
    """What all arms of a study share.

    Attributes:
        canvases: uint8 (N, 3, C, C), in the order of `split`.
        split: `schemas.SPLIT`.
        classes: class order.
        versions: of the software, saved in checkpoints.
    """

    canvases: Tensor
    split: pd.DataFrame
    classes: tuple[str, ...]
    versions: dict[str, str]


def build_datamodule(inputs: FitInputs, config: Config, seed: int) -> FaceDataModule:
    """The batches of one run; arms of equal seed get equal batches."""
    return FaceDataModule(
        inputs.canvases,
        inputs.split,
        inputs.classes,
        seed=seed,
        batch_size=config.train.batch_size,
        eval_batch_size=config.evaluate.batch_size,
        balanced=config.train.balanced_sampler,
        training=training_set(inputs, config),
    )


def training_set(inputs: FitInputs, config: Config) -> pd.DataFrame | None:
    """`schemas.TRAINING_FACES` of a run; None: the side `train` as it is.

    They follow from the split, so runs on one split train with the same faces, and runs on others with others.
    """
    if config.training_set.is_whole:
        return None
    split = inputs.split
    seed = derive_seed(int(split["seed"].iloc[0]), "training_set", int(split["split_id"].iloc[0]))
    return training_faces(split, inputs.classes, config.training_set, seed)


def preprocess_from(config: Config) -> Preprocess:
    """The study's preprocessing, one for all arms."""
    return Preprocess(config.faces.input_size, config.faces.mean, config.faces.std)


def fit_arm(
    inputs: FitInputs,
    config: Config,
    arm: ArmConfig,
    seed: int,
    loaded: LoadedWeights | None,
    folder: Path,
    *,
    notify: Callable[[str], None],
    progress: bool = False,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Train `arm` with `seed`, or continue an interrupted run in `folder`; leaves its files there.

    Files: `best.safetensors` and `last.safetensors` (with JSON beside), `epochs`, `confusion`,
    `steps`, `gradients` tables, `weights.json`, `fit.json`, TensorBoard logs, and while unfinished
    `resume.ckpt`.

    Args:
        inputs: faces, split, classes.
        config: the study's configuration.
        arm: implementation and initialisation.
        seed: number of the run; initialisation, order and augmentation follow from `config.seeds.init_seed` of it.
        loaded: pretrained tensors for a pretrained arm, None for a random one.
        folder: of this run.
        notify: receives one line per epoch.
        progress: show a progress bar.
        processes: that train this model together, each calling this with the same arguments; the first writes.

    Returns:
        The content of `fit.json`.
    """
    init_seed = config.seeds.init_seed(seed)
    seed_everything(init_seed, arm.name)
    model, weights = build_model(
        arm.implementation,
        len(inputs.classes),
        seed=init_seed,
        loaded=loaded,
        zero_init_residual=config.train.zero_init_residual and arm.initialisation == "random",
    )
    execution = resolve_execution(config.train, config.faces.input_size)
    processes.use_device(execution.device)
    if processes.count > 1:
        model = with_global_norms(model, execution.device)
    execution.place(model)
    datamodule = build_datamodule(inputs, config, init_seed)
    module = ArmModule(
        model,
        implementation=arm.implementation,
        arm=arm.name,
        run=seed,
        seed=init_seed,
        classes=inputs.classes,
        criterion=build_loss(config.train, datamodule.class_counts()),
        preprocess=preprocess_from(config),
        execution=execution,
        train=config.train,
        evaluate=config.evaluate,
    )
    folder.mkdir(parents=True, exist_ok=True)
    if processes.first:
        write_json(folder / "weights.json", weights.to_dict())
    notify(f"{arm.name} seed {seed}: {describe_weights(weights)}")
    record = _record(inputs, config, arm, seed, execution, weights.to_dict())
    best = KeepBest(folder / BEST, record)
    stop = EarlyStopping("val_f1_smoothed", mode="max", patience=config.train.patience or config.train.epochs)
    callbacks = [best, stop, LiveTable(folder / "epochs.csv", notify)]
    started = time.perf_counter()
    trainer = build_trainer(
        execution, folder, callbacks, epochs=config.train.epochs, resume_seconds=config.train.resume_seconds,
        progress=progress, processes=processes, all_learn=config.train.regime in ("full", "discriminative"),
    )  # fmt: skip
    fit_module(trainer, module, folder, datamodule=datamodule)
    fitted = _summary(module, best, stop, len(datamodule.rows["train"]), time.perf_counter() - started)
    fitted["processes"] = processes.count
    used = training_set(inputs, config)
    if used is not None:
        fitted["training_set"] = describe_training_faces(used, inputs.classes)
    if processes.first:
        _write(folder, module, {**record, "epoch": len(module.history.batches) - 1}, fitted)
    return fitted


def _write(folder: Path, module: ArmModule, record: dict[str, Any], fitted: dict[str, Any]) -> None:
    """What a finished training leaves beside its best weights."""
    for name in TABLES:
        write_table(folder / f"{name}.parquet", module.history.table(name), TABLES[name])
    save_checkpoint(folder / LAST, module.model, record)
    write_json(folder / "fit.json", fitted)
    (folder / RESUME).unlink(missing_ok=True)


def _record(
    inputs: FitInputs, config: Config, arm: ArmConfig, seed: int, execution: Execution, weights: dict[str, Any]
) -> dict[str, Any]:
    """What a checkpoint says about itself; primitives only."""
    return {
        "arm": arm.name,
        "implementation": arm.implementation,
        "initialisation": arm.initialisation,
        "seed": seed,
        "init_seed": config.seeds.init_seed(seed),
        "split_id": config.seeds.split_id(seed),
        "classes": list(inputs.classes),
        "preprocess": {
            "input_size": config.faces.input_size,
            "margin": config.faces.margin,
            "mean": list(config.faces.mean),
            "std": list(config.faces.std),
            "colour": "RGB",
        },
        "execution": execution.to_dict(),
        "evaluate": config.evaluate.model_dump(mode="json"),
        "protocol": config.train.model_dump(mode="json"),
        "training_set": config.training_set.model_dump(mode="json"),
        "weights": weights,
        "versions": inputs.versions,
    }


def _summary(
    module: ArmModule, best: KeepBest, stop: EarlyStopping, train_faces: int, seconds: float
) -> dict[str, Any]:
    epochs = len(module.history.batches)
    total = sum(module.history.epoch_seconds)
    return {
        "arm": module.history.arm,
        "seed": module.history.seed,
        "epochs_run": epochs,
        "best_epoch": best.epoch,
        "best_f1_macro": module.history.value(best.epoch, "val", "f1_macro"),
        "best_f1_macro_smoothed": best.score[0],
        "stopped_early": stop.stopped_epoch > 0,
        "seconds": total,
        "seconds_this_process": seconds,
        "epoch_seconds": module.history.epoch_seconds,
        "train_faces": train_faces,
        "faces_per_second": train_faces * epochs / total,
        "parameters": sum(p.numel() for p in module.model.parameters()),
        "trained_parameters": module.trained_parameters,
        **module.execution.to_dict(),
        "threads": torch.get_num_threads(),
        "batches_sha256": module.history.batches,
    }
