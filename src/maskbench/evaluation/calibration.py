"""Are stated confidences true? Calibration figures and reliability diagrams, before and after temperature scaling.

Temperatures come from validation faces (`temperature_table`) and are applied to the test faces. The
intervals draw photographs; they hold the temperature and the trained weights fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import binomtest

from maskbench.evaluation.classification import Scored
from maskbench.evaluation.reliability import (
    BINS,
    Floats,
    Scheme,
    bin_sums,
    brier_parts,
    calibration_error,
    drawn_labels,
    largest_calibration_error,
    mass_bins,
    sums_of_draws,
    width_bins,
)
from maskbench.evaluation.temperature import (
    check_resampling,
    cross_entropy,
    interval,
    logits_of,
    photograph_draws,
)
from maskbench.schemas.calibration import CALIBRATION, CALIBRATION_POOLED, RELIABILITY, RELIABILITY_POOLED

_SUFFIX: dict[Scheme, str] = {"equal_width": "", "equal_mass": "_adaptive"}
#: Weights held at a time: 4 million float64 are 32 MB.
_CHUNK = 4_000_000

#: Faces of a run that a point of a reliability diagram of equal mass rests on at least: with 10, its standard error
#: is still up to 0.16.
LEAST_FACES = 10

EMPTY_BIN = "no face in this bin"
FEW_PHOTOGRAPHS = "one photograph has no interval"
NO_COVER = "no interval: few faces in single bins decide it; compare with what chance gives"
IMPOSSIBLE = "infinite: a face gives its own class no probability at all"

Figures = dict[tuple[str, str], Floats]


@dataclass(frozen=True)
class _Side:
    """Faces of one arm and split, of one run or of several: arrays as in `Scored`, probabilities as scaled."""

    key: dict[str, Any]
    probs: Floats
    loss: Floats
    true: NDArray[np.int64]
    images: NDArray[np.int64]
    image_count: int
    reason: str


def calibration_table(
    predictions: pd.DataFrame,
    temperatures: pd.DataFrame,
    classes: Sequence[str],
    *,
    splits: Sequence[str] = ("test",),
    pooled: bool = False,
    bins: int = BINS,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Calibration figures of every arm, seed and split, raw and after temperature scaling.

    Args:
        predictions: `schemas.PREDICTIONS`.
        temperatures: `schemas.TEMPERATURES` of the same runs.
        classes: class order.
        splits: sides measured. On `val` the scaled figures are those of the fit itself.
        pooled: stack the faces of all runs of an arm, each scaled by its own temperature; a photograph
            that several runs tested is drawn with all its faces.
        bins: of both schemes.
        seed: of the resampling; equal photographs are drawn for all arms.
        resamples: draws of photographs, and of labels under perfect calibration.
        confidence: nominal coverage of `low` to `high`.

    Returns:
        `schemas.CALIBRATION`, or `schemas.CALIBRATION_POOLED`. Of the top label: `accuracy`,
        `confidence` (its mean probability), `overconfidence` (their difference, positive where the model
        is too sure), `ece` (equal-width bins), `ece_adaptive` (equal-mass), `mce`, `mce_adaptive`,
        `nll` (mean cross-entropy, nats), `brier` (sum over classes of squared differences, 0…2), its
        parts `brier_reliability`, `brier_resolution`, `brier_uncertainty` (over equal-mass bins of each
        class, summed; what they leave is the spread within bins), `ece_classwise` and
        `ece_classwise_adaptive` (mean over classes). Per class, against the rest: `ece`, `ece_adaptive`,
        `brier` (0…1, their sum is that of all classes) and its parts. `…_if_calibrated`: mean and range
        of the figure if every stated probability were true; below the range's upper end, no
        miscalibration is shown.

        Intervals: percentile for figures that are means over faces. Binned errors are too large by the
        noise in the bins, and larger still when photographs are drawn, so percentile intervals miss the
        truth near 0 (coverage 0 to 55 % at nominal 95 % in simulation). Theirs reach up by the further
        percentile, as symmetric intervals do, and down by at least what chance gives (92 % or more in the
        same simulation). Maxima and parts over bins have none.

    Raises:
        ValueError: senseless settings, columns missing, or a run without a row in `temperatures`.

    Source:
        ECE, MCE: Guo et al., ICML 2017, section 2. Adaptive and classwise: Nixon et al., CVPR Workshops
        2019 (ACE, SCE). Brier, Monthly Weather Review 78 (1950). Symmetric bootstrap intervals:
        Hall, The Bootstrap and Edgeworth Expansion, 1992, section 3.6.
    """
    check_resampling(resamples, confidence)
    rows: list[dict[str, Any]] = []
    for side in _sides(predictions, temperatures, classes, splits, pooled=pooled):
        common = {"confidence": confidence, "resamples": resamples, "bins": bins, "images": side.image_count}
        for row in _score_rows(side, classes, bins, seed, resamples, confidence):
            rows.append(side.key | common | row)
    schema = CALIBRATION_POOLED if pooled else CALIBRATION
    return pd.DataFrame(rows, columns=list(schema.columns))


