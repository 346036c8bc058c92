"""Tables and values as the report prints them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from maskbench.report.content_results import MISSING

#: Tables are cut here; the complete one is in the run's folder, and the report says so.
MOST_ROWS = 200


@dataclass(frozen=True)
class Result:
    """A cell of measured value and, beneath it, its interval.

    Attributes:
        value: as text.
        span: its interval, may be empty.
        shown: the value is a difference that is shown.
    """

    value: str
    span: str
    shown: bool = False


@dataclass(frozen=True)
class Grid:
    """A table as the template prints it.

    Attributes:
        columns: headings.
        rows: cells.
        numeric: which columns are set flush right.
        total: rows of the complete table.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Result, ...], ...]
    numeric: tuple[bool, ...]
    total: int

    @property
    def cut(self) -> bool:
        """Whether rows are left out."""
        return self.total > len(self.rows)


def grid(table: pd.DataFrame, *, most: int = MOST_ROWS, digits: int = 4) -> Grid:
    """A table as text: floats to `digits` significant digits, missing values as a dash, at most `most` rows."""
    shown = table.head(most)
    numeric = tuple(bool(pd.api.types.is_numeric_dtype(table[name].dtype)) for name in table.columns)
    rows = tuple(tuple(text(value, digits) for value in row) for row in shown.itertuples(index=False, name=None))
    return Grid(tuple(str(name).replace("_", " ") for name in table.columns), rows, numeric, len(table))


def text(value: Any, digits: int = 4) -> str:
    """One cell as text.

    Example:
        >>> text(0.123456), text(float("nan")), text(1234), text(True), text("a")
        ('0.1235', '–', '1,234', 'yes', 'a')
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return MISSING
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return MISSING
        plain = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
        return plain.replace("-", "−") if "e" not in plain else plain
    if isinstance(value, int) or type(value).__name__.startswith(("int", "uint")):
        return f"{int(value):,}".replace("-", "−")
    return str(value)
