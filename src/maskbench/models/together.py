"""What processes that train one model together have in common: statistics of the whole batch, not of each share."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


def process_count() -> int:
    """Processes that train together; 1 where there is no other."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rescale(own: int, device: torch.device) -> float:
    """Factor that turns a sum over a share, divided by the share's count, into its part of the whole batch's quotient.

    Gradients are averaged over processes: the mean over them of (Sᵢ / nᵢ) · nᵢ · W / Σn is ΣS / Σn.

    Args:
        own: nᵢ, what this process divided by; 0 stands for a division by 1.
        device: of the tensors that processes exchange.
    """
    world = process_count()
    if world == 1:
        return 1.0
    total = torch.tensor(float(own), device=device)
    dist.all_reduce(total)
    return max(1, own) * world / max(1.0, float(total))


class _Sum(torch.autograd.Function):
    """The sum over processes; what depends on it in any of them reaches every summand."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that learns with mean and variance over the images of all processes.

    torch's SyncBatchNorm does the same, on GPUs alone. Alone in its process, this is `nn.BatchNorm2d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape and dtype; B may differ between processes."""
        if not self.training or process_count() == 1:
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        count = values.new_tensor([values.numel() // values.shape[1]])
        sums = _sum_over_processes(torch.cat([values.sum(dim=(0, 2, 3)), count]))  # (C + 1,)
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = values - mean.view(1, -1, 1, 1)  # two passes: E[x²] - E[x]² would lose digits
        variance = _sum_over_processes(centred.square().sum(dim=(0, 2, 3))) / count  # (C,)
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; the variance is the unbiased one."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)


def with_global_norms(model: nn.Module, device: str) -> nn.Module:
    """`model` with batch norms over all processes' images; parameters and names stay.

    Args:
        model: changed in place.
        device: `cpu` or `cuda`.
    """
    if device == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                norm = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum)
                norm.weight, norm.bias = child.weight, child.bias
                norm.running_mean, norm.running_var = child.running_mean, child.running_var
                norm.num_batches_tracked = child.num_batches_tracked
                setattr(parent, name, norm.train(child.training))
    return model
