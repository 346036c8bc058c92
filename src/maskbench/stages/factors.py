"""The stage that explains errors: which properties of the test faces go with them; no model is run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from maskbench import schemas
from maskbench.comparison.factors import explain_errors, factors_answer
from maskbench.data.properties import face_properties, face_thumbnails, training_properties
from maskbench.schemas import write_table
from maskbench.schemas.factors import FACTOR_TABLES, PROPERTIES
from maskbench.stages.context import Context, face_crops
from maskbench.stages.jobs import split_of_run
from maskbench.storage import write_json


def factors(context: Context) -> list[Path]:
    """Give each face its properties, and set the errors of every arm against them."""
    folder, config = context.folders.stage("factors"), context.config
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    predictions = context.table("evaluate", "predictions", schemas.PREDICTIONS)
    crops = face_crops(context, images, faces)
    properties, thumbnails = face_properties(crops, faces, config.faces.margin), face_thumbnails(crops, faces)
    training = {
        seed: training_properties(thumbnails, images, faces, split_of_run(context, seed))
        for seed in config.seeds.numbers()
    }
    found = explain_errors(
        predictions,
        properties,
        training,
        bins=config.factors.bins,
        folds=config.factors.folds,
        repeats=config.factors.repeats,
        resamples=config.factors.resamples,
        seed=config.split.seed,
    )
    written = []
    tables = {"properties": (properties, PROPERTIES)}
    tables |= {name: (getattr(found, name), schema) for name, schema in FACTOR_TABLES.items()}
    for name, (table, schema) in tables.items():
        write_table(folder / f"{name}.parquet", table, schema, csv=True)
        written += [folder / f"{name}.parquet", folder / f"{name}.csv"]
    write_json(folder / "answers.json", asdict(factors_answer(found)))
    return [*written, folder / "answers.json"]
