"""Question 3 and the look inside in the report: verdict, trust in maps, representations, failures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench.comparison.faithfulness import MEASURES
from maskbench.report.content_results import interval, number
from maskbench.report.figures.mistakes import FEATURES
from maskbench.report.grids import grid
from maskbench.report.questions import Block, Part, Question
from maskbench.report.scatter import Scatter, Sheet, make_scatter
from maskbench.schemas import read_table
from maskbench.schemas.failures import FAILURE_TABLES, LABEL_ISSUES
from maskbench.schemas.faithfulness import FAITHFULNESS_SUMMARY
from maskbench.schemas.mistakes import MISTAKE_TABLES
from maskbench.schemas.representations import EMBEDDING, LAYER_STATISTICS, PROBES
from maskbench.storage import read_json

TITLE = "Question 3: are interpretability methods needed to understand mistakes and decisions?"


def question3(folder: Path, classes: Sequence[str], arms: Sequence[str]) -> Question | None:
    """Question 3 and what it rests on; None where the explain stage left nothing.

    Args:
        folder: of the stage.
        classes: class order.
        arms: in order.
    """
    if not (folder / "answers.json").is_file():
        return None
    answers = read_json(folder / "answers.json")
    words = answers["question3"]
    return Question(
        "question-3", TITLE, (words["answer"], answers["decisions"]), tuple(words["evidence"]), words["would_change"],
        (
            _mistakes(folder),
            _explanations(folder, answers),
            _representations(folder, answers, classes, arms),
            _failures(folder, answers),
        ),
    )  # fmt: skip


def _mistakes(folder: Path) -> Part:
    tables = {name: read_table(folder / f"mistake_{name}", schema) for name, schema in MISTAKE_TABLES.items()}
    blocks = (
        Block(
            "Finding mistakes",
            "How well scores tell misclassified faces from others, on photographs their model has not seen. Chance: "
            "AUC 0.5, average precision the share of mistakes. Arms: with the agreement with the other arms' maps, a "
            "second model's opinion.",
            grid(_values(tables["skill"], "value", ["arm", "features", "model", "metric", "mistakes", "predictions"])),
            folded=True,
        ),
        Block(
            "What maps add",
            "Differences on the same draws of photographs. Shown: the interval lies above 0. Null hypothesis: no gain; "
            "photographs are taken to be independent of each other, faces of one are not.",
            grid(
                _values(
                    tables["gain"], "gain", ["arm", "features", "baseline", "model", "metric", "shown"], signed=True
                )
            ),
            folded=True,
        ),
        Block(
            "Single features",
            "Below 0.5, misclassified faces have smaller values. Log odds are per standard deviation in the "
            "regression on all features.",
            grid(_features(tables["features"])),
            folded=True,
        ),
    )
    return Part("mistakes", "Do maps find mistakes that probabilities do not?", (), blocks, ("question 3",))


def _values(table: pd.DataFrame, value: str, columns: list[str], *, signed: bool = False) -> pd.DataFrame:
    """The columns, with value and interval as text."""
    rows = [
        {
            **{name: str(row[name]).replace("_", " ") if name in {"features", "metric", "baseline"} else row[name]
               for name in columns},
            value: number(row[value], signed=signed),
            "interval": interval(row["low"], row["high"], signed=signed) or row["reason"] or "–",
        }
        for row in table.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _features(table: pd.DataFrame) -> pd.DataFrame:
    found = _values(table, "auc", ["arm", "feature", "missing"])
    found.insert(4, "log odds", [number(value, signed=True) for value in table["log_odds"]])
    return found.assign(feature=[FEATURES.get(name, name) for name in found["feature"]])


def _explanations(folder: Path, answers: dict[str, Any]) -> Part:
    summary = read_table(folder / "faithfulness_summary", FAITHFULNESS_SUMMARY)
    rows = [
        {
            "arm": row["arm"],
            "method": row["label"],
            "measure": MEASURES[row["measure"]],
            "value": number(row["value"]),
            "interval": interval(row["low"], row["high"]) or row["reason"] or "–",
            "over the random map": number(row["gap"], signed=True),
            "its interval": interval(row["gap_low"], row["gap_high"], signed=True) or "–",
            "over the blob": number(row["centre_gap"], signed=True),
            "interval of that": interval(row["centre_low"], row["centre_high"], signed=True) or "–",
            "better": "" if row["baseline"] or row["check"] else "yes" if row["better"] else "no",
            "check": row["check"],
            "maps": row["maps"],
            "undefined": row["undefined"],
        }
        for row in summary.to_dict("records")
    ]
    block = Block(
        "Every method, arm and measure",
        "Deletion and insertion: area under the probability of the explained class (Petsiuk et al. 2018). Pointing "
        "game, energy, IoU: does the map lie in the lower half of the face or in the true mask, where it is known. "
        "Stability: correlation with the map of the moved face. Randomisation: rank correlation with the map of a "
        "network that has learned nothing (Adebayo et al. 2018), 0 where that one is empty; a method whose interval "
        "lies above 0.5 fails. Better: the intervals of the differences to the random map and to a blob in the middle "
        "both lie on the good side of 0, without correction for looking at many. Faces were drawn evenly over classes, "
        "so these are no means of the test set. Undefined: maps of zeros, faces without the region.",
        grid(pd.DataFrame(rows), most=len(rows)),
        folded=True,
    )
    return Part("explanations", "How far maps can be trusted", tuple(answers["faithfulness"]), (block,),
                ("explanations",))  # fmt: skip


def _representations(folder: Path, answers: dict[str, Any], classes: Sequence[str], arms: Sequence[str]) -> Part:
    statistics = read_table(folder / "layer_statistics", LAYER_STATISTICS)
    probes = read_table(folder / "probes", PROBES)
    blocks = (
        Block("Layers", "How the test faces use them.", grid(statistics, digits=3), folded=True),
        Block(
            "Probes", "Simple classifiers on each depth's features, measured on test faces.",
            grid(_values(probes, "value", ["arm", "seed", "depth", "probe", "metric"])), folded=True,
        ),
    )  # fmt: skip
    return Part(
        "representations", "What the arms see", tuple(answers["representations"]), blocks, ("representations",),
        read_scatter(folder, classes, arms),
    )  # fmt: skip


def read_scatter(folder: Path, classes: Sequence[str], arms: Sequence[str]) -> Scatter | None:
    """The interactive figure; None where there were too few faces to embed."""
    embedding = read_table(folder / "embedding", EMBEDDING)
    part = embedding[embedding["method"] == "tsne"]
    if part.empty:
        return None
    facts = read_json(folder / "sheet.json")
    sheet = Sheet(
        (folder / "sheet.jpg").read_bytes(), tuple(facts["face_ids"]), int(facts["columns"]), int(facts["tile"])
    )
    caption = (
        f"t-SNE of what each arm's head reads (perplexity {part['perplexity'].iloc[0]:.3g}): who lies near whom means "
        f"something, distances between groups do not. {part['face_id'].nunique()} test faces of the first run; without "
        "a pointer the same figure stands below."
    )
    return make_scatter(part, sheet, classes, arms, caption)


def _failures(folder: Path, answers: dict[str, Any]) -> Part:
    tables = {name: read_table(folder / name, schema) for name, schema in FAILURE_TABLES.items()}
    issues = read_table(folder / "label_issues", LABEL_ISSUES)
    hard = tables["failures"].drop(columns=["image_id"])
    blocks = [
        Block(
            "Confusions", "Mistakes over all runs; the share is of the true class's faces.",
            grid(tables["confusion_pairs"].drop(columns="examples"), digits=3),
        ),
        Block(
            "The hardest faces", "By loss, by margin, and the most confident mistakes; means over runs.",
            grid(hard.assign(kind=hard["kind"].str.replace("_", " ")), digits=3, most=len(hard)), folded=True,
        ),
    ]  # fmt: skip
    if len(issues):
        shown = issues[["rank", "file", "xmin", "ymin", "xmax", "ymax", "label", "suggested", "quality", "split"]]
        blocks.append(
            Block("Labels that a weak classifier doubts", answers["labels"], grid(shown, digits=3), folded=True)
        )
    more = tuple(answers["failures"]) + (() if len(issues) else (answers["labels"],))
    return Part("failures", "What goes wrong", more, tuple(blocks), ("failures",))
