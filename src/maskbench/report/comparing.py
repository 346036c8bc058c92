"""Which figures the comparison of arms has, drawn from the tables of its stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskbench import schemas
from maskbench.report.drawing import Drawing
from maskbench.report.figures.calibration import calibration_figures
from maskbench.report.figures.convergence import convergence_figures
from maskbench.schemas import read_table
from maskbench.schemas.calibration import CALIBRATION_POOLED, RELIABILITY_POOLED
from maskbench.schemas.convergence import (
    BEST_EPOCHS,
    CONVERGENCE,
    EPOCH_TIMES,
    GRADIENT_FLOW,
    GRADIENT_RATIO,
    LOSS_AUTOCORRELATION,
)


def comparison_drawings(
    folder: Path, results: Path, classes: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[Drawing]]:
    """Figures by section of the report.

    Args:
        folder: of the compare stage.
        results: the run's results, for the trainings' epochs.
        classes: class order.
        arms: the study's arms, in order.
        seeds: numbers of the runs.
    """
    epochs = schemas.concat_tables(
        [
            read_table(results / "train" / arm / f"seed{seed}" / "epochs", schemas.EPOCHS)
            for seed in seeds
            for arm in arms
        ]
    )
    convergence = {
        name: read_table(folder / file, schema)
        for name, (file, schema) in {
            "times": ("epoch_times", EPOCH_TIMES),
            "convergence": ("convergence", CONVERGENCE),
            "best_epochs": ("best_epochs", BEST_EPOCHS),
            "autocorrelation": ("loss_autocorrelation", LOSS_AUTOCORRELATION),
            "flow": ("gradient_flow", GRADIENT_FLOW),
            "ratio": ("gradient_ratio", GRADIENT_RATIO),
        }.items()
    }
    reliability = read_table(folder / "reliability", RELIABILITY_POOLED)
    calibration = read_table(folder / "calibration", CALIBRATION_POOLED)
    return {
        "convergence": convergence_figures(epochs, arms=arms, **convergence),
        "calibration": calibration_figures(reliability, calibration, classes, arms),
    }
