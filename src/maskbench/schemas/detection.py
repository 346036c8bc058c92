"""Tables of detection in whole photographs: what was found, how well, and what went wrong.

A `pipeline` says how boxes got their classes: `detector` (boxes and classes of the detector itself) or `two-stage`
(its boxes, named by a classifier of faces).
"""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import (
    COUNT,
    FLAG,
    KEY,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    RUN,
    SHARE,
    SPLIT_NAME,
    TEXT,
    table_schema,
)

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
#: What an interval rests on: draws of the photographs, and how many of them had no face of that class and band.
_DRAWS = {
    "images": COUNT,
    "confidence": pa.Column(float, pa.Check.in_range(0, 1)),
    "resamples": COUNT,
    "incomplete": COUNT,
}
_BOX = {name: pa.Column(float, nullable=True) for name in ("xmin", "ymin", "xmax", "ymax")}

#: Boxes found, px of the photograph; `rank` counts from 1 in each photograph by falling score. A place may stand here
#: once for each class: `answer` marks what a user is told, one box per face. Average precision ranks every class by
#: itself and takes all rows of it, as COCO does; whatever asks what a face is called takes answers only.
DETECTIONS = table_schema(
    "detections",
    {
        **SYSTEM,
        "image_id": KEY,
        "rank": POSITIVE,
        "label": KEY,
        "score": pa.Column(float, pa.Check.in_range(0, 1)),
        "answer": FLAG,
        **{name: pa.Column(float) for name in ("xmin", "ymin", "xmax", "ymax")},
    },
    unique=[*_KEY, "image_id", "rank"],
)
#: `metric` as COCO names them (`ap`, `ap50`, `ap75`, `ar_max`, `ar50`, `ar75`); `class_name` a class, `ALL_CLASSES`
#: (their mean) or `ANY_FACE`; `band` a band of box sizes (`evaluation.detection_matching.BANDS`); `faces` are those
#: that count. Intervals are over photographs; `reason` says why there is no value, or none for an interval.
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
        **_DRAWS,
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
        **_DRAWS,
        "reason": TEXT,
    },
    unique=[*_KEY, "baseline_arm", "baseline_pipeline", "metric", "class_name", "band"],
)
#: Points of a precision–recall curve at one IoU, by falling score, one for each different score; `interpolated` is the
#: highest precision at this recall or more. `class_name` is a class or `ANY_FACE`; one without faces has no rows.
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
#: Faces of `label` that were found as `predicted`, at IoU ≥ 0.5 by boxes of `min_score` or more; one of both may be
#: `BACKGROUND` (a face that was not found, a box on no face), both not: what is rightly left alone cannot be counted.
DETECTION_CONFUSION = table_schema(
    "detection_confusion",
    {**SYSTEM, "label": KEY, "predicted": KEY, "count": COUNT, "min_score": SHARE},
    unique=[*_KEY, "label", "predicted"],
)
#: Errors by type among the boxes of `min_score` or more, the AP50 of these boxes, and how much it would rise if all
#: errors of that type were mended: at 0 of all rows, as in the paper; at the score that validation chose, of answers.
DETECTION_ERRORS = table_schema(
    "detection_errors",
    {
        **SYSTEM,
        "kind": pa.Column(str, pa.Check.isin(ERROR_KINDS)),
        "count": COUNT,
        "ap50": SHARE,
        "gain": REAL,
        "min_score": SHARE,
    },
    unique=[*_KEY, "kind", "min_score"],
)
#: Every face of the photographs: the box of `min_score` or more that found it (IoU ≥ 0.5, classes not minded), or,
#: where none did, the box that lies best on it; no box touches it: NaN and an empty `predicted`. `named`: found as what
#: it is; `side`: px, of a square with the area of the face's own box.
FOUND_FACES = table_schema(
    "found_faces",
    {
        **SYSTEM,
        "face_id": KEY,
        "image_id": KEY,
        "label": KEY,
        "side": pa.Column(float, pa.Check.ge(0)),
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
#: Below this overlap a box that does not find a face only grazes it.
LEAST_PLACED_IOU = 0.1
#: Badly placed boxes that the report shows, worst first: rows of `FOUND_FACES` with both boxes in px of the piece of
#: the photograph that is kept beside this table, in its order. A face that was not found stands here only for a box
#: that overlaps it by `LEAST_PLACED_IOU` or more and found no other face.
PLACED_FACES = table_schema(
    "placed_faces",
    {
        **SYSTEM,
        "rank": POSITIVE,
        "face_id": KEY,
        "label": KEY,
        "predicted": KEY,
        "score": SHARE,
        "iou": SHARE,
        "side": NONNEGATIVE,
        **{f"true_{name}": pa.Column(float) for name in _BOX},
        **{f"found_{name}": pa.Column(float) for name in _BOX},
    },
    unique=[*_KEY, "rank"],
)
DETECTION_TABLES = {
    "detection_metrics": DETECTION_METRICS,
    "detection_differences": DETECTION_DIFFERENCES,
    "detection_curves": DETECTION_CURVES,
    "detection_confusion": DETECTION_CONFUSION,
    "detection_errors": DETECTION_ERRORS,
    "found_faces": FOUND_FACES,
}
