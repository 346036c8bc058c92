"""Precision and memory layout of the training step by input size: what `auto` chooses rests on this.

Prints faces/s of the bare step (forward, backward, clipping, fused AdamW) on random tensors for each
combination, blocks alternating, medians over the rounds, and the ratio to float32 in NCHW.
Usage: python benchmarks/layouts.py [--sizes 64 80 96 112] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics

import torch

from bare import Step
from maskbench.config import TrainConfig
from maskbench.models.execution import Execution
from measuring import Clock

BATCH = 32
VARIANTS = [(precision, layout) for precision in ("fp32", "bf16") for layout in ("contiguous", "channels_last")]


def rate(execution: Execution, size: int, steps: int) -> float:
    """Faces per second of the bare step."""
    step, clock = Step(execution, size, TrainConfig(batch_size=BATCH)), Clock(execution.device)
    clock.seconds(step, 2)  # warms up
    return BATCH / clock.seconds(step, steps)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 80, 96, 112])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, batch {BATCH}, faces/s")
    print("size  " + "  ".join(f"{p} {layout:13s}" for p, layout in VARIANTS))
    for size in options.sizes:
        found: dict[tuple[str, str], list[float]] = {variant: [] for variant in VARIANTS}
        for _ in range(options.rounds):
            for precision, layout in VARIANTS:
                found[precision, layout].append(rate(Execution(device, precision, layout), size, 4))  # type: ignore[arg-type]
        medians = [statistics.median(values) for values in found.values()]
        print(f"{size:4d}  " + "  ".join(f"{m:8.1f} ({m / medians[0]:4.2f} ×)  " for m in medians))


if __name__ == "__main__":
    main()
