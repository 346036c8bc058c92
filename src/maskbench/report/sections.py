"""Which figures a section of the report has, drawn from the run's saved tables and listed for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from maskbench import schemas
from maskbench.report.drawing import Drawing
from maskbench.report.figures import eda, eda_boxes, eda_classes, eda_spatial, evaluation, training
from maskbench.schemas import read_table
from maskbench.storage import read_json, write_json

FIGURES = "figures.json"
#: Faces shown per class in the grid of samples: one per sixth of the class's sizes.
SAMPLES_PER_CLASS = 6

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]


def draw_eda(
    results: Path,
    plots: Path,
    classes: Sequence[str],
    crop_of: Callable[[str], Pixels],
    *,
    dpi: int,
    progress: Progress | None = None,
) -> None:
    """Draw the figures that describe the dataset.

    Args:
        results: the run's results, with the tables of audit and eda.
        plots: where figures go.
        classes: class order.
        crop_of: face id -> its pixels, uint8 (H, W, 3).
        dpi: of the PNG files.
        progress: called with figures done and in all.
    """
    save_section(plots, "eda", list(_eda_drawings(results, classes, crop_of)), dpi=dpi, progress=progress)


def _eda_drawings(results: Path, classes: Sequence[str], crop_of: Callable[[str], Pixels]) -> Iterator[Drawing]:
    def table(name: str, schema: pa.DataFrameSchema) -> pd.DataFrame:
        return read_table(results / "eda" / name, schema)

    images = read_table(results / "audit" / "images", schemas.IMAGES)
    summary = table("image_summary", schemas.EDA_SUMMARY)
    boxes = table("boxes", schemas.BOXES)
    chosen = sample_faces(boxes, classes, SAMPLES_PER_CLASS)
    sizes = [f"{row.box_width:.0f} × {row.box_height:.0f} px" for row in chosen.itertuples()]
    bands = table("class_bands", schemas.CLASS_BANDS)
    heatmaps = table("heatmaps", schemas.HEATMAPS)
    yield eda.fig_sample_grid([crop_of(face) for face in chosen["face_id"]], list(chosen["class_name"]), sizes, classes)
    yield eda.fig_image_sizes(images)
    yield eda.fig_image_kinds(table("image_kinds", schemas.IMAGE_KINDS))
    yield eda.fig_image_quality(images, summary)
    yield eda.fig_faces_per_image(table("faces_per_image", schemas.FACES_PER_IMAGE))
    yield eda.fig_image_coverage(table("image_coverage", schemas.IMAGE_COVERAGE), summary)
    yield eda_classes.fig_class_balance(
        table("class_balance", schemas.CLASS_BALANCE), table("class_measures", schemas.CLASS_MEASURES)
    )
    yield eda_classes.fig_class_cooccurrence(table("class_cooccurrence", schemas.CLASS_COOCCURRENCE), classes)
    yield eda_boxes.fig_box_violins(boxes, table("box_summary", schemas.EDA_SUMMARY), classes)
    yield eda_boxes.fig_class_bands(bands, classes, "box_side")
    yield eda_boxes.fig_class_bands(bands, classes, "faces_in_image")
    yield eda_boxes.fig_tests(table("tests", schemas.EDA_TESTS))
    yield eda_spatial.fig_heatmaps(heatmaps, classes, "centres")
    yield eda_spatial.fig_heatmaps(heatmaps, classes, "coverage")


def sample_faces(boxes: pd.DataFrame, classes: Sequence[str], per_class: int) -> pd.DataFrame:
    """Faces spread over each class's sizes, from its smaller to its larger ones.

    Args:
        boxes: `schemas.BOXES`.
        classes: class order.
        per_class: faces wanted; fewer where a class has fewer.

    Returns:
        Rows of `boxes`, class after class, by area.
    """
    parts = []
    for name in classes:
        part = boxes[boxes["class_name"] == name].sort_values(["box_area", "face_id"])
        count = min(per_class, len(part))
        places = np.round((np.arange(count) + 0.5) / max(count, 1) * len(part) - 0.5).astype(int)
        parts.append(part.iloc[places])
    return pd.concat(parts, ignore_index=True)


def draw_results(
    results: Path,
    plots: Path,
    classes: Sequence[str],
    arms: Sequence[str],
    seeds: Sequence[int],
    *,
    dpi: int,
    progress: Progress | None = None,
) -> None:
    """Draw the figures of training and evaluation.

    Args:
        results: the run's results.
        plots: where figures go.
        classes: class order.
        arms: names of the study's arms, in order.
        seeds: training seeds; figures of one seed show the first.
        dpi: of the PNG files.
        progress: called with figures done and in all.
    """
    save_section(plots, "training", list(_training_drawings(results, classes, arms, seeds)), dpi=dpi, progress=progress)
    drawings = list(_evaluation_drawings(results, classes, arms, seeds[0]))
    save_section(plots, "evaluation", drawings, dpi=dpi, progress=progress)


def _training_drawings(
    results: Path, classes: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
) -> Iterator[Drawing]:
    runs = [(arm, seed, results / "train" / arm / f"seed{seed}") for seed in seeds for arm in arms]

    def table(name: str, schema: pa.DataFrameSchema) -> pd.DataFrame:
        parts = [read_table(folder / name, schema) for _, _, folder in runs]
        return pd.concat([part for part in parts if not part.empty] or parts[:1], ignore_index=True)

    epochs, gradients = table("epochs", schemas.EPOCHS), table("gradients", schemas.GRADIENTS)
    best = {(arm, seed): int(read_json(folder / "fit.json")["best_epoch"]) for arm, seed, folder in runs}
    yield training.fig_loss(epochs, arms, best)
    yield training.fig_step_loss(table("steps", schemas.STEPS), arms)
    yield training.fig_metrics(epochs, arms, best)
    yield training.fig_class_f1(epochs, classes, arms, best)
    if not gradients.empty:  # recording can be switched off (train.gradient_interval: 0)
        yield training.fig_gradient_depth(gradients, arms)
        yield training.fig_gradient_time(gradients, arms)
        yield training.fig_update_ratio(gradients, arms)


def _evaluation_drawings(results: Path, classes: Sequence[str], arms: Sequence[str], seed: int) -> Iterator[Drawing]:
    def table(name: str, schema: pa.DataFrameSchema) -> pd.DataFrame:
        return read_table(results / "evaluate" / name, schema)

    metrics, intervals = table("metrics", schemas.METRICS), table("intervals", schemas.INTERVALS)
    yield evaluation.fig_headline(intervals, table("differences", schemas.DIFFERENCES), arms, seed)
    yield evaluation.fig_confusion(table("confusion", schemas.CONFUSION), classes, arms, seed)
    yield evaluation.fig_class_f1_bars(intervals, classes, arms, seed)
    yield evaluation.fig_roc(table("roc", schemas.ROC), metrics, classes, arms, seed)
    curves = table("precision_recall", schemas.PRECISION_RECALL)
    yield evaluation.fig_precision_recall(curves, metrics, classes, arms, seed)


def save_section(
    plots: Path, section: str, drawings: Sequence[Drawing], *, dpi: int, progress: Progress | None = None
) -> None:
    """Save a section's figures and put them on the list of the run's figures, in place of its earlier ones.

    Args:
        plots: the run's folder of figures.
        section: `eda`, `training` or `evaluation`.
        drawings: in the order of the report.
        dpi: of the PNG files.
        progress: called with figures done and in all.
    """
    listed = read_json(plots / FIGURES) if (plots / FIGURES).is_file() else []
    names = {drawing.name for drawing in drawings}
    for old in listed:
        if old["section"] == section and old["name"] not in names:
            for suffix in (".png", ".svg"):
                (plots / f"{old['name']}{suffix}").unlink(missing_ok=True)
    kept = [old for old in listed if old["section"] != section]
    for done, drawing in enumerate(drawings, start=1):
        drawing.save(plots, dpi)
        if progress:
            progress(done, len(drawings))
    new = [{"name": d.name, "title": d.title, "caption": d.caption, "section": section} for d in drawings]
    write_json(plots / FIGURES, kept + new)
