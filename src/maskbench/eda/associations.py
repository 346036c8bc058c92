"""Whether a face's class goes with the size of its box or the crowd in its photograph.

The tests treat faces as independent, which faces of one photograph are not: their p-values are too
small. Effect sizes do not depend on that, and their intervals draw whole photographs; they are what
to read. Both facts stand in the table beside the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from maskbench.eda.bands import FACTORS, factor_bands, tables_per_photograph
from maskbench.eda.bootstrap import Floats, Interval, Ints, Resamples
from maskbench.eda.statistics import BOX_QUANTITIES
from maskbench.schemas import EDA_TESTS

#: Cochran 1954 (Biometrics 10:417-451): χ² is a poor approximation where cells expect less.
LEAST_EXPECTED = 5

_DEPENDENCE = (
    "faces of one photograph are not independent, so p is too small (as if they were); "
    "read the effect and its interval, which draws whole photographs"
)
_BIAS = "near 0 the plain effect is biased upwards, and its interval (basic bootstrap) may lie below it"


def chi_squared(tables: Floats) -> Floats:
    """Pearson's χ² statistic of contingency tables, without continuity correction.

    Args:
        tables: (..., K, B) counts; empty rows and columns add nothing.

    Returns:
        (...,), NaN for a table without counts.

    Source:
        Pearson 1900, Philosophical Magazine 50:157-175.
    """
    rows, columns = tables.sum(axis=-1, keepdims=True), tables.sum(axis=-2, keepdims=True)
    total = rows.sum(axis=-2, keepdims=True)
    expected = np.divide(rows * columns, total, out=np.zeros_like(tables, dtype=float), where=total > 0)
    terms = np.divide((tables - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    return np.asarray(np.where(total[..., 0, 0] > 0, terms.sum(axis=(-2, -1)), np.nan))


def cramers_v(tables: Floats) -> Floats:
    """Cramér's V, sqrt(χ² / (n (min(K, B) - 1))) over rows and columns that are not empty.

    Args:
        tables: (..., K, B) counts.

    Returns:
        (...,) in [0, 1]; NaN with fewer than two such rows or columns.

    Source:
        Cramér 1946, "Mathematical Methods of Statistics", sec. 21.9.
    """
    smaller = np.minimum((tables.sum(axis=-1) > 0).sum(axis=-1), (tables.sum(axis=-2) > 0).sum(axis=-1)) - 1
    scale = tables.sum(axis=(-2, -1)) * smaller
    ratio = np.divide(chi_squared(tables), scale, out=np.full(np.shape(scale), np.nan), where=scale > 0)
    return np.asarray(np.clip(np.sqrt(ratio), 0, 1))


def cramers_v_corrected(table: Floats) -> float:
    """Bias-corrected Cramér's V of one table (K, B) without empty rows or columns.

    Source:
        Bergsma 2013, Journal of the Korean Statistical Society 42:323-328, eq. 4-6.
    """
    n, (rows, columns) = float(table.sum()), table.shape
    if n <= 1 or min(rows, columns) < 2:
        return float("nan")
    phi2 = max(0.0, float(chi_squared(table)) / n - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(phi2 / smaller)) if smaller > 0 else float("nan")


def kruskal_h(values: Floats, codes: Ints, groups: int, weights: NDArray[np.integer]) -> Floats:
    """Kruskal and Wallis's H with tie correction, for weighted faces.

    Args:
        values: (N,).
        codes: (N,) group of each value, 0…groups - 1.
        groups: number of groups.
        weights: (R, N) how often each value counts; a row of ones is the plain statistic.

    Returns:
        (R,) ≥ 0; NaN where all counted values are equal.

    Source:
        Kruskal & Wallis 1952, JASA 47:583-621, eq. 1.1 and 1.3.
    """
    order = np.argsort(values, kind="stable")
    return Ranking(values[order], codes[order], groups).kruskal_h(weights[:, order])[0]


class Ranking:
    """What ranks of weighted faces need to know: which faces tie, and which are in each group.

    Args:
        values: (N,) in rising order, N ≥ 1.
        codes: (N,) group of each value, 0…groups - 1.
        groups: number of groups.
    """

    def __init__(self, values: Floats, codes: Ints, groups: int) -> None:
        self._last = np.flatnonzero(np.r_[values[1:] != values[:-1], True])  # (U,) of each tie
        tie = np.repeat(np.arange(len(self._last)), np.diff(self._last, prepend=-1))  # (N,)
        # All ranks sum to n (n + 1) / 2: those of the largest group are what the others leave.
        self._rest = int(np.bincount(codes, minlength=groups).argmax())
        others = ((group, np.flatnonzero(codes == group)) for group in range(groups) if group != self._rest)
        self._members = [(group, faces, tie[faces]) for group, faces in others]
        self._groups = groups

    def kruskal_h(self, weights: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """H, as `kruskal_h` says, and the number of faces counted, (R,) each, for weights in the order of the values.

        All sums are of whole numbers, so exact.
        """
        narrow = weights.itemsize == 1 and weights.shape[1] < 1 << 22  # twice the ranks fit into 32 bits
        reached = weights.cumsum(axis=1, dtype=np.int32 if narrow else np.int64)
        reached = np.take(reached, self._last, axis=1)  # (R, U)
        ties = reached.copy()
        ties[:, 1:] -= reached[:, :-1]
        n = reached[:, -1].astype(float)
        sizes, sums = np.zeros((len(n), self._groups)), np.zeros((len(n), self._groups))
        for group, faces, tie in self._members:
            counted = np.take(weights, faces, axis=1).astype(float)
            doubled = 2 * np.take(reached, tie, axis=1) - np.take(ties, tie, axis=1) + 1  # twice the midrank
            sizes[:, group] = counted.sum(axis=1)
            sums[:, group] = np.einsum("rn,rn->r", counted, doubled.astype(float)) / 2
        sizes[:, self._rest] = n - sizes.sum(axis=1)
        sums[:, self._rest] = n * (n + 1) / 2 - sums.sum(axis=1)
        squares = np.divide(sums**2, sizes, out=np.zeros_like(sums), where=sizes > 0).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = 12 / (n * (n + 1)) * squares - 3 * (n + 1)
            tied = ties.astype(float)
            # Products: a power of 3 takes ten times as long.
            correction = 1 - (np.einsum("ru,ru->r", tied * tied, tied) - n) / (n**3 - n)
            return np.where(correction > 0, np.maximum(raw, 0) / correction, np.nan), n


def holm(p_values: Floats) -> Floats:
    """Holm's step-down correction; NaN stay NaN and are not counted.

    Args:
        p_values: (M,) in [0, 1] or NaN.

    Returns:
        (M,) in [0, 1], not smaller than `p_values`.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6:65-70. Valid for any dependence of the tests. Not
        statsmodels', which collects Python's garbage in every call: seconds in a process that holds much.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(np.where(np.isnan(p_values), np.inf, p_values), kind="stable")[: np.isfinite(p_values).sum()]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def effect_interval(resamples: Resamples, estimate: float, drawn: Floats, photographs: int) -> Interval:
    """Basic bootstrap interval of an effect in [0, 1] on a correlation's scale (V, epsilon).

    An effect that cannot be negative is biased upwards near 0, and more so in resamples; a percentile
    interval would lie above the estimate. Reflecting the resamples about the estimate removes that,
    including the part which comes from faces being alike within a photograph.

    Args:
        resamples: that `drawn` was made with.
        estimate: of all faces.
        drawn: (R,) of the resamples.
        photographs: that carry it.

    Returns:
        Cut to [0, 1]; NaN with a reason as in `Resamples.interval`.

    Source:
        Davison & Hinkley 1997, sec. 5.2, eq. 5.6: [2t - t*_(1-a), 2t - t*_(a)].
    """
    percentile = resamples.interval(drawn, photographs)
    low, high = np.clip([2 * estimate - percentile.high, 2 * estimate - percentile.low], 0, 1)
    return Interval(float(low), float(high), percentile.reason)


