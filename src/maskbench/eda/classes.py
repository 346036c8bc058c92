"""How many faces of each class there are, how unequal that is, and which classes meet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from maskbench.eda.bootstrap import Floats, Ints, Resamples

_DEFINITIONS = {
    "imbalance_ratio": ("faces of the most frequent class / faces of the rarest", "ratio"),
    "entropy": ("Shannon entropy of the class shares, H = -sum p ln p", "nats"),
    "entropy_normalised": ("H / ln K for K classes: 0 one class only, 1 all equally frequent", "share of ln K"),
    "effective_classes": ("exp H: as many equally frequent classes would have the same entropy", "classes"),
}


def wilson_interval(successes: Floats, trials: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Wilson's score interval for a share of independent trials.

    Args:
        successes: any shape, counts.
        trials: same shape, counts.
        confidence: in (0, 1).

    Returns:
        Lower and upper bounds in [0, 1], NaN for 0 trials.

    Source:
        Wilson 1927, JASA 22:209-212; Brown, Cai & DasGupta 2001, Statistical Science 16(2), eq. 4.

    Example:
        >>> low, high = wilson_interval(np.array([5.0]), np.array([10.0]), 0.95)
        >>> round(float(low[0]), 4), round(float(high[0]), 4)
        (0.2366, 0.7634)
    """
    z = float(norm.ppf(1 - (1 - confidence) / 2))
    n = np.where(trials > 0, trials, np.nan)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def shares_entropy(counts: Floats) -> Floats:
    """Shannon entropy in nats of each row of counts, 0 ln 0 = 0; NaN for a row of zeros.

    Args:
        counts: (..., K), ≥ 0.

    Returns:
        (...,) in [0, ln K].

    Source:
        Shannon 1948, "A Mathematical Theory of Communication", sec. 6; its exponential as a number
        of types: Hill 1973, Ecology 54(2), order 1.
    """
    totals = counts.sum(axis=-1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(np.abs((shares * logs).sum(axis=-1)))


def counts_per_photograph(faces: pd.DataFrame, classes: Sequence[str], resamples: Resamples) -> Ints:
    """Faces of each class in each photograph, (P, K) in the order of `resamples` and `classes`.

    Raises:
        ValueError: a label is not among the classes, or a photograph not among the photographs.
    """
    codes = pd.Index(classes).get_indexer(pd.Index(faces["label"]))
    if (codes < 0).any():
        raise ValueError(f"labels that are not classes: {sorted(set(faces.loc[codes < 0, 'label']))}")
    cells = resamples.positions(faces["image_id"]) * len(classes) + codes
    shape = (len(resamples.image_ids), len(classes))
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.int64)


def class_balance(counts: Ints, classes: Sequence[str], resamples: Resamples) -> pd.DataFrame:
    """Faces and photographs per class, with two intervals for the share of faces.

    Args:
        counts: (P, K) from `counts_per_photograph`.
        classes: in class order.
        resamples: of the same photographs.

    Returns:
        `schemas.CLASS_BALANCE`. The Wilson interval takes faces as independent; the other draws whole
        photographs, and is wider where faces of one photograph are alike. `photograph_share` is the
        share of photographs with a face that hold one of this class.
    """
    totals, photographs = counts.sum(axis=0), (counts > 0).sum(axis=0)
    faces, occupied = int(totals.sum()), int((counts > 0).any(axis=1).sum())
    low, high = wilson_interval(totals.astype(float), np.full(len(classes), float(faces)), resamples.confidence)
    drawn = resamples.totals(counts)  # (R, K)
    drawn_totals = drawn.sum(axis=1, keepdims=True)
    drawn_shares = np.divide(drawn, drawn_totals, out=np.full(drawn.shape, np.nan), where=drawn_totals > 0)
    rows = []
    for index, name in enumerate(classes):
        cluster = resamples.interval(drawn_shares[:, index], int(photographs[index]))
        rows.append(
            {
                "class_name": name,
                "faces": int(totals[index]),
                "share": totals[index] / faces if faces else np.nan,
                "wilson_low": low[index],
                "wilson_high": high[index],
                "cluster_low": cluster.low,
                "cluster_high": cluster.high,
                "photographs": int(photographs[index]),
                "photograph_share": photographs[index] / occupied if occupied else np.nan,
                "confidence": resamples.confidence,
                "resamples": resamples.count,
                "reason": cluster.reason if faces else "no faces",
            }
        )
    return pd.DataFrame(rows)


