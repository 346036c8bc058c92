"""Photographs of coloured squares and a small backbone: a detector is trained in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from maskbench.config import ArmConfig, Config, make_config
from maskbench.data.photographs import Photographs
from maskbench.models import registry
from maskbench.training.fit_detector import DetectorInputs

CLASSES = ("green", "red")
ARM = ArmConfig(name="tiny", implementation="tiny", initialisation="random")


def tiny(num_classes: int) -> nn.Module:
    """A ResNet of one block a stage: what is tested of training does not need thirty-four layers."""
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)


@pytest.fixture(scope="module", autouse=True)
def tiny_backbone() -> Iterator[None]:
    """`tiny` is known as an implementation to the module that imports this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.IMPLEMENTATIONS, "tiny", tiny)
        yield


def photographs(count: int = 4, side: int = 96) -> Photographs:
    """Squares of 16 to 30 px in two colours on noise, two in each photograph but the last, which is empty."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 130, (count, side, side, 3)).astype(np.uint8)
    boxes, labels = [], []
    for number in range(count):
        own = []
        for place in range(2 if number < count - 1 else 0):
            size = int(rng.integers(16, 31))
            x = int(rng.integers(2, 46 - size)) + 48 * place
            y = int(rng.integers(2, side - size - 2))
            pixels[number, y : y + size, x : x + size] = (220, 40, 40) if place else (40, 220, 40)
            own.append([x, y, x + size, y + size])
        boxes.append(np.array(own, dtype=np.float32).reshape(-1, 4))
        labels.append(np.arange(len(own)))
    return Photographs(
        tuple(f"p{k}" for k in range(count)), pixels.reshape(-1), np.arange(count + 1) * side * side * 3,
        np.full((count, 2), side), np.ones(count), tuple(boxes), tuple(labels),
    )  # fmt: skip


def inputs(count: int = 4, repeats: int = 1) -> DetectorInputs:
    """The same photographs to train on, `repeats` times an epoch, and to validate on."""
    rows = np.arange(count)
    return DetectorInputs(photographs(count), np.tile(rows, repeats), rows, CLASSES, {"maskbench": "test"})


def config(epochs: int, **detect: Any) -> Config:
    """96 px, batches of 4, a resume point after every epoch."""
    settings: dict[str, Any] = {
        "epochs": epochs, "batch_size": 4, "channels": 64, "convolutions": 1, "input_size": 96, "crop_sizes": [96],
        "learning_rate": 5e-4, "resume_seconds": 0, "validate_every": 1, **detect,
    }  # fmt: skip
    return make_config("smoke", {"detect": settings})
