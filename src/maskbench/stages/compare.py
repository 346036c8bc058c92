"""The stage that compares: question 1 from saved predictions and training tables; no model is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.comparison.answer import comparison_answer, mcnemar_sentences
from maskbench.comparison.arms import compare_arms
from maskbench.comparison.convergence import (
    best_epochs_table,
    convergence_answer,
    convergence_differences,
    convergence_summary,
    convergence_table,
    epoch_times_table,
)
from maskbench.comparison.dynamics import (
    gradient_flow_table,
    gradient_ratio_table,
    loss_autocorrelation_table,
    loss_statistics_table,
)
from maskbench.config import CompareConfig
from maskbench.evaluation.calibration import calibration_table, reliability_table
from maskbench.evaluation.temperature import temperature_table
from maskbench.schemas import read_table, write_table
from maskbench.schemas.calibration import CALIBRATION_POOLED, RELIABILITY_POOLED, TEMPERATURES
from maskbench.schemas.comparison import COMPARISON_TABLES
from maskbench.schemas.convergence import (
    BEST_EPOCHS,
    CONVERGENCE,
    CONVERGENCE_DIFFERENCES,
    CONVERGENCE_SUMMARY,
    EPOCH_TIMES,
    GRADIENT_FLOW,
    GRADIENT_RATIO,
    LOSS_AUTOCORRELATION,
    LOSS_STATISTICS,
)
from maskbench.stages.context import Context
from maskbench.stages.training import make_jobs
from maskbench.steps import Progress, in_steps
from maskbench.storage import read_json, write_json

#: Tables of calibration, by file name.
CALIBRATION_TABLES = {
    "temperatures": TEMPERATURES,
    "calibration": CALIBRATION_POOLED,
    "reliability": RELIABILITY_POOLED,
}
#: Tables of convergence, by file name.
CONVERGENCE_TABLES = {
    "epoch_times": EPOCH_TIMES,
    "convergence": CONVERGENCE,
    "convergence_summary": CONVERGENCE_SUMMARY,
    "convergence_differences": CONVERGENCE_DIFFERENCES,
    "best_epochs": BEST_EPOCHS,
    "loss_statistics": LOSS_STATISTICS,
    "loss_autocorrelation": LOSS_AUTOCORRELATION,
    "gradient_flow": GRADIENT_FLOW,
    "gradient_ratio": GRADIENT_RATIO,
}
#: What a comparison leaves, by file name; those of convergence only where trainings were recorded.
TABLES = {**COMPARISON_TABLES, **CALIBRATION_TABLES, **CONVERGENCE_TABLES}
ANSWERS = "answers.json"
#: Where a training left its files, and the name of its arm in the comparison.
Training = tuple[Path, str]


def compare(context: Context) -> list[Path]:
    """Compare the arms over all their runs, and answer question 1."""
    predictions = context.table("evaluate", "predictions", schemas.PREDICTIONS)
    config, seed = context.config.compare, context.config.split.seed
    tables = compare_predictions(predictions, context.classes(), config, seed, context.progress)
    jobs = make_jobs(context, context.folders.stage("train"), context.config, None)
    tables |= convergence_tables([(job.folder, job.arm.name) for job in jobs])
    answer = {
        "comparison": comparison_answer(tables["differences"]),
        "decisions": mcnemar_sentences(tables["tests"], config.alpha),
        "convergence": convergence_sentences(tables, [arm.name for arm in context.config.arms]),
    }
    return write_tables(context.folders.stage("compare"), tables, answer)


def compare_predictions(
    predictions: pd.DataFrame,
    classes: tuple[str, ...],
    config: CompareConfig,
    seed: int,
    progress: Callable[[str], Progress | None] = lambda title: None,
) -> dict[str, pd.DataFrame]:
    """Tables of the comparison of arms and of their calibration.

    Args:
        predictions: `schemas.PREDICTIONS`; the first arm is the baseline.
        classes: class order.
        config: draws, level, bins.
        seed: of draws and swaps.
        progress: given a title, returns a callback for tables done and in all; None hides progress.
    """
    tables = compare_arms(
        predictions,
        classes,
        resamples=config.resamples,
        permutations=config.permutations,
        alpha=config.alpha,
        seed=seed,
        progress=progress("comparison"),
    )
    drawn: dict[str, Any] = {
        "seed": seed,
        "resamples": min(config.resamples, config.calibration_resamples),
        "confidence": 1 - config.alpha,
    }
    binned = drawn | {"pooled": True, "bins": config.bins}
    temperatures = temperature_table(predictions, classes, **drawn)
    calibration = in_steps(
        progress("calibration"),
        {
            "calibration": lambda: calibration_table(predictions, temperatures, classes, **binned),
            "reliability": lambda: reliability_table(predictions, temperatures, classes, **binned),
        },
    )
    return tables | {"temperatures": temperatures} | calibration


def convergence_tables(trainings: Sequence[Training]) -> dict[str, pd.DataFrame]:
    """How trainings went, from the tables they left."""
    epochs = read_trainings(trainings, "epochs", schemas.EPOCHS)
    steps = read_trainings(trainings, "steps", schemas.STEPS)
    gradients = read_trainings(trainings, "gradients", schemas.GRADIENTS)
    times = epoch_times_table(read_json(folder / "fit.json") | {"arm": arm} for folder, arm in trainings)
    table = convergence_table(epochs, times)
    return {
        "epoch_times": times,
        "convergence": table,
        "convergence_summary": convergence_summary(table),
        "convergence_differences": convergence_differences(table),
        "best_epochs": best_epochs_table(table),
        "loss_statistics": loss_statistics_table(steps),
        "loss_autocorrelation": loss_autocorrelation_table(steps),
        "gradient_flow": gradient_flow_table(gradients),
        "gradient_ratio": gradient_ratio_table(gradients),
    }


def read_trainings(trainings: Sequence[Training], name: str, schema: Any) -> pd.DataFrame:
    """One table of several trainings, stacked."""
    return schemas.concat_tables([read_table(folder / name, schema).assign(arm=arm) for folder, arm in trainings])


def convergence_sentences(tables: dict[str, pd.DataFrame], arms: list[str]) -> list[str]:
    """Every other arm against the first."""
    summary, differences = tables["convergence_summary"], tables["convergence_differences"]
    return [convergence_answer(summary, differences, arm, arms[0]) for arm in arms[1:]]


def write_tables(folder: Path, tables: dict[str, pd.DataFrame], answer: dict[str, Any]) -> list[Path]:
    """Write tables, each as Parquet and CSV, and the answers.

    Returns:
        The files.
    """
    written = []
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        write_table(path, table, TABLES[name], csv=True)
        written += [path, path.with_suffix(".csv")]
    write_json(folder / ANSWERS, answer)
    return [*written, folder / ANSWERS]
