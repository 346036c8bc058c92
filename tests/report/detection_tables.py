"""Tables of detection for figures: every system finds most faces, each in its own way."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from maskbench.evaluation.detection import measure, metrics_table
from maskbench.evaluation.detection_boxes import Detected, System
from maskbench.evaluation.detection_curves import curves_table
from maskbench.evaluation.detection_errors import errors_table
from maskbench.evaluation.detection_faces import confusion_table, found_faces_table
from tests.evaluation.detections import CLASSES, detections_table, faces_table, random_rows

ARMS = ("hand-written", "torchvision")
ORDER = ("metrics", "curves", "confusion", "errors", "found")


def detection_tables(
    classes: Sequence[str] = CLASSES,
    arms: Sequence[str] = ARMS,
    pipelines: Sequence[str] = ("detector", "two-stage"),
    *,
    images: int = 21,
    seeds: Sequence[int] = (0,),
    resamples: int = 30,
    absent: str = "",
) -> dict[str, pd.DataFrame]:
    """`metrics`, `curves`, `confusion`, `errors`, `found`; no face is of the class `absent`."""
    faces, boxes, names = random_rows(2, images=images, classes=classes, levels=1000)
    faces = [face for face in faces if face[1] != absent]
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in ORDER}
    for seed in seeds:
        for number, system in enumerate(System(arm, seed, "test", name) for arm in arms for name in pipelines):
            kept = [box for place, box in enumerate(boxes) if (place + number + seed) % (3 + 2 * number)]
            table = detections_table(kept, system)
            found = Detected.of(table, faces_table(faces), names, classes, system)
            least = 0.3 + 0.05 * number
            parts["metrics"].append(metrics_table([measure(found, resamples=resamples)]))
            parts["curves"].append(curves_table(found))
            parts["confusion"].append(confusion_table(found, least))
            parts["errors"].append(errors_table(found))
            parts["found"].append(found_faces_table(found, least))
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
