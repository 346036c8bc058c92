"""McNemar's test of paired decisions, exact for independent faces and clustered by photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar


@dataclass(frozen=True)
class DecisionTest:
    """Faces on which only one of two arms was right, and the test that neither is right more often.

    Attributes:
        b: faces that only the baseline got right.
        c: faces that only the arm got right.
        statistic: what the p-value was computed from.
        p_value: two-sided.
        reason: why there is none; empty otherwise.
    """

    b: int
    c: int
    statistic: float
    p_value: float
    reason: str = ""


def mcnemar_exact(arm: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> DecisionTest:
    """McNemar's exact test: of the faces on which one arm alone is right, half should be either's.

    Args:
        arm: (N,), was the arm right.
        baseline: (N,), was the baseline right on the same face.

    Returns:
        The test; `statistic` is the smaller of b and c. p = 1 where the arms are right on the same faces.

    Source:
        McNemar, Psychometrika 12 (1947); exact binomial form as in statsmodels.
    """
    b, c = int((baseline & ~arm).sum()), int((arm & ~baseline).sum())
    both, neither = int((arm & baseline).sum()), int((~arm & ~baseline).sum())
    if b + c == 0:
        return DecisionTest(b, c, 0.0, 1.0)
    found = mcnemar([[both, b], [c, neither]], exact=True)
    return DecisionTest(b, c, float(found.statistic), min(1.0, float(found.pvalue)))


def mcnemar_clustered(arm: NDArray[np.bool_], baseline: NDArray[np.bool_], images: NDArray[np.int64]) -> DecisionTest:
    """McNemar's test where faces of one photograph (in all seeds given) depend on each other in any way.

    With d_i faces more for the arm than for the baseline in photograph i of I:
    (I - 1) / I · (Σ d_i)² / Σ d_i², which is McNemar's (c - b)² / (b + c), but for the first factor, where each
    photograph has one face. The p-value is that of χ² with one degree of freedom.

    Args:
        arm: (N,), was the arm right; faces of several seeds may stand one after the other.
        baseline: (N,), was the baseline right on the same face and seed.
        images: (N,), number of the photograph, the same in all seeds.

    Returns:
        The test; p = 1 where the arms differ nowhere, NaN with a reason where they differ on one photograph only.

    Source:
        Obuchowski, Statistics in Medicine 17 (1998) 1495, under the null hypothesis, in the form of Yang, Sun & Hardin,
        Biometrical Journal 52 (2010).
    """
    b, c = int((baseline & ~arm).sum()), int((arm & ~baseline).sum())
    more = np.bincount(images, arm.astype(np.float64) - baseline.astype(np.float64))
    count, differ = len(np.unique(images)), int((more != 0).sum())
    if differ == 0:
        return DecisionTest(b, c, 0.0, 1.0)
    if differ == 1:
        return DecisionTest(b, c, float("nan"), float("nan"), "the arms differ on one photograph only")
    statistic = (count - 1) / count * float(more.sum() ** 2 / (more @ more))
    return DecisionTest(b, c, statistic, float(stats.chi2.sf(statistic, 1)))
