"""Tables to and from files, validated on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaError, SchemaErrors

from maskbench.storage import atomic_path


class TableError(ValueError):
    """A table does not fit its schema; the message names table, column and what is wrong."""


def validate(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Return `table` if it fits `schema`.

    An empty table (no rows) is checked for its columns only: pandas cannot know the dtypes.

    Raises:
        TableError: a column is missing, unknown, of the wrong dtype or out of range.
    """
    if table.empty:
        missing = [name for name, column in schema.columns.items() if name not in table and not column.regex]
        if missing:
            raise TableError(f"table {schema.name}: columns missing: {', '.join(missing)}")
        return table
    try:
        return schema.validate(table, lazy=True)
    except (SchemaError, SchemaErrors) as error:
        cases = getattr(error, "failure_cases", None)
        if cases is None or not len(cases):
            raise TableError(f"table {schema.name}: {error}") from error
        first = cases.iloc[0].to_dict()
        raise TableError(f"table {schema.name}: {len(cases)} failure(s); first: {first}") from error


def empty_table(schema: pa.DataFrameSchema) -> pd.DataFrame:
    """A table without rows that has the schema's columns."""
    return pd.DataFrame({name: pd.Series(dtype=object) for name in schema.columns})


def write_table(path: Path, table: pd.DataFrame, schema: pa.DataFrameSchema, *, csv: bool = False) -> None:
    """Validate `table` and write it as Parquet, with a CSV of the same stem beside it if asked.

    Raises:
        TableError: the table does not fit.
        OSError: it cannot be written; existing files stay as they were.
    """
    validate(table, schema)
    with atomic_path(path.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)
    if csv:
        with atomic_path(path.with_suffix(".csv")) as temporary:
            table.to_csv(temporary, index=False)


def read_table(path: Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Read a table that `write_table` wrote and validate it.

    Raises:
        FileNotFoundError: there is none; the message says which stage writes it.
        TableError: the file is not this table.
    """
    path = path.with_suffix(".parquet")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; run the stage that writes it first")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: not a readable Parquet file ({error})") from error
    return validate(table, schema)


def concat_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of one schema, stacked; empty ones are left out, for they carry no dtypes."""
    return pd.concat([table for table in tables if not table.empty] or tables[:1], ignore_index=True)
