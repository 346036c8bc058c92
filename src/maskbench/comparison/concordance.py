"""How well scores tell wrong from right faces, under weights of faces: AUC and average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def concordance(scores: Floats, error: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Pairs of a wrong and a right face in which the wrong one has the higher score, and all such pairs.

    A face that a share e of the runs misclassified is a wrong face of weight e and a right one of weight
    1 - e. Summed over folds before dividing, faces are only compared with faces of their own fold.

    Args:
        scores: (N,); equal scores count half.
        error: (N,) in [0, 1].
        weights: (R, N) ≥ 0.

    Returns:
        Concordant pairs (R,) and pairs (R,); their ratio is the AUC.

    Source:
        Hanley & McNeil 1982, Radiology 143:29-36 (AUC as a share of pairs).

    Example:
        >>> agree, pairs = concordance(np.array([0.9, 0.4, 0.4]), np.array([1.0, 1, 0]), np.ones((1, 3)))
        >>> (agree / pairs).tolist()
        [0.75]
    """
    if not len(scores):
        return np.zeros(len(weights)), np.zeros(len(weights))
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ordered = weights[:, order]
    wrong = np.add.reduceat(ordered * error[order], starts, axis=1)  # (R, T)
    right = np.add.reduceat(ordered * (1 - error[order]), starts, axis=1)
    below = np.cumsum(right, axis=1) - right / 2
    return (wrong * below).sum(axis=1), wrong.sum(axis=1) * right.sum(axis=1)


def average_precision(scores: Floats, error: Floats, weights: Floats) -> Floats:
    """Σ (R_n - R_{n-1}) · P_n of finding the wrong faces by high scores.

    Args:
        scores: (N,).
        error: (N,) in [0, 1], see `concordance`.
        weights: (R, N) ≥ 0.

    Returns:
        (R,) in [0, 1]; NaN without a wrong face.

    Source:
        Manning, Raghavan & Schütze 2008, Introduction to Information Retrieval, section 8.4.
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ordered = weights[:, order]
    wrong = np.add.reduceat(ordered * error[order], starts, axis=1)  # (R, T)
    called = np.cumsum(np.add.reduceat(ordered, starts, axis=1), axis=1)
    found = np.cumsum(wrong, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    total = found[:, -1]
    return np.divide((wrong * precision).sum(axis=1), total, out=np.full(len(weights), np.nan), where=total > 0)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Quotients, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)
