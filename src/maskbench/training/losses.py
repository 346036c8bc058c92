"""Losses over logits; every one is a weighted mean, so batches of any composition are comparable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskbench.config import TrainConfig


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Class weights inverse to the effective number of samples, (1 - βⁿ) / (1 - β).

    Args:
        class_counts: (K,) faces per class; absent classes get weight 0.
        beta: in [0, 1); 0 weighs all classes alike, → 1 by inverse frequency.

    Returns:
        (K,) float32, mean 1 over the classes that are present.

    Source:
        Cui, Jia, Lin, Song, Belongie: Class-Balanced Loss Based on Effective Number of Samples,
        CVPR 2019, eq. 2 and section 4.
    """
    counts = class_counts.double()
    effective = (1 - beta**counts) / (1 - beta)
    weights = torch.where(counts > 0, 1 / effective.clamp(min=1e-12), 0.0)
    return (weights * (counts > 0).sum() / weights.sum()).float()


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy in nats with class weights, label smoothing and optional focusing.

    L = Σ w_y · (1 - p_y)^γ · CE(logits, y) / Σ w_y over the batch; γ = 0 is weighted cross-entropy.

    Args:
        weights: (K,) class weights.
        label_smoothing: share of each target spread evenly over all classes, in [0, 1).
        gamma: focusing exponent, ≥ 0.

    Source:
        Focusing: Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, ICCV 2017,
        eq. 4. Smoothing: Szegedy et al., CVPR 2016, section 7.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, label_smoothing: float = 0.0, gamma: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", weights.float(), persistent=False)
        self.label_smoothing, self.gamma = label_smoothing, gamma

    def forward(self, logits: Tensor, targets: Tensor, total: Tensor | None = None) -> Tensor:
        """Mean loss of a batch, a scalar.

        Args:
            logits: (B, K).
            targets: (B,) int64.
            total: what the weighted losses' sum is divided by; None: the sum of the weights.
        """
        logits = logits.float()
        losses = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction="none")
        weights = self.weights[targets]  # (B,)
        if self.gamma > 0:
            certainty = logits.softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
            losses = (1 - certainty) ** self.gamma * losses
        return (weights * losses).sum() / (weights.sum() if total is None else total).clamp(min=1e-12)

    def of_share(self, logits: Tensor, targets: Tensor, all_targets: Tensor, world: int) -> Tensor:
        """The loss of a share of a batch, such that the mean over `world` processes is the batch's.

        Args:
            logits: (B, K), of the share.
            targets: (B,) int64, of the share.
            all_targets: (W,) int64, of the whole batch.
            world: processes that hold its shares.
        """
        loss: Tensor = self(logits, targets, self.weights[all_targets].sum() / world)
        return loss


def build_loss(config: TrainConfig, class_counts: Tensor) -> WeightedCrossEntropy:
    """The configured loss for training faces distributed as `class_counts` (K,)."""
    weights = torch.ones(len(class_counts))
    if config.loss == "class_balanced":
        weights = effective_number_weights(class_counts, config.class_balance_beta)
    gamma = config.focal_gamma if config.loss == "focal" else 0.0
    return WeightedCrossEntropy(weights, config.label_smoothing, gamma)
