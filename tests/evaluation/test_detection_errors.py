"""The kinds of error of Bolya et al. and what mending each would give, by hand and against COCO's evaluation."""

import numpy as np
import pytest

from maskbench import schemas
from maskbench.evaluation.detection_coco import coco_metrics
from maskbench.evaluation.detection_errors import errors_table, find_errors
from maskbench.schemas.detection import ALL_CLASSES, DETECTION_ERRORS, ERROR_KINDS
from tests.evaluation.detections import detected, random_rows

FACE = (0.0, 0.0, 10.0, 10.0)
PART = (0.0, 0.0, 4.0, 10.0)  # IoU 0.4 with FACE
MOST = (0.0, 0.0, 9.0, 10.0)  # IoU 0.9
AWAY = (50.0, 50.0, 60.0, 60.0)
EDGE = (9.5, 0.0, 19.5, 10.0)  # IoU 5 / 195 with FACE

#: kind: faces, boxes, AP50 as it is, AP50 with this kind mended. Every other kind has no error and gains nothing.
CASES = {
    # Bare: one of two faces is found: recall 1/2 at precision 1, 51 of the 101 recalls. Named rightly, both are.
    "classification": (
        [("a", "bare", FACE), ("b", "bare", FACE)],
        [("a", "bare", 0.9, FACE), ("b", "masked", 0.8, FACE)],
        51 / 101, 1.0,
    ),
    # Wrong, right: precision 1/2 up to recall 1/2. In its place, the first finds the second face.
    "localisation": (
        [("a", "bare", FACE), ("b", "bare", FACE)],
        [("b", "bare", 0.95, PART), ("a", "bare", 0.9, FACE)],
        51 / 101 / 2, 1.0,
    ),
    # Masked: wrong, right: 1/2; bare: 1; mean 3/4. Without the masked box that half lies on a bare face: 1.
    "both": (
        [("a", "bare", FACE), ("b", "masked", FACE)],
        [("a", "masked", 0.9, PART), ("b", "masked", 0.8, FACE), ("a", "bare", 0.5, FACE)],
        3 / 4, 1.0,
    ),
    # Right, wrong, right: recall 1/2 at precision 1 (51 recalls), then recall 1 at 2/3 (50 recalls).
    "duplicate": (
        [("a", "bare", FACE), ("b", "bare", FACE)],
        [("a", "bare", 0.9, FACE), ("a", "bare", 0.8, MOST), ("b", "bare", 0.7, FACE)],
        (51 + 50 * 2 / 3) / 101, 1.0,
    ),
    # Wrong (touches the face with IoU < 0.1), wrong (in a photograph without faces), right: precision 1/3.
    "background": (
        [("a", "bare", FACE)],
        [("a", "bare", 0.95, EDGE), ("c", "bare", 0.92, AWAY), ("a", "bare", 0.9, FACE)],
        1 / 3, 1.0,
    ),
    # One of two found; asked for one only, it is all.
    "missed": ([("a", "bare", FACE), ("b", "bare", FACE)], [("a", "bare", 0.9, FACE)], 51 / 101, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_each_kind_by_hand(kind):
    faces, boxes, before, after = CASES[kind]
    table = errors_table(detected(faces, boxes))
    schemas.validate(table, DETECTION_ERRORS)
    assert list(table["kind"]) == list(ERROR_KINDS)
    rows = table.set_index("kind")
    assert rows.loc[kind, "ap50"] == pytest.approx(before)
    assert rows.loc[kind, "gain"] == pytest.approx(after - before)
    others = rows.drop(index=kind)
    assert rows.loc[kind, "count"] == (2 if kind == "background" else 1)
    assert others["count"].sum() == 0
    assert others["gain"].abs().max() == pytest.approx(0)


def test_of_a_mended_and_a_right_box_on_one_face_the_higher_score_stays():
    # Half on the face (0.95), nowhere (0.93), on the face (0.9): wrong, wrong, right = 1/3. With the first in its
    # place it finds the face, the third goes: right, wrong = 1, a gain of 2/3.
    boxes = [("a", "bare", 0.95, PART), ("a", "bare", 0.93, AWAY), ("a", "bare", 0.9, FACE)]
    rows = errors_table(detected([("a", "bare", FACE)], boxes)).set_index("kind")
    assert rows.loc["localisation", "gain"] == pytest.approx(2 / 3)
    # Two boxes half on it: the second goes too, though mended. Right (0.95), wrong (0.93) again.
    boxes.append(("a", "bare", 0.91, PART))
    rows = errors_table(detected([("a", "bare", FACE)], boxes)).set_index("kind")
    assert rows.loc["localisation", ["count", "gain"]].tolist() == [2, pytest.approx(3 / 4)]  # before: 1/4


def test_a_face_that_a_wrong_box_aims_at_is_not_missed():
    found = detected([("a", "bare", FACE), ("b", "bare", FACE), ("c", "bare", FACE)], [
        ("a", "bare", 0.9, PART), ("b", "masked", 0.9, FACE), ("c", "masked", 0.9, PART),
    ])  # fmt: skip
    errors = find_errors(found)
    assert errors.kinds.tolist() == ["localisation", "classification", "both"]
    assert errors.missed.tolist() == [False, False, True]


def test_a_class_whose_faces_are_all_missed_gains_nothing_by_not_asking_for_them():
    table = errors_table(detected([("a", "bare", FACE), ("a", "masked", AWAY)], [("a", "masked", 0.5, AWAY)]))
    missed = table.set_index("kind").loc["missed"]
    assert missed[["count", "ap50", "gain"]].tolist() == [1, 0.5, 0]


def test_boxes_below_the_score_are_no_errors():
    faces, boxes, *_ = CASES["background"]
    table = errors_table(detected(faces, boxes), min_score=0.93).set_index("kind")
    assert table.loc["background", "count"] == 1
    assert table.loc["missed", "count"] == 1
    assert set(table["min_score"]) == {0.93}
    with pytest.raises(ValueError, match="between 0 and 1"):
        errors_table(detected(faces, boxes), min_score=2)


def test_without_faces_nothing_is_defined_and_without_boxes_all_is_missed():
    table = errors_table(detected([], [("a", "bare", 0.5, FACE)])).set_index("kind")
    assert table["ap50"].isna().all()
    assert table["gain"].isna().all()
    assert table.loc["background", "count"] == 1
    table = errors_table(detected([("a", "bare", FACE)], [])).set_index("kind")
    assert table.loc["missed", ["count", "ap50", "gain"]].tolist() == [1, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_taking_boxes_or_faces_away_is_what_coco_says_it_is(seed):
    faces, boxes, names = random_rows(seed, levels=10**6)
    found = detected(faces, boxes, images=names)
    errors, table = find_errors(found), errors_table(found).set_index("kind")

    def ap50(kept_faces, kept_boxes):
        less = detected(
            [(found.image_ids[found.face_images[i]], found.classes[found.face_classes[i]], tuple(found.face_boxes[i]))
             for i in kept_faces],
            [(found.image_ids[found.box_images[i]], found.classes[found.box_classes[i]], found.scores[i],
              tuple(found.boxes[i])) for i in kept_boxes],
            images=names,
        )  # fmt: skip
        values = coco_metrics(less).set_index(["metric", "class_name", "band"])["value"]
        return values["ap50", ALL_CLASSES, "all"]

    everyone, every_box = np.arange(len(faces)), np.arange(len(boxes))
    assert table["ap50"].iloc[0] == pytest.approx(ap50(everyone, every_box), abs=1e-9)
    for kind in ("both", "duplicate", "background"):
        assert table.loc[kind, "count"] > 0
        kept = np.setdiff1d(every_box, errors.boxes[errors.kinds == kind])
        assert table.loc[kind, "gain"] == pytest.approx(ap50(everyone, kept) - table["ap50"].iloc[0], abs=1e-9)
    kept = everyone[~errors.missed]
    assert table.loc["missed", "gain"] == pytest.approx(ap50(kept, every_box) - table["ap50"].iloc[0], abs=1e-9)
    assert (table["gain"] >= 0).all()
