"""The small table of results at the end of a run, for a terminal or a log."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskbench.report.content import read_evaluation
from maskbench.report.content_results import results_table
from maskbench.report.detecting import systems_table
from maskbench.rundir import MANIFEST
from maskbench.schemas import read_table
from maskbench.schemas.detection import DETECTION_METRICS
from maskbench.storage import read_json


def print_results(results: Path) -> None:
    """Print the headline figures of a run's test split with their intervals, and where its report is.

    Args:
        results: the run's folder; what was measured in it is printed, of `evaluate` and of `detect-evaluate`.
    """
    if (results / "evaluate" / MANIFEST).is_file():
        _print_faces(results)
    if (results / "detect-evaluate" / MANIFEST).is_file():
        _print_photographs(results)
    report = results / "report.html"
    if report.is_file():
        print(f"report: {report.resolve()}")


def _print_faces(results: Path) -> None:
    classes = read_json(results / "audit" / "classes.json")
    evaluation = read_evaluation(results)
    shown = evaluation.over_runs()
    confidence = 100 * float(shown.intervals["confidence"].iloc[0])
    over = f"mean over {evaluation.headline.runs} runs, " if evaluation.headline else ""
    _print(
        f"{results.name}: test split, {over}{confidence:g} % intervals over photographs",
        results_table(shown.metrics, shown.intervals, classes),
        1,
    )


def _print_photographs(results: Path) -> None:
    metrics = read_table(results / "detect-evaluate" / "detection_metrics", DETECTION_METRICS)
    confidence = 100 * float(metrics["confidence"].iloc[0])
    title = f"{results.name}: detection, test photographs, {confidence:g} % intervals over them; AP: mean of classes"
    _print(title, systems_table(metrics), 3)


def _print(title: str, frame: pd.DataFrame, names: int) -> None:
    """Print a table whose first `names` columns are words."""
    table = Table(title=Text(title), title_justify="left")
    for position, name in enumerate(frame.columns):
        table.add_column(Text(str(name)), justify="left" if position < names else "right")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(str(value)) for value in row))  # plain: a class may be called [mask]
    # A pipe has no width of its own: 80 columns would fold the intervals.
    console = Console() if Console().is_terminal else Console(width=140)
    console.print(table)
