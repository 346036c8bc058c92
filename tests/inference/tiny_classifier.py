"""A small untrained classifier as a checkpoint, alone or in a run on disk, without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from maskbench import schemas
from maskbench.config import make_config
from maskbench.models.registry import build_model
from maskbench.schemas import write_table
from maskbench.stages import jobs
from maskbench.storage import write_yaml
from maskbench.training.checkpoint import save_checkpoint
from tests.conftest import faces_table

CLASSES = ("blue", "green", "red")
SIZE, CANVAS = 32, 40
ARM = "tiny-random"


def record(mirror: bool = True, **changed: Any) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {
        "arm": ARM, "implementation": "tiny", "seed": 0, "split_id": 0, "classes": list(CLASSES),
        "preprocess": {
            "input_size": SIZE, "margin": 0.25, "mean": [0.4, 0.5, 0.3], "std": [0.2, 0.25, 0.3], "colour": "RGB",
        },
        "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
        "evaluate": {"flip_average": mirror, "batch_size": 16},
        "weights": {"name": "", "source": "none"}, **changed,
    }  # fmt: skip


def model() -> nn.Module:
    """Random weights and, as after training, norms that are no identity and answers that differ."""
    built, _ = build_model("tiny", len(CLASSES), seed=0, loaded=None)
    draw = torch.Generator().manual_seed(1)
    for layer in built.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features, generator=draw) * 0.2
            layer.running_var = torch.rand(layer.num_features, generator=draw) + 0.5
    nn.init.normal_(built.fc.weight, std=0.5, generator=draw)  # type: ignore[union-attr, arg-type]
    return built.eval()


def canvases(count: int = 48) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Noisy canvases tinted by class, uint8 (N, 3, 40, 40), and their classes."""
    rng = np.random.default_rng(0)
    targets = np.arange(count) % len(CLASSES)
    pixels = rng.integers(0, 170, (count, 3, CANVAS, CANVAS))
    pixels[np.arange(count), 2 - targets] += 85
    return torch.from_numpy(pixels.astype(np.uint8)), targets


def views(count: int) -> NDArray[np.uint8]:
    """The first faces as an exported classifier takes them: uint8 (N, 32, 32, 3)."""
    border = (CANVAS - SIZE) // 2
    inside = canvases()[0][:count, :, border : border + SIZE, border : border + SIZE]
    return np.ascontiguousarray(inside.permute(0, 2, 3, 1).numpy())


def save_classifier(path: Path, **changed: Any) -> Path:
    """The classifier as a checkpoint's file."""
    save_checkpoint(path, model(), record(**changed))
    return path


def save_run(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A run with 24 training, 12 validation and 12 test faces; returns its checkpoint. Faces come from memory."""
    pixels, targets = canvases()
    count = len(pixels)
    faces = faces_table([CLASSES[target] for target in targets], [f"p{number // 2:02d}" for number in range(count)])
    sides = np.repeat(["train", "train", "val", "test"], count // 4)
    split = pd.DataFrame(
        {
            "split_id": 0, "face_id": faces["face_id"], "image_id": faces["image_id"], "group": np.arange(count) // 2,
            "label": faces["label"], "split": sides, "strategy": "grouped", "seed": 0,
        }
    )  # fmt: skip
    write_table(folder / "audit" / "faces.parquet", faces, schemas.FACES)
    write_table(folder / "split" / "split.parquet", split, schemas.SPLIT)
    arms = [{"name": ARM, "implementation": "manual", "initialisation": "random"}]
    config = make_config("smoke", {"name": folder.name, "arms": arms})
    write_yaml(folder / "config.yaml", config.model_dump(mode="json"))
    patch.setattr(jobs, "study_canvases", lambda context: pixels)
    checkpoint = save_classifier(folder / "train" / ARM / "seed0" / "best.safetensors")
    (checkpoint.parent / "fit.json").write_text("{}")
    return checkpoint
