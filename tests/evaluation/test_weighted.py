"""Weights of photographs against repeating rows, by both ways of computing areas."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from maskbench.evaluation import weighted
from maskbench.evaluation.classification import Scored
from maskbench.evaluation.weighted import WeightedArea, WeightedMetrics, metric_names, wins_between_photographs
from tests.evaluation.tables import plausible_predictions, predictions_from

CLASSES = ["a b", "2", "ü"]


def by_repeating_rows(table, weights):
    """What scikit-learn gives for the faces of each photograph as often as its weight says."""
    groups = [group for _, group in table.groupby("image_id", sort=True)]
    rows = pd.concat([group for group, times in zip(groups, weights, strict=True) for _ in range(int(times))])
    true, predicted = rows["label"], rows["predicted"]
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, labels=CLASSES, zero_division=np.nan)
    areas = [roc_auc_score(true == name, rows[f"prob_{name}"]) for name in CLASSES]
    overall = [accuracy_score(true, predicted), balanced_accuracy_score(true, predicted)]
    macro = f1_score(true, predicted, average="macro")
    return np.array([*overall, macro, *precision, *recall, *f1, np.mean(areas), *areas, rows["loss"].mean()])


@pytest.mark.parametrize("pairs_per_face", [0, 1000], ids=["by ranks", "by pairs"])
def test_weights_are_repeated_rows(monkeypatch, pairs_per_face):
    monkeypatch.setattr(weighted, "_PAIRS_PER_FACE", pairs_per_face)
    monkeypatch.setattr(weighted, "_BLOCK", 300)  # several blocks
    table = plausible_predictions(CLASSES, [0.5, 0.3, 0.2], faces=90)
    for name in CLASSES:
        table[f"prob_{name}"] = table[f"prob_{name}"].round(1)  # equal scores
    metrics = WeightedMetrics(Scored.of(table, CLASSES))
    weights = np.random.default_rng(1).integers(0, 4, size=(6, metrics.images)).astype(float)
    expected = np.array([by_repeating_rows(table, row) for row in weights])
    np.testing.assert_allclose(metrics.measure(weights), expected, rtol=1e-12)


def test_names_stand_for_the_columns():
    names = metric_names(["x", "y"])
    assert names[:3] == [("accuracy", ""), ("balanced_accuracy", ""), ("f1_macro", "")]
    assert names[3:9] == [(metric, name) for metric in ("precision", "recall", "f1") for name in ("x", "y")]
    assert names[9:] == [("roc_auc_macro", ""), ("roc_auc", "x"), ("roc_auc", "y"), ("loss", "")]


def test_wins_by_hand():
    # Photographs 0: class 0.9, other 0.4; 1: other 0.9; 2: class 0.5 and 0.3.
    scores = np.array([0.9, 0.4, 0.9, 0.5, 0.3])
    positive, images = np.array([True, False, False, True, True]), np.array([0, 0, 1, 2, 2])
    # Rows: photographs 0 and 2 with the class; columns: 0 and 1 with others.
    # 0.9 beats 0.4, ties 0.9; 0.5 beats 0.4, loses to 0.9; 0.3 loses both.
    assert wins_between_photographs(scores, positive, images).tolist() == [[1, 0.5], [1, 0]]
    area = WeightedArea(scores, positive, images, 3)
    # Weights 1, 1, 1: 2.5 of 6 pairs. Weights 0, 2, 1: photograph 2 against two of photograph 1, all lost.
    # Weights 1, 0, 3: pairs 0-0 (1 · 1 won of 1) and 2-0 (3 · 1 won of 3 · 2).
    found = area.measure(np.array([[1.0, 1, 1], [0, 2, 1], [1, 0, 3]]))
    np.testing.assert_allclose(found, [2.5 / 6, 0, 4 / 7])


def test_large_counts_stay_exact():
    # 2,999 faces of the class all above 3,001 others, weighted 3 and 5: 3 · 8,999,999 wins is odd and above 2^24,
    # so float32 cannot hold it.
    scores, positive = np.linspace(1, 0, 6000), np.arange(6000) < 2999
    area = WeightedArea(scores, positive, (~positive).astype(np.int64), 2)
    assert area.measure(np.array([[3.0, 5.0]])).tolist() == [1]


def test_a_class_that_is_not_drawn_has_no_figures_and_leaves_the_means_undefined():
    logits = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [2, 0, 0]])
    table = predictions_from(logits, ["a b", "2", "ü", "a b"], CLASSES, ["i", "i", "j", "k"])
    found = WeightedMetrics(Scored.of(table, CLASSES)).measure(np.array([[1.0, 0, 2]]))[0]
    undefined = {name for name, value in zip(metric_names(CLASSES), found, strict=True) if np.isnan(value)}
    means = {("balanced_accuracy", ""), ("f1_macro", ""), ("roc_auc_macro", "")}
    assert undefined == means | {(metric, "ü") for metric in ("precision", "recall", "f1", "roc_auc")}


def test_a_class_without_faces_is_left_out_of_means():
    table = predictions_from(np.array([[2.0, 0, 0], [0, 2, 0]]), ["a b", "2"], CLASSES, ["i", "j"])
    values = WeightedMetrics(Scored.of(table, CLASSES)).measure(np.ones((1, 2)))[0]
    found = dict(zip(metric_names(CLASSES), values, strict=True))
    assert found["f1_macro", ""] == found["balanced_accuracy", ""] == found["roc_auc_macro", ""] == 1
    assert np.isnan(found["roc_auc", "ü"])
