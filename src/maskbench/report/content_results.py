"""What the results say, in words and small tables; the same for the report and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from maskbench.config import ReportConfig

#: Stands where there is no number.
MISSING = "–"
#: Figures over all classes in the results table, before and after those per class.
_BEFORE = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "f1_macro": "Macro-F1"}
_AFTER = {"roc_auc_macro": "Macro AUC"}


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number with fixed decimals, or a dash.

    Example:
        >>> number(0.12345), number(float("nan")), number(0.02, signed=True)
        ('0.123', '–', '+0.020')
    """
    if value is None or math.isnan(value):
        return MISSING
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if signed and value else ''}.{digits}f}".replace("-", "−")


def interval(low: float, high: float, digits: int = 3, *, signed: bool = False) -> str:
    """`low to high`, or empty where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{number(low, digits, signed=signed)} to {number(high, digits, signed=signed)}"


def counted(counts: pd.Series) -> str:
    """How many, or from how many to how many where runs differ.

    Example:
        >>> counted(pd.Series([46, 46])), counted(pd.Series([1200, 46]))
        ('46', '46 to 1,200')
    """
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def headline_rows(classes: Sequence[str]) -> list[tuple[str, str, str]]:
    """(metric, class name, label) of the results table, in order."""
    return [
        *((metric, "", label) for metric, label in _BEFORE.items()),
        *(("f1", name, f"F1 {name}") for name in classes),
        *((metric, "", label) for metric, label in _AFTER.items()),
    ]


def run_columns(intervals: pd.DataFrame) -> list[tuple[str, int, str]]:
    """(arm, seed, heading) of the results table; the seed is in the heading where there are several."""
    runs = [(str(arm), int(seed)) for arm, seed in intervals[["arm", "seed"]].drop_duplicates().to_numpy().tolist()]
    several = len({seed for _, seed in runs}) > 1
    return [(arm, seed, f"{arm}, seed {seed}" if several else arm) for arm, seed in runs]


def results_table(metrics: pd.DataFrame, intervals: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The headline test figures of every arm as text, for a terminal.

    Args:
        metrics: `schemas.METRICS`, for the figures of which there is no interval, and for support.
        intervals: `schemas.INTERVALS`.
        classes: class order.

    Returns:
        Columns `metric`, `faces` and one per arm (and seed, where there are several): text such as
        `0.811 (0.732 to 0.868)`; "–" where a figure is undefined.
    """
    test, spans = _test(metrics), _test(intervals)
    rows = []
    for metric, name, label in headline_rows(classes):
        row: dict[str, str] = {"metric": label, "faces": _support(test, name)}
        for arm, seed, heading in run_columns(test):
            found = cell(spans, metric, name, arm=arm, seed=seed) or cell(test, metric, name, arm=arm, seed=seed)
            text = number(found.get("value"))
            span = interval(found.get("low", math.nan), found.get("high", math.nan))
            row[heading] = f"{text} ({span})" if span and text != MISSING else text
        rows.append(row)
    return pd.DataFrame(rows)


def cell(table: pd.DataFrame, metric: str, class_name: str, **where: Any) -> dict[str, Any]:
    """The one row of a long table for a metric, as a dictionary; empty when there is none."""
    chosen = (table["metric"] == metric) & (table["class_name"] == class_name)
    for column, value in where.items():
        chosen &= table[column] == value
    rows = table[chosen]
    return {str(key): value for key, value in rows.iloc[0].items()} if len(rows) else {}


def verdict_sentences(differences: pd.DataFrame) -> list[str]:
    """What follows from the difference of macro-F1, one sentence per pair of arms and seed.

    A difference is shown where its interval does not contain 0.

    Args:
        differences: `schemas.DIFFERENCES`.
    """
    table = _test(differences)
    table = table[(table["metric"] == "f1_macro") & (table["class_name"] == "")]
    several = table["seed"].nunique() > 1
    return [_sentence({str(k): v for k, v in row.items()}, several) for row in table.to_dict("records")]


