"""What detectors lose, and what goes with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from maskbench.comparison.factors import explain_errors
from maskbench.comparison.localisation import losses_table, misplaced_faces, missed_faces, placement_effects
from maskbench.schemas import validate
from maskbench.schemas.localisation import DETECTION_LOSSES, OUTCOMES, PLACEMENT_EFFECTS

DRAWS = {"resamples": 200, "confidence": 0.95, "seed": 0}


def faces(rng: np.random.Generator, photographs: int = 80, each: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Found faces of one arm and the faces' properties: small ones are missed, blurred ones badly placed."""
    count = photographs * each
    ids = [f"f{k}" for k in range(count)]
    images = [f"p{k // each}" for k in range(count)]
    area, sharp = np.exp(rng.normal(6, 1, count)), np.exp(rng.normal(0, 1, count))
    found = rng.random(count) < 1 / (1 + np.exp(-3 * (np.log(area) - 5)))
    iou = np.clip(0.75 + 0.1 * np.log(sharp) + rng.normal(0, 0.05, count), 0.5, 1)
    table = pd.DataFrame(
        {
            "arm": "a", "seed": 0, "split": "test", "pipeline": "detector", "face_id": ids, "image_id": images,
            "label": "m", "found": found, "named": found & (rng.random(count) < 0.9),
            "iou": np.where(found, iou, np.where(rng.random(count) < 0.5, 0.3, np.nan)), "predicted": "m",
        }
    )  # fmt: skip
    properties = pd.DataFrame(
        {"face_id": ids, "image_id": images, "box_area": area, "sharpness": sharp, "brightness": rng.random(count)}
    )
    return table, properties


def test_shares_of_outcomes_add_up_and_are_those_counted(rng: np.random.Generator) -> None:
    found, _ = faces(rng)
    table = losses_table(pd.concat([found, found.assign(pipeline="two-stage", named=found["found"])]), **DRAWS)
    validate(table, DETECTION_LOSSES)
    for pipeline, part in table.groupby("pipeline"):
        shares = part.set_index("outcome")
        assert list(shares.index) == list(OUTCOMES)
        assert shares["share"].sum() == pytest.approx(1) and shares["count"].sum() == len(found)
        named = found["named"] if pipeline == "detector" else found["found"]
        assert shares.loc["right", "share"] == named.mean()
        assert shares.loc["misplaced", "count"] == (~found["found"] & found["iou"].notna()).sum()
        assert ((shares["low"] <= shares["share"]) & (shares["share"] <= shares["high"])).all()


def test_what_makes_faces_missed_and_badly_placed_is_found(rng: np.random.Generator) -> None:
    found, properties = faces(rng)
    options = {"folds": 3, "repeats": 2, "resamples": 100}
    missed = explain_errors(missed_faces(found), properties, **options)
    assert missed.ranking.iloc[0]["property"] == "box_area"
    assert missed.ranking.iloc[0]["direction"] == "lower values, more errors"
    misplaced = explain_errors(misplaced_faces(found), properties, **options)
    assert misplaced.ranking.iloc[0]["property"] == "sharpness"
    assert misplaced.rates["faces"].max() < len(found)  # of found faces only


def test_the_rank_correlation_is_scipys_and_its_interval_excludes_what_plays_no_part(rng: np.random.Generator) -> None:
    found, properties = faces(rng)
    table = placement_effects(found, properties, None, **DRAWS)
    validate(table, PLACEMENT_EFFECTS)
    rows = table.set_index("property")
    seen = found[found["found"]].merge(properties, on="face_id")
    for name in rows.index:
        assert rows.loc[name, "correlation"] == pytest.approx(spearmanr(seen[name], seen["iou"]).statistic)
        assert rows.loc[name, "low"] < rows.loc[name, "correlation"] < rows.loc[name, "high"]
    assert rows.loc["sharpness", "low"] > 0.5
    assert rows.loc["brightness", "low"] < 0 < rows.loc["brightness", "high"]


def test_several_runs_count_a_face_once(rng: np.random.Generator) -> None:
    found, properties = faces(rng)
    twice = pd.concat([found, found.assign(seed=1)], ignore_index=True)
    once, both = (placement_effects(table, properties, None, **DRAWS) for table in (found, twice))
    pd.testing.assert_frame_equal(once, both)


def test_nothing_found_is_no_error(rng: np.random.Generator) -> None:
    found, properties = faces(rng)
    nothing = found.assign(found=False, named=False, iou=np.nan)
    assert validate(placement_effects(nothing, properties, None, **DRAWS), PLACEMENT_EFFECTS).empty
    table = losses_table(nothing, **DRAWS).set_index("outcome")
    assert table.loc["missed", "share"] == 1 and table.loc["right", "high"] >= 0
