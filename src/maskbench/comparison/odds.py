"""Regression of the error on the properties, with standard errors that know photographs.

Each face counts once, with the share of the runs that misclassified it (a fractional logit). All
properties go into one model ("together") and each into one of its own ("alone"): the former says what a
property adds beside the others, the latter can be read when errors are too few for so many properties.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.optimize import linprog
from scipy.stats import t as student
from statsmodels.tools.sm_exceptions import ConvergenceWarning, IterationLimitWarning, PerfectSeparationError

from maskbench.comparison import stated
from maskbench.comparison.design import Design, make_design
from maskbench.comparison.face_errors import Floats, Ints, face_errors
from maskbench.eda.associations import holm
from maskbench.schemas.factors import ODDS

#: Fewer wrong (or right) faces per property than this, and no joint model is fitted: below 2 intervals
#: miss the truth and coefficients are far off (Vittinghoff & McCulloch 2007, American Journal of
#: Epidemiology 165:710-718, fig. 1-3).
LEAST_EVENTS_PER_PROPERTY = 2.0
#: The rule of thumb (Peduzzi et al. 1996, Journal of Clinical Epidemiology 49:1373-1379).
WANTED_EVENTS_PER_PROPERTY = 10.0
#: Fewer wrong (or right) faces, or photographs, and no model at all.
LEAST_EVENTS = 5
LEAST_PHOTOGRAPHS = 10
GEE = "GEE, exchangeable within a photograph, bias-reduced errors"
CLUSTERED = "logistic regression, errors clustered by photograph (the GEE did not converge)"


@dataclass(frozen=True)
class Fit:
    """Coefficients per standard deviation.

    Attributes:
        log_odds: (p,).
        standard_errors: (p,).
        freedom: degrees of freedom of Student's t: photographs less coefficients.
        method: `GEE` or `CLUSTERED`.
    """

    log_odds: Floats
    standard_errors: Floats
    freedom: int
    method: str


class NotFittedError(ValueError):
    """A model that has no estimate; the message says why."""


def odds_table(
    joined: pd.DataFrame, properties: Sequence[str] | None = None, *, confidence: float = 0.95
) -> pd.DataFrame:
    """Odds ratios of an error per standard deviation of each property, for each arm.

    Args:
        joined: of `join_properties`.
        properties: see `face_errors`; the order decides which of two collinear ones stays.
        confidence: of the intervals, in (0, 1).

    Returns:
        `schemas.factors.ODDS`, two rows ("together", "alone") per property. Holm's correction runs over
        the properties of one arm and model. `events_per_property` counts faces that at least one run got
        wrong (or right, if fewer). Undefined is NaN with a reason: constant, determined by others (then
        "together" only), too few errors, wrong and right faces separated by the property.

    Raises:
        ValueError: `confidence` outside (0, 1).

    Source:
        Liang & Zeger 1986, Biometrika 73:13-22 (GEE); Mancl & DeRouen 2001, Biometrics 57:126-134, eq. 4
        (bias-reduced errors for few clusters); Papke & Wooldridge 1996, Journal of Applied Econometrics
        11:619-632 (fractional response); Holm 1979.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
    rows: list[dict[str, Any]] = []
    for data in face_errors(joined, properties):
        design, labels = make_design(data), {known.name: known.label for known in data.properties}
        for model, part in (("together", _together(design, confidence)), ("alone", _alone(design, confidence))):
            corrected = holm(np.array([row["p_value"] for row in part], dtype=float))
            rows += [
                {"arm": data.arm, "model": model, **row, "p_value_holm": float(p), "confidence": confidence}
                | stated.odds(labels[row["property"]], model == "together")
                for row, p in zip(part, corrected, strict=True)
            ]
    return pd.DataFrame(rows, columns=list(ODDS.columns))