def association_tests(boxes: pd.DataFrame, classes: Sequence[str], resamples: Resamples) -> pd.DataFrame:
    """Tests of class against box geometry (Kruskal–Wallis) and against bands (χ²).

    Args:
        boxes: `schemas.BOXES`.
        classes: in class order; classes without faces are left out of a test.
        resamples: of all photographs.

    Returns:
        `schemas.EDA_TESTS`, one row per test, corrected together by Holm's method. Effects are
        epsilon² (corrected: eta²_H) and Cramér's V (corrected: Bergsma's).
    """
    rows = [_kruskal_row(boxes, quantity, unit, classes, resamples) for quantity, unit in BOX_QUANTITIES.items()]
    rows += [_chi_squared_row(boxes, factor, classes, resamples) for factor in FACTORS]
    table = pd.DataFrame(rows)
    table["p_value_holm"] = holm(table["p_value"].to_numpy(dtype=float))
    return table[list(EDA_TESTS.columns)]


def _kruskal_row(
    boxes: pd.DataFrame, quantity: str, unit: str, classes: Sequence[str], resamples: Resamples
) -> dict[str, Any]:
    """Effect: epsilon² = H / (n - 1), corrected: eta²_H = (H - k + 1) / (n - k).

    Source:
        Tomczak & Tomczak 2014, Trends in Sport Sciences 1(21):19-25 (epsilon²: Kelley 1935; eta²_H:
        Cohen 2008).
    """
    values = boxes[quantity].to_numpy(dtype=float)
    finite = np.isfinite(values)
    values, labels = values[finite], boxes["class_name"].to_numpy()[finite]
    present = [name for name in classes if (labels == name).any()]
    codes, n, k = pd.Index(present).get_indexer(pd.Index(labels)), len(values), len(present)
    positions = resamples.positions(boxes["image_id"][finite])
    order = np.argsort(values, kind="stable")
    values, codes, positions = values[order], codes[order], positions[order]
    reason, statistic = "", np.nan
    if k < 2 or n <= k:
        reason = f"{n} faces of {k} class(es)"
    else:
        ranking = Ranking(values, codes, k)
        statistic = float(ranking.kruskal_h(np.ones((1, n), dtype=np.int64))[0][0])
        reason = "" if np.isfinite(statistic) else "all values are equal"
    interval = Interval(np.nan, np.nan, reason)
    if not reason:
        drawn = np.full(resamples.count, np.nan)
        for rows, weights in resamples.blocks(positions):
            h, sizes = ranking.kruskal_h(weights)
            drawn[rows] = np.divide(h, sizes - 1, out=np.full(len(h), np.nan), where=sizes > 1)
        root = effect_interval(
            resamples, np.sqrt(statistic / (n - 1)), np.sqrt(np.clip(drawn, 0, 1)), len(np.unique(positions))
        )
        interval = Interval(root.low**2, root.high**2, root.reason)
    return {
        "test": "Kruskal–Wallis",
        "quantity": quantity,
        "null_hypothesis": f"{quantity} ({unit}) has the same distribution in every class",
        "n": n,
        "groups": k,
        "statistic_name": "H",
        "statistic": statistic,
        "degrees_of_freedom": max(k - 1, 0),
        "p_value": float(chi2.sf(statistic, k - 1)) if k > 1 else np.nan,
        "effect_name": "epsilon²",
        "effect": statistic / (n - 1) if n > 1 else np.nan,
        "effect_low": interval.low,
        "effect_high": interval.high,
        "corrected_name": "eta²_H",
        "effect_corrected": (statistic - k + 1) / (n - k) if n > k else np.nan,
        "confidence": resamples.confidence,
        "resamples": resamples.count,
        "reason": interval.reason,
        "note": f"{_DEPENDENCE}; {_BIAS}",
    }


