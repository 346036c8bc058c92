"""Found faces, confusion with the background, curves and the choice of a score, all by hand."""

import numpy as np
import pytest

from maskbench import schemas
from maskbench.evaluation.detection_curves import best_score_threshold, curves_table
from maskbench.evaluation.detection_faces import confusion_table, found_faces_table
from maskbench.schemas.detection import (
    ANY_FACE,
    BACKGROUND,
    DETECTION_CONFUSION,
    DETECTION_CURVES,
    FOUND_FACES,
)
from tests.evaluation.detections import CLASSES, detected, random_rows

FACE = (0.0, 0.0, 10.0, 10.0)
AWAY = (50.0, 50.0, 60.0, 60.0)
PART = (0.0, 0.0, 4.0, 10.0)  # IoU 0.4 with FACE
MOST = (0.0, 0.0, 9.0, 10.0)  # IoU 0.9

#: a: named wrongly by the better box, a second box on it of its own class; b: half a box, and one too weak to count;
#: c: no faces, one box; d: no boxes; e: a box that touches nothing.
FACES = [("a", "bare", FACE), ("b", "masked", FACE), ("d", "bare", FACE), ("e", "bare", FACE)]
BOXES = [
    ("a", "masked", 0.9, FACE), ("a", "bare", 0.8, MOST), ("b", "masked", 0.7, PART), ("b", "masked", 0.1, FACE),
    ("c", "bare", 0.6, AWAY), ("e", "bare", 0.6, AWAY),
]  # fmt: skip


def test_found_faces():
    table = found_faces_table(detected(FACES, BOXES, images=list("abcde")), 0.5)
    schemas.validate(table, FOUND_FACES)
    assert list(table["face_id"]) == ["a#000", "b#000", "d#000", "e#000"]
    assert list(table["found"]) == [True, False, False, False]
    assert not table["named"].any()
    assert set(table["side"]) == {10}
    np.testing.assert_allclose(table["iou"], [1, 0.4, np.nan, np.nan])
    assert list(table["predicted"]) == ["masked", "masked", "", ""]
    np.testing.assert_allclose(table["score"], [0.9, 0.7, np.nan, np.nan])
    np.testing.assert_allclose(table["xmax"], [10, 4, np.nan, np.nan])
    lower = found_faces_table(detected(FACES, BOXES, images=list("abcde")), 0.1)  # a score that is reached counts
    assert list(lower["found"]) == [True, True, False, False]
    assert list(lower["named"]) == [False, True, False, False]


def test_confusion_has_the_background_on_both_sides():
    table = confusion_table(detected(FACES, BOXES, images=list("abcde")), 0.5)
    schemas.validate(table, DETECTION_CONFUSION)
    assert len(table) == 4 * 4 - 1  # background as background is not a count
    counted = table[table["count"] > 0].set_index(["label", "predicted"])["count"].to_dict()
    assert counted == {
        ("bare", "masked"): 1,  # a
        ("bare", BACKGROUND): 2,  # d and e
        ("masked", BACKGROUND): 1,  # b: half a box does not find it
        (BACKGROUND, "bare"): 3,  # the second box on a, c, e
        (BACKGROUND, "masked"): 1,  # the half box in b
    }


def test_confusion_counts_every_face_once_and_every_box_once():
    faces, boxes, names = random_rows(4)
    found = detected(faces, boxes, images=names)
    table, each = confusion_table(found, 0.4), found_faces_table(found, 0.4)
    rows = table[table["label"] != BACKGROUND].groupby("label")["count"].sum()
    assert rows.to_dict() == {name: sum(face[1] == name for face in faces) for name in CLASSES}
    assert table[table["predicted"] != BACKGROUND]["count"].sum() == sum(box[2] >= 0.4 for box in boxes)
    right = table[table["label"] == table["predicted"]]["count"].sum()
    assert right == each["named"].sum() > 0
    assert (
        table[(table["label"] != BACKGROUND) & (table["predicted"] != BACKGROUND)]["count"].sum() == each["found"].sum()
    )
    assert (each.loc[each["found"], "iou"] >= 0.5).all()


