"""Confusion-matrix figures against scikit-learn and hand calculations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from maskbench.evaluation.confusion import class_ratios, confusion_counts, confusion_metrics, macro_mean


def as_dict(counts, classes):
    return {(metric, name): value for metric, name, value in confusion_metrics(np.asarray(counts), classes)}


def test_two_classes_by_hand():
    found = as_dict([[8, 2], [1, 4]], ["a", "b"])
    assert found["accuracy", ""] == pytest.approx(12 / 15)
    assert found["balanced_accuracy", ""] == pytest.approx((8 / 10 + 4 / 5) / 2)
    assert found["precision", "a"] == pytest.approx(8 / 9)
    assert found["recall", "b"] == pytest.approx(4 / 5)
    assert found["f1", "a"] == pytest.approx(16 / 19)  # 2·8 / (2·8 + 1 + 2)
    assert found["f1", "b"] == pytest.approx(8 / 11)  # 2·4 / (2·4 + 2 + 1)
    assert found["f1_macro", ""] == pytest.approx((16 / 19 + 8 / 11) / 2)
    assert found["f1_weighted", ""] == pytest.approx((10 * 16 / 19 + 5 * 8 / 11) / 15)


def test_a_class_never_predicted_scores_zero_and_has_no_precision():
    found = as_dict([[9, 0], [3, 0]], ["a", "b"])
    assert math.isnan(found["precision", "b"])
    assert found["recall", "b"] == 0
    assert found["f1", "b"] == 0
    assert found["precision_macro", ""] == pytest.approx((9 / 12 + 0) / 2)
    assert found["f1_macro", ""] == pytest.approx((18 / 21 + 0) / 2)


def test_a_class_that_does_not_occur_is_left_out_of_means():
    found = as_dict([[8, 2, 0], [1, 4, 0], [0, 0, 0]], ["a", "b", "c"])
    for metric in ("precision", "recall", "f1"):
        assert math.isnan(found[metric, "c"])
    without = as_dict([[8, 2], [1, 4]], ["a", "b"])
    for metric in ("precision_macro", "recall_macro", "f1_macro", "balanced_accuracy", "f1_weighted"):
        assert found[metric, ""] == pytest.approx(without[metric, ""])


def test_no_faces_gives_no_figures():
    assert all(math.isnan(value) for value in as_dict(np.zeros((3, 3), dtype=int), list("abc")).values())


@pytest.mark.parametrize(
    ("counts", "message"), [(np.zeros((2, 3), dtype=int), "square"), (np.array([[1, -1], [0, 1]]), "below zero")]
)
def test_what_is_not_a_confusion_matrix_is_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        confusion_metrics(counts, ["a", "b"])


def test_positions_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match="outside"):
        confusion_counts(np.array([0, 2]), np.array([0, 1]), 2)


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 5).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1))
))  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_agrees_with_scikit_learn(case):
    k, pairs = case
    true, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    classes = [f"c{i}" for i in range(k)]
    counts = confusion_counts(true, predicted, k)
    np.testing.assert_array_equal(counts, reference.confusion_matrix(true, predicted, labels=range(k)))
    found = as_dict(counts, classes)
    assert found["accuracy", ""] == pytest.approx(reference.accuracy_score(true, predicted))
    assert found["balanced_accuracy", ""] == pytest.approx(reference.balanced_accuracy_score(true, predicted))
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(true, predicted, average=average, zero_division=0)
        for metric, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert found[f"{metric}_{average}", ""] == pytest.approx(value)
    expected = reference.precision_recall_fscore_support(true, predicted, labels=range(k), zero_division=np.nan)
    for metric, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        for name, value in zip(classes, values, strict=True):
            assert found[metric, name] == pytest.approx(value, nan_ok=True)


def test_many_matrices_at_once_equal_one_by_one(rng):
    stack = rng.integers(0, 4, size=(20, 3, 3))
    together = macro_mean(class_ratios(stack)["f1"], stack)
    alone = [as_dict(counts, list("abc"))["f1_macro", ""] for counts in stack]
    np.testing.assert_allclose(together, alone)
