"""The measurements, confusion and curve tables against scikit-learn and hand calculations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from maskbench.evaluation.classification import (
    confusion_table,
    metrics_table,
    precision_recall_table,
    roc_table,
    threshold_curve,
)
from maskbench.schemas import CONFUSION, METRICS, PRECISION_RECALL, PREDICTIONS, ROC, validate
from tests.evaluation.tables import plausible_predictions, predictions_from

CLASSES = ["a", "b", "c"]


def lookup(table):
    return {(row.metric, row.class_name): (row.value, row.reason) for row in table.itertuples()}


@st.composite
def cases(draw):
    """Logits on a coarse grid, so that equal scores occur, and labels among 2 to 4 classes."""
    k, n = draw(st.integers(2, 4)), draw(st.integers(1, 30))
    logits = draw(st.lists(st.lists(st.integers(-2, 2), min_size=k, max_size=k), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n))
    return np.array(logits, dtype=float), np.array(labels), [f"c{i}" for i in range(k)]


@settings(max_examples=30, deadline=None)
@given(cases())
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_scikit_learn(case):
    logits, true, classes = case
    table = predictions_from(logits, [classes[t] for t in true], classes, ["i"] * len(true))
    found = lookup(metrics_table(table, classes))
    predicted = logits.argmax(axis=1)
    probs = table[[f"prob_{name}" for name in classes]].to_numpy()
    expected_loss = reference.log_loss(true, probs / probs.sum(axis=1, keepdims=True), labels=range(len(classes)))
    assert found["loss", ""][0] == pytest.approx(expected_loss)
    if len(set(true)) > 1 and len(set(predicted)) > 1:
        assert found["mcc", ""][0] == pytest.approx(reference.matthews_corrcoef(true, predicted))
        assert found["kappa", ""][0] == pytest.approx(reference.cohen_kappa_score(true, predicted))
    if set(true) == set(range(len(classes))):
        assert found["f1_macro", ""][0] == pytest.approx(reference.f1_score(true, predicted, average="macro"))
    areas = []
    for k, name in enumerate(classes):
        positive = true == k
        if 0 < positive.sum() < len(true):
            areas.append(reference.roc_auc_score(positive, probs[:, k]))
            assert found["roc_auc", name][0] == pytest.approx(areas[-1])
            assert found["roc_auc", name][1] == ""
        else:
            assert np.isnan(found["roc_auc", name][0])
            assert found["roc_auc", name][1]
        if positive.any():
            expected = reference.average_precision_score(positive, probs[:, k])
            assert found["average_precision", name][0] == pytest.approx(expected)
        else:
            assert np.isnan(found["average_precision", name][0])
        assert found["support", name][0] == positive.sum()
    assert found["roc_auc_macro", ""][0] == pytest.approx(np.mean(areas) if areas else np.nan, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_nan_always_has_a_reason(case):
    logits, true, classes = case
    table = metrics_table(predictions_from(logits, [classes[t] for t in true], classes, ["i"] * len(true)), classes)
    assert (table.loc[table["value"].isna(), "reason"] != "").all()
    assert (table.loc[(table["class_name"] != "") & table["value"].notna(), "reason"] == "").all()


def test_reasons_name_what_is_missing():
    # True a a b, all called a; c occurs nowhere.
    logits = np.array([[2.0, 0, 0], [2, 1, 0], [2, 1, 0]])
    table = metrics_table(predictions_from(logits, ["a", "a", "b"], CLASSES, ["i", "i", "j"]), CLASSES)
    found = lookup(table)
    assert np.isnan(found["precision", "b"][0])
    assert found["precision", "b"][1] == "never predicted"
    assert found["f1", "b"] == (0.0, "")
    assert found["f1", "c"][1] == "no face of this class, and never predicted"
    assert found["roc_auc", "c"][1] == "no face of this class"
    assert found["f1_macro", ""] == (pytest.approx(0.4), "without c: undefined there")  # (2·2/(2·2+1) + 0) / 2
    assert found["precision_macro", ""] == (
        pytest.approx(1 / 3),  # (2/3 + 0) / 2
        "without c: undefined there; b counted as 0: undefined there",
    )
    assert found["roc_auc_macro", ""][1] == "without c: undefined there"
    assert found["mcc", ""][1] == "all decisions are one class"


def test_each_arm_seed_and_split_by_itself():
    table = plausible_predictions(CLASSES, [0.79, 0.18, 0.03], arms={"x": 1.0, "y": 3.0}, seeds=(0, 4),
                                  splits=("val", "test"), faces=60)  # fmt: skip
    validate(table, PREDICTIONS)
    validate(roc_table(table[table["split"] == "test"], CLASSES), ROC)
    validate(precision_recall_table(table[table["split"] == "test"], CLASSES), PRECISION_RECALL)
    together = validate(metrics_table(table, CLASSES), METRICS)
    part = table.query("arm == 'y' and seed == 4 and split == 'val'")
    alone = metrics_table(part, CLASSES)
    same = together.query("arm == 'y' and seed == 4 and split == 'val'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same)
    assert len(together) == 8 * len(alone)


def test_confusion_table_by_hand():
    logits = np.array([[2.0, 0], [0, 2], [0, 2], [2, 0]])
    table = confusion_table(predictions_from(logits, ["a", "a", "b", "a"], ["a", "b"], list("wxyz")), ["a", "b"])
    validate(table, CONFUSION)
    assert table["count"].tolist() == [2, 1, 0, 1]
    np.testing.assert_allclose(table["share"], [2 / 3, 1 / 3, 0, 1])


def test_row_share_of_an_absent_class_is_missing():
    table = confusion_table(predictions_from(np.array([[2.0, 0]]), ["a"], ["a", "b"], ["w"]), ["a", "b"])
    assert table["share"].isna().tolist() == [False, False, True, True]


@settings(max_examples=25, deadline=None)
@given(cases())
def test_curves_agree_with_scikit_learn(case):
    logits, true, classes = case
    table = predictions_from(logits, [classes[t] for t in true], classes, ["i"] * len(true))
    roc, pr = roc_table(table, classes), precision_recall_table(table, classes)
    for k, name in enumerate(classes):
        positive, scores = true == k, table[f"prob_{name}"].to_numpy()
        ours = roc[roc["class_name"] == name]
        if 0 < positive.sum() < len(true):
            x, y, _ = reference.roc_curve(positive, scores, drop_intermediate=False)
            # Fewer points, the same curve: ours runs through every point of the reference.
            area = np.trapezoid(ours["true_positive_rate"], ours["false_positive_rate"])
            assert area == pytest.approx(np.trapezoid(y, x))
            assert {*zip(ours["false_positive_rate"].round(9), ours["true_positive_rate"].round(9), strict=True)} <= {
                *zip(x.round(9), y.round(9), strict=True)
            }
            assert ours.iloc[0][["false_positive_rate", "true_positive_rate"]].tolist() == [0, 0]
            assert ours.iloc[-1][["false_positive_rate", "true_positive_rate"]].tolist() == [1, 1]
        else:
            assert ours.empty
        ours = pr[pr["class_name"] == name]
        if positive.any():
            precision, recall, _ = reference.precision_recall_curve(positive, scores)
            np.testing.assert_allclose(ours["precision"], precision[::-1])
            np.testing.assert_allclose(ours["recall"], recall[::-1])
        else:
            assert ours.empty


def test_equal_scores_fall_together():
    # Thresholds 0.9: one hit; 0.4: one hit and one miss at once -> the line (0, 1/2) to (1, 1), area 3/4.
    curve = threshold_curve(np.array([True, False, True]), np.array([0.9, 0.4, 0.4]))
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.4]
    assert curve.true_positives.tolist() == [0, 1, 2]
    assert curve.roc_auc() == 0.75
    assert curve.average_precision() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_curves_of_two_splits_together_are_refused():
    table = plausible_predictions(["a", "b"], [0.5, 0.5], faces=10, splits=("val", "test"))
    with pytest.raises(ValueError, match="test, val"):
        roc_table(table, ["a", "b"])


def test_unknown_labels_and_missing_probabilities_are_refused():
    table = plausible_predictions(["a", "b"], [0.5, 0.5], faces=10)
    with pytest.raises(ValueError, match="'b'"):
        metrics_table(table.rename(columns={"prob_b": "prob_z"}), ["a", "z"])
    with pytest.raises(ValueError, match="prob_q"):
        metrics_table(table, ["a", "b", "q"])


def test_the_predictions_are_not_changed():
    table = plausible_predictions(CLASSES, [0.6, 0.3, 0.1], faces=20)
    before = table.copy(deep=True)
    for function in (metrics_table, confusion_table, roc_table, precision_recall_table):
        function(table, CLASSES)
    pd.testing.assert_frame_equal(table, before)
