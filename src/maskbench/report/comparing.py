"""Which figures the comparison of arms has, drawn from the tables of its stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskbench import schemas
from maskbench.report.drawing import Drawing
from maskbench.report.figures.calibration import calibration_figures
from maskbench.report.figures.comparison import comparison_figures
from maskbench.report.figures.convergence import convergence_figures
from maskbench.schemas import read_table
from maskbench.schemas.calibration import CALIBRATION_POOLED, RELIABILITY_POOLED
from maskbench.schemas.comparison import COMPARISON_TABLES
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
    runs = [results / "train" / arm / f"seed{seed}" for seed in seeds for arm in arms]
    epochs = schemas.concat_tables([read_table(run / "epochs", schemas.EPOCHS) for run in runs])
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
    drawn = prediction_drawings(folder, classes, arms)
    return drawn | {"convergence": convergence_figures(epochs, arms=arms, **convergence)}


def prediction_drawings(folder: Path, classes: Sequence[str], arms: Sequence[str]) -> dict[str, list[Drawing]]:
    """Those that need predictions alone.

    Args:
        folder: of the comparison's tables.
        classes: class order.
        arms: in order.
    """
    names = ("seeds", "summary", "differences")
    compared = {name: read_table(folder / name, COMPARISON_TABLES[name]) for name in names}
    reliability = read_table(folder / "reliability", RELIABILITY_POOLED)
    calibration = read_table(folder / "calibration", CALIBRATION_POOLED)
    return {
        "comparison": comparison_figures(**compared, classes=classes, arms=arms),
        "calibration": calibration_figures(reliability, calibration, classes, arms),
    }