def _together(design: Design, confidence: float) -> list[dict[str, Any]]:
    """One row per property from the joint model."""
    error, groups = design.data.error[design.used], design.data.photographs[design.used]
    excluded = {name: why.reason for name, why in design.left_out.items()}
    chosen = []
    for index, known in enumerate(design.kept):
        if separated(design.columns[:, [index]], error):
            excluded[known.name] = "separates wrong from right faces: its odds ratio has no bound"
        else:
            chosen.append(index)
    part = _part(design, chosen)
    per_property = _events(error) / max(1, len(chosen))
    note, fit, reason = "", None, ""
    if per_property < LEAST_EVENTS_PER_PROPERTY:
        reason = (
            f"{_events(error)} wrong or right faces for {len(chosen)} properties: {per_property:.1f} each, fewer "
            f"than {LEAST_EVENTS_PER_PROPERTY:g}; read the properties alone"
        )
    else:
        if per_property < WANTED_EVENTS_PER_PROPERTY:
            note = (
                f"{per_property:.1f} wrong faces per property, fewer than the {WANTED_EVENTS_PER_PROPERTY:g} wanted: "
                "coefficients lean outwards"
            )
        try:
            fit = fit_odds(part.columns, error, groups)
        except NotFittedError as problem:
            reason = str(problem)
    vif = part.vif()
    rows = []
    for known in design.data.properties:
        row = _row(design, known.name, known.transform, error, groups) | {"events_per_property": per_property}
        if known.name in excluded:
            why = design.left_out.get(known.name)
            rows.append(
                row | {"reason": excluded[known.name], "determined_by": ", ".join(why.determined_by if why else ())}
            )
            continue
        place = [one.name for one in part.kept].index(known.name)
        row |= {"vif": float(vif[place]), "note": note, "reason": reason}
        rows.append(row | (_estimate(fit, place, confidence) if fit else {}))
    return rows


def _alone(design: Design, confidence: float) -> list[dict[str, Any]]:
    """One row per property from models of one property, also of those that the joint model leaves out."""
    rows = []
    for known in design.data.properties:
        values = known.apply(design.data.table[known.name].to_numpy())
        used = np.isfinite(values)
        error, groups = design.data.error[used], design.data.photographs[used]
        spread = values[used].std() if used.any() else 0.0
        row = _row(design, known.name, known.transform, error, groups)
        row |= {"events_per_property": float(_events(error))}
        if not used.any() or np.ptp(values[used]) <= 1e-12 * max(1.0, float(np.abs(values[used]).max())):
            reason = "the same for every face" if used.any() else "undefined for every face"
            rows.append(row | {"reason": reason})
            continue
        column = ((values[used] - values[used].mean()) / spread)[:, None]
        try:
            rows.append(row | _estimate(fit_odds(column, error, groups), 0, confidence))
        except NotFittedError as problem:
            rows.append(row | {"reason": str(problem)})
    return rows


def _part(design: Design, chosen: list[int]) -> Design:
    """The design with some of its columns."""
    return Design(
        design.data, design.used, tuple(design.kept[index] for index in chosen), design.columns[:, chosen],
        design.means[chosen], design.scales[chosen], design.left_out,
    )  # fmt: skip


def _row(design: Design, name: str, transform: str, error: Floats, groups: Ints) -> dict[str, Any]:
    empty = ("log_odds", "standard_error", "odds_ratio", "low", "high", "p_value", "vif")
    return {
        "property": name,
        "transform": transform,
        "faces": len(error),
        "photographs": len(np.unique(groups)),
        "errors": float(error.sum()),
        **dict.fromkeys(empty, np.nan),
        "method": "",
        "determined_by": "",
        "note": "",
        "reason": "",
    }


def _estimate(fit: Fit, place: int, confidence: float) -> dict[str, Any]:
    log_odds, error = float(fit.log_odds[place]), float(fit.standard_errors[place])
    half = float(student.ppf((1 + confidence) / 2, fit.freedom)) * error
    return {
        "log_odds": log_odds,
        "standard_error": error,
        "odds_ratio": float(np.exp(log_odds)),
        "low": float(np.exp(log_odds - half)),
        "high": float(np.exp(log_odds + half)),
        "p_value": float(2 * student.sf(abs(log_odds) / error, fit.freedom)),
        "method": fit.method,
    }


