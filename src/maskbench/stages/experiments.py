"""The stage that trains variants of the study: one thing changed at a time, everything else as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.comparison.efficiency import label_worth_table, learning_curves_table, regimes_table
from maskbench.comparison.variants import (
    efficiency_runs,
    regime_runs,
    run_figures,
    variant_summary,
    with_variant_intervals,
)
from maskbench.config import Config, Experiment, ExperimentsConfig, merge
from maskbench.schemas import write_table
from maskbench.schemas.convergence import LABEL_WORTH, LEARNING_CURVES, REGIMES
from maskbench.schemas.experiments import VARIANT_PREDICTIONS, VARIANT_RUNS, VARIANT_SUMMARY
from maskbench.stages.context import Context
from maskbench.stages.engines import run_jobs
from maskbench.stages.jobs import Job, prepare
from maskbench.stages.results import predict_run
from maskbench.stages.training import Pretrained, make_jobs, resolve_pretrained
from maskbench.steps import in_steps
from maskbench.storage import read_json


@dataclass(frozen=True)
class Variant:
    """The study with one thing changed.

    Attributes:
        experiment: what is varied.
        level: the value it takes, as a person reads it.
        amount: the same as a number, NaN where it is none.
        changes: laid over the study's configuration; empty: the study itself, which is not trained again.
    """

    experiment: str
    level: str
    amount: float
    changes: dict[str, Any]

    def config(self, study: Config) -> Config:
        """The study's configuration with the change."""
        return Config.model_validate(merge(study.model_dump(mode="json"), self.changes))


#: Level as read, level as a number, what is laid over the configuration.
Level = tuple[str, float, dict[str, Any]]
_NO_NUMBER = float("nan")


def percent(share: float) -> str:
    """A share as a level is called; different shares have different names.

    Example:
        >>> percent(0.05), percent(0.125), percent(1.0)
        ('5%', '12.5%', '100%')
    """
    return f"{100 * share:.10g}%"


def _losses(settings: ExperimentsConfig) -> list[Level]:
    sampled = {"train": {"loss": "cross_entropy", "balanced_sampler": True}}
    plain: list[Level] = [
        (loss, _NO_NUMBER, {"train": {"loss": loss, "balanced_sampler": False}}) for loss in settings.losses
    ]
    return [*plain, ("balanced sampler", _NO_NUMBER, sampled)]


def _fractions(settings: ExperimentsConfig) -> list[Level]:
    repeat = {"repeat": True} if settings.equal_steps else {}
    parts: list[Level] = [
        (percent(share), share, {"training_set": {"fraction": share, **repeat}}) for share in settings.fractions
    ]
    return [*parts, ("100%", 1.0, {"training_set": {"fraction": 1.0}})]


#: The levels of each experiment; a new experiment is one entry here and one name in the configuration.
LEVELS: dict[Experiment, Callable[[ExperimentsConfig], list[Level]]] = {
    "leakage": lambda settings: [
        (strategy, _NO_NUMBER, {"split": {"strategy": strategy}}) for strategy in ("grouped", "random")
    ],
    "regimes": lambda settings: [
        (regime, _NO_NUMBER, {"train": {"regime": regime}}) for regime in settings.regimes
    ],
    "losses": _losses,
    "data_efficiency": _fractions,
    "imbalance": lambda settings: [
        (f"{percent(share)} balanced", share, {"training_set": {"balance": share}}) for share in settings.balance
    ],
    "label_noise": lambda settings: [
        (f"{percent(noise)} wrong", noise, {"training_set": {"label_noise": noise}})
        for noise in (0.0, *settings.label_noise)
    ],
}  # fmt: skip


def variants(config: Config) -> list[Variant]:
    """The variants that the configuration asks for, the study itself among them where it is one of the levels."""
    study, found = config.model_dump(mode="json"), list[Variant]()
    for experiment in config.experiments.run:
        for level, amount, changes in LEVELS[experiment](config.experiments):
            same = merge(study, changes) == study
            found.append(Variant(experiment, level, amount, {} if same else changes))
    return found