def test_no_boxes_and_no_faces():
    table = found_faces_table(detected([("a", "bare", FACE)], []), 0.5)
    schemas.validate(table, FOUND_FACES)
    assert table["predicted"].tolist() == [""]
    nothing = found_faces_table(detected([], [("a", "bare", 0.5, FACE)]), 0.5)
    assert nothing.empty
    schemas.validate(nothing, FOUND_FACES)
    assert confusion_table(detected([], []), 0.5)["count"].sum() == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        found_faces_table(detected([], []), -1)


def test_a_curve_by_hand():
    # Two bare faces. Boxes: right (0.9), wrong (0.8), then right and wrong of equal score (0.5): one point for both.
    # Precision 1, 1/2, 2/4; recall 1/2, 1/2, 1; the highest precision at recall 1 is 1/2.
    faces = [("a", "bare", FACE), ("b", "bare", FACE)]
    boxes = [
        ("a", "bare", 0.9, FACE), ("a", "bare", 0.8, AWAY), ("b", "bare", 0.5, MOST), ("b", "bare", 0.5, AWAY),
    ]  # fmt: skip
    table = curves_table(detected(faces, boxes), [0.5, 0.95])
    schemas.validate(table, DETECTION_CURVES)
    assert set(table["class_name"]) == {"bare", ANY_FACE}  # the others have no faces
    one = table[(table["class_name"] == "bare") & (table["iou"] == 0.5)]
    assert one["score"].tolist() == [0.9, 0.8, 0.5]
    assert one["recall"].tolist() == [0.5, 0.5, 1]
    assert one["precision"].tolist() == one["interpolated"].tolist() == [1, 0.5, 0.5]
    strict = table[(table["class_name"] == "bare") & (table["iou"] == 0.95)]
    assert strict["recall"].tolist() == [0.5, 0.5, 0.5]
    assert strict["precision"].tolist() == [1, 0.5, 0.25]
    assert curves_table(detected(faces, [])).empty
    schemas.validate(curves_table(detected(faces, [])), DETECTION_CURVES)


def test_interpolated_precision_does_not_rise_with_recall():
    faces, boxes, names = random_rows(6)
    table = curves_table(detected(faces, boxes, images=names))
    for _, curve in table.groupby(["class_name", "iou"]):
        assert (curve["score"].diff().dropna() < 0).all()
        assert (curve["recall"].diff().dropna() >= 0).all()
        assert (curve["interpolated"].diff().dropna() <= 0).all()
        assert (curve["interpolated"] >= curve["precision"]).all()


def test_the_best_score_by_hand():
    # Three faces. By falling score: right, wrong, right (0.7), wrong: F1 = 2/(1+3), 2/(2+3), 4/(3+3), 4/(4+3).
    faces = [("a", "bare", FACE), ("b", "masked", FACE), ("c", "masked", FACE)]
    boxes = [
        ("a", "bare", 0.9, FACE), ("b", "bare", 0.8, FACE), ("b", "masked", 0.7, FACE), ("c", "masked", 0.6, AWAY),
    ]  # fmt: skip
    choice = best_score_threshold(detected(faces, boxes))
    assert choice.min_score == 0.7
    assert (choice.f1, choice.precision, choice.recall) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert choice.reason == ""
    # A wrong box of equal score comes with it: 2/4, 2/5, 4/7 at 0.7, 4/8 at 0.6.
    choice = best_score_threshold(detected(faces, [*boxes, ("c", "bare", 0.7, AWAY)]))
    assert (choice.min_score, choice.precision) == (0.7, 0.5)
    assert choice.f1 == pytest.approx(4 / 7)


def test_nothing_to_choose_says_why():
    nothing = best_score_threshold(detected([("a", "bare", FACE)], [("a", "bare", 0.5, AWAY)]))
    assert np.isnan(nothing.min_score)
    assert nothing.reason == "no box is right at any score"
    assert best_score_threshold(detected([], [])).reason == "no faces"
