"""What a report holds: typed, and read from the files of a run.

A stage that has not run has no folder, and its part is None. A folder that is there must be whole:
missing or damaged files are errors, never an empty section.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.config import Config, SeedsConfig
from maskbench.report.detecting import detection_section
from maskbench.report.pictures import Picture, read_pictures
from maskbench.report.question1 import question1
from maskbench.report.question2 import question2
from maskbench.report.question3 import question3
from maskbench.report.questions import Question
from maskbench.rundir import MANIFEST
from maskbench.schemas import read_table
from maskbench.schemas.comparison import COMPARISON_DIFFERENCES, COMPARISON_SUMMARY
from maskbench.storage import read_json, read_yaml


@dataclass(frozen=True)
class Audit:
    """The audit's part.

    Attributes:
        summary: as `audit.json` holds it.
        findings: `schemas.FINDINGS`.
    """

    summary: dict[str, Any]
    findings: pd.DataFrame


@dataclass(frozen=True)
class Split:
    """The split's part.

    Attributes:
        proportions: `split`, `label`, `faces`, `share`, `share_overall`, `photographs` per side and class.
        leakage: what two sides share, or None for a run that did not measure it.
    """

    proportions: pd.DataFrame
    leakage: pd.DataFrame | None


@dataclass(frozen=True)
class TrainedRun:
    """One training.

    Attributes:
        arm: its arm.
        seed: its seed.
        fit: as `fit.json` holds it.
        weights: record of the initial weights.
    """

    arm: str
    seed: int
    fit: dict[str, Any]
    weights: dict[str, Any]


@dataclass(frozen=True)
class Training:
    """The training's part.

    Attributes:
        runs: by seed, then arm.
        layers: `schemas.LAYERS`.
        protocol: the check that arms were trained alike, or None for a run that did not make it.
    """

    runs: tuple[TrainedRun, ...]
    layers: pd.DataFrame
    protocol: dict[str, Any] | None


@dataclass(frozen=True)
class Evaluation:
    """The evaluation's part.

    Attributes:
        metrics: `schemas.METRICS`.
        intervals: `schemas.INTERVALS`.
        differences: `schemas.DIFFERENCES`, empty for a single arm.
        headline: where every arm was trained several times, their means over runs with their intervals.
    """

    metrics: pd.DataFrame
    intervals: pd.DataFrame
    differences: pd.DataFrame
    headline: Headline | None = None

    def over_runs(self) -> Evaluation:
        """As if it were of one run: means over runs, where there are several, in place of the figures of each."""
        if self.headline is None:
            return self
        first = self.metrics[self.metrics["seed"] == self.metrics["seed"].min()].assign(seed=0)
        return Evaluation(first, self.headline.intervals, self.headline.differences, self.headline)


@dataclass(frozen=True)
class Headline:
    """Figures over all runs, in the shape of those of one run.

    Attributes:
        intervals: as `schemas.INTERVALS`, of the mean over runs.
        differences: as `schemas.DIFFERENCES`, of the mean over runs.
        runs: of every arm.
        covers: what the intervals cover.
    """

    intervals: pd.DataFrame
    differences: pd.DataFrame
    runs: int
    covers: str


@dataclass(frozen=True)
class ReportContext:
    """Everything the report shows.

    Attributes:
        name: of the run.
        run: as `run.json` holds it.
        config: the configuration, complete.
        config_text: the configuration as the file has it.
        classes: class order; empty when the audit has not run.
        audit: None when the stage has not run, as below.
        eda: tables by name.
        split: proportions and leakage.
        training: runs, layers, protocol.
        evaluation: test figures.
        detectors: trainings of detectors, empty where there are none.
        questions: the research questions that have been answered, and detection.
        manifests: of the stages that are complete, by name.
        pictures: in the order of their lists.
    """

    name: str
    run: dict[str, Any]
    config: dict[str, Any]
    config_text: str
    classes: tuple[str, ...]
    audit: Audit | None
    eda: dict[str, pd.DataFrame] | None
    split: Split | None
    training: Training | None
    evaluation: Evaluation | None
    detectors: tuple[TrainedRun, ...]
    questions: tuple[Question, ...]
    manifests: dict[str, dict[str, Any]]
    pictures: tuple[Picture, ...]

    @property
    def settings(self) -> Config:
        """The configuration, typed."""
        return Config.model_validate(self.config)

    def question(self, anchor: str) -> Question | None:
        """The question of that name, if it has been answered."""
        return next((question for question in self.questions if question.anchor == anchor), None)


def collect_report(run_dir: Path, plots_dir: Path) -> ReportContext:
    """Read the files of a run.

    Args:
        run_dir: `results/NAME`.
        plots_dir: `plots/NAME`, need not exist.

    Raises:
        FileNotFoundError: a stage's folder is there and a file of it is not; says which.
        ValueError: a file is damaged (`schemas.TableError` for tables); says which.
    """
    config = _mapping(read_yaml(run_dir / "config.yaml"), run_dir / "config.yaml")
    ran = {path.name for path in run_dir.iterdir() if path.is_dir()}
    audit = run_dir / "audit"
    return ReportContext(
        name=run_dir.name,
        run=_json(run_dir / "run.json"),
        config=config,
        config_text=(run_dir / "config.yaml").read_text(encoding="utf-8"),
        classes=_classes(run_dir) if "audit" in ran else (),
        audit=(
            Audit(_json(audit / "audit.json")["summary"], read_table(audit / "audit", schemas.FINDINGS))
            if "audit" in ran
            else None
        ),
        eda=_tables(run_dir / "eda") if "eda" in ran else None,
        split=_split(run_dir / "split") if "split" in ran else None,
        training=_training(run_dir / "train", config) if "train" in ran else None,
        evaluation=read_evaluation(run_dir) if "evaluate" in ran else None,
        detectors=_trained(run_dir / "detect-train", config) if "detect-train" in ran else (),
        questions=tuple(_questions(run_dir, ran, [arm["name"] for arm in config["arms"]])),
        manifests={stage: _json(run_dir / stage / MANIFEST) for stage in sorted(ran) if _complete(run_dir / stage)},
        pictures=read_pictures(plots_dir),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; run the stage that writes it again")
    return _mapping(read_json(path), path)


def _mapping(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a {type(value).__name__} where a mapping belongs")
    return value


def _classes(run_dir: Path) -> tuple[str, ...]:
    path = run_dir / "audit" / "classes.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; run the audit stage again")
    return tuple(str(name) for name in read_json(path))


def _tables(folder: Path) -> dict[str, pd.DataFrame]:
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        try:
            found[path.stem] = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise schemas.TableError(f"{path}: not a readable Parquet file ({error})") from error
    return found


def _csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; run the stage that writes it again")
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"label": str})
    except (ValueError, UnicodeDecodeError) as error:
        raise schemas.TableError(f"{path}: not a readable CSV file ({error})") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise schemas.TableError(f"{path}: columns missing: {', '.join(missing)}")
    return table


def _split(folder: Path) -> Split:
    leakage = folder / "leakage.csv"
    return Split(
        _csv(folder / "proportions.csv", ("split", "label", "faces", "share", "share_overall", "photographs")),
        _csv(leakage, ("side_a", "side_b", "shared_photographs", "exposed_faces")) if leakage.is_file() else None,
    )


def _training(folder: Path, config: dict[str, Any]) -> Training:
    protocol = folder / "protocol.json"
    return Training(
        _trained(folder, config),
        read_table(folder / "layers", schemas.LAYERS),
        _json(protocol) if protocol.is_file() else None,
    )


def _trained(folder: Path, config: dict[str, Any]) -> tuple[TrainedRun, ...]:
    runs = []
    for seed in SeedsConfig.model_validate(config["seeds"]).numbers():
        for arm in config["arms"]:
            run = folder / arm["name"] / f"seed{seed}"
            runs.append(TrainedRun(arm["name"], int(seed), _json(run / "fit.json"), _json(run / "weights.json")))
    return tuple(runs)


def _complete(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _questions(run_dir: Path, ran: set[str], arms: list[str]) -> Iterator[Question]:
    """The research questions for which there is evidence, and the look inside."""
    if "compare" in ran:
        yield question1(run_dir / "compare", run_dir)
    if second := question2(run_dir):
        yield second
    if "explain" in ran and (third := question3(run_dir / "explain", _classes(run_dir), arms)):
        yield third
    if found := detection_section(run_dir / "detect-evaluate", arms):
        yield found


def read_evaluation(run_dir: Path) -> Evaluation:
    """The evaluation of a run, and where there are several runs of an arm, the means over them.

    Args:
        run_dir: `results/NAME`.
    """
    folder = run_dir / "evaluate"
    metrics = read_table(folder / "metrics", schemas.METRICS)
    return Evaluation(
        metrics,
        read_table(folder / "intervals", schemas.INTERVALS),
        read_table(folder / "differences", schemas.DIFFERENCES),
        _headline(run_dir / "compare") if metrics["seed"].nunique() > 1 and (run_dir / "compare").is_dir() else None,
    )


def _headline(folder: Path) -> Headline:
    summary = read_table(folder / "summary", COMPARISON_SUMMARY)
    differences = read_table(folder / "differences", COMPARISON_DIFFERENCES)
    return Headline(
        summary.assign(seed=0, split="test"),
        differences.assign(seed=0, split="test"),
        int(summary["seeds"].max()),
        str(summary["covers"].iloc[0]),
    )
