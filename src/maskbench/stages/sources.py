"""What a comparison outside a study reads: saved runs, or files of predictions of somebody else's models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maskbench.rundir import RunError

#: What a table of predictions must hold, beside one `prob_CLASS` per class.
NEEDED = ("arm", "seed", "split", "face_id", "image_id", "label")


@dataclass(frozen=True, eq=False)
class Source:
    """Predictions, and the run they come from where there is one.

    Attributes:
        path: `results/NAME`, or a file.
        prefix: what the names of its arms begin with, so that those of several sources differ.
        predictions: see `read_predictions`; its arms with the prefix.
        classes: class order.
    """

    path: Path
    prefix: str
    predictions: pd.DataFrame
    classes: tuple[str, ...]

    def file(self, *parts: str) -> Path | None:
        """A file of the run, without suffix `.parquet`; None where there is none."""
        path = self.path.joinpath(*parts)
        return path if self.path.is_dir() and path.with_suffix(".parquet").is_file() else None

    def trainings(self) -> list[tuple[Path, str]]:
        """The folders of its trainings, each with its arm's name in the comparison; none for a file."""
        runs = self.predictions[["arm", "seed"]].drop_duplicates().itertuples(index=False)
        found = [
            (self.path / "train" / str(run.arm).removeprefix(self.prefix) / f"seed{run.seed}", str(run.arm))
            for run in runs
        ]
        return [(folder, arm) for folder, arm in found if (folder / "fit.json").is_file()]

    def renamed(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table of the run with its arms called as in the comparison."""
        names = {name: self.prefix + table[name].astype(str) for name in ("arm", "baseline") if name in table}
        return table.assign(**names)


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """All sources, with arms that have names of their own.

    Raises:
        RunError: a source has no predictions or lacks columns, or sources differ in their classes.
    """
    names = _distinct([path.stem if path.is_file() else path.name for path in map(_resolved, paths)])
    found: list[Source] = []
    for path, name in zip(paths, names, strict=True):
        table = read_predictions(path)
        classes = tuple(column.removeprefix("prob_") for column in _probabilities(table))
        if found and set(classes) != set(found[0].classes):
            raise RunError(
                f"{path}: classes {', '.join(classes)}, but the first source has {', '.join(found[0].classes)}"
            )
        prefix = f"{name}/" if len(paths) > 1 else ""
        found.append(Source(path, prefix, table.assign(arm=prefix + table["arm"].astype(str)), classes))
    return found


def _resolved(path: Path) -> Path:
    return path.resolve()


def _distinct(names: list[str]) -> list[str]:
    """The names, numbered where several are equal; no number makes a name that another source has."""
    found: list[str] = []
    for name in names:
        if names.count(name) > 1:
            numbered = (f"{name}-{number}" for number in itertools.count(1))
            name = next(text for text in numbered if text not in found and text not in names)  # noqa: PLW2901
        found.append(name)
    return found


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
    texts = [name for name in NEEDED if name != "seed"]
    try:
        # Ids are names, whatever they look like: 000123 is not 123, and a class may be called None.
        table = (
            pd.read_parquet(path)
            if path.suffix == ".parquet"
            else pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False)
        )
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not a readable table ({' '.join(str(error).split())})") from error
    probabilities = _probabilities(table)
    missing = [name for name in NEEDED if name not in table] + (["prob_CLASS"] if len(probabilities) < 2 else [])
    if missing:
        raise RunError(f"{path}: columns missing: {', '.join(missing)}")
    return _completed(_keyed(table, texts, path), probabilities, path)


def _keyed(table: pd.DataFrame, texts: list[str], path: Path) -> pd.DataFrame:
    """The table with ids as texts and seeds as whole numbers, every face once.

    Raises:
        RunError: a key is missing or ill-formed, or a face stands there twice or under several labels.
    """
    found = table.copy()
    for name in texts:
        empty = found[name].isna() | (found[name].astype(str).str.strip() == "")
        if empty.any():
            raise RunError(f"{path}: {name} is empty in row {int(empty.to_numpy().argmax()) + 1}")
        found[name] = found[name].astype(str)
    seeds = pd.to_numeric(found["seed"], errors="coerce")
    wrong = ~(seeds >= 0) | (seeds % 1 != 0)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise RunError(f"{path}: seed {found['seed'].iloc[row]!r} in row {row + 1} is not a whole number from 0 on")
    found["seed"] = seeds.astype(int)
    if not (found["split"] == "test").any():
        raise RunError(
            f"{path}: no row with split `test`; there are: {', '.join(sorted(set(found['split']))) or 'none'}"
        )
    twice = found.duplicated(["arm", "seed", "face_id"])
    if twice.any():
        first = found[twice].iloc[0]
        raise RunError(f"{path}: face {first['face_id']} stands there twice for {first['arm']}, seed {first['seed']}")
    for name in ("image_id", "label"):
        several = found.groupby("face_id")[name].nunique()
        if (several > 1).any():
            raise RunError(f"{path}: face {several.idxmax()} has several values of {name}")
    return found


def _probabilities(table: pd.DataFrame) -> list[str]:
    return [name for name in map(str, table.columns) if name.startswith("prob_")]


def _completed(table: pd.DataFrame, probabilities: list[str], path: Path) -> pd.DataFrame:
    classes = np.array([column.removeprefix("prob_") for column in probabilities], dtype=object)
    try:
        probs = table[probabilities].to_numpy(dtype=float)
    except ValueError as error:
        raise RunError(f"{path}: a probability is not a number ({error})") from error
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
