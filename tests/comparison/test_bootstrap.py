"""The clustered bootstrap: equal draws for all runs, intervals by hand, and coverage on simulated photographs."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from maskbench.comparison import bootstrap
from maskbench.comparison.bootstrap import draw_metrics
from maskbench.comparison.runs import Runs
from maskbench.evaluation.intervals import drawn_weights, interval
from maskbench.evaluation.weighted import metric_names
from tests.comparison.simulated import CLASSES, runs_from, simulated, truth
from tests.evaluation.tables import plausible_predictions, predictions_from

NAMES = metric_names(CLASSES)
ACCURACY, MACRO_F1, MACRO_AUC = (NAMES.index((name, "")) for name in ("accuracy", "f1_macro", "roc_auc_macro"))


def test_each_draw_has_as_many_photographs_and_each_is_as_likely():
    weights = drawn_weights(np.random.default_rng(0), 7, 4000)
    assert (weights.sum(axis=1) == 7).all()
    # A weight is Binomial(7, 1/7): mean 1, variance 6/7; a mean of 4,000 has standard error 0.015.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(weights.var(axis=0), 6 / 7, atol=0.09)


def test_all_runs_are_measured_on_the_same_draws():
    scored = simulated(np.random.default_rng(0), 30, arms=(2.0, 2.0), seeds=2)
    twin = dict.fromkeys(scored, scored["arm0", 0])  # every run alike
    draws = draw_metrics(runs_from(twin), resamples=20)
    for found in draws.drawn.values():
        np.testing.assert_array_equal(found, draws.drawn["arm0", 0])
    assert draws.of("arm1", [0, 1]).shape == (2, 20, len(NAMES))


def test_draws_are_those_of_repeated_photographs():
    runs = runs_from(simulated(np.random.default_rng(1), 12))
    draws = draw_metrics(runs, seed=5, resamples=9)
    weights = drawn_weights(np.random.default_rng(5), 12, 9)
    np.testing.assert_array_equal(draws.drawn["arm0", 0], runs.runs["arm0", 0].metrics.measure(weights))


def test_the_seed_decides_and_chunks_do_not(monkeypatch):
    runs = runs_from(simulated(np.random.default_rng(1), 25))
    first = draw_metrics(runs, seed=1, resamples=40).drawn["arm0", 0]
    monkeypatch.setattr(bootstrap, "_CHUNK", 75)  # three draws at a time
    np.testing.assert_allclose(draw_metrics(runs, seed=1, resamples=40).drawn["arm0", 0], first, rtol=1e-13)
    assert not np.array_equal(draw_metrics(runs, seed=2, resamples=40).drawn["arm0", 0], first)


def test_seeds_with_other_test_photographs_are_drawn_together():
    table = plausible_predictions(CLASSES, [0.5, 0.3, 0.2], faces=120, arms={"x": 2.0, "y": 3.0}, seeds=(0, 1))
    ids = sorted(table["image_id"].unique())
    # Seed 0 is tested on the first 16 photographs, seed 1 on the last 16 of 24.
    allowed = {0: set(ids[:16]), 1: set(ids[-16:])}
    table = table[[image in allowed[seed] for image, seed in zip(table["image_id"], table["seed"], strict=True)]]
    runs = Runs.of(table, CLASSES)
    assert len(runs.image_ids) == len(ids)
    draws = draw_metrics(runs, seed=3, resamples=5)
    weights = drawn_weights(np.random.default_rng(3), len(ids), 5)
    for seed in (0, 1):
        part = table[(table["arm"] == "x") & (table["seed"] == seed)]
        times = pd.DataFrame(weights.T, index=ids).loc[part["image_id"]].to_numpy()  # (faces, draws)
        expected = (times * part["correct"].to_numpy()[:, None]).sum(axis=0) / times.sum(axis=0)
        np.testing.assert_allclose(draws.drawn["x", seed][:, ACCURACY], expected)
    images, faces = runs.basis([0, 1])
    assert (images, faces[""]) == (len(ids), table["face_id"].nunique())


def test_photographs_behind_each_measurement_by_hand():
    labels = ["a", "a", "b", "b", "c", "a"]
    images = ["i", "j", "j", "k", "k", "l"]
    predicted = ["a", "b", "b", "b", "b", "a"]
    logits = np.array([[name == given for name in CLASSES] for given in predicted], dtype=float)
    runs = Runs.of(predictions_from(logits, labels, CLASSES, images), CLASSES)
    found = dict(zip(NAMES, runs.photographs_behind(["arm"], [0]), strict=True))
    assert [found["recall", name] for name in CLASSES] == [3, 2, 1]  # i j l; j k; k
    assert [found["precision", name] for name in CLASSES] == [2, 2, 0]  # given a: i l; given b: j k
    assert [found["roc_auc", name] for name in CLASSES] == [2, 2, 1]  # others of a: j k
    assert (found["accuracy", ""], found["f1_macro", ""], found["loss", ""]) == (4, 1, 4)


def test_interval_of_a_difference_by_hand():
    # Draws 0.1 and 0.3, half each: variance 0.01 (R - 1 in the denominator: · 100/99), times 10/9; t with 9 degrees.
    drawn = np.tile([0.1, 0.3], 50)[None]
    found = interval(np.array([0.2]), drawn, 10, "share difference")
    reach = stats.t.ppf(0.975, 9) * np.sqrt(0.01 * 100 / 99 * 10 / 9)
    assert (found.low, found.high) == (pytest.approx(0.2 - reach), pytest.approx(0.2 + reach))
    assert found.p_value(0.2) == pytest.approx(2 * stats.t.sf(0.2 / found.standard_error, 9))
    assert found.degrees == pytest.approx(9)


def test_interval_over_seeds_by_hand():
    # Seeds 0.1, 0.2, 0.3: s² / S = 0.01 / 3 with 2 degrees. Means over seeds of the draws: 0.15 or 0.25.
    values = np.array([0.1, 0.2, 0.3])
    drawn = values[:, None] + np.tile([-0.05, 0.05], 50)
    photo, seed = 0.0025 * 100 / 99 * 20 / 19, 0.01 / 3
    found = interval(values, drawn, 20, "share difference", draw_seeds=True)
    degrees = (photo + seed) ** 2 / (photo**2 / 19 + seed**2 / 2)
    assert found.degrees == pytest.approx(degrees)
    assert found.standard_error == pytest.approx(np.sqrt(photo + seed))
    alone = interval(values, drawn, 20, "share difference")
    assert alone.standard_error == pytest.approx(np.sqrt(photo))


def test_shares_and_losses_stay_in_their_range():
    drawn = np.clip(0.97 + 0.05 * np.random.default_rng(0).normal(size=(1, 500)), 0, 1)
    found = interval(np.array([0.97]), drawn, 8, "share")
    assert 0 < found.low < 0.97 < found.high < 1
    found = interval(np.array([0.1]), np.abs(drawn - 0.9), 5, "loss")
    assert 0 < found.low < 0.1 < found.high


def test_where_no_draw_differs_the_bound_is_clopper_and_pearsons():
    # 20 photographs without an error: the exact lower limit of 20 of 20 is (0.05 / 2)^(1/20).
    found = interval(np.array([1.0]), np.ones((1, 100)), 20, "share")
    exact = stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == (pytest.approx(exact.low), exact.high)
    found = interval(np.array([0.0]), np.zeros((1, 100)), 20, "share difference")
    assert (found.low, found.high) == (pytest.approx(exact.low - 1), pytest.approx(1 - exact.low))
    found = interval(np.array([0.5]), np.full((1, 100), 0.5), 20, "loss")
    assert np.isnan(found.low)
    assert found.reason


def test_pigeonhole_draws_seeds_with_replacement():
    # Two seeds, 0 and 1, photographs without influence: means of two draws are 0, ½, ½, 1.
    drawn = np.repeat([[0.0], [1.0]], 4000, axis=1)
    found = interval(np.array([0.0, 1.0]), drawn, 50, "share", draw_seeds=True, method="percentile", confidence=0.4)
    assert (found.low, found.high) == (0.5, 0.5)  # ¼ of draws below, ¼ above
    found = interval(np.array([0.0, 1.0]), drawn, 50, "share", draw_seeds=True, method="percentile", confidence=0.6)
    assert (found.low, found.high) == (0, 1)


def test_draws_without_a_class_are_left_out_and_counted():
    drawn = np.tile([[0.5, 0.6, 0.7, 0.4, 0.5, 0.6], [0.5, 0.6, 0.7, 0.4, 0.5, 0.6]], 2)
    drawn[0, 1] = drawn[1, 3] = np.nan  # 2 of 12 draws: fewer than a fifth
    found = interval(np.array([0.5, 0.6]), drawn, 12, "share")
    assert found.incomplete == 2
    kept = np.delete(drawn[0], [1, 3])
    assert found.standard_error == pytest.approx(np.std(kept, ddof=1) * np.sqrt(12 / 11))


@pytest.mark.parametrize(("photographs", "drawn"), [(1, [[0.5, 0.6]]), (9, [[0.5, np.nan]])])
def test_too_little_gives_no_interval_but_a_reason(photographs, drawn):
    found = interval(np.array([0.5]), np.array(drawn), photographs, "share")
    assert np.isnan([found.low, found.high]).all()
    assert "fewer than two" in found.reason


def test_senseless_settings_are_refused():
    with pytest.raises(ValueError, match="draw_seeds"):
        interval(np.array([0.5]), np.ones((1, 3)), 5, "share", draw_seeds=True)
    with pytest.raises(ValueError, match="confidence"):
        interval(np.array([0.5]), np.ones((1, 3)), 5, "share", confidence=1.0)
    with pytest.raises(ValueError, match="resamples"):
        draw_metrics(runs_from(simulated(np.random.default_rng(0), 5)), resamples=1)


def test_intervals_over_photographs_reach_their_coverage():
    # 300 studies of 40 photographs; nominal 95 %. With a true coverage of 95 % the share has standard error 1.3 %.
    expected = truth()
    rng, hits = np.random.default_rng(1), []
    for _ in range(300):
        runs = runs_from(simulated(rng, 40))
        drawn = draw_metrics(runs, resamples=200, seed=int(rng.integers(1 << 30))).of("arm0", [0])
        values, behind = runs.values("arm0", [0]), runs.photographs_behind(["arm0"], [0])
        found = [
            interval(values[:, m], drawn[:, :, m], int(behind[m]), "share") for m in (ACCURACY, MACRO_F1, MACRO_AUC)
        ]
        hits.append(
            [i.low <= expected[m] <= i.high for i, m in zip(found, (ACCURACY, MACRO_F1, MACRO_AUC), strict=True)]
        )
    assert (np.mean(hits, axis=0) >= 0.93).all()
    assert np.mean(hits) < 0.99  # and are not merely wide


def test_intervals_over_photographs_and_seeds_reach_their_coverage():
    # 200 studies of 4 seeds that differ (s = 0.6 of a separation of 2.5) on 60 photographs; standard error 1.5 %.
    options = {"seeds": 4, "seed_effect": 0.6}
    rng = np.random.default_rng(2)
    large = [part for _ in range(100) for part in simulated(rng, 200, **options).values()]
    expected = np.mean([(part.true == part.predicted).mean() for part in large])  # standard error 0.003
    hits = {"both": 0, "photographs": 0, "pigeonhole": 0}
    for _ in range(200):
        runs = runs_from(simulated(rng, 60, **options))
        seeds = runs.common_seeds("arm0")
        drawn = draw_metrics(runs, resamples=200, seed=int(rng.integers(1 << 30))).of("arm0", seeds)[:, :, ACCURACY]
        values = runs.values("arm0", seeds)[:, ACCURACY]
        for name, settings in {
            "both": {"draw_seeds": True}, "photographs": {}, "pigeonhole": {"draw_seeds": True, "method": "percentile"},
        }.items():  # fmt: skip
            found = interval(values, drawn, 60, "share", **settings)
            hits[name] += found.low <= expected <= found.high
    assert hits["both"] / 200 >= 0.93
    assert hits["photographs"] / 200 < 0.90  # covers the photographs only, as it says
    assert hits["photographs"] < hits["pigeonhole"] <= hits["both"]


def test_draws_are_held_in_parts_whatever_their_number(monkeypatch):
    # 4,000 faces in a thousand photographs × 10,000 draws would be 80 MB of weights at once; how fast that goes is
    # measured by benchmarks/bootstrap.py.
    runs, held = runs_from(simulated(np.random.default_rng(0), 1000)), []
    assert len(runs.faces) > 3500
    monkeypatch.setattr(bootstrap, "_CHUNK", 50_000)

    def watched(rng, count, draws):
        held.append(count * draws)
        return drawn_weights(rng, count, draws)

    monkeypatch.setattr(bootstrap, "drawn_weights", watched)
    draws = draw_metrics(runs, resamples=120)
    assert max(held) <= 50_000 and sum(held) == 120 * 1000
    assert draws.of("arm0", [0]).shape == (1, 120, len(NAMES))
