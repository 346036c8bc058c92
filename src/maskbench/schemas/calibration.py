"""Tables of calibration: how far stated confidences are true.

Tables named `…_POOLED` stack the faces of all runs of an arm and count them in `runs`; otherwise they
have the columns of their namesake.
"""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import (
    COUNT,
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

#: `raw`: softmax of the logits; `temperature`: after division by the run's temperature.
CALIBRATIONS = ("raw", "temperature")
#: `equal_width`: bins of equal length on 0…1; `equal_mass`: bins of nearly equally many faces.
BIN_SCHEMES = ("equal_width", "equal_mass")

_CALIBRATED = pa.Column(str, pa.Check.isin(CALIBRATIONS))
_POOLED = {"arm": KEY, "runs": POSITIVE}

#: Temperature of each run, fitted on its validation faces: `low`/`high` bound a bootstrap interval over
#: validation photographs; `nll_raw`/`nll_scaled` are mean cross-entropies there, in nats.
TEMPERATURES = table_schema(
    "temperatures",
    {
        **RUN,
        "temperature": NONNEGATIVE,
        "low": NONNEGATIVE,
        "high": NONNEGATIVE,
        "confidence": SHARE,
        "resamples": COUNT,
        "incomplete": COUNT,
        "nll_raw": NONNEGATIVE,
        "nll_scaled": NONNEGATIVE,
        "images": COUNT,
        "faces": COUNT,
        "reason": TEXT,
    },
    unique=["arm", "seed"],
)

_scores = {
    "split": SPLIT_NAME,
    "calibrated": _CALIBRATED,
    "metric": KEY,
    "class_name": TEXT,
    "value": REAL,
    "low": REAL,
    "high": REAL,
    "confidence": SHARE,
    "resamples": COUNT,
    "bins": POSITIVE,
    "images": COUNT,
    "faces": COUNT,
    "reason": TEXT,
}

#: Calibration figures with bootstrap intervals over photographs; `class_name` is empty for the top
#: label, and names the class for one class against the rest.
CALIBRATION = table_schema(
    "calibration",
    {**RUN, **_scores},
    unique=["arm", "seed", "split", "calibrated", "metric", "class_name"],
)
CALIBRATION_POOLED = table_schema(
    "calibration_pooled",
    {**_POOLED, **_scores},
    unique=["arm", "split", "calibrated", "metric", "class_name"],
)

_bins = {
    "split": SPLIT_NAME,
    "calibrated": _CALIBRATED,
    "scheme": pa.Column(str, pa.Check.isin(BIN_SCHEMES)),
    "class_name": TEXT,
    "bin": COUNT,
    "lower": SHARE,
    "upper": SHARE,
    "faces": COUNT,
    "images": COUNT,
    "stated": SHARE,
    "observed": SHARE,
    "low": SHARE,
    "high": SHARE,
    "reason": TEXT,
}

#: Points of the reliability diagram: faces whose confidence lies between `lower` and `upper` state
#: `stated` on average (their mean probability) and are right in a share `observed`, with a bootstrap
#: interval over photographs. `class_name` empty: the top label is right; else: the face is of the class.
RELIABILITY = table_schema(
    "reliability",
    {**RUN, **_bins},
    unique=["arm", "seed", "split", "calibrated", "scheme", "class_name", "bin"],
)
RELIABILITY_POOLED = table_schema(
    "reliability_pooled",
    {**_POOLED, **_bins},
    unique=["arm", "split", "calibrated", "scheme", "class_name", "bin"],
)
