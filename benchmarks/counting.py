"""What a computation has to do, counted: floating-point operations, and bytes between kernels and memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

#: What is neither of the network nor of the optimiser.
ACTIVATIONS = "activations"
WEIGHTS, GRADIENTS, STATE = "weights", "gradients", "optimiser state"

aten = torch.ops.aten
#: In-place kernels that do not read what they overwrite.
_ONLY_WRITTEN = (aten.copy_.default, aten.zero_.default, aten.fill_.Scalar)
#: Kernels that touch no element.
_UNTOUCHED = (aten.empty.memory_format, aten.empty_like.default, aten.detach.default, aten._local_scalar_dense.default)
_CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)


@dataclass(frozen=True)
class Conv:
    """A 2-d convolution at one input shape.

    Attributes:
        batch: images.
        inputs, outputs: channels.
        kernel, stride, padding: down and across.
        size: height and width of the input.
        input_gradient: whether a backward pass needs the gradient of its input; the first layer does not.
    """

    batch: int
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    size: tuple[int, int]
    input_gradient: bool = True

    def output_size(self) -> tuple[int, int]:
        """Height and width of the output."""
        height, width = (
            (side + 2 * pad - kernel) // step + 1
            for side, pad, kernel, step in zip(self.size, self.padding, self.kernel, self.stride, strict=True)
        )
        return height, width

    def forward_flops(self) -> int:
        """A multiplication and an addition for each weight that an output sees."""
        return 2 * self.batch * self.outputs * self.inputs * math.prod(self.kernel) * math.prod(self.output_size())

    def backward_flops(self) -> int:
        """As many again for the weights' gradient, and for the input's where it is needed."""
        return (1 + self.input_gradient) * self.forward_flops()


def convolutions(model: nn.Module, call: Callable[[], object]) -> Counter[Conv]:
    """Which convolutions of `model` run during `call`, and how often each."""
    found: Counter[Conv] = Counter()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d) and isinstance(layer.padding, tuple)
        if layer.groups != 1 or layer.dilation != (1, 1):
            raise ValueError("grouped and dilated convolutions are not counted")
        batch, channels, height, width = inputs[0].shape
        sides = (layer.kernel_size, layer.stride, layer.padding)
        kernel, stride, padding = ((side[0], side[-1]) for side in sides)
        own = (kernel, stride, padding, (height, width), inputs[0].requires_grad)
        found[Conv(batch, channels, layer.out_channels, *own)] += 1

    hooks = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the convolutions and matrix products in `call`, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


class EachKernel(TorchDispatchMode):
    """Hands every kernel that runs inside to `run`; operations that are made of others are taken apart first."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook."""
        with self:
            result = func.decompose(*args, **(kwargs or {}))
        return self.run(func, args, kwargs or {}) if result is NotImplemented else result

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The result of one kernel."""
        return func(*args, **kwargs)


class Traffic(EachKernel):
    """Bytes of the tensors that kernels read and write, each once per kernel: what runs between layers unfused.

    Views cost nothing. What a kernel reads twice (batch norm its input) counts once, so this is a lower bound of how
    eager kernels work, and an upper bound of what must move.

    Attributes:
        moved: bytes by kind of tensor and by whether the kernel is a convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moved: Counter[tuple[str, bool]] = Counter()
        self._kinds: dict[int, str] = {}
        self._held: list[torch.UntypedStorage] = []

    def name(self, tensors: Iterable[Tensor | None], kind: str) -> None:
        """Count these under `kind`; their memory is held, so that it belongs to nothing else meanwhile."""
        for tensor in tensors:
            if tensor is not None:
                self._kinds[_place(tensor)] = kind
                self._held.append(tensor.untyped_storage())  # not the tensor: a gradient in use would be copied

    def bytes(self, *kinds: str, convolutions: bool = True) -> int:
        """Bytes of these kinds (none: of all), with or without those of convolutions."""
        return sum(
            count for (kind, convolves), count in self.moved.items()
            if (not kinds or kind in kinds) and (convolutions or not convolves)
        )  # fmt: skip

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run the kernel and count what it touched."""
        result = super().run(func, args, kwargs)
        if func.is_view or func in _UNTOUCHED:
            return result
        convolves, read = func in _CONVOLUTIONS, set()
        for argument, tensors in _arguments(func, args, kwargs):
            written = argument.alias_info is not None and argument.alias_info.is_write
            reads = not (written and func in _ONLY_WRITTEN)
            if argument.name == "grads":  # a fused optimiser's, overwritten only where they are scaled
                written = kwargs.get("grad_scale") is not None
            for tensor in tensors:
                read.add(_place(tensor))
                self._count(tensor, written + reads, convolves)
        made = [tensor for tensor in _tensors(result) if _place(tensor) not in read]
        if func is aten.convolution_backward.default:
            self.name(result[1:], GRADIENTS)
        if func is aten._to_copy.default:  # weights and gradients in another precision
            kind = self._kinds.get(_place(args[0]))
            if kind:
                self.name(made, kind)
        for tensor in made:
            self._count(tensor, 1, convolves)
        return result

    def _count(self, tensor: Tensor, times: int, convolves: bool) -> None:
        size = min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())  # expanded: its storage
        self.moved[self._kinds.get(_place(tensor), ACTIVATIONS), convolves] += times * size


@dataclass(frozen=True)
class Rates:
    """What a machine reaches.

    Attributes:
        flops: floating-point operations per second.
        memory: bytes per second, read and written together, of tensors larger than the caches.
        caches: the same of tensors that fit in them.
    """

    flops: float
    memory: float
    caches: float


@dataclass(frozen=True)
class Bounds:
    """The least seconds that a computation could take.

    Attributes:
        arithmetic: its operations at the machine's rate.
        bytes: what its kernels move: weights, gradients and optimiser state through memory, activations in the caches.
        floor: its convolutions as they are alone, and what all other kernels move.
    """

    arithmetic: float
    bytes: float
    floor: float

    def tighter(self) -> str:
        """Which of operations and bytes takes longer."""
        return "operations" if self.arithmetic >= self.bytes else "bytes"


def bounds(flops: int, traffic: Traffic, rates: Rates, alone: float) -> Bounds:
    """Bounds of a computation.

    Args:
        flops: its operations.
        traffic: its bytes.
        rates: the machine's.
        alone: seconds of its convolutions alone.
    """

    def moving(convolutions: bool) -> float:
        through_memory = traffic.bytes(WEIGHTS, GRADIENTS, STATE, convolutions=convolutions)
        return through_memory / rates.memory + traffic.bytes(ACTIVATIONS, convolutions=convolutions) / rates.caches

    return Bounds(flops / rates.flops, moving(convolutions=True), alone + moving(convolutions=False))


def _arguments(func: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[tuple[Any, list[Tensor]]]:
    """A kernel's parameters with the tensors given for them."""
    for place, argument in enumerate(func._schema.arguments):
        given = args[place] if place < len(args) else kwargs.get(argument.name)
        yield argument, _tensors(given)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
