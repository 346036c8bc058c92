"""Columns that tables share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandera.pandas as pa
from pandera.engines.pandas_engine import STRING


class _Text(STRING):
    """Text, as `str` is for a column, with one answer for a column that holds nothing else.

    To an answer for each value pandera composes a message about those that are none, also where there are none: half
    the time that checking a column of text takes.
    """

    def check(self, pandera_dtype: Any, data_container: Any = None) -> bool | Iterable[bool]:
        """Whether a column (or each of its values) is text."""
        found: bool | Iterable[bool] = super().check(pandera_dtype, data_container)
        return True if isinstance(found, np.ndarray) and found.all() else found


STR = _Text(None)  # stored as pandas does

SPLITS = ("train", "val", "test")
SEVERITIES = ("error", "warning", "info")

TEXT = pa.Column(STR)
#: What a row tests and assumes, for the report; not in tables that were written before it was kept.
STATED = {"null_hypothesis": pa.Column(STR, required=False), "assumptions": pa.Column(STR, required=False)}
KEY = pa.Column(STR, pa.Check.str_length(min_value=1))
SHARE = pa.Column(float, pa.Check.in_range(0, 1), nullable=True)
FLAG = pa.Column(bool)
COUNT = pa.Column(int, pa.Check.ge(0))
POSITIVE = pa.Column(int, pa.Check.ge(1))
REAL = pa.Column(float, nullable=True)
NONNEGATIVE = pa.Column(float, pa.Check.ge(0), nullable=True)
SPLIT_NAME = pa.Column(STR, pa.Check.isin(SPLITS))
RUN = {"arm": KEY, "seed": COUNT}


def table_schema(name: str, columns: dict[str, pa.Column], unique: list[str] | None = None) -> pa.DataFrameSchema:
    """A schema that allows exactly these columns; `unique` names the key."""
    return pa.DataFrameSchema(columns, name=name, strict=True, unique=unique)
