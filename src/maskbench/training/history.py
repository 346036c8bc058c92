"""What a run has measured so far: plain columns that travel in the resume checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from maskbench import schemas

#: Recorded tables and their schemas; `arm` and `seed` are added on export.
TABLES = {
    "epochs": schemas.EPOCHS,
    "confusion": schemas.EPOCH_CONFUSION,
    "steps": schemas.STEPS,
    "gradients": schemas.GRADIENTS,
}


class History:
    """Rows by table, kept as columns of primitives.

    Primitives only, so that a checkpoint holding them loads with `weights_only=True`.

    Args:
        arm: name of the arm.
        seed: the run's seed.
    """

    def __init__(self, arm: str, seed: int) -> None:
        self.arm, self.seed = arm, seed
        self._columns: dict[str, dict[str, list[Any]]] = {name: {} for name in TABLES}
        #: Hash of each epoch's face order; equal for arms that saw the same batches.
        self.batches: list[str] = []
        #: Wall time of each epoch, training and validation.
        self.epoch_seconds: list[float] = []

    def add(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows (all with the same keys) to a table."""
        columns = self._columns[table]
        for row in rows:
            for key, value in row.items():
                columns.setdefault(key, []).append(value)

    def table(self, name: str) -> pd.DataFrame:
        """A table with `arm` and `seed`, in its schema's column order."""
        columns = self._columns[name]
        if not columns:
            return schemas.empty_table(TABLES[name])
        frame = pd.DataFrame(columns)
        frame.insert(0, "arm", self.arm)
        frame.insert(1, "seed", self.seed)
        return frame[list(TABLES[name].columns)]

    def state(self) -> dict[str, Any]:
        """All columns, for a checkpoint."""
        tables = {name: {key: list(values) for key, values in table.items()} for name, table in self._columns.items()}
        return {"tables": tables, "batches": list(self.batches), "epoch_seconds": list(self.epoch_seconds)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self._columns = {name: {key: list(v) for key, v in state["tables"][name].items()} for name in TABLES}
        self.batches = list(state["batches"])
        self.epoch_seconds = list(state["epoch_seconds"])

    def value(self, epoch: int, split: str, metric: str) -> float:
        """A metric over all classes of one epoch.

        Raises:
            KeyError: it was not recorded.
        """
        c = self._columns["epochs"]
        if c:
            for e, s, m, name, v in zip(c["epoch"], c["split"], c["metric"], c["class_name"], c["value"], strict=True):
                if (e, s, m, name) == (epoch, split, metric, ""):
                    return float(v)
        raise KeyError(f"{metric} of {split} in epoch {epoch}")