def _events(error: Floats) -> int:
    """Faces that are wrong in some run, or right in some run, whichever are fewer."""
    return min(int((error > 0).sum()), int((error < 1).sum()))


def fit_odds(columns: Floats, error: Floats, groups: Ints) -> Fit:
    """Logistic regression of the error by GEE, or with cluster-robust errors if that does not converge.

    Args:
        columns: (N, p) standardised.
        error: (N,) in [0, 1].
        groups: (N,) a number per photograph.

    Returns:
        Estimates without the intercept.

    Raises:
        NotFittedError: too few errors or photographs, no columns, separated classes, or neither converges.
    """
    clusters, freedom = len(np.unique(groups)), len(np.unique(groups)) - columns.shape[1] - 1
    if columns.shape[1] == 0:
        raise NotFittedError("no property is left to fit")
    if _events(error) < LEAST_EVENTS:
        raise NotFittedError(f"{_events(error)} wrong or right faces: fewer than {LEAST_EVENTS}")
    if clusters < LEAST_PHOTOGRAPHS or freedom < 1:
        few = f"{columns.shape[1]} propert{'y' if columns.shape[1] == 1 else 'ies'}"
        raise NotFittedError(f"{clusters} photographs for {few}: too few")
    if separated(columns, error):
        raise NotFittedError("separates wrong from right faces: odds ratios have no bound")
    order = np.argsort(groups, kind="stable")  # GEE takes groups as it meets them
    design = sm.add_constant(columns[order], has_constant="add")
    gee = sm.GEE(
        error[order], design, groups=groups[order], family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Exchangeable(),
    )  # fmt: skip
    found = _attempt(lambda: gee.fit(cov_type="bias_reduced", maxiter=60))
    method = GEE
    if found is None:
        logit = sm.GLM(error[order], design, family=sm.families.Binomial())
        found = _attempt(lambda: logit.fit(cov_type="cluster", cov_kwds={"groups": groups[order]}))
        method = CLUSTERED
    if found is None:
        raise NotFittedError("neither the GEE nor a logistic regression converges")
    return Fit(found[0][1:], found[1][1:], freedom, method)


def _attempt(fit: Any) -> tuple[Floats, Floats] | None:
    """Coefficients and standard errors, or None if the fit does not converge to finite ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.simplefilter("error", IterationLimitWarning)
        try:
            result = fit()
        except (ConvergenceWarning, IterationLimitWarning, PerfectSeparationError, np.linalg.LinAlgError):
            return None
    coefficients, errors = np.asarray(result.params), np.asarray(result.bse)
    usable = np.isfinite(coefficients).all() and np.isfinite(errors).all() and (errors > 0).all()
    return (coefficients, errors) if usable and getattr(result, "converged", True) else None


def separated(columns: Floats, error: Floats) -> bool:
    """Whether some weighting of the columns puts all wrong faces on one side and all right ones on the other.

    Then the likelihood grows without end in that direction (quasi-separation: ties on the line allowed).

    Args:
        columns: (N, p).
        error: (N,) in [0, 1]; a face with 0 < error < 1 stands on both sides.

    Source:
        Albert & Anderson 1984, Biometrika 71:1-10; the linear programme: Konis 2007, "Linear programming
        algorithms for detecting separated data in binary logistic regression models", ch. 4.

    Example:
        >>> x = np.array([[1.0], [2], [3], [4]])
        >>> separated(x, np.array([0.0, 0, 1, 1])), separated(x, np.array([0.0, 1, 0, 1]))
        (True, False)
    """
    design = np.column_stack([np.ones(len(error)), columns])
    sides = np.concatenate([design[error > 0], -design[error < 1]])
    # maximise Σ z·b with every z·b ≥ 0 and |b| ≤ 1: above 0 only if b separates
    found = linprog(-sides.sum(axis=0), A_ub=-sides, b_ub=np.zeros(len(sides)), bounds=(-1, 1), method="highs")
    return bool(found.status == 0 and -found.fun > 1e-6 * max(1.0, float(np.abs(sides).sum())))
