"""Tables of variants of a study."""

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
    TEXT,
    table_schema,
)
from maskbench.schemas.study import PREDICTIONS

_variant = {"experiment": KEY, "level": KEY, "amount": REAL}

#: One row per training of a variant; `amount` is the level as a number, NaN where it is none.
VARIANT_RUNS = table_schema(
    "variant_runs",
    {
        **_variant,
        **RUN,
        "train_faces": POSITIVE,
        "trained_parameters": COUNT,
        "epochs_run": POSITIVE,
        "best_epoch": COUNT,
        "seconds": NONNEGATIVE,
    },
    unique=["experiment", "level", "arm", "seed"],
)

#: `schemas.PREDICTIONS` of every variant.
VARIANT_PREDICTIONS = pa.DataFrameSchema(
    {**_variant, **PREDICTIONS.columns},
    name="variant_predictions",
    strict=True,
    unique=["experiment", "level", "arm", "seed", "split", "face_id"],
)

#: A measurement of a variant: mean over runs with its interval, and its distance from the reference level of the
#: experiment (the study itself where it is one of the levels). `paired`: both were measured on the same faces, so the
#: interval of `gap` is that of paired draws; otherwise both intervals were combined as if independent.
VARIANT_SUMMARY = table_schema(
    "variant_summary",
    {
        **_variant,
        "arm": KEY,
        "metric": KEY,
        "class_name": TEXT,
        "train_faces": NONNEGATIVE,
        "value": REAL,
        "sd": NONNEGATIVE,
        "low": REAL,
        "high": REAL,
        "reference": KEY,
        "gap": REAL,
        "gap_low": REAL,
        "gap_high": REAL,
        "paired": FLAG,
        "confidence": SHARE,
        "covers": KEY,
        "seeds": COUNT,
        "images": COUNT,
        "faces": COUNT,
        "reason": TEXT,
    },
    unique=["experiment", "level", "arm", "metric", "class_name"],
)
