"""Variants of a study against the study: what each level of an experiment does to each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from maskbench.comparison.bootstrap import Draws, draw_metrics
from maskbench.comparison.paired import LOWER_IS_BETTER, summary_table
from maskbench.comparison.runs import Runs
from maskbench.comparison.wording import NOTHING, interval_text
from maskbench.evaluation.intervals import Kind, interval, too_few_photographs
from maskbench.schemas.convergence import EFFICIENCY_RUNS, REGIME_RUNS
from maskbench.schemas.experiments import VARIANT_SUMMARY

#: The level that others are held against: the honest or unaltered one.
REFERENCES = {
    "leakage": "grouped",
    "regimes": "full",
    "losses": "cross_entropy",
    "data_efficiency": "100%",
    "imbalance": "0% balanced",
    "label_noise": "0% wrong",
}


def variant_summary(
    predictions: pd.DataFrame,
    runs: pd.DataFrame,
    classes: Sequence[str],
    *,
    references: Mapping[str, str] = REFERENCES,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Every level of every experiment, measured on the test side.

    Args:
        predictions: `schemas.experiments.VARIANT_PREDICTIONS`.
        runs: `schemas.experiments.VARIANT_RUNS`.
        classes: class order.
        references: level of each experiment that the others are held against; without it, its first level.
        resamples: draws of photographs.
        confidence: of the intervals, which also cover the choice of seeds where there are several.
        seed: of the draws; equal photographs give equal draws, so levels on the same faces are paired.

    Returns:
        `schemas.experiments.VARIANT_SUMMARY`.
    """
    rows: list[dict[str, Any]] = []
    for (experiment, arm), part in predictions.groupby(["experiment", "arm"], sort=False):
        levels = list(dict.fromkeys(part["level"]))
        wanted = references.get(str(experiment), levels[0])
        reference = wanted if wanted in levels else levels[0]
        draws = {
            level: draw_metrics(Runs.of(part[part["level"] == level], classes), seed=seed, resamples=resamples)
            for level in levels
        }
        tables = {level: summary_table(found, confidence=confidence) for level, found in draws.items()}
        faces = runs[(runs["experiment"] == experiment) & (runs["arm"] == arm)].groupby("level")["train_faces"].mean()
        amounts = part.groupby("level")["amount"].first()
        for level in levels:
            key = {"experiment": experiment, "level": level, "amount": float(amounts[level]), "arm": arm,
                   "train_faces": float(faces[level]), "reference": reference}  # fmt: skip
            gaps = (
                [dict.fromkeys(("gap", "gap_low", "gap_high"), 0.0) | {"paired": True}] * len(tables[level])
                if level == reference
                else _gaps(draws[level], draws[reference], tables[level], tables[reference], confidence)
            )
            rows += [key | row | gap for row, gap in zip(records(tables[level]), gaps, strict=True)]
    return pd.DataFrame(rows, columns=list(VARIANT_SUMMARY.columns))


def _gaps(
    level: Draws, reference: Draws, table: pd.DataFrame, other: pd.DataFrame, confidence: float
) -> list[dict[str, Any]]:
    """Distance of every measurement of a level from that of the reference."""
    same = _same_faces(level.runs, reference.runs)
    found = []
    for m, (row, base) in enumerate(zip(records(table), records(other), strict=True)):
        gap = float(row["value"] - base["value"])
        kind: Kind = "loss difference" if row["metric"] in LOWER_IS_BETTER else "share difference"
        low, high = (
            _paired(level, reference, m, kind, row, confidence) if same else _apart(gap, row, base, kind, confidence)
        )
        found.append({"gap": gap, "gap_low": low, "gap_high": high, "paired": same})
    return found


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, keyed by column name."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _same_faces(a: Runs, b: Runs) -> bool:
    keys = ["seed", "face_id"]
    return a.seeds == b.seeds and a.faces[keys].reset_index(drop=True).equals(b.faces[keys].reset_index(drop=True))


def _paired(
    level: Draws, reference: Draws, m: int, kind: Kind, row: Mapping[str, Any], confidence: float
) -> tuple[float, float]:
    arm, seeds = level.runs.arms[0], level.runs.seeds
    values = level.runs.values(arm, seeds)[:, m] - reference.runs.values(arm, seeds)[:, m]
    drawn = level.of(arm, seeds)[:, :, m] - reference.of(arm, seeds)[:, :, m]
    if np.isnan(values).any() or too_few_photographs(int(row["images"])):
        return float("nan"), float("nan")
    behind = int(row["photographs_behind"])
    found = interval(values, drawn, behind, kind, confidence=confidence, draw_seeds=len(seeds) > 1)
    return found.low, found.high


def _apart(
    gap: float, row: Mapping[str, Any], base: Mapping[str, Any], kind: Kind, confidence: float
) -> tuple[float, float]:
    """Both standard errors together, as if the test sides were independent.

    Sides dealt from the same photographs overlap, which makes the true interval rather narrower. Degrees of freedom
    are those of photographs and of seeds, put together by Satterthwaite's rule as in `evaluation.intervals.interval`.
    """
    parts = [part for one in (row, base) for part in _variances(one)]
    total = sum(variance for variance, _ in parts)
    weighed = sum(variance**2 / degrees for variance, degrees in parts if variance > 0)
    degrees = total**2 / weighed if weighed > 0 else 1.0
    reach = float(stats.t.ppf((1 + confidence) / 2, degrees)) * float(np.sqrt(total))
    low, high = gap - reach, gap + reach
    return (max(low, -1.0), min(high, 1.0)) if kind == "share difference" else (low, high)


