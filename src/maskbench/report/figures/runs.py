"""Choosing runs from a table that holds several arms and seeds."""

from __future__ import annotations

import pandas as pd


def seeds_of(table: pd.DataFrame) -> list[int]:
    """The seeds of a table, in order."""
    return sorted(int(seed) for seed in table["seed"].unique())


def select(table: pd.DataFrame, arm: str, seed: int, split: str | None = None) -> pd.DataFrame:
    """Rows of one run, of one side if named."""
    part = table[(table["arm"] == arm) & (table["seed"] == seed)]
    return part if split is None else part[part["split"] == split]
