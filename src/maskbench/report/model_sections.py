"""The report's sections on models and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from maskbench.report.basis import runs_of_each_arm
from maskbench.report.content import ReportContext, TrainedRun, Training
from maskbench.report.content_results import MISSING, number
from maskbench.report.document import Facts, Item, Section, Table, Text, illustrations, not_run
from maskbench.report.grids import Grid, grid, text

#: More trainings than this are rows of their table and not its columns.
MOST_COLUMNS = 4


def models_section(context: ReportContext, basis: Mapping[str, str]) -> Section:
    """The implementations side by side, and what they started from.

    Args:
        context: of the report.
        basis: what each section's figures rest on.
    """
    if context.training is None:
        return Section("models", "Models", (not_run("train"),))
    tables = {str(name): rows for name, rows in context.training.layers.groupby("implementation", sort=False)}
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
    shown = ["layer", "kind", "kernel", "stride", "output_size", "parameters", "multiply_adds"]
    items: tuple[Item, ...] = (
        Text(_arms(context)),
        Table("The implementations", grid(totals), _alike(list(tables.values()))),
        initial_weights(context.training.runs),
        *(Table(f"Layers of {name}", grid(rows[shown], most=len(rows)), folded=True) for name, rows in tables.items()),
        *illustrations(context.pictures, ("models",), basis),
    )
    return Section("models", "Models", items)


def _arms(context: ReportContext) -> str:
    arms = "; ".join(
        f"{arm.name}: implementation {arm.implementation}, {arm.initialisation} start" for arm in context.settings.arms
    )
    return f"An arm is an implementation with an initialisation. {arms}."


def _alike(tables: Sequence[pd.DataFrame]) -> str:
    """Whether implementations have the same layers."""
    counted = "One multiply-add is one multiplication with one addition; only convolutions and the head are counted."
    if len(tables) == 1:
        return counted
    compared = ["kind", "kernel", "stride", "padding", "output_size", "parameters", "multiply_adds"]
    first, *others = [rows[compared].reset_index(drop=True) for rows in tables]
    if all(rows.equals(first) for rows in others):
        return (
            "The implementations have the same layers: kind, kernel, stride, padding, output size, parameters and "
            f"multiply-adds are equal in every row. {counted}"
        )
    return f"The implementations differ in at least one layer. {counted}"


def initial_weights(runs: Sequence[TrainedRun]) -> Table:
    """What each arm started from."""
    return Table("Initial weights", _flipped(list({run.arm: _weights(run.arm, run.weights) for run in runs}.values())))


def protocol_section(context: ReportContext) -> Section:
    """How arms were trained and measured, and whether that was the same for all."""
    if context.training is None:
        return Section("protocol", "Protocol", (not_run("train"),))
    return Section("protocol", "Protocol", (protocol_facts(context), *_checks(context.training)))


def protocol_facts(context: ReportContext) -> Facts:
    """What the configuration asks of every arm."""
    config = context.settings
    train, seeds, evaluate, split = config.train, config.seeds, config.evaluate, config.split
    stop = f"; stopped after {train.patience} epochs without a better one" if train.patience else ""
    rows = [
        ("Input", f"{config.faces.input_size} px square, with {config.faces.margin:.0%} of the longer side as context"),
        ("Optimiser", f"{train.optimiser}, peak learning rate {train.learning_rate:g}, weight decay "
         f"{train.weight_decay:g}, linear warm-up over {train.warmup_share:.0%} of the steps, then cosine"),
        ("Loss", f"{train.loss.replace('_', ' ')}, label smoothing {train.label_smoothing:g}"),
        ("Length", f"{train.epochs} epochs of batches of {train.batch_size}; regime {train.regime}{stop}"),
        ("Augmentation", ", ".join(f"{name.replace('_', ' ')} {value:g}"
                                   for name, value in train.augment.model_dump().items() if value) or "none"),
        ("Choice of the epoch", "highest validation macro-F1, averaged over up to "
         f"{train.selection_window} epochs; no choice is made on test faces"),
        ("Runs", f"{runs_of_each_arm(seeds)}; run number s of one arm and of another are a pair: equal faces, order "
         "and augmentation"),
        ("Prediction", "logits averaged over a face and its mirror image" if evaluate.flip_average
         else "one view of each face"),
        ("Intervals", f"{evaluate.confidence:.0%}, {evaluate.resamples:,} draws of whole photographs, from seed "
         f"{split.seed}"),
    ]  # fmt: skip
    return Facts(tuple(rows))


def training_items(part: Training) -> tuple[Item, ...]:
    """How each training went."""
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
    shown = _flipped(runs) if len(runs) <= MOST_COLUMNS else grid(pd.DataFrame(runs))
    return (Table("Trainings", shown),)


def _checks(part: Training) -> tuple[Text, ...]:
    """Whether the arms were trained alike, in sentences."""
    found: list[tuple[bool, str]] = []
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
    return tuple(Text(words, "plain" if good else "alert") for good, words in found)


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
