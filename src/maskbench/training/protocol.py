"""Proof from the saved files that two trainings differed in nothing but model and initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskbench.storage import read_json

#: Parts of a checkpoint's record that must be equal for all arms.
EQUAL = ("classes", "preprocess", "execution", "evaluate", "protocol", "training_set", "versions")


def compare_protocols(runs: Sequence[Path]) -> dict[str, Any]:
    """Compare finished trainings of one study.

    Args:
        runs: folders of trainings, each with `best.json` and `fit.json`.

    Returns:
        `equal`, `compared` (the parts), `epochs_compared` (per seed, how many epochs' face orders
        were compared: those that all arms of the seed ran), and `differences` in words.
    """
    # Trainings from before the training faces could be altered do not name them.
    records = [
        (run, {"training_set": None} | read_json(run / "best.json"), read_json(run / "fit.json")) for run in runs
    ]
    found: list[str] = []
    _, reference, _ = records[0]
    for run, record, _ in records[1:]:
        found += [f"{part} of {run.parent.name}/{run.name}" for part in EQUAL if record[part] != reference[part]]
    epochs: dict[str, int] = {}
    for seed in sorted({record["seed"] for _, record, _ in records}):
        orders = [(run, fit["batches_sha256"]) for run, record, fit in records if record["seed"] == seed]
        common = min(len(order) for _, order in orders)
        epochs[str(seed)] = common
        found += [
            f"order of faces of {run.parent.name}, seed {seed}"
            for run, order in orders[1:]
            if order[:common] != orders[0][1][:common]
        ]
    return {"equal": not found, "compared": list(EQUAL), "epochs_compared": epochs, "differences": found}
