"""Tables of detection in whole photographs: what was found, how well, and what went wrong.

A `pipeline` says how boxes got their classes: `detector` (boxes and classes of the detector itself) or `two-stage`
(its boxes, named by a classifier of faces).
"""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, FLAG, KEY, POSITIVE, REAL, RUN, SHARE, SPLIT_NAME, TEXT, table_schema

#: The class of what is no face, in confusion tables.
BACKGROUND = "background"
#: The class that every face has where classes do not matter.
ANY_FACE = "any face"
#: Over all classes: their mean.
ALL_CLASSES = ""
PIPELINES = ("detector", "two-stage")
#: Error types of Bolya et al. 2020, in the order in which they are shown.
ERROR_KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")

_PIPELINE = pa.Column(str, pa.Check.isin(PIPELINES))
#: What was measured: an arm, a run, a side, a pipeline.
SYSTEM = {**RUN, "split": SPLIT_NAME, "pipeline": _PIPELINE}
_KEY = list(SYSTEM)
_BOX = {name: pa.Column(float, nullable=True) for name in ("xmin", "ymin", "xmax", "ymax")}

#: Boxes found, px of the photograph; `rank` counts from 1 in each photograph by falling score.
DETECTIONS = table_schema(
    "detections",
    {
        **SYSTEM,
        "image_id": KEY,
        "rank": POSITIVE,
        "label": KEY,
        "score": pa.Column(float, pa.Check.in_range(0, 1)),
        **{name: pa.Column(float) for name in ("xmin", "ymin", "xmax", "ymax")},
    },
    unique=[*_KEY, "image_id", "rank"],
)
#: `metric` as COCO names them (ap, ap50, ap75, ar_max…); `class_name` a class, `ALL_CLASSES` or `ANY_FACE`; `band` a
#: band of box sizes or `all`; `faces` are those that count. Intervals are over photographs.
DETECTION_METRICS = table_schema(
    "detection_metrics",
    {
        **SYSTEM,
        "metric": KEY,
        "class_name": TEXT,
        "band": KEY,
        "value": SHARE,
        "low": SHARE,
        "high": SHARE,
        "faces": COUNT,
        "reason": TEXT,
    },
    unique=[*_KEY, "metric", "class_name", "band"],
)
#: One system minus another (`baseline_…`) on the same photographs.
DETECTION_DIFFERENCES = table_schema(
    "detection_differences",
    {
        **SYSTEM,
        "baseline_arm": KEY,
        "baseline_pipeline": _PIPELINE,
        "metric": KEY,
        "class_name": TEXT,
        "band": KEY,
        "value": REAL,
        "low": REAL,
        "high": REAL,
        "reason": TEXT,
    },
    unique=[*_KEY, "baseline_arm", "baseline_pipeline", "metric", "class_name", "band"],
)
#: Points of a precision–recall curve at one IoU, by falling score; `interpolated` is the highest precision at this
#: recall or more.
DETECTION_CURVES = table_schema(
    "detection_curves",
    {
        **SYSTEM,
        "class_name": KEY,
        "iou": SHARE,
        "point": COUNT,
        "score": SHARE,
        "recall": SHARE,
        "precision": SHARE,
        "interpolated": SHARE,
    },
    unique=[*_KEY, "class_name", "iou", "point"],
)
#: Faces of `label` that were found as `predicted`, at IoU ≥ 0.5 and above a score; one of both may be `BACKGROUND`.
DETECTION_CONFUSION = table_schema(
    "detection_confusion",
    {**SYSTEM, "label": KEY, "predicted": KEY, "count": COUNT, "min_score": SHARE},
    unique=[*_KEY, "label", "predicted"],
)
#: Errors by type, and how much AP50 would rise if all errors of that type were mended.
DETECTION_ERRORS = table_schema(
    "detection_errors",
    {
        **SYSTEM,
        "kind": pa.Column(str, pa.Check.isin(ERROR_KINDS)),
        "count": COUNT,
        "ap50": SHARE,
        "gain": REAL,
    },
    unique=[*_KEY, "kind"],
)
#: Every face of the photographs: the box that found it (IoU ≥ 0.5 and above a score, classes not minded), or, where
#: none did, the box that lies best on it; no box at all: NaN and an empty `predicted`.
FOUND_FACES = table_schema(
    "found_faces",
    {
        **SYSTEM,
        "face_id": KEY,
        "image_id": KEY,
        "label": KEY,
        "found": FLAG,
        "named": FLAG,
        "iou": SHARE,
        "predicted": TEXT,
        "score": SHARE,
        "min_score": SHARE,
        **_BOX,
    },
    unique=[*_KEY, "face_id"],
)
DETECTION_TABLES = {
    "detection_metrics": DETECTION_METRICS,
    "detection_differences": DETECTION_DIFFERENCES,
    "detection_curves": DETECTION_CURVES,
    "detection_confusion": DETECTION_CONFUSION,
    "detection_errors": DETECTION_ERRORS,
    "found_faces": FOUND_FACES,
}
