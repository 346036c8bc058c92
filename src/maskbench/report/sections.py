"""Which figures a section of the report has, drawn from the run's saved tables and listed for the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from maskbench import schemas
from maskbench.eda.compute import EDA_TABLES
from maskbench.report.comparing import comparison_drawings, experiment_drawings
from maskbench.report.detecting import SECTION as DETECTION
from maskbench.report.detecting import detection_drawings
from maskbench.report.detecting_factors import SECTION as DETECTION_FACTORS
from maskbench.report.detecting_factors import detection_factor_drawings
from maskbench.report.detecting_training import SECTION as DETECTOR_TRAINING
from maskbench.report.detecting_training import detector_training_drawings
from maskbench.report.drawing import Drawing, save_drawings
from maskbench.report.figures.eda import eda_drawings, fig_sample_grid
from maskbench.report.figures.evaluation import evaluation_figures
from maskbench.report.figures.training import training_figures
from maskbench.report.inside import inside_drawings
from maskbench.rundir import MANIFEST
from maskbench.schemas import read_table
from maskbench.steps import in_steps
from maskbench.storage import read_json, write_json

#: Faces shown per class in the grid of samples: one per sixth of the class's sizes.
SAMPLES_PER_CLASS = 6
#: Tables of the evaluation that figures are drawn from.
EVALUATION_TABLES = {
    "metrics": schemas.METRICS,
    "confusion": schemas.CONFUSION,
    "roc": schemas.ROC,
    "precision_recall": schemas.PRECISION_RECALL,
    "intervals": schemas.INTERVALS,
    "differences": schemas.DIFFERENCES,
}

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
) -> list[Path]:
    """Draw the figures that describe the dataset.

    Args:
        results: the run's results, with the tables of audit and eda.
        plots: where figures go.
        classes: class order.
        crop_of: face id -> its pixels, uint8 (H, W, 3).
        dpi: of the PNG files.
        progress: called with figures done and in all.

    Returns:
        The files.
    """
    return save_sections(plots, {"eda": _eda_drawings(results, classes, crop_of)}, dpi=dpi, progress=progress)


def _eda_drawings(results: Path, classes: Sequence[str], crop_of: Callable[[str], Pixels]) -> list[Drawing]:
    images = read_table(results / "audit" / "images", schemas.IMAGES)
    tables = {name: read_table(results / "eda" / name, schema) for name, schema in EDA_TABLES.items()}
    chosen = sample_faces(tables["boxes"], classes, SAMPLES_PER_CLASS)
    sizes = [f"{row.box_width:.0f} × {row.box_height:.0f} px" for row in chosen.itertuples()]
    grid = fig_sample_grid([crop_of(face) for face in chosen["face_id"]], list(chosen["class_name"]), sizes, classes)
    return [grid, *eda_drawings(images, tables, classes)]


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
    progress: Callable[[str], Progress | None],
) -> list[Path]:
    """Draw the figures of training and evaluation.

    Args:
        results: the run's results.
        plots: where figures go.
        classes: class order.
        arms: names of the study's arms, in order.
        seeds: training seeds.
        dpi: of the PNG files.
        progress: given a title, returns a callback for (done, total).

    Returns:
        The files.
    """
    parts: dict[str, Callable[[], dict[str, list[Drawing]]]] = {}
    if (results / "evaluate" / MANIFEST).is_file():
        parts["classification"] = lambda: _of_classification(results, classes, arms, seeds)
    parts["inside"] = lambda: inside_drawings(results / "explain", classes, arms)
    parts["detection"] = lambda: _of_detection(results, classes, arms)
    drawn = in_steps(progress("drawing"), parts)
    sections = {name: drawings for part in drawn.values() for name, drawings in part.items()}
    return save_sections(plots, sections, dpi=dpi, progress=progress("figures"))


def _of_detection(results: Path, classes: Sequence[str], arms: Sequence[str]) -> dict[str, list[Drawing]]:
    """Figures of arms that find faces, by section; none where no detector was measured."""
    found = detection_drawings(results / "detect-evaluate", classes, arms)
    if not found:
        return {}
    return {
        DETECTOR_TRAINING: detector_training_drawings(results / "detect-train", arms),
        DETECTION: found,
        DETECTION_FACTORS: detection_factor_drawings(results / "detect-factors", arms),
    }


def _of_classification(
    results: Path, classes: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[Drawing]]:
    """Figures of arms that name given faces, by section."""
    measured = {name: read_table(results / "evaluate" / name, schema) for name, schema in EVALUATION_TABLES.items()}
    drawn = {
        "training": _training_drawings(results, classes, arms, seeds),
        "evaluation": evaluation_figures(**measured, classes=classes, arms=arms),
    }
    epochs = _stacked(results, arms, seeds, "epochs", schemas.EPOCHS)
    if (results / "compare" / MANIFEST).is_file():
        drawn |= comparison_drawings(results / "compare", epochs, classes, arms)
    return drawn | experiment_drawings(results, arms)


def _training_drawings(
    results: Path, classes: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
) -> list[Drawing]:
    def table(name: str, schema: pa.DataFrameSchema) -> pd.DataFrame:
        return _stacked(results, arms, seeds, name, schema)

    epochs, steps = table("epochs", schemas.EPOCHS), table("steps", schemas.STEPS)
    best = {
        (arm, seed): int(read_json(_run(results, arm, seed) / "fit.json")["best_epoch"])
        for seed in seeds
        for arm in arms
    }
    return training_figures(epochs, steps, table("gradients", schemas.GRADIENTS), classes, arms, best)


def save_sections(
    plots: Path, drawn: Mapping[str, Sequence[Drawing]], *, dpi: int, progress: Progress | None = None
) -> list[Path]:
    """Save the figures of sections, and each section's list, `SECTION.json`; its earlier figures go.

    Args:
        plots: the run's folder of figures.
        drawn: by section (`eda`, `training`, `evaluation`, …), in the order of the report.
        dpi: of the PNG files.
        progress: called with figures done and in all.

    Returns:
        The files.
    """
    listings = {section: plots / f"{section}.json" for section in drawn}
    earlier = {entry["name"] for path in listings.values() if path.is_file() for entry in read_json(path)}
    written = save_drawings([drawing for part in drawn.values() for drawing in part], plots, dpi, progress)
    for section, path in listings.items():
        write_json(
            path,
            [{"name": d.name, "title": d.title, "caption": d.caption, "section": section} for d in drawn[section]],
        )
    # Of all sections: a figure may have moved to another.
    kept = {entry["name"] for path in plots.glob("*.json") for entry in read_json(path)}
    for name in earlier - kept:
        for suffix in (".png", ".svg"):
            (plots / f"{name}{suffix}").unlink(missing_ok=True)
    return [*written, *listings.values()]


def _run(results: Path, arm: str, seed: int) -> Path:
    return results / "train" / arm / f"seed{seed}"


def _stacked(
    results: Path, arms: Sequence[str], seeds: Sequence[int], name: str, schema: pa.DataFrameSchema
) -> pd.DataFrame:
    """One table of all trainings."""
    return schemas.concat_tables(
        [read_table(_run(results, arm, seed) / name, schema) for seed in seeds for arm in arms]
    )
