"""DeLong's test against its definition and by simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from maskbench.comparison.areas import clustered_delong_test, delong_test, structural_components
from tests.comparison.simulated import simulated


def components_by_pairs(scores, positive):
    """The O(m · n) definition: shares of pairs won, one face against all of the other side."""
    own, others = scores[positive], scores[~positive]
    won = (own[:, None] > others) + 0.5 * (own[:, None] == others)
    return won.mean(axis=1), won.mean(axis=0)


def data(seed=0, count=70):
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.4
    arm, baseline = (np.round(rng.normal(size=count) + positive, 1) for _ in range(2))  # with equal scores
    return arm, baseline, positive, rng.integers(0, 12, size=count)


def test_components_are_shares_of_pairs():
    arm, _, positive, _ = data()
    for found, expected in zip(structural_components(arm, positive), components_by_pairs(arm, positive), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_statistic_is_delongs():
    arm, baseline, positive, _ = data()
    own, others = zip(*(components_by_pairs(scores, positive) for scores in (arm, baseline)), strict=True)
    S10, S01 = np.cov(own), np.cov(others)  # 2 × 2, eq. 5
    S = S10 / positive.sum() + S01 / (~positive).sum()
    difference = roc_auc_score(positive, arm) - roc_auc_score(positive, baseline)
    expected = difference / np.sqrt(S[0, 0] + S[1, 1] - 2 * S[0, 1])
    found = delong_test(arm, baseline, positive)
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(expected)))
    assert (found.arm, found.baseline) == (
        pytest.approx(roc_auc_score(positive, arm)),
        pytest.approx(roc_auc_score(positive, baseline)),
    )


def test_with_one_face_in_each_photograph_clusters_change_the_reference_only():
    arm, baseline, positive, _ = data()
    single, clustered = (
        delong_test(arm, baseline, positive),
        clustered_delong_test(arm, baseline, positive, np.arange(len(arm))),
    )
    assert clustered.statistic == pytest.approx(single.statistic)
    fewer = min(positive.sum(), (~positive).sum())
    assert clustered.p_value == pytest.approx(2 * stats.t.sf(abs(single.statistic), fewer - 1))


def test_every_photograph_twice_does_not_make_the_test_surer():
    # The same 12 photographs, each face standing there twice: no new information about photographs.
    arm, baseline, positive, images = data(1)
    once = clustered_delong_test(arm, baseline, positive, images)
    twice = clustered_delong_test(*(np.tile(part, 2) for part in (arm, baseline, positive, images)))
    assert twice.statistic == pytest.approx(once.statistic)
    ratio = delong_test(*(np.tile(part, 2) for part in (arm, baseline, positive))).statistic
    assert ratio == pytest.approx(np.sqrt(2) * delong_test(arm, baseline, positive).statistic, rel=0.03)


def test_too_few_faces_or_equal_ranks_have_a_reason():
    arm, baseline, positive, images = data()
    assert "rank alike" in delong_test(arm, 2 * arm, positive).reason
    only = np.arange(len(arm)) == 3
    assert "fewer than two faces" in delong_test(arm, baseline, only).reason
    assert np.isnan(delong_test(arm, baseline, only).p_value)
    assert "fewer than two photographs" in clustered_delong_test(arm, baseline, images == 3, images).reason


def rejections(studies, seed, **options):
    """Shares of simulated studies of two equal arms in which class a's areas are called different at 5 %."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(studies):
        scored = simulated(rng, arms=(1.5, 1.5), **options)
        a, b = scored["arm1", 0], scored["arm0", 0]
        args = a.probs[:, 0], b.probs[:, 0], a.true == 0
        found.append([delong_test(*args).p_value <= 0.05, clustered_delong_test(*args, a.images).p_value <= 0.05])
    return np.mean(found, axis=0)


def test_level_with_independent_faces():
    # 1,000 studies of 120 independent faces: at 5 %, standard error 0.7 %.
    plain, clustered = rejections(1000, 0, photographs=120, clustering=0.0, one_face=True)
    assert 0.03 <= plain <= 0.07
    assert 0.03 <= clustered <= 0.07


def test_faces_of_photographs_make_the_plain_test_reject_too_often_and_the_clustered_one_not():
    plain, clustered = rejections(1000, 1, photographs=60)
    assert plain > 0.075
    assert 0.03 <= clustered <= 0.07
