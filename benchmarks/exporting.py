"""Faces per second of one classifier in every format, as ratios to PyTorch eager float32 in the same process.

    python benchmarks/exporting.py CHECKPOINT [--data FOLDER] [--rounds 7] [--threads 0] [--json FILE]

The same as `maskbench export CHECKPOINT --benchmark`. From cut faces in memory to probabilities: scaling,
normalisation, the face and its mirror image, softmax.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from maskbench.stages.export_benchmark import benchmark, rows_of, shown
from maskbench.storage import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="a dataset, if the checkpoint lies in no run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = benchmark(
        options.checkpoint, options.data, print, lambda title: None, rounds=options.rounds, threads=options.threads
    )
    print(shown(table))
    if options.json:
        write_json(options.json, rows_of(table))


if __name__ == "__main__":
    main()
