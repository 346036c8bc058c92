"""Lightning's Trainer as every training here uses it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy

from maskbench.models.execution import Execution
from maskbench.models.pretrained import WeightsRecord
from maskbench.storage import atomic_path
from maskbench.training.base import MeasuredModule
from maskbench.training.callbacks import EpochBar, ResumePoint
from maskbench.training.checkpoint import RESUME
from maskbench.training.processes import ALONE, Processes


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint writer, through a temporary file and a rename."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, whole or not at all.

        Raises:
            OSError: the disk is full; the previous file survives.
        """
        with atomic_path(Path(path)) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # how torch's zip writer reports a full disk
                raise OSError(f"{path}: could not be written ({error})") from error


def build_trainer(
    execution: Execution,
    folder: Path,
    callbacks: list[Callback],
    *,
    epochs: int,
    resume_seconds: float,
    progress: bool,
    processes: Processes = ALONE,
    all_learn: bool = True,
) -> L.Trainer:
    """Lightning's Trainer as every training here uses it.

    Args:
        execution: device and precision.
        folder: of the run; logs and the resume checkpoint go there.
        callbacks: in order; the resume checkpoint comes last, so that it holds what they noted.
        epochs: in all.
        resume_seconds: least time between resume checkpoints.
        progress: show a progress bar.
        processes: that train this model together; of several, each was started by itself.
        all_learn: whether every parameter learns in every step.

    On a GPU this process computes deterministically from now on, without torch's filling of what it allocates.
    """
    if execution.device == "cuda":
        # With deterministic kernels torch also fills what it allocates, to show reads of what was never written: a
        # third pass over every activation for nothing.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    resume = ResumePoint(folder / RESUME, resume_seconds)
    bar = [EpochBar(refresh_rate=1)] if progress else []
    with quiet_lightning():
        return L.Trainer(
            accelerator="gpu" if execution.device == "cuda" else "cpu",
            devices=processes.devices,
            num_nodes=processes.nodes,
            strategy="auto" if processes.count == 1 else DDPStrategy(find_unused_parameters=not all_learn),
            precision=execution.lightning_precision(),
            max_epochs=epochs,
            logger=TensorBoardLogger(folder, name="logs", version=""),
            callbacks=[*callbacks, *bar, resume],
            plugins=[AtomicCheckpointIO()] if processes.count == 1 else [AtomicCheckpointIO(), LightningEnvironment()],
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


def describe_weights(weights: WeightsRecord) -> str:
    """What a model starts from, in a line."""
    if weights.source == "none":
        return "starts from random weights"
    line = f"starts from {weights.name} ({weights.source}): {weights.matched} tensors matched"
    for word, names in (("not matched", weights.not_matched), ("dropped", weights.dropped)):
        line += f", {len(names)} {word} ({', '.join(names)})" if names else ""
    return line


def fit_module(trainer: L.Trainer, module: MeasuredModule, folder: Path, **data: Any) -> None:
    """Train, or go on from the folder's resume checkpoint.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    resume = folder / RESUME
    with quiet_lightning():
        try:
            trainer.fit(module, ckpt_path=str(resume) if resume.is_file() else None, weights_only=True, **data)
        except SystemExit as error:  # how Lightning ends after Ctrl-C
            raise KeyboardInterrupt from error
        finally:
            module.release()


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
        # An averaged copy of the weights stays in evaluation mode on purpose.
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        # What is logged is made of sums over all processes already.
        warnings.filterwarnings("ignore", message=".*recommended to use `self.log.*sync_dist.*")
        # Lightning itself uses a deprecated spelling of torch's.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
