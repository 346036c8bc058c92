"""What goes with missed and badly placed faces, in the report's section on detection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from maskbench.comparison.face_errors import property_labels
from maskbench.report.content_results import interval, number
from maskbench.report.drawing import Drawing, finished
from maskbench.report.figures.factors import fig_error_rates, fig_odds
from maskbench.report.figures.losses import LOOKS, fig_detection_losses
from maskbench.report.grids import grid
from maskbench.report.questions import Block, Part
from maskbench.schemas import read_table
from maskbench.schemas.factors import ERROR_RATES, FACTOR_RANKING, ODDS
from maskbench.schemas.localisation import DETECTION_LOSSES, PLACEMENT_EFFECTS
from maskbench.storage import read_json

#: Of figures.
SECTION = "detection factors"
#: Folder of each analysis -> what counts as an error in it.
ANALYSES = {"missed": "Missed faces", "misplaced": "Found faces whose box is badly placed (IoU below 0.75)"}


def detection_factor_drawings(folder: Path, arms: Sequence[str]) -> list[Drawing]:
    """Figures of the stage `detect-factors`; none where it has not run.

    Args:
        folder: of the stage.
        arms: in order.
    """
    if not (folder / "losses.parquet").is_file():
        return []
    losses = read_table(folder / "losses", DETECTION_LOSSES)
    drawn = [fig_detection_losses(losses, arms, int(seed)) for seed in losses["seed"].unique()]
    for name, title in _analysed(folder):
        ranking = read_table(folder / name / "ranking", FACTOR_RANKING)
        drawn += [
            _retitled(fig_error_rates(read_table(folder / name / "rates", ERROR_RATES), ranking, arms), name, title),
            _retitled(fig_odds(read_table(folder / name / "odds", ODDS), ranking, arms), name, title),
        ]
    return drawn


def _analysed(folder: Path) -> list[tuple[str, str]]:
    return [(name, title) for name, title in ANALYSES.items() if (folder / name / "answers.json").is_file()]


def _retitled(drawing: Drawing, name: str, title: str) -> Drawing:
    """The figure of a factor analysis under a name of its own, saying what counts as an error."""
    return finished(drawing.figure, f"{name}-{drawing.name}", f"{title} as errors: {drawing.title}", drawing.caption)


def detection_factor_parts(folder: Path) -> tuple[Part, ...]:
    """Evidence of the stage `detect-factors`, kind of error by kind of error; none where it has not run."""
    if not (folder / "losses.parquet").is_file():
        return ()
    blocks = [
        Block(
            "Where faces are lost", "Faces of the test photographs by what became of them, at the score that "
            "validation chose; intervals over photographs.", grid(_losses(folder)),
        ),
        Block(
            "Properties and the place of boxes", "Spearman's rank correlation of each property with the IoU of found "
            "faces: above 0, higher values go with better placed boxes.", grid(_placement(folder)), folded=True,
        ),
    ]  # fmt: skip
    texts = []
    for name, title in _analysed(folder):
        texts.append(f"{title}, measured as in question 2. {read_json(folder / name / 'answers.json')['answer']}")
        ranking = read_table(folder / name / "ranking", FACTOR_RANKING)
        shown = ["arm", "rank", "property", "direction", "effect", "log_odds", "importance", "supported", "measured"]
        ranked = _called(ranking[ranking["rank"].notna()]).sort_values(["arm", "rank"], kind="stable")
        blocks.append(
            Block(f"{title}: properties by strength", "As in question 2.", grid(ranked[shown], digits=3), folded=True)
        )
    return (Part("detection-factors", "What detectors lose, and where", tuple(texts), tuple(blocks), (SECTION,)),)


def _called(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(property=table["property"].map(property_labels(list(table["property"].unique()))))


def _losses(folder: Path) -> pd.DataFrame:
    rows = read_table(folder / "losses", DETECTION_LOSSES).to_dict("records")
    return pd.DataFrame(
        [
            {
                "arm": row["arm"], "pipeline": row["pipeline"], "run": row["seed"],
                "faces that are": LOOKS[row["outcome"]][0], "number": row["count"], "share": number(row["share"]),
                "interval": interval(row["low"], row["high"]) or row["reason"],
            }
            for row in rows
        ]
    )  # fmt: skip


def _placement(folder: Path) -> pd.DataFrame:
    rows = _called(read_table(folder / "placement", PLACEMENT_EFFECTS)).to_dict("records")
    return pd.DataFrame(
        [
            {
                "arm": row["arm"], "property": row["property"], "faces": row["faces"],
                "rank correlation": number(row["correlation"], signed=True),
                "interval": interval(row["low"], row["high"], signed=True) or row["reason"],
            }
            for row in rows
        ],
        columns=["arm", "property", "faces", "rank correlation", "interval"],
    )  # fmt: skip
