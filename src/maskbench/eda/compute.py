"""All tables of the description of a dataset, and writing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from maskbench import schemas
from maskbench.config import EdaConfig
from maskbench.eda.associations import association_tests
from maskbench.eda.bands import class_bands
from maskbench.eda.bootstrap import draw_resamples
from maskbench.eda.classes import class_balance, class_cooccurrence, class_measures, counts_per_photograph
from maskbench.eda.spatial import heatmaps, image_coverage
from maskbench.eda.statistics import box_summary, box_table, faces_per_image, image_kinds, image_summary
from maskbench.steps import Progress, in_steps

#: Name of each table (and of its file) and its schema.
EDA_TABLES: dict[str, pa.DataFrameSchema] = {
    "image_summary": schemas.EDA_SUMMARY,
    "image_kinds": schemas.IMAGE_KINDS,
    "image_coverage": schemas.IMAGE_COVERAGE,
    "faces_per_image": schemas.FACES_PER_IMAGE,
    "class_balance": schemas.CLASS_BALANCE,
    "class_measures": schemas.CLASS_MEASURES,
    "class_cooccurrence": schemas.CLASS_COOCCURRENCE,
    "class_bands": schemas.CLASS_BANDS,
    "boxes": schemas.BOXES,
    "box_summary": schemas.EDA_SUMMARY,
    "tests": schemas.EDA_TESTS,
    "heatmaps": schemas.HEATMAPS,
}


def compute_eda(
    images: pd.DataFrame,
    faces: pd.DataFrame,
    classes: Sequence[str],
    config: EdaConfig,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, pd.DataFrame]:
    """Describe a dataset.

    Args:
        images: `schemas.IMAGES`, at least one photograph.
        faces: `schemas.FACES`.
        classes: class order, at least two.
        config: resamples, confidence, grid.
        seed: of the resamples; equal inputs and seeds give equal tables.
        progress: called with tables done and in all.

    Returns:
        The tables of `EDA_TABLES`, validated, in that order.

    Raises:
        ValueError: no photograph, fewer than two classes, a label that is not a class, or a face whose
            photograph is not among the photographs.
        TableError: a table does not fit its schema.
    """
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise ValueError(f"classes: at least two distinct names are needed, not {list(classes)}")
    resamples = draw_resamples(images["image_id"], config.bootstrap, config.confidence, seed)
    counts = counts_per_photograph(faces, classes, resamples)
    coverage, boxes = image_coverage(images, faces), box_table(faces)
    steps: dict[str, Callable[[], pd.DataFrame]] = {
        "image_summary": lambda: image_summary(images, coverage, resamples),
        "image_kinds": lambda: image_kinds(images),
        "image_coverage": lambda: coverage,
        "faces_per_image": lambda: faces_per_image(images),
        "class_balance": lambda: class_balance(counts, classes, resamples),
        "class_measures": lambda: class_measures(counts, classes, resamples),
        "class_cooccurrence": lambda: class_cooccurrence(counts, classes),
        "class_bands": lambda: class_bands(boxes, classes, resamples),
        "boxes": lambda: boxes,
        "box_summary": lambda: box_summary(boxes, classes, resamples),
        "tests": lambda: association_tests(boxes, classes, resamples),
        "heatmaps": lambda: heatmaps(faces, classes, config.heatmap_cells),
    }
    tables = in_steps(progress, steps)
    return {name: schemas.validate(tables[name], schema) for name, schema in EDA_TABLES.items()}


def write_eda(tables: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Write the tables of `compute_eda` to `folder`, each as Parquet and CSV.

    Returns:
        The files, in the order of `EDA_TABLES`: the Parquet file of each, then its CSV.

    Raises:
        KeyError: a table is missing.
        TableError: a table does not fit its schema.
        OSError: a file cannot be written.
    """
    written = []
    for name, schema in EDA_TABLES.items():
        path = Path(folder) / f"{name}.parquet"
        schemas.write_table(path, tables[name], schema, csv=True)
        written += [path, path.with_suffix(".csv")]
    return written
