"""The stages that measure and report: evaluate, report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.schemas import write_table
from maskbench.stages.context import Context
from maskbench.stages.jobs import Job, split_of_run, study_canvases
from maskbench.stages.training import make_jobs


def evaluate(context: Context) -> list[Path]:
    """Predict validation and test faces with every best checkpoint, and measure."""
    from maskbench.evaluation import classification, uncertainty

    folder, config, classes = context.folders.stage("evaluate"), context.config, context.classes()
    parts = []
    for job in make_jobs(context, context.folders.stage("train"), config, None):
        parts.append(predict_run(job, context))
        context.notify(f"predicted with {job.arm.name}, seed {job.seed}")
    predictions = pd.concat(parts, ignore_index=True)
    written: list[Path] = []

    def write(name: str, frame: pd.DataFrame, schema: Any, csv: bool = True) -> None:
        write_table(folder / f"{name}.parquet", frame, schema, csv=csv)
        written.append(folder / f"{name}.parquet")
        if csv:
            written.append(folder / f"{name}.csv")

    write("predictions", predictions, schemas.PREDICTIONS)
    write("metrics", classification.metrics_table(predictions, classes), schemas.METRICS)
    write("confusion", classification.confusion_table(predictions, classes), schemas.CONFUSION)
    test = predictions[predictions["split"] == "test"]
    write("roc", classification.roc_table(test, classes), schemas.ROC, csv=False)
    write("precision_recall", classification.precision_recall_table(test, classes), schemas.PRECISION_RECALL, csv=False)
    bootstrap: dict[str, Any] = {
        "seed": config.split.seed,
        "resamples": config.evaluate.resamples,
        "confidence": config.evaluate.confidence,
    }
    write("intervals", uncertainty.intervals_table(test, classes, **bootstrap), schemas.INTERVALS)
    write("differences", uncertainty.differences_table(test, classes, **bootstrap), schemas.DIFFERENCES)
    return written


def predict_run(job: Job, context: Context) -> pd.DataFrame:
    """Predictions of a finished training's best checkpoint on validation and test: `schemas.PREDICTIONS`."""
    from maskbench.data.datamodule import FaceDataModule
    from maskbench.inference.predict import predict_logits, prediction_table
    from maskbench.training.checkpoint import execution_of, load_checkpoint, preprocess_of
    from maskbench.training.trainer import BEST

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
        progress=context.progress("figures"),
    )
    found = collect_report(context.folders.results, context.folders.plots)
    return [*write_reports(found, context.folders.results, context.folders.plots), *drawn]
