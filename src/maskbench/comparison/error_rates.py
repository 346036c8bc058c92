"""The error rate along each property, and how far each property by itself goes with the errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from maskbench.comparison import stated
from maskbench.comparison.concordance import wrong_right_pairs
from maskbench.comparison.face_errors import (
    FaceErrors,
    Floats,
    Ints,
    Property,
    face_errors,
    photographs_behind,
    too_few_errors,
)
from maskbench.eda.bootstrap import draw_resamples
from maskbench.evaluation.intervals import interval
from maskbench.schemas.factors import ERROR_EFFECTS, ERROR_RATES

#: Fewer photographs say nothing about the spread between photographs.
_LEAST_PHOTOGRAPHS = 2
#: Cochran 1954, Biometrics 10:417-451: with fewer expected errors beside a value that most faces share,
#: resamples without any such error make an interval too short at one end.
LEAST_EXPECTED = 5


@dataclass(frozen=True)
class Bins:
    """Values in bins.

    Attributes:
        codes: (N,) bin of each value.
        labels: (B,) for people.
        lower: (B,) smallest value; NaN for the bin of missing values.
        upper: (B,) largest value.
    """

    codes: Ints
    labels: list[str]
    lower: list[float]
    upper: list[float]


def quantile_bins(values: Floats, bins: int, known: Property) -> Bins:
    """Bins of about equally many faces; equal values share one, few distinct values have one each.

    Args:
        values: (N,), NaN allowed: they have a bin of their own, the last.
        bins: wanted, at least 1.
        known: names the bin of missing values and those of flags.

    Returns:
        At most `bins` bins of defined values (none is empty), and one more if there are missing ones.

    Example:
        >>> quantile_bins(np.array([1.0, 1, 1, 2, 3, 9]), 3, Property("x", "x")).labels
        ['1', '2', '3–9']
    """
    finite = np.isfinite(values)
    distinct = np.unique(values[finite])
    if len(distinct) <= bins:
        codes = np.searchsorted(distinct, values)
    else:
        # Closed to the right: a value equal to an edge belongs to the bin below it.
        edges = np.unique(np.quantile(values[finite], np.arange(1, bins) / bins))
        codes = np.searchsorted(edges, values, side="left")
    _, dense = np.unique(codes[finite], return_inverse=True)
    codes = np.full(len(values), int(dense.max()) + 1 if len(dense) else 0, dtype=np.int64)
    codes[finite] = dense
    lower, upper, labels = [], [], []
    for code in range(int(dense.max()) + 1 if len(dense) else 0):
        inside = values[codes == code]
        lower.append(float(inside.min()))
        upper.append(float(inside.max()))
        labels.append(_label(lower[-1], upper[-1], known))
    if not finite.all():
        lower.append(float("nan"))
        upper.append(float("nan"))
        labels.append("no other face" if known.name == "neighbour_distance" else "undefined")
    return Bins(codes, labels, lower, upper)


def _label(low: float, high: float, known: Property) -> str:
    if known.transform == "flag" and low == high:
        return "yes" if low else "no"
    first, last = _short(low), _short(high)
    return first if first == last else f"{first}–{last}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def error_rates(
    joined: pd.DataFrame, properties: Sequence[str] | None = None, *, bins: int = 5, confidence: float = 0.95
) -> pd.DataFrame:
    """Error rate in quantile bins of each property, for each arm, with intervals that know photographs.

    The arms share the bins. The interval is Wilson's at the effective number of faces: faces divided by
    the design effect, the variance of the bin's rate between photographs over that of independent faces.

    Args:
        joined: of `join_properties`.
        properties: see `face_errors`.
        bins: of about equally many faces, at least 1.
        confidence: in (0, 1).

    Returns:
        `schemas.factors.ERROR_RATES`. A bin without errors (or correct faces) takes the design effect of
        all faces of the arm; a design effect below 1 counts as 1.

    Raises:
        ValueError: `bins` is below 1 or `confidence` outside (0, 1).

    Source:
        Wilson 1927, JASA 22:209-212; Korn & Graubard 1998, Survey Methodology 24:193-201 (effective
        number); variance of a ratio of cluster totals: Cochran 1977, Sampling Techniques, eq. 9A.5.
    """
    if bins < 1:
        raise ValueError(f"bins: at least 1, not {bins}")
    _check_confidence(confidence)
    arms = list(face_errors(joined, properties))
    rows: list[dict[str, Any]] = []
    for known in arms[0].properties:
        shared = quantile_bins(np.concatenate([data.table[known.name] for data in arms]), bins, known)
        starts = np.cumsum([0, *(len(data.error) for data in arms)])
        for data, start in zip(arms, starts, strict=False):
            codes = shared.codes[start : start + len(data.error)]
            overall = design_effect(data.error, data.photographs)
            for index, label in enumerate(shared.labels):
                rows.append(
                    {"arm": data.arm, "property": known.name, "bin_index": index, "bin": label}
                    | {"lower": shared.lower[index], "upper": shared.upper[index]}
                    | _bin_row(data, known.name, codes == index, overall, confidence)
                )
    return pd.DataFrame(rows, columns=list(ERROR_RATES.columns))


def _bin_row(
    data: FaceErrors, name: str, inside: NDArray[np.bool_], overall: float, confidence: float
) -> dict[str, Any]:
    error, photographs = data.error[inside], data.photographs[inside]
    values = data.table[name].to_numpy()[inside]
    n, images, wrong = len(error), len(np.unique(photographs)), float(error.sum())
    row: dict[str, Any] = {
        "centre": float(np.median(values)) if n else np.nan,
        "faces": n,
        "photographs": images,
        "errors": wrong,
        "rate": wrong / n if n else np.nan,
        "low": np.nan,
        "high": np.nan,
        "design_effect": np.nan,
        "confidence": confidence,
        "reason": "",
    }
    if images < _LEAST_PHOTOGRAPHS:
        return row | {"reason": f"no interval from {images} photograph(s)" if n else "no face in this bin"}
    effect = design_effect(error, photographs)
    effect = max(1.0, overall if np.isnan(effect) else effect) if not np.isnan(overall) else 1.0
    low, high = proportion_confint(wrong / effect, n / effect, alpha=1 - confidence, method="wilson")
    return row | {"low": float(max(low, 0.0)), "high": float(min(high, 1.0)), "design_effect": effect}


def design_effect(error: Floats, photographs: Ints) -> float:
    """Variance of the error rate between photographs over the variance if faces were independent.

    Args:
        error: (N,) in [0, 1].
        photographs: (N,) a number per photograph.

    Returns:
        ≥ 0; NaN with fewer than two photographs, or when all or no faces are wrong.

    Source:
        Kish 1965, Survey Sampling, sec. 8.2; Cochran 1977, eq. 9A.5.

    Example:
        >>> design_effect(np.array([1.0, 1, 0, 0]), np.array([0, 0, 1, 1]))
        4.0
    """
    codes = np.unique(photographs, return_inverse=True)[1]
    n, clusters = len(error), int(codes.max()) + 1 if len(codes) else 0
    rate = error.mean() if n else 0.0
    if clusters < 2 or rate in (0.0, 1.0):
        return float("nan")
    residuals = np.bincount(codes, error - rate)
    between = clusters / (clusters - 1) * (residuals**2).sum() / n**2
    return float(between / (rate * (1 - rate) / n))


def error_effects(
    joined: pd.DataFrame,
    properties: Sequence[str] | None = None,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """The rank-biserial correlation of each property with the error, for each arm.

    Args:
        joined: of `join_properties`.
        properties: see `face_errors`.
        resamples: of photographs.
        confidence: in (0, 1).
        seed: of the resampling; equal photographs are drawn for all arms.

    Returns:
        `schemas.factors.ERROR_EFFECTS`: 2·AUC - 1 of the property as a score for "wrong", positive where
        higher values go with more errors, 0 for none; it sees monotone relations only. Bootstrap intervals
        draw whole photographs (`evaluation.intervals.interval` of the AUC, from the photographs with wrong or with
        right faces, whichever are fewer); none with `too_few_errors`. They are not corrected for looking at many
        properties. Faces without the property are left out; a missing neighbour counts as infinitely far.

    Source:
        Cureton 1956, Psychometrika 21:287-290; for the interval see there.
    """
    _check_confidence(confidence)
    rows: list[dict[str, Any]] = []
    for data in face_errors(joined, properties):
        photographs = pd.Series(sorted(data.image_ids.unique()))
        draws = draw_resamples(photographs, resamples, confidence, seed)
        for known in data.properties:
            # The sign of a reciprocal is turned back: `effect` is about the property itself.
            sign = -1.0 if known.transform == "reciprocal" else 1.0
            values = sign * known.apply(data.table[known.name].to_numpy())
            used = np.isfinite(values)
            error, images = data.error[used], data.photographs[used]
            row: dict[str, Any] = {"arm": data.arm, "property": known.name, "faces": int(used.sum())}
            row |= {"photographs": len(np.unique(images)), "errors": float(error.sum())}
            row |= {"effect": np.nan, "low": np.nan, "high": np.nan, "reason": _no_effect(values[used], error)}
            row |= stated.effect(known.label)
            if not row["reason"]:
                pairs = wrong_right_pairs(values[used], error, images, len(photographs))
                one = pairs.auc(np.ones((1, len(photographs))))
                drawn = pairs.auc(draws.weights.astype(np.float64))
                few = too_few_errors(error, images) or _too_few(values[used], error)
                behind = photographs_behind(error, images)
                limits = interval(one, drawn[None], behind, "area", confidence=confidence)
                row |= {"effect": float(2 * one[0] - 1), "reason": few or limits.reason}
                row |= {} if row["reason"] else {"low": 2 * limits.low - 1, "high": 2 * limits.high - 1}
            rows.append(row | {"confidence": confidence, "resamples": resamples})
    return pd.DataFrame(rows, columns=list(ERROR_EFFECTS.columns))


def _no_effect(values: Floats, error: Floats) -> str:
    if not len(values):
        return "undefined for every face"
    if not error.any() or error.all():
        return "no face was misclassified" if not error.any() else "every face was misclassified"
    return "the same for every face" if values.min() == values.max() else ""


def _too_few(values: Floats, error: Floats) -> str:
    """Why there is no interval where one value dominates; empty if there is one."""
    _, counts = np.unique(values, return_counts=True)
    beside = len(values) - int(counts.max())
    expected = beside * min(error.mean(), 1 - error.mean())
    if counts.max() * 2 <= len(values) or expected >= LEAST_EXPECTED:
        return ""
    return f"no interval: {beside} faces beside the most common value, with {expected:.1f} errors expected"


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
