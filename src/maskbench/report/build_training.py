"""The report's sections on models and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from maskbench.report.content import Training
from maskbench.report.content_results import (
    MISSING,
    number,
)
from maskbench.report.grids import Grid, grid, text


def models_section(part: Training) -> dict[str, Any]:
    """The implementations side by side."""
    tables = {str(name): rows for name, rows in part.layers.groupby("implementation", sort=False)}
    compared = ["kind", "kernel", "stride", "padding", "output_size", "parameters", "multiply_adds"]
    frames = [rows[compared].reset_index(drop=True) for rows in tables.values()]
    shown = ["layer", "kind", "kernel", "stride", "output_size", "parameters", "multiply_adds"]
    totals = pd.DataFrame(
        [
            {
                "implementation": name,
                "layers": len(rows),
                "parameters": int(rows["parameters"].sum()),
                "multiply-adds per face": int(rows["multiply_adds"].sum()),
            }
            for name, rows in tables.items()
        ]
    )
    return {
        "totals": grid(totals),
        "tables": [(name, grid(rows[shown], most=10**6)) for name, rows in tables.items()],
        "alike": len(frames) > 1 and all(frame.equals(frames[0]) for frame in frames[1:]),
        "several": len(frames) > 1,
    }


def training_section(part: Training) -> dict[str, Any]:
    """How each training went, and what each arm started from."""
    runs = []
    for run in part.runs:
        fit = run.fit
        runs.append(
            {
                "arm": run.arm,
                "seed": str(run.seed),
                "epochs": fit.get("epochs_run"),
                "best epoch": _plus_one(fit.get("best_epoch")),
                "best validation macro-F1": number(fit.get("best_f1_macro")),
                "stopped early": text(fit.get("stopped_early")),
                "seconds": number(fit.get("seconds"), 1),
                "faces per second": number(fit.get("faces_per_second"), 0),
                "device": str(fit.get("device") or MISSING),
                "precision": str(fit.get("precision") or MISSING),
                "memory format": str(fit.get("memory_format") or MISSING),
            }
        )
    return {
        "runs": _flipped(runs),
        "weights": _flipped(list({run.arm: _weights(run.arm, run.weights) for run in part.runs}.values())),
        "checks": _checks(part),
    }


def _checks(part: Training) -> list[dict[str, Any]]:
    """Whether the arms were trained alike, in sentences."""
    found = []
    if part.protocol is not None:
        alike = bool(part.protocol["equal"])
        parts = ", ".join(part.protocol["compared"])
        same = f"One protocol, checked from the saved files: {parts} are equal for all arms."
        found.append(
            (alike, same if alike else f"Arms were not trained alike: {'; '.join(part.protocol['differences'])}.")
        )
    batches = _same_batches(part)
    if batches is not None:
        order = "the same faces in the same order" if batches else "faces in different orders"
        found.append((batches, f"Arms of equal seed saw {order}."))
    return [{"good": good, "text": words} for good, words in found]


def _weights(arm: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """What an arm started from, as rows."""
    top1 = record.get("top1")
    return {
        "arm": arm,
        "weights": str(record.get("name") or MISSING),
        "source": str(record.get("source") or MISSING),
        "sha256": str(record.get("sha256") or MISSING),
        "pretraining": str(record.get("pretraining") or MISSING),
        "top-1 in pretraining": MISSING if top1 is None else f"{top1:.1%}",
        "tensors loaded": text(record.get("matched")),
        "model's tensors not loaded": ", ".join(record.get("not_matched") or ()) or MISSING,
        "file's tensors left out": ", ".join(record.get("dropped") or ()) or MISSING,
    }


def _flipped(records: Sequence[Mapping[str, Any]]) -> Grid:
    """Records as columns: facts run down, so that the table fits a narrow screen."""
    if not records:
        return Grid((), (), (), 0)
    several = len({record.get("seed") for record in records}) > 1
    heads = [record["arm"] + (f", seed {record['seed']}" if several else "") for record in records]
    facts = [name for name in records[0] if name != "arm" and not (several and name == "seed")]
    rows = tuple((name, *(text(record[name]) for record in records)) for name in facts)
    return Grid(("", *heads), rows, (False, *(False,) * len(records)), len(rows))


def _plus_one(epoch: int | None) -> str:
    """Epochs are counted from 0 in files and from 1 for people."""
    return MISSING if epoch is None else str(epoch + 1)


def _same_batches(part: Training) -> bool | None:
    """Whether arms of equal seed saw the same faces in the same order, over the epochs they share."""
    orders: dict[int, list[list[str]]] = {}
    for run in part.runs:
        orders.setdefault(run.seed, []).append(list(run.fit.get("batches_sha256") or ()))
    pairs = [
        one[: min(len(one), len(other))] == other[: min(len(one), len(other))]
        for group in orders.values()
        for one, other in pairwise(group)
        if one and other
    ]
    return all(pairs) if pairs else None
