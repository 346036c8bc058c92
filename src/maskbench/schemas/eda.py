"""Tables that describe a dataset."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, FLAG, KEY, NONNEGATIVE, POSITIVE, REAL, SHARE, STR, TEXT, table_schema

#: Summary rows: one quantity over all photographs or faces (`class_name` empty) or over those of one
#: class. `low`/`high` bound percentile bootstrap intervals in which whole photographs are drawn.
EDA_SUMMARY = table_schema(
    "eda_summary",
    {
        "class_name": TEXT,
        "quantity": KEY,
        "unit": KEY,
        "n": COUNT,
        "photographs": COUNT,
        "mean": REAL,
        "mean_low": REAL,
        "mean_high": REAL,
        "sd": NONNEGATIVE,
        "minimum": REAL,
        "q1": REAL,
        "median": REAL,
        "median_low": REAL,
        "median_high": REAL,
        "q3": REAL,
        "maximum": REAL,
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
    },
    unique=["class_name", "quantity"],
)

#: How many photographs have each file format, colour mode, bit depth, transparency.
IMAGE_KINDS = table_schema(
    "image_kinds",
    {
        "property": pa.Column(STR, pa.Check.isin(["format", "mode", "bit_depth", "transparency"])),
        "value": KEY,
        "photographs": COUNT,
        "share": SHARE,
    },
    unique=["property", "value"],
)

#: How many photographs hold `faces` faces (values that occur), and the share of all faces they hold.
FACES_PER_IMAGE = table_schema(
    "faces_per_image",
    {"faces": COUNT, "photographs": POSITIVE, "photograph_share": SHARE, "face_share": SHARE},
    unique=["faces"],
)

#: Share of each photograph inside at least one box (`coverage`, the union) and the sum of the boxes'
#: shares (`share_sum`, larger where boxes overlap).
IMAGE_COVERAGE = table_schema(
    "image_coverage",
    {"image_id": KEY, "faces": COUNT, "coverage": SHARE, "share_sum": NONNEGATIVE},
    unique=["image_id"],
)

#: Geometry of every box, in px, px² and shares of the photograph; `box_side` = √area.
BOXES = table_schema(
    "boxes",
    {
        "face_id": KEY,
        "image_id": KEY,
        "class_name": KEY,
        "box_width": NONNEGATIVE,
        "box_height": NONNEGATIVE,
        "box_area": NONNEGATIVE,
        "box_side": NONNEGATIVE,
        "box_aspect": NONNEGATIVE,
        "box_share": SHARE,
        "centre_x": SHARE,
        "centre_y": SHARE,
        "at_border": FLAG,
        "faces_in_image": POSITIVE,
    },
    unique=["face_id"],
)

#: Faces and photographs per class. `wilson_*` takes faces as independent, `cluster_*` draws whole
#: photographs.
CLASS_BALANCE = table_schema(
    "class_balance",
    {
        "class_name": KEY,
        "faces": COUNT,
        "share": SHARE,
        "wilson_low": SHARE,
        "wilson_high": SHARE,
        "cluster_low": SHARE,
        "cluster_high": SHARE,
        "photographs": COUNT,
        "photograph_share": SHARE,
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
    },
    unique=["class_name"],
)

#: Measures of imbalance over all classes, each with its definition.
CLASS_MEASURES = table_schema(
    "class_measures",
    {
        "measure": KEY,
        "value": REAL,
        "low": REAL,
        "high": REAL,
        "unit": KEY,
        "definition": KEY,
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
    },
    unique=["measure"],
)

#: Photographs in which two classes stand together, against independence. `scope`: `all` photographs
#: with a face, or those with `several` faces, where two classes can meet at all.
CLASS_COOCCURRENCE = table_schema(
    "class_cooccurrence",
    {
        "scope": pa.Column(STR, pa.Check.isin(["all", "several"])),
        "class_a": KEY,
        "class_b": KEY,
        "photographs": COUNT,
        "together": COUNT,
        "expected": NONNEGATIVE,
        "lift": NONNEGATIVE,
        "phi": pa.Column(float, pa.Check.in_range(-1, 1), nullable=True),
        "reason": TEXT,
    },
    unique=["scope", "class_a", "class_b"],
)

#: Class shares within bands of box size (√area, px) and of faces in the photograph; a band holds
#: `lower` ≤ value < `upper` (0 and infinity at open ends).
CLASS_BANDS = table_schema(
    "class_bands",
    {
        "factor": pa.Column(STR, pa.Check.isin(["box_side", "faces_in_image"])),
        "unit": KEY,
        "band_index": COUNT,
        "band": KEY,
        "lower": NONNEGATIVE,
        "upper": NONNEGATIVE,
        "class_name": KEY,
        "faces": COUNT,
        "band_faces": COUNT,
        "band_photographs": COUNT,
        "share": SHARE,
        "low": SHARE,
        "high": SHARE,
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
    },
    unique=["factor", "band_index", "class_name"],
)

#: Tests of association between class and a property of the box or photograph. `effect_low`/`_high`
#: bound basic bootstrap intervals in which whole photographs are drawn.
EDA_TESTS = table_schema(
    "eda_tests",
    {
        "test": KEY,
        "quantity": KEY,
        "null_hypothesis": KEY,
        "n": COUNT,
        "groups": COUNT,
        "statistic_name": KEY,
        "statistic": NONNEGATIVE,
        "degrees_of_freedom": COUNT,
        "p_value": SHARE,
        "p_value_holm": SHARE,
        "effect_name": KEY,
        "effect": SHARE,
        "effect_low": SHARE,
        "effect_high": SHARE,
        "corrected_name": KEY,
        "effect_corrected": REAL,
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
        "note": KEY,
    },
    unique=["test", "quantity"],
)

#: Where boxes lie, on a grid over the photograph; row 0 is the top, column 0 the left. `class_name`
#: is empty for all classes. `centres`: share of the faces whose box centre is in the cell (sums to
#: 1); `coverage`: mean share of the cell inside a box, over photographs with such a face.
HEATMAPS = table_schema(
    "heatmaps",
    {
        "quantity": pa.Column(STR, pa.Check.isin(["centres", "coverage"])),
        "class_name": TEXT,
        "row": COUNT,
        "column": COUNT,
        "value": SHARE,
        "faces": COUNT,
        "photographs": COUNT,
        "reason": TEXT,
    },
    unique=["quantity", "class_name", "row", "column"],
)