def experiments(context: Context) -> list[Path]:
    """Train every variant that was asked for, and predict validation and test faces with each."""
    chosen = variants(context.config)
    pretrained = resolve_pretrained(context) if chosen else None
    jobs = {variant.experiment + "/" + variant.level: _jobs(context, variant, pretrained) for variant in chosen}
    wanted = [job for variant in chosen if variant.changes for job in jobs[variant.experiment + "/" + variant.level]]
    if wanted:
        context.notify(f"experiments: {len(wanted)} trainings")
    run_jobs([job for job in wanted if prepare(job)], context.engine, context.notify, context.bars())

    def predict(job: Job) -> pd.DataFrame:
        found = predict_run(job, context)
        context.notify(f"predicted with {job}")
        return found

    # Several experiments share the study's own runs.
    steps = {str(job): partial(predict, job) for group in jobs.values() for job in group}
    known = in_steps(context.progress("predictions"), steps)
    runs, predictions = [], []
    for variant in chosen:
        for job in jobs[variant.experiment + "/" + variant.level]:
            runs.append(_run(variant, job))
            predictions.append(_labelled(variant, known[str(job)]))
    table = pd.DataFrame(runs, columns=list(VARIANT_RUNS.columns))
    return _write(context, table, _stacked(predictions))


def _write(context: Context, runs: pd.DataFrame, predictions: pd.DataFrame) -> list[Path]:
    """Save what was run, and what came out; only the tables of experiments that were run."""
    folder, classes, seed = context.folders.stage("experiments"), context.classes(), context.config.split.seed
    tables: dict[str, tuple[pd.DataFrame, Any]] = {
        "runs": (runs, VARIANT_RUNS),
        "predictions": (predictions, VARIANT_PREDICTIONS),
    }
    if len(runs):
        resamples = min(context.config.compare.resamples, context.config.experiments.resamples)
        summary = variant_summary(predictions, runs, classes, resamples=resamples, seed=seed)
        tables["summary"] = (summary, VARIANT_SUMMARY)
        figures, names = run_figures(predictions, classes, resamples=resamples, seed=seed), set(runs["experiment"])
        if "data_efficiency" in names:
            tables |= _efficiency(efficiency_runs(figures, runs), summary, [arm.name for arm in context.config.arms])
        if "regimes" in names:
            table = regimes_table(regime_runs(figures, runs), context.config.experiments.regimes)
            tables["regimes"] = (with_variant_intervals(table, summary, "regimes"), REGIMES)
    written = []
    for name, (table, schema) in tables.items():
        csv = name != "predictions"
        write_table(folder / f"{name}.parquet", table, schema, csv=csv)
        written += [folder / f"{name}.parquet", *([folder / f"{name}.csv"] if csv else [])]
    return written


def _efficiency(table: pd.DataFrame, summary: pd.DataFrame, arms: list[str]) -> dict[str, tuple[pd.DataFrame, Any]]:
    """Learning curves, and what the labels of every other arm are worth in those of the first."""
    curves = with_variant_intervals(learning_curves_table(table), summary, "data_efficiency")
    found: dict[str, tuple[pd.DataFrame, Any]] = {"learning_curves": (curves, LEARNING_CURVES)}
    if len(arms) > 1:
        worth = pd.concat([label_worth_table(table, arm, arms[0]) for arm in arms[1:]], ignore_index=True)
        found["label_worth"] = (worth, LABEL_WORTH)
    return found


def _jobs(context: Context, variant: Variant, pretrained: Pretrained | None) -> list[Job]:
    """The trainings of a variant; those of the study itself stand in the train stage's folder."""
    if not variant.changes:
        return make_jobs(context, context.folders.stage("train"), context.config, pretrained)
    level = variant.level.replace(" ", "-").replace("%", "pc")
    folder = context.folders.stage("experiments") / variant.experiment / level
    return make_jobs(context, folder, variant.config(context.config), pretrained)


def _run(variant: Variant, job: Job) -> dict[str, Any]:
    fitted = read_json(job.folder / "fit.json")
    return {
        "experiment": variant.experiment,
        "level": variant.level,
        "amount": variant.amount,
        "arm": job.arm.name,
        "seed": job.seed,
        "train_faces": fitted.get("training_set", {}).get("faces", fitted["train_faces"]),
        "trained_parameters": fitted["trained_parameters"],
        "epochs_run": fitted["epochs_run"],
        "best_epoch": fitted["best_epoch"],
        "seconds": fitted["seconds"],
    }


def _labelled(variant: Variant, table: pd.DataFrame) -> pd.DataFrame:
    found = table.copy()
    found.insert(0, "amount", variant.amount)
    found.insert(0, "level", variant.level)
    found.insert(0, "experiment", variant.experiment)
    return found


def _stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else schemas.empty_table(VARIANT_PREDICTIONS)
