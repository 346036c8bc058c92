"""Columns that tables share."""

from __future__ import annotations

import pandera.pandas as pa

SPLITS = ("train", "val", "test")
SEVERITIES = ("error", "warning", "info")

TEXT = pa.Column(str)
#: What a row tests and assumes, for the report; not in tables that were written before it was kept.
STATED = {"null_hypothesis": pa.Column(str, required=False), "assumptions": pa.Column(str, required=False)}
KEY = pa.Column(str, pa.Check.str_length(min_value=1))
SHARE = pa.Column(float, pa.Check.in_range(0, 1), nullable=True)
FLAG = pa.Column(bool)
COUNT = pa.Column(int, pa.Check.ge(0))
POSITIVE = pa.Column(int, pa.Check.ge(1))
REAL = pa.Column(float, nullable=True)
NONNEGATIVE = pa.Column(float, pa.Check.ge(0), nullable=True)
SPLIT_NAME = pa.Column(str, pa.Check.isin(SPLITS))
RUN = {"arm": KEY, "seed": COUNT}


def table_schema(name: str, columns: dict[str, pa.Column], unique: list[str] | None = None) -> pa.DataFrameSchema:
    """A schema that allows exactly these columns; `unique` names the key."""
    return pa.DataFrameSchema(columns, name=name, strict=True, unique=unique)
