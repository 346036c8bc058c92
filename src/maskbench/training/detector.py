"""One arm's detector under the protocol, as a LightningModule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.detection import MeanAveragePrecision

from maskbench.config.detection import DetectConfig
from maskbench.data.detection import DetectionBatch
from maskbench.data.photographs import Photographs
from maskbench.data.shares import WHOLE, Share
from maskbench.models.detecting import DetectSettings, Found, detect_batch
from maskbench.models.execution import Execution
from maskbench.models.together import process_count
from maskbench.training.averaging import Follower, averaged_copy, warmed_decay
from maskbench.training.base import MeasuredModule
from maskbench.training.optim import warmup_cosine
from maskbench.training.sums import Means

#: Decay of the loss's moving average, as in the study of faces.
_LOSS_DECAY = 0.95


class DetectorModule(MeasuredModule):
    """Training and validation of one detector.

    Args:
        model: from `build_detector`.
        arm: its name.
        run: its number, what tables call `seed`.
        seed: of order and views.
        classes: class order.
        photographs: all of the study; validation reads its own from here.
        execution: device, precision, layout.
        config: protocol.
        share: this process's part of every batch.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        arm: str,
        run: int,
        seed: int,
        classes: tuple[str, ...],
        photographs: Photographs,
        execution: Execution,
        config: DetectConfig,
        share: Share = WHOLE,
    ) -> None:
        super().__init__(
            model, arm=arm, run=run, seed=seed, execution=execution, moving_average=_LOSS_DECAY,
            gradient_clip=config.gradient_clip,
        )  # fmt: skip
        self.classes, self.photographs, self.config, self.share = classes, photographs, config, share
        #: Moving average of the weights: what is validated and kept.
        self.average = averaged_copy(model)
        self.loss = Means()
        self.found: list[tuple[int, Found]] = []

    def _new_precision(self) -> MeanAveragePrecision:
        metric = MeanAveragePrecision(
            backend="faster_coco_eval", class_metrics=True,
            max_detection_thresholds=[1, 10, self.config.max_detections], sync_on_compute=False,
        )  # fmt: skip
        metric.warn_on_many_detections = False  # the limit is COCO's, for each class
        return metric

    def released(self) -> nn.Module:
        """The averaged weights."""
        return self.average

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a linear rise and half a cosine; biases and gains are not decayed."""
        config, total = self.config, int(self.trainer.estimated_stepping_batches)
        named = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in named if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser = AdamW(groups, lr=config.learning_rate, fused=True)
        schedule = LambdaLR(
            optimiser, lambda step: warmup_cosine(step, total, config.warmup_share, config.final_rate_share)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # --- training -------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Both networks are where they stay."""
        self.follower = Follower(self.average, self.model)

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's sums."""
        self.start_epoch()
        self.average.eval()  # Lightning sets every part of the module to training

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        """Sum of the detector's losses on one batch of views."""
        self.saw(batch.all_rows)
        images = list(batch.images.float() / 255)
        targets = [{"boxes": b, "labels": n} for b, n in zip(batch.boxes, batch.labels, strict=True)]
        losses = self.model(images, targets)
        loss: Tensor = torch.stack(list(losses.values())).sum()
        self.loss.update(loss.detach() * self.share.weight(len(batch.all_rows)), len(images))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: DetectionBatch, batch_idx: int) -> None:
        """Follow the weights; the average forgets its random start quickly, then moves slowly."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.follower.follow(warmed_decay(self.config.average_decay, self.global_step))

    # --- validation -----------------------------------------------------------------------------

    def due(self, epoch: int) -> bool:
        """Whether an epoch is measured on validation photographs."""
        return (epoch + 1) % self.config.validate_every == 0 or epoch + 1 == self.config.epochs

    def on_validation_epoch_start(self) -> None:
        """Start afresh."""
        self.found = []

    def validation_step(self, rows: Tensor, batch_idx: int) -> None:
        """Boxes by the same pass that testing uses."""
        if not self.due(self.current_epoch) or not len(rows):
            return
        chosen = rows.tolist()
        settings = DetectSettings(self.config.input_size, self.config.nms_iou, self.config.max_detections)
        images = [self.photographs.image(row) for row in chosen]
        self.found += zip(chosen, detect_batch(self.average, images, settings, self.execution), strict=True)

    def on_validation_epoch_end(self) -> None:
        """Close the epoch's measurements of both sides.

        Raises:
            ValueError: the loss is not finite.
        """
        if self.trainer.sanity_checking:
            return
        loss = float(self.loss.compute())
        self.loss.reset()
        self.require_finite("train", [("loss", "", loss)])
        rows = [("train", "loss", "", loss)]
        if self.due(self.current_epoch):
            rows += self._measured()
        self.history.add(
            "epochs",
            [
                {"epoch": self.current_epoch, "split": s, "metric": m, "class_name": c, "value": v}
                for s, m, c, v in rows
            ],
        )
        self.log_dict({f"{s}/{m}{'/' + c if c else ''}": v for s, m, c, v in rows}, logger=True)
        self.close_epoch()

    def _measured(self) -> list[tuple[str, str, str, float]]:
        """APs of the validation photographs; torchmetrics says -1 for what is undefined."""
        precision = self._new_precision()
        for row, one in in_turn(self.found):
            precision.update(
                [{"boxes": torch.from_numpy(one.boxes), "scores": torch.from_numpy(one.scores),
                  "labels": torch.from_numpy(one.labels)}],
                [{"boxes": torch.from_numpy(self.photographs.boxes[row]),
                  "labels": torch.from_numpy(self.photographs.labels[row])}],
            )  # fmt: skip
        found = precision.compute()
        labels, values = (found[name].reshape(-1).tolist() for name in ("classes", "map_per_class"))
        known = dict(zip(labels, values, strict=True))
        rows = [("val", name, "", float(found[key])) for name, key in (("ap", "map"), ("ap50", "map_50"))]
        rows += [("val", "ap", name, known.get(k, -1.0)) for k, name in enumerate(self.classes)]
        return [(split, metric, name, np.nan if value < 0 else value) for split, metric, name, value in rows]

    def score(self, epoch: int) -> tuple[float, float] | None:
        """Mean AP over classes and IoU 0.50 … 0.95; of equal ones the higher AP50. Without faces: 0."""
        if not self.due(epoch):
            return None
        values = [self.history.value(epoch, "val", name) for name in ("ap", "ap50")]
        ap, ap50 = (0.0 if np.isnan(value) else value for value in values)
        return ap, ap50

    def described(self, epoch: int) -> dict[str, float]:
        """Validation figures of the epoch."""
        return {f"val_{name}": self.history.value(epoch, "val", name) for name in ("ap", "ap50")}

    def headline(self, epoch: int) -> dict[str, float]:
        """Loss and APs."""
        shown = {"train loss": ("train", "loss")}
        if self.due(epoch):
            shown |= {"val AP": ("val", "ap"), "val AP50": ("val", "ap50")}
        return {name: self.history.value(epoch, *key) for name, key in shown.items()}


def in_turn(own: list[tuple[int, Found]]) -> list[tuple[int, Found]]:
    """What all processes found, in the order of photographs; alone in its process, what is given.

    Every process measures all of it: torchmetrics' own exchange asks for equally many photographs in each.
    """
    world = process_count()
    if world == 1:
        return own
    parts: list[list[tuple[int, Found]]] = [[] for _ in range(world)]
    torch.distributed.all_gather_object(parts, own)
    return sorted((one for part in parts for one in part), key=lambda one: one[0])
