"""Detection in whole photographs in the report: figures and section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench.report.content_results import counted, interval, number
from maskbench.report.detecting_factors import (
    detection_factor_parts,
)
from maskbench.report.detecting_training import SECTION as TRAINING_SECTION
from maskbench.report.detecting_training import trainings_block
from maskbench.report.drawing import Drawing
from maskbench.report.figures.detection import detection_figures
from maskbench.report.figures.localisation import Placed, fig_localisation
from maskbench.report.grids import grid
from maskbench.report.questions import Block, Part, Question
from maskbench.schemas import read_table
from maskbench.schemas.detection import (
    ALL_CLASSES,
    ANY_FACE,
    DETECTION_DIFFERENCES,
    DETECTION_ERRORS,
    DETECTION_METRICS,
    DETECTION_TABLES,
    PLACED_FACES,
)
from maskbench.storage import read_arrays, read_json

SECTION = "detection"
_COLUMNS = ("xmin", "ymin", "xmax", "ymax")
_METRICS = {"ap": "AP@[.5:.95]", "ap50": "AP50", "ap75": "AP75", "ar_max": "AR"}

#: Heading of the table of systems -> metric, class, band of sizes.
_HEADLINE = {
    "AP50": ("ap50", ALL_CLASSES, "all"),
    "AP@[.5:.95]": ("ap", ALL_CLASSES, "all"),
    "AP50 any face": ("ap50", ANY_FACE, "all"),
    "AP50 any face, 16 to 32 px": ("ap50", ANY_FACE, "small"),
}


def detection_drawings(folder: Path, classes: Sequence[str], arms: Sequence[str]) -> list[Drawing]:
    """All figures of detection; none where nothing was detected.

    Args:
        folder: of the stage `detect-evaluate`.
        classes: class order.
        arms: in order.
    """
    if not (folder / "scores.json").is_file():
        return []
    tables = {name: read_table(folder / name, schema) for name, schema in DETECTION_TABLES.items()}
    drawn = detection_figures(
        tables["detection_metrics"], tables["detection_curves"], tables["detection_confusion"],
        tables["detection_errors"], tables["found_faces"], classes, arms,
    )  # fmt: skip
    return [*drawn, *_badly_placed(folder, arms)]


def _badly_placed(folder: Path, arms: Sequence[str]) -> list[Drawing]:
    table = read_table(folder / "placed_faces", PLACED_FACES)
    pieces = read_arrays(folder / "placed.safetensors")[0]["pieces"]
    drawn = []
    for number_, arm in enumerate(arms, start=1):
        places = [place for place, name in enumerate(table["arm"]) if name == arm]
        if not places:
            continue
        faces = [_placed(table.iloc[place], pieces[place]) for place in places]
        drawn.append(
            fig_localisation(
                faces, name=f"badly-placed-{number_}", title=f"The worst placed boxes: {arm}",
                caption="Faces of the first run's test photographs with the box that lies best on them. Look whether "
                "boxes are too large or shifted.",
            )
        )  # fmt: skip
    return drawn


def _placed(row: Any, pixels: Any) -> Placed:
    def box(kind: str) -> tuple[float, float, float, float]:
        xmin, ymin, xmax, ymax = (float(row[f"{kind}_{name}"]) for name in _COLUMNS)
        return xmin, ymin, xmax, ymax

    told = (f"{row['label']}, {row['side']:.0f} px", f"says: {row['predicted']} {row['score']:.2f}")
    return Placed(pixels, box("true"), box("found"), float(row["iou"]), told)


def detection_section(folder: Path, arms: Sequence[str]) -> Question | None:
    """The section on detection; None where nothing was detected.

    Args:
        folder: of the stage `detect-evaluate`.
        arms: in order.
    """
    if not (folder / "scores.json").is_file():
        return None
    metrics = read_table(folder / "detection_metrics", DETECTION_METRICS)
    differences = read_table(folder / "detection_differences", DETECTION_DIFFERENCES)
    errors = read_table(folder / "detection_errors", DETECTION_ERRORS)
    measured = (
        Block("Every system", "AP: mean of the classes; intervals over photographs.", grid(systems_table(metrics))),
        trainings_block(folder.with_name("detect-train"), arms),
        Block(
            "Average precision", "As COCO defines it, of the test photographs; intervals over photographs. Any face: "
            "classes do not matter.", grid(_rows(metrics)), folded=True,
        ),
        Block(
            "AP50 of any face, by size", "By the side of the box in px (tiny below 16, small below 32, medium below "
            "96), and in COCO's bands.", grid(_bands(metrics)), folded=True,
        ),
        Block(
            "Differences between detectors", "The same photographs, drawn together.", grid(_differences(differences)),
            folded=True,
        ),
        Block(
            "Kinds of error", "After Bolya et al. 2020: how many, and how much AP50 would rise if all of a kind were "
            "mended and nothing else.", grid(errors.drop(columns=["split"]), digits=3), folded=True,
        ),
    )  # fmt: skip
    factors = folder.with_name("detect-factors")
    faces, runs = _chosen(metrics, "ap50", ALL_CLASSES), metrics["seed"].nunique()
    return Question(
        "detection", "Detection in whole photographs", _answer(metrics), (_scores(folder),), "",
        (
            Part("detectors", "The detectors and what they reach", (), measured, (TRAINING_SECTION, SECTION)),
            *detection_factor_parts(factors),
        ),
        f"Rests on {counted(faces['faces'])} test faces in {counted(faces['images'])} photographs and "
        f"{runs} run{'s' if runs > 1 else ''} of each detector.",
    )  # fmt: skip


def systems_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """The headline figures of every detector as text, for a terminal and the report.

    Args:
        metrics: `schemas.detection.DETECTION_METRICS`.

    Returns:
        A row per arm, pipeline and run.
    """
    rows = []
    for (arm, pipeline, seed), own in metrics.groupby(["arm", "pipeline", "seed"], sort=False):
        row: dict[str, Any] = {"arm": arm, "pipeline": pipeline, "run": str(seed)}
        for heading, (metric, class_name, band) in _HEADLINE.items():
            found = _chosen(own, metric, class_name, band)
            span = interval(found["low"].iloc[0], found["high"].iloc[0])
            row[heading] = number(found["value"].iloc[0]) + (f" ({span})" if span else "")
        rows.append(row)
    return pd.DataFrame(rows, columns=["arm", "pipeline", "run", *_HEADLINE])


def _chosen(metrics: pd.DataFrame, metric: str, class_name: str, band: str = "all") -> pd.DataFrame:
    asked = (metrics["metric"] == metric) & (metrics["class_name"] == class_name) & (metrics["band"] == band)
    return metrics[asked]


def _answer(metrics: pd.DataFrame) -> tuple[str, ...]:
    """What each system reaches, in a sentence; of several runs each."""
    told = []
    for (arm, pipeline), own in metrics.groupby(["arm", "pipeline"], sort=False):
        runs = _chosen(own, "ap50", ALL_CLASSES).to_dict("records")
        anyone = _chosen(own, "ap50", ANY_FACE).set_index("seed")["value"]
        values = [f"{number(row['value'])} ({interval(row['low'], row['high']) or 'no interval'})" for row in runs]
        any_face = [number(anyone[row["seed"]]) for row in runs]
        over = f" in runs {runs[0]['seed']} to {runs[-1]['seed']}" if len(runs) > 1 else ""
        told.append(
            f"{arm}, {pipeline}: AP50 {', '.join(values)} as the mean over classes, {', '.join(any_face)} for faces of "
            f"any class{over}."
        )
    return tuple(told)


def _scores(folder: Path) -> str:
    chosen = read_json(folder / "scores.json")
    told = [f"{row['arm']}, {row['pipeline']}, run {row['seed']}: {row['min_score']:.2f}" for row in chosen]
    return (
        f"Boxes below a score count for average precision, and for nothing else; chosen on validation: "
        f"{'; '.join(told)}."
    )


def _rows(metrics: pd.DataFrame) -> pd.DataFrame:
    part = metrics[(metrics["band"] == "all") & metrics["metric"].isin(list(_METRICS))]
    return pd.DataFrame(
        [
            {
                "arm": row["arm"], "pipeline": row["pipeline"], "run": row["seed"], "metric": _METRICS[row["metric"]],
                "class": row["class_name"] or "mean of classes", "value": number(row["value"]),
                "interval": interval(row["low"], row["high"]) or row["reason"] or "–", "faces": row["faces"],
            }
            for row in part.to_dict("records")
        ]
    )  # fmt: skip


def _bands(metrics: pd.DataFrame) -> pd.DataFrame:
    part = metrics[(metrics["band"] != "all") & (metrics["metric"] == "ap50") & (metrics["class_name"] == ANY_FACE)]
    return pd.DataFrame(
        [
            {
                "arm": row["arm"], "pipeline": row["pipeline"], "run": row["seed"],
                "band": row["band"].replace("_", " "), "AP50": number(row["value"]),
                "interval": interval(row["low"], row["high"]) or row["reason"] or "–", "faces": row["faces"],
            }
            for row in part.to_dict("records")
        ]
    )  # fmt: skip


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    part = table[(table["band"] == "all") & table["metric"].isin(["ap", "ap50"])]
    return pd.DataFrame(
        [
            {
                "of": f"{row['arm']}, {row['pipeline']}", "to": f"{row['baseline_arm']}, {row['baseline_pipeline']}",
                "run": row["seed"], "metric": _METRICS[row["metric"]], "class": row["class_name"] or "mean of classes",
                "difference": number(row["value"], signed=True),
                "interval": interval(row["low"], row["high"], signed=True) or row["reason"] or "–",
            }
            for row in part.to_dict("records")
        ]
    )  # fmt: skip
