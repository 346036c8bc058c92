"""Trainings side by side against one after another, on the same device: what the default of `--workers` rests on.

    python benchmarks/side_by_side.py [--data DIR] [--preset quick] [--counts 1 2 4] [--steps 12] [--rounds 3]

Each training is the real loop (`training.py`) of the preset in a process of its own, with its share of the
processor's threads; all begin together. On a GPU they share it. Printed: faces/s of all together, and the ratio to one
training with all threads, medians over rounds that take turns. One device: what several add, this does not tell.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from maskbench.config import Config
from maskbench.models.execution import resolve_execution
from maskbench.training.fit import FitInputs
from training import loop_rate, prepare

#: What the processes begin together by.
BARRIERS: list[Barrier] = []


def enter(barrier: Barrier, threads: int) -> None:
    """What a process is told at its start."""
    BARRIERS.append(barrier)
    torch.set_num_threads(threads)


def train(config: Config, inputs: FitInputs, steps: int) -> float:
    """Faces per second of one training, measured while the others train too."""
    loop_rate(config, inputs, 1, skip=1)  # what is made at first use
    BARRIERS[0].wait()
    return loop_rate(config, inputs, steps)


def rates(config: Config, inputs: FitInputs, counts: list[int], steps: int, rounds: int) -> dict[int, list[float]]:
    """Faces per second of so many trainings together, in every round."""
    threads, context = torch.get_num_threads(), multiprocessing.get_context("spawn")
    found: dict[int, list[float]] = {count: [] for count in counts}
    pools = {
        count: ProcessPoolExecutor(count, context, enter, (context.Barrier(count), max(1, threads // count)))
        for count in counts
    }
    for round_ in range(rounds):
        for count, pool in pools.items():
            work = [pool.submit(train, config, inputs, steps) for _ in range(count)]
            found[count].append(sum(one.result() for one in work))
        print(f"round {round_ + 1}: " + ", ".join(f"{count} {values[-1]:.1f}" for count, values in found.items()))
    for pool in pools.values():
        pool.shutdown()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, inputs, _, _ = prepare(options.data, Path(folder), options.preset)
    found = rates(config, inputs, options.counts, options.steps, options.rounds)
    execution = resolve_execution(config.train, config.faces.input_size)
    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads in all, {execution}")
    first = next(iter(found.values()))
    for count, values in found.items():
        ratios = [value / one for value, one in zip(values, first, strict=True)]
        print(
            f"{count} at a time: {statistics.median(values):7.1f} faces/s, {statistics.median(ratios):.2f} × the first"
        )


if __name__ == "__main__":
    main()
