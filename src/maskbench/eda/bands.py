"""Bands of box size and of crowd, and the classes' shares within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.eda.bootstrap import LEAST_PHOTOGRAPHS, Floats, Interval, Ints, Resamples
from maskbench.schemas import CLASS_BANDS, empty_table

#: A band at either end with fewer faces joins its neighbour: 30 independent faces leave a share
#: uncertain by up to ±17 points (Wilson, 95 %); fewer say nothing.
LEAST_BAND_FACES = 30
#: What faces are banded by, with units.
FACTORS = {"box_side": "px", "faces_in_image": "faces in the photograph"}


@dataclass(frozen=True)
class Bands:
    """Values divided into bands.

    Attributes:
        codes: (N,) band of each value.
        lower: (B,) lower limits, inclusive; 0 for an open lower end.
        upper: (B,) upper limits, exclusive; infinity for an open upper end.
        labels: (B,) for people.
    """

    codes: Ints
    lower: list[float]
    upper: list[float]
    labels: list[str]


def doubling_bands(
    values: Floats,
    photographs: Ints,
    *,
    whole: bool = False,
    least: int = LEAST_BAND_FACES,
    least_photographs: int = LEAST_PHOTOGRAPHS,
) -> Bands:
    """Bands whose limits are powers of two: the same for every dataset, and even on a log scale.

    Args:
        values: (N,) ≥ 0, N ≥ 1.
        photographs: (N,) number of each value's photograph.
        whole: values are whole numbers: labels name them ("2–3"), not limits ("2–4").
        least: bands at the ends with fewer values join their neighbour.
        least_photographs: likewise with fewer photographs, which allow no interval.

    Returns:
        At least one band. Values of 0 fall into the lowest.

    Example:
        >>> doubling_bands(np.array([1.0, 2, 3, 5]), np.arange(4), whole=True, least=1, least_photographs=1).labels
        ['1', '2–3', '4–7']
    """
    positive = values[values > 0]
    floor = positive.min() if len(positive) else 1.0
    powers = np.floor(np.log2(np.maximum(values, floor))).astype(np.int64)
    first, last = int(powers.min()), int(powers.max())

    def enough(chosen: NDArray[np.bool_]) -> bool:
        return int(chosen.sum()) >= least and len(np.unique(photographs[chosen])) >= least_photographs

    low, high = first, last
    while low < high and not enough(powers <= low):
        low += 1
    while high > low and not enough(powers >= high):
        high -= 1
    codes = np.clip(powers, low, high) - low
    lower = [float(2.0**power) for power in range(low, high + 1)]
    upper = [2 * value for value in lower]
    open_low, open_high = low > first, high < last
    labels = [_label(a, b, whole) for a, b in zip(lower, upper, strict=True)]
    if open_low:
        lower[0], labels[0] = 0.0, f"< {upper[0]:g}"
    if open_high:
        upper[-1], labels[-1] = np.inf, f"≥ {lower[-1]:g}"
    if len(labels) == 1:
        labels = ["all"]
    return Bands(codes, lower, upper, labels)


def _label(low: float, high: float, whole: bool) -> str:
    if not whole:
        return f"{low:g}–{high:g}"
    return f"{low:g}" if high - low <= 1 else f"{low:g}–{high - 1:g}"


def class_bands(boxes: pd.DataFrame, classes: Sequence[str], resamples: Resamples) -> pd.DataFrame:
    """Class shares within bands of box size and of faces in the photograph.

    Args:
        boxes: `schemas.BOXES`.
        classes: in class order.
        resamples: of all photographs.

    Returns:
        `schemas.CLASS_BANDS`; shares sum to 1 within a band; intervals draw whole photographs.
    """
    if boxes.empty:
        return empty_table(CLASS_BANDS)
    rows: list[dict[str, Any]] = []
    for factor, unit in FACTORS.items():
        bands = factor_bands(boxes, factor, resamples)
        tables, holding = tables_per_photograph(boxes, bands, classes, resamples)
        observed = tables.sum(axis=0)  # (K, B)
        drawn = resamples.totals(tables)  # (R, K, B)
        drawn_sums = drawn.sum(axis=1, keepdims=True)
        drawn_shares = np.divide(drawn, drawn_sums, out=np.full(drawn.shape, np.nan), where=drawn_sums > 0)
        for band, label in enumerate(bands.labels):
            size = int(observed[:, band].sum())
            for code, name in enumerate(classes):
                interval = resamples.interval(drawn_shares[:, code, band], int(holding[band]))
                if size and observed[code, band] in (0, size):
                    interval = Interval(np.nan, np.nan, "none or all faces of the band: nothing varies")
                rows.append(
                    {
                        "factor": factor,
                        "unit": unit,
                        "band_index": band,
                        "band": label,
                        "lower": bands.lower[band],
                        "upper": bands.upper[band],
                        "class_name": name,
                        "faces": int(observed[code, band]),
                        "band_faces": size,
                        "band_photographs": int(holding[band]),
                        "share": observed[code, band] / size if size else np.nan,
                        "low": interval.low,
                        "high": interval.high,
                        "confidence": resamples.confidence,
                        "resamples": resamples.count,
                        "reason": interval.reason if size else "no face in this band",
                    }
                )
    return pd.DataFrame(rows)


def factor_bands(boxes: pd.DataFrame, factor: str, resamples: Resamples) -> Bands:
    """The bands of one of `FACTORS`."""
    values, photographs = boxes[factor].to_numpy(dtype=float), resamples.positions(boxes["image_id"])
    return doubling_bands(values, photographs, whole=factor == "faces_in_image")


def tables_per_photograph(
    boxes: pd.DataFrame, bands: Bands, classes: Sequence[str], resamples: Resamples
) -> tuple[Ints, Ints]:
    """Class × band counts of each photograph, (P, K, B), and photographs with a face in each band, (B,)."""
    codes = pd.Index(classes).get_indexer(pd.Index(boxes["class_name"]))
    shape = (len(resamples.image_ids), len(classes), len(bands.labels))
    cells = np.ravel_multi_index((resamples.positions(boxes["image_id"]), codes, bands.codes), shape)
    tables = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64)
    return tables, (tables.sum(axis=1) > 0).sum(axis=0)
