"""Question 2 in the report: which properties of the data drive the errors, with the evidence under the answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from maskbench.comparison.face_errors import property_labels
from maskbench.comparison.interventions import interventions_answer
from maskbench.comparison.variants import leakage_answer
from maskbench.report.content_results import MISSING, interval, number
from maskbench.report.grids import grid
from maskbench.report.questions import Block, Part, Question, stated
from maskbench.schemas import read_table
from maskbench.schemas.experiments import VARIANT_SUMMARY
from maskbench.schemas.factors import ERROR_EFFECTS, ERROR_MODEL_SKILL, FACTOR_RANKING, IMPORTANCE, ODDS
from maskbench.schemas.interventions import INTERVENTION_CURVES, INTERVENTION_RANKING
from maskbench.storage import read_json, read_yaml

TITLE = "Question 2: which properties of the data influence accuracy most?"
#: Experiments that belong to this question; those on labels and regimes belong to question 1.
DATA_EXPERIMENTS = ("leakage", "imbalance", "losses", "label_noise")


def question2(results: Path) -> Question | None:
    """The section, from the files of the stages that intervene and experiment; None when neither did anything.

    Args:
        results: `results/NAME`.
    """
    answer, would_change, parts = list[str](), "", list[Part]()
    if (results / "factors" / "answers.json").is_file():
        words = read_json(results / "factors" / "answers.json")
        answer, would_change = [words["answer"]], words["would_change"]
        blocks = tuple(_factor_blocks(results / "factors"))
        parts.append(Part("factors", "Properties that go with errors", (), blocks, ("factors",)))
    if (results / "intervene" / "ranking.parquet").is_file():
        words, part = _interventions(results)
        answer.append(words)
        parts.append(part)
    summary = read_variants(results)
    if summary is not None and summary["experiment"].isin(DATA_EXPERIMENTS).any():
        if leakage := leakage_answer(summary):
            answer.append(leakage)
        blocks = (variants_block(summary, DATA_EXPERIMENTS),)
        parts.append(Part("variants", "Other training data", (), blocks, ("data experiments",)))
    if not parts:
        return None
    return Question(
        anchor="question-2",
        title=TITLE,
        answer=tuple(answer[:1]),
        more=tuple(answer[1:]),
        would_change=would_change,
        parts=tuple(parts),
    )


def _interventions(results: Path) -> tuple[str, Part]:
    """What changing the faces does, in words and with its evidence."""
    ranked = read_table(results / "intervene" / "ranking", INTERVENTION_RANKING)
    block = Block(
        "Interventions on the test faces",
        "The same faces, changed in one way at a time; each intervention at its moderate level, costliest "
        f"first. The drop is untouched minus intervened. {_seen_in_training(results)}".strip(),
        grid(_ranking(ranked)),
    )
    words = interventions_answer(read_table(results / "intervene" / "curves", INTERVENTION_CURVES), ranked)
    return words, Part("interventions", "Faces changed on purpose", (), (block,), ("interventions",))


#: What augmentation does that is also an intervention: field of the configuration, words.
_AUGMENTATION = {
    "rescale": "shrinks {:.0%} of the views to 8 to 32 px",
    "blur": "blurs {:.0%}",
    "translate": "shifts by up to {:.0%}",
    "scale": "scales by up to {:.0%}",
    "brightness": "changes brightness by up to {:.0%}",
}


def _seen_in_training(results: Path) -> str:
    """Which interventions the arms know from augmentation; empty where the configuration is not known."""
    path = results / "config.yaml"
    if not path.is_file():
        return ""
    augment = read_yaml(path)["train"]["augment"]
    words = [text.format(augment[field]) for field, text in _AUGMENTATION.items() if augment[field]]
    return f"Augmentation {', '.join(words)}: what costs nothing here may have been learned there." if words else ""


def _factor_blocks(folder: Path) -> Iterator[Block]:
    """Properties by strength, the regression, and what the model of the errors is worth."""
    ranking = _called(read_table(folder / "ranking", FACTOR_RANKING))
    shown = ["arm", "rank", "property", "direction", "effect", "log_odds", "importance", "supported", "measured"]
    yield Block(
        "Properties by strength",
        "By how many of three measures support them (univariate effect, odds in a regression on all properties, "
        "importance in a non-linear model), then by the mean of their ranks. "
        f"{stated(read_table(folder / 'effects', ERROR_EFFECTS))}".strip(),
        grid(ranking[ranking["rank"].notna()].sort_values(["arm", "rank"], kind="stable")[shown], digits=3),
    )
    odds = _called(read_table(folder / "odds", ODDS))
    columns = [
        "arm",
        "property",
        "model",
        "odds_ratio",
        "low",
        "high",
        "p_value_holm",
        "vif",
        "method",
        "note",
        "reason",
    ]
    yield Block(
        "Regression of the error",
        "Odds ratios per standard deviation, faces of a photograph taken together; VIF above 5 means that other "
        f"properties say much of the same. {stated(odds)}".strip(),
        grid(odds[columns], digits=3),
        folded=True,
    )
    skill = read_table(folder / "skill", ERROR_MODEL_SKILL)
    yield Block(
        "What the model of the errors can tell",
        "Measured on photographs it has not seen. Where its skill is not shown, its importances mean nothing. "
        f"{stated(skill)} {stated(read_table(folder / 'importance', IMPORTANCE))}".strip(),
        grid(skill[["arm", "metric", "value", "low", "high", "chance", "skill", "reason"]], digits=3),
    )


def _called(table: pd.DataFrame) -> pd.DataFrame:
    """The table with properties under the names that people read."""
    return table.assign(property=table["property"].map(property_labels(list(table["property"].unique()))))


def read_variants(results: Path) -> pd.DataFrame | None:
    """The summary of the study's variants; None where none was trained."""
    path = results / "experiments" / "summary.parquet"
    return read_table(path, VARIANT_SUMMARY) if path.is_file() else None


