"""Stated probabilities against what happened: bins, calibration errors, Brier score and its parts.

Everything is weighted (a bootstrap draws photographs by weighting their faces): weights are (R, N), one
row per draw, and every figure comes out once per draw. `np.ones((1, N))` is the sample as it is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scheme = Literal["equal_width", "equal_mass"]
Floats = NDArray[np.float64]

#: Guo et al. use 15 bins.
BINS = 15


def width_bins(stated: Floats, bins: int) -> NDArray[np.int64]:
    """Bin of each probability among bins of equal length; a border belongs to the bin below it.

    Args:
        stated: (N,), 0…1.
        bins: B, at least 1.

    Returns:
        (N,), 0…B-1.
    """
    borders = np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(borders, stated, side="left").astype(np.int64)


def mass_bins(stated: Floats, bins: int) -> NDArray[np.int64]:
    """Bin of each probability among bins of as equal numbers of faces as ties allow.

    Faces that state the same probability are never parted: all go to the bin in which the middle of
    their ranks lies. So the order of rows does not matter, and a face drawn twice counts as two.

    Args:
        stated: (N,), 0…1.
        bins: B, at least 1. With fewer distinct probabilities than bins, some bins stay empty.

    Returns:
        (N,), 0…B-1, rising with `stated`.
    """
    _, group, count = np.unique(stated, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return np.asarray(np.floor(middle * bins / max(len(stated), 1))[group], dtype=np.int64)


def bin_sums(stated: Floats, hits: Floats, weights: Floats, bins: int, scheme: Scheme) -> Floats:
    """Weight, sum of stated probabilities and sum of hits of every bin, under every draw.

    Bins of equal mass are found anew for every draw, as they would be for other test faces.

    Args:
        stated: (N,), probability that the face is a hit.
        hits: (N,), 1 where it is one, else 0.
        weights: (R, N), at least 0; every row has a positive sum.
        bins: B.
        scheme: `equal_width` or `equal_mass`.

    Returns:
        (R, B, 3).
    """
    R, N = weights.shape
    if scheme == "equal_width":
        place = width_bins(stated, bins)
        columns = np.zeros((N, bins, 3))
        columns[np.arange(N), place] = np.stack([np.ones(N), stated, hits], axis=1)
        return (weights @ columns.reshape(N, bins * 3)).reshape(R, bins, 3)
    order = np.argsort(stated, kind="stable")
    ranked = stated[order]
    starts = np.flatnonzero(np.diff(ranked, prepend=-1.0) != 0)  # first face of each probability
    ordered = weights[:, order]
    mass = np.add.reduceat(ordered, starts, axis=1)  # (R, T)
    right = np.add.reduceat(ordered * hits[order], starts, axis=1)
    upto = np.cumsum(mass, axis=1)
    place = np.minimum(np.floor((upto - mass / 2) * bins / upto[:, -1:]), bins - 1).astype(np.int64)
    flat = (place + np.arange(R)[:, None] * bins).ravel()
    sums = [np.bincount(flat, values.ravel(), R * bins) for values in (mass, mass * ranked[starts], right)]
    return np.stack(sums, axis=1).reshape(R, bins, 3).astype(np.float64)


def calibration_error(sums: Floats) -> Floats:
    """Expected calibration error from `bin_sums` (R, B, 3): (R,), 0…1.

    Source:
        Equal width: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2 (Naeini et
        al., AAAI 2015). Equal mass: Nixon et al., Measuring Calibration in Deep Learning, CVPR
        Workshops 2019 (ACE).
    """
    gaps = np.abs(sums[:, :, 2] - sums[:, :, 1]).sum(axis=1)
    return np.asarray(gaps / sums[:, :, 0].sum(axis=1))


def largest_calibration_error(sums: Floats) -> Floats:
    """Maximum calibration error from `bin_sums` (R, B, 3): (R,), 0…1; empty bins do not count.

    Source:
        Guo et al. 2017, section 2.
    """
    gaps = np.abs(sums[:, :, 2] - sums[:, :, 1])
    shares = np.divide(gaps, sums[:, :, 0], out=np.zeros_like(gaps), where=sums[:, :, 0] > 0)
    return np.asarray(shares.max(axis=1))


def brier_parts(sums: Floats) -> Floats:
    """Reliability, resolution and uncertainty from `bin_sums` (R, B, 3): (R, 3).

    The Brier score of one class against the rest is reliability − resolution + uncertainty where all
    faces of a bin state the same; otherwise what is left is the spread within bins.

    Source:
        Murphy, A new vector partition of the probability score, J. Appl. Meteorol. 12 (1973).
    """
    mass = sums[:, :, 0]
    total = mass.sum(axis=1)
    stated, observed = (
        np.divide(sums[:, :, column], mass, out=np.zeros_like(mass), where=mass > 0) for column in (1, 2)
    )
    base = sums[:, :, 2].sum(axis=1) / total
    reliability = (mass * (stated - observed) ** 2).sum(axis=1) / total
    resolution = (mass * (observed - base[:, None]) ** 2).sum(axis=1) / total
    return np.stack([reliability, resolution, base * (1 - base)], axis=1)


def drawn_labels(probs: Floats, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels of faces as they would fall if every stated probability were true, faces independent.

    Args:
        probs: (N, K), rows sum to 1.
        draws: S.
        rng: source of the draws.

    Returns:
        (S, N), 0…K-1. Calibration errors of such labels are what chance alone gives: binned errors are
        positive even for a perfect model, the more so the fewer faces a bin has.

    Source:
        Consistency resampling: Bröcker & Smith, Weather and Forecasting 22 (2007).
    """
    borders = np.cumsum(probs, axis=1)[:, :-1]  # (N, K-1)
    chance = rng.random((draws, len(probs)))
    return np.asarray((chance[:, :, None] >= borders).sum(axis=2), dtype=np.int64)


def sums_of_draws(stated: Floats, hits: Floats, bins: int, scheme: Scheme) -> Floats:
    """As `bin_sums`, for faces that stay while their labels are drawn anew.

    Args:
        stated: (N,).
        hits: (S, N), 1 where the drawn label is a hit.
        bins: B.
        scheme: of the bins.

    Returns:
        (S, B, 3).
    """
    place = width_bins(stated, bins) if scheme == "equal_width" else mass_bins(stated, bins)
    member = np.zeros((len(stated), bins))
    member[np.arange(len(stated)), place] = 1
    found = np.empty((len(hits), bins, 3))
    found[:, :, 0], found[:, :, 1], found[:, :, 2] = member.sum(axis=0), stated @ member, hits @ member
    return found
