"""Train one arm: the protocol around Lightning's Trainer."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from maskbench.config import ArmConfig, Config
from maskbench.data.datamodule import FaceDataModule
from maskbench.data.transforms import Preprocess
from maskbench.models.execution import Execution, resolve_execution
from maskbench.models.pretrained import LoadedWeights, WeightsRecord
from maskbench.models.registry import build_model
from maskbench.schemas import write_table
from maskbench.seeding import derive_seed, seed_everything
from maskbench.splits.subsets import describe_training_faces, training_faces
from maskbench.storage import write_json
from maskbench.training.callbacks import EpochBar, KeepBest, LiveTable, ResumePoint
from maskbench.training.checkpoint import AtomicCheckpointIO, save_checkpoint
from maskbench.training.history import TABLES
from maskbench.training.losses import build_loss
from maskbench.training.module import ArmModule

BEST, LAST, RESUME = "best.safetensors", "last.safetensors", "resume.ckpt"


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
    execution.place(model)
    datamodule = build_datamodule(inputs, config, init_seed)
    module = ArmModule(
        model,
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
    write_json(folder / "weights.json", weights.to_dict())
    notify(f"{arm.name} seed {seed}: {_describe(weights)}")
    record = _record(inputs, config, arm, seed, execution, weights.to_dict())
    best = KeepBest(folder / BEST, record)
    stop = EarlyStopping("val_f1_smoothed", mode="max", patience=config.train.patience or config.train.epochs)
    callbacks = [best, stop, LiveTable(folder / "epochs.csv", notify)]
    resume = folder / RESUME
    started = time.perf_counter()
    with quiet_lightning():
        trainer = _trainer(config, execution, folder, callbacks, progress)
        try:
            trainer.fit(
                module, datamodule=datamodule, ckpt_path=str(resume) if resume.is_file() else None, weights_only=True
            )
        except SystemExit as error:  # how Lightning ends after Ctrl-C
            raise KeyboardInterrupt from error
    for name in TABLES:
        write_table(folder / f"{name}.parquet", module.history.table(name), TABLES[name])
    save_checkpoint(folder / LAST, module.model, {**record, "epoch": len(module.history.batches) - 1})
    fitted = _summary(module, best, stop, len(datamodule.rows["train"]), time.perf_counter() - started)
    used = training_set(inputs, config)
    if used is not None:
        fitted["training_set"] = describe_training_faces(used, inputs.classes)
    write_json(folder / "fit.json", fitted)
    resume.unlink(missing_ok=True)
    return fitted


def _trainer(
    config: Config, execution: Execution, folder: Path, callbacks: list[Callback], progress: bool
) -> L.Trainer:
    resume = ResumePoint(folder / RESUME, config.train.resume_seconds)
    bar = [EpochBar(refresh_rate=1)] if progress else []
    return L.Trainer(
        accelerator="gpu" if execution.device == "cuda" else "cpu",
        devices=1,
        precision=execution.lightning_precision(),
        max_epochs=config.train.epochs,
        logger=TensorBoardLogger(folder, name="logs", version=""),
        callbacks=[*callbacks, *bar, resume],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        # On a GPU some kernels add in varying order unless told not to; the CPU's do not.
        deterministic="warn" if execution.device == "cuda" else None,
        default_root_dir=folder,
    )


def _describe(weights: WeightsRecord) -> str:
    """What a model starts from, in a line."""
    if weights.source == "none":
        return "starts from random weights"
    line = f"starts from {weights.name} ({weights.source}): {weights.matched} tensors matched"
    for word, names in (("not matched", weights.not_matched), ("dropped", weights.dropped)):
        line += f", {len(names)} {word} ({', '.join(names)})" if names else ""
    return line


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


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice that does not apply here; its errors stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Canvases sit in memory: workers would only copy them (see datamodule._loader).
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # The resume checkpoint and the logs share the run's folder on purpose.
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        # Lightning itself uses a deprecated spelling of torch's.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
