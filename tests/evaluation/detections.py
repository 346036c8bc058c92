"""Photographs with faces and found boxes that tests of detection share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from maskbench import schemas
from maskbench.evaluation.detection_boxes import Detected, System

CLASSES = ("masked", "bare", "worn badly")
SYSTEM = System("arm", 0, "test", "detector")
Box = tuple[float, float, float, float]


def faces_table(rows: Sequence[tuple[str, str, Box]]) -> pd.DataFrame:
    """`schemas.FACES` from (photograph, label, box); faces are numbered in each photograph."""
    table = pd.DataFrame(rows, columns=["image_id", "label", "box"])
    numbers = table.groupby("image_id").cumcount()
    boxes = np.array([row[2] for row in rows], dtype=float).reshape(-1, 4)
    columns = dict(zip(("xmin", "ymin", "xmax", "ymax"), boxes.T, strict=True))
    rest = {"image_width": 2000, "image_height": 2000, "clipped": False, "pose": "", "truncated": False}
    ids = [f"{image}#{number:03d}" for image, number in zip(table["image_id"], numbers, strict=True)]
    named = {"face_id": pd.Series(ids, dtype="str"), "image_id": table["image_id"].astype("str")}
    labels = {"label": table["label"].astype("str"), "source_label": table["label"].astype("str")}
    return pd.DataFrame({**named, **labels, **columns, **rest, "occluded": False, "difficult": False})


def detections_table(rows: Sequence[Any], system: System = SYSTEM) -> pd.DataFrame:
    """`schemas.DETECTIONS` from (photograph, label, score, box), all of them answers unless a fifth value says no;
    ranks follow scores, then the order given."""
    table = pd.DataFrame([row[:4] for row in rows], columns=["image_id", "label", "score", "box"])
    table["answer"] = np.array([all(row[4:]) for row in rows], dtype=bool)
    boxes = np.array([row[3] for row in rows], dtype=float).reshape(-1, 4)
    table = table.drop(columns="box").assign(**dict(zip(("xmin", "ymin", "xmax", "ymax"), boxes.T, strict=True)))
    table = table.sort_values(["image_id", "score"], ascending=[True, False], kind="stable").reset_index(drop=True)
    table["rank"] = table.groupby("image_id").cumcount() + 1
    return table.assign(**system.row()).reindex(columns=list(schemas.detection.DETECTIONS.columns))


def detected(
    faces: Sequence[tuple[str, str, Box]],
    found: Sequence[Any],
    *,
    images: Sequence[str] = (),
    classes: Sequence[str] = CLASSES,
    max_detections: int = 300,
    system: System = SYSTEM,
) -> Detected:
    """Both, in the photographs named or in all that occur."""
    names = images or sorted({row[0] for row in [*faces, *found]})
    return Detected.of(
        detections_table(found, system), faces_table(faces), names, classes, system, max_detections=max_detections
    )


def random_rows(
    seed: int,
    *,
    images: int = 14,
    most_faces: int = 12,
    false: int = 8,
    whole: bool = True,
    levels: int = 12,
    classes: Sequence[str] = CLASSES,
) -> tuple[list[tuple[str, str, Box]], list[tuple[str, str, float, Box]], list[str]]:
    """Faces of all sizes from one pixel up, found shifted, twice, under another name or not; some photographs crowded,
    some without faces, some without boxes; few different scores, so that many are equal."""
    rng = np.random.default_rng(seed)
    names = [f"p{number:03d}" for number in range(images)]
    faces: list[tuple[str, str, Box]] = []
    found: list[tuple[str, str, float, Box]] = []
    shares = np.array([0.6, 0.35, 0.05]) if len(classes) == 3 else np.full(len(classes), 1 / len(classes))
    for number, name in enumerate(names):
        kind = number % 7
        count = 0 if kind == 0 else 5 * most_faces if kind == 1 else int(rng.integers(1, most_faces + 1))
        for _ in range(count):
            side = np.maximum(1, 2 ** rng.uniform(0, 7.5) * rng.uniform(0.8, 1.25, 2))
            corner = rng.uniform(0, 400, 2)
            box = np.concatenate([corner, corner + side])
            box = np.rint(box) if whole else box
            box[2:] = np.maximum(box[2:], box[:2] + 1)
            label = str(rng.choice(classes, p=shares))
            faces.append((name, label, tuple(box)))
            for _ in range(rng.integers(0, 3) if kind != 2 else 0):
                moved = box + rng.normal(0, 0.12, 4) * np.tile(box[2:] - box[:2], 2)
                moved = np.rint(moved) if whole else moved
                moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
                other = str(rng.choice(classes))
                score = float(rng.integers(0, levels + 1)) / levels
                found.append((name, label if rng.random() < 0.8 else other, score, tuple(moved)))
        for _ in range(rng.integers(0, false + 1) if kind != 2 else 0):
            corner = rng.integers(0, 400, 2).astype(float)
            box = np.concatenate([corner, corner + rng.integers(1, 150, 2)])
            found.append((name, str(rng.choice(classes)), float(rng.integers(0, levels + 1)) / levels, tuple(box)))
    return faces, found, names
