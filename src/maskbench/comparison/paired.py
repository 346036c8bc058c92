"""The arms over all seeds with their intervals, and their paired differences with a permutation test."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_effectsize

from maskbench import schemas
from maskbench.comparison.bootstrap import PHOTOGRAPHS, PHOTOGRAPHS_AND_SEEDS, Draws
from maskbench.comparison.permutation import permutation_p_values
from maskbench.comparison.runs import Runs
from maskbench.comparison.wording import NO_INTERVAL, NOTHING
from maskbench.eda.associations import holm
from maskbench.evaluation.intervals import Kind, Method, interval, no_interval, share_kind, too_few_photographs
from maskbench.schemas.comparison import COMPARISON_DIFFERENCES, COMPARISON_SEEDS, COMPARISON_SUMMARY

Floats = NDArray[np.float64]

NO_DIFFERENCE = "no difference shown"
#: Verdicts that name no arm.
UNDECIDED = (NO_DIFFERENCE, NOTHING)
#: Measurements for which less is better.
LOWER_IS_BETTER = ("loss",)
#: Shares of faces, for which Cohen's h is defined.
_PROPORTIONS = ("accuracy", "recall")
ONE_SEED = "one seed: no spread between seeds"


def seeds_table(runs: Runs) -> pd.DataFrame:
    """Every measurement of every run.

    Args:
        runs: the runs.

    Returns:
        `COMPARISON_SEEDS`. NaN comes with a reason.
    """
    rows = []
    for arm, seed in [(name, seed) for name in runs.arms for seed in runs.common_seeds(name)]:
        images, faces = runs.basis([seed])
        for (metric, name), value in zip(runs.names, runs.values(arm, [seed])[0], strict=True):
            key = {"arm": arm, "seed": seed, "metric": metric, "class_name": name}
            reason = _undefined(name, faces) if np.isnan(value) else ""
            rows.append(key | {"value": float(value), "images": images, "faces": faces[name], "reason": reason})
    return pd.DataFrame(rows)[list(COMPARISON_SEEDS.columns)]


def summary_table(
    draws: Draws, *, confidence: float = 0.95, draw_seeds: bool = True, method: Method = "t"
) -> pd.DataFrame:
    """Every arm over its seeds: mean, standard deviation between seeds, interval of the mean.

    Args:
        draws: of `bootstrap.draw_metrics`.
        confidence: nominal coverage of the intervals, in (0, 1).
        draw_seeds: with two seeds or more the interval also covers the choice of seeds (column `covers`);
            if false it takes the trained models as given.
        method: see `evaluation.intervals.interval`.

    Returns:
        `COMPARISON_SUMMARY`. Seeds in which a measurement is undefined are left out of it, and named in `reason`.
    """
    runs = draws.runs
    rows = []
    for arm in runs.arms:
        seeds = runs.common_seeds(arm)
        values, drawn = runs.values(arm, seeds), draws.of(arm, seeds)
        estimates = _Estimates(runs, [arm], seeds, confidence, draw_seeds, method)
        for m, (metric, name) in enumerate(runs.names):
            kind: Kind = "loss" if metric in LOWER_IS_BETTER else share_kind(metric)
            found = estimates.row(m, values[:, m], drawn[:, :, m], kind)
            rows.append({"arm": arm, "metric": metric, "class_name": name} | found)
    return pd.DataFrame(rows)[list(COMPARISON_SUMMARY.columns)]


def difference_table(
    draws: Draws,
    *,
    permutations: int = 9_999,
    seed: int = 0,
    alpha: float = 0.05,
    draw_seeds: bool = True,
    method: Method = "t",
    metrics: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Every pair of arms over their common seeds: mean paired difference, interval, permutation test, effect sizes.

    A difference is called shown only where both stand: the permutation test, corrected by Holm over all rows
    of this table, and the interval, which with two seeds or more also covers the choice of seeds (the test does not: it
    takes the trained models as given).

    Args:
        draws: of `bootstrap.draw_metrics`.
        permutations: random swaps of the test (`permutation.permutation_p_values`).
        seed: of the swaps.
        alpha: level of the verdict; the intervals have confidence 1 - alpha.
        draw_seeds: as in `summary_table`.
        method: see `evaluation.intervals.interval`.
        metrics: measurements in the table, and so in Holm's family; all by default.

    Returns:
        `COMPARISON_DIFFERENCES`, `arm` minus `baseline` with the arm that comes first as baseline. No rows for a single
        arm; none for a pair without a common seed.

    Raises:
        ValueError: `alpha` outside (0, 1), or an unknown metric.

    Source:
        Holm, Scand. J. Stat. 6 (1979); Cohen, Statistical Power Analysis, 1988, section 6.2 (h);
        Lakens, Frontiers in Psychology 4 (2013) 863, eq. 6 (d_z).
    """
    runs = draws.runs
    measured = [metric for metric, _ in runs.names]
    chosen = measured if metrics is None else list(metrics)
    unknown = sorted(set(chosen) - set(measured))
    if unknown:
        raise ValueError(f"metrics: not measured: {', '.join(unknown)}")
    rows: list[dict[str, Any]] = []
    for baseline, arm in combinations(runs.arms, 2):
        if runs.common_seeds(arm, baseline):
            rows += _pair_rows(draws, arm, baseline, chosen, permutations, seed, alpha, draw_seeds, method)
    if not rows:
        return schemas.empty_table(COMPARISON_DIFFERENCES)
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=np.float64))
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table[list(COMPARISON_DIFFERENCES.columns)]


