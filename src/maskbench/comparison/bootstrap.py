"""Bootstrap clustered by photograph for all arms and seeds at once, and intervals that reach their coverage.

One draw of photographs counts for every arm and every seed, so differences between arms are paired.
What varies is said by each interval: the choice of test photographs alone, or also the training seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from maskbench.comparison.runs import Runs

Floats = NDArray[np.float64]
#: "t": bootstrap standard error, Student's t, on a scale without bounds; "percentile": quantiles of the draws.
Method = Literal["t", "percentile"]
#: What a measurement can be: a share or area in [0, 1], a loss in [0, ∞), a difference of shares, of losses.
Kind = Literal["share", "loss", "share difference", "loss difference"]

PHOTOGRAPHS = "test photographs"
PHOTOGRAPHS_AND_SEEDS = "test photographs and training seeds"

#: Weights held at a time: 4 million float64 are 32 MB.
_CHUNK = 4_000_000
#: Spread of rounding errors, below which all draws count as equal.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Draws:
    """The measurements of every run on every draw of photographs.

    Attributes:
        runs: what was drawn from.
        drawn: by arm and seed, (R, M) with columns `runs.names`; NaN where a class that the measurement
            needs was not drawn.
        resamples: R.
    """

    runs: Runs
    drawn: dict[tuple[str, int], Floats]
    resamples: int

    def of(self, arm: str, seeds: Sequence[int]) -> Floats:
        """(S, R, M): the draws of one arm."""
        return np.stack([self.drawn[arm, seed] for seed in seeds])


def draw_metrics(runs: Runs, *, seed: int = 0, resamples: int = 10_000) -> Draws:
    """Measure all runs on draws of photographs, the same draws for every arm and seed.

    As many photographs are drawn with replacement as all seeds have together; a run counts those of its own test
    side, so with different test sides their sizes vary between draws.

    Args:
        runs: the runs.
        seed: of the resampling.
        resamples: draws, at least 2.

    Raises:
        ValueError: fewer than two resamples.

    Source:
        Field & Welsh, J. R. Stat. Soc. B 69 (2007) (drawing whole clusters).
    """
    if resamples < 2:
        raise ValueError(f"resamples: at least 2, not {resamples}")
    rng = np.random.default_rng(seed)
    count = len(runs.image_ids)
    parts: dict[tuple[str, int], list[Floats]] = {key: [] for key in runs.runs}
    step = max(1, _CHUNK // count)
    for start in range(0, resamples, step):
        weights = drawn_weights(rng, count, min(step, resamples - start))
        for key, run in runs.runs.items():
            whole = len(run.positions) == count
            parts[key].append(run.metrics.measure(weights if whole else weights[:, run.positions]))
    return Draws(runs, {key: np.concatenate(found) for key, found in parts.items()}, resamples)


def drawn_weights(rng: np.random.Generator, count: int, draws: int) -> Floats:
    """How often each of `count` things stands in each draw of `count` with replacement: (draws, count)."""
    chosen = rng.integers(0, count, size=(draws, count))
    chosen += np.arange(draws)[:, None] * count
    return np.bincount(chosen.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)


@dataclass(frozen=True)
class Interval:
    """An interval of a mean over seeds.

    Attributes:
        low: NaN with a reason where there is none.
        high: likewise.
        standard_error: of the mean over seeds.
        degrees: of freedom of the standard error.
        incomplete: draws left out because a class was missing.
        reason: why there is no interval; empty where there is one.
    """

    low: float
    high: float
    standard_error: float
    degrees: float
    incomplete: int
    reason: str = ""

    def p_value(self, value: float) -> float:
        """Two-sided p of Student's t for a mean of 0; NaN without spread."""
        if not self.standard_error > _ROUNDING:
            return float("nan")
        return float(2 * stats.t.sf(abs(value) / self.standard_error, self.degrees))


