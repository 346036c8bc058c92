"""What is summed over an epoch, on the device that computes: nothing here makes a GPU wait."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix


class Means(Metric):
    """Weighted means of several numbers over an epoch and all processes.

    torchmetrics' `MeanMetric` looks at every number (a GPU is waited for each time) and leaves out those that are not
    finite; here they show.

    Args:
        count: M, numbers that are averaged side by side.
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(count), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, values: Tensor, weight: float) -> None:
        """Take in (M,) means of `weight` faces."""
        self.total += values.float() * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """(M,) float32; NaN before the first update."""
        return self.total / self.weight


class EpochSums(nn.Module):
    """Confusion counts and mean losses of one side over an epoch, summed over processes.

    Args:
        classes: K.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.confusion, self.losses = MulticlassConfusionMatrix(classes, validate_args=False), Means(2)

    def add(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Take in one batch: (B, K) float32 logits, (B,) targets, its mean training loss."""
        self.confusion.update(logits.argmax(dim=1), targets)
        self.losses.update(torch.stack([loss, nn.functional.cross_entropy(logits, targets)]), len(targets))

    def close(self) -> tuple[NDArray[np.int64], list[tuple[str, str, float]]]:
        """Counts (K, K) with true classes in rows, and mean losses; starts afresh.

        Losses are `loss` (the configured one) and plain `cross_entropy`, nats, as (metric, "", value).
        """
        counts = self.confusion.compute().cpu().numpy()
        loss, cross_entropy = self.losses.compute().tolist()
        self.confusion.reset()
        self.losses.reset()
        return counts, [("loss", "", loss), ("cross_entropy", "", cross_entropy)]