def verdict(row: Mapping[Hashable, Any]) -> str:
    """What a row of differences shows, in words: which arm is higher, that none is shown to be, or nothing.

    Args:
        row: `value`, `low`, `high`, `p_holm`, `alpha`, `arm`, `baseline` of `COMPARISON_DIFFERENCES`.
    """
    if np.isnan([row["value"], row["low"], row["high"]]).any():
        return NOTHING
    clear = row["low"] > 0 or row["high"] < 0
    if not clear or not row["p_holm"] <= row["alpha"]:
        return NO_DIFFERENCE
    return f"{row['arm'] if row['value'] > 0 else row['baseline']} higher"


def _pair_rows(
    draws: Draws, arm: str, baseline: str, chosen: Sequence[str], permutations: int, seed: int, alpha: float,
    draw_seeds: bool, method: Method,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of one pair for the chosen metrics, before Holm's correction."""
    runs = draws.runs
    seeds = runs.common_seeds(arm, baseline)
    own, other = runs.values(arm, seeds), runs.values(baseline, seeds)
    drawn = draws.of(arm, seeds) - draws.of(baseline, seeds)
    estimates = _Estimates(runs, [arm, baseline], seeds, 1 - alpha, draw_seeds, method)
    _, p_values = permutation_p_values(runs, arm, baseline, seed=seed, permutations=permutations)
    rows = []
    for m, (metric, name) in enumerate(runs.names):
        if metric not in chosen:
            continue
        gaps = own[:, m] - other[:, m]
        kind: Kind = "loss difference" if metric in LOWER_IS_BETTER else "share difference"
        found = estimates.row(m, gaps, drawn[:, :, m], kind)
        d_z, h, reason = _effects(metric, gaps, own[:, m], other[:, m])
        found["reason"] = "; ".join(filter(None, [found["reason"], reason]))
        row = {"arm": arm, "baseline": baseline, "metric": metric, "class_name": name}
        test = {"permutations": permutations, "p_value": float(p_values[m]), "alpha": alpha, "d_z": d_z, "h": h}
        rows.append(row | found | test | _stated(arm, baseline, metric, name, len(seeds)))
    return rows


class _Estimates:
    """Means over the seeds of an arm or a pair, with spread, interval and what they rest on."""

    def __init__(
        self, runs: Runs, arms: Sequence[str], seeds: Sequence[int], confidence: float, draw_seeds: bool, method: Method
    ) -> None:
        self._runs, self._seeds = runs, tuple(seeds)
        self._behind = runs.photographs_behind(arms, seeds)
        self._basis = {self._seeds: runs.basis(seeds)}
        self._confidence, self._draw_seeds, self._method = confidence, draw_seeds, method

    def row(self, m: int, values: Floats, drawn: Floats, kind: Kind) -> dict[str, Any]:
        """The m-th measurement from its values (S,) and draws (S, R), over the seeds in which it is defined."""
        kept = ~np.isnan(values)
        chosen = tuple(seed for seed, keep in zip(self._seeds, kept, strict=True) if keep)
        name, over = self._runs.names[m][1], chosen or self._seeds
        if over not in self._basis:
            self._basis[over] = self._runs.basis(over)
        images, faces = self._basis[over]
        both = self._draw_seeds and len(chosen) > 1
        found = {
            "value": float(values[kept].mean()) if chosen else float("nan"),
            "sd": float(values[kept].std(ddof=1)) if len(chosen) > 1 else float("nan"),
            **{"low": float("nan"), "high": float("nan"), "standard_error": float("nan")},
            **{"confidence": self._confidence, "resamples": drawn.shape[1], "incomplete": drawn.shape[1]},
            "covers": PHOTOGRAPHS_AND_SEEDS if both else PHOTOGRAPHS,
            **{"seeds": len(chosen), "images": images, "faces": faces[name], "photographs_behind": self._behind[m]},
        }
        if not chosen:
            return found | {"reason": _undefined(name, faces)}
        options: dict[str, Any] = {"confidence": self._confidence, "draw_seeds": both, "method": self._method}
        few = too_few_photographs(images)
        limits = no_interval(few) if few else interval(values[kept], drawn[kept], int(self._behind[m]), kind, **options)
        left_out = [str(seed) for seed, keep in zip(self._seeds, kept, strict=True) if not keep]
        reasons = [
            f"undefined in seed {', '.join(left_out)}" if left_out else "",
            ONE_SEED if len(chosen) == 1 else "",
            f"{NO_INTERVAL}{limits.reason}" if limits.reason else "",
        ]
        bounds = {"low": limits.low, "high": limits.high, "standard_error": limits.standard_error}
        return found | bounds | {"incomplete": limits.incomplete, "reason": "; ".join(filter(None, reasons))}


def _effects(metric: str, gaps: Floats, own: Floats, other: Floats) -> tuple[float, float, str]:
    """Cohen's d_z over seeds and h of the mean shares, with the reason where one is NaN."""
    kept = ~np.isnan(gaps)
    spread = float(gaps[kept].std(ddof=1)) if kept.sum() > 1 else float("nan")
    d_z = float(gaps[kept].mean()) / spread if spread > 1e-12 else float("nan")
    reasons = ["d_z: equal in all seeds" if not np.isnan(spread) and np.isnan(d_z) else ""]
    h = float("nan")
    if metric not in _PROPORTIONS:
        reasons.append("h: no share of faces")
    elif kept.any():
        h = float(proportion_effectsize(own[kept].mean(), other[kept].mean()))
    return d_z, h, "; ".join(filter(None, reasons))


def _undefined(name: str, faces: dict[str, int]) -> str:
    """Why a measurement has no value."""
    if name and not faces[name]:
        return "no face of this class"
    return "no face of another class, or never predicted" if name else "undefined for the classes present"


def _stated(arm: str, baseline: str, metric: str, name: str, seeds: int) -> dict[str, str]:
    """Null hypothesis and assumptions of the permutation test."""
    what = f"{metric} of {name}" if name else metric
    given = "trained model is" if seeds == 1 else f"{2 * seeds} trained models are"
    every = ", in all seeds at once" if seeds > 1 else ""
    return {
        "null_hypothesis": f"For each photograph it makes no difference to {what} which predictions are those of {arm} "
        f"and which those of {baseline}: they are exchangeable.",
        "assumptions": "Photographs are independent of each other; faces within one may depend on each other in any "
        f"way (whole photographs are swapped{every}). The {given} taken as given: the test alone says nothing of "
        "other seeds.",
    }
