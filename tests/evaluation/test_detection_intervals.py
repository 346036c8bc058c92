"""Intervals over photographs and paired differences."""

import numpy as np
import pytest

from maskbench import schemas
from maskbench.evaluation.detection import differences_table, measure, metrics_table
from maskbench.evaluation.detection_boxes import System, systems_in
from maskbench.evaluation.detection_coco import coco_metrics
from maskbench.schemas.detection import ALL_CLASSES, ANY_FACE, DETECTION_DIFFERENCES, DETECTION_METRICS, DETECTIONS
from tests.evaluation.detections import CLASSES, SYSTEM, detected, detections_table, random_rows

OTHER = System("other", 0, "test", "two-stage")
SQUARE = (0.0, 0.0, 40.0, 40.0)


def rows_of(table, metric, class_name, band="all"):
    picked = (table["metric"] == metric) & (table["class_name"] == class_name) & (table["band"] == band)
    return table[picked].iloc[0]


@pytest.fixture(scope="module")
def both():
    faces, boxes, names = random_rows(8, images=40)
    kept = [box for number, box in enumerate(boxes) if number % 5]
    return [
        measure(detected(faces, found, images=names, system=system), resamples=60)
        for found, system in ((boxes, SYSTEM), (kept, OTHER))
    ]


def test_tables_fit_their_schemas_and_intervals_hold_their_values(both):
    metrics, differences = metrics_table(both), differences_table(both)
    schemas.validate(metrics, DETECTION_METRICS)
    schemas.validate(differences, DETECTION_DIFFERENCES)
    known = metrics[metrics["low"].notna() & (metrics["metric"] == "ap50") & (metrics["band"] == "all")]
    assert len(known) == 2 * (len(CLASSES) + 2)
    assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all()
    assert (metrics["value"].notna() | (metrics["reason"] != "")).all()
    assert (metrics["low"].notna() == (metrics["reason"] == "")).all()
    assert set(metrics["images"]) == {40}


def test_values_are_those_of_the_independent_evaluator():
    faces, boxes, names = random_rows(9)
    found = detected(faces, boxes, images=names)
    table = metrics_table([measure(found, resamples=2)])
    np.testing.assert_array_equal(table["value"], coco_metrics(found)["value"])


def test_a_difference_is_the_difference_of_the_values_on_the_same_draws(both):
    metrics, differences = metrics_table(both), differences_table(both)
    row = rows_of(differences, "ap", ALL_CLASSES)
    one, other = (rows_of(metrics[metrics["arm"] == arm], "ap", ALL_CLASSES) for arm in ("other", "arm"))
    assert row["value"] == pytest.approx(one["value"] - other["value"])
    assert (row["arm"], row["pipeline"]) == ("other", "two-stage")
    assert (row["baseline_arm"], row["baseline_pipeline"]) == ("arm", "detector")
    assert row["high"] - row["low"] < (one["high"] - one["low"]) + (other["high"] - other["low"])


def test_a_system_minus_itself_is_nothing_with_certainty(both):
    again = measure(
        detected(*random_rows(8, images=40)[:2], images=random_rows(8, images=40)[2], system=OTHER), resamples=60
    )
    table = differences_table([both[0], again])
    assert table["value"].dropna().eq(0).all()
    assert table["low"].dropna().eq(0).all()
    assert len(table["low"].dropna()) > 50


def test_draws_follow_from_the_seed(both):
    faces, boxes, names = random_rows(8, images=40)
    found = detected(faces, boxes, images=names)
    np.testing.assert_array_equal(measure(found, resamples=60).drawn, both[0].drawn)
    assert not np.array_equal(measure(found, resamples=60, seed=1).drawn, both[0].drawn, equal_nan=True)


def test_an_interval_by_hand():
    # Two photographs with one face each, one of them found (nothing else): AR50 of a draw is 0, 1/2 or 1 with
    # probabilities 1/4, 1/2, 1/4, so the middle 90% reach from 0 to 1 and the middle 40% are 1/2.
    found = detected([("a", "bare", SQUARE), ("b", "bare", SQUARE)], [("a", "bare", 0.5, SQUARE)])
    one = measure(found, resamples=400)
    wide, narrow = (rows_of(metrics_table([one], confidence=c), "ar50", "bare") for c in (0.9, 0.4))
    assert (wide["value"], wide["low"], wide["high"]) == (0.5, 0, 1)
    assert (narrow["low"], narrow["high"]) == (0.5, 0.5)
    assert wide["faces"] == 2


def test_what_cannot_be_computed_says_why():
    # One of three photographs has a bare face: (2/3)³ = 30% of the draws have none.
    faces = [("a", "bare", SQUARE), ("b", "masked", SQUARE), ("c", "masked", SQUARE)]
    table = metrics_table([measure(detected(faces, [("a", "bare", 0.5, SQUARE)]), resamples=300)])
    bare = rows_of(table, "ap50", "bare")
    assert bare["value"] == 1
    assert np.isnan(bare["low"])
    assert bare["incomplete"] / 300 == pytest.approx(8 / 27, abs=0.08)
    assert bare["reason"] == f"no interval: {bare['incomplete']} of 300 draws of photographs lack faces of bare"
    assert "lack some class's faces" in rows_of(table, "ap50", ALL_CLASSES)["reason"]
    assert rows_of(table, "ap50", "worn badly")["reason"] == "no faces of worn badly"
    assert rows_of(table, "ap50", ANY_FACE, "large")["reason"] == "no faces of size large"
    assert rows_of(table, "ap50", ANY_FACE)["reason"] == ""
    single = metrics_table([measure(detected(faces[:1], []), resamples=3)])
    assert rows_of(single, "ap50", "bare")["reason"] == "no interval: one photograph"
    assert rows_of(single, "ap50", "bare")["value"] == 0


def test_unlike_systems_are_not_paired():
    faces, boxes, names = random_rows(1)
    one = measure(detected(faces, boxes, images=names), resamples=3)
    fewer = measure(detected(faces, boxes, images=names[1:], system=OTHER), resamples=3)
    with pytest.raises(ValueError, match="same photographs and faces"):
        differences_table([one, fewer])
    with pytest.raises(ValueError, match="same draws"):
        differences_table([one, measure(detected(faces, boxes, images=names, system=OTHER), resamples=4)])
    later = measure(detected(faces, boxes, images=names, system=System("arm", 1, "test", "detector")), resamples=3)
    assert differences_table([one, later]).empty
    schemas.validate(differences_table([one, later]), DETECTION_DIFFERENCES)
    with pytest.raises(ValueError, match="at least 2"):
        measure(detected(faces, boxes, images=names), resamples=1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics_table([one], confidence=95)


def test_no_photographs_and_nothing_found():
    nothing = measure(detected([], [], images=[]), resamples=2)
    assert metrics_table([nothing])["value"].isna().all()
    table = detections_table([("a", "bare", 0.5, SQUARE)])
    schemas.validate(table, DETECTIONS)
    assert systems_in(table) == [SYSTEM]
    assert systems_in(table.iloc[:0]) == []
