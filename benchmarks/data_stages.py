"""Audit and EDA of a dataset as a multiple of decoding its photographs once, in one process.

    python benchmarks/data_stages.py [--data DIR] [--rounds 5] [--workers N]

The reference decodes every photograph to 8-bit RGB (`decode_rgb`) and drops it, with the same threads. Against it: the
audit and the EDA's tables; the same with the faces kept for training and every table written; and the audit as it is
without keeping, followed by a second pass that cuts the faces. Rounds take turns. Figures (drawing) are not counted.
What bounds it: inflating and unfiltering the PNG files, which is all of the reference.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench.audit.scan import AuditResult, scan_dataset
from maskbench.audit.summary import write_audit
from maskbench.config import Config, make_config
from maskbench.data.crops import CropKeeper, cached_faces, cut_faces
from maskbench.data.images import decode_rgb
from maskbench.data.sources import locate_dataset
from maskbench.eda.compute import compute_eda, write_eda
from maskbench.rundir import cache_folder
from maskbench.steps import in_order


class Opened:
    """How often each photograph is opened, as Python's audit hook tells."""

    def __init__(self, folder: Path) -> None:
        self.prefix, self.counts = str(folder) + os.sep, Counter[str]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(self.prefix):
            self.counts[str(arguments[0])] += 1

    def during(self, call: Callable[[], object]) -> str:
        """Least and most opens of a photograph while `call` runs."""
        self.counts.clear()
        call()
        return f"{min(self.counts.values())} to {max(self.counts.values())}"


class Variants:
    """What is compared: each does the whole dataset once."""

    def __init__(self, root: Path, config: Config, workers: int, folder: Path) -> None:
        self.root, self.config, self.workers, self.folder = root, config, workers, folder
        self.files = sorted((root / "images").iterdir())

    def decode(self) -> None:
        """The reference."""
        limit = self.config.audit.max_pixels
        for _ in in_order(lambda path: decode_rgb(path, limit), self.files, self.workers):
            pass

    def audit(self, *keepers: CropKeeper) -> AuditResult:
        """The audit's tables."""
        data = self.config.data
        return scan_dataset(
            self.root, self.config.audit, data.label_map, data.classes, workers=self.workers, keepers=keepers
        )

    def eda(self, found: AuditResult) -> dict[str, pd.DataFrame]:
        """The EDA's tables."""
        return compute_eda(found.images, found.faces, sorted(found.faces["label"].unique()), self.config.eda, 0)

    def tables(self) -> None:
        """Audit and EDA."""
        self.eda(self.audit())

    def stages(self) -> None:
        """The same as the stages do it: faces kept, tables written, faces read back."""
        margin = self.config.faces.margin
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            with CropKeeper(Path(name), margin) as crops:
                found = self.audit(crops)
                crops.keep(found.images, found.faces)
            write_audit(found, Path(name) / "audit")
            write_eda(self.eda(found), Path(name) / "eda")
            limit = self.config.audit.max_pixels
            cached_faces(Path(name), self.root, found.images, found.faces, margin, max_pixels=limit).pixels.sum()

    def two_passes(self) -> None:
        """Audit and EDA, and the faces cut by decoding again."""
        found = self.audit()
        self.eda(found)
        cut_faces(
            self.root, found.images, found.faces, self.config.faces.margin,
            max_pixels=self.config.audit.max_pixels, workers=self.workers,
        )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="sample, kaggle, or a folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    options = parser.parse_args()
    root = locate_dataset(options.data, sample_params={}, cache=cache_folder(), notify=print)
    with tempfile.TemporaryDirectory() as folder:
        variants = Variants(root, make_config("quick"), options.workers, Path(folder))
        timed = {
            "decoding once": variants.decode,
            "audit + EDA": variants.tables,
            "with faces kept, all written": variants.stages,
            "with faces in a second pass": variants.two_passes,
        }
        opened = Opened(root / "images")
        opens = {name: opened.during(call) for name, call in timed.items()}  # warms up, too
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
        for _ in range(options.rounds):
            for name, call in timed.items():
                wall, cpu = time.perf_counter(), time.process_time()
                call()
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    show(times, opens, len(variants.files), options.workers)


def show(times: dict[str, list[tuple[float, float]]], opens: dict[str, str], photographs: int, workers: int) -> None:
    """Medians over the rounds; ratios are taken inside each."""
    print(f"{photographs} photographs, {workers} threads, medians of {len(times['decoding once'])} rounds")
    print(f"{'':30}{'s':>7} {'÷ decoding':>11} {'rounds':>14} {'CPU s':>7} {'÷ decoding':>11}   opens of each file")
    for name, found in times.items():
        ratios, cpu = (
            [mine[kind] / base[kind] for mine, base in zip(found, times["decoding once"], strict=True)]
            for kind in (0, 1)
        )
        wall, seconds = (statistics.median(value[kind] for value in found) for kind in (0, 1))
        print(
            f"{name:30}{wall:7.2f} {statistics.median(ratios):11.2f} {min(ratios):6.2f} to {max(ratios):4.2f} "
            f"{seconds:7.2f} {statistics.median(cpu):11.2f}   {opens[name]}"
        )


if __name__ == "__main__":
    main()
