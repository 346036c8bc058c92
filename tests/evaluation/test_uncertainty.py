"""Bootstrap intervals against direct resampling, hand calculations and known coverage."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from maskbench.evaluation import uncertainty
from maskbench.evaluation.classification import metrics_table
from maskbench.evaluation.uncertainty import differences_table, intervals_table
from maskbench.schemas import DIFFERENCES, INTERVALS, validate
from tests.evaluation.tables import plausible_predictions, predictions_from

CLASSES = ["a", "b", "c"]
SHARES = [0.79, 0.18, 0.03]


def pick(table, metric, class_name="", **where):
    rows = table[(table["metric"] == metric) & (table["class_name"] == class_name)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_values_are_those_of_the_metrics_table():
    table = plausible_predictions(CLASSES, SHARES, arms={"x": 1.5, "y": 2.5})
    intervals = validate(intervals_table(table, CLASSES, resamples=50), INTERVALS)
    keys = ["arm", "seed", "split", "metric", "class_name"]
    both = intervals.merge(metrics_table(table, CLASSES), on=keys, suffixes=("", "_metric"), validate="one_to_one")
    assert len(both) == len(intervals)
    np.testing.assert_allclose(both["value"], both["value_metric"])


def test_limits_equal_those_of_resampling_rows_directly():
    table = plausible_predictions(["a", "b", "c"], [0.5, 0.3, 0.2], faces=80)
    found = intervals_table(table, CLASSES, seed=3, resamples=30, confidence=0.9)
    groups = [group for _, group in table.groupby("image_id", sort=True)]
    rng = np.random.default_rng(3)
    weights = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=30)
    drawn = []
    for row in weights:
        sample = pd.concat([group for group, times in zip(groups, row, strict=True) for _ in range(times)])
        true, predicted = sample["label"], sample["predicted"]
        areas = [roc_auc_score(true == name, sample[f"prob_{name}"]) for name in CLASSES]
        drawn.append(
            {
                ("accuracy", ""): (true == predicted).mean(),
                ("balanced_accuracy", ""): balanced_accuracy_score(true, predicted),
                ("f1_macro", ""): f1_score(true, predicted, average="macro"),
                ("roc_auc_macro", ""): np.mean(areas),
                ("roc_auc", "b"): areas[1],
                ("f1", "c"): f1_score(true, predicted, average=None, labels=CLASSES)[2],
            }
        )
    for key, values in pd.DataFrame(drawn).items():
        row = pick(found, *key)
        np.testing.assert_allclose([row["low"], row["high"]], np.quantile(values, [0.05, 0.95]))


def test_photographs_are_drawn_not_faces():
    # Ten photographs of 40 equal faces, half of them wrong: accuracy of a draw is a multiple of 1/10,
    # with standard deviation sqrt(0.25 / 10) = 0.158; drawing the 400 faces would give 0.025.
    images = [f"i{number}" for number in range(10) for _ in range(40)]
    wrong = np.array([number % 2 == 0 for number in range(10) for _ in range(40)])
    logits = np.stack([np.where(wrong, 0.0, 2.0), np.where(wrong, 2.0, 0.0)], axis=1)
    row = pick(intervals_table(predictions_from(logits, ["a"] * 400, ["a", "b"], images), ["a", "b"]), "accuracy")
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * 0.158, abs=0.11)
    assert (row["images"], row["faces"], row["resamples"]) == (10, 400, 1000)


def test_draws_without_the_rare_class_are_left_out_and_counted():
    # c sits in one photograph of 20, always right: it is missing from (1 - 1/20)^20 = 36 % of the draws.
    rng = np.random.default_rng(0)
    labels = ["c", *rng.choice(["a", "b"], size=39)]
    logits = np.array([[name == label for name in CLASSES] for label in labels], dtype=float)
    images = [f"i{number // 2:02d}" for number in range(40)]
    table = intervals_table(predictions_from(logits, labels, CLASSES, images), CLASSES)
    row = pick(table, "f1", "c")
    assert row["incomplete"] / row["resamples"] == pytest.approx(0.358, abs=0.05)
    assert (row["value"], row["low"], row["high"], row["faces"]) == (1, 1, 1, 1)
    macro = pick(table, "f1_macro")
    assert macro["incomplete"] == row["incomplete"]
    assert (macro["low"], macro["high"]) == (1, 1)
    assert pick(table, "accuracy")["incomplete"] == 0


def test_one_photograph_has_no_interval():
    table = predictions_from(np.array([[1.0, 0], [0, 1.0]]), ["a", "b"], ["a", "b"], ["i", "i"])
    row = pick(intervals_table(table, ["a", "b"], resamples=10), "accuracy")
    assert row["value"] == 1
    assert np.isnan([row["low"], row["high"]]).all()


def test_an_absent_class_has_no_area_and_no_interval():
    table = predictions_from(np.array([[1.0, 0, 0], [0, 1.0, 0]] * 4), ["a", "b"] * 4, CLASSES, list("stuvwxyz"))
    found = intervals_table(table, CLASSES, resamples=40)
    assert np.isnan(pick(found, "roc_auc", "c")[["value", "low", "high"]].astype(float)).all()
    assert np.isnan(pick(found, "f1", "c")["value"])
    assert pick(found, "f1_macro")["value"] == 1
    assert pick(found, "roc_auc_macro")["value"] == 1


def test_the_seed_decides_and_chunks_do_not(monkeypatch):
    table = plausible_predictions(CLASSES, SHARES, faces=100)
    first = intervals_table(table, CLASSES, seed=1, resamples=90)
    monkeypatch.setattr(uncertainty, "_CHUNK", 700)  # 7 draws at a time
    pd.testing.assert_frame_equal(first, intervals_table(table, CLASSES, seed=1, resamples=90))
    assert not first.equals(intervals_table(table, CLASSES, seed=2, resamples=90))


def test_differences_are_paired():
    table = plausible_predictions(CLASSES, SHARES, arms={"x": 1.5, "y": 2.5}, seeds=(0, 1))
    found = validate(differences_table(table, CLASSES), DIFFERENCES)
    assert set(zip(found["arm"], found["baseline"], strict=True)) == {("y", "x")}
    measured = metrics_table(table, CLASSES)
    for seed in (0, 1):
        row = pick(found, "f1_macro", seed=seed)
        values = [pick(measured, "f1_macro", arm=arm, seed=seed)["value"] for arm in ("x", "y")]
        assert row["value"] == pytest.approx(values[1] - values[0])
        assert row["low"] < row["value"] < row["high"]


def test_an_arm_does_not_differ_from_itself():
    table = plausible_predictions(CLASSES, SHARES)
    twice = pd.concat([table, table.assign(arm="copy").sample(frac=1, random_state=0)])
    found = differences_table(twice, CLASSES, resamples=50)
    np.testing.assert_allclose(found[["value", "low", "high"]], 0, atol=1e-12)


def test_arms_measured_on_other_faces_cannot_be_paired():
    table = plausible_predictions(CLASSES, SHARES, arms={"x": 1.0, "y": 2.0}, faces=40)
    last = table["face_id"].iloc[-1]
    with pytest.raises(ValueError, match=rf"same faces \(39 and 40 faces, 1 of them in one only, '{last}' for one\)"):
        differences_table(table.iloc[:-1], CLASSES)
    other = table.assign(image_id=[*table["image_id"].iloc[:-1], "elsewhere"])
    with pytest.raises(ValueError, match=f"image_id of '{last}' is 'elsewhere' and '"):
        differences_table(other, CLASSES)


def test_one_arm_has_no_differences_but_the_columns():
    found = differences_table(plausible_predictions(CLASSES, SHARES, faces=30), CLASSES, resamples=5)
    assert found.empty
    assert list(found.columns) == list(DIFFERENCES.columns)


def test_a_thousand_draws_take_well_under_a_second():
    table = plausible_predictions(CLASSES, SHARES, faces=640)
    started = time.perf_counter()
    intervals_table(table, CLASSES)
    assert time.perf_counter() - started < 3  # about 0.3 s; generous for a busy machine


def test_intervals_cover_the_truth():
    # 40 studies of accuracy 0.7 in 60 independent photographs: a 90 % interval should cover in about 36.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        right = rng.random(60) < 0.7
        logits = np.stack([right * 2.0, 1 - right * 1.0], axis=1)
        table = predictions_from(logits, ["a"] * 60, ["a", "b"], [f"i{number:02d}" for number in range(60)])
        row = pick(intervals_table(table, ["a", "b"], resamples=100, confidence=0.9), "accuracy")
        covered += row["low"] <= 0.7 <= row["high"]
    assert 30 <= covered <= 40


@pytest.mark.parametrize("options", [{"resamples": 1}, {"confidence": 1.0}])
def test_senseless_settings_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        intervals_table(plausible_predictions(["a", "b"], [0.5, 0.5], faces=6), ["a", "b"], **options)