def class_measures(counts: Ints, classes: Sequence[str], resamples: Resamples) -> pd.DataFrame:
    """Imbalance ratio, entropy (nats and normalised), effective number of classes, with intervals.

    Args:
        counts: (P, K).
        classes: in class order, K ≥ 2.
        resamples: of the same photographs.

    Returns:
        `schemas.CLASS_MEASURES`. The ratio is NaN where a class has no face. Entropies are the
        plug-in estimate, too low by about (K - 1) / 2n nats (Miller 1955): negligible from a few
        hundred faces on.
    """
    totals = counts.sum(axis=0).astype(float)
    estimates = _measures(totals[None, :])
    drawn = _measures(resamples.totals(counts))
    occupied = int((counts > 0).any(axis=1).sum())
    absent = [name for name, total in zip(classes, totals, strict=True) if total == 0]
    rows = []
    for measure, (definition, unit) in _DEFINITIONS.items():
        value = float(estimates[measure][0])
        interval = resamples.interval(drawn[measure], occupied)
        if not np.isfinite(value):
            interval = type(interval)(np.nan, np.nan, f"no face of: {', '.join(absent)}")
        rows.append(
            {
                "measure": measure,
                "value": value,
                "low": interval.low,
                "high": interval.high,
                "unit": unit,
                "definition": definition,
                "confidence": resamples.confidence,
                "resamples": resamples.count,
                "reason": interval.reason,
            }
        )
    return pd.DataFrame(rows)


def _measures(counts: Floats) -> dict[str, Floats]:
    """Each measure for each row of (R, K) counts."""
    entropy = shares_entropy(counts)
    rarest = counts.min(axis=1)
    ratio = np.divide(counts.max(axis=1), rarest, out=np.full(len(counts), np.nan), where=rarest > 0)
    return {
        "imbalance_ratio": ratio,
        "entropy": entropy,
        "entropy_normalised": entropy / np.log(counts.shape[1]),
        "effective_classes": np.exp(entropy),
    }


def class_cooccurrence(counts: Ints, classes: Sequence[str]) -> pd.DataFrame:
    """Which classes stand together in photographs, against independence.

    Among photographs with one face two classes can never meet, which makes every association
    negative; the scope `several` leaves them out.

    Args:
        counts: (P, K).
        classes: in class order.

    Returns:
        `schemas.CLASS_COOCCURRENCE`, every ordered pair for both scopes. With N photographs, n_a and
        n_b holding each class and n_ab both: `expected` = n_a n_b / N, `lift` = n_ab / expected,
        `phi` = (N n_ab - n_a n_b) / sqrt(n_a (N - n_a) n_b (N - n_b)). A class with itself has
        `together` = n_a, and no association.

    Source:
        Lift: Brin et al. 1997, SIGMOD, sec. 2 ("interest"); phi: Yule 1912, JRSS 75:579-652.
    """
    rows = []
    for scope, least in (("all", 1), ("several", 2)):
        present = (counts > 0)[counts.sum(axis=1) >= least].astype(np.int64)
        size, holding, together = len(present), present.sum(axis=0), present.T @ present
        for a, name_a in enumerate(classes):
            for b, name_b in enumerate(classes):
                n_a, n_b, n_ab = int(holding[a]), int(holding[b]), int(together[a, b])
                expected, lift, phi, reason = _association(size, n_a, n_b, n_ab)
                if a == b:
                    expected, lift, phi, reason = np.nan, np.nan, np.nan, "a class with itself"
                rows.append(
                    {
                        "scope": scope,
                        "class_a": name_a,
                        "class_b": name_b,
                        "photographs": size,
                        "together": n_ab,
                        "expected": expected,
                        "lift": lift,
                        "phi": phi,
                        "reason": reason,
                    }
                )
    return pd.DataFrame(rows)


def _association(size: int, n_a: int, n_b: int, n_ab: int) -> tuple[float, float, float, str]:
    """Expected count, lift, phi, and why one of them is missing."""
    if not size:
        return np.nan, np.nan, np.nan, "no such photograph"
    expected = n_a * n_b / size
    if not expected:
        return expected, np.nan, np.nan, "a class is in none of the photographs"
    spread = n_a * (size - n_a) * n_b * (size - n_b)
    if not spread:
        return expected, n_ab / expected, np.nan, "a class is in all of the photographs"
    phi = (size * n_ab - n_a * n_b) / np.sqrt(float(spread))
    return expected, n_ab / expected, float(np.clip(phi, -1, 1)), ""