def _sentence(row: Mapping[str, Any], several: bool) -> str:
    where = f"Seed {row['seed']}: " if several else ""
    if math.isnan(row["value"]) or math.isnan(row["low"]) or math.isnan(row["high"]):
        return (
            f"{where}Nothing can be said about the macro-F1 of {row['arm']} against {row['baseline']}: the difference "
            f"or its interval is undefined on {row['images']} test photographs."
        )
    basis = (
        f"{row['confidence']:.0%} interval {interval(row['low'], row['high'], signed=True)}; "
        f"{row['images']} test photographs, {row['faces']} faces"
    )
    size = number(abs(row["value"]))
    direction = "higher" if row["value"] > 0 else "lower"
    if row["low"] <= 0 <= row["high"]:
        return (
            f"{where}No difference shown: the macro-F1 of {row['arm']} is {size} {direction} than that of "
            f"{row['baseline']}, and the interval of the difference contains 0 ({basis})."
        )
    return (
        f"{where}The macro-F1 of {row['arm']} is {size} {direction} than that of {row['baseline']} on these test "
        f"photographs, and the interval of the difference does not contain 0 ({basis})."
    )


def limitations(
    classes: Sequence[str],
    config: Mapping[str, Any],
    metrics: pd.DataFrame,
    intervals: pd.DataFrame,
    weights: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """What stands against reading too much into the numbers, from the files of the run; the gravest first.

    Args:
        classes: class order.
        config: the run's configuration.
        metrics: `schemas.METRICS`.
        intervals: `schemas.INTERVALS`.
        weights: record of the initial weights by arm.
    """
    test, warn = _test(metrics), ReportConfig.model_validate(config.get("report", {}))
    found = []
    if config.get("split", {}).get("strategy") == "random":
        found.append("Faces were split at random: faces of one photograph sit on several sides, and figures flatter.")
    if config.get("data", {}).get("source") == "sample":
        found.append("The photographs are drawn by a program: the figures say nothing about photographs of people.")
    for name in classes:
        faces = _support(test, name)
        if faces == "0":
            found.append(f"{name} has no test face: nothing is known about it, and means over classes leave it out.")
        elif faces != MISSING and int(faces) < warn.few_faces:
            found.append(
                f"{name} has {faces} test face{'s' if faces != '1' else ''}: each of them moves its recall by "
                f"{100 / int(faces):.1f} percentage points, and balanced accuracy by "
                f"{100 / int(faces) / len(classes):.1f}; an interval from so few shows only part of the doubt."
            )
    images = int(intervals["images"].min()) if len(intervals) else 0
    if 0 < images < warn.few_images:
        found.append(f"Only {images} test photographs: intervals from so few tend to be too narrow.")
    seeds = sorted(int(seed) for seed in test["seed"].unique())
    if len(seeds) == 1:
        found.append(
            f"One training seed ({seeds[0]}): the intervals cover which photographs were tested, not how much a "
            "second training would differ."
        )
    arms = list(config.get("arms", ()))
    if len(arms) > 1 and len({a["implementation"] for a in arms}) > 1 and len({a["initialisation"] for a in arms}) > 1:
        kinds = {(a["implementation"], a["initialisation"]) for a in arms}
        if len(kinds) < len({a for a, _ in kinds}) * len({b for _, b in kinds}):
            found.append(
                "The arms differ in implementation and in initial weights at once: a difference belongs to the two "
                "together, not to either alone."
            )
    for arm, record in weights.items():
        if record.get("source") in {"bundled", "file"}:
            found.append(
                f"{arm} started from {record.get('name')}, not from ImageNet weights"
                f"{' (pretraining: ' + str(record['pretraining']) + ')' if record.get('pretraining') else ''}: "
                "what ImageNet would give is not measured here."
            )
    lost = _test(intervals)
    lost = lost[(lost["metric"] == "f1_macro") & (lost["incomplete"] > 0)]
    if len(lost):
        found.append(
            f"{int(lost['incomplete'].max())} of {int(lost['resamples'].max())} resamples held no face of some class "
            "and were left out of the intervals of means over classes, which are too narrow for that."
        )
    found.append(
        "Classifiers see faces cut from annotated boxes: their figures say how well given faces are named, not how "
        "well faces are found."
    )
    return found


def undefined_figures(metrics: pd.DataFrame) -> list[str]:
    """Test figures that are undefined, or means that do not cover every class, with the reason."""
    table = _test(metrics)
    table = table[table["reason"] != ""]
    return [
        f"{row['arm']}, seed {row['seed']}: {row['metric']}{' of ' + row['class_name'] if row['class_name'] else ''}: "
        f"{row['reason']}"
        for row in table.to_dict("records")
    ]


def _support(test: pd.DataFrame, class_name: str) -> str:
    """Test faces of a class, or all; equal for every arm."""
    rows = test[(test["metric"] == "support") & (test["class_name"] == class_name)]
    return str(int(rows["value"].iloc[0])) if len(rows) else MISSING


def _test(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "test"]
