"""The columns that models of the error see: transformed, standardised, none determined by others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.comparison.face_errors import FaceErrors, Floats, Property, face_errors
from maskbench.schemas.factors import PROPERTY_CORRELATIONS

#: A property is left out when earlier ones determine this share of its variance (a variance inflation
#: factor of 20): its odds ratio would be about changes that hardly occur in the data.
MOST_DETERMINED = 0.95
#: A property undefined for a larger share of the faces is left out; smaller shares lose their faces.
MOST_UNDEFINED = 0.1
#: A standardised coefficient below this share of the largest names no culprit.
_NEGLIGIBLE = 0.05


@dataclass(frozen=True)
class LeftOut:
    """Why a property is not in the models.

    Attributes:
        reason: for people.
        determined_by: the properties that determine it; empty if it is constant or undefined.
    """

    reason: str
    determined_by: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Design:
    """What models see of one arm's faces.

    Attributes:
        data: the faces.
        used: (N,) faces with every kept property.
        kept: properties in the models.
        columns: (M, p) standardised columns (mean 0, standard deviation 1) of the used faces.
        means: (p,) of the transformed values.
        scales: (p,) standard deviations of the transformed values, divisor M.
        left_out: the other properties by name.
    """

    data: FaceErrors
    used: NDArray[np.bool_]
    kept: tuple[Property, ...]
    columns: Floats
    means: Floats
    scales: Floats
    left_out: dict[str, LeftOut]

    def vif(self) -> Floats:
        """Variance inflation factors (p,), ≥ 1; NaN with fewer faces than columns.

        Source:
            Belsley, Kuh & Welsch 1980, Regression Diagnostics, sec. 3.1: the diagonal of the inverse
            correlation matrix.
        """
        count, p = self.columns.shape
        if p == 0 or count <= p:
            return np.full(p, np.nan)
        correlation = self.columns.T @ self.columns / count
        return np.asarray(np.maximum(np.diag(np.linalg.inv(correlation)), 1.0))


def make_design(data: FaceErrors) -> Design:
    """Transform, standardise, and leave out what is constant, mostly undefined, or determined by the rest.

    Properties are taken in their order: of two that say the same, the earlier stays.

    Args:
        data: the faces of one arm.

    Returns:
        The design; possibly without columns, or without faces.
    """
    raw = {known.name: known.apply(data.table[known.name].to_numpy()) for known in data.properties}
    left_out: dict[str, LeftOut] = {}
    candidates: list[Property] = []
    for known in data.properties:
        undefined = ~np.isfinite(raw[known.name])
        if undefined.mean() > MOST_UNDEFINED:
            left_out[known.name] = LeftOut(f"undefined for {undefined.sum()} of {len(undefined)} faces")
        else:
            candidates.append(known)
    used = np.ones(len(data.error), dtype=bool)
    for known in candidates:
        used &= np.isfinite(raw[known.name])
    kept: list[Property] = []
    columns = np.empty((int(used.sum()), 0))
    for known in candidates:
        values = raw[known.name][used]
        if not len(values) or np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
            left_out[known.name] = LeftOut("the same for every face")
            continue
        column = (values - values.mean()) / values.std()
        if why := _determined(column, columns, kept):
            left_out[known.name] = why
            continue
        kept.append(known)
        columns = np.column_stack([columns, column])
    stacked = np.column_stack([raw[known.name][used] for known in kept]) if kept else np.empty((int(used.sum()), 0))
    return Design(data, used, tuple(kept), columns, stacked.mean(axis=0), stacked.std(axis=0), left_out)


def _determined(column: Floats, columns: Floats, kept: list[Property]) -> LeftOut | None:
    if not kept:
        return None
    coefficients = np.linalg.lstsq(columns, column, rcond=None)[0]
    share = 1 - float(((column - columns @ coefficients) ** 2).mean())
    if share <= MOST_DETERMINED:
        return None
    size = np.abs(coefficients)
    exact = share > 1 - 1e-9
    least = (1e-6 if exact else _NEGLIGIBLE) * size.max()
    names = tuple(known.name for known, one in zip(kept, size, strict=True) if one >= least)
    how = "exactly determined" if exact else f"determined (R² {share:.3f})"
    return LeftOut(f"{how} by {', '.join(names)}", names)


def property_correlations(joined: pd.DataFrame, properties: Sequence[str] | None = None) -> pd.DataFrame:
    """Pearson correlations of the transformed properties over all faces, each once.

    Args:
        joined: of `join_properties`.
        properties: see `face_errors`.

    Returns:
        `schemas.factors.PROPERTY_CORRELATIONS`: every ordered pair, with itself too; over the faces that
        have both. NaN with a reason where one of them is constant.
    """
    data = next(face_errors(joined.assign(arm="all"), properties))
    names = [known.name for known in data.properties]
    raw = np.column_stack([known.apply(data.table[known.name].to_numpy()) for known in data.properties])
    rows = []
    for first, a in enumerate(names):
        for second, b in enumerate(names):
            both = np.isfinite(raw[:, [first, second]]).all(axis=1)
            x, y = raw[both, first], raw[both, second]
            fixed = [name for name, one in ((a, x), (b, y)) if not len(one) or np.ptp(one) == 0]
            value = np.nan if fixed else float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
            reason = f"{', '.join(dict.fromkeys(fixed))}: the same for every face" if fixed else ""
            rows.append({"property_a": a, "property_b": b, "correlation": value, "faces": int(both.sum())}
                        | {"reason": reason})  # fmt: skip
    return pd.DataFrame(rows, columns=list(PROPERTY_CORRELATIONS.columns))
