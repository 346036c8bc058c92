"""How many labels is pretraining worth? Learning curves over shares of the training faces, and regimes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.isotonic import isotonic_regression

from maskbench.schemas.convergence import LABEL_WORTH, LEARNING_CURVES, REGIMES

Floats = NDArray[np.float64]

#: With fewer seeds, drawing seeds again says nothing about another seed.
FEWEST_SEEDS = 5


def learning_curves_table(runs: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Mean, spread and interval of a figure over the seeds, by arm and share of the training faces.

    Args:
        runs: `schemas.EFFICIENCY_RUNS`.
        confidence: of the intervals over seeds.

    Returns:
        `schemas.LEARNING_CURVES`, shares rising. With several runs `low` to `high` is Student's interval
        of their mean (`basis` seeds: how another seed would come out, assuming normal spread); with one
        run it is the interval given for it (`basis` photographs), if any.

    Raises:
        ValueError: a confidence outside (0, 1).

    Source:
        Student, Biometrika 6 (1908).
    """
    _check(confidence)
    rows = []
    for (arm, metric, fraction), part in runs.sort_values("fraction", kind="stable").groupby(
        ["arm", "metric", "fraction"], sort=False
    ):
        key = {"arm": arm, "metric": metric, "fraction": fraction, "train_faces": float(part["train_faces"].mean())}
        rows.append(key | _over_runs(part, confidence))
    return pd.DataFrame(rows, columns=list(LEARNING_CURVES.columns))


