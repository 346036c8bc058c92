"""One arm under the protocol, as a LightningModule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from maskbench.config import EvaluateConfig, TrainConfig
from maskbench.config.sizes import size_in
from maskbench.data.batch import Batch
from maskbench.data.transforms import Preprocess, augment
from maskbench.evaluation.confusion import confusion_metrics
from maskbench.models.execution import Execution
from maskbench.models.forward import evaluation_logits
from maskbench.models.registry import REPLAYABLE
from maskbench.seeding import generator
from maskbench.training.base import MeasuredModule
from maskbench.training.diagnostics import GradientFlow
from maskbench.training.graphs import Replayed
from maskbench.training.losses import WeightedCrossEntropy
from maskbench.training.optim import build_optimiser
from maskbench.training.regimes import apply_regime
from maskbench.training.sums import EpochSums


class ArmModule(MeasuredModule):
    """Training and validation of one classifier.

    Args:
        model: the network.
        implementation: what the network was built by.
        arm: its name.
        run: its number, what tables call `seed`.
        seed: of augmentation.
        classes: class order.
        criterion: training loss.
        preprocess: view and normalisation.
        execution: device, precision, layout.
        train: protocol.
        evaluate: how validation predicts.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        implementation: str,
        arm: str,
        run: int,
        seed: int,
        classes: tuple[str, ...],
        criterion: WeightedCrossEntropy,
        preprocess: Preprocess,
        execution: Execution,
        train: TrainConfig,
        evaluate: EvaluateConfig,
    ) -> None:
        super().__init__(
            model, arm=arm, run=run, seed=seed, execution=execution, moving_average=train.moving_average,
            gradient_clip=train.gradient_clip,
        )  # fmt: skip
        self.implementation = implementation
        self.criterion, self.classes, self.preprocess = criterion, classes, preprocess
        self.protocol, self.evaluate = train, evaluate
        self.flow = GradientFlow(model)
        self.training_sums, self.validation_sums = EpochSums(len(classes)), EpochSums(len(classes))
        self.trained_parameters = 0
        self._replayed: Replayed | None = None

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimiser and per-step schedule of the protocol."""
        total = int(self.trainer.estimated_stepping_batches)
        optimiser, schedule = build_optimiser(self.model, self.protocol, total)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # --- training -------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """On a GPU, record the passes where that can be done."""
        if self.replays():
            self._replayed = Replayed(self.model, self.execution, self.protocol.batch_size)

    def replays(self) -> bool:
        """Whether passes are recorded: all parameters must learn in every step, and one process train them."""
        whole = self.protocol.regime in ("full", "discriminative") and self.trainer.world_size == 1
        return whole and self.execution.device == "cuda" and self.implementation in REPLAYABLE

    def release(self) -> None:
        """Free the recording."""
        if self._replayed is not None:
            self._replayed.forget()
            self._replayed = None

    def learn(self, images: Tensor) -> Tensor:
        """Logits (B, K) of views (B, 3, S, S) that will be learnt from."""
        logits: Tensor = self.model(images) if self._replayed is None else self._replayed(images)
        return logits

    def on_train_epoch_start(self) -> None:
        """Freeze and unfreeze for this epoch; forget the last epoch's sums."""
        apply_regime(self.model, self.protocol, self.current_epoch)
        learning = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.trained_parameters = max(self.trained_parameters, learning)
        self.start_epoch()

    def views(self, batch: Batch, batch_idx: int) -> Tensor:
        """The augmented views that step `batch_idx` of this epoch trains on: (B, 3, S, S) float32.

        Random numbers follow from seed, epoch, batch and place in it: equal for all arms, after a resume too, and
        however many processes share the batch.
        """
        source = generator(self.seed, "augment", self.current_epoch, batch_idx, 0)
        size = size_in(self.protocol.small_inputs, self.current_epoch, self.preprocess.input_size)
        # In float32 whatever the step's precision: pixels must not depend on it, and not every device's
        # autocast covers what augmentation uses.
        with torch.autocast(self.device.type, enabled=False):
            return augment(
                batch.canvases, self.preprocess, self.protocol.augment, source,
                batch.share, len(batch.all_rows), size,
            )  # fmt: skip

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one augmented batch; of a share, what the mean over processes makes the batch's loss."""
        self.saw(batch.all_rows)
        logits = self.learn(self.execution.arrange(self.views(batch, batch_idx)))
        if batch.whole is None:
            loss: Tensor = self.criterion(logits, batch.targets)
            told = loss.detach()
        else:
            loss = self.criterion.of_share(logits, batch.targets, batch.all_targets, batch.share.world)
            told = loss.detach() * batch.share.weight(len(batch.all_rows))
        self.training_sums.add(logits.detach().float(), batch.targets, told)
        return loss

    def on_after_backward(self) -> None:
        """Gradient norms, before clipping."""
        if self._flow_due():
            self.flow.record_gradients()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimiser's step, with what it changed."""
        due = self._flow_due()
        if due:
            self.flow.before_step()
        step, epoch = self.global_step, self.current_epoch
        super().optimizer_step(*args, **kwargs)
        if due:
            self.history.add("gradients", [{"epoch": epoch, "step": step, **row} for row in self.flow.after_step()])

    def _flow_due(self) -> bool:
        interval = self.protocol.gradient_interval
        return interval > 0 and self.global_step % interval == 0

    # --- validation -----------------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logits by the same forward pass that testing uses."""
        if not len(batch.rows):  # more processes than batches
            return
        logits = evaluation_logits(
            self.released(), batch.canvases, self.preprocess, self.execution, flip_average=self.evaluate.flip_average
        )
        self.validation_sums.add(logits, batch.targets, self.criterion(logits, batch.targets))

    def on_validation_epoch_end(self) -> None:
        """Close the epoch's measurements of both sides."""
        if self.trainer.sanity_checking:
            return
        self.close_side("train", self.training_sums)
        self.close_side("val", self.validation_sums)
        self.close_epoch()
        self.announce()

    def announce(self) -> None:
        """Show the epoch's figures beside the bar, and give early stopping its own."""
        self.log("val_f1", self.history.value(self.current_epoch, "val", "f1_macro"), prog_bar=True)
        self.log("val_f1_smoothed", self.smoothed_f1(self.current_epoch))

    def score(self, epoch: int) -> tuple[float, float]:
        """Smoothed macro-F1; of equal ones the lower cross-entropy."""
        return self.smoothed_f1(epoch), -self.history.value(epoch, "val", "cross_entropy")

    def described(self, epoch: int) -> dict[str, float]:
        """Validation figures of the epoch."""
        return {
            "val_f1_macro": self.history.value(epoch, "val", "f1_macro"),
            "val_f1_macro_smoothed": self.smoothed_f1(epoch),
            "val_cross_entropy": self.history.value(epoch, "val", "cross_entropy"),
        }

    def headline(self, epoch: int) -> dict[str, float]:
        """Losses and macro-F1."""
        shown = {"train loss": ("train", "loss"), "val loss": ("val", "loss"), "val macro-F1": ("val", "f1_macro")}
        return {name: self.history.value(epoch, *key) for name, key in shown.items()}

    def smoothed_f1(self, last: int) -> float:
        """Mean validation macro-F1 of `selection_window` epochs up to `last`: what epochs are judged by."""
        epochs = range(max(0, last + 1 - self.protocol.selection_window), last + 1)
        return float(np.mean([self.history.value(epoch, "val", "f1_macro") for epoch in epochs]))

    def close_side(self, split: str, sums: EpochSums) -> None:
        """Turn the epoch's sums of one side into rows and log them.

        Raises:
            ValueError: a loss is not finite.
        """
        counts, losses = sums.close()
        self.require_finite(split, losses)
        measured = [*losses, *confusion_metrics(counts, self.classes)]
        where = {"epoch": self.current_epoch, "split": split}
        self.history.add("epochs", [{**where, "metric": m, "class_name": c, "value": float(v)} for m, c, v in measured])
        self.history.add(
            "confusion",
            [
                {**where, "true": true, "predicted": predicted, "count": int(counts[i, j])}
                for i, true in enumerate(self.classes)
                for j, predicted in enumerate(self.classes)
            ],
        )
        self.log_dict({f"{split}/{m}{'/' + c if c else ''}": float(v) for m, c, v in measured}, logger=True)
