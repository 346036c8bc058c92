"""The small table of results at the end of a run, for a terminal or a log."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskbench.report.content import read_evaluation
from maskbench.report.content_results import results_table
from maskbench.storage import read_json


def print_results(results: Path) -> None:
    """Print the headline figures of a run's test split with their intervals, and where its report is.

    Args:
        results: the run's folder, with the tables of `evaluate`.
    """
    classes = read_json(results / "audit" / "classes.json")
    evaluation = read_evaluation(results)
    shown = evaluation.over_runs()
    frame = results_table(shown.metrics, shown.intervals, classes)
    confidence = 100 * float(shown.intervals["confidence"].iloc[0])
    over = f"mean over {evaluation.headline.runs} runs, " if evaluation.headline else ""
    title = Text(f"{results.name}: test split, {over}{confidence:g} % intervals over photographs")
    table = Table(title=title, title_justify="left")
    for position, name in enumerate(frame.columns):
        table.add_column(Text(str(name)), justify="left" if position == 0 else "right")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(str(value)) for value in row))  # plain: a class may be called [mask]
    # A pipe has no width of its own: 80 columns would fold the intervals.
    console = Console() if Console().is_terminal else Console(width=140)
    console.print(table)
    report = results / "report.html"
    if report.is_file():
        print(f"report: {report.resolve()}")
