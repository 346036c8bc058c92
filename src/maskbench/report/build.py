"""The report: one HTML file that opens from disk, without network and without scripts, interactive figures included.

Everything the file shows comes from a `ReportContext`; class names, file names and messages are the
user's and are escaped by the template engine.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from maskbench.config import SeedsConfig
from maskbench.report.build_training import models_section, training_section
from maskbench.report.content import Evaluation, Headline, Picture, ReportContext
from maskbench.report.content_results import (
    MISSING,
    cell,
    headline_rows,
    interval,
    limitations,
    number,
    run_columns,
    undefined_figures,
    verdict_sentences,
)
from maskbench.report.grids import Grid, grid
from maskbench.report.questions import Question

#: Longer tables of findings start folded.
FOLD_ROWS = 10
#: EDA tables with more rows are drawn, not printed.
MOST_EDA_ROWS = 30
#: Sections with figures, in order; pictures of any other section come under "Further figures".
SECTIONS = ("audit", "eda", "split", "models", "training", "evaluation", "comparison", "convergence", "calibration",
            "label experiments", "factors", "interventions", "data experiments", "question 3", "explanations",
            "representations", "failures", "detection")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One cell of the verdict's table: a value and, beneath it, its interval."""

    value: str
    span: str
    shown: bool = False


def build_report(context: ReportContext) -> str:
    """The report as HTML, self-contained.

    Args:
        context: from `collect_report`.

    Returns:
        A complete HTML document: styles and figures inline, no scripts, no references to other files.
    """
    return _template("report.html.j2").render(
        context=context,
        machine=context.run.get("machine") or {},
        versions=context.run.get("versions") or {},
        commands=context.run.get("commands") or [],
        facts=_facts(context),
        notices=_notices(context),
        pictures=_by_section(context.pictures),
        verdict=_verdict(context),
        findings=_findings(context),
        audit=_audit(context),
        eda=_eda(context),
        split=_split(context),
        models=models_section(context.training) if context.training else None,
        training=training_section(context.training) if context.training else None,
        missing=MISSING,
        fold_rows=FOLD_ROWS,
    )