def variants_block(summary: pd.DataFrame, experiments: tuple[str, ...], metric: str = "f1_macro") -> Block:
    """Levels of experiments, in a table.

    Args:
        summary: `schemas.experiments.VARIANT_SUMMARY`.
        experiments: those shown.
        metric: over all classes.
    """
    part = summary[(summary["metric"] == metric) & (summary["class_name"] == "")]
    part = part[part["experiment"].isin(experiments)]
    rows = [
        {
            "experiment": str(row["experiment"]).replace("_", " "),
            "level": row["level"],
            "arm": row["arm"],
            "training faces": number(row["train_faces"], 0),
            "macro-F1": number(row["value"]),
            "interval": interval(row["low"], row["high"]) or MISSING,
            "against": "" if row["level"] == row["reference"] else row["reference"],
            "difference": "" if row["level"] == row["reference"] else number(row["gap"], signed=True),
            "interval of the difference": ""
            if row["level"] == row["reference"]
            else interval(row["gap_low"], row["gap_high"], signed=True),
            "same faces": "yes" if row["paired"] else "no",
            "runs": row["seeds"],
        }
        for row in part.to_dict("records")
    ]
    return Block(
        "Variants of the study, one thing changed each",
        "Test side; a difference is shown where its interval does not contain 0, without correction for looking at "
        "several. Intervals of variants on the same faces are paired.",
        grid(pd.DataFrame(rows)),
    )


def _ranking(table: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "arm": row["arm"],
            "rank": number(row["rank"], 0),
            "intervention": row["description"],
            "level": f"{row['level']:g} {row['unit']}".strip(),
            "drop of macro-F1": number(row["drop"], signed=True),
            "interval": interval(row["low"], row["high"], signed=True) or MISSING,
            "faces changed": f"{row['changed']} of {row['faces']}",
            "worst level": f"{row['worst_level']:g}",
            "drop there": number(row["worst_drop"], signed=True),
        }
        for row in table[table["metric"] == "f1_macro"].to_dict("records")
    ]
    return pd.DataFrame(rows)
