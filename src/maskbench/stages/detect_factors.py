"""The stage that explains detectors: what is lost where, and which properties of faces go with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskbench.comparison.factors import explain_errors
from maskbench.comparison.localisation import losses_table, misplaced_faces, missed_faces, placement_effects
from maskbench.schemas import write_table
from maskbench.schemas.detection import FOUND_FACES
from maskbench.schemas.localisation import DETECTION_LOSSES, PLACEMENT_EFFECTS
from maskbench.stages.context import Context
from maskbench.stages.factors import settings, study_properties, write_factors


def detect_factors(context: Context) -> list[Path]:
    """Set missed and badly placed faces against the properties of faces, as question 2 does with wrong names."""
    folder, config = context.folders.stage("detect-factors"), context.config
    found = context.table("detect-evaluate", "found_faces", FOUND_FACES)
    properties, training = study_properties(context)
    draws: dict[str, Any] = {
        "resamples": config.factors.resamples,
        "confidence": config.detections.confidence,
        "seed": config.split.seed,
    }
    tables = {
        "losses": (losses_table(found, **draws), DETECTION_LOSSES),
        "placement": (placement_effects(found, properties, training, **draws), PLACEMENT_EFFECTS),
    }
    written: list[Path] = []
    for name, (table, schema) in tables.items():
        write_table(folder / f"{name}.parquet", table, schema, csv=True)
        written += [folder / f"{name}.parquet", folder / f"{name}.csv"]
    for name, faces in (("missed", missed_faces(found)), ("misplaced", misplaced_faces(found))):
        if len(faces):
            explained = explain_errors(
                faces, properties, training, **settings(config), progress=context.progress(f"{name} faces")
            )
            written += write_factors(folder / name, explained, {})
    return written
