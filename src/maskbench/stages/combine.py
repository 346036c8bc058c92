"""A comparison outside a study: both questions from what runs and files of predictions hold; no model is run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pandas as pd

from maskbench import schemas
from maskbench.comparison.answer import comparison_answer, mcnemar_sentences
from maskbench.comparison.factors import FactorTables, explain_errors
from maskbench.config import Config
from maskbench.report.build import build_comparison
from maskbench.report.comparing import comparison_drawings, experiment_drawings
from maskbench.report.pictures import read_pictures
from maskbench.report.question1 import question1
from maskbench.report.question2 import question2
from maskbench.report.sections import save_sections
from maskbench.rundir import RunDir, RunError
from maskbench.schemas import read_table, write_table
from maskbench.schemas.convergence import LABEL_WORTH, LEARNING_CURVES, REGIMES
from maskbench.schemas.experiments import VARIANT_SUMMARY
from maskbench.schemas.factors import PROPERTIES, RUN_TRAINING_PROPERTIES
from maskbench.schemas.interventions import INTERVENTION_CURVES, INTERVENTION_RANKING
from maskbench.stages.compare import (
    compare_predictions,
    convergence_sentences,
    convergence_tables,
    read_trainings,
    write_tables,
)
from maskbench.stages.factors import settings, write_factors
from maskbench.stages.sources import Source, read_sources
from maskbench.steps import Progress
from maskbench.storage import read_json, write_text

REPORT = "report.html"
#: Given a title, returns a callback for (done, total), or None.
Bars = Callable[[str], Progress | None]
#: Tables of finished stages that are taken over with the arms renamed, by folder.
SAVED = {
    "intervene": {"curves": INTERVENTION_CURVES, "ranking": INTERVENTION_RANKING},
    "experiments": {
        "summary": VARIANT_SUMMARY,
        "learning_curves": LEARNING_CURVES,
        "label_worth": LABEL_WORTH,
        "regimes": REGIMES,
    },
}


def compare_sources(
    paths: Sequence[Path],
    folders: RunDir,
    config: Config,
    notify: Callable[[str], None],
    progress: Bars = lambda title: None,
) -> Path:
    """Compare the arms of all sources; leaves tables, figures and a report.

    Args:
        paths: `results/NAME` folders or files of predictions.
        folders: where the comparison goes; an earlier comparison there is replaced.
        config: draws, level, bins.
        notify: receives the answer.
        progress: given a title, returns a callback for (done, total); None hides progress.

    Returns:
        The report.

    Raises:
        RunError: a source has no predictions, sources differ in their classes, or a run stands where this would go.
    """
    if folders.config_file.is_file():
        raise RunError(f"{folders.results}: holds a run; choose another --name for the comparison")
    sources = read_sources(paths)
    with _beside(folders) as work:
        answer = _compare(sources, work, config, progress)
        _explain(sources, work, config, progress)
        _take_over(sources, work)
        _draw(sources, work, config, progress)
        questions = [question1(work.stage("compare"), work.results), question2(work.results)]
        shown = [question for question in questions if question is not None]
        report = build_comparison(config.name, [str(path) for path in paths], shown, read_pictures(work.plots))
        write_text(work.results / REPORT, report)
    notify(answer)
    return folders.results / REPORT


@contextmanager
def _beside(folders: RunDir) -> Iterator[RunDir]:
    """Folders to work in; without an error their content takes the place of an earlier comparison's, whole."""
    work = RunDir(*(path.with_name(f".{path.name}.new") for path in (folders.results, folders.plots)))
    pairs = ((work.results, folders.results), (work.plots, folders.plots))
    try:
        for made, _ in pairs:
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
        yield work
        for name in ("compare", "factors", *SAVED):
            shutil.rmtree(folders.results / name, ignore_errors=True)
        for listing in folders.plots.glob("*.json"):  # figures of the earlier comparison, and nothing else
            for old in read_json(listing):
                for suffix in (".png", ".svg"):
                    (folders.plots / f"{old['name']}{suffix}").unlink(missing_ok=True)
            listing.unlink()
        for made, final in pairs:
            final.mkdir(parents=True, exist_ok=True)
            for path in made.iterdir():
                path.replace(final / path.name)
    finally:
        for made, _ in pairs:
            shutil.rmtree(made, ignore_errors=True)


