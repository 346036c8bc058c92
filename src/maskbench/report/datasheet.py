"""A datasheet of the study's dataset: what the audit measured, what is known of its source, and what is not known.

Source:
    Gebru et al. (2021): Datasheets for Datasets. Communications of the ACM 64(12).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench.report.abstract import byline
from maskbench.report.content import ReportContext
from maskbench.report.data_sections import class_counts, data_sentence, sides, size_quantiles, source_in_words
from maskbench.report.document import Bullets, Document, Item, Section, Table, Text, not_run
from maskbench.report.grids import grid

#: By what a copy of the public dataset is known.
KAGGLE_FOLDER, KAGGLE_PHOTOGRAPHS = "face-mask-detection", 853
_UNKNOWN = "Unknown: the dataset is the user's, and nothing in its files says so."
#: Source -> question -> what is known; what is not named is unknown.
_KNOWN: dict[str, dict[str, str]] = {
    "sample": {
        "purpose": "Made so that the software can be tried and tested without a download. It is no photograph of "
        "anything and measures nothing about people.",
        "creator": "The maskbench authors; a program of the software draws it.",
        "collection": "Generated: every photograph, face and annotation is drawn from random numbers with a fixed "
        "seed. No person is shown, so nobody had to agree.",
        "labelling": "The program knows what it drew; boxes and labels are exact but for faults that it puts in on "
        "purpose.",
        "use": "Trying the software, testing it, showing what a report looks like. Not for conclusions about masks, "
        "people or photographs.",
        "distribution": "With the software, under its licence; drawn on the user's machine.",
        "maintenance": "A version number of the generator is part of the key under which a sample is kept.",
    },
    "kaggle": {
        "purpose": "Published for detecting people with masks, without them, and with masks worn incorrectly. Who "
        "paid for it is not known.",
        "creator": "Published on Kaggle by the user andrewmvd as `andrewmvd/face-mask-detection`.",
        "collection": "Photographs of people in public; how they were found, when, and whether those shown agreed is "
        "not documented with the files.",
        "labelling": "Boxes and classes in Pascal-VOC files; who annotated them, and how far annotators agree, is not "
        "documented.",
        "use": "Research on finding faces and naming how masks are worn. Not for decisions about people.",
        "distribution": "On Kaggle, version 1, under CC0 1.0 (public domain dedication).",
        "maintenance": "The study pins version 1; nothing is known of updates or of a way to have a photograph "
        "removed.",
    },
}  # fmt: skip


def datasheet(context: ReportContext) -> Document:
    """The datasheet; numbers are those of the audit and of the tables that describe the data.

    Args:
        context: from `collect_report`.
    """
    source, taken = recognised(context)
    known = _KNOWN.get(source, {})

    def told(name: str) -> Text:
        return Text(known.get(name, _UNKNOWN))

    return Document(
        title=f"Datasheet: {source_in_words(source)}",
        byline=byline(context),
        notices=(),
        abstract=(),
        sections=(
            Section("motivation", "Motivation", (*taken, told("purpose"), told("creator"))),
            Section("composition", "Composition", _composition(context)),
            Section("collection", "Collection process", (told("collection"),)),
            Section(
                "preprocessing", "Preprocessing, cleaning, labelling", (told("labelling"), *_preprocessed(context))
            ),
            Section("uses", "Uses", (told("use"), *_risks(context))),
            Section("distribution", "Distribution", (told("distribution"),)),
            Section("maintenance", "Maintenance", (told("maintenance"),)),
        ),
    )  # fmt: skip


def recognised(context: ReportContext) -> tuple[str, tuple[Text, ...]]:
    """The source, by the key of what is known of it; a copy of the public dataset is taken for it, and that is said."""
    source = context.settings.data.source
    photographs = context.audit.summary["photographs"] if context.audit else 0
    if Path(source).name == KAGGLE_FOLDER and photographs == KAGGLE_PHOTOGRAPHS:
        why = f"the folder is called {KAGGLE_FOLDER} and holds {photographs} photographs"
        return "kaggle", (Text(f"Taken for the public dataset: {why}."),)
    return source, ()


def _composition(context: ReportContext) -> tuple[Item, ...]:
    if context.audit is None:
        return (not_run("audit"),)
    summary = context.audit.summary
    items: list[Item] = [
        Text(f"{data_sentence(context)} One instance is a face in a photograph, given as a box with a class."),
        Table("Classes", grid(class_counts(summary))),
    ]
    if len(sizes := size_quantiles(summary)):
        items.append(Table("Sizes of photographs and boxes", grid(sizes)))
    items.append(Table("Files", grid(_formats(summary))))
    items.append(Bullets(_faults(summary)))
    if context.split is not None:
        items.append(Table("Sides used by this study", sides(context.split)))
    return tuple(items)


def _formats(summary: Mapping[str, Any]) -> pd.DataFrame:
    rows = [{"format": name, "photographs": count} for name, count in summary.get("formats", {}).items()]
    return pd.DataFrame(rows, columns=["format", "photographs"])


def _faults(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Errors, noise and redundancy that the audit found."""
    duplicates, findings = summary["duplicates"], summary["findings"]
    return (
        f"Audit: {', '.join(f'{count:,} {severity}' for severity, count in findings.items())}.",
        *(
            f"{name.replace('_', ' ')}: {facts['count']:,} ({facts['severity']}); {facts['action']}"
            for name, facts in summary.get("checks", {}).items()
        ),
        f"Duplicates: {duplicates['exact']} exact and {duplicates['near']} near pairs, "
        f"{duplicates['labels_disagree']} with labels that disagree.",
        "Faces that were not annotated cannot be counted from the files.",
    )


def _preprocessed(context: ReportContext) -> tuple[Item, ...]:
    """What this study does to the data before a model sees them; the files stay as they are."""
    config = context.settings
    mapped = ", ".join(f"{old} → {new}" for old, new in config.data.label_map.items())
    return (
        Text("What this study does; the dataset's own files are only read:"),
        Bullets(
            (
                f"Labels renamed or merged: {mapped or 'none'}.",
                "Photographs are read as 8-bit RGB, transparency is ignored, boxes are clipped to the photograph.",
                f"For classifiers, faces are cut out with {config.faces.margin:.0%} of context and resized to "
                f"{config.faces.input_size} px.",
            )
        ),
    )


def _risks(context: ReportContext) -> tuple[Item, ...]:
    """What of the composition bears on uses, from the tables that describe the data."""
    if context.eda is None or "class_measures" not in context.eda:
        return ()
    table = context.eda["class_measures"]
    return (Table("How unequal the classes are", grid(table[["measure", "value", "low", "high", "definition"]])),)