def build_comparison(
    name: str, sources: Sequence[str], questions: Sequence[Question], pictures: Sequence[Picture]
) -> str:
    """A comparison outside a study as HTML, self-contained.

    Args:
        name: of the comparison.
        sources: what was compared.
        questions: the sections that show it.
        pictures: their figures.
    """
    return _template("comparison.html.j2").render(
        name=name, sources=sources, questions=questions, pictures=_by_section(pictures)
    )


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("maskbench.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _facts(context: ReportContext) -> list[tuple[str, str]]:
    """What was run, for the header."""
    run, config = context.run, context.config
    machine, version = run.get("machine") or {}, run.get("versions") or {}
    devices = {str(r.fit.get("device", "")) for r in context.training.runs} if context.training else set()
    seeds = SeedsConfig.model_validate(config.get("seeds", {}))
    return [
        ("Run", context.name),
        ("Data", str(config.get("data", {}).get("source", MISSING))),
        ("Preset", f"{config.get('preset', MISSING)}, {_seeds(seeds)}"),
        ("Started", str(run.get("started") or MISSING)),
        ("Command", str((run.get("commands") or [run.get("command") or MISSING])[-1])),
        ("Device", ", ".join(sorted(filter(None, devices))) or str(machine.get("device") or MISSING)),
        ("Machine", ", ".join(_words(machine, ("system", "cores"), {"cores": "{} cores"})) or MISSING),
        ("Code", f"maskbench {version.get('maskbench', MISSING)}, commit {run.get('git_commit') or MISSING}"),
        ("Software", ", ".join(f"{n} {version[n]}" for n in ("python", "torch", "torchvision") if n in version)),
    ]


def _seeds(seeds: SeedsConfig) -> str:
    """How often each arm was trained, and what differed."""
    varied = {"init": "initial weights and order", "split": "the split", "both": "initial weights, order and split"}
    numbers = seeds.numbers()
    if len(numbers) == 1:
        return f"one run of each arm (seed {numbers[0]})"
    return (
        f"{len(numbers)} runs of each arm (seeds {numbers[0]} to {numbers[-1]}), which differ in {varied[seeds.vary]}"
    )


def _words(values: Mapping[str, Any], names: Sequence[str], forms: Mapping[str, str]) -> list[str]:
    return [forms.get(name, "{}").format(values[name]) for name in names if values.get(name)]


def _notices(context: ReportContext) -> list[str]:
    """What a reader must know before any number."""
    if not context.training:
        return []
    return list(dict.fromkeys(r.weights["notice"] for r in context.training.runs if r.weights.get("notice")))


def _by_section(pictures: Sequence[Picture]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {name: [] for name in (*SECTIONS, "further")}
    for index, picture in enumerate(sorted(pictures, key=_section_order), start=1):
        found[picture.section if picture.section in SECTIONS else "further"].append(
            {
                "number": str(index),
                "title": picture.title,
                "caption": picture.caption,
                "data": base64.b64encode(picture.png).decode("ascii"),
            }
        )
    return found


def _section_order(picture: Picture) -> int:
    return SECTIONS.index(picture.section) if picture.section in SECTIONS else len(SECTIONS)


# --- verdict ----------------------------------------------------------------------------------------


def _verdict(context: ReportContext) -> dict[str, Any] | None:
    """The table of headline figures, the sentences that follow, and what stands against them."""
    part = context.evaluation
    if part is None:
        return None
    weights = {r.arm: r.weights for r in context.training.runs} if context.training else {}
    undefined, sentences = undefined_figures(part.metrics), verdict_sentences(part.differences)
    basis = _basis(part.intervals[part.intervals["split"] == "test"])
    if part.headline:
        sentences = list(context.questions[0].answer[:1])
        basis = _basis_over_runs(part.headline)
        part = part.over_runs()
    columns, gaps = run_columns(part.metrics), _gaps(part)
    rows = [
        {
            "label": label,
            "faces": _faces(part, name),
            "results": [_result(part, metric, name, arm, seed) for arm, seed, _ in columns],
            "gaps": [_gap(part, metric, name, *gap) for gap in gaps],
        }
        for metric, name, label in headline_rows(context.classes)
    ]
    return {
        "columns": [heading for _, _, heading in columns],
        "gaps": [f"{arm} − {baseline}" for arm, baseline, _ in gaps] if len(gaps) == 1 else [],
        "rows": rows,
        "sentences": sentences,
        "limits": limitations(context.classes, context.config, part.metrics, part.intervals, weights),
        "undefined": undefined,
        "basis": basis,
    }


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


def _faces(part: Evaluation, name: str) -> str:
    found = cell(part.metrics, "support", name, split="test")
    return f"{int(found['value']):,}" if found else MISSING


def _basis_over_runs(headline: Headline) -> str:
    row = headline.intervals.iloc[0]
    return (
        f"Means over {headline.runs} runs of each arm. Below each value its {row['confidence']:.0%} bootstrap "
        f"interval, which covers {headline.covers}. Differences whose interval does not contain 0 are "
        "bold, without correction for looking at several figures; question 1 has the tests."
    )


def _basis(test: pd.DataFrame) -> str:
    if test.empty:
        return ""
    row = test.iloc[0]
    return (
        f"Below each value its {row['confidence']:.0%} percentile bootstrap interval: {row['images']} test "
        f"photographs drawn with replacement {row['resamples']} times, all faces of a photograph together. A "
        "difference is measured on the same draws for both arms; those whose interval does not contain 0 are bold, "
        "without correction for looking at several figures."
    )


# --- tables -----------------------------------------------------------------------------------------


def _audit(context: ReportContext) -> dict[str, Any] | None:
    if context.audit is None:
        return None
    summary = context.audit.summary
    checks = pd.DataFrame(
        [
            {"severity": facts["severity"], "check": name, "found": facts["count"], "what is done": facts["action"]}
            for name, facts in summary.get("checks", {}).items()
        ]
    )
    classes = pd.DataFrame(
        [{"class": name, **counts} for name, counts in summary.get("classes", {}).items()],
        columns=["class", "faces", "photographs"],
    )
    sizes = pd.DataFrame(
        [
            {"quantity": name.replace("_", " "), **quantiles}
            for name, quantiles in summary.get("sizes", {}).items()
            if quantiles
        ]
    )
    return {
        "summary": summary,
        "severities": ", ".join(f"{count:,} {severity}" for severity, count in summary["findings"].items()),
        "formats": ", ".join(f"{name} ({count:,})" for name, count in summary.get("formats", {}).items()) or MISSING,
        "checks": grid(checks) if len(checks) else None,
        "classes": grid(classes),
        "sizes": grid(sizes) if len(sizes) else None,
    }


def _findings(context: ReportContext) -> Grid | None:
    if context.audit is None or context.audit.findings.empty:
        return None
    return grid(context.audit.findings)


def _eda(context: ReportContext) -> dict[str, Any] | None:
    if context.eda is None:
        return None
    return {
        "tables": [
            (name.replace("_", " "), grid(table)) for name, table in context.eda.items() if len(table) <= MOST_EDA_ROWS
        ],
        "long": [(name, len(table)) for name, table in context.eda.items() if len(table) > MOST_EDA_ROWS],
    }


def _split(context: ReportContext) -> dict[str, Any] | None:
    """Faces and class shares per side, and what sides share."""
    if context.split is None:
        return None
    table = context.split.proportions
    splits = 1
    if "split_id" in table:
        splits, table = table["split_id"].nunique(), table[table["split_id"] == table["split_id"].min()]
    sides = list(dict.fromkeys(table["split"]))
    rows = []
    for label in dict.fromkeys(table["label"].astype(str)):
        row: dict[str, Any] = {"class": label}
        for side in sides:
            part = table[(table["split"] == side) & (table["label"].astype(str) == label)].iloc[0]
            row[f"{side}: faces"] = int(part["faces"])
            row[f"{side}: share"] = MISSING if math.isnan(part["share"]) else f"{part['share']:.1%}"
        rows.append(row)
    total: dict[str, Any] = {"class": "all"}
    for side in sides:
        total[f"{side}: faces"] = int(table.loc[table["split"] == side, "faces"].sum())
        total[f"{side}: share"] = ""
    shown = grid(pd.DataFrame([*rows, total]))
    leakage = context.split.leakage
    return {
        "table": Grid(shown.columns, shown.rows, (False, *(True,) * (len(shown.columns) - 1)), shown.total),
        "splits": splits,
        "leakage": grid(leakage) if leakage is not None else None,
        "leaks": bool((leakage[["shared_photographs", "exposed_faces"]] > 0).any().any())
        if leakage is not None
        else None,
    }
