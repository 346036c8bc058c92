"""Calibration against torchmetrics and scikit-learn, hand calculations, and simulations with a known answer."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from maskbench.evaluation.calibration import calibration_table, reliability_table
from maskbench.evaluation.reliability import bin_sums, brier_parts, calibration_error, mass_bins, width_bins
from maskbench.evaluation.temperature import fit_temperature, logits_of, temperature_table
from maskbench.schemas import validate
from maskbench.schemas.calibration import (
    CALIBRATION,
    CALIBRATION_POOLED,
    RELIABILITY,
    RELIABILITY_POOLED,
    TEMPERATURES,
)
from tests.evaluation.tables import plausible_predictions, predictions_from

CLASSES = ["a b", "2", "ü"]
SHARES = [0.6, 0.3, 0.1]


def calibrated_predictions(faces, *, sharpness=1.0, seed=0, images=None, split="test", classes=CLASSES, **where):
    """Labels drawn with the softmax of logits, which are then multiplied by `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(faces, len(classes)))
    labels = [classes[rng.choice(len(classes), p=row)] for row in softmax(logits, axis=1)]
    places = np.sort(rng.integers(0, images or faces, size=faces))
    names = [f"{split}{place:04d}" for place in places]
    return predictions_from(sharpness * logits, labels, classes, names, split=split, **where)


def both_sides(**options):
    return pd.concat(
        [
            calibrated_predictions(400, split="val", seed=1, **options),
            calibrated_predictions(300, split="test", seed=2, **options),
        ]
    )


@pytest.fixture(scope="module")
def study():
    arms = {"x": 1.5, "y": 2.5}
    table = plausible_predictions(CLASSES, SHARES, faces=240, arms=arms, seeds=(0, 1), splits=("val", "test"))
    return table, temperature_table(table, CLASSES, resamples=40)


def pick(table, metric, class_name="", **where):
    rows = table[(table["metric"] == metric) & (table["class_name"] == class_name)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_figures_equal_those_of_the_references(study):
    predictions, temperatures = study
    found = validate(calibration_table(predictions, temperatures, CLASSES, resamples=5, bins=12), CALIBRATION)
    scale = temperatures.set_index(["arm", "seed"])["temperature"]
    for (arm, seed), part in predictions[predictions["split"] == "test"].groupby(["arm", "seed"]):
        true = np.array([CLASSES.index(name) for name in part["label"]])
        logits = part[[f"logit_{name}" for name in CLASSES]].to_numpy()
        for calibrated, factor in (("raw", 1.0), ("temperature", scale[arm, seed])):
            probs = softmax(logits / factor, axis=1)
            where = {"arm": arm, "seed": seed, "calibrated": calibrated}
            for metric, norm in (("ece", "l1"), ("mce", "max")):
                reference = multiclass_calibration_error(
                    torch.from_numpy(probs), torch.from_numpy(true), len(CLASSES), n_bins=12, norm=norm
                )
                assert pick(found, metric, **where)["value"] == pytest.approx(float(reference), abs=1e-6)
            assert pick(found, "nll", **where)["value"] == pytest.approx(log_loss(true, probs))
            brier = brier_score_loss(true, probs, labels=[0, 1, 2], scale_by_half=False)
            assert pick(found, "brier", **where)["value"] == pytest.approx(brier)
            for k, name in enumerate(CLASSES):
                one = brier_score_loss(true == k, probs[:, k])
                assert pick(found, "brier", name, **where)["value"] == pytest.approx(one)


def test_errors_by_hand():
    # Bins of width 0.5: confidences 0.6, 0.7 (one right of two) and 0.3 (right).
    # |1.3 - 1| + |0.3 - 1| = 0.3 + 0.7 = 1.0 over 3 faces.
    stated, hits, ones = np.array([0.6, 0.7, 0.3]), np.array([1.0, 0, 1]), np.ones((1, 3))
    assert calibration_error(bin_sums(stated, hits, ones, 2, "equal_width")) == pytest.approx([1 / 3])
    # Three bins of one face each: 0.4 + 0.7 + 0.7 = 1.8 over 3 faces.
    assert calibration_error(bin_sums(stated, hits, ones, 3, "equal_mass")) == pytest.approx([0.6])
    # A border belongs to the bin below it, 0 to the first.
    assert width_bins(np.array([0, 0.25, 0.5, 0.50001, 1]), 2).tolist() == [0, 0, 0, 1, 1]


def test_equal_mass_bins_share_the_faces_and_never_part_ties():
    rng = np.random.default_rng(0)
    stated = rng.random(60)
    expected = [set(part) for part in np.array_split(np.argsort(stated), 5)]
    assert [set(np.flatnonzero(mass_bins(stated, 5) == b)) for b in range(5)] == expected
    # Ranks 0-1, 2-7, 8-9 of ten: middles 1, 5, 9 fall into halves 0, 1, 1.
    ties = np.array([0.1] * 2 + [0.5] * 6 + [0.9] * 2)
    assert mass_bins(ties, 2).tolist() == [0] * 2 + [1] * 8
    mixed = rng.permutation(10)
    np.testing.assert_array_equal(mass_bins(ties[mixed], 2), mass_bins(ties, 2)[mixed])


@pytest.mark.parametrize("scheme", ["equal_width", "equal_mass"])
def test_weights_stand_for_faces_drawn_several_times(scheme):
    rng = np.random.default_rng(1)
    stated, hits = np.round(rng.random(50), 1), (rng.random(50) < 0.5).astype(float)
    weights = rng.integers(0, 4, size=(7, 50)).astype(float)
    found = bin_sums(stated, hits, weights, 6, scheme)
    for row, sums in zip(weights.astype(int), found, strict=True):
        drawn = np.repeat(np.arange(50), row)
        place = (width_bins if scheme == "equal_width" else mass_bins)(stated[drawn], 6)
        for b in range(6):
            here = drawn[place == b]
            np.testing.assert_allclose(sums[b], [len(here), stated[here].sum(), hits[here].sum()])


def test_parts_of_the_brier_score_add_up_where_bins_state_one_number():
    # Two faces state 0.2 (none hits), three state 0.8 (two hit); base rate 0.4.
    # reliability = (2·0.04 + 3·(0.8−2/3)²)/5 = (0.08 + 0.05333)/5; resolution = (2·0.16 + 3·(2/3−0.4)²)/5.
    stated, hits = np.array([0.2, 0.2, 0.8, 0.8, 0.8]), np.array([0.0, 0, 1, 1, 0])
    (parts,) = brier_parts(bin_sums(stated, hits, np.ones((1, 5)), 5, "equal_width"))
    np.testing.assert_allclose(parts, [0.4 / 15, (0.32 + 3 * (4 / 15) ** 2) / 5, 0.24])
    assert parts[0] - parts[1] + parts[2] == pytest.approx(np.mean((stated - hits) ** 2))


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_is_recovered(sharpness):
    table = calibrated_predictions(6000, sharpness=sharpness, split="val")
    found = validate(temperature_table(table, CLASSES, resamples=60), TEMPERATURES).iloc[0]
    # 6000 faces: relative standard error about 2 %.
    assert found["temperature"] == pytest.approx(sharpness, rel=0.06)
    assert found["low"] < sharpness < found["high"]
    assert found["nll_scaled"] <= found["nll_raw"]
    assert (found["high"] - found["low"]) / found["temperature"] < 0.15


def test_the_temperature_is_the_lowest_point():
    table = calibrated_predictions(200, sharpness=2.0)
    logits, true = logits_of(table, CLASSES), np.array([CLASSES.index(name) for name in table["label"]])
    value, _ = fit_temperature(logits, true)
    losses = [log_loss(true, softmax(logits / (value * factor), axis=1)) for factor in (0.999, 1, 1.001)]
    assert losses[1] == min(losses)


def test_drawn_temperatures_equal_those_fitted_to_the_drawn_faces():
    table = calibrated_predictions(150, sharpness=2.0, split="val", images=40)
    found = temperature_table(table, CLASSES, seed=4, resamples=12, confidence=0.8).iloc[0]
    groups = [group for _, group in table.groupby("image_id", sort=True)]
    rng = np.random.default_rng(4)
    drawn = []
    for row in rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=12):
        sample = pd.concat([group for group, times in zip(groups, row, strict=True) for _ in range(times)])
        true = np.array([CLASSES.index(name) for name in sample["label"]])
        drawn.append(fit_temperature(logits_of(sample, CLASSES), true)[0])
    np.testing.assert_allclose([found["low"], found["high"]], np.quantile(drawn, [0.1, 0.9]), rtol=1e-4)


def test_scaling_mends_overconfidence_and_never_changes_a_decision():
    table = both_sides(sharpness=3.0)
    temperatures = temperature_table(table, CLASSES, resamples=20)
    found = calibration_table(table, temperatures, CLASSES, resamples=100)
    raw, mended = (lambda m, c=c: pick(found, m, calibrated=c) for c in ("raw", "temperature"))
    assert raw("accuracy")["value"] == mended("accuracy")["value"]
    assert raw("overconfidence")["low"] > 0.05
    assert mended("overconfidence")["low"] < 0 < mended("overconfidence")["high"]
    for metric in ("ece", "ece_adaptive", "nll", "brier"):
        assert mended(metric)["value"] < raw(metric)["value"]
    # Chance explains what is left, and not what was there.
    assert mended("ece")["value"] <= mended("ece_if_calibrated")["high"]
    assert raw("ece")["value"] > raw("ece_if_calibrated")["high"]
    assert (raw("ece")["low"] > 0, mended("ece")["low"]) == (True, 0)
    logits = logits_of(table, CLASSES)
    value = temperatures["temperature"].item()
    np.testing.assert_array_equal(logits.argmax(axis=1), softmax(logits / value, axis=1).argmax(axis=1))


def test_intervals_of_the_error_cover_the_truth():
    # Two classes, confidences on 15 levels; faces are right with a probability `shift` lower than stated,
    # so the true error of bins that hold one level each is `shift`. 60 studies of 60 photographs with 4
    # faces, at nominal 95 %; 60 × 0.95 = 57 ± 1.7. Percentile intervals cover in fewer than 10 at shift 0.
    levels = 0.5 + (np.arange(7) + 1) / 15
    for shift in (0.0, 0.02, 0.06):
        rng = np.random.default_rng(5)
        covered = 0
        for _ in range(60):
            stated = rng.choice(levels, size=240)
            right = rng.random(240) < stated - shift
            gap = np.log(stated / (1 - stated))
            logits = np.stack([gap, np.zeros(240)], axis=1)
            labels = np.where(right, "a", "b")
            images = [f"i{number // 4:02d}" for number in range(240)]
            table = predictions_from(logits, labels, ["a", "b"], images)
            fake = pd.DataFrame({"arm": ["arm"], "seed": [0], "temperature": [1.0], "reason": [""]})
            row = pick(calibration_table(table, fake, ["a", "b"], resamples=100), "ece", calibrated="raw")
            covered += row["low"] <= shift <= row["high"]
        assert covered >= 54


def test_means_have_percentile_intervals_over_photographs():
    predictions = calibrated_predictions(120, images=30)
    fake = pd.DataFrame({"arm": ["arm"], "seed": [0], "temperature": [1.0], "reason": [""]})
    found = calibration_table(predictions, fake, CLASSES, seed=3, resamples=25, confidence=0.8)
    groups = [group for _, group in predictions.groupby("image_id", sort=True)]
    rng = np.random.default_rng(3)
    drawn = []
    for row in rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=25):
        sample = pd.concat([group for group, times in zip(groups, row, strict=True) for _ in range(times)])
        drawn.append(sample["loss"].mean())
    row = pick(found, "nll", calibrated="raw")
    np.testing.assert_allclose([row["low"], row["high"]], np.quantile(drawn, [0.1, 0.9]))


def test_bins_of_the_diagram_give_the_error(study):
    predictions, temperatures = study
    scores = calibration_table(predictions, temperatures, CLASSES, resamples=3)
    points = validate(reliability_table(predictions, temperatures, CLASSES, resamples=30), RELIABILITY)
    keys = ["arm", "seed", "calibrated", "class_name"]
    for scheme, metric in (("equal_width", "ece"), ("equal_mass", "ece_adaptive")):
        part = points[points["scheme"] == scheme]
        sizes = part.groupby(keys)["faces"].sum()
        assert (sizes == 240).all()
        gaps = (part["faces"] * (part["stated"] - part["observed"]).abs()).groupby([part[key] for key in keys]).sum()
        wanted = scores[scores["metric"] == metric].set_index(keys)["value"]
        np.testing.assert_allclose((gaps / sizes).reindex(wanted.index), wanted)
    known = points[points["reason"] == ""]
    assert (known["low"] <= known["observed"]).all() and (known["observed"] <= known["high"]).all()
    empty = points[points["faces"] == 0]
    assert len(empty) and (empty["reason"] != "").all() and empty["observed"].isna().all()


def test_a_bin_that_is_all_right_has_an_interval_by_photographs():
    # Ten faces in five photographs, all right: exact 95 % limit for 5 of 5 is 0.025^(1/5) = 0.478.
    logits = np.tile([3.0, 0.0], (10, 1))
    table = predictions_from(logits, ["a"] * 10, ["a", "b"], [f"i{number // 2}" for number in range(10)])
    fake = pd.DataFrame({"arm": ["arm"], "seed": [0], "temperature": [1.0], "reason": [""]})
    found = reliability_table(table, fake, ["a", "b"], resamples=10)
    row = found[(found["faces"] == 10) & (found["class_name"] == "") & (found["calibrated"] == "raw")].iloc[0]
    assert (row["low"], row["high"]) == (pytest.approx(0.025 ** (1 / 5)), 1)


@pytest.mark.parametrize(("least_faces", "bins"), [(1, 15), (50, 4), (240, 1), (1000, 1)])
def test_points_of_equal_mass_rest_on_enough_faces(study, least_faces, bins):
    for pooled in (False, True):  # two runs of 240 faces: pooled, a face counts twice and is still one face
        points = reliability_table(*study, CLASSES, pooled=pooled, resamples=3, least_faces=least_faces)
        assert set(points[points["scheme"] == "equal_width"].groupby("class_name")["bin"].nunique()) == {15}
        mass = points[points["scheme"] == "equal_mass"]
        assert set(mass.groupby("class_name")["bin"].nunique()) == {bins}
        assert mass["faces"].min() >= min(least_faces, 240)


def test_pooling_stacks_the_runs_each_with_its_own_temperature(study):
    predictions, temperatures = study
    pooled = validate(
        calibration_table(predictions, temperatures, CLASSES, pooled=True, resamples=10), CALIBRATION_POOLED
    )
    single = calibration_table(predictions, temperatures, CLASSES, resamples=10)
    assert set(pooled["runs"]) == {2}
    for calibrated in ("raw", "temperature"):
        # Runs have equally many faces, so means over faces are means over runs.
        values = [pick(single, "nll", arm="x", seed=s, calibrated=calibrated)["value"] for s in (0, 1)]
        row = pick(pooled, "nll", arm="x", calibrated=calibrated)
        assert row["value"] == pytest.approx(np.mean(values))
        assert (row["faces"], row["images"]) == (480, predictions.query("split == 'test'")["image_id"].nunique())
    points = reliability_table(predictions, temperatures, CLASSES, pooled=True, resamples=10)
    assert (
        validate(points, RELIABILITY_POOLED)
        .groupby(["arm", "calibrated", "scheme", "class_name"])["faces"]
        .sum()
        .eq(480)
        .all()
    )


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (slice(0, 0), "no validation faces"),
        ("right", "every validation face is right"),
        ("wrong", "lies outside"),
    ],
)
def test_a_run_without_a_temperature_says_why(rows, reason):
    table = both_sides()
    val, test = table[table["split"] == "val"], table[table["split"] == "test"]
    if rows == "right":
        val = val[val["correct"]]
    elif rows == "wrong":
        val = val[~val["correct"]]
    else:
        val = val.iloc[rows]
    everything = pd.concat([val, test])
    temperatures = validate(temperature_table(everything, CLASSES, resamples=5), TEMPERATURES)
    assert np.isnan(temperatures["temperature"].item()) and reason in temperatures["reason"].item()
    found = validate(calibration_table(everything, temperatures, CLASSES, resamples=5), CALIBRATION)
    scaled = found[found["calibrated"] == "temperature"]
    assert scaled["value"].isna().all() and scaled["reason"].str.contains(reason).all()
    assert pick(found, "ece", calibrated="raw")["value"] > 0
    assert set(reliability_table(everything, temperatures, CLASSES, resamples=5)["calibrated"]) == {"raw"}


def test_an_absent_class_two_classes_and_one_photograph():
    classes = ["a", "b"]
    logits = np.array([[1.0, 0], [2.0, 0], [0, 0.5]])
    table = pd.concat([predictions_from(logits, ["a"] * 3, classes, ["i"] * 3, split=s) for s in ("val", "test")])
    temperatures = temperature_table(table, classes, resamples=5)
    found = validate(calibration_table(table, temperatures, classes, resamples=5), CALIBRATION)
    row = pick(found, "ece", "b", calibrated="raw")
    assert row["faces"] == 0
    assert np.isnan([row["low"], row["high"]]).all() and "photograph" in row["reason"]
    # Every face that is not b states p(b) and none is: the error is the mean of p(b).
    assert row["value"] == pytest.approx(softmax(logits, axis=1)[:, 1].mean())


def test_predictions_without_logits_are_scaled_by_their_log_probabilities():
    table = both_sides(sharpness=2.0)
    bare = table[[name for name in table if not name.startswith("logit_")]]
    for one, other in zip(*(temperature_table(t, CLASSES).iloc[0] for t in (table, bare)), strict=True):
        assert one == other or one == pytest.approx(other)
    with pytest.raises(ValueError, match="some classes have a logit"):
        logits_of(table.drop(columns="logit_2"), CLASSES)
    with pytest.raises(ValueError, match="not the softmax"):
        logits_of(table.assign(**{"logit_2": 0.0}), CLASSES)
    with pytest.raises(ValueError, match="prob_c"):
        logits_of(table, [*CLASSES, "c"])


def test_an_impossible_face_has_an_infinite_loss_and_a_reason():
    table = predictions_from(np.array([[0.0, 1.0]] * 4), ["a", "b"] * 2, ["a", "b"], list("ijkl"))
    table = table.drop(columns=["logit_a", "logit_b"]).assign(prob_a=0.0, prob_b=1.0)
    fake = pd.DataFrame({"arm": ["arm"], "seed": [0], "temperature": [1.0], "reason": [""]})
    row = pick(calibration_table(table, fake, ["a", "b"], resamples=5), "nll", calibrated="raw")
    assert row["value"] == np.inf and "no probability at all" in row["reason"]


def test_senseless_settings_and_missing_runs_are_refused(study):
    predictions, temperatures = study
    with pytest.raises(ValueError, match="resamples"):
        calibration_table(predictions, temperatures, CLASSES, resamples=1)
    with pytest.raises(ValueError, match="confidence"):
        temperature_table(predictions, CLASSES, confidence=1.0)
    with pytest.raises(ValueError, match="no row for y, seed 1"):
        reliability_table(predictions, temperatures.iloc[:-1], CLASSES, resamples=5)


def test_equal_seeds_give_equal_tables_and_nothing_is_changed(study):
    predictions, temperatures = study
    before = predictions.copy(deep=True)
    one, other = (calibration_table(predictions, temperatures, CLASSES, resamples=20) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)
    pd.testing.assert_frame_equal(predictions, before)
