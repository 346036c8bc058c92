"""What happens around epochs: keeping the best weights, resume points, the live table."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar

from maskbench import schemas
from maskbench.storage import atomic_path
from maskbench.training.base import MeasuredModule
from maskbench.training.checkpoint import save_checkpoint


class KeepBest(Callback):
    """Save the weights whenever an epoch is judged better than all before it (`MeasuredModule.score`).

    Args:
        path: of the release checkpoint.
        record: what is saved with it, besides epoch and metrics.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, record
        self.epoch, self.score = -1, (float("-inf"), float("-inf"))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare and save."""
        if trainer.sanity_checking or not isinstance(pl_module, MeasuredModule):
            return
        epoch = trainer.current_epoch
        score = pl_module.score(epoch)
        if score is None:
            return
        if score > self.score:
            self.epoch, self.score = epoch, score
            if trainer.is_global_zero:
                record = {**self.record, "epoch": epoch, **pl_module.described(epoch)}
                save_checkpoint(self.path, pl_module.released(), record)

    def state_dict(self) -> dict[str, Any]:
        """For the resume checkpoint."""
        return {"epoch": self.epoch, "score": list(self.score)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the resume checkpoint."""
        self.epoch, (f1, loss) = state_dict["epoch"], state_dict["score"]
        self.score = (f1, loss)


class ResumePoint(Callback):
    """Write Lightning's full state at the end of an epoch, at most every `seconds`.

    Args:
        path: of the resume checkpoint.
        seconds: least time between two.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if the last one is old enough; the last epoch needs none."""
        finished = trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop
        if finished:
            return
        # All processes take part in saving, so one clock decides for all.
        if trainer.strategy.broadcast(time.monotonic() - self._last >= self.seconds):
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()


class EpochBar(RichProgressBar):
    """Lightning's bar, counting epochs from 1 as everything else that a person reads here does."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"


class LiveTable(Callback):
    """After each epoch: rewrite the table of epochs, and say one line.

    Args:
        path: of the CSV.
        notify: receives the line.
    """

    def __init__(self, path: Path, notify: Callable[[str], None]) -> None:
        self.path, self.notify = path, notify

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write and say."""
        if not isinstance(pl_module, MeasuredModule) or not trainer.is_global_zero:
            return
        history, epoch = pl_module.history, trainer.current_epoch
        table = schemas.validate(history.table("epochs"), schemas.EPOCHS)
        names = table["metric"] + table["class_name"].map(lambda name: f"[{name}]" if name else "")
        wide = table.assign(column=table["split"] + "_" + names).pivot_table(
            index="epoch", columns="column", values="value", sort=False, dropna=False
        )
        with atomic_path(self.path) as temporary:
            wide.to_csv(temporary)
        told = "".join(f"{name} {value:.4f}, " for name, value in pl_module.headline(epoch).items())
        self.notify(
            f"{history.arm} seed {history.seed} epoch {epoch + 1}/{trainer.max_epochs}: {told}"
            f"{history.epoch_seconds[-1]:.1f} s"
        )
