"""The report's section on the data: audit, description, split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench.report.content import ReportContext, Split
from maskbench.report.content_results import MISSING
from maskbench.report.document import FOLD_ROWS, Item, Section, Table, Text, illustrations, not_run
from maskbench.report.grids import Grid, grid

#: EDA tables with more rows are drawn, not printed.
MOST_EDA_ROWS = 30


def data_section(context: ReportContext, basis: Mapping[str, str]) -> Section:
    """What the study rests on.

    Args:
        context: of the report.
        basis: what each section's figures rest on.
    """
    return Section(
        "data",
        "Data",
        (Text(data_sentence(context)),) if context.audit else (),
        (
            Section("audit", "Audit", _audit(context, basis)),
            Section("description", "Description", _eda(context, basis)),
            Section("split", "Split", _split(context, basis)),
        ),
    )


def data_sentence(context: ReportContext) -> str:
    """The data in a sentence; empty before the audit."""
    if context.audit is None:
        return ""
    summary = context.audit.summary
    faces = summary["faces"]
    classes = ", ".join(
        f"{name} {counts['faces']:,} ({counts['faces'] / faces:.1%})" if faces else f"{name} 0"
        for name, counts in summary["classes"].items()
    )
    return (
        f"{source_in_words(context.settings.data.source)}: {summary['photographs']:,} photographs with {faces:,} "
        f"annotated faces, of the classes {classes}."
    )


def source_in_words(source: str) -> str:
    """What a dataset is called."""
    return {
        "sample": "The built-in sample, drawn by a program",
        "kaggle": "Face Mask Detection (andrewmvd/face-mask-detection on Kaggle, version 1)",
    }.get(source, f"The dataset {Path(source).name}")


def _audit(context: ReportContext, basis: Mapping[str, str]) -> tuple[Item, ...]:
    if context.audit is None:
        return (not_run("audit"),)
    summary, findings = context.audit.summary, context.audit.findings
    severities = ", ".join(f"{count:,} {severity}" for severity, count in summary["findings"].items())
    formats = ", ".join(f"{name} ({count:,})" for name, count in summary.get("formats", {}).items()) or MISSING
    duplicates = summary["duplicates"]
    items: list[Item] = [
        Text(
            f"Findings: {severities}. Duplicates: {duplicates['exact']} exact and {duplicates['near']} near pairs, "
            f"{duplicates['labels_disagree']} with labels that disagree. Formats: {formats}."
        ),
        Table("Classes", grid(class_counts(summary))),
    ]
    sizes, checks = size_quantiles(summary), _checks(summary)
    if len(sizes):
        items.append(Table("Sizes of photographs and boxes", grid(sizes)))
    if len(checks):
        items.append(Table("Checks that found something", grid(checks)))
    if len(findings):
        items.append(Table(f"All {len(findings):,} findings", grid(findings), folded=len(findings) > FOLD_ROWS))
    else:
        items.append(Text("No findings."))
    return (*items, *illustrations(context.pictures, ("audit",), basis))


def class_counts(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Faces and photographs by class."""
    rows = [{"class": name, **counts} for name, counts in summary.get("classes", {}).items()]
    return pd.DataFrame(rows, columns=["class", "faces", "photographs"])


def size_quantiles(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Quantiles of what the audit measured in pixels."""
    named = {"q25": "lower quartile", "q75": "upper quartile"}
    return pd.DataFrame(
        [
            {"quantity": name.replace("_", " "), **{named.get(key, key): value for key, value in quantiles.items()}}
            for name, quantiles in summary.get("sizes", {}).items()
            if quantiles
        ]
    )


def _checks(summary: Mapping[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "severity": facts["severity"], "check": name.replace("_", " "), "found": facts["count"],
                "what is done": facts["action"],
            }
            for name, facts in summary.get("checks", {}).items()
        ]
    )  # fmt: skip


def _eda(context: ReportContext, basis: Mapping[str, str]) -> tuple[Item, ...]:
    if context.eda is None:
        return (not_run("eda"),)
    short = {name: table for name, table in context.eda.items() if len(table) <= MOST_EDA_ROWS}
    long = [f"{name} ({len(table):,} rows)" for name, table in context.eda.items() if name not in short]
    tables = [
        Table(name.replace("_", " ").capitalize(), grid(table), folded=True)
        for name, table in short.items()
        if len(table)
    ]
    rest = (Text(f"Longer tables are in the run's folder, under eda: {', '.join(long)}.", "soft"),) if long else ()
    return (*illustrations(context.pictures, ("eda",), basis), *tables, *rest)


def _split(context: ReportContext, basis: Mapping[str, str]) -> tuple[Item, ...]:
    """Faces and class shares per side, and what sides share."""
    if context.split is None:
        return (not_run("split"),)
    items: list[Item] = [Text(_how(context)), Table("Faces and class shares of each side", sides(context.split))]
    table, leakage = context.split.proportions, context.split.leakage
    if (splits := table["split_id"].nunique() if "split_id" in table else 1) > 1:
        items.append(Text(f"The first of {splits} splits; all are in the run's folder, under split.", "soft"))
    if leakage is not None:
        leaks = bool((leakage[["shared_photographs", "exposed_faces"]] > 0).any().any())
        items.append(
            Text("Faces of one photograph, or of near-duplicates, sit on several sides: test figures are too good.",
                 "alert")
            if leaks
            else Text("No photograph, and no group of near-duplicates, sits on two sides.")
        )  # fmt: skip
        items.append(Table("What sides share", grid(leakage), folded=True))
    return (*items, *illustrations(context.pictures, ("split",), basis))


def _how(context: ReportContext) -> str:
    """How faces were divided."""
    split = context.settings.split
    shares = " / ".join(f"{share:.0%}" for share in split.fractions)
    return {
        "grouped": f"Grouped by photograph and near-duplicate, stratified by class: {shares} for training, validation "
        f"and test, from seed {split.seed}.",
        "kfold": f"{split.k} folds, grouped by photograph and near-duplicate, so that every face is tested; from seed "
        f"{split.seed}.",
        "random": f"Face by face at random: {shares} for training, validation and test, from seed {split.seed}.",
    }[split.strategy]


def sides(split: Split, wanted: Sequence[str] = ()) -> Grid:
    """Faces and class shares of each side, of the first split where there are several.

    Args:
        split: of the run.
        wanted: sides shown; none: all.
    """
    table = split.proportions
    if "split_id" in table:
        table = table[table["split_id"] == table["split_id"].min()]
    shown = [side for side in dict.fromkeys(table["split"]) if not wanted or side in wanted]
    rows = []
    for label in dict.fromkeys(table["label"].astype(str)):
        row: dict[str, Any] = {"class": label}
        for side in shown:
            part = table[(table["split"] == side) & (table["label"].astype(str) == label)].iloc[0]
            row[f"{side}: faces"] = int(part["faces"])
            row[f"{side}: share"] = MISSING if math.isnan(part["share"]) else f"{part['share']:.1%}"
        rows.append(row)
    total: dict[str, Any] = {"class": "all"}
    for side in shown:
        total[f"{side}: faces"] = int(table.loc[table["split"] == side, "faces"].sum())
        total[f"{side}: share"] = ""
    found = grid(pd.DataFrame([*rows, total]))
    return Grid(found.columns, found.rows, (False, *(True,) * (len(found.columns) - 1)), found.total)
