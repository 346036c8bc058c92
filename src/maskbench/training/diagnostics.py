"""Live statistics: of the loss, and of what each optimiser step does to each parameter tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from maskbench.models.registry import depth_groups


@dataclass
class LossStatistics:
    """Running mean and variance of the batch losses of an epoch, moving average over the run.

    Attributes:
        decay: of the exponential moving average.
        count: batches seen in this epoch.
        mean: of this epoch's batch losses.
        moving_average: bias-corrected exponential average over the run.

    Source:
        Welford, Technometrics 4 (1962); bias correction: Kingma & Ba, ICLR 2015, section 3.
    """

    decay: float
    count: int = 0
    mean: float = 0.0
    _squares: float = 0.0
    _average: float = 0.0
    _steps: int = 0

    @property
    def variance(self) -> float:
        """Unbiased variance of this epoch's batch losses; NaN below two batches."""
        return self._squares / (self.count - 1) if self.count > 1 else float("nan")

    @property
    def moving_average(self) -> float:
        """Exponential moving average of all batch losses so far; NaN before the first."""
        if not self._steps:
            return float("nan")
        return self._average / (1 - self.decay**self._steps)

    def start_epoch(self) -> None:
        """Forget the epoch's mean and variance, keep the moving average."""
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def update(self, loss: float) -> None:
        """Take in one batch loss."""
        self.count += 1
        delta = loss - self.mean
        self.mean += delta / self.count
        self._squares += delta * (loss - self.mean)
        self._average = self.decay * self._average + (1 - self.decay) * loss
        self._steps += 1

    def state(self) -> dict[str, float]:
        """What a resumed run needs at the start of an epoch."""
        return {"average": self._average, "steps": self._steps}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from `state()`."""
        self._average, self._steps = float(state["average"]), int(state["steps"])


@dataclass
class GradientFlow:
    """Norms per parameter tensor around one optimiser step.

    Use: `record_gradients` after the backward pass (before clipping), `before_step`, then
    `after_step`, which returns the rows.
    """

    model: nn.Module
    _norms: list[Tensor] = field(default_factory=list)
    _before: dict[str, Tensor] = field(default_factory=dict)

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.model.named_parameters() if p.grad is not None]

    def record_gradients(self) -> None:
        """Keep the Euclidean norms of the current gradients."""
        gradients = [p.grad for _, p in self._parameters() if p.grad is not None]
        self._norms = list(torch._foreach_norm(gradients))

    def before_step(self) -> None:
        """Keep the weights as they are before the step."""
        self._before = {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}

    def after_step(self) -> list[dict[str, Any]]:
        """Rows `depth, layer, group, gradient_norm, weight_norm, update_ratio` for the step just made.

        `update_ratio` is ‖w_after - w_before‖ / ‖w_before‖, NaN where the weights were all zero.
        """
        group_of = {name: group for group, names in depth_groups(self.model).items() for name in names}
        named = self._parameters()
        after, before = [p.detach() for _, p in named], [self._before[name] for name, _ in named]
        weights = torch.stack(torch._foreach_norm(before)).tolist()
        changes = torch.stack(torch._foreach_norm(torch._foreach_sub(after, before))).tolist()
        gradients = torch.stack(self._norms).tolist()
        order = {name: depth for depth, (name, _) in enumerate(self.model.named_parameters())}
        self._norms, self._before = [], {}
        return [
            {
                "depth": order[name],
                "layer": name,
                "group": group_of[name],
                "gradient_norm": gradient,
                "weight_norm": weight,
                "update_ratio": change / weight if weight > 0 else float("nan"),
            }
            for (name, _), gradient, weight, change in zip(named, gradients, weights, changes, strict=True)
        ]
