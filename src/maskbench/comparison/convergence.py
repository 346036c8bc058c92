"""How fast arms learn: epochs and seconds to a share of the best validation score, areas, paired differences.

All from the tables that training saved. Epochs are counted from 1 here: the value after the first epoch
is that of epoch 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import permutation_test

from maskbench.comparison import stated
from maskbench.eda.associations import holm
from maskbench.schemas.convergence import (
    BEST_EPOCHS,
    CONVERGENCE,
    CONVERGENCE_DIFFERENCES,
    CONVERGENCE_SUMMARY,
    EPOCH_TIMES,
)

Floats = NDArray[np.float64]

TARGETS = (0.9, 0.95, 0.99)
#: Fewer pairs cannot give a two-sided p below 2/2⁴ = 0.125: no test is made of them.
FEWEST_PAIRS = 5
#: Up to this many pairs all 2ⁿ sign flips are made; beyond, `_FLIPS` random ones.
MOST_EXACT = 14
_FLIPS = 19_999
#: How long a run was is no finding, and takes no part in the correction for many tests.
_BOOKKEEPING = ("epochs_run", "seconds_run")

NO_TIMES = "no epoch times recorded"
NEVER_MEASURED = "never measured"
ONE_EPOCH = "fewer than two epochs that all runs have"
NO_COMMON_TIME = "no stretch of time that all runs cover"
ONE_ARM = "one arm only"


@dataclass(frozen=True)
class _Curve:
    """The validation score of one run: epochs counted from 1, seconds from the start to the epoch's end."""

    epoch: Floats
    value: Floats
    elapsed: Floats

    def reached(self, level: float, *, held: bool = False) -> int | None:
        """Place of the first epoch at or above `level`, and if `held` with none below it afterwards."""
        below = np.flatnonzero(self.value < level)
        if held:
            first = int(below[-1]) + 1 if len(below) else 0
        else:
            above = np.flatnonzero(self.value >= level)
            first = int(above[0]) if len(above) else len(self.value)
        return first if first < len(self.value) else None


