"""What commands say: lines, bars with time left, one JSON object for scripts."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.progress import Progress

    from maskbench.handles import StageResult, Study

#: Tables that a script wants of a stage; the others are named, and lie in its folder.
TABLES: dict[str, tuple[str, ...]] = {
    "split": ("proportions", "leakage"),
    "evaluate": ("metrics", "intervals", "differences"),
    "compare": ("summary", "differences", "tests"),
    "factors": ("ranking",),
    "intervene": ("ranking",),
    "detect-evaluate": ("detection_metrics", "detection_differences"),
}
#: Bars on the screen.
_bars: list[Progress] = []


def say(line: str) -> None:
    """Print a line for a person."""
    print(line, flush=True)


def is_watched() -> bool:
    """Whether a person watches what is printed."""
    return sys.stdout.isatty()


def progress(interactive: bool) -> Callable[[str], Callable[[int, int], None] | None]:
    """Progress bars with time left for a person, nothing for a pipe."""
    if not interactive:
        return lambda title: None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    def start(title: str) -> Callable[[int, int], None]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, transient=True)
        task = bar.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            if not bar.live.is_started:  # only when there is something to do: crops may come from the cache
                bar.start()
                _bars.append(bar)
            bar.update(task, completed=done, total=total)
            if done >= total:
                bar.stop()
                _bars.remove(bar)

        return update

    return start


def stop_bars() -> None:
    """Give the terminal back: an error or Ctrl-C leaves bars behind."""
    while _bars:
        _bars.pop().stop()


@contextmanager
def messages_to_stderr(wanted: bool) -> Iterator[None]:
    """Whatever is printed inside, by libraries too, goes to stderr: stdout is for the one JSON object."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def stage_json(result: StageResult) -> dict[str, Any]:
    """What a stage found, as JSON."""
    tables, summary = result.tables, result.summary
    return {
        "folder": str(result.folder),
        "summary": {name: value for name, value in summary.items() if "/" not in name},
        "tables": {name: records(tables[name]) for name in TABLES.get(result.name, ()) if name in tables},
        "files": {name: str(path) for name, path in tables.paths.items()},
        "figures": {name: str(path) for name, path in result.figures.items()},
    }


def study_json(study: Study, stages: list[str]) -> dict[str, Any]:
    """What stages of a study found, as JSON."""
    report = study.result("run").report
    begun = [stage for stage in stages if (study.results / stage).is_dir()]
    return {
        "name": study.name,
        "results": str(study.results),
        "plots": str(study.plots),
        "report": None if report is None else str(report),
        "stages": {stage: stage_json(study.result(stage)) for stage in begun},
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows; what is not a number is null."""
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return found
