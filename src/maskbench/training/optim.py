"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from maskbench.config import TrainConfig
from maskbench.models.registry import depth_groups
from maskbench.training.regimes import rate_scales


def warmup_cosine(step: int, total: int, warmup_share: float, final_share: float) -> float:
    """Learning-rate factor: linear rise, then half a cosine down to `final_share`.

    Args:
        step: 0-based optimiser step.
        total: steps of the whole run, ≥ 1.
        warmup_share: share of `total` over which the rate rises.
        final_share: factor at the end.

    Returns:
        A factor in (0, 1].

    Source:
        Loshchilov & Hutter, SGDR, ICLR 2017, eq. 5 (one cycle); warm-up: Goyal et al. 2017, section 2.2.

    Example:
        >>> [round(warmup_cosine(s, 10, 0.2, 0.0), 2) for s in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = round(total * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final_share + (1 - final_share) * (1 + math.cos(math.pi * progress)) / 2


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Optimiser groups by depth and by decay: biases and batch-norm gains are not decayed.

    The head comes last. Source for the exemption: He et al., Bag of Tricks, CVPR 2019, section 3.1.
    """
    named = dict(model.named_parameters())
    groups = depth_groups(model)
    scales = rate_scales(list(groups), config)
    result = []
    for group, names in groups.items():
        for decayed in (False, True):
            members = [named[name] for name in names if (named[name].ndim > 1) == decayed]
            result.append(
                {
                    "params": members,
                    "lr": config.learning_rate * scales[group],
                    "weight_decay": config.weight_decay if decayed else 0.0,
                    "name": f"{group}/{'weights' if decayed else 'gains_and_biases'}",
                }
            )
    return result


def build_optimiser(model: nn.Module, config: TrainConfig, total_steps: int) -> tuple[Optimizer, LambdaLR]:
    """The configured optimiser and its per-step schedule.

    `fused` updates all tensors in one pass over memory: on 2 CPU cores it takes a tenth of the time
    of the default (benchmarks/optimiser.py).
    """
    groups = parameter_groups(model, config)
    optimiser: Optimizer
    if config.optimiser == "adamw":
        optimiser = AdamW(groups, lr=config.learning_rate, fused=True)
    else:
        optimiser = SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
        )
    schedule = LambdaLR(
        optimiser,
        lambda step: warmup_cosine(step, total_steps, config.warmup_share, config.final_rate_share),
    )
    return optimiser, schedule


def largest_rate(optimiser: torch.optim.Optimizer) -> float:
    """The current learning rate of the head, the group with factor 1 in every regime."""
    return float(optimiser.param_groups[-1]["lr"])
