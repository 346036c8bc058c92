"""Swapping photographs: against recomputing every metric, by exact enumeration, and its error rates."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from maskbench.comparison import permutation
from maskbench.comparison.permutation import SwappedPair, permutation_p_values, swap_gains
from maskbench.evaluation.classification import Scored
from maskbench.evaluation.weighted import WeightedMetrics, metric_names
from tests.comparison.simulated import CLASSES, runs_from, scored_from, simulated

NAMES = metric_names(CLASSES)
ACCURACY = NAMES.index(("accuracy", ""))


def swapped(arm: Scored, baseline: Scored, swaps: np.ndarray) -> np.ndarray:
    """Differences after really exchanging the predictions of photographs."""
    other = swaps[arm.images].astype(bool)

    def mixed(first: Scored, second: Scored) -> np.ndarray:
        probs = np.where(other[:, None], second.probs, first.probs)
        predicted = np.where(other, second.predicted, first.predicted)
        loss = np.where(other, second.loss, first.loss)
        part = Scored(arm.true, predicted, probs, loss, arm.images, arm.image_count)
        return WeightedMetrics(part).measure(np.ones((1, arm.image_count)))[0]

    return mixed(arm, baseline) - mixed(baseline, arm)


def test_sums_over_photographs_are_the_metrics_after_the_swap():
    scored = simulated(np.random.default_rng(0), 15, arms=(1.0, 2.0))
    runs = runs_from(scored)
    pair = SwappedPair(runs.runs["arm1", 0], runs.runs["arm0", 0])
    swaps = np.random.default_rng(1).integers(0, 2, size=(12, 15)).astype(float)
    expected = [swapped(scored["arm1", 0], scored["arm0", 0], row) for row in swaps]
    np.testing.assert_allclose(pair.differences(swaps), expected, atol=1e-12)


def test_gains_add_up_to_the_difference_of_areas_with_equal_scores():
    rng = np.random.default_rng(0)
    positive, images = rng.random(60) < 0.4, rng.integers(0, 9, size=60)
    arm, baseline = (np.round(rng.random(60) + 0.3 * positive, 1) for _ in range(2))
    gains = swap_gains(arm, baseline, positive, images, 9)
    pairs = positive.sum() * (~positive).sum()
    assert gains.sum() / pairs == pytest.approx(roc_auc_score(positive, arm) - roc_auc_score(positive, baseline))
    signs = np.where(np.arange(9) < 4, -1, 1)  # the first four photographs change places
    other = images < 4
    mixed = (
        roc_auc_score(positive, np.where(other, baseline, arm)),
        roc_auc_score(positive, np.where(other, arm, baseline)),
    )
    assert signs @ gains / pairs == pytest.approx(mixed[0] - mixed[1])


def test_p_values_approach_those_of_all_swaps():
    scored = simulated(np.random.default_rng(3), 8, arms=(1.0, 3.0), seeds=2)
    observed, found = permutation_p_values(runs_from(scored), "arm1", "arm0", permutations=4000)
    every = [
        np.mean([swapped(scored["arm1", seed], scored["arm0", seed], np.array(swaps)) for seed in (0, 1)], axis=0)
        for swaps in product([0, 1], repeat=8)
    ]
    exact = (np.abs(every) >= np.abs(every[0]) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(observed, every[0], atol=1e-12)
    # 4,000 random swaps: standard error at most 0.008.
    np.testing.assert_allclose(found[ACCURACY], exact[ACCURACY], atol=0.03)
    areas = [NAMES.index(("roc_auc", name)) for name in CLASSES]
    np.testing.assert_allclose(found[areas], exact[areas], atol=0.03)


def test_p_is_never_zero_and_one_where_arms_are_alike():
    true = np.tile([0, 1], 20)
    images = np.arange(40)
    right = np.eye(3)[true] * 4
    wrong = np.roll(right, 1, axis=1)
    scored = {("arm0", 0): scored_from(wrong, true, images), ("arm1", 0): scored_from(right, true, images)}
    value, p = permutation_p_values(runs_from(scored), "arm1", "arm0", permutations=99)
    assert (value[ACCURACY], p[ACCURACY]) == (1, pytest.approx(1 / 100))
    scored["arm1", 0] = scored["arm0", 0]
    value, p = permutation_p_values(runs_from(scored), "arm1", "arm0", permutations=99)
    assert (value[ACCURACY], p[ACCURACY]) == (0, 1)
    assert np.isnan(p[NAMES.index(("recall", "c"))])  # a class without faces


def test_chunks_do_not_matter(monkeypatch):
    runs = runs_from(simulated(np.random.default_rng(0), 30, arms=(1.0, 2.0)))
    _, first = permutation_p_values(runs, "arm1", "arm0", permutations=50)
    monkeypatch.setattr(permutation, "_CHUNK", 128 * 30)
    assert np.abs(permutation_p_values(runs, "arm1", "arm0", permutations=50)[1] - first).max() < 1e-12


def test_a_true_null_is_rejected_at_the_level():
    # 400 studies of two equal arms on 30 photographs whose faces hang together: at 5 %, standard error 1.1 %.
    rng, rejected = np.random.default_rng(4), []
    for _ in range(400):
        runs = runs_from(simulated(rng, 30, arms=(2.0, 2.0)))
        _, p = permutation_p_values(runs, "arm1", "arm0", seed=int(rng.integers(1 << 30)), permutations=99)
        rejected.append(p <= 0.05)
    rates = np.mean(rejected, axis=0)
    chosen = [NAMES.index(name) for name in (("accuracy", ""), ("f1_macro", ""), ("roc_auc_macro", ""), ("loss", ""))]
    assert ((rates[chosen] >= 0.02) & (rates[chosen] <= 0.08)).all()
    assert (rates <= 0.08).all()  # rare classes have few possible values, and so fewer rejections


def test_a_real_difference_is_found():
    runs = runs_from(simulated(np.random.default_rng(5), 80, arms=(1.0, 3.0)))
    value, p = permutation_p_values(runs, "arm1", "arm0", permutations=999)
    assert value[ACCURACY] > 0.1
    assert p[ACCURACY] == pytest.approx(1 / 1000)


def test_senseless_settings_are_refused():
    scored = simulated(np.random.default_rng(0), 6, arms=(1.0, 2.0))
    with pytest.raises(ValueError, match="permutations"):
        permutation_p_values(runs_from(scored), "arm1", "arm0", permutations=0)
    apart = {("arm0", 0): scored["arm0", 0], ("arm1", 1): scored["arm1", 0]}
    with pytest.raises(ValueError, match="no seed in common"):
        permutation_p_values(runs_from(apart), "arm1", "arm0")
