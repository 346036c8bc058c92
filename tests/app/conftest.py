"""A service of two tiny arms: a detector of bright squares, and classifiers of one block a stage."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from maskbench.app.models import Arm, Classifier
from maskbench.app.service import Service
from tests.inference.test_detections import BrightSquares, square
from tests.training.detector_in_memory import tiny

CLASSES = ["dark", "light"]
MAX_BYTES = 256 * 1024


def record(arm: str, **changes: Any) -> dict[str, Any]:
    """Of a classifier's checkpoint."""
    return {
        "arm": arm, "implementation": "tiny", "classes": CLASSES,
        "preprocess": {"input_size": 32, "margin": 0.25, "mean": [0.5] * 3, "std": [0.25] * 3},
        "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
        "evaluate": {"flip_average": True, "batch_size": 8}, **changes,
    }  # fmt: skip


def classifier(arm: str, seed: int) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(tiny(2).eval(), record(arm))


def content(pixels: NDArray[np.uint8], form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def arms() -> list[Arm]:
    return [Arm(name, BrightSquares(), classifier(name, seed)) for seed, name in enumerate(("hand", "bought"))]


@pytest.fixture
def service(arms: list[Arm]) -> Service:
    return Service(arms, max_bytes=MAX_BYTES)


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """60 × 40 px with a bright square of 30 px at (5, 10): the detector is 0.9 sure of it."""
    return content(square(30))
