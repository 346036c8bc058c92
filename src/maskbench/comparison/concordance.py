"""How well scores tell wrong from right faces, under weights of photographs or faces: AUC, average precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a wrong and a right face, summed over the photographs they lie in.

    A face that a share e of the runs misclassified is a wrong face of weight e and a right one of weight
    1 - e. Sums may be added over folds, so that faces are only compared with faces of their own fold.

    Attributes:
        agree: (P, P) pairs in which the wrong face (row: its photograph) scores higher than the right one
            (column), equal scores counting half.
        total: (P, P) all pairs.
    """

    agree: Floats
    total: Floats

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(self.agree + other.agree, self.total + other.total)

    def auc(self, weights: Floats) -> Floats:
        """The area under the ROC curve when photographs count `weights` (R, P) times: (R,), NaN without pairs."""
        return ratio(_form(weights, self.agree), _form(weights, self.total))


def wrong_right_pairs(scores: Floats, error: Floats, photographs: Ints, count: int) -> Pairs:
    """Compare the scores of all wrong with those of all right faces.

    Args:
        scores: (N,), higher for faces thought wrong.
        error: (N,) in [0, 1].
        photographs: (N,) 0…`count` - 1.
        count: P.

    Source:
        Hanley & McNeil 1982, Radiology 143:29-36 (AUC as a share of pairs).

    Example:
        >>> pairs = wrong_right_pairs(np.array([0.9, 0.4, 0.4]), np.array([1.0, 1, 0]), np.array([0, 1, 1]), 2)
        >>> pairs.auc(np.ones((1, 2))).tolist(), pairs.auc(np.array([[0.0, 1]])).tolist()
        ([0.75], [0.5])
    """
    order = np.argsort(photographs, kind="stable")
    scores, error, photographs = scores[order], error[order], photographs[order]
    wrong, right = error > 0, error < 1
    weights = np.outer(error[wrong], 1 - error[right])
    above = np.sign(scores[wrong][:, None] - scores[right][None]) / 2 + 0.5
    places = photographs[wrong], photographs[right]
    return Pairs(_by_photograph(weights * above, *places, count), _by_photograph(weights, *places, count))


def _by_photograph(values: Floats, rows: Ints, columns: Ints, count: int) -> Floats:
    """Sums (P, P) of a matrix whose rows and columns lie in ascending photographs."""
    sums = np.zeros((count, count))
    if values.size:
        first, second = (np.flatnonzero(np.r_[True, np.diff(codes) > 0]) for codes in (rows, columns))
        summed = np.add.reduceat(np.add.reduceat(values, first, axis=0), second, axis=1)
        sums[np.ix_(rows[first], columns[second])] = summed
    return sums


def _form(weights: Floats, sums: Floats) -> Floats:
    """The quadratic form w S w of each row w of `weights`."""
    return np.asarray(((weights @ sums) * weights).sum(axis=1))


def average_precision(scores: Floats, error: Floats, weights: Floats) -> Floats:
    """Σ (R_n - R_{n-1}) · P_n of finding the wrong faces by high scores.

    Args:
        scores: (N,).
        error: (N,) in [0, 1], see `Pairs`.
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
    return ratio((wrong * precision).sum(axis=1), total)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Quotients, NaN where the denominator is 0."""
    quotients = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotients, where=denominator > 0)
    return quotients
