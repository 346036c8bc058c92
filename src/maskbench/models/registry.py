"""Models by name, built the same way for every arm. A new model is one builder in `IMPLEMENTATIONS`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from maskbench.models.pretrained import RANDOM, LoadedWeights, WeightsRecord, load_into
from maskbench.models.resnet34 import ResNet34, zero_residual_gains
from maskbench.seeding import derive_seed, generator

#: Standard deviation of the new head's weights: small, so that a new task starts near equal probabilities.
HEAD_STD = 0.01

#: Parameter-name prefixes of each depth, from the input to the head.
DEPTHS: dict[str, tuple[str, ...]] = {
    "stem": ("conv1.", "bn1."),
    "layer1": ("layer1.",),
    "layer2": ("layer2.",),
    "layer3": ("layer3.",),
    "layer4": ("layer4.",),
    "head": ("fc.",),
}


def _torchvision(num_classes: int) -> nn.Module:
    from torchvision.models import resnet34

    model: nn.Module = resnet34(weights=None, num_classes=num_classes)
    return model


#: Number of classes -> randomly initialised model with its last layer in `fc`; draws from torch's global generator.
IMPLEMENTATIONS: dict[str, Callable[[int], nn.Module]] = {
    "manual": ResNet34,
    "torchvision": _torchvision,
}

#: Those whose passes are the same kernels every time, so that they can be recorded on a GPU and replayed. A new model
#: is trained kernel by kernel; it may be added here if nothing in it depends on data, waits for the GPU or is random,
#: every parameter has a gradient in every step, and nobody hooks into its layers.
REPLAYABLE = frozenset({"manual", "torchvision"})


def build_model(
    implementation: str,
    num_classes: int,
    *,
    seed: int,
    loaded: LoadedWeights | None,
    zero_init_residual: bool = False,
) -> tuple[nn.Module, WeightsRecord]:
    """A model, on the CPU, that follows from its arguments alone.

    The head is drawn from a generator of its own, so it is bit-identical in all arms of a seed;
    torch's global generator is left as it was.

    Args:
        implementation: a key of `IMPLEMENTATIONS`.
        num_classes: K.
        seed: of the random initialisation.
        loaded: pretrained weights for all but the head; None for a random start.
        zero_init_residual: begin every residual block as its shortcut. Loaded weights replace it.

    Returns:
        The model, and the record of what it starts from.

    Raises:
        ValueError: unknown implementation, or one without residual blocks for `zero_init_residual`.
        WeightsError: `loaded` does not fit.

    Example:
        >>> model, record = build_model("manual", 3, seed=0, loaded=None)
        >>> model(torch.zeros(2, 3, 32, 32)).shape, record.source
        (torch.Size([2, 3]), 'none')
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"unknown implementation {implementation!r}; known are {', '.join(sorted(IMPLEMENTATIONS))}")
    # Only the CPU's generator is seeded: torch.manual_seed would also seed the GPU's, which is not restored here.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "backbone"))
        model = IMPLEMENTATIONS[implementation](num_classes)
    if zero_init_residual:
        zero_residual_gains(model)
    head = head_of(model)
    nn.init.normal_(head.weight, std=HEAD_STD, generator=generator(seed, "head"))
    nn.init.zeros_(head.bias)
    return model, RANDOM if loaded is None else load_into(model, loaded)


def head_of(model: nn.Module) -> nn.Linear:
    """The last layer, `fc`.

    Raises:
        TypeError: `model` has no linear layer of this name.
    """
    head = getattr(model, "fc", None)
    if not isinstance(head, nn.Linear):
        raise TypeError(f"{type(model).__name__} has no linear layer fc")
    return head


def depth_groups(model: nn.Module) -> dict[str, list[str]]:
    """Parameter names by depth: stem, layer1 … layer4, head.

    Args:
        model: with parameters named as in `DEPTHS`.

    Returns:
        Groups from the input to the head, names in the model's order; groups without parameters
        are left out. Every parameter is in exactly one.

    Raises:
        ValueError: parameters belong to no group; names them.
    """
    groups: dict[str, list[str]] = {group: [] for group in DEPTHS}
    strays = []
    for name, _ in model.named_parameters():
        homes = [group for group, prefixes in DEPTHS.items() if name.startswith(prefixes)]
        if len(homes) == 1:
            groups[homes[0]].append(name)
        else:
            strays.append(name)
    if strays:
        raise ValueError(f"{type(model).__name__}: not in exactly one of {', '.join(DEPTHS)}: {', '.join(strays[:4])}")
    return {group: names for group, names in groups.items() if names}
