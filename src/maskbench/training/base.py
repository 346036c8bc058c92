"""What the trainings of classifiers and detectors share: live statistics, clipping, a history that survives."""

from __future__ import annotations

import hashlib
import math
import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from maskbench.models.execution import Execution
from maskbench.training.diagnostics import LossStatistics
from maskbench.training.history import History
from maskbench.training.optim import largest_rate


class MeasuredModule(L.LightningModule):
    """A training of one arm; everything measured lands in `history`.

    Args:
        model: that learns.
        arm: its name.
        run: its number, what tables call `seed`.
        seed: of augmentation.
        execution: device, precision, layout.
        moving_average: decay of the loss's moving average.
        gradient_clip: largest global norm of the gradients; 0: none.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        arm: str,
        run: int,
        seed: int,
        execution: Execution,
        moving_average: float,
        gradient_clip: float,
    ) -> None:
        super().__init__()
        self.model, self.seed, self.execution = model, seed, execution
        self.gradient_clip = gradient_clip
        self.history = History(arm, run)
        self.statistics = LossStatistics(moving_average)
        self._batches = hashlib.sha256()
        self._epoch_started = 0.0
        self._pending: list[tuple[int, Tensor, float]] = []

    @abstractmethod
    def score(self, epoch: int) -> tuple[float, float] | None:
        """How good an epoch is, by validation: higher is better; the second number decides between equal ones.

        None: it was not measured.
        """

    @abstractmethod
    def described(self, epoch: int) -> dict[str, float]:
        """What a checkpoint says of the epoch whose weights it holds."""

    @abstractmethod
    def headline(self, epoch: int) -> dict[str, float]:
        """Figures of an epoch that a person is told."""

    def released(self) -> nn.Module:
        """The model whose weights are kept."""
        return self.model

    def release(self) -> None:
        """Free what only training needs; called when it ends, however it does."""

    def require_finite(self, split: str, losses: Iterable[tuple[str, str, float]]) -> None:
        """Stop a training that has gone astray.

        Args:
            split: side that was measured.
            losses: (metric, "", value) of the epoch.

        Raises:
            ValueError: one is NaN or infinite.
        """
        if broken := [name for name, _, value in losses if not math.isfinite(value)]:
            raise ValueError(
                f"{self.history.arm} seed {self.history.seed}: {broken[0]} ({split}) is not finite in epoch "
                f"{self.current_epoch + 1}; lower the learning rate or set gradient_clip"
            )

    def start_epoch(self) -> None:
        """Forget the last epoch's sums."""
        self.statistics.start_epoch()
        self._epoch_started = time.perf_counter()
        self._batches = hashlib.sha256()

    def saw(self, rows: Tensor) -> None:
        """Note which rows, a tensor on the CPU, a batch held."""
        self._batches.update(rows.numpy().tobytes())

    def close_epoch(self) -> None:
        """Note the epoch's order and time."""
        self.history.batches.append(self._batches.hexdigest())
        self.history.epoch_seconds.append(time.perf_counter() - self._epoch_started)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Live statistics; the loss is read at the progress bar's pace, so a GPU is not made to wait."""
        rate = largest_rate(self.trainer.optimizers[0])
        self._pending.append((self.global_step - 1, outputs["loss"].detach(), rate))
        if len(self._pending) >= self.live_interval or batch_idx + 1 == self.trainer.num_training_batches:
            self._flush_steps()
            self.log("loss_mean", self.statistics.mean, prog_bar=True, logger=False)
            self.log("loss_var", self.statistics.variance, prog_bar=True, logger=False)
            self.log("loss_avg", self.statistics.moving_average, prog_bar=True)

    @property
    def live_interval(self) -> int:
        """Steps between readings of the loss: every step on a CPU, every tenth where reading waits."""
        return 1 if self.execution.device == "cpu" else 10

    def _flush_steps(self) -> None:
        # Each process holds its share's part; alone in its process, a loss is what it is.
        losses = self.trainer.strategy.reduce(torch.stack([loss for _, loss, _ in self._pending]), reduce_op="mean")
        for (step, _, rate), loss in zip(self._pending, losses.tolist(), strict=True):
            self.statistics.update(loss)
            row = {
                "epoch": self.current_epoch,
                "step": step,
                "loss": loss,
                "loss_mean": self.statistics.mean,
                "loss_variance": self.statistics.variance,
                "loss_moving_average": self.statistics.moving_average,
                "learning_rate": rate,
            }
            self.history.add("steps", [row])
        self._pending.clear()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the global gradient norm; Lightning's own clipping refuses fused optimisers.

        Nothing has to be unscaled first: bfloat16 has float32's range, so no loss scaling is used.
        """
        if self.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Everything measured so far goes into the resume checkpoint, so the two never disagree."""
        checkpoint["maskbench_history"] = self.history.state()
        checkpoint["maskbench_loss"] = self.statistics.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from `on_save_checkpoint`."""
        self.history.restore(checkpoint["maskbench_history"])
        self.statistics.restore(checkpoint["maskbench_loss"])
