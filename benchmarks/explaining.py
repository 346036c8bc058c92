"""Maps of faces per second, as ratios to a plain forward pass in the same process.

    python benchmarks/explaining.py [--faces 128] [--size 64]

What bounds it: a map costs one forward pass and the backward pass of the layers behind the one that is explained.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from maskbench.config import TrainConfig
from maskbench.explain.cam import METHODS, attribution_maps, maps_by_method
from maskbench.models.execution import resolve_execution
from maskbench.models.registry import build_model

CHEAP = ("grad_cam", "grad_cam_pp", "layer_cam", "hires_cam", "eigen_cam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=128)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    execution = resolve_execution(TrainConfig(), options.size)
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    execution.place(model).eval()
    images = execution.arrange(torch.randn(options.faces, 3, options.size, options.size, device=execution.device))
    targets = torch.arange(options.faces, device=execution.device) % 3

    def forward() -> None:
        with torch.no_grad(), execution.autocast():
            for part in torch.split(images, 64):
                model(part)

    def maps(method: str, faces: int) -> Callable[[], object]:
        return lambda: attribution_maps(model, images[:faces], targets[:faces], method, execution=execution)

    cases: dict[str, tuple[Callable[[], object], int]] = {"forward pass": (forward, options.faces)}
    for name in METHODS:
        faces = options.faces if name in CHEAP else max(1, options.faces // (32 if name == "score_cam" else 4))
        cases[name] = (maps(name, faces), faces)
    cases["five weighings together"] = (
        lambda: maps_by_method(model, images, targets, CHEAP, execution=execution), options.faces,
    )  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for run, _ in cases.values():
        run()
    for _ in range(options.rounds):
        for name, (run, faces) in cases.items():
            started = time.perf_counter()
            run()
            rates[name].append(faces / (time.perf_counter() - started))
    plain = statistics.median(rates["forward pass"])
    print(f"{execution}, {torch.get_num_threads()} threads, {options.size} px")
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"{name:26} {rate:8.1f} faces/s   {plain / rate:7.2f} forward passes a face")


if __name__ == "__main__":
    main()