def interval(
    values: Floats,
    drawn: Floats,
    photographs: int,
    kind: Kind,
    *,
    confidence: float = 0.95,
    draw_seeds: bool = False,
    method: Method = "t",
    seed: int = 0,
) -> Interval:
    """An interval of the mean of `values` over seeds.

    With `draw_seeds` false it covers the choice of test photographs, the trained models being what they are: another
    set of photographs from the same source, the same models. With `draw_seeds` true it also covers the choice of
    training seeds: other photographs and models trained from other seeds; it needs two seeds or more.

    Method "t": value ± t · standard error, on the logit scale for shares and areas, the log scale for losses and
    as it is for differences. The variance is that of the draws of photographs, times n / (n - 1), plus s² / S of the
    S seeds where they count (what belongs to both photograph and seed counts twice: on the safe side); degrees of
    freedom are n - 1 and S - 1, combined by Satterthwaite's rule; n is `photographs`. Where no draw differs
    (nothing wrong, nothing right, or two arms alike on all photographs), the bootstrap is blind and the bound is
    that of Clopper & Pearson for n photographs without an event: 1 - (α/2)^(1/n).
    Method "percentile": quantiles of the draws; with `draw_seeds` each draw also takes S seeds with
    replacement (pigeonhole bootstrap).

    Coverage at nominal 95 %, 1,000 simulated studies of clustered faces, three classes, the rarest 5 %: with 130
    photographs "t" covered 93…99 % and "percentile" 87…94 %, with 30 photographs "t" 90…100 % and "percentile" 56…91 %;
    the difference of the rarest class's AUC stays lowest for "t" (91…93 %). Where three seeds differ much, "t" with
    `draw_seeds` covered 89…97 %, "percentile" 77…94 %, photographs alone 59…97 %; with two seeds "t" is wide and still
    covered 88…99 %.

    Args:
        values: (S,) per seed, no NaN.
        drawn: (S, R) per seed and draw; a draw with NaN in any seed is left out.
        photographs: n, those that say something about the measurement.
        kind: its range.
        confidence: nominal coverage, in (0, 1).
        draw_seeds: cover the choice of seeds too.
        method: "t" or "percentile".
        seed: of drawing seeds.

    Returns:
        The interval; NaN with a reason with fewer than two photographs behind the measurement or usable draws.

    Raises:
        ValueError: `confidence` outside (0, 1), or `draw_seeds` with fewer than two seeds.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 12 (standard error, t), 13.3 (percentile);
        Owen, Annals of Applied Statistics 1 (2007) 386 (pigeonhole bootstrap of crossed factors);
        Satterthwaite, Biometrics Bulletin 2 (1946) 110; Clopper & Pearson, Biometrika 26 (1934) 404;
        logit scale for areas: Pepe, The Statistical Evaluation of Medical Tests, 2003, section 5.2.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
    if draw_seeds and len(values) < 2:
        raise ValueError("draw_seeds: one seed says nothing about others; give two or more, or draw photographs only")
    complete = drawn[:, ~np.isnan(drawn).any(axis=0)]  # (S, R')
    incomplete = drawn.shape[1] - complete.shape[1]
    nothing = Interval(float("nan"), float("nan"), float("nan"), float("nan"), incomplete)
    if photographs < 2:
        return replace(nothing, reason="fewer than two photographs to draw from")
    if complete.shape[1] < 2:
        return replace(nothing, reason="fewer than two draws that hold every class")
    value = float(values.mean())
    error, degrees = _standard_error(values, complete, photographs, draw_seeds)
    if method == "percentile":
        mixed = _mixed(complete, seed) if draw_seeds else complete.mean(axis=0)
        low, high = np.quantile(mixed, [(1 - confidence) / 2, (1 + confidence) / 2])
    elif error > _ROUNDING:
        low, high = _student(value, error * stats.t.ppf((1 + confidence) / 2, degrees), kind)
    elif kind in ("share", "share difference"):
        bound = 1 - ((1 - confidence) / 2) ** (1 / photographs)
        low, high = _clipped(value - bound, value + bound, kind)
    else:
        return replace(nothing, reason="no draw differs")
    return Interval(float(low), float(high), error, degrees, incomplete)


def _standard_error(values: Floats, drawn: Floats, photographs: int, draw_seeds: bool) -> tuple[float, float]:
    """Standard error of the mean over seeds, and its degrees of freedom."""
    by_photograph = float(drawn.mean(axis=0).var(ddof=1)) * photographs / (photographs - 1)
    by_seed = float(values.var(ddof=1)) / len(values) if draw_seeds else 0.0
    total = by_photograph + by_seed
    if not total > _ROUNDING**2:
        return 0.0, float(photographs - 1)
    parts = by_photograph**2 / (photographs - 1) + (by_seed**2 / (len(values) - 1) if draw_seeds else 0.0)
    return float(np.sqrt(total)), total**2 / parts


def _student(value: float, reach: float, kind: Kind) -> tuple[float, float]:
    """`value` ± `reach`, on the scale of `kind`, where the derivative of that scale carries `reach` over."""
    if kind == "share" and 0 < value < 1:
        middle, half = special.logit(value), reach / (value * (1 - value))
        return float(special.expit(middle - half)), float(special.expit(middle + half))
    if kind == "loss" and value > 0:
        factor = float(np.exp(min(reach / value, 700.0)))  # e^700 is near the largest number there is
        return value / factor, value * factor
    return _clipped(value - reach, value + reach, kind)


def _clipped(low: float, high: float, kind: Kind) -> tuple[float, float]:
    """The limits, no further than the measurement can be."""
    least, most = {"share": (0.0, 1.0), "loss": (0.0, np.inf), "share difference": (-1.0, 1.0)}.get(
        kind, (-np.inf, np.inf)
    )
    return max(low, least), min(high, most)


def _mixed(drawn: Floats, seed: int) -> Floats:
    """Means over S seeds drawn with replacement, anew for each draw of photographs: (S, R) -> (R,)."""
    weights = drawn_weights(np.random.default_rng([seed, len(drawn)]), len(drawn), drawn.shape[1])
    mixed: Floats = np.einsum("rs,sr->r", weights, drawn) / len(drawn)
    return mixed
