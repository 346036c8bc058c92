"""The pretraining of a backbone, as a LightningModule: a classifier's, at growing sizes, with averaged weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from maskbench.config import EvaluateConfig
from maskbench.config.pretraining import PretrainConfig
from maskbench.data.batch import Batch
from maskbench.data.image_store import StoredImages, stored_side
from maskbench.data.transforms import WholeImage
from maskbench.evaluation.confusion import accuracy
from maskbench.models.execution import Execution
from maskbench.training.averaging import Follower, averaged_copy, warmed_decay
from maskbench.training.losses import WeightedCrossEntropy
from maskbench.training.module import ArmModule
from maskbench.training.sums import EpochSums


class PretrainModule(ArmModule):
    """Training and validation of a backbone with a head for the images' classes.

    Args:
        model: the network.
        classes: class order.
        criterion: training loss.
        execution: device, precision, layout.
        recipe: sizes, augmentation, optimiser.
        images: told at which side to give the images of an epoch.
        native: side of the images in their files, px.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: tuple[str, ...],
        criterion: WeightedCrossEntropy,
        execution: Execution,
        recipe: PretrainConfig,
        images: StoredImages,
        native: int,
    ) -> None:
        super().__init__(
            model, implementation=recipe.implementation, arm=recipe.implementation,
            run=recipe.seed, seed=recipe.seed, classes=classes, criterion=criterion,
            preprocess=preprocess_at(recipe, recipe.size_in(0)), execution=execution, train=recipe.train,
            evaluate=EvaluateConfig(batch_size=recipe.evaluate_batch_size, flip_average=False),
        )  # fmt: skip
        self.recipe, self.images, self.native = recipe, images, native
        #: Moving average of the weights: what is validated and kept.
        self.average = averaged_copy(model)

    def released(self) -> nn.Module:
        """The averaged weights."""
        return self.average

    def on_train_start(self) -> None:
        """Both networks are where they stay."""
        super().on_train_start()
        self.follower = Follower(self.average, self.model)

    def on_train_epoch_start(self) -> None:
        """Go to the epoch's size: a function of the epoch alone, so a resumed run has the same."""
        size = self.recipe.size_in(self.current_epoch)
        self.preprocess = preprocess_at(self.recipe, size)
        self.images.side = stored_side(size, self.native)
        super().on_train_epoch_start()
        self.average.eval()  # Lightning sets every part of the module to training

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Follow the weights."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.follower.follow(warmed_decay(self.recipe.average_decay, self.global_step))

    def close_side(self, split: str, sums: EpochSums) -> None:
        """Losses and top-1; figures per class of hundreds of classes would outgrow the checkpoint.

        Raises:
            ValueError: a loss is not finite.
        """
        counts, losses = sums.close()
        self.require_finite(split, losses)
        values = {name: value for name, _, value in losses} | {"top1": float(accuracy(counts))}
        where = {"epoch": self.current_epoch, "split": split, "class_name": ""}
        self.history.add("epochs", [{**where, "metric": name, "value": value} for name, value in values.items()])
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, logger=True)

    def announce(self) -> None:
        """Show top-1 beside the bar."""
        self.log("val_top1", self.history.value(self.current_epoch, "val", "top1"), prog_bar=True)

    def score(self, epoch: int) -> tuple[float, float]:
        """Top-1; of equal ones the lower cross-entropy."""
        return self.history.value(epoch, "val", "top1"), -self.history.value(epoch, "val", "cross_entropy")

    def described(self, epoch: int) -> dict[str, float]:
        """Validation figures of the epoch."""
        return {f"val_{name}": self.history.value(epoch, "val", name) for name in ("top1", "cross_entropy")}

    def headline(self, epoch: int) -> dict[str, float]:
        """Losses and top-1."""
        shown = {"train loss": ("train", "loss"), "val loss": ("val", "loss"), "val top-1": ("val", "top1")}
        return {name: self.history.value(epoch, *key) for name, key in shown.items()}


def preprocess_at(recipe: PretrainConfig, size: int) -> WholeImage:
    """The recipe's preprocessing at one input size, px."""
    return WholeImage(size, recipe.mean, recipe.std, recipe.crop)
