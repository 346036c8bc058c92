"""Question 1 in two sentences: what the difference table shows, and what would change that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy import stats

from maskbench.comparison.bootstrap import PHOTOGRAPHS
from maskbench.comparison.paired import LOWER_IS_BETTER, NO_DIFFERENCE, UNDECIDED
from maskbench.comparison.paired_tests import ALL_SEEDS, MCNEMAR_CLUSTERED
from maskbench.comparison.wording import NOTHING, interval_text, why
from maskbench.eda.bootstrap import LEAST_PHOTOGRAPHS

#: How the answer calls a measurement.
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro-F1",
    "roc_auc_macro": "macro AUC",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "AUC",
    "loss": "cross-entropy",
}


#: What an interval needs.
_ENOUGH = f"{LEAST_PHOTOGRAPHS} test photographs or more, and test faces of every class in two photographs or more"
_ALONE = "One arm alone, or arms without a common seed: nothing is compared."
#: More pairs than this are summed up.
TOLD_ONE_BY_ONE = 3


def comparison_answer(differences: pd.DataFrame, metric: str = "f1_macro") -> str:
    """Question 1, "how do the arms compare", in two sentences.

    Args:
        differences: `schemas.COMPARISON_DIFFERENCES`, with the metric over all classes; may be empty.
        metric: the measurement that answers.

    Returns:
        Plain text: the verdict of each pair of arms with its numbers, and what would change it; of more than
        `TOLD_ONE_BY_ONE` pairs only those that differ have their numbers. With no pair to compare, one that says so.

    Raises:
        ValueError: the table has pairs, but not this metric.
    """
    if differences.empty:
        return f"{_ALONE} A second arm on the same faces would."
    rows = _answering(differences, metric)
    if len(rows) > TOLD_ONE_BY_ONE:
        change = _change_of_many(rows)
    else:
        change = "; ".join(dict.fromkeys(_change(row, len(rows) > 1) for row in rows))
    return f"{comparison_verdict(differences, metric)} What would change the verdict: {change}."


def comparison_verdict(differences: pd.DataFrame, metric: str = "f1_macro") -> str:
    """The first sentence of `comparison_answer`: the verdict of each pair of arms with its numbers.

    What any other place says of the arms in one sentence is this, so that no two places can disagree.

    Args:
        differences: as in `comparison_answer`.
        metric: the measurement that answers.

    Raises:
        ValueError: the table has pairs, but not this metric.
    """
    if differences.empty:
        return _ALONE
    rows, what = _answering(differences, metric), METRIC_NAMES.get(metric, metric)
    if len(rows) > TOLD_ONE_BY_ONE:
        return f"On {_basis(rows)}: {_many(rows, what)}."
    return f"On {_basis(rows)}: {'; '.join(_shown(row, what) + _also(differences, row) for row in rows)}."


def _answering(differences: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    """The rows of the measurement that answers, one per pair."""
    table = differences[(differences["metric"] == metric) & (differences["class_name"] == "")]
    if table.empty:
        raise ValueError(f"differences: no rows of {metric!r} over all classes; keep it in the table")
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _open(row: dict[str, Any]) -> bool:
    """Is there no difference, or no interval of it."""
    return any(math.isnan(row[name]) for name in ("value", "low", "high"))


def _basis(rows: Sequence[dict[str, Any]]) -> str:
    """What the pairs rest on; where that differs, from the least to the most."""

    def counted(name: str, thing: str) -> str:
        least, most = min(int(row[name]) for row in rows), max(int(row[name]) for row in rows)
        return f"{least} to {most} {thing}s" if least < most else _counted(most, thing)

    return f"{counted('images', 'test photograph')} with {counted('faces', 'face')} and {counted('seeds', 'seed')}"


def mcnemar_sentences(tests: pd.DataFrame, alpha: float = 0.05) -> list[str]:
    """What McNemar's clustered test over all seeds says, one sentence per pair of arms.

    Args:
        tests: `schemas.COMPARISON_TESTS`.
        alpha: level.
    """
    table = tests[(tests["test"] == MCNEMAR_CLUSTERED) & (tests["seed"] == ALL_SEEDS)]
    return [_mcnemar({str(key): value for key, value in row.items()}, alpha) for row in table.to_dict("records")]


def _mcnemar(row: dict[str, Any], alpha: float) -> str:
    counted = f"Only {row['baseline']} was right in {row['b']:.0f} decisions, only {row['arm']} in {row['c']:.0f}"
    if math.isnan(row["p_holm"]):
        return f"{counted}: that cannot be tested ({row['reason'] or 'p undefined'})."
    more = "more than" if row["p_holm"] <= alpha else "no more than"
    return (
        f"{counted}: {more} chance explains of these trained models ({MCNEMAR_CLUSTERED}, over all seeds: "
        f"{p_text(row['p_value'])}, after Holm {p_text(row['p_holm'])}; other seeds are not covered)."
    )


def p_text(p: float) -> str:
    """A p-value as it is printed.

    Example:
        >>> p_text(0.0312), p_text(0.00002), p_text(float("nan"))
        ('p = 0.031', 'p < 0.001', 'p undefined')
    """
    if math.isnan(p):
        return "p undefined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _shown(row: dict[str, Any], what: str) -> str:
    if math.isnan(row["value"]):
        return f"{what} of {row['arm']} and {row['baseline']} cannot be compared ({why(row['reason'])})"
    better = (row["value"] > 0) != (row["metric"] in LOWER_IS_BETTER)
    size = (
        f"{what} of {row['arm']} {abs(row['value']):.3f} {'above' if row['value'] > 0 else 'below'} that of "
        f"{row['baseline']}, {interval_text(row['low'], row['high'], row['reason'], confidence=1 - row['alpha'])}, "
        f"permutation {p_text(row['p_value'])}, after Holm {p_text(row['p_holm'])}"
    )
    if _open(row):
        return f"{NOTHING} of {row['arm']} against {row['baseline']}: {size}"
    if row["verdict"] == NO_DIFFERENCE:
        return f"no difference shown between {row['arm']} and {row['baseline']} ({size})"
    winner, loser = (row["arm"], row["baseline"]) if better else (row["baseline"], row["arm"])
    return f"{winner} is better than {loser} ({size})"


def _also(differences: pd.DataFrame, row: dict[str, Any]) -> str:
    """What else is shown of a pair, when the answering measurement is only one of several."""
    pair = differences[(differences["arm"] == row["arm"]) & (differences["baseline"] == row["baseline"])]
    others = pair[(pair["metric"] != row["metric"]) | (pair["class_name"] != "")]
    found = others[~others["verdict"].isin(UNDECIDED) & others[["value", "low", "high"]].notna().all(axis=1)]
    named = ", ".join(
        f"{METRIC_NAMES.get(str(one['metric']), one['metric'])}{f' of {name}' if (name := one['class_name']) else ''} "
        f"({one['value']:+.3f}, {interval_text(one['low'], one['high'])}, after Holm {p_text(one['p_holm'])})"
        for one in found.to_dict("records")
    )
    return f"; of the {len(others)} other measurements a difference is shown in {named}" if named else ""


def _many(rows: Sequence[dict[str, Any]], what: str) -> str:
    """Pairs that differ with their numbers, the others by name."""
    unknown = [row for row in rows if _open(row)]
    differing = [row for row in rows if row["verdict"] not in UNDECIDED and row not in unknown]
    others = [f"{row['arm']} and {row['baseline']}" for row in rows if row not in differing and row not in unknown]
    verb = "differ" if len(differing) > 1 else "differs"
    counted = f"of {len(rows)} pairs of arms, {len(differing) or 'none'} {verb} in {what}"
    told = [counted + (f": {'; '.join(_shown(row, what) for row in differing)}" if differing else "")]
    if others:
        told.append(f"no difference shown between {', '.join(others)}")
    if unknown:
        named = ", ".join(
            f"{row['arm']} and {row['baseline']} ({why(row['reason']) or 'no interval'})" for row in unknown
        )
        told.append(f"{NOTHING} of {named}")
    return "; ".join(told)


def _change_of_many(rows: Sequence[dict[str, Any]]) -> str:
    """What would turn the verdicts of many pairs round."""
    open_ = [row for row in rows if row["verdict"] == NO_DIFFERENCE and not _open(row)]
    shown = [row for row in rows if row["verdict"] not in UNDECIDED and not _open(row)]
    more = "more test photographs" + ("" if rows[0]["covers"] == PHOTOGRAPHS else " and seeds")
    told = []
    if open_:
        reach = max(max(abs(row["low"]), abs(row["high"])) for row in open_)
        told.append(f"{more}: true differences of up to {reach:.3f} fit these data where none is shown")
    if shown:
        near = min(min(abs(row["low"]), abs(row["high"])) for row in shown)
        told.append(
            f"photographs of another kind, or anything outside the study that is worth {near:.3f}, the least distance "
            "of an interval of the others from 0"
        )
    return "; ".join(told) or _ENOUGH


def _change(row: dict[str, Any], named: bool) -> str:
    """What would turn the verdict of a pair round."""
    pair = f" of {row['arm']} against {row['baseline']}" if named else ""
    if _open(row):
        return f"{_ENOUGH}{pair}"
    scope = "other seeds are not covered" if row["covers"] == PHOTOGRAPHS else "other seeds are covered"
    if row["verdict"] != NO_DIFFERENCE:
        near = min(abs(row["low"]), abs(row["high"]))
        return (
            f"photographs of another kind, or anything outside the study that is worth {near:.3f}, the distance of the "
            f"interval{pair} from 0 ({scope})"
        )
    more = f"more test photographs{'' if row['covers'] == PHOTOGRAPHS else ' and seeds'}"
    if row["low"] > 0 or row["high"] < 0:
        return f"{more} or fewer measurements tested at once{pair}: the interval alone does not contain 0 ({scope})"
    farthest = max(abs(row["low"]), abs(row["high"]))
    return f"{more}{_times_more(row)}: true differences of up to {farthest:.3f}{pair} fit these data ({scope})"


def _times_more(row: dict[str, Any]) -> str:
    """How many times the data would show a difference of the size measured every second time.

    Standard errors fall with the root of the data; Holm's correction is taken as it is.
    """
    if not row["value"] or not row["standard_error"] > 0 or not 0 < row["p_value"] <= row["p_holm"] < 1:
        return ""
    corrected = row["alpha"] * row["p_value"] / row["p_holm"]
    times = (stats.norm.isf(corrected / 2) * row["standard_error"] / abs(row["value"])) ** 2
    if not 1 < times < 100:
        return ""
    return f" (about {times:.1f} times as many for an even chance to show one of the size measured)"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
