"""Moving averages of weights: what detectors and pretrained backbones are judged and kept by."""

from __future__ import annotations

import copy

import torch
from torch import nn


def averaged_copy(model: nn.Module) -> nn.Module:
    """A copy that will follow `model`: in evaluation mode, without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def warmed_decay(decay: float, step: int) -> float:
    """The decay after `step` optimiser steps: the average forgets its random start quickly, then moves slowly.

    Example:
        >>> [round(warmed_decay(0.99, step), 2) for step in (0, 1, 90, 10_000)]
        [0.1, 0.18, 0.91, 0.99]
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` towards `model`, in place: weights and batch norm's statistics, not its counters.

    Args:
        average: of the same shape.
        model: followed.
        decay: share that is kept, in [0, 1].

    Source:
        Tarvainen & Valpola, Mean teachers, NeurIPS 2017, eq. 1.
    """
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    kept = [(own, other) for own, other in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in kept], [other for _, other in kept], 1 - decay)
    for own, other in pairs:
        if not own.is_floating_point():
            own.copy_(other)
