"""Fine-tuning regimes: which depth groups learn when, and how fast."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from maskbench.config import TrainConfig
from maskbench.models.registry import depth_groups


def trainable_groups(groups: Sequence[str], config: TrainConfig, epoch: int) -> frozenset[str]:
    """Depth groups that learn in `epoch`.

    Args:
        groups: names from the input to the head.
        config: `regime`, `unfreeze_every`.
        epoch: 0-based.

    Returns:
        All groups (`full`, `discriminative`), the head alone (`frozen`), or the head and one more
        group from the top every `unfreeze_every` epochs (`gradual`).

    Source:
        Gradual unfreezing: Howard & Ruder, Universal Language Model Fine-tuning, ACL 2018, section 3.3.
    """
    if config.regime == "frozen":
        return frozenset(groups[-1:])
    if config.regime == "gradual":
        return frozenset(groups[-(1 + epoch // config.unfreeze_every) :])
    return frozenset(groups)


def rate_scales(groups: Sequence[str], config: TrainConfig) -> dict[str, float]:
    """Learning-rate factor of each depth group: 1, or `layer_decay` per group from the head down.

    Source:
        Discriminative fine-tuning: Howard & Ruder 2018, section 3.1.
    """
    if config.regime != "discriminative":
        return dict.fromkeys(groups, 1.0)
    return {name: config.layer_decay**distance for distance, name in enumerate(reversed(groups))}


def apply_regime(model: nn.Module, config: TrainConfig, epoch: int) -> None:
    """Freeze and unfreeze for `epoch`; frozen modules also keep their batch-norm statistics.

    A function of the epoch alone, so a resumed run has the same parameters learning.
    """
    groups = depth_groups(model)
    learning = trainable_groups(list(groups), config, epoch)
    trainable = {name for group in learning for name in groups[group]}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    for name, child in model.named_children():
        frozen = [f"{name}.{own}" not in trainable for own, _ in child.named_parameters()]
        child.train(not frozen or not all(frozen))