def _chi_squared_row(boxes: pd.DataFrame, factor: str, classes: Sequence[str], resamples: Resamples) -> dict[str, Any]:
    observed, drawn, photographs = np.zeros((0, 0)), np.empty(0), 0
    if len(boxes):
        bands = factor_bands(boxes, factor, resamples)
        tables, _ = tables_per_photograph(boxes, bands, classes, resamples)
        observed = tables.sum(axis=0).astype(float)
        photographs = int((tables.sum(axis=(1, 2)) > 0).sum())
        drawn = cramers_v(resamples.totals(tables))
        observed = observed[observed.sum(axis=1) > 0][:, observed.sum(axis=0) > 0]
    k, b = observed.shape
    defined = min(k, b) >= 2
    statistic = float(chi_squared(observed)) if defined else np.nan
    freedom = max((k - 1) * (b - 1), 0)
    if defined:
        interval = effect_interval(resamples, float(cramers_v(observed)), drawn, photographs)
    else:
        interval = Interval(np.nan, np.nan, f"{k} class(es) and {b} band(s): nothing to compare")
    note = f"{_DEPENDENCE}; {_BIAS}"
    if defined:
        expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0, keepdims=True) / observed.sum()
        small = int((expected < LEAST_EXPECTED).sum())
        note += f"; {small} of {expected.size} cells expect fewer than {LEAST_EXPECTED} faces"
    what = {"box_side": "its box's size (√area)", "faces_in_image": "the number of faces in its photograph"}
    return {
        "test": "χ²",
        "quantity": factor,
        "null_hypothesis": f"a face's class does not depend on {what[factor]}, in doubling bands",
        "n": int(observed.sum()),
        "groups": k,
        "statistic_name": "χ²",
        "statistic": statistic,
        "degrees_of_freedom": freedom,
        "p_value": float(chi2.sf(statistic, freedom)) if defined else np.nan,
        "effect_name": "Cramér's V",
        "effect": float(cramers_v(observed)) if defined else np.nan,
        "effect_low": interval.low,
        "effect_high": interval.high,
        "corrected_name": "bias-corrected V",
        "effect_corrected": cramers_v_corrected(observed),
        "confidence": resamples.confidence,
        "resamples": resamples.count,
        "reason": interval.reason,
        "note": note,
    }
