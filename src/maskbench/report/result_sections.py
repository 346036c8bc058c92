"""The report's section on results: headline figures, each class, training, calibration, comparison of the arms."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from maskbench.report.content import Evaluation, Headline, ReportContext
from maskbench.report.content_results import (
    MISSING,
    cell,
    headline_rows,
    interval,
    number,
    run_columns,
    undefined_figures,
    verdict_sentences,
)
from maskbench.report.document import Bullets, Item, Section, Table, Text, illustrations, not_run
from maskbench.report.grids import Grid, Result
from maskbench.report.model_sections import training_items
from maskbench.report.questions import opening, part_items

#: The evaluation's figures that show all classes at once; the others are of single classes.
_OVERALL = "headline"


def results_section(context: ReportContext, basis: Mapping[str, str]) -> Section:
    """What was measured on the test split, and what led there.

    Args:
        context: of the report.
        basis: what each section's figures rest on.
    """
    drawn = illustrations(context.pictures, ("evaluation",), basis)
    overall = tuple(one for one in drawn if one.picture.name.startswith(_OVERALL))
    classes = tuple(one for one in drawn if one not in overall)
    measured = context.evaluation is not None
    return Section(
        "results",
        "Results on the test split",
        (),
        (
            Section("evaluation", "Headline figures", (*_headline_items(context), *overall)),
            Section("classes", "Each class", classes or (_no_class_figures(measured),)),
            _training(context, basis),
            _calibration(context, basis),
            _comparison(context, basis),
        ),
    )


def _no_class_figures(measured: bool) -> Text:
    return Text("No figures were drawn; the headline table has every class.", "soft") if measured else not_run(
        "evaluate"
    )  # fmt: skip


def _headline_items(context: ReportContext) -> tuple[Item, ...]:
    part = context.evaluation
    if part is None:
        return (not_run("evaluate"),)
    verdict = () if context.question("question-1") else tuple(
        Text(words, "answer") for words in verdict_sentences(part.differences)
    )  # fmt: skip
    undefined = undefined_figures(part.metrics)
    listed = (Text("Undefined figures and incomplete means:", "soft"), Bullets(tuple(undefined))) if undefined else ()
    return (*verdict, headline_table(context, part), *listed)


def headline_table(context: ReportContext, part: Evaluation) -> Table:
    """The headline figures of every arm with their intervals.

    Args:
        context: of the report.
        part: its evaluation.
    """
    test = part.intervals[part.intervals["split"] == "test"]
    basis = _basis_over_runs(part.headline) if part.headline else _basis(test)
    shown = part.over_runs()
    columns, gaps = run_columns(shown.metrics), _gaps(shown)
    rows: tuple[tuple[str | Result, ...], ...] = tuple(
        (
            label,
            _faces(shown, metric, name),
            *(_result(shown, metric, name, arm, seed) for arm, seed, _ in columns),
            *(_gap(shown, metric, name, *gap) for gap in gaps),
        )
        for metric, name, label in headline_rows(context.classes)
    )
    heads = ("figure", "faces", *(heading for _, _, heading in columns), *("difference" for _ in gaps))
    told = "".join(f" Difference: {arm} − {baseline}." for arm, baseline, _ in gaps)
    shown_grid = Grid(heads, rows, (False, *(True,) * (len(heads) - 1)), len(rows))
    return Table("Headline figures of the test split", shown_grid, basis + told)


def _gaps(part: Evaluation) -> list[tuple[str, str, int]]:
    """The pairs of arms; the table has a column for a difference only when there is exactly one."""
    rows = part.differences[["arm", "baseline", "seed"]].drop_duplicates().to_numpy().tolist()
    pairs = [(str(arm), str(baseline), int(seed)) for arm, baseline, seed in rows]
    return pairs if len(pairs) == 1 else []


def _result(part: Evaluation, metric: str, name: str, arm: str, seed: int) -> Result:
    where = {"split": "test", "arm": arm, "seed": seed}
    found = cell(part.intervals, metric, name, **where) or cell(part.metrics, metric, name, **where)
    return Result(
        number(found.get("value", math.nan)), interval(found.get("low", math.nan), found.get("high", math.nan))
    )


def _gap(part: Evaluation, metric: str, name: str, arm: str, baseline: str, seed: int) -> Result:
    found = cell(part.differences, metric, name, split="test", arm=arm, baseline=baseline, seed=seed)
    low, high = found.get("low", math.nan), found.get("high", math.nan)
    value = number(found.get("value", math.nan), signed=True)
    return Result(value, interval(low, high, signed=True), shown=low > 0 or high < 0)


def _faces(part: Evaluation, metric: str, name: str) -> str:
    """Test faces of a class, or all; over all runs where the figures are."""
    if part.headline:
        found = cell(part.headline.intervals, metric, name)
        return f"{int(found['faces']):,}" if found else MISSING
    found = cell(part.metrics, "support", name, split="test")
    return f"{int(found['value']):,}" if found else MISSING


def _basis_over_runs(headline: Headline) -> str:
    row = headline.intervals.iloc[0]
    return (
        f"Means over {headline.runs} runs of each arm. With each value its {row['confidence']:.0%} bootstrap "
        f"interval, which covers {headline.covers}. Differences whose interval does not contain 0 are "
        "bold, without correction for looking at several figures; question 1 has the tests."
    )


def _basis(test: pd.DataFrame) -> str:
    if test.empty:
        return ""
    row = test.iloc[0]
    return (
        f"With each value its {row['confidence']:.0%} interval, from the bootstrap's standard error and Student's t: "
        f"{row['images']} test photographs drawn with replacement {row['resamples']} times, all faces of a photograph "
        "together. A difference is measured on the same draws for both arms; those whose interval does not contain 0 "
        f"are bold, without correction for looking at several figures.{_missing(test)}"
    )


def _missing(test: pd.DataFrame) -> str:
    """Why intervals are missing, each reason once."""
    reasons = [reason for reason in dict.fromkeys(test.get("reason", pd.Series(dtype="str"))) if reason]
    return f" Missing intervals: {'; '.join(reasons)}." if reasons else ""


def _training(context: ReportContext, basis: Mapping[str, str]) -> Section:
    question = context.question("question-1")
    converged = question.part("convergence") if question else None
    items: tuple[Item, ...] = (not_run("train"),)
    if context.training is not None:
        items = (*training_items(context.training), *illustrations(context.pictures, ("training",), basis))
    more = part_items(converged, context.pictures, basis) if converged else ()
    return Section("training", "Training and convergence", (*items, *more))


def _calibration(context: ReportContext, basis: Mapping[str, str]) -> Section:
    question = context.question("question-1")
    part = question.part("calibration") if question else None
    items = part_items(part, context.pictures, basis) if part else (not_run("compare"),)
    return Section("calibration", "Calibration", items)


def _comparison(context: ReportContext, basis: Mapping[str, str]) -> Section:
    """Question 1, without what stands in sections of its own."""
    question, heading = context.question("question-1"), "Comparison of the arms (question 1)"
    if question is None:
        return Section("question-1", heading, (not_run("compare"),))
    asked = question.title.partition(": ")[2]
    items: list[Item] = [Text(f"{asked[:1].upper()}{asked[1:]}", "soft"), *opening(question)]
    for part in question.parts:
        if part.anchor not in ("convergence", "calibration"):
            items += part_items(part, context.pictures, basis)
    return Section("question-1", heading, tuple(items))