def label_worth_table(
    runs: pd.DataFrame,
    arm: str,
    baseline: str,
    metric: str = "f1_macro",
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """With how many training faces is `baseline` as good as `arm` is with fewer?

    The means over seeds at each share are made to rise with the number of faces (isotonic regression) and
    joined by a monotone cubic over the logarithm of the number of faces; nothing is extrapolated.

    Args:
        runs: `schemas.EFFICIENCY_RUNS` of both arms.
        arm: the arm whose labels are counted, such as the pretrained one.
        baseline: the arm it is measured by, such as the one started at random.
        metric: higher is better.
        confidence: of the interval.
        resamples: draws of seeds with replacement, the same for both arms.
        seed: of the draws.

    Returns:
        `schemas.LABEL_WORTH`, one row per share of `arm`. `baseline_faces` is NaN where the baseline never
        reaches the value (`at_least`: all its faces) or starts above it (`at_most`: its fewest). `low` and
        `high` bound `baseline_faces` over draws of seeds that both arms have; they are NaN below
        `FEWEST_SEEDS` seeds, and where the limit lies outside the baseline's curve.

    Raises:
        ValueError: an arm has no value of the metric, or senseless settings.

    Source:
        Monotone cubic: Fritsch & Carlson, SIAM J. Numer. Anal. 17 (1980). Isotonic regression: Barlow et
        al., Statistical Inference under Order Restrictions, 1972. Interval: expanded percentile bootstrap,
        Hesterberg, The American Statistician 69 (2015).
    """
    _check(confidence)
    if resamples < 2:
        raise ValueError(f"resamples: at least 2, not {resamples}")
    tables = {}
    for name in (arm, baseline):
        part = runs[(runs["arm"] == name) & (runs["metric"] == metric) & runs["value"].notna()]
        if part.empty:
            raise ValueError(f"runs: no value of {metric} for {name}; train it on shares of the faces first")
        tables[name] = part
    ours, theirs = _means(tables[arm]), _means(tables[baseline])
    places, levels = theirs["train_faces"].to_numpy(dtype=np.float64), theirs["value"].to_numpy(dtype=np.float64)
    drawn, seeds = _drawn_faces(tables[arm], tables[baseline], list(ours.index), resamples, seed)
    rows = []
    needed = faces_for(places, levels, ours["value"].to_numpy(dtype=np.float64))
    for number, (fraction, own) in enumerate(ours.iterrows()):
        faces = float(needed[number])
        bound = {"at_least": np.nan, "at_most": np.nan}
        reason = ""
        if faces == np.inf:
            bound["at_least"] = float(places.max())
            reason = f"more than {places.max():,.0f} faces: {baseline} was not followed further"
        elif faces == 0:
            bound["at_most"] = float(places.min())
            reason = f"fewer than {places.min():,.0f} faces: {baseline} is better from its first share on"
        low, high, why = _worth_interval(drawn, number, seeds, confidence)
        known = faces if not reason else np.nan
        row: dict[str, Any] = {"arm": arm, "baseline": baseline, "metric": metric, "fraction": fraction}
        row |= {"train_faces": own["train_faces"], "value": own["value"], "baseline_faces": known}
        row |= {"worth": known / own["train_faces"], "low": low, "high": high} | bound
        rows.append(row | {"reason": "; ".join(text for text in (reason, why) if text)})
    return pd.DataFrame(rows, columns=list(LABEL_WORTH.columns))


def faces_for(faces: Floats, values: Floats, levels: Floats) -> Floats:
    """The fewest faces at which the monotone curve through points reaches each level.

    Args:
        faces: (P,), above 0, not falling; points at equal numbers count as their mean, as often as they are.
        values: (P,), made to rise by isotonic regression first.
        levels: (L,), values sought.

    Returns:
        (L,) faces; 0 where the curve starts above the level, infinity where it ends below it.
    """
    faces, of_point, counts = np.unique(faces, return_inverse=True, return_counts=True)
    means = np.bincount(of_point, weights=values) / counts
    rising = np.asarray(isotonic_regression(means, sample_weight=counts), dtype=np.float64)
    places = np.log(faces)
    curve = PchipInterpolator(places, rising) if len(faces) > 1 else None
    found = np.empty(len(levels))
    for number, level in enumerate(levels):
        first = int(np.searchsorted(rising, level, side="left"))  # first point at or above the level
        if first == len(rising):
            found[number] = np.inf
        elif first == 0:
            found[number] = faces[0] if rising[0] == level else 0
        elif curve is None or float(curve(places[first])) <= level:
            found[number] = faces[first]  # the curve may miss its own points by rounding
        else:
            found[number] = np.exp(brentq(lambda x, y: float(curve(x)) - y, *places[first - 1 : first + 1], (level,)))
    return found


def regimes_table(
    runs: pd.DataFrame, regimes: Sequence[str] | None = None, *, confidence: float = 0.95
) -> pd.DataFrame:
    """Fine-tuning regimes side by side: the figure, the parameters that learned, the seconds it took.

    Args:
        runs: `schemas.REGIME_RUNS`.
        regimes: their order; by default that of the table.
        confidence: of the intervals over seeds.

    Returns:
        `schemas.REGIMES`; intervals as in `learning_curves_table`, seconds averaged over the runs.

    Raises:
        ValueError: runs of one arm and regime trained different numbers of parameters.
    """
    _check(confidence)
    order = list(regimes) if regimes is not None else list(runs["regime"].unique())
    rows = []
    for arm in runs["arm"].unique():
        for regime in order:
            mine = runs[(runs["arm"] == arm) & (runs["regime"] == regime)]
            for metric, part in mine.groupby("metric", sort=False):
                if part["trained_parameters"].nunique() > 1:
                    raise ValueError(f"runs: trained_parameters of {arm}, {regime} differ between seeds")
                cost: dict[str, Any] = {"trained_parameters": int(part["trained_parameters"].iloc[0])}
                cost["seconds"] = float(part["seconds"].mean())
                rows.append({"arm": arm, "regime": regime, "metric": metric} | cost | _over_runs(part, confidence))
    return pd.DataFrame(rows, columns=list(REGIMES.columns))


def labels_answer(worth: pd.DataFrame) -> str:
    """How many labels an arm saves in macro-F1, in words; empty without rows.

    Args:
        worth: `schemas.LABEL_WORTH`.
    """
    sentences = []
    for (arm, baseline), part in worth[worth["metric"] == "f1_macro"].groupby(["arm", "baseline"], sort=False):
        clauses = []
        for row in part.sort_values("train_faces").to_dict("records"):
            if not np.isnan(row["baseline_faces"]):
                needed = f"{row['baseline_faces']:,.0f} (×{row['worth']:.2g})"
            elif not np.isnan(row["at_least"]):
                needed = f"more than {row['at_least']:,.0f}"
            else:
                needed = f"fewer than {row['at_most']:,.0f}"
            clauses.append(f"{row['train_faces']:,.0f} as good as {needed}")
        unsure = "" if part["low"].notna().any() else f"; fewer than {FEWEST_SEEDS} runs: no interval"
        sentences.append(
            f"Labels, in test macro-F1: of {arm}, {', '.join(clauses)} training faces of {baseline}{unsure}."
        )
    return " ".join(sentences)


def _over_runs(part: pd.DataFrame, confidence: float) -> dict[str, Any]:
    """Mean, spread and interval of `value` over runs."""
    known = part[part["value"].notna()]
    count, values = len(known), known["value"].to_numpy(dtype=np.float64)
    mean, sd = (float(values.mean()) if count else np.nan), (float(values.std(ddof=1)) if count > 1 else np.nan)
    low, high, basis = np.nan, np.nan, ""
    if count > 1:
        reach = float(student.ppf((1 + confidence) / 2, count - 1)) * sd / np.sqrt(count)
        low, high, basis = mean - reach, mean + reach, "seeds"
    elif count == 1 and known[["low", "high"]].notna().to_numpy().all():
        low, high, basis = float(known["low"].iloc[0]), float(known["high"].iloc[0]), "photographs"
    lost = f"{len(part) - count} of {len(part)} runs undefined" if count < len(part) else ""
    alone = "one run has no standard deviation" if count == 1 else ""
    reason = "; ".join(text for text in (lost, alone) if text)
    spread = {"mean": mean, "sd": sd, "low": low, "high": high}
    return {"runs": len(part), "defined": count, **spread, "basis": basis, "reason": reason}


def _means(runs: pd.DataFrame) -> pd.DataFrame:
    """`train_faces` and `value`, means over the runs of each share, by rising number of faces."""
    return runs.groupby("fraction")[["train_faces", "value"]].mean().sort_values("train_faces")


def _drawn_faces(
    ours: pd.DataFrame, theirs: pd.DataFrame, fractions: Sequence[Any], resamples: int, seed: int
) -> tuple[Floats, int]:
    """Faces that the baseline needs for each share of the arm, over draws of seeds: (R, F); and the seeds.

    Seeds that miss a share in one of the arms are left out; with too few of them there are no draws.
    """
    wide = [table.pivot_table(index="seed", columns="fraction", values="value").dropna() for table in (ours, theirs)]
    seeds = sorted(set(wide[0].index) & set(wide[1].index))
    if len(seeds) < FEWEST_SEEDS:
        return np.empty((0, len(fractions))), len(seeds)
    faces = _means(theirs)["train_faces"]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=resamples) / len(seeds)
    own = weights @ wide[0].loc[seeds, list(fractions)].to_numpy(dtype=np.float64)  # (R, F)
    others = weights @ wide[1].loc[seeds, list(faces.index)].to_numpy(dtype=np.float64)  # (R, P)
    places = faces.to_numpy(dtype=np.float64)
    return np.array([faces_for(places, curve, levels) for curve, levels in zip(others, own, strict=True)]), len(seeds)


def _worth_interval(drawn: Floats, place: int, seeds: int, confidence: float) -> tuple[float, float, str]:
    """Limits over the draws; one outside the baseline's curve is NaN."""
    if not len(drawn):
        return np.nan, np.nan, f"no interval below {FEWEST_SEEDS} seeds of both arms"
    # Draws of few seeds spread too little: their quantiles are taken further out.
    tail = norm.cdf(-np.sqrt(seeds / (seeds - 1)) * student.ppf((1 + confidence) / 2, seeds - 1))
    # Draws off the curve are 0 or infinite: order statistics, not averages of two, keep them apart.
    ends = np.quantile(drawn[:, place], [tail, 1 - tail], method="nearest")
    low, high = (float(end) if 0 < end < np.inf else np.nan for end in ends)
    off = [name for name, end in zip(("lower", "upper"), (low, high), strict=True) if np.isnan(end)]
    return low, high, f"{' and '.join(off)} limit outside the baseline's curve" if off else ""


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
