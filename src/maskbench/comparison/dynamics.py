"""What training looks like from within: batch losses, their autocorrelation, and gradient flow by depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.tsa.stattools import acf

from maskbench.schemas.convergence import (
    GRADIENT_FLOW,
    GRADIENT_RATIO,
    LOSS_AUTOCORRELATION,
    LOSS_STATISTICS,
)

Floats = NDArray[np.float64]

#: A line is taken out of every epoch: shorter ones leave nothing to correlate.
_FEWEST_STEPS = 4


def loss_statistics_table(steps: pd.DataFrame) -> pd.DataFrame:
    """Mean, variance and moving average of the batch losses of every epoch.

    Args:
        steps: `schemas.STEPS`.

    Returns:
        `schemas.LOSS_STATISTICS`.
    """
    rows = []
    for (arm, seed, epoch), rows_of_epoch in steps.groupby(["arm", "seed", "epoch"], sort=False):
        part = rows_of_epoch.sort_values("step")
        losses = part["loss"]
        row: dict[str, Any] = {"arm": arm, "seed": seed, "epoch": epoch, "steps": len(part)}
        row |= {"mean": losses.mean(), "variance": losses.var(ddof=1), "sd": losses.std(ddof=1)}
        row |= {"moving_average": part["loss_moving_average"].iloc[-1]}
        rows.append(row | {"reason": "" if len(part) > 1 else "one step has no variance"})
    return pd.DataFrame(rows, columns=list(LOSS_STATISTICS.columns))


def loss_autocorrelation_table(steps: pd.DataFrame, *, lags: int = 20) -> pd.DataFrame:
    """How batch losses resemble those of the steps before, once the course of training is taken out.

    The loss falls over training, which would make any two near steps alike. `within_epoch` takes out each
    epoch's straight line and scales the residuals by the epoch's standard deviation, so that early
    epochs do not outweigh the rest; over epochs of n steps that lowers every value by about 2/n.
    `first_difference` looks at changes instead.

    Args:
        steps: `schemas.STEPS`.
        lags: largest lag, in steps, at least 1.

    Returns:
        `schemas.LOSS_AUTOCORRELATION`, lags 0…`lags`; NaN where a run has too few steps or no spread.

    Raises:
        ValueError: `lags` below 1.

    Source:
        Box, Jenkins & Reinsel, Time Series Analysis, chapter 2 (estimate; band after Bartlett 1946).
    """
    if lags < 1:
        raise ValueError(f"lags: at least 1, not {lags}")
    rows = []
    for (arm, seed), run in steps.groupby(["arm", "seed"], sort=False):
        part = run.sort_values("step")
        series = {
            "within_epoch": _within_epoch(part),
            "first_difference": np.diff(part["loss"].to_numpy(dtype=np.float64)),
        }
        for method, values in series.items():
            found, reason = _autocorrelation(values, lags)
            band = float(norm.ppf(0.975) / np.sqrt(len(values))) if not reason else np.nan
            key = {"arm": arm, "seed": seed, "method": method, "band": band, "steps": len(values), "reason": reason}
            rows += [key | {"lag": lag, "value": float(value)} for lag, value in enumerate(found)]
    return pd.DataFrame(rows, columns=list(LOSS_AUTOCORRELATION.columns))


def gradient_flow_table(gradients: pd.DataFrame) -> pd.DataFrame:
    """Gradient norms by depth group and epoch.

    The norm of a group is that of all its tensors together, √Σ‖gradient‖²; groups of more parameters
    have larger ones, so compare a group with itself over time or between arms, or read `relative_norm`.

    Args:
        gradients: `schemas.GRADIENTS`, may be empty.

    Returns:
        `schemas.GRADIENT_FLOW`.
    """
    steps = _group_steps(gradients)
    if steps.empty:
        return pd.DataFrame(columns=list(GRADIENT_FLOW.columns))
    keys = ["arm", "seed", "epoch", "position", "group"]
    found = steps.groupby(keys, sort=False).agg(
        tensors=("tensors", "max"),
        steps=("step", "nunique"),
        gradient_norm=("gradient_norm", "median"),
        relative_norm=("relative_norm", "median"),
        update_ratio=("update_ratio", "median"),
    )
    return found.reset_index()[list(GRADIENT_FLOW.columns)]


def gradient_ratio_table(gradients: pd.DataFrame) -> pd.DataFrame:
    """Norm of the gradient nearest the input over that of the head, by epoch.

    A ratio that falls far below that of a healthy run is a gradient that vanishes on its way to the
    input.

    Args:
        gradients: `schemas.GRADIENTS`, may be empty.

    Returns:
        `schemas.GRADIENT_RATIO`; NaN for epochs in which one group alone learned.

    Source:
        Glorot & Bengio, AISTATS 2010, section 4.2.
    """
    steps = _group_steps(gradients)
    if steps.empty:
        return pd.DataFrame(columns=list(GRADIENT_RATIO.columns))
    # What learns changes between epochs only, so the ends of a step are those of its epoch.
    each = steps.sort_values("position", kind="stable").groupby(["arm", "seed", "epoch", "step"], sort=False)
    first, last = each.first(), each.last()
    one_group = first["group"] == last["group"]
    found = pd.DataFrame({"shallow": first["group"], "deep": last["group"]})
    for name, column in (("ratio", "gradient_norm"), ("relative_ratio", "relative_norm")):
        found[name] = (first[column] / last[column].where(last[column] > 0)).mask(one_group)
    ends = {"shallow": ("shallow", "first"), "deep": ("deep", "first")}
    medians = {"ratio": ("ratio", "median"), "relative_ratio": ("relative_ratio", "median")}
    table = found.groupby(["arm", "seed", "epoch"], sort=False).agg(**ends, **medians).reset_index()
    alone = table["shallow"] == table["deep"]
    silent = table["ratio"].isna() & ~alone
    table["reason"] = np.select([alone, silent], ["one depth group only", "the head has no gradient"], "")
    order = {key: place for place, key in enumerate(dict.fromkeys(zip(steps["arm"], steps["seed"], strict=True)))}
    places = [order[key] for key in zip(table["arm"], table["seed"], strict=True)]
    return (
        table.assign(place=places).sort_values(["place", "epoch"])[list(GRADIENT_RATIO.columns)].reset_index(drop=True)
    )


def _within_epoch(part: pd.DataFrame) -> Floats:
    """Losses of one run minus each epoch's line, over each epoch's standard deviation; short epochs left out."""
    if not np.isfinite(part["loss"]).all():
        return np.full(len(part), np.nan)
    parts = [np.empty(0)]
    for _, epoch in part.groupby("epoch", sort=True):
        losses = epoch["loss"].to_numpy(dtype=np.float64)
        if len(losses) < _FEWEST_STEPS:
            continue
        place = np.arange(len(losses))
        residuals = losses - np.polyval(np.polyfit(place, losses, 1), place)
        spread = residuals.std()
        if spread > 1e-12 * max(1.0, float(np.abs(losses).max())):
            parts.append(residuals / spread)
    return np.concatenate(parts)


def _autocorrelation(values: Floats, lags: int) -> tuple[Floats, str]:
    """Autocorrelation at lags 0…`lags`, with the reason where undefined."""
    nothing = np.full(lags + 1, np.nan)
    if not np.isfinite(values).all():
        return nothing, "a loss is not finite"
    if len(values) < lags + 2:
        return nothing, f"{len(values)} usable steps are too few for {lags} lags"
    if np.ptp(values) == 0:
        return nothing, "the loss does not vary"
    return np.asarray(acf(values, nlags=lags, fft=True)), ""


def _group_steps(gradients: pd.DataFrame) -> pd.DataFrame:
    """Norms of each depth group at each recorded step, with its position from the input."""
    if gradients.empty:
        return pd.DataFrame(columns=["arm", "seed", "epoch", "step", "position", "group", "tensors"])
    first = gradients.groupby("group")["depth"].min().sort_values()
    position = {group: place for place, group in enumerate(first.index)}
    squares = gradients.assign(
        position=gradients["group"].map(position),
        gradient=gradients["gradient_norm"] ** 2,
        weight=gradients["weight_norm"] ** 2,
        # Tensors that start at 0 (shifts of batch norms) have no ratio; they add next to nothing.
        change=(gradients["update_ratio"] * gradients["weight_norm"]) ** 2,
    )
    keys = ["arm", "seed", "epoch", "step", "position", "group"]
    sums = squares.groupby(keys, sort=False).agg(
        tensors=("layer", "nunique"), gradient=("gradient", "sum"), weight=("weight", "sum"), change=("change", "sum")
    )
    weight = sums["weight"].where(sums["weight"] > 0)
    return sums.assign(
        gradient_norm=np.sqrt(sums["gradient"]),
        relative_norm=np.sqrt(sums["gradient"] / weight),
        update_ratio=np.sqrt(sums["change"] / weight),
    ).reset_index()
