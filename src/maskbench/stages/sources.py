"""A comparison outside a study: saved predictions of several runs, or of somebody else's models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maskbench.comparison.answer import comparison_answer, mcnemar_sentences
from maskbench.config import Config
from maskbench.report.build import build_comparison
from maskbench.report.comparing import prediction_drawings
from maskbench.report.content import read_pictures
from maskbench.report.question1 import question1
from maskbench.report.sections import save_section
from maskbench.rundir import RunDir, RunError
from maskbench.stages.compare import compare_predictions, write_tables
from maskbench.storage import write_text

#: What a table of predictions must hold, beside one `prob_CLASS` per class.
NEEDED = ("arm", "seed", "split", "face_id", "image_id", "label")


def compare_sources(sources: Sequence[Path], folders: RunDir, config: Config, notify: Callable[[str], None]) -> Path:
    """Compare the arms of all sources; leaves tables, figures and a report.

    Args:
        sources: `results/NAME` folders or files of predictions.
        folders: where the comparison goes.
        config: draws, level, bins.
        notify: receives the answer.

    Returns:
        The report.

    Raises:
        RunError: a source has no predictions, or sources differ in their classes.
    """
    if folders.config_file.is_file():
        raise RunError(f"{folders.results}: holds a run; choose another --name for the comparison")
    predictions, classes = stacked_predictions(sources)
    tables = compare_predictions(predictions, classes, config.compare, config.split.seed)
    answer = {
        "comparison": comparison_answer(tables["differences"]),
        "decisions": mcnemar_sentences(tables["tests"]),
        "convergence": [],
    }
    folder = folders.stage("compare")
    write_tables(folder, tables, answer)
    arms = list(dict.fromkeys(predictions["arm"]))
    for section, drawings in prediction_drawings(folder, classes, arms).items():
        save_section(folders.plots, section, drawings, dpi=config.report.dpi)
    path = folders.results / "report.html"
    write_text(
        path, build_comparison(config.name, [str(s) for s in sources], question1(folder), read_pictures(folders.plots))
    )
    notify(str(answer["comparison"]))
    return path


def stacked_predictions(sources: Sequence[Path]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Predictions of all sources in one table, and the class order of the first.

    Raises:
        RunError: a source has no predictions or lacks columns, or sources differ in their classes.
    """
    names = _distinct([source.stem if source.is_file() else source.name for source in map(_resolved, sources)])
    parts, classes = [], tuple[str, ...]()
    for source, name in zip(sources, names, strict=True):
        table = read_predictions(source)
        own = tuple(column.removeprefix("prob_") for column in _probabilities(table))
        if classes and set(own) != set(classes):
            raise RunError(f"{source}: classes {', '.join(own)}, but the first source has {', '.join(classes)}")
        classes = classes or own
        parts.append(table.assign(arm=f"{name}/" + table["arm"].astype(str)) if len(sources) > 1 else table)
    return pd.concat(parts, ignore_index=True), classes


def _resolved(path: Path) -> Path:
    return path.resolve()


def _distinct(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}-{index + 1}" for index, name in enumerate(names)]


def read_predictions(source: Path) -> pd.DataFrame:
    """The predictions a run left, or those in a file; what the comparison needs of them.

    Returns:
        The columns `NEEDED`, `prob_CLASS`, `predicted`, `correct`, `loss` and `logit_CLASS`; those after the
        probabilities are worked out where the file has none (logits as log probabilities).

    Raises:
        RunError: nothing there to read, a column is missing, or probabilities that are none.
    """
    path = source / "evaluate" / "predictions.parquet" if source.is_dir() else source
    if not path.is_file():
        raise RunError(f"{source}: no predictions there; give results/NAME of an evaluated run, or a .parquet or .csv")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"label": str})
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not a readable table ({' '.join(str(error).split())})") from error
    probabilities = _probabilities(table)
    missing = [name for name in NEEDED if name not in table] + (["prob_CLASS"] if len(probabilities) < 2 else [])
    if missing:
        raise RunError(f"{path}: columns missing: {', '.join(missing)}")
    return _completed(table, probabilities, path)


def _probabilities(table: pd.DataFrame) -> list[str]:
    return [name for name in map(str, table.columns) if name.startswith("prob_")]


def _completed(table: pd.DataFrame, probabilities: list[str], path: Path) -> pd.DataFrame:
    classes = np.array([column.removeprefix("prob_") for column in probabilities], dtype=object)
    probs = table[probabilities].to_numpy(dtype=float)
    if not (np.isfinite(probs).all() and (probs >= 0).all() and np.allclose(probs.sum(axis=1), 1, atol=1e-3)):
        raise RunError(f"{path}: probabilities must be finite, not negative, and sum to 1 in every row")
    unknown = sorted(set(table["label"].astype(str)) - set(classes))
    if unknown:
        raise RunError(f"{path}: label {unknown[0]!r} has no column prob_{unknown[0]}")
    found = table[[*NEEDED, *probabilities]].copy()
    logits = [f"logit_{name}" for name in classes]
    given = all(name in table for name in logits)
    safe = np.log(np.maximum(probs, 1e-12))
    found["predicted"] = classes[probs.argmax(axis=1)]
    found["correct"] = found["predicted"] == found["label"]
    position = {name: index for index, name in enumerate(classes)}
    rows = np.arange(len(found))
    found["loss"] = -safe[rows, [position[label] for label in found["label"].astype(str)]]
    found[logits] = table[logits].to_numpy(dtype=float) if given else safe
    return found
