"""Temperature scaling: one number per run, fitted on its validation faces, that sets the confidence right.

Division of all logits by one temperature changes how sure a model sounds and never what it decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from maskbench.evaluation.classification import Scored
from maskbench.schemas.calibration import TEMPERATURES

Floats = NDArray[np.float64]

#: A run whose best temperature lies outside is not calibrated by one.
LOWEST, HIGHEST = 1e-2, 1e2
#: Largest gap between stored probabilities and the softmax of stored logits that rounding explains.
_ROUNDING = 1e-2

NO_VALIDATION = "no validation faces"


def logits_of(predictions: pd.DataFrame, classes: Sequence[str]) -> Floats:
    """Logits (N, K) in class order; log-probabilities where the table has none.

    Log-probabilities differ from logits by a constant per face, which softmax ignores.

    Args:
        predictions: `schemas.PREDICTIONS`.
        classes: class order.

    Raises:
        ValueError: a column is missing, or probabilities are not the softmax of the logits.
    """
    missing = [f"prob_{name}" for name in classes if f"prob_{name}" not in predictions]
    if missing:
        raise ValueError(f"predictions: columns missing: {', '.join(missing)}")
    probs = predictions[[f"prob_{name}" for name in classes]].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore"):
        of_probs = np.log(probs)
    names = [f"logit_{name}" for name in classes if f"logit_{name}" in predictions]
    if not names:
        return np.asarray(of_probs)
    if len(names) < len(classes):
        raise ValueError("predictions: some classes have a logit column and some have none; give all or none")
    logits = predictions[names].to_numpy(dtype=np.float64)
    gap = float(np.abs(np.exp(log_softmax(logits, axis=1)) - probs).max(initial=0.0))
    if not gap <= _ROUNDING:
        raise ValueError(
            f"predictions: prob_ columns are not the softmax of the logit_ columns (largest gap {gap:.3g}); "
            "leave the logit columns out to calibrate the probabilities"
        )
    return logits


def cross_entropy(logits: Floats, true: NDArray[np.int64]) -> Floats:
    """Negative log-likelihood of each face's own class: (N, K), (N,) -> (N,), nats."""
    losses = -log_softmax(logits, axis=1)[np.arange(len(true)), true]
    return np.asarray(np.maximum(losses, 0.0))


def fit_temperature(logits: Floats, true: NDArray[np.int64]) -> tuple[float, str]:
    """The temperature whose division of the logits makes the mean cross-entropy smallest.

    Args:
        logits: (N, K).
        true: (N,), positions in the class order.

    Returns:
        The temperature (above 1: the model was too sure) and an empty reason; or NaN and the reason why
        there is none.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    if not len(true):
        return float("nan"), NO_VALIDATION
    own = logits[np.arange(len(true)), true]
    if not np.isfinite(own).all():
        return float("nan"), "a validation face gives its own class no probability at all"
    if (own >= logits.max(axis=1)).all():
        return float("nan"), "every validation face is right: the colder the better, without end"

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits / np.exp(log_temperature), true).mean())

    # Convex in 1/T (a log-sum-exp minus a linear term), so it has one minimum over log T.
    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8}).x))
    if not LOWEST * 1.01 < found < HIGHEST / 1.01:
        return float("nan"), f"the best temperature lies outside {LOWEST:g}…{HIGHEST:g}"
    return found, ""


def temperature_table(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Fit the temperature of every arm and seed on its validation faces.

    Args:
        predictions: `schemas.PREDICTIONS` with the split `val`.
        classes: class order.
        seed: of the resampling.
        resamples: draws of as many validation photographs as there are.
        confidence: share of draws between `low` and `high`.

    Returns:
        `schemas.TEMPERATURES`, in order of appearance. Draws in which the temperature is undefined or
        more than e² times off are counted in `incomplete` and left out.

    Raises:
        ValueError: fewer than two resamples, a confidence outside (0, 1), or columns missing.
    """
    check_resampling(resamples, confidence)
    rows = []
    for (arm, run_seed), part in predictions.groupby(["arm", "seed"], sort=False):
        known = part[part["split"] == "val"]
        scored, logits = Scored.of(known, classes), logits_of(known, classes)
        value, reason = fit_temperature(logits, scored.true)
        row: dict[str, Any] = {"arm": arm, "seed": run_seed, "temperature": value}
        drawn = _drawn_temperatures(logits, scored, value, seed, resamples)
        usable = drawn[~np.isnan(drawn)]
        low, high = interval(usable, confidence) if scored.image_count > 1 else (np.nan, np.nan)
        row |= {"low": low, "high": high, "confidence": confidence, "resamples": resamples}
        row |= {"incomplete": int(resamples - len(usable))}
        row |= {"nll_raw": _mean(cross_entropy(logits, scored.true))}
        row |= {"nll_scaled": _mean(cross_entropy(logits / value, scored.true)) if not reason else float("nan")}
        rows.append(row | {"images": scored.image_count, "faces": len(known), "reason": reason})
    return pd.DataFrame(rows, columns=list(TEMPERATURES.columns))


def interval(draws: Floats, confidence: float) -> tuple[float, float]:
    """Percentile limits of draws, NaN without any."""
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def photograph_draws(images: int, resamples: int, seed: int) -> Floats:
    """How often each photograph is drawn: (R, I), every row sums to I."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def check_resampling(resamples: int, confidence: float) -> None:
    """Refuse senseless settings.

    Raises:
        ValueError: fewer than two resamples or a confidence outside (0, 1).
    """
    if resamples < 2:
        raise ValueError(f"resamples: at least 2, not {resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")


def _drawn_temperatures(logits: Floats, scored: Scored, value: float, seed: int, resamples: int) -> Floats:
    """The best temperature of every draw of photographs: (R,), NaN where it is far off or undefined.

    Cross-entropy is tabulated per photograph over a fine grid of log temperatures, so that a draw is a
    weighted sum; a parabola through the lowest point and its neighbours places the minimum.
    """
    if np.isnan(value) or scored.image_count < 2:
        return np.full(resamples, np.nan)
    step = 0.02
    grid = np.log(value) + step * np.arange(-100, 101)
    per_image = np.zeros((scored.image_count, len(grid)))
    for column, log_temperature in enumerate(grid):
        losses = cross_entropy(logits / np.exp(log_temperature), scored.true)
        per_image[:, column] = np.bincount(scored.images, losses, scored.image_count)
    losses = photograph_draws(scored.image_count, resamples, seed) @ per_image  # (R, G)
    best = losses.argmin(axis=1)
    inner = np.clip(best, 1, len(grid) - 2)
    before, at, after = (losses[np.arange(resamples), inner + shift] for shift in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
    return np.asarray(np.where(best == inner, np.exp(grid[inner] + step * shift), np.nan))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
