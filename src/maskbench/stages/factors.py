"""The stage that explains errors: which properties of the test faces go with them; no model is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.comparison.factors import FactorTables, explain_errors, factors_answer
from maskbench.config import Config
from maskbench.data.properties import face_properties, face_thumbnails, training_properties
from maskbench.schemas import write_table
from maskbench.schemas.factors import FACTOR_TABLES, PROPERTIES, RUN_TRAINING_PROPERTIES
from maskbench.stages.context import Context, face_crops
from maskbench.stages.jobs import split_of_run
from maskbench.steps import in_steps
from maskbench.storage import write_json


def factors(context: Context) -> list[Path]:
    """Give each face its properties, and set the errors of every arm against them."""
    folder, config = context.folders.stage("factors"), context.config
    predictions = context.table("evaluate", "predictions", schemas.PREDICTIONS)
    properties, training = study_properties(context)
    found = explain_errors(
        predictions, properties, training, **settings(config), progress=context.progress("errors and properties")
    )
    numbered = pd.concat([table.assign(seed=seed) for seed, table in training.items()], ignore_index=True)
    tables = {
        "properties": (properties, PROPERTIES),
        "training_properties": (numbered[list(RUN_TRAINING_PROPERTIES.columns)], RUN_TRAINING_PROPERTIES),
    }
    return write_factors(folder, found, tables)


def study_properties(context: Context) -> tuple[pd.DataFrame, dict[int, pd.DataFrame]]:
    """Properties of all faces that no split changes, and by run those that follow from its training side."""
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    crops = face_crops(context, images, faces)
    thumbnails = face_thumbnails(crops, faces)
    steps: dict[str, Callable[[], pd.DataFrame]] = {
        str(seed): partial(training_properties, thumbnails, images, faces, split_of_run(context, seed))
        for seed in context.config.seeds.numbers()
    }
    steps["faces"] = lambda: face_properties(crops, faces, context.config.faces.margin)
    found = in_steps(context.progress("properties of faces"), steps)
    return found.pop("faces"), {int(seed): table for seed, table in found.items()}


def settings(config: Config) -> dict[str, Any]:
    """What `explain_errors` is told."""
    chosen = config.factors
    return {
        "bins": chosen.bins,
        "folds": chosen.folds,
        "repeats": chosen.repeats,
        "resamples": chosen.resamples,
        "seed": config.split.seed,
    }


def write_factors(folder: Path, found: FactorTables, more: Mapping[str, tuple[pd.DataFrame, Any]]) -> list[Path]:
    """Write what was found, as Parquet and CSV, and the answer.

    Args:
        folder: where to.
        found: the tables.
        more: other tables, each with its schema.

    Returns:
        The files.
    """
    written = []
    tables = {**more, **{name: (getattr(found, name), schema) for name, schema in FACTOR_TABLES.items()}}
    for name, (table, schema) in tables.items():
        write_table(folder / f"{name}.parquet", table, schema, csv=True)
        written += [folder / f"{name}.parquet", folder / f"{name}.csv"]
    write_json(folder / "answers.json", asdict(factors_answer(found)))
    return [*written, folder / "answers.json"]
