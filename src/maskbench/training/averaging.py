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


class Follower:
    """Moves an averaged copy towards its model: weights and batch norm's statistics, not its counters.

    Args:
        average: from `averaged_copy`.
        model: followed; both stay on their device.

    Source:
        Tarvainen & Valpola, Mean teachers, NeurIPS 2017, eq. 1.
    """

    def __init__(self, average: nn.Module, model: nn.Module) -> None:
        pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
        self._moved, self._towards = _columns([pair for pair in pairs if pair[0].is_floating_point()])
        self._counters, self._counts = _columns([pair for pair in pairs if not pair[0].is_floating_point()])

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move, in place.

        Args:
            decay: share that is kept, in [0, 1].
        """
        torch._foreach_lerp_(self._moved, self._towards, 1 - decay)
        if self._counters:
            torch._foreach_copy_(self._counters, self._counts)


def _columns(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [own for own, _ in pairs], [other for _, other in pairs]
