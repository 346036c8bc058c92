"""McNemar's tests: by hand, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from maskbench.comparison.decisions import mcnemar_clustered, mcnemar_exact
from tests.comparison.simulated import simulated


def decisions(both, b, c, neither):
    """Rightness of arm and baseline with these counts: only the baseline right b times, only the arm c times."""
    arm = [True] * both + [False] * b + [True] * c + [False] * neither
    baseline = [True] * both + [True] * b + [False] * c + [False] * neither
    return np.array(arm), np.array(baseline)


def test_exact_by_hand():
    # b = 2, c = 8: P(at most 2 of 10 with ½) = (1 + 10 + 45) / 1024, twice for both sides.
    found = mcnemar_exact(*decisions(50, 2, 8, 5))
    assert (found.b, found.c) == (2, 8)
    assert found.p_value == pytest.approx(2 * 56 / 1024)


@pytest.mark.parametrize("counts", [(10, 0, 0, 3), (5, 4, 4, 1)])
def test_exact_p_is_one_where_neither_is_ahead(counts):
    assert mcnemar_exact(*decisions(*counts)).p_value == 1


def test_clustered_by_hand():
    # Photographs 0…4 of 5: d = +2, +1, -1, 0, +1. Σ d = 3, Σ d² = 7: (4 / 5) · 9 / 7.
    arm = np.array([1, 1, 1, 0, 1, 1, 1], dtype=bool)
    baseline = np.array([0, 0, 0, 1, 1, 1, 0], dtype=bool)
    images = np.array([0, 0, 1, 2, 3, 3, 4])
    found = mcnemar_clustered(arm, baseline, images)
    assert (found.b, found.c) == (1, 4)
    assert found.statistic == pytest.approx(4 / 5 * 9 / 7)
    assert found.p_value == pytest.approx(stats.chi2.sf(4 / 5 * 9 / 7, 1))


def test_clustered_is_mcnemars_chi_square_for_one_face_each():
    arm, baseline = decisions(50, 4, 14, 32)
    found = mcnemar_clustered(arm, baseline, np.arange(100))
    assert found.statistic == pytest.approx(99 / 100 * (14 - 4) ** 2 / 18)


def test_seeds_of_one_photograph_are_one_cluster():
    # The same decisions in three seeds are not three times the evidence.
    arm, baseline = decisions(50, 4, 14, 32)
    once = mcnemar_clustered(arm, baseline, np.arange(100))
    thrice = mcnemar_clustered(np.tile(arm, 3), np.tile(baseline, 3), np.tile(np.arange(100), 3))
    assert thrice.statistic == pytest.approx(once.statistic)
    assert (thrice.b, thrice.c) == (3 * once.b, 3 * once.c)


def test_no_or_one_differing_photograph():
    arm, baseline = decisions(5, 0, 0, 5)
    assert mcnemar_clustered(arm, baseline, np.arange(10)).p_value == 1
    found = mcnemar_clustered(*decisions(5, 0, 3, 0), np.array([0, 1, 2, 3, 4, 5, 5, 5]))
    assert np.isnan(found.p_value)
    assert "one photograph" in found.reason


def rejections(studies, seed, **options):
    """Shares of simulated studies of two equal arms in which they are called different at 5 %."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(studies):
        scored = simulated(rng, arms=(1.5, 1.5), **options)
        right = [scored[arm, 0].true == scored[arm, 0].predicted for arm in ("arm1", "arm0")]
        exact, clustered = mcnemar_exact(*right), mcnemar_clustered(*right, scored["arm0", 0].images)
        found.append([exact.p_value <= 0.05, clustered.p_value <= 0.05])
    return np.mean(found, axis=0)


def test_level_with_independent_faces():
    # 1,000 studies of 250 independent faces: at 5 %, standard error 0.7 %; the exact test stays below its level.
    exact, clustered = rejections(1000, 0, photographs=250, clustering=0.0, one_face=True)
    assert 0.015 <= exact <= 0.06
    assert 0.03 <= clustered <= 0.07


def test_faces_of_photographs_make_the_exact_test_reject_too_often_and_the_clustered_one_not():
    exact, clustered = rejections(1000, 1, photographs=80)
    assert exact > 0.065
    assert 0.03 <= clustered <= 0.07
