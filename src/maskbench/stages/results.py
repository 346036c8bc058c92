"""The stages that measure and report: evaluate, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.config import ArmConfig, Config
from maskbench.schemas import write_table
from maskbench.stages.context import Context
from maskbench.stages.jobs import split_of_run, study_canvases


def evaluate(context: Context) -> list[Path]:
    """Predict validation and test faces with every best checkpoint, and measure."""
    from maskbench.evaluation import classification, uncertainty
    from maskbench.training.fit import BEST

    folder, config, classes = context.folders.stage("evaluate"), context.config, context.classes()
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    canvases = study_canvases(context)
    parts = []
    for seed in config.seeds.numbers():
        table = split_of_run(context, seed)
        for arm in config.arms:
            path = context.folders.stage("train") / arm.name / f"seed{seed}" / BEST
            parts += _predict(path, arm, seed, canvases, table, faces, images, config)
            context.notify(f"predicted with {arm.name}, seed {seed}")
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


def _predict(
    path: Path, arm: ArmConfig, seed: int, canvases: Any, table: pd.DataFrame, faces: pd.DataFrame,
    images: pd.DataFrame, config: Config,
) -> list[pd.DataFrame]:  # fmt: skip
    """Prediction tables of one checkpoint on validation and test."""
    from maskbench.data.datamodule import FaceDataModule
    from maskbench.inference.predict import predict_logits, prediction_table
    from maskbench.training.checkpoint import execution_of, load_checkpoint, preprocess_of

    model, record = load_checkpoint(path)
    classes, execution = tuple(record["classes"]), execution_of(record)
    execution.place(model)
    data = FaceDataModule(
        canvases, table, classes, seed=seed,
        batch_size=config.train.batch_size, eval_batch_size=config.evaluate.batch_size,
    )  # fmt: skip
    result = []
    for side in ("val", "test"):
        found = predict_logits(
            model, data.ordered_dataloader(side), preprocess_of(record), execution,
            flip_average=config.evaluate.flip_average,
        )  # fmt: skip
        result.append(prediction_table(found, faces, images, classes, arm=arm.name, seed=seed, split=side))
    return result


def report(context: Context) -> list[Path]:
    """Draw the figures of training and evaluation, and write the report."""
    from maskbench.report.build import build_report
    from maskbench.report.content import collect_report
    from maskbench.report.sections import draw_results
    from maskbench.storage import write_text

    drawn = draw_results(
        context.folders.results,
        context.folders.plots,
        context.classes(),
        [arm.name for arm in context.config.arms],
        context.config.seeds.numbers(),
        dpi=context.config.report.dpi,
        progress=context.progress("figures"),
    )
    path = context.folders.results / "report.html"
    write_text(path, build_report(collect_report(context.folders.results, context.folders.plots)))
    return [path, *drawn]