def _arms(sources: Sequence[Source]) -> list[str]:
    return [str(arm) for source in sources for arm in dict.fromkeys(source.predictions["arm"])]


def _compare(sources: Sequence[Source], folders: RunDir, config: Config, progress: Bars) -> str:
    """Question 1; returns its answer."""
    predictions = pd.concat([source.predictions for source in sources], ignore_index=True)
    tables = compare_predictions(predictions, sources[0].classes, config.compare, config.split.seed, progress)
    trainings = [training for source in sources for training in source.trainings()]
    words: list[str] = []
    if trainings:
        tables |= convergence_tables(trainings)
        words = convergence_sentences(tables, list(dict.fromkeys(arm for _, arm in trainings)))
    answer = str(comparison_answer(tables["differences"]))
    answers = {
        "comparison": answer,
        "decisions": mcnemar_sentences(tables["tests"], config.compare.alpha),
        "convergence": words,
    }
    write_tables(folders.stage("compare"), tables, answers)
    return answer


def _explain(sources: Sequence[Source], folders: RunDir, config: Config, progress: Bars) -> None:
    """Question 2 for all sources whose faces have known properties: their own run's, or those of another source."""
    known = [read_table(path, PROPERTIES) for source in sources if (path := source.file("factors", "properties"))]
    found: list[FactorTables] = []
    for source in sources:
        own, numbered = source.file("factors", "properties"), source.file("factors", "training_properties")
        faces = set(source.predictions.query("split == 'test'")["face_id"])
        candidates = [read_table(own, PROPERTIES)] if own else known
        properties = next((table for table in candidates if faces <= set(table["face_id"])), None)
        if properties is None:
            continue
        training = None
        if numbered:
            table = read_table(numbered, RUN_TRAINING_PROPERTIES)
            training = {int(str(seed)): part.drop(columns="seed") for seed, part in table.groupby("seed")}
        show = progress(f"errors and properties, {source.path.name}")
        found.append(explain_errors(source.predictions, properties, training, **settings(config), progress=show))
    if found:
        write_factors(folders.stage("factors"), _stacked(found), {})


def _stacked(found: Sequence[FactorTables]) -> FactorTables:
    """One set of tables; how properties go together is said of the first source."""
    tables = {field.name: [getattr(one, field.name) for one in found] for field in fields(FactorTables)}
    tables["correlations"] = tables["correlations"][:1]
    return FactorTables(**{name: schemas.concat_tables(parts) for name, parts in tables.items()})


def _take_over(sources: Sequence[Source], folders: RunDir) -> None:
    """What needed models was measured when the runs were made."""
    for stage, tables in SAVED.items():
        for name, schema in tables.items():
            parts = [
                source.renamed(read_table(path, schema)) for source in sources if (path := source.file(stage, name))
            ]
            if parts:
                path = folders.stage(stage) / f"{name}.parquet"
                write_table(path, schemas.concat_tables(parts), schema, csv=True)


def _draw(sources: Sequence[Source], folders: RunDir, config: Config, progress: Bars) -> None:
    trainings = [training for source in sources for training in source.trainings()]
    epochs = read_trainings(trainings, "epochs", schemas.EPOCHS) if trainings else None
    arms, classes = _arms(sources), sources[0].classes
    drawn = comparison_drawings(folders.stage("compare"), epochs, classes, arms)
    drawn |= experiment_drawings(folders.results, arms)
    save_sections(folders.plots, drawn, dpi=config.report.dpi, progress=progress("figures"))
