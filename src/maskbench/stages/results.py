"""The stages that measure and report: evaluate, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.schemas import write_table
from maskbench.stages.context import Context
from maskbench.stages.jobs import Job, split_of_run, study_canvases
from maskbench.stages.training import make_jobs
from maskbench.steps import in_steps


def evaluate(context: Context) -> list[Path]:
    """Predict validation and test faces with every best checkpoint, and measure."""
    from maskbench.evaluation import classification, uncertainty

    folder, config, classes = context.folders.stage("evaluate"), context.config, context.classes()

    def predict(job: Job) -> pd.DataFrame:
        found = predict_run(job, context)
        context.notify(f"predicted with {job.arm.name}, seed {job.seed}")
        return found

    jobs = make_jobs(context, context.folders.stage("train"), config, None)
    parts = in_steps(context.progress("predictions"), {str(job): partial(predict, job) for job in jobs})
    predictions = pd.concat(parts.values(), ignore_index=True)
    written: list[Path] = []

    def write(name: str, frame: pd.DataFrame, schema: Any, csv: bool = True) -> None:
        write_table(folder / f"{name}.parquet", frame, schema, csv=csv)
        written.append(folder / f"{name}.parquet")
        if csv:
            written.append(folder / f"{name}.csv")

    write("predictions", predictions, schemas.PREDICTIONS)
    test = predictions[predictions["split"] == "test"]
    bootstrap: dict[str, Any] = {
        "seed": config.split.seed,
        "resamples": config.evaluate.resamples,
        "confidence": config.evaluate.confidence,
    }
    tables: dict[str, tuple[Callable[[], pd.DataFrame], Any]] = {
        "metrics": (lambda: classification.metrics_table(predictions, classes), schemas.METRICS),
        "confusion": (lambda: classification.confusion_table(predictions, classes), schemas.CONFUSION),
        "roc": (lambda: classification.roc_table(test, classes), schemas.ROC),
        "precision_recall": (lambda: classification.precision_recall_table(test, classes), schemas.PRECISION_RECALL),
        "intervals": (lambda: uncertainty.intervals_table(test, classes, **bootstrap), schemas.INTERVALS),
        "differences": (lambda: uncertainty.differences_table(test, classes, **bootstrap), schemas.DIFFERENCES),
    }
    found = in_steps(context.progress("measures"), {name: measure for name, (measure, _) in tables.items()})
    for name, (_, schema) in tables.items():
        write(name, found[name], schema, csv=name not in {"roc", "precision_recall"})
    return written


def predict_run(job: Job, context: Context) -> pd.DataFrame:
    """Predictions of a finished training's best checkpoint on validation and test: `schemas.PREDICTIONS`."""
    from maskbench.data.datamodule import FaceDataModule
    from maskbench.inference.predict import predict_logits, prediction_table
    from maskbench.training.checkpoint import BEST, execution_of, load_checkpoint, preprocess_of

    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    model, record = load_checkpoint(job.folder / BEST)
    classes, execution = tuple(record["classes"]), execution_of(record)
    execution.place(model)
    under = replace(context, config=job.config)
    data = FaceDataModule(
        study_canvases(under), split_of_run(under, job.seed), classes, seed=job.seed,
        batch_size=job.config.train.batch_size, eval_batch_size=job.config.evaluate.batch_size,
    )  # fmt: skip
    result = []
    for side in ("val", "test"):
        found = predict_logits(
            model, data.ordered_dataloader(side), preprocess_of(record), execution,
            flip_average=job.config.evaluate.flip_average,
        )  # fmt: skip
        result.append(prediction_table(found, faces, images, classes, arm=job.arm.name, seed=job.seed, split=side))
    return pd.concat(result, ignore_index=True)


def report(context: Context) -> list[Path]:
    """Draw the figures of training and evaluation, and write the report, its Markdown, and the cards beside it."""
    from maskbench.report.build import write_reports
    from maskbench.report.content import collect_report
    from maskbench.report.sections import draw_results

    drawn = draw_results(
        context.folders.results,
        context.folders.plots,
        context.classes(),
        [arm.name for arm in context.config.arms],
        context.config.seeds.numbers(),
        dpi=context.config.report.dpi,
        progress=context.progress,
    )
    found = collect_report(context.folders.results, context.folders.plots)
    return [*write_reports(found, context.folders.results, context.folders.plots, context.progress("pages")), *drawn]