def _variances(row: Mapping[str, Any]) -> list[tuple[float, int]]:
    """The squared standard error by what it comes from, photographs and seeds, each with its degrees of freedom."""
    seeds = int(row["seeds"])
    by_seed = float(row["sd"]) ** 2 / seeds if seeds > 1 else 0.0
    by_photograph = max(float(row["standard_error"]) ** 2 - by_seed, 0.0)
    return [(by_photograph, max(1, int(row["photographs_behind"]) - 1)), (by_seed, max(1, seeds - 1))]


def run_figures(predictions: pd.DataFrame, classes: Sequence[str], *, resamples: int = 1000, seed: int = 0) -> Any:
    """Every single training, measured: columns `experiment`, `level`, `arm`, `seed`, `metric`, `value`, `low`, `high`.

    Args:
        predictions: `schemas.experiments.VARIANT_PREDICTIONS`.
        classes: class order.
        resamples: draws of photographs for the intervals.
        seed: of the draws.
    """
    rows = []
    for key, part in predictions.groupby(["experiment", "level", "arm", "seed"], sort=False):
        table = summary_table(draw_metrics(Runs.of(part, classes), seed=seed, resamples=resamples))
        table = table[table["class_name"] == ""]
        experiment, level, arm, run = key
        chosen = table[["metric", "value", "low", "high"]].copy()
        chosen["experiment"], chosen["level"], chosen["arm"] = str(experiment), str(level), str(arm)
        chosen["seed"] = int(str(run))
        rows.append(chosen)
    return pd.concat(rows, ignore_index=True)


def efficiency_runs(figures: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`schemas.convergence.EFFICIENCY_RUNS` of the experiment `data_efficiency`."""
    part = _joined(figures, runs, "data_efficiency")
    return part.rename(columns={"amount": "fraction"})[list(EFFICIENCY_RUNS.columns)]


def regime_runs(figures: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`schemas.convergence.REGIME_RUNS` of the experiment `regimes`."""
    part = _joined(figures, runs, "regimes")
    return part.rename(columns={"level": "regime"})[list(REGIME_RUNS.columns)]


def _joined(figures: pd.DataFrame, runs: pd.DataFrame, experiment: str) -> pd.DataFrame:
    key = ["experiment", "level", "arm", "seed"]
    chosen = figures[figures["experiment"] == experiment]
    return chosen.merge(runs, on=key, how="left", validate="many_to_one").reset_index(drop=True)


def with_variant_intervals(table: pd.DataFrame, summary: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """A table over runs with the summary's intervals, which cover test photographs as well as seeds.

    Args:
        table: `schemas.convergence.LEARNING_CURVES` or `REGIMES` of the experiment.
        summary: `schemas.experiments.VARIANT_SUMMARY`.
        experiment: its name in the summary.

    Returns:
        The same rows with other `low`, `high` and `basis`; those that the summary has no interval for have none.
    """
    key, theirs = ("fraction", "amount") if "fraction" in table.columns else ("regime", "level")
    part = summary[(summary["experiment"] == experiment) & (summary["class_name"] == "")]
    part = part.rename(columns={theirs: key})[["arm", "metric", key, "low", "high", "seeds"]]
    found = table.drop(columns=["low", "high", "basis"]).merge(part, on=["arm", "metric", key], how="left")
    covered = found.pop("seeds").map(lambda seeds: "photographs and seeds" if seeds > 1 else "photographs")
    found["basis"] = covered.where(found["low"].notna(), "")
    return found[list(table.columns)]


def leakage_answer(summary: pd.DataFrame, metric: str = "f1_macro") -> str:
    """By how much a random split of faces flatters, one clause per arm; empty without that experiment.

    Args:
        summary: `schemas.experiments.VARIANT_SUMMARY`.
        metric: over all classes.
    """
    chosen = summary[
        (summary["experiment"] == "leakage") & (summary["metric"] == metric) & (summary["class_name"] == "")
    ]
    clauses = []
    for arm in dict.fromkeys(chosen["arm"].astype(str)):
        part = chosen[chosen["arm"] == arm]
        if not {"grouped", "random"} <= set(part["level"]):
            continue
        by_level = {str(row["level"]): row for row in records(part)}
        row, honest = by_level["random"], by_level["grouped"]["value"]
        gap = interval_text(row["gap_low"], row["gap_high"], str(row["reason"]))
        open_ = np.isnan([row["gap_low"], row["gap_high"]]).any()
        shown = row["gap_low"] > 0 or row["gap_high"] < 0
        verdict = f": {NOTHING}" if open_ else "" if shown else ": no difference shown"
        clauses.append(
            f"{arm} has {row['value']:.3f} where faces of one photograph sit on both sides and {honest:.3f} where they "
            f"do not ({row['gap']:+.3f}, {gap}{verdict})"
        )
    if not clauses:
        return ""
    return f"Leakage, in test macro-F1: {'; '.join(clauses)}."
