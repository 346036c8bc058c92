"""What can be said of maps in numbers: where they lie, how spread they are, whether they agree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Masks = NDArray[np.bool_]
#: Columns of `map_features`.
MAP_FEATURES = ("energy_lower", "energy_box", "dispersion", "map_entropy", "peak_x", "peak_y", "method_agreement")


def map_features(maps: Mapping[str, Floats], lower: Masks, box: Masks) -> pd.DataFrame:
    """Properties of each face's map.

    Args:
        maps: per method (M, S, S) ≥ 0; the first method's are described, the others' compared with them.
        lower: (M, S, S), the lower half of the face.
        box: (M, S, S), the face.

    Returns:
        M rows, columns `MAP_FEATURES`: `energy_lower`, `energy_box`: share of the map's sum inside the region;
        `dispersion`: root mean square distance from the map's centre of mass, in sides of the view; `map_entropy`:
        of the map as a distribution over pixels, as a share of the largest; `peak_x`, `peak_y`: place of its largest
        value, 0 to 1; `method_agreement`: mean Pearson correlation with the other methods' maps. NaN where a map is
        zero everywhere.
    """
    first = np.asarray(next(iter(maps.values())), dtype=float)
    others = [np.asarray(part, dtype=float) for part in list(maps.values())[1:]]
    agreement = np.full(len(first), np.nan)
    if others:
        found = np.stack([correlation(first, other) for other in others])
        known = np.isfinite(found)
        agreement[known.any(axis=0)] = (
            np.where(known, found, 0).sum(axis=0)[known.any(axis=0)] / known.sum(axis=0)[known.any(axis=0)]
        )
    spread = _moments(first)[2]
    peak_x, peak_y = peaks(first)
    columns = {
        "energy_lower": energy_share(first, lower),
        "energy_box": energy_share(first, box),
        "dispersion": spread,
        "map_entropy": _entropy(first),
        "peak_x": peak_x,
        "peak_y": peak_y,
        "method_agreement": agreement,
    }
    return pd.DataFrame(columns, columns=list(MAP_FEATURES))


def energy_share(maps: Floats, regions: Masks) -> NDArray[np.float64]:
    """(M,) share of each map's sum inside its region; NaN for a map of zeros or an empty region.

    Source:
        Wang et al., Score-CAM, CVPRW 2020, section 4.3 (energy-based pointing game).
    """
    total = maps.sum(axis=(1, 2), dtype=float)
    inside = np.where(regions, maps, 0).sum(axis=(1, 2), dtype=float)
    defined = (total > 0) & regions.any(axis=(1, 2))
    return np.asarray(np.minimum(np.divide(inside, total, out=np.full(len(maps), np.nan), where=defined), 1.0))


def peaks(maps: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(M,) each: the place of the largest value, in sides of the view; of a plateau its middle."""
    side = maps.shape[-1]
    highest = maps.max(axis=(1, 2), keepdims=True)
    x, y, _ = _moments((maps == highest) * (highest > 0))
    return x / side, y / side


def correlation(one: Floats, other: Floats) -> NDArray[np.float64]:
    """(M,) Pearson correlation over pixels of each pair of maps; NaN where one of them is constant."""
    a, b = (np.asarray(part, dtype=float).reshape(len(part), -1) for part in (one, other))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray(np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > 1e-12))


def _moments(maps: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centre of mass x and y, px, and root mean square distance from it in sides; NaN for a map of zeros."""
    total = maps.sum(axis=(1, 2), dtype=float)
    weights = np.divide(maps, total[:, None, None], out=np.full(maps.shape, np.nan), where=(total > 0)[:, None, None])
    centres = np.arange(maps.shape[-1]) + 0.5
    across, down = weights.sum(axis=1), weights.sum(axis=2)  # (M, S) each
    x, y = across @ centres, down @ centres
    variance = across @ centres**2 - x**2 + down @ centres**2 - y**2
    return x, y, np.sqrt(np.maximum(variance, 0)) / maps.shape[-1]


def _entropy(maps: Floats) -> NDArray[np.float64]:
    flat = maps.reshape(len(maps), -1).astype(float)
    total = flat.sum(axis=1, keepdims=True)
    share = np.divide(flat, total, out=np.zeros_like(flat), where=total > 0)
    bits = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0).sum(axis=1)
    return np.where(total[:, 0] > 0, np.clip(bits / np.log(flat.shape[1]), 0, 1), np.nan)