def reliability_table(
    predictions: pd.DataFrame,
    temperatures: pd.DataFrame,
    classes: Sequence[str],
    *,
    splits: Sequence[str] = ("test",),
    pooled: bool = False,
    bins: int = BINS,
    least_faces: int = LEAST_FACES,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Points of the reliability diagrams of the top label and of each class against the rest.

    Args:
        predictions: `schemas.PREDICTIONS`.
        temperatures: `schemas.TEMPERATURES` of the same runs.
        classes: class order.
        splits: sides measured.
        pooled: as in `calibration_table`.
        bins: of both schemes; of equal mass at most.
        least_faces: that a bin of equal mass holds: there are fewer bins where there are too few faces of a run.
        seed: of the resampling.
        resamples: draws of photographs.
        confidence: share of draws between `low` and `high`.

    Returns:
        `schemas.RELIABILITY`, or `schemas.RELIABILITY_POOLED`. Bins are those of the sample; draws
        without a face in a bin are left out for it. Where all faces of a bin are right (or all wrong) every
        draw is alike; there the interval is the exact binomial one, each photograph counting once. Runs
        without a temperature have no scaled rows.

    Raises:
        ValueError: as for `calibration_table`.

    Source:
        DeGroot & Fienberg, The Statistician 32 (1983); Niculescu-Mizil & Caruana, ICML 2005. Exact
        interval: Clopper & Pearson, Biometrika 26 (1934).
    """
    check_resampling(resamples, confidence)
    rows: list[dict[str, Any]] = []
    for side in _sides(predictions, temperatures, classes, splits, pooled=pooled):
        if side.reason:
            continue
        drawn = photograph_draws(side.image_count, resamples, seed)
        faces = len(side.true) // int(side.key.get("runs", 1))  # pooled, a face counts once per run
        for class_name, stated, hits in _events(side, side.true[None], classes):
            for scheme in _SUFFIX:
                key = side.key | {"scheme": scheme, "class_name": class_name}
                count = bins if scheme == "equal_width" else max(1, min(bins, faces // least_faces))
                rows += [key | row for row in _bin_rows(side, stated, hits[0], drawn, count, scheme, confidence)]
    schema = RELIABILITY_POOLED if pooled else RELIABILITY
    return pd.DataFrame(rows, columns=list(schema.columns))


def _sides(
    predictions: pd.DataFrame,
    temperatures: pd.DataFrame,
    classes: Sequence[str],
    splits: Sequence[str],
    *,
    pooled: bool,
) -> Iterator[_Side]:
    """Every arm, seed (unless pooled) and split, raw and scaled."""
    runs = ["arm", "split"] if pooled else ["arm", "seed", "split"]
    fitted = {(row["arm"], row["seed"]): row for row in temperatures.to_dict("records")}
    for _, part in predictions[predictions["split"].isin(splits)].groupby(runs, sort=False):
        arm, split = str(part["arm"].iloc[0]), str(part["split"].iloc[0])
        seeds = [int(number) for number in part["seed"].unique()]
        absent = [number for number in seeds if (arm, number) not in fitted]
        if absent:
            raise ValueError(f"temperatures: no row for {arm}, seed {absent[0]}; make the table of the same runs")
        scored, logits = Scored.of(part, classes), logits_of(part, classes)
        values = {number: float(fitted[arm, number]["temperature"]) for number in seeds}
        unknown = [f"seed {n}: {fitted[arm, n]['reason']}" for n in seeds if np.isnan(values[n])]
        head = {"arm": arm, "runs": len(seeds)} if pooled else {"arm": arm, "seed": seeds[0]}
        scale = part["seed"].map(values).to_numpy(dtype=np.float64)[:, None]
        for name, reason in (("raw", ""), ("temperature", "; ".join(unknown))):
            used = logits if name == "raw" else logits / scale
            yield _Side(
                head | {"split": split, "calibrated": name}, np.asarray(softmax(used, axis=1)),
                cross_entropy(used, scored.true), scored.true, scored.images, scored.image_count, reason,
            )  # fmt: skip


def _events(side: _Side, labels: NDArray[np.int64], classes: Sequence[str]) -> Iterator[tuple[str, Floats, Floats]]:
    """What is stated and whether it came true, of the top label and of each class.

    Args:
        side: N faces.
        labels: (S, N), their labels, or draws of them.
        classes: class order.

    Returns:
        (class name or "", (N,) stated probability, (S, N) 1 where true).
    """
    top = side.probs.argmax(axis=1)
    yield "", side.probs.max(axis=1), (labels == top).astype(np.float64)
    for k, name in enumerate(classes):
        yield name, side.probs[:, k], (labels == k).astype(np.float64)


def _measure(side: _Side, classes: Sequence[str], weights: Floats, bins: int) -> Figures:
    """All figures under weights of faces (R, N): (R,) each, by metric and class."""
    total = weights.sum(axis=1)
    found: Figures = {}
    for name, stated, (hits,) in _events(side, side.true[None], classes):
        for scheme, suffix in _SUFFIX.items():
            sums = bin_sums(stated, hits, weights, bins, scheme)
            found[f"ece{suffix}", name] = calibration_error(sums)
            if not name:
                found[f"mce{suffix}", name] = largest_calibration_error(sums)
        if name:
            found["brier", name] = weights @ (stated - hits) ** 2 / total
            parts = brier_parts(sums)  # of the equal-mass bins
            for column, part in enumerate(("reliability", "resolution", "uncertainty")):
                found[f"brier_{part}", name] = parts[:, column]
        else:
            found["accuracy", ""] = weights @ hits / total
            found["confidence", ""] = weights @ stated / total
            found["overconfidence", ""] = found["confidence", ""] - found["accuracy", ""]
            with np.errstate(invalid="ignore"):  # 0 × ∞, where an impossible face is not drawn
                found["nll", ""] = weights @ side.loss / total
    for metric in ("brier", "brier_reliability", "brier_resolution", "brier_uncertainty"):
        found[metric, ""] = np.sum([found[metric, name] for name in classes], axis=0)
    for suffix in _SUFFIX.values():
        found[f"ece_classwise{suffix}", ""] = np.mean([found[f"ece{suffix}", name] for name in classes], axis=0)
    return found


def _by_chance(side: _Side, classes: Sequence[str], bins: int, seed: int, draws: int) -> Figures:
    """Binned errors if all stated probabilities were true: (S,) each, by metric and class."""
    rng = np.random.default_rng([seed, 1])
    step = max(1, _CHUNK // side.probs.size)
    parts: list[Figures] = []
    for start in range(0, draws, step):
        labels = drawn_labels(side.probs, min(step, draws - start), rng)
        found: Figures = {}
        for name, stated, hits in _events(side, labels, classes):
            for scheme, suffix in _SUFFIX.items():
                sums = sums_of_draws(stated, hits, bins, scheme)
                found[f"ece{suffix}", name] = calibration_error(sums)
                if not name:
                    found[f"mce{suffix}", name] = largest_calibration_error(sums)
        for suffix in _SUFFIX.values():
            found[f"ece_classwise{suffix}", ""] = np.mean([found[f"ece{suffix}", k] for k in classes], axis=0)
        parts.append(found)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _score_rows(
    side: _Side, classes: Sequence[str], bins: int, seed: int, resamples: int, confidence: float
) -> Iterator[dict[str, Any]]:
    """One row per figure, then one per figure of chance."""
    support = {"": len(side.true)} | {name: int((side.true == k).sum()) for k, name in enumerate(classes)}
    value = _measure(side, classes, np.ones((1, len(side.true))), bins)
    chance = {} if side.reason else _by_chance(side, classes, bins, seed, resamples)
    drawn: list[Figures] = []
    if not side.reason and side.image_count > 1:
        weights = photograph_draws(side.image_count, resamples, seed)
        step = max(1, _CHUNK // len(side.true))
        drawn = [
            _measure(side, classes, weights[start : start + step][:, side.images], bins)
            for start in range(0, resamples, step)
        ]

    def row(metric: str, name: str, value: float, low: float, high: float, reason: str) -> dict[str, Any]:
        if side.reason:
            value, low, high, reason = np.nan, np.nan, np.nan, side.reason
        limits = {"value": value, "low": low, "high": high, "reason": reason}
        return {"metric": metric, "class_name": name, "faces": support[name]} | limits

    for (metric, name), (number,) in value.items():
        draws = np.concatenate([part[metric, name] for part in drawn]) if drawn else np.empty(0)
        low, high, reason = _limits(metric, float(number), draws, chance.get((metric, name)), confidence)
        yield row(metric, name, float(number), low, high, reason)
    for (metric, name), draws in chance.items():
        low, high = interval(draws, confidence)
        yield row(f"{metric}_if_calibrated", name, float(draws.mean()), low, high, "")


def _limits(
    metric: str, value: float, draws: Floats, chance: Floats | None, confidence: float
) -> tuple[float, float, str]:
    """Interval of a figure, and why it has none."""
    if metric.startswith(("mce", "brier_")):
        return np.nan, np.nan, NO_COVER
    if not np.isfinite(value):
        return np.nan, np.nan, IMPOSSIBLE
    if not len(draws):
        return np.nan, np.nan, FEW_PHOTOGRAPHS
    low, high = interval(draws, confidence)
    if chance is None:
        return low, high, ""
    reach = max(value - low, high - value)
    by_chance = float(np.quantile(chance, (1 + confidence) / 2))
    return max(0.0, value - max(reach, by_chance)), min(1.0, value + reach), ""


def _bin_rows(
    side: _Side, stated: Floats, hits: Floats, drawn: Floats, bins: int, scheme: Scheme, confidence: float
) -> Iterator[dict[str, Any]]:
    """One row per bin; `drawn` (R, I) says how often each photograph was drawn."""
    place = width_bins(stated, bins) if scheme == "equal_width" else mass_bins(stated, bins)
    per_image = np.zeros((2, side.image_count, bins))
    for sums, values in zip(per_image, (np.ones_like(hits), hits), strict=True):
        np.add.at(sums, (side.images, place), values)
    mass, right = drawn @ per_image[0], drawn @ per_image[1]  # (R, B)
    for number in range(bins):
        here, known = place == number, mass[:, number] > 0
        faces, images = int(here.sum()), int((per_image[0][:, number] > 0).sum())
        observed = float(hits[here].mean()) if faces else np.nan
        low, high = np.nan, np.nan
        if images > 1 and observed in (0, 1):
            low, high = binomtest(int(observed) * images, images).proportion_ci(confidence, method="exact")
        elif images > 1:
            low, high = interval(right[known, number] / mass[known, number], confidence)
        if scheme == "equal_width":
            borders = (number / bins, (number + 1) / bins)
        else:
            borders = (float(stated[here].min()), float(stated[here].max())) if faces else (np.nan, np.nan)
        yield {
            "bin": number, "lower": borders[0], "upper": borders[1], "faces": faces, "images": images,
            "stated": min(1.0, float(stated[here].mean())) if faces else np.nan, "observed": observed,
            "low": float(low), "high": float(high),
            "reason": EMPTY_BIN if not faces else "" if images > 1 else FEW_PHOTOGRAPHS,
        }  # fmt: skip
