"""Which figures the comparison of arms has, drawn from the tables of its stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from maskbench.comparison.factors import FactorTables
from maskbench.report.drawing import Drawing
from maskbench.report.figures.calibration import calibration_figures
from maskbench.report.figures.comparison import comparison_figures
from maskbench.report.figures.convergence import convergence_figures
from maskbench.report.figures.efficiency import fig_learning_curves, fig_regimes
from maskbench.report.figures.factors import factor_figures
from maskbench.report.figures.interventions import fig_intervention_curves, fig_intervention_ranking
from maskbench.report.figures.variants import variant_figures
from maskbench.report.question1 import read_label_worth
from maskbench.report.question2 import DATA_EXPERIMENTS
from maskbench.schemas import read_table
from maskbench.schemas.calibration import CALIBRATION_POOLED, RELIABILITY_POOLED
from maskbench.schemas.comparison import COMPARISON_TABLES
from maskbench.schemas.convergence import (
    BEST_EPOCHS,
    CONVERGENCE,
    EPOCH_TIMES,
    GRADIENT_FLOW,
    GRADIENT_RATIO,
    LEARNING_CURVES,
    LOSS_AUTOCORRELATION,
    REGIMES,
)
from maskbench.schemas.experiments import VARIANT_SUMMARY
from maskbench.schemas.factors import FACTOR_TABLES
from maskbench.schemas.interventions import INTERVENTION_CURVES, INTERVENTION_RANKING


def comparison_drawings(
    folder: Path, epochs: pd.DataFrame | None, classes: Sequence[str], arms: Sequence[str]
) -> dict[str, list[Drawing]]:
    """Figures by section of the report.

    Args:
        folder: of the comparison's tables.
        epochs: `schemas.EPOCHS` of the trainings behind them; None where they are not known.
        classes: class order.
        arms: in order.
    """
    drawn = _prediction_drawings(folder, classes, arms)
    if epochs is not None:
        trained = [arm for arm in arms if (epochs["arm"] == arm).any()]
        drawn["convergence"] = _convergence_drawings(folder, epochs, trained)
    return drawn


def _convergence_drawings(folder: Path, epochs: pd.DataFrame, arms: Sequence[str]) -> list[Drawing]:
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
    return convergence_figures(epochs, arms=arms, **convergence)


def _prediction_drawings(folder: Path, classes: Sequence[str], arms: Sequence[str]) -> dict[str, list[Drawing]]:
    names = ("seeds", "summary", "differences")
    compared = {name: read_table(folder / name, COMPARISON_TABLES[name]) for name in names}
    reliability = read_table(folder / "reliability", RELIABILITY_POOLED)
    calibration = read_table(folder / "calibration", CALIBRATION_POOLED)
    return {
        "comparison": comparison_figures(**compared, classes=classes, arms=arms),
        "calibration": calibration_figures(reliability, calibration, classes, arms),
    }


def experiment_drawings(results: Path, arms: Sequence[str]) -> dict[str, list[Drawing]]:
    """Figures of the errors' factors, of interventions and of variants of the study, where there are any.

    Args:
        results: `results/NAME`.
        arms: the study's arms, in order.
    """
    folder, found = results / "experiments", dict[str, list[Drawing]]()
    if (folder / "summary.parquet").is_file():
        summary = read_table(folder / "summary", VARIANT_SUMMARY)
        found["label experiments"] = _label_drawings(folder, arms)
        found["data experiments"] = variant_figures(summary, arms, DATA_EXPERIMENTS)
    if (results / "factors" / "ranking.parquet").is_file():
        tables = {name: read_table(results / "factors" / name, schema) for name, schema in FACTOR_TABLES.items()}
        found["factors"] = factor_figures(FactorTables(**tables), arms)
    if (results / "intervene" / "curves.parquet").is_file():
        curves = read_table(results / "intervene" / "curves", INTERVENTION_CURVES)
        ranking = read_table(results / "intervene" / "ranking", INTERVENTION_RANKING)
        found["interventions"] = [
            fig_intervention_curves(curves, arms),
            fig_intervention_ranking(ranking[ranking["metric"] == "f1_macro"], arms),
        ]
    return found


def _label_drawings(folder: Path, arms: Sequence[str]) -> list[Drawing]:
    """What labels are worth, and what fine-tuning regimes do, where it was tried."""
    drawn = []
    if (folder / "learning_curves.parquet").is_file():
        curves = read_table(folder / "learning_curves", LEARNING_CURVES)
        drawn.append(fig_learning_curves(curves, read_label_worth(folder), arms))
    if (folder / "regimes.parquet").is_file():
        drawn.append(fig_regimes(read_table(folder / "regimes", REGIMES), arms))
    return drawn
