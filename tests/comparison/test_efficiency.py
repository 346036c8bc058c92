"""Learning curves and the worth of labels where the answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from maskbench.comparison.efficiency import (
    faces_for,
    label_worth_table,
    labels_answer,
    learning_curves_table,
    regimes_table,
)
from maskbench.schemas import validate
from maskbench.schemas.convergence import EFFICIENCY_RUNS, LABEL_WORTH, LEARNING_CURVES, REGIME_RUNS, REGIMES

FRACTIONS = (0.05, 0.1, 0.25, 0.5, 1.0)


def runs_of(curves, seeds=1, noise=0.0, total=2000, source=0):
    """Runs of arms whose value is a function of the number of faces."""
    rng = np.random.default_rng(source)
    rows = [
        {
            "arm": arm, "seed": seed, "fraction": fraction, "train_faces": int(total * fraction),
            "metric": "f1_macro", "value": float(curve(total * fraction) + noise * rng.normal()),
            "low": np.nan, "high": np.nan,
        }
        for arm, curve in curves.items() for seed in range(seeds) for fraction in FRACTIONS
    ]  # fmt: skip
    return validate(pd.DataFrame(rows), EFFICIENCY_RUNS)


def logarithmic(faces):
    return 0.1 * np.log(faces)


def test_an_arm_that_needs_a_fourth_of_the_labels_is_worth_four():
    runs = runs_of({"random": logarithmic, "pretrained": lambda faces: logarithmic(4 * faces)})
    found = validate(label_worth_table(runs, "pretrained", "random"), LABEL_WORTH).set_index("fraction")
    # 100, 200, 500 faces of the one are 400, 800, 2000 of the other; 1000 and 2000 would be 4000 and 8000.
    for fraction in (0.05, 0.1, 0.25):
        assert found.loc[fraction, "baseline_faces"] == pytest.approx(4 * 2000 * fraction, rel=1e-6)
        assert found.loc[fraction, "worth"] == pytest.approx(4, rel=1e-6)
    for fraction in (0.5, 1.0):
        row = found.loc[fraction]
        assert np.isnan([row["baseline_faces"], row["worth"]]).all()
        assert row["at_least"] == 2000 and "more than 2,000 faces" in row["reason"]
    assert found["reason"].str.contains("no interval below 5 seeds").all()


def test_a_worse_arm_may_be_worth_less_than_the_first_share():
    runs = runs_of({"random": logarithmic, "worse": lambda faces: logarithmic(faces / 4)})
    found = label_worth_table(runs, "worse", "random").set_index("fraction")
    assert found.loc[0.05, "at_most"] == 100 and "fewer than 100 faces" in found.loc[0.05, "reason"]
    assert found.loc[0.25, "worth"] == pytest.approx(0.25, rel=1e-6)
    # An arm is worth itself.
    self_worth = label_worth_table(runs, "random", "random")
    np.testing.assert_allclose(self_worth["worth"], 1)


def test_curves_that_dip_are_made_to_rise():
    # 0.5, 0.7, 0.5 at 10, 100, 1000 faces: isotonic 0.5, 0.6, 0.6.
    faces, values = np.array([10.0, 100, 1000]), np.array([0.5, 0.7, 0.5])
    found = faces_for(faces, values, np.array([0.5, 0.6, 0.61, 0.4, 0.55]))
    assert found[:4].tolist() == [10, 100, np.inf, 0]
    assert 10 < found[4] < 100
    alone = faces_for(np.array([50.0]), np.array([0.5]), np.array([0.4, 0.5, 0.6]))
    assert alone.tolist() == [0, 50, np.inf]


def test_the_interval_over_seeds_covers_the_truth():
    # Noise of 0.02 on a slope of 0.1 per unit of log faces moves a point by about 20 % of its faces.
    # 40 studies of 6 seeds at nominal 95 %: 38 ± 1.4 should hold 400 (800) faces.
    covered = {0.05: 0, 0.1: 0}
    for source in range(40):
        arms = {"random": logarithmic, "pretrained": lambda faces: logarithmic(4 * faces)}
        runs = runs_of(arms, seeds=6, noise=0.02, source=source)
        found = label_worth_table(runs, "pretrained", "random", resamples=120).set_index("fraction")
        for fraction in covered:
            row = found.loc[fraction]
            assert row["low"] < row["baseline_faces"] < row["high"]
            assert row["high"] / row["low"] < 3
            covered[fraction] += row["low"] < 4 * 2000 * fraction < row["high"]
    assert min(covered.values()) >= 35
    assert "upper limit outside" in found.loc[0.25, "reason"] and np.isnan(found.loc[0.25, "high"])
    again = label_worth_table(runs, "pretrained", "random", resamples=120).set_index("fraction")
    pd.testing.assert_frame_equal(found, again)


def test_shares_with_equally_many_faces_count_as_their_mean():
    faces, values = np.array([20.0, 20.0, 40.0]), np.array([0.3, 0.5, 0.8])
    assert faces_for(faces, values, np.array([0.4, 0.8])) == pytest.approx(
        faces_for(np.array([20.0, 40.0]), np.array([0.4, 0.8]), np.array([0.4, 0.8]))
    )


def test_learning_curves_have_intervals_over_seeds_or_over_photographs():
    runs = runs_of({"x": logarithmic}, seeds=4, noise=0.05)
    found = validate(learning_curves_table(runs), LEARNING_CURVES)
    assert found["fraction"].tolist() == list(FRACTIONS)
    for row in found.itertuples():
        values = runs[runs["fraction"] == row.fraction]["value"]
        reference = ttest_1samp(values, 0).confidence_interval(0.95)
        assert (row.mean, row.sd) == (pytest.approx(values.mean()), pytest.approx(values.std()))
        assert (row.low, row.high, row.basis) == (pytest.approx(reference.low), pytest.approx(reference.high), "seeds")
    single = runs[runs["seed"] == 0].assign(low=0.1, high=0.9)
    found = validate(learning_curves_table(single), LEARNING_CURVES)
    assert set(zip(found["low"], found["high"], found["basis"], strict=True)) == {(0.1, 0.9, "photographs")}
    assert found["sd"].isna().all() and (found["reason"] == "one run has no standard deviation").all()
    bare = learning_curves_table(single.assign(low=np.nan))
    assert (bare["basis"] == "").all() and bare["high"].isna().all()


def test_undefined_runs_are_left_out_and_counted():
    runs = runs_of({"x": logarithmic, "y": logarithmic}, seeds=3, noise=0.01)
    runs.loc[(runs["seed"] == 1) & (runs["fraction"] == 0.1), "value"] = np.nan
    found = validate(learning_curves_table(runs), LEARNING_CURVES).set_index(["arm", "fraction"])
    assert found.loc[("x", 0.1), ["runs", "defined"]].tolist() == [3, 2]
    assert "1 of 3 runs undefined" in found.loc[("x", 0.1), "reason"]
    assert len(label_worth_table(runs, "x", "y")) == 5
    nothing = runs.assign(value=np.nan)
    assert learning_curves_table(nothing)["mean"].isna().all()
    with pytest.raises(ValueError, match="no value of f1_macro for x"):
        label_worth_table(nothing, "x", "y")


def test_regimes_stand_side_by_side():
    rows = [
        {"arm": "x", "seed": seed, "regime": regime, "metric": "f1_macro", "value": base + 0.01 * seed, "low": np.nan,
         "high": np.nan, "trained_parameters": parameters, "seconds": 10.0 * (seed + 1)}
        for regime, base, parameters in (("frozen", 0.6, 1539), ("full", 0.8, 21_286_211)) for seed in (0, 1)
    ]  # fmt: skip
    runs = validate(pd.DataFrame(rows), REGIME_RUNS)
    found = validate(regimes_table(runs, ["full", "frozen", "gradual"]), REGIMES)
    assert found["regime"].tolist() == ["full", "frozen"]
    assert found.loc[1, ["mean", "trained_parameters", "seconds"]].tolist() == [pytest.approx(0.605), 1539, 15.0]
    runs.loc[0, "trained_parameters"] = 7
    with pytest.raises(ValueError, match="trained_parameters of x, frozen differ"):
        regimes_table(runs)


def test_senseless_settings_are_refused():
    runs = runs_of({"x": logarithmic})
    for call in (learning_curves_table, lambda table, **o: label_worth_table(table, "x", "x", **o)):
        with pytest.raises(ValueError, match="confidence"):
            call(runs, confidence=1.0)
    with pytest.raises(ValueError, match="resamples"):
        label_worth_table(runs, "x", "x", resamples=1)


def test_what_labels_are_worth_is_said_in_words():
    key = {"arm": "b", "baseline": "a", "metric": "f1_macro", "low": np.nan, "high": np.nan}
    none = {"baseline_faces": np.nan, "worth": np.nan, "at_least": np.nan, "at_most": np.nan}
    rows = [
        key | none | {"train_faces": 1000.0, "at_least": 2000.0},
        key | none | {"train_faces": 100.0, "baseline_faces": 400.0, "worth": 4.0},
    ]
    words = labels_answer(pd.DataFrame(rows))
    assert "of b, 100 as good as 400 (×4), 1,000 as good as more than 2,000 training faces of a" in words
    assert "no interval" in words
    assert "no interval" not in labels_answer(pd.DataFrame(rows).assign(low=1.0))
    assert labels_answer(pd.DataFrame(rows).iloc[:0]) == ""
