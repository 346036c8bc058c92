"""The stage that measures detectors on whole photographs, alone and followed by the classifier of the same arm."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench import schemas
from maskbench.schemas import write_table
from maskbench.schemas.detection import (
    DETECTION_CONFUSION,
    DETECTION_CURVES,
    DETECTION_DIFFERENCES,
    DETECTION_ERRORS,
    DETECTION_METRICS,
    DETECTIONS,
    FOUND_FACES,
)
from maskbench.stages.context import Context
from maskbench.stages.detect_jobs import sides_of_run, study_photographs
from maskbench.stages.detect_pictures import write_placed
from maskbench.stages.detect_train import detector_jobs
from maskbench.stages.jobs import Job
from maskbench.storage import write_json

if TYPE_CHECKING:
    from maskbench.data.photographs import Photographs
    from maskbench.evaluation.detection_boxes import Detected, System


def detect_evaluate(context: Context) -> list[Path]:
    """Find faces on validation and test photographs with every best detector, and measure."""
    folder = context.folders.stage("detect-evaluate")
    photographs = study_photographs(context)
    parts = []
    for job in detector_jobs(context, None):
        parts += _detect(job, context, photographs)
        context.notify(f"detected with {job.arm.name}, seed {job.seed}")
    detections = schemas.concat_tables(parts)
    written = [_write(folder, "detections", detections, DETECTIONS)]
    tables, chosen = _measure(context, detections)
    written += [_write(folder, name, table, schema) for name, (table, schema) in tables.items()]
    write_json(folder / "scores.json", chosen)
    faces = context.table("audit", "faces", schemas.FACES)
    placed = write_placed(folder, tables["found_faces"][0], faces, photographs, context.config.detections.gallery)
    return [*(path for pair in written for path in pair), folder / "scores.json", *placed]


def _write(folder: Path, name: str, table: pd.DataFrame, schema: Any) -> tuple[Path, Path]:
    path = folder / f"{name}.parquet"
    write_table(path, table, schema, csv=True)
    return path, path.with_suffix(".csv")


def _detect(job: Job, context: Context, photographs: Photographs) -> list[pd.DataFrame]:
    """Detections of one training on both sides, by the detector alone and, where it was trained, its classifier too."""
    from maskbench.inference.photographs import detect_photographs, detections_table, name_boxes
    from maskbench.training.checkpoint import BEST, load_checkpoint, load_detector_checkpoint

    model, record = load_detector_checkpoint(job.folder / BEST)
    classifier = context.folders.stage("train") / job.arm.name / f"seed{job.seed}" / BEST
    namer = load_checkpoint(classifier) if context.folders.manifest("train") else None
    sides, tables = sides_of_run(context, job.seed).to_numpy(), []
    for side in ("val", "test"):
        rows = np.flatnonzero(sides == side)
        ids = [photographs.image_ids[row] for row in rows]
        keys: dict[str, Any] = {"arm": job.arm.name, "seed": job.seed, "split": side}
        progress = context.progress(f"{side} photographs, {job.arm.name}")
        found = detect_photographs(model, record, photographs, rows, progress)
        tables.append(detections_table(found, ids, record["classes"], **keys, pipeline="detector"))
        if namer is not None:
            naming = context.progress(f"faces of {side} photographs named, {job.arm.name}")
            least = context.config.detect.score_threshold
            named = name_boxes(*namer, photographs, rows, found, naming, min_score=least)
            tables.append(detections_table(named, ids, namer[1]["classes"], **keys, pipeline="two-stage"))
    return tables


def _systems(context: Context, detections: pd.DataFrame, split: str) -> list[System]:
    """All systems of a side: those that found nothing too."""
    from maskbench.evaluation.detection_boxes import System

    pipelines = list(dict.fromkeys(detections["pipeline"])) or ["detector"]
    return [
        System(job.arm.name, job.seed, split, pipeline)
        for job in detector_jobs(context, None)
        for pipeline in pipelines
    ]


def _measure(
    context: Context, detections: pd.DataFrame
) -> tuple[dict[str, tuple[pd.DataFrame, Any]], list[dict[str, Any]]]:
    """All tables of the test photographs, and the score of each system that validation chose."""
    from maskbench.evaluation.detection import differences_table, measure, metrics_table
    from maskbench.evaluation.detection_curves import best_score_threshold, curves_table
    from maskbench.evaluation.detection_errors import errors_table
    from maskbench.evaluation.detection_faces import confusion_table, found_faces_table

    config, chosen = context.config.detections, []
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in ("curves", "confusion", "errors", "found")}
    measured: dict[int, list[Any]] = {}
    systems, show = _systems(context, detections, "test"), context.progress("measures")
    for done, system in enumerate(systems):
        if show:
            show(done, len(systems))
        seen = _detected(context, detections, system)
        asked = best_score_threshold(_detected(context, detections, _on(system, "val")))
        score = asked.min_score if np.isfinite(asked.min_score) else 0.5
        chosen.append(
            system.row() | {"min_score": score, "val_f1": None if np.isnan(asked.f1) else asked.f1,
                            "reason": asked.reason}
        )  # fmt: skip
        measured.setdefault(system.seed, []).append(
            measure(seen, resamples=config.resamples, seed=context.config.split.seed)
        )
        parts["curves"].append(curves_table(seen))
        parts["confusion"].append(confusion_table(seen, score))
        parts["errors"] += [errors_table(seen, 0.0), errors_table(seen.answered(), score)]
        parts["found"].append(found_faces_table(seen, score))
    if show:
        show(len(systems), len(systems))
    every = [one for group in measured.values() for one in group]
    differences = [differences_table(group, confidence=config.confidence) for group in measured.values()]
    return {
        "detection_metrics": (metrics_table(every, confidence=config.confidence), DETECTION_METRICS),
        "detection_differences": (schemas.concat_tables(differences), DETECTION_DIFFERENCES),
        "detection_curves": (schemas.concat_tables(parts["curves"]), DETECTION_CURVES),
        "detection_confusion": (schemas.concat_tables(parts["confusion"]), DETECTION_CONFUSION),
        "detection_errors": (schemas.concat_tables(parts["errors"]), DETECTION_ERRORS),
        "found_faces": (schemas.concat_tables(parts["found"]), FOUND_FACES),
    }, chosen


def _on(system: System, split: str) -> System:
    from dataclasses import replace

    return replace(system, split=split)


def _detected(context: Context, detections: pd.DataFrame, system: System) -> Detected:
    from maskbench.evaluation.detection_boxes import Detected

    sides = sides_of_run(context, system.seed)
    return Detected.of(
        detections,
        context.table("audit", "faces", schemas.FACES),
        _named(sides.index[sides == system.split]),
        context.classes(),
        system,
        max_detections=context.config.detect.max_detections,
    )


def _named(ids: Iterable[Any]) -> list[str]:
    return [str(name) for name in ids]