def epoch_times_table(fits: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Wall time per epoch from the records of training.

    Args:
        fits: records with `arm`, `seed` and `epoch_seconds`; one without times gives no rows.

    Returns:
        `schemas.EPOCH_TIMES`.
    """
    rows = []
    for fit in fits:
        elapsed = 0.0
        for epoch, seconds in enumerate(fit.get("epoch_seconds") or []):
            elapsed += float(seconds)
            key = {"arm": str(fit["arm"]), "seed": int(fit["seed"]), "epoch": epoch}
            rows.append(key | {"seconds": float(seconds), "elapsed": elapsed})
    return pd.DataFrame(rows, columns=list(EPOCH_TIMES.columns))


def convergence_table(
    epochs: pd.DataFrame,
    times: pd.DataFrame,
    *,
    metric: str = "f1_macro",
    split: str = "val",
    targets: Sequence[float] = TARGETS,
) -> pd.DataFrame:
    """Measure the validation curve of every run.

    Args:
        epochs: `schemas.EPOCHS`.
        times: `schemas.EPOCH_TIMES`; runs without rows have no seconds.
        metric: over all classes, higher is better.
        split: side it was measured on.
        targets: shares of a run's own best value and of its last one, in (0, 1].

    Returns:
        `schemas.CONVERGENCE` with, per run: `best` (highest value) and `best_epoch` (its first epoch),
        `last`, `epochs_run`, `seconds_run`; for each target `epochs_to_90` and `seconds_to_90` (the first
        epoch at or above 90 % of `best`; the curve may fall below again), `epochs_to_90_held` (the first
        from which it stays there to the end), `epochs_to_90_final` and `seconds_to_90_final` (the first at or
        above 90 % of `last`, the score the run ended with); `epochs_to_common` and `seconds_to_common` (the first at or
        above the lowest `best` among the arms of that seed: the same level for all of them);
        `area_by_epoch` and `area_by_time` (mean height of the curve by the trapezoid rule, over the
        epochs and over the stretch of time that all runs of the table have, so 0…1 for a share).

    Raises:
        ValueError: a target outside (0, 1], or the metric was not recorded.

    Source:
        Area under the learning curve: Guyon et al., JMLR Workshop and Conference Proceedings 16 (2011).
    """
    if not targets or not all(0 < target <= 1 for target in targets):
        raise ValueError(f"targets: shares in (0, 1], not {list(targets)}")
    chosen = epochs[(epochs["metric"] == metric) & (epochs["class_name"] == "") & (epochs["split"] == split)]
    if chosen.empty:
        raise ValueError(f"epochs: no rows of {metric} on {split}; record it during training")
    elapsed = times.set_index(["arm", "seed", "epoch"])["elapsed"] if len(times) else pd.Series(dtype=float)
    curves: dict[tuple[str, int], _Curve] = {}
    for arm, seed in dict.fromkeys(zip(chosen["arm"].tolist(), chosen["seed"].tolist(), strict=True)):
        part = chosen[(chosen["arm"] == arm) & (chosen["seed"] == seed)].sort_values("epoch")
        known = part[part["value"].notna()]
        passed = [float(elapsed.get((arm, seed, epoch), np.nan)) for epoch in known["epoch"]]
        number = known["epoch"].to_numpy(dtype=np.float64) + 1
        curves[arm, seed] = _Curve(number, known["value"].to_numpy(dtype=np.float64), np.array(passed))
    rows = []
    for arm, seed in curves:
        measured = _measurements(curves, arm, seed, targets)
        for name, (unit, value, reason) in measured.items():
            row = {"arm": arm, "seed": seed, "metric": name, "unit": unit, "value": value, "reason": reason}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(CONVERGENCE.columns))


def convergence_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, spread and range over the seeds of each arm.

    Args:
        table: `schemas.CONVERGENCE`.

    Returns:
        `schemas.CONVERGENCE_SUMMARY`; undefined runs are left out and counted. The standard deviation
        (n−1) is NaN for a single run.
    """
    rows = []
    for (arm, metric), part in table.groupby(["arm", "metric"], sort=False):
        known = part["value"].dropna()
        reasons = "; ".join(dict.fromkeys(reason for reason in part["reason"] if reason))
        lost = f"{len(part) - len(known)} of {len(part)} runs undefined: {reasons}" if len(known) < len(part) else ""
        alone = "one run has no standard deviation" if len(known) == 1 else ""
        row: dict[str, Any] = {"arm": arm, "metric": metric, "unit": part["unit"].iloc[0]}
        row |= {"runs": len(part), "defined": len(known), "mean": known.mean(), "sd": known.std(ddof=1)}
        row |= {"minimum": known.min(), "median": known.median(), "maximum": known.max()}
        rows.append(row | {"reason": "; ".join(text for text in (lost, alone) if text)})
    return pd.DataFrame(rows, columns=list(CONVERGENCE_SUMMARY.columns))


def convergence_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Differences between every two arms, paired by seed, with a sign-flip test.

    Null hypothesis: the sign of each seed's difference is a coin toss (the arms are exchangeable within a
    seed). Assumes that seeds are independent runs; where runs of different seeds share test photographs it
    speaks of these photographs only.

    Args:
        table: `schemas.CONVERGENCE`.

    Returns:
        `schemas.CONVERGENCE_DIFFERENCES`: `arm` minus `baseline`, where the baseline is the arm that comes
        first in `table`. `p_value` is two-sided, of the mean; NaN below `FEWEST_PAIRS` pairs.
        `p_value_holm` is corrected over the metrics of the pair of arms, the length of the runs
        (`epochs_run`, `seconds_run`) aside. No rows for a single arm.

    Source:
        Fisher, The Design of Experiments, 1935, section 21. Holm, Scand. J. Statist. 6 (1979).
    """
    wide = table.pivot_table(index=["metric", "seed"], columns="arm", values="value", dropna=False)
    units = table.drop_duplicates("metric").set_index("metric")["unit"]
    arms, rows = list(table["arm"].unique()), []
    for baseline, arm in combinations(arms, 2):
        found = []
        for metric in units.index:
            part = wide.loc[metric]
            both = (part[arm] - part[baseline]).dropna().to_numpy(dtype=np.float64)
            shared = len(set(table.loc[table["arm"] == arm, "seed"]) & set(table.loc[table["arm"] == baseline, "seed"]))
            key = {"arm": arm, "baseline": baseline, "metric": metric, "unit": units[metric]}
            found.append(key | _difference(both, shared) | stated.sign_flip(arm, baseline, metric))
        tested = [row for row in found if not np.isnan(row["p_value"]) and row["metric"] not in _BOOKKEEPING]
        if tested:
            corrected = holm(np.array([row["p_value"] for row in tested], dtype=np.float64))
            for row, value in zip(tested, corrected, strict=True):
                row["p_value_holm"] = float(value)
        rows += found
    return pd.DataFrame(rows, columns=list(CONVERGENCE_DIFFERENCES.columns))


def best_epochs_table(table: pd.DataFrame) -> pd.DataFrame:
    """In which epoch the runs of each arm were best.

    Args:
        table: `schemas.CONVERGENCE`.

    Returns:
        `schemas.BEST_EPOCHS`; epochs in which no run was best have no row.
    """
    rows = []
    longest = int(table.loc[table["metric"] == "epochs_run", "value"].max())
    for arm, part in table[(table["metric"] == "best_epoch") & table["value"].notna()].groupby("arm", sort=False):
        for epoch, runs in part["value"].astype(int).value_counts().sort_index().items():
            rows.append({"arm": arm, "epoch": epoch, "runs": int(runs), "share": runs / len(part), "length": longest})
    return pd.DataFrame(rows, columns=list(BEST_EPOCHS.columns))


def sign_flip_p(differences: Floats) -> tuple[float, bool]:
    """Two-sided p-value of the mean under random signs, and whether all flips were made.

    Args:
        differences: (n,), n at least 1.
    """
    exact = len(differences) <= MOST_EXACT
    found = permutation_test(
        (differences,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=2 ** len(differences) if exact else _FLIPS, rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.pvalue), exact


def _difference(values: Floats, shared: int) -> dict[str, Any]:
    """Statistics of paired differences; `shared` seeds have both arms."""
    count = len(values)
    lost = f"{shared - count} of {shared} pairs left out: undefined in one arm" if count < shared else ""
    few = (
        f"no test of {count} pair{'' if count == 1 else 's'}: at least {FEWEST_PAIRS} seeds are needed"
        if count < FEWEST_PAIRS
        else ""
    )
    p_value, exact = sign_flip_p(values) if not few else (np.nan, False)
    return {
        "pairs": count,
        "mean": float(values.mean()) if count else np.nan,
        "sd": float(values.std(ddof=1)) if count > 1 else np.nan,
        "minimum": float(values.min()) if count else np.nan,
        "maximum": float(values.max()) if count else np.nan,
        "p_value": p_value,
        "p_value_holm": np.nan,
        "smallest_p": np.nan if few else 2.0 ** (1 - count) if exact else 1 / (_FLIPS + 1),
        "exact": exact,
        "reason": "; ".join(text for text in (lost, few) if text),
    }


def _measurements(
    curves: Mapping[tuple[str, int], _Curve], arm: str, seed: int, targets: Sequence[float]
) -> dict[str, tuple[str, float, str]]:
    """Name -> (unit, value, reason) of one run."""
    curve = curves[arm, seed]
    nothing = "" if len(curve.value) else NEVER_MEASURED
    timeless = nothing or (NO_TIMES if np.isnan(curve.elapsed).any() else "")
    best = float(curve.value.max()) if not nothing else np.nan

    def at(values: Floats, place: int | None, why: str) -> tuple[float, str]:
        return (float(values[place]), "") if not why and place is not None else (np.nan, why or "never reached")

    found: dict[str, tuple[str, float, str]] = {
        "best": ("share", best, nothing),
        "best_epoch": ("epochs", *at(curve.epoch, int(curve.value.argmax()) if not nothing else None, nothing)),
        "last": ("share", *at(curve.value, -1, nothing)),
        "epochs_run": ("epochs", *at(curve.epoch, -1, nothing)),
        "seconds_run": ("seconds", *at(curve.elapsed, -1, timeless)),
    }
    for target in targets:
        name, level = f"{target * 100:g}", target * best
        held = curve.reached(level, held=True)
        below = nothing or ("" if held is not None else "below it at the end")
        found[f"epochs_to_{name}"] = ("epochs", *at(curve.epoch, curve.reached(level), nothing))
        found[f"epochs_to_{name}_held"] = ("epochs", *at(curve.epoch, held, below))
        found[f"seconds_to_{name}"] = ("seconds", *at(curve.elapsed, curve.reached(level), timeless))
        final = curve.reached(target * float(curve.value[-1])) if not nothing else None
        found[f"epochs_to_{name}_final"] = ("epochs", *at(curve.epoch, final, nothing))
        found[f"seconds_to_{name}_final"] = ("seconds", *at(curve.elapsed, final, timeless))
    peers = [c for (_, number), c in curves.items() if number == seed and len(c.value)]
    alone = nothing or (ONE_ARM if len(peers) < 2 else "")
    common = curve.reached(min(float(c.value.max()) for c in peers)) if not alone else None
    found["epochs_to_common"] = ("epochs", *at(curve.epoch, common, alone))
    found["seconds_to_common"] = ("seconds", *at(curve.elapsed, common, alone or timeless))
    everyone = [c for c in curves.values() if len(c.value)]
    timed = [c for c in everyone if not np.isnan(c.elapsed).any()]
    found["area_by_epoch"] = ("share", *_area(curve, "epoch", everyone, nothing, ONE_EPOCH))
    found["area_by_time"] = ("share", *_area(curve, "elapsed", timed, timeless, NO_COMMON_TIME))
    return found


def _area(curve: _Curve, axis: str, everyone: Sequence[_Curve], why: str, empty: str) -> tuple[float, str]:
    """Mean height of a curve over the stretch of `axis` that all curves cover, with the reason if none."""
    if why:
        return np.nan, why
    start = max(float(getattr(other, axis)[0]) for other in everyone)
    end = min(float(getattr(other, axis)[-1]) for other in everyone)
    if end <= start:
        return np.nan, empty
    places = getattr(curve, axis)
    inner = places[(places > start) & (places < end)]
    x = np.concatenate([[start], inner, [end]])
    return float(np.trapezoid(np.interp(x, places, curve.value), x) / (end - start)), ""


def convergence_answer(
    summary: pd.DataFrame, differences: pd.DataFrame, arm: str, baseline: str, *, target: float = 0.95,
    score: str = "validation macro-F1", alpha: float = 0.05,
) -> str:  # fmt: skip
    """Which arm converges faster, in two sentences with their numbers.

    Args:
        summary: `schemas.CONVERGENCE_SUMMARY`.
        differences: `schemas.CONVERGENCE_DIFFERENCES`.
        arm: name of one arm.
        baseline: name of the other.
        target: share of the best value, one of those measured.
        score: what the curve shows, in words.
        alpha: level of the verdict, on p-values corrected by Holm's method.

    Returns:
        How fast each arm came to `target` of its own best and to the level both reached (an arm that ends
        lower has a lower mark of its own to reach, so both are given); and the paired differences with
        their tests, or why there are none. "No difference shown" is a possible verdict.

    Raises:
        ValueError: an arm or the target was not measured.
    """
    name = f"epochs_to_{target * 100:g}"
    found = {(row["arm"], row["metric"]): row for row in summary.to_dict("records")}
    absent = [one for one in (arm, baseline) if (one, name) not in found]
    if absent:
        raise ValueError(f"summary: {name} of {absent[0]} was not measured; give an arm and a target of the table")

    def number(one: str, metric: str, unit: str) -> str:
        value = float(found[one, metric]["mean"])
        if np.isnan(value):
            return f"an unknown number of {unit}"
        text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        return f"{text} {unit.removesuffix('s') if text == '1' else unit}"

    parts = [
        f"{one} came to {target * 100:g}% of its own best {score} ({float(found[one, 'best']['mean']):.3f}) after "
        f"{number(one, name, 'epochs')} ({number(one, name.replace('epochs', 'seconds'), 'seconds')})"
        for one in (arm, baseline)
    ]
    common = f"{number(arm, 'epochs_to_common', 'epochs')} against {number(baseline, 'epochs_to_common', 'epochs')}"
    runs = int(found[arm, name]["runs"])
    over = f"Over {runs} seeds, on average, " if runs > 1 else "With one seed, "
    first = f"{over}{parts[0]} and {parts[1]}; to the level that both reached it took {common}."
    goals = {"epochs_to_common": "the common level", name: f"{target * 100:g}% of its own best"}
    gaps = [_paired(differences, arm, baseline, metric, goal, alpha) for metric, goal in goals.items()]
    return f"{first} Paired by seed, {arm} minus {baseline} is {' and '.join(gaps)}."


def _paired(differences: pd.DataFrame, arm: str, baseline: str, metric: str, goal: str, alpha: float) -> str:
    """The paired difference of one metric in words, with its test or why there is none."""
    forward = (differences["arm"] == arm) & (differences["baseline"] == baseline)
    backward = (differences["arm"] == baseline) & (differences["baseline"] == arm)
    rows = differences[(forward | backward) & (differences["metric"] == metric) & (differences["pairs"] > 0)]
    if rows.empty:
        return f"unknown to {goal} (no pair has both)"
    row, sign = rows.iloc[0], 1 if forward.any() else -1
    pairs, ends = int(row["pairs"]), sorted((sign * float(row["minimum"]), sign * float(row["maximum"])))
    gap = f"{_signed(sign * float(row['mean']))} epochs to {goal}"
    spread = f"{_signed(ends[0])} to {_signed(ends[1])} over {pairs} pairs" if pairs > 1 else "one pair"
    if np.isnan(row["p_value_holm"]):
        return f"{gap} ({spread}: an observation and no verdict, a test needs {FEWEST_PAIRS})"
    test = f"sign-flip p = {row['p_value']:.3g}, by Holm's method {row['p_value_holm']:.3g}"
    if row["p_value_holm"] <= alpha:
        return f"{gap} ({spread}; {test}: a difference is shown)"
    hopeless = f", nor could it be by {pairs} pairs" if row["smallest_p"] > alpha else ""
    return f"{gap} ({spread}; {test}: no difference shown{hopeless})"


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if value else "0"
