"""Tables on how far explanations can be trusted."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, FLAG, KEY, POSITIVE, REAL, RUN, SHARE, TEXT, table_schema

CHECKS = ("fails", "passes", "undecided")

#: One row per face, method and measure, see `explain.faithfulness.measure_faithfulness`; NaN with a reason.
FAITHFULNESS = table_schema(
    "faithfulness",
    {**RUN, "method": KEY, "face_id": KEY, "image_id": KEY, "measure": KEY, "value": REAL, "reason": TEXT},
    unique=["arm", "seed", "method", "face_id", "measure"],
)

#: Mean probability of the explained class when a `share` of the pixels is deleted or inserted.
FAITHFULNESS_CURVES = table_schema(
    "faithfulness_curves",
    {
        **RUN,
        "method": KEY,
        "kind": pa.Column(str, pa.Check.isin(["deletion", "insertion"])),
        "share": SHARE,
        "prob": SHARE,
        "faces": POSITIVE,
    },
    unique=["arm", "seed", "method", "kind", "share"],
)

#: Means over faces and seeds with intervals over photographs. `gap` is to the random map, `centre_gap` to a blob in the
#: middle, on the same draws; `better` says whether both intervals lie on the good side of 0. `check`, of
#: `similarity_random` alone: `fails` (the map is the same whatever the weights are), `passes`, `undecided`. `maps` of
#: `faces` faces have a value, `undefined` maps have none.
FAITHFULNESS_SUMMARY = table_schema(
    "faithfulness_summary",
    {
        "arm": KEY,
        "method": KEY,
        "label": KEY,
        "baseline": FLAG,
        "measure": KEY,
        "value": REAL,
        "low": REAL,
        "high": REAL,
        "gap": REAL,
        "gap_low": REAL,
        "gap_high": REAL,
        "centre_gap": REAL,
        "centre_low": REAL,
        "centre_high": REAL,
        "better": FLAG,
        "check": pa.Column(str, pa.Check.isin(["", *CHECKS])),
        "confidence": SHARE,
        "maps": COUNT,
        "undefined": COUNT,
        "faces": COUNT,
        "images": COUNT,
        "seeds": COUNT,
        "reason": TEXT,
    },
    unique=["arm", "method", "measure"],
)

#: What maps look like, one row per run and test face, see `explain.map_features`; `arm_agreement` is the mean
#: correlation with the other arms' maps of the same face.
MAP_FEATURE_TABLE = table_schema(
    "map_features",
    {
        **RUN,
        "face_id": KEY,
        "image_id": KEY,
        "energy_lower": SHARE,
        "energy_box": SHARE,
        "dispersion": pa.Column(float, pa.Check.ge(0), nullable=True),
        "map_entropy": SHARE,
        "peak_x": SHARE,
        "peak_y": SHARE,
        "method_agreement": pa.Column(float, pa.Check.in_range(-1.001, 1.001), nullable=True),
        "arm_agreement": pa.Column(float, pa.Check.in_range(-1.001, 1.001), nullable=True),
    },
    unique=["arm", "seed", "face_id"],
)
