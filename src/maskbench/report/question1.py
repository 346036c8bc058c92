"""Question 1 in the report: how the arms compare, with the evidence under the answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.comparison.answer import METRIC_NAMES, p_text
from maskbench.comparison.efficiency import labels_answer
from maskbench.report.content_results import MISSING, interval, number
from maskbench.report.grids import grid
from maskbench.report.question2 import read_variants, variants_block
from maskbench.report.questions import Block, Part, Question, stated
from maskbench.schemas import read_table
from maskbench.schemas.calibration import CALIBRATION_POOLED, TEMPERATURES
from maskbench.schemas.comparison import COMPARISON_DIFFERENCES, COMPARISON_SUMMARY, COMPARISON_TESTS
from maskbench.schemas.convergence import CONVERGENCE_DIFFERENCES, CONVERGENCE_SUMMARY, LABEL_WORTH
from maskbench.storage import read_json

TITLE = "Question 1: how do the arms compare in convergence and in what they learn?"
#: Parts a saved answer from what would change it.
_WOULD_CHANGE = " What would change the verdict: "
#: Experiments that belong to this question.
LABEL_EXPERIMENTS = ("data_efficiency", "regimes")
#: Calibration figures that are printed, and how they are called.
_CALIBRATION = {
    "ece": "ECE, equal-width bins",
    "ece_adaptive": "ECE, adaptive bins",
    "brier": "Brier score",
    "nll": "cross-entropy (nats)",
}
#: Convergence figures that are printed.
_CONVERGENCE = {
    "best": "best validation macro-F1",
    "best_epoch": "best epoch",
    "epochs_to_90": "epochs to 90 % of its best",
    "epochs_to_95": "epochs to 95 %",
    "epochs_to_99": "epochs to 99 %",
    "epochs_to_90_final": "epochs to 90 % of its final",
    "epochs_to_95_final": "epochs to 95 % of its final",
    "epochs_to_99_final": "epochs to 99 % of its final",
    "seconds_to_95": "seconds to 95 %",
    "epochs_to_common": "epochs to the level that all runs reach",
    "area_by_epoch": "area under the validation curve",
}


def question1(folder: Path, results: Path | None = None) -> Question:
    """The section, from the files of the compare stage.

    Args:
        folder: `results/NAME/compare`.
        results: `results/NAME`, for the study's variants; None: a comparison without a study.
    """
    answer = read_json(folder / "answers.json")
    verdict, _, would_change = answer["comparison"].partition(_WOULD_CHANGE)
    summary = read_table(folder / "summary", COMPARISON_SUMMARY)
    differences = read_table(folder / "differences", COMPARISON_DIFFERENCES)
    tests = read_table(folder / "tests", COMPARISON_TESTS)
    arms = (
        Block("Both arms over all runs", _covers(summary), grid(_arms(summary))),
        Block("Differences between the arms", _what_is_tested(differences), grid(_differences(differences))),
        Block("Tests of pairs", "", grid(_tests(tests)), folded=True),
    )
    calibration = Block(
        "Calibration",
        "Faces of all runs together; the temperature of each run is fitted on its validation faces.",
        grid(_calibration(folder)),
    )
    return Question(
        anchor="question-1",
        title=TITLE,
        answer=(verdict,),
        more=tuple(answer["decisions"]),
        would_change=would_change,
        parts=(
            Part("arms", "The arms over all runs", (), arms, ("comparison",)),
            *_convergence_part(folder, answer["convergence"]),
            Part("calibration", "Calibration", (), (calibration,), ("calibration",)),
            *_labels(results),
        ),
    )


def _convergence_part(folder: Path, sentences: list[str]) -> tuple[Part, ...]:
    """Nothing for a comparison of predictions whose trainings are not known."""
    path = folder / "convergence_summary.parquet"
    if not path.is_file():
        return ()
    blocks = [Block("Convergence", "", grid(_convergence(read_table(path, CONVERGENCE_SUMMARY))))]
    tested = read_table(folder / "convergence_differences", CONVERGENCE_DIFFERENCES)
    tested = tested[tested["p_value"].notna()]
    if len(tested):
        blocks.append(
            Block("Differences in convergence, paired by run", stated(tested), grid(_converging(tested)), folded=True)
        )
    return (Part("convergence", "Convergence", tuple(sentences), tuple(blocks), ("convergence",)),)


def _converging(table: pd.DataFrame) -> pd.DataFrame:
    """Only what enough runs were there to test."""
    rows = [
        {
            "arm": row["arm"],
            "against": row["baseline"],
            "figure": _CONVERGENCE.get(str(row["metric"]), str(row["metric"]).replace("_", " ")),
            "difference": number(row["mean"], 2, signed=True),
            "p": _p(row["p_value"]),
            "p (Holm)": _p(row["p_value_holm"]),
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def _labels(results: Path | None) -> tuple[Part, ...]:
    """What labels are worth, and what regimes do, where that was tried."""
    summary = read_variants(results) if results else None
    if results is None or summary is None or not summary["experiment"].isin(LABEL_EXPERIMENTS).any():
        return ()
    worth = labels_answer(read_label_worth(results / "experiments"))
    block = variants_block(summary, LABEL_EXPERIMENTS)
    return (Part("labels", "Fewer labels, other regimes", (worth,) if worth else (), (block,), ("label experiments",)),)


def read_label_worth(folder: Path) -> pd.DataFrame:
    """What labels are worth, empty where it was not tried.

    Args:
        folder: of the stage `experiments`.
    """
    path = folder / "label_worth.parquet"
    return read_table(path, LABEL_WORTH) if path.is_file() else schemas.empty_table(LABEL_WORTH)


def _name(metric: str, class_name: str) -> str:
    called = METRIC_NAMES.get(metric, metric.replace("_", " "))
    return f"{called} {class_name}" if class_name else called


def _arms(summary: pd.DataFrame) -> pd.DataFrame:
    """A row per figure, a column per arm: mean, deviation between runs, interval."""
    rows = []
    for (metric, name), part in summary.groupby(["metric", "class_name"], sort=False):
        row: dict[str, Any] = {"figure": _name(str(metric), str(name)), "faces": int(part["faces"].iloc[0])}
        for found in part.to_dict("records"):
            spread = f" ± {number(found['sd'])}" if found["seeds"] > 1 else ""
            span = interval(found["low"], found["high"])
            row[str(found["arm"])] = f"{number(found['value'])}{spread}" + (f" ({span})" if span else "")
        rows.append(row)
    return pd.DataFrame(rows)


def _covers(summary: pd.DataFrame) -> str:
    if summary.empty:
        return ""
    several = sorted({int(count) for count in summary["seeds"]})
    runs = " or ".join(map(str, several))
    mean = f"Mean over {runs} runs ± standard deviation between runs; " if several[-1] > 1 else ""
    covered = "; ".join(
        f"{text} of {', '.join(dict.fromkeys(part['arm']))}" for text, part in summary.groupby("covers", sort=False)
    )
    if summary["covers"].nunique() == 1:
        covered = str(summary["covers"].iloc[0])
    opens = "in" if mean else "In"
    return f"{mean}{opens} brackets {summary['confidence'].iloc[0]:.0%} intervals, which cover {covered}."


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "arm": row["arm"],
            "against": row["baseline"],
            "figure": _name(str(row["metric"]), str(row["class_name"])),
            "difference": number(row["value"], signed=True),
            "interval": interval(row["low"], row["high"], signed=True) or MISSING,
            "p": _p(row["p_value"]),
            "p (Holm)": _p(row["p_holm"]),
            "Cohen's dz": number(row["d_z"], 2),
            "Cohen's h": number(row["h"], 2),
            "verdict": row["verdict"],
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def _p(value: float) -> str:
    """A p-value for a column of them."""
    return MISSING if math.isnan(value) else p_text(value).removeprefix("p ").removeprefix("= ")


def _what_is_tested(differences: pd.DataFrame) -> str:
    return "One arm alone is compared with nothing." if differences.empty else stated(differences)


def _tests(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "test": row["test"],
            "seed": row["seed"],
            "arm": row["arm"],
            "against": row["baseline"],
            "figure": _name(str(row["metric"]), str(row["class_name"])),
            "difference": number(row["value"], signed=True),
            "b": number(row["b"], 0),
            "c": number(row["c"], 0),
            "p": _p(row["p_value"]),
            "p (Holm)": _p(row["p_holm"]),
            "null hypothesis": row["null_hypothesis"],
            "assumptions": row["assumptions"],
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def _convergence(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for metric, called in _CONVERGENCE.items():
        part = table[table["metric"] == metric]
        if part.empty:
            continue
        row = {"figure": called}
        for found in part.to_dict("records"):
            digits = {"epochs": 1, "seconds": 0}.get(str(found["unit"]), 3)
            spread = f" ± {number(found['sd'], digits)}" if found["defined"] > 1 else ""
            row[str(found["arm"])] = f"{number(found['mean'], digits)}{spread}"
        rows.append(row)
    return pd.DataFrame(rows)


def _calibration(folder: Path) -> pd.DataFrame:
    table = read_table(folder / "calibration", CALIBRATION_POOLED)
    rows = []
    for metric, called in _CALIBRATION.items():
        part = table[(table["metric"] == metric) & (table["class_name"] == "") & (table["split"] == "test")]
        for state in dict.fromkeys(part["calibrated"]):
            row: dict[str, str] = {
                "figure": called,
                "probabilities": "as they are" if state == "raw" else "temperature-scaled",
            }
            for found in part[part["calibrated"] == state].to_dict("records"):
                span = interval(found["low"], found["high"])
                row[str(found["arm"])] = number(found["value"]) + (f" ({span})" if span else "")
            rows.append(row)
    temperatures = read_table(folder / "temperatures", TEMPERATURES)
    means = temperatures.groupby("arm", sort=False)["temperature"].mean()
    last = {"figure": "temperature, mean over runs", "probabilities": ""}
    rows.append(last | {str(arm): number(mean) for arm, mean in means.items()})
    return pd.DataFrame(rows)
