"""The comparison of ten runs, part by part and end to end, against its budget of 60 s on two cores.

    python benchmarks/comparison.py

End to end is what `maskbench compare results/NAME` does: read a study of ten generated runs, both questions with all
properties, convergence, calibration, every figure, the report.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from generated import ARMS, CLASSES, FACES, SEEDS, predictions_of_all, properties_of, write_study
from maskbench.comparison.arms import compare_arms
from maskbench.comparison.factors import explain_errors
from maskbench.config import CompareConfig, Config
from maskbench.rundir import RunDir
from maskbench.stages.combine import compare_sources
from maskbench.stages.compare import compare_predictions, convergence_tables

BUDGET = 60.0


def main() -> None:
    """Measure and print seconds, and their share of the budget."""
    predictions, config = predictions_of_all(), CompareConfig()
    properties, training = properties_of(predictions)
    by_run = {int(str(seed)): part.drop(columns="seed") for seed, part in training.groupby("seed")}
    with tempfile.TemporaryDirectory() as place:
        study, out = Path(place) / "results" / "study", Path(place)
        write_study(study)
        trainings = [(study / "train" / arm / f"seed{seed}", arm) for arm in ARMS for seed in SEEDS]
        folders = RunDir(out / "results" / "comparison", out / "plots" / "comparison")
        cases: dict[str, Callable[[], object]] = {
            "arms and tests": lambda: compare_arms(predictions, CLASSES, resamples=config.resamples),
            "arms, tests, calibration": lambda: compare_predictions(predictions, CLASSES, config, 0),
            "convergence": lambda: convergence_tables(trainings),
            "factors, every property": lambda: explain_errors(predictions, properties, by_run),
            "end to end, figures and report": lambda: compare_sources([study], folders, Config(), lambda text: None),
        }
        print(f"{len(trainings)} runs with {FACES} test faces each; bound: {BUDGET:.0f} s end to end on two cores")
        for name, work in cases.items():
            started = time.perf_counter()
            work()
            taken = time.perf_counter() - started
            print(f"{name:32} {taken:6.1f} s   {taken / BUDGET:5.0%} of the bound")


if __name__ == "__main__":
    main()
