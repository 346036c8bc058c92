"""Seconds per face of `maskbench explain CHECKPOINT IMAGE` with Grad-CAM on the CPU, as a user waits for it.

    python benchmarks/explain_command.py [--size 64] [--boxes 10] [--rounds 3]

Whole processes of the command line: start, imports, checkpoint, one map, overlay, files. A process with one face bounds
what a person waits for; the difference to one with many faces in the same photograph is what a further face costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from maskbench.models.registry import build_model
from maskbench.training.checkpoint import save_checkpoint

#: Seconds per face that issue 4 allows.
BOUND = 2.0
SIDE = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="side of the face as the model sees it, px")
    parser.add_argument("--boxes", type=int, default=10, help="faces of the photograph with many")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint, photograph = write_checkpoint(folder / "best.safetensors", options.size), folder / "photo.png"
        pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photograph)
        one, many = [], []
        for _ in range(options.rounds):
            one.append(seconds(checkpoint, photograph, 1, folder))
            many.append(seconds(checkpoint, photograph, options.boxes, folder))
    first, further = statistics.median(one), (statistics.median(many) - statistics.median(one)) / (options.boxes - 1)
    print(f"maskbench explain, Grad-CAM, ResNet34 at {options.size} px, CPU; bound: {BOUND:g} s per face")
    print(f"{'whole command, one face':40} {first:6.2f} s")
    print(f"{'each further face':40} {further:6.2f} s   {further / BOUND:5.0%} of the bound")
    each = statistics.median(many) / options.boxes
    print(f"{f'whole command, {options.boxes} faces, per face':40} {each:6.2f} s   {each / BOUND:5.0%} of the bound")


def write_checkpoint(path: Path, size: int) -> Path:
    """A checkpoint of the hand-built model as it starts."""
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    record = {
        "arm": "hand", "implementation": "manual", "classes": ["incorrect", "with", "without"],
        "preprocess": {"input_size": size, "margin": 0.25, "mean": [0.5] * 3, "std": [0.25] * 3},
        "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
        "evaluate": {"flip_average": True, "batch_size": 64},
    }  # fmt: skip
    save_checkpoint(path, model, record)
    return path


def seconds(checkpoint: Path, photograph: Path, faces: int, folder: Path) -> float:
    """Wall time of one process that explains this many faces of the photograph."""
    boxes = [f"--box={20 + 40 * k},20,{20 + 40 * k + SIDE},{20 + SIDE}" for k in range(faces)]
    command = [sys.executable, "-c", "from maskbench.cli import main; main()", "explain", str(checkpoint)]
    started = time.perf_counter()
    subprocess.run(
        [*command, str(photograph), *boxes, "--out", str(folder / "out")],
        check=True, capture_output=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
