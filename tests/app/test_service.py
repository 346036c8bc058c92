"""Faces and explanations, before any page or protocol."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from maskbench.app.models import Arm
from maskbench.app.photographs import BoxError
from maskbench.app.service import NO_MAPS, NOT_FOUND, NOT_NAMED, BusyError, Service, WishError
from tests.app.conftest import CLASSES, MAX_BYTES, classifier
from tests.inference.test_detections import BrightSquares

BOX = (5.0, 10.0, 35.0, 40.0)


def test_what_a_detector_finds_its_arm_s_classifier_names(service: Service, arms: list[Arm], photograph: bytes) -> None:
    picture = service.read(photograph, "a.png")
    hand, bought = service.look(picture, min_score=0.0)
    assert (hand.arm, bought.arm) == ("hand", "bought")
    for arm, seen in zip(arms, (hand, bought), strict=True):
        assert [face.box for face in seen.faces] == [BOX] and seen.note == ""
        face = seen.faces[0]
        assert arm.classifier is not None and face.probabilities is not None
        expected = arm.classifier.probabilities(picture.pixels, np.array([BOX]))[0]
        assert list(face.probabilities) == CLASSES
        assert np.allclose(list(face.probabilities.values()), expected)
        assert face.label == CLASSES[int(expected.argmax())]
        assert face.score == pytest.approx(0.9 * expected.max())  # 900 bright px: the detector says 0.9
    assert hand.faces[0].probabilities != bought.faces[0].probabilities


def test_one_threshold_holds_for_the_score_that_is_shown(service: Service, photograph: bytes) -> None:
    picture = service.read(photograph, "a.png")
    scores = [seen.faces[0].score for seen in service.look(picture, min_score=0.0)]
    for seen, score in zip(service.look(picture, min_score=max(scores)), scores, strict=True):
        assert len(seen.faces) == (score == max(scores))
    assert all(not seen.faces for seen in service.look(picture, min_score=0.91))
    with pytest.raises(WishError, match="min_score: in 0…1, not nan"):
        service.look(picture, min_score=float("nan"))


def test_boxes_that_are_given_keep_their_order_and_need_no_score(service: Service, photograph: bytes) -> None:
    picture = service.read(photograph, "a.png")
    given = [(30.0, 1.0, 60.0, 30.0), BOX]
    seen = service.look(picture, min_score=1.0, boxes=given)[0]
    assert [face.box for face in seen.faces] == given
    assert all(face.score == max((face.probabilities or {}).values()) for face in seen.faces)
    with pytest.raises(BoxError):
        service.look(picture, min_score=0.3, boxes=[(0, 0, 99, 9)])


def test_a_detector_alone_gives_its_own_classes_and_no_maps(photograph: bytes) -> None:
    alone = Service([Arm("found", BrightSquares(), None)], max_bytes=MAX_BYTES)
    picture = alone.read(photograph, "a.png")
    seen = alone.look(picture, min_score=0.3)[0]
    assert [(face.label, round(face.score, 6), face.probabilities) for face in seen.faces] == [("light", 0.9, None)]
    given = alone.look(picture, min_score=0.3, boxes=[BOX])[0]
    assert (given.faces, given.note) == ((), NOT_NAMED)
    with pytest.raises(WishError, match=NO_MAPS):
        alone.explain(picture, BOX)


def test_a_classifier_alone_takes_the_whole_photograph_for_one_face(photograph: bytes) -> None:
    asked = classifier("named", 0)
    alone = Service([Arm("named", None, asked)], max_bytes=MAX_BYTES)
    picture = alone.read(photograph, "a.png")
    seen = alone.look(picture, min_score=0.3)[0]
    assert ([face.box for face in seen.faces], seen.note) == ([picture.whole], NOT_FOUND)
    expected = asked.probabilities(picture.pixels, np.array([picture.whole]), whole=True)[0]
    with_context = asked.probabilities(picture.pixels, np.array([picture.whole]))[0]
    assert seen.faces[0].score == pytest.approx(expected.max())
    assert not np.allclose(expected, with_context)
    # and is explained as it was shown
    why = alone.explain(picture, seen.faces[0].box)[0]
    assert why.probabilities == seen.faces[0].probabilities
    assert alone.look(picture, min_score=0.3, boxes=[BOX])[0].note == ""


def test_an_explanation_shows_the_face_and_the_map_over_it(service: Service, photograph: bytes) -> None:
    picture = service.read(photograph, "a.png")
    hand, bought = service.explain(picture, BOX)
    assert hand.face.shape == hand.overlay.shape == (320, 320, 3)
    # the view is 45 px wide around the square: bright from 1/6 to 5/6 of it, where it lies inside the photograph
    assert hand.face[160, 160].min() > 240 and hand.face[160, 20].max() < 60 and hand.face[30, 160].max() < 60
    assert hand.label == max(hand.probabilities, key=lambda name: hand.probabilities[name]) == hand.explained
    assert np.array_equal(hand.face, bought.face)
    other = next(name for name in CLASSES if name != hand.label)
    against = service.explain(picture, BOX, class_name=other)[0]
    assert (against.explained, against.label) == (other, hand.label)
    assert hand.evidence or against.evidence
    assert not np.array_equal(against.overlay, hand.overlay)
    with pytest.raises(WishError, match="class_name 'hat': hand knows dark, light"):
        service.explain(picture, BOX, class_name="hat")


def test_a_map_lies_over_the_part_of_the_photograph_that_it_is_of(
    service: Service, arms: list[Arm], photograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    heat = np.zeros((32, 32), np.float32)
    heat[4:12, 20:28] = 3.0  # tenfold enlarged: rows 40 to 120, columns 200 to 280
    monkeypatch.setattr(arms[0].classifier, "grad_cam", lambda *_, **__: heat)
    shown = service.explain(service.read(photograph, "a.png"), BOX)[0]
    coloured = np.ptp(shown.overlay.astype(int), axis=2) > 30
    rows, columns = np.nonzero(coloured)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((38, 121, 198, 281), abs=4)
    assert coloured[45:115, 205:275].all()
    cold = np.ones_like(coloured)
    cold[30:130, 190:290] = False
    grey = shown.face.astype(float) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(shown.overlay[cold].astype(float) - grey[cold][:, None]).max() <= 1


def test_callers_take_turns_and_too_many_are_sent_away(arms: list[Arm]) -> None:
    shared = Service(arms, max_bytes=MAX_BYTES, waiting=1)
    inside, leave, waited = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with shared.turn():
            inside.set()
            leave.wait(10)

    def second() -> None:
        with shared.turn():
            waited.set()

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    while shared._places._value:  # until the second stands in line
        assert threads[1].is_alive()
    assert not waited.is_set()
    with pytest.raises(BusyError, match="busy: too many photographs are waiting"), shared.turn():
        pass
    leave.set()
    for thread in threads:
        thread.join(10)
    assert waited.is_set()
    with shared.turn():
        pass


def test_a_service_needs_an_arm() -> None:
    with pytest.raises(ValueError, match="at least one arm"):
        Service([], max_bytes=MAX_BYTES)
