"""Where and how a model runs: device, precision, memory layout."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

#: From this input size on, channels-last is the faster layout for bf16 on CPU (benchmarks/layouts.py).
CHANNELS_LAST_FROM_PX = 112


class ExecutionChoices(Protocol):
    """What sections of the configuration say about execution."""

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        """Where."""
        ...

    @property
    def precision(self) -> Literal["auto", "fp32", "bf16"]:
        """Of the forward and backward pass."""
        ...

    @property
    def memory_format(self) -> Literal["auto", "channels_last", "contiguous"]:
        """Of weights and activations."""
        ...


@dataclass(frozen=True)
class Execution:
    """Resolved choices; saved with every run and checkpoint, used for training and predicting alike.

    Attributes:
        device: `cpu` or `cuda`.
        precision: of the forward and backward pass; weights are always float32.
        memory_format: of weights and activations.
    """

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    memory_format: Literal["contiguous", "channels_last"]

    def to_dict(self) -> dict[str, Any]:
        """Primitives, for JSON."""
        return asdict(self)

    def torch_format(self) -> torch.memory_format:
        """The layout as torch names it."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    def place(self, model: nn.Module) -> nn.Module:
        """Move `model` (in place) to the device and layout."""
        return model.to(device=self.device).to(memory_format=self.torch_format())

    def arrange(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) images in the layout of the weights."""
        return images.to(memory_format=self.torch_format())

    def autocast(self) -> AbstractContextManager[Any]:
        """Context in which layers compute in the chosen precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)

    def lightning_precision(self) -> Literal["bf16-mixed", "32-true"]:
        """The same precision as Lightning names it."""
        return "bf16-mixed" if self.precision == "bf16" else "32-true"


def has_fast_bf16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 natively: elsewhere it is emulated and slower than float32."""
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def resolve_execution(config: ExecutionChoices, input_size: int) -> Execution:
    """Turn `auto` into choices for this machine.

    Raises:
        ValueError: CUDA was asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    wanted = config.device
    device: Literal["cpu", "cuda"] = wanted if wanted != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    layout = config.memory_format
    if layout == "auto":
        plain = device == "cpu" and precision == "bf16" and input_size < CHANNELS_LAST_FROM_PX
        layout = "contiguous" if plain else "channels_last"
    return Execution(device, precision, layout)
