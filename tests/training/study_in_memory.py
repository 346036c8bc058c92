"""A study of coloured squares, small enough to train in seconds; run as a script, it trains one arm.

Usage: python study_in_memory.py FOLDER EPOCHS
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from maskbench.config import ArmConfig, Config, make_config
from maskbench.training.fit import FitInputs, fit_arm

CLASSES = ("blue", "green", "red")
MANUAL = ArmConfig(name="manual-random", implementation="manual", initialisation="random")
TORCHVISION = ArmConfig(name="torchvision-random", implementation="torchvision", initialisation="random")


def inputs(faces: int = 60) -> FitInputs:
    """Noisy canvases tinted by class, every third one on another side."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, faces)
    canvases = rng.integers(0, 200, (faces, 3, 40, 40))
    canvases[np.arange(faces), 2 - targets] += 55
    split = pd.DataFrame(
        {
            "face_id": [f"f{i}" for i in range(faces)],
            "label": [CLASSES[t] for t in targets],
            "split": (["train"] * 4 + ["val", "test"]) * (faces // 6),
        }
    )
    return FitInputs(torch.from_numpy(canvases.astype(np.uint8)), split, CLASSES, {"maskbench": "test"})


def config(epochs: int = 2, **train: Any) -> Config:
    """32 px, batches of 8, a resume point after every epoch."""
    train = {"epochs": epochs, "batch_size": 8, "resume_seconds": 0, "gradient_interval": 3, **train}
    return make_config("smoke", {"faces": {"input_size": 32}, "train": train})


if __name__ == "__main__":
    fit_arm(inputs(), config(int(sys.argv[2])), MANUAL, 0, None, Path(sys.argv[1]), notify=print)
