"""Tables of what is lost where faces are found first and named then."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, KEY, SHARE, TEXT, table_schema

#: What becomes of a face: found and named as what it is; found, named otherwise; only a badly placed box (IoU 0.1 to
#: 0.5) on it; no box. The last two are lost to localisation.
OUTCOMES = ("right", "misnamed", "misplaced", "missed")
_CORRELATION = pa.Column(float, pa.Check.in_range(-1, 1), nullable=True)

#: Shares of faces by outcome; bootstrap over photographs.
DETECTION_LOSSES = table_schema(
    "detection_losses",
    {
        "arm": KEY,
        "seed": COUNT,
        "split": KEY,
        "pipeline": KEY,
        "outcome": pa.Column(str, pa.Check.isin(list(OUTCOMES))),
        "count": COUNT,
        "faces": COUNT,
        "share": SHARE,
        "low": SHARE,
        "high": SHARE,
        "reason": TEXT,
        "confidence": SHARE,
    },
    unique=["arm", "seed", "split", "pipeline", "outcome"],
)

#: Spearman's rank correlation of a property with the IoU of found faces; bootstrap over photographs.
PLACEMENT_EFFECTS = table_schema(
    "placement_effects",
    {
        "arm": KEY,
        "property": KEY,
        "faces": COUNT,
        "photographs": COUNT,
        "mean_iou": SHARE,
        "correlation": _CORRELATION,
        "low": _CORRELATION,
        "high": _CORRELATION,
        "confidence": SHARE,
        "reason": TEXT,
    },
    unique=["arm", "property"],
)
