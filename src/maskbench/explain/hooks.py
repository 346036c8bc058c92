"""Looking into a model without leaving a trace: hooks are owned and released, modes and gradients restored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and parameters without gradients; afterwards everything is as it was, after an error too.

    Args:
        model: its modules' modes and its parameters' `requires_grad` and `grad` are restored.
    """
    modes = {module: module.training for module in model.modules()}
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, wanted, gradient in parameters:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient


def named_layer(model: nn.Module, name: str) -> nn.Module:
    """A module by its dotted name.

    Raises:
        ValueError: there is none; names the layers one can choose.

    Example:
        >>> named_layer(nn.Sequential(nn.Flatten()), "0")
        Flatten(start_dim=1, end_dim=-1)
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not name or name not in modules:
        choices = ", ".join(key for key in modules if key and key.count(".") < 2)
        raise ValueError(f"layer {name!r}: {type(model).__name__} has {choices}")
    return modules[name]


def require_maps(model: nn.Module, name: str, images: Tensor) -> None:
    """Refuse a layer whose activations cannot be laid over a face.

    Args:
        model: left as it was.
        name: of the layer.
        images: float32 (B, 3, S, S); what is asked of the model to see what its layers give.

    Raises:
        ValueError: no such layer, it is used more than once or not at all in a forward pass, or it gives anything
            but (B, C, h, w); names layers that can be taken.
    """
    calls = _outputs(model, {name: named_layer(model, name)}, images)[name]
    if len(calls) == 1 and len(calls[0]) == 4:
        return
    candidates = {key: module for key, module in model.named_modules() if key and key.count(".") < 2}
    found = _outputs(model, candidates, images)
    choices = [key for key, shapes in found.items() if len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][2] > 1]
    shape = ", ".join(map(str, ("B", *calls[0][1:]))) if calls else ""
    reason = f"gives ({shape})" if len(calls) == 1 else "is used more than once, or not at all, in a forward pass"
    raise ValueError(f"layer {name!r} {reason}; maps need (B, C, h, w), once: {', '.join(choices) or 'no layer does'}")


def _outputs(model: nn.Module, layers: dict[str, nn.Module], images: Tensor) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of what layers give in one forward pass, a shape for each use; what is no tensor has none."""
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in layers}

    def keep(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            found[name].append(tuple(output.shape) if isinstance(output, Tensor) else ())

        return hook

    with ExitStack() as hooks, preserved(model), torch.no_grad():
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(keep(name)).remove)  # type: ignore[arg-type]
        model(images)
    return found


@contextmanager
def record_activations(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of layers at the latest forward pass.

    Args:
        model: any.
        names: of its layers.

    Yields:
        Name -> float32 output, detached; filled by every forward pass.

    Raises:
        ValueError: no such layer.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            # A copy: a ReLU that works in place would change it afterwards.
            found[name] = output.detach().float().clone()

        return hook

    with ExitStack() as hooks:
        for name in names:
            handle = named_layer(model, name).register_forward_hook(keep(name))  # type: ignore[arg-type]
            hooks.callback(handle.remove)
        yield found
