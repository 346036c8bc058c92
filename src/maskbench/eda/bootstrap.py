"""Confidence intervals for faces that come in photographs: whole photographs are resampled.

Faces of one photograph share light, distance and often the class, so drawing faces as if they were
independent gives intervals that are too narrow. All intervals of one description use the same
resamples, so figures that belong together move together.

Source:
    Efron & Tibshirani 1993, "An Introduction to the Bootstrap", sec. 13.3 (percentile interval);
    Davison & Hinkley 1997, "Bootstrap Methods and their Application", sec. 3.8 (whole clusters).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.unsignedinteger]

#: Fewer photographs give no interval: the bootstrap of a handful of clusters is far too narrow (Cameron,
#: Gelbach & Miller 2008, Review of Economics and Statistics 90:414-427), with 10 still about 5 points short.
LEAST_PHOTOGRAPHS = 10
#: Weights worked on at once, in numbers; 1 MB as float64, for the cache, and memory that is used again and not given
#: back to the system after each array: twice as many took up to five times as long.
_BLOCK = 120_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval; NaN with a reason where there is none."""

    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Resamples:
    """Photographs drawn with replacement.

    Attributes:
        image_ids: (P,) photographs in the order of `weights`.
        weights: (R, P), how often each photograph stands in each resample; rows sum to P. Of the smallest dtype that
            holds them: one byte, in practice.
        confidence: coverage of the intervals, in (0, 1).
    """

    image_ids: pd.Index
    weights: Counts
    confidence: float

    @property
    def count(self) -> int:
        """Number of resamples."""
        return len(self.weights)

    def positions(self, image_ids: pd.Series) -> Ints:
        """Column of `weights` for each image id.

        Raises:
            ValueError: a face's photograph is not among the photographs.
        """
        found = self.image_ids.get_indexer(pd.Index(image_ids))
        if (found < 0).any():
            missing = sorted(set(image_ids[found < 0]))
            raise ValueError(f"faces of {len(missing)} photograph(s) without a row in images, e.g. {missing[0]!r}")
        return np.asarray(found, dtype=np.int64)

    def interval(self, estimates: Floats, photographs: int) -> Interval:
        """Percentile interval of an estimate made in each resample.

        Args:
            estimates: (R,), NaN where a resample has none.
            photographs: how many photographs carry the estimate.

        Returns:
            NaN with a reason if there are no resamples, fewer than `LEAST_PHOTOGRAPHS` photographs, or
            if more than half of the resamples have no estimate.
        """
        if not self.count:
            return Interval(np.nan, np.nan, "no resamples asked for")
        if photographs < LEAST_PHOTOGRAPHS:
            reason = f"no interval from {photographs} photograph(s): fewer than {LEAST_PHOTOGRAPHS}"
            return Interval(np.nan, np.nan, reason)
        defined = estimates[np.isfinite(estimates)]
        if len(defined) * 2 < self.count:
            return Interval(np.nan, np.nan, f"undefined in {self.count - len(defined)} of {self.count} resamples")
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(defined, [tail, 1 - tail])
        return Interval(float(low), float(high))

    def totals(self, values: NDArray[Any]) -> Floats:
        """Sum of each photograph's values in each resample; exact for whole numbers below 2^53.

        Args:
            values: (P, ...) in the order of `image_ids`.

        Returns:
            (R, ...).
        """
        flat = values.reshape(len(values), -1).astype(np.float64)
        sums = np.empty((self.count, flat.shape[1]))
        step = max(1, _BLOCK // max(1, len(flat)))
        for start in range(0, self.count, step):
            sums[start : start + step] = self.weights[start : start + step].astype(np.float64) @ flat
        return sums.reshape(self.count, *values.shape[1:])

    def means(self, values: Floats, positions: Ints) -> Floats:
        """Mean of `values` in each resample.

        Args:
            values: (N,) one per face (or photograph).
            positions: (N,) column of its photograph.

        Returns:
            (R,), NaN where a resample holds none of the faces.
        """
        sums = np.bincount(positions, values, minlength=len(self.image_ids))
        sizes = np.bincount(positions, minlength=len(self.image_ids))
        drawn_sums, drawn_sizes = self.totals(np.stack([sums, sizes], axis=1)).T
        return np.asarray(np.divide(drawn_sums, drawn_sizes, out=np.full(self.count, np.nan), where=drawn_sizes > 0))

    def medians(self, values: Floats, positions: Ints) -> Floats:
        """Median of `values` in each resample, the mean of the middle two where their number is even.

        Args:
            values: (N,).
            positions: (N,).

        Returns:
            (R,), NaN where a resample holds none of the faces.
        """
        order = np.argsort(values, kind="stable")
        ordered, columns = values[order], positions[order]
        medians = np.full(self.count, np.nan)
        first = 3 * len(columns) // 8
        held = [np.bincount(part, minlength=len(self.image_ids)) for part in (columns, columns[:first])]
        total, early = self.totals(np.stack(held, axis=1)).T.astype(np.int64)
        wide = np.int32 if total.max(initial=0) < 2**31 else np.int64
        rows = np.flatnonzero(total > 0)
        # The middle quarter of the faces holds nearly all medians; the others are looked for among all faces.
        for begin, end, before in ((first, len(columns) - first, early), (0, len(columns), np.zeros_like(early))):
            step = max(1, _BLOCK // max(1, end - begin))
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                weights = np.take(self.weights[some], columns[begin:end], axis=1)
                reached = weights.cumsum(axis=1, dtype=wide)  # (r, N): faces up to and including this one
                middles = [middle - before[some] for middle in ((total[some] - 1) // 2, total[some] // 2)]
                # The first face at which more than so many are reached.
                lower, upper = (begin + (reached > middle[:, None]).argmax(axis=1) for middle in middles)
                inside = (middles[0] >= 0) & (middles[1] < reached[:, -1])
                medians[some[inside]] = (ordered[lower[inside]] + ordered[upper[inside]]) / 2
            rows = rows[np.isnan(medians[rows])]
        return medians

    def blocks(self, columns: Ints) -> Iterator[tuple[slice, Counts]]:
        """Weights of faces in `columns` (N,), some resamples at a time: (rows, (r, N))."""
        step = max(1, _BLOCK // max(1, len(columns)))
        for start in range(0, self.count if len(columns) else 0, step):
            rows = slice(start, min(start + step, self.count))
            yield rows, np.take(self.weights[rows], columns, axis=1)


def draw_resamples(image_ids: pd.Series, count: int, confidence: float, seed: int) -> Resamples:
    """Draw photographs with replacement, as many as there are, `count` times.

    Args:
        image_ids: (P,) distinct, P ≥ 1.
        count: R ≥ 0.
        confidence: in (0, 1).
        seed: equal seeds give equal resamples.

    Raises:
        ValueError: no photograph, or one named twice.

    Example:
        >>> draw_resamples(pd.Series(["a", "b", "c"]), 2, 0.95, seed=0).weights.sum(axis=1).tolist()
        [3, 3]
    """
    index = pd.Index(image_ids)
    if not len(index) or not index.is_unique:
        raise ValueError("images: at least one photograph is needed, and each once")
    generator, size = np.random.default_rng(seed), len(index)
    weights: Counts = np.empty((count, size), dtype=np.uint8)
    for row in range(count):
        drawn = np.bincount(generator.integers(0, size, size), minlength=size)
        smallest = np.min_scalar_type(int(drawn.max()))
        if smallest.itemsize > weights.itemsize:
            weights = weights.astype(smallest)
        weights[row] = drawn
    return Resamples(index, weights, confidence)
