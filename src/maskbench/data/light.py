"""Light, colour and sharpness of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def laplacian_variance(luma: NDArray[np.uint8]) -> float:
    """Variance of the 4-neighbour Laplacian; edges are repeated, so any size has one.

    Args:
        luma: (H, W) uint8.

    Returns:
        ≥ 0, in squared grey levels.

    Source:
        Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", sec. 2 (LAPV).
    """
    height, width = luma.shape
    padded = np.empty((height + 2, width), dtype=np.int16)  # |Laplacian| ≤ 1020 fits
    padded[1:-1], padded[0], padded[-1] = luma, luma[0], luma[-1]
    middle = padded[1:-1]
    laplacian = padded[:-2] + padded[2:]
    laplacian -= middle << 2
    # Along a row the neighbours are the neighbours in memory; at the ends of rows they are put right.
    laplacian[:, 1:] += middle[:, :-1]
    laplacian[:, :-1] += middle[:, 1:]
    laplacian[:, 0] += middle[:, 0]
    laplacian[:, -1] += middle[:, -1]
    # Every difference enters once with each sign, so the mean is exactly 0 and the variance is the mean square.
    values = laplacian.ravel().astype(np.float64)
    # einsum and not a BLAS product: that would start threads inside each of the audit's threads.
    return float(np.einsum("i,i->", values, values)) / values.size


def saturation_mean(rgb: Image.Image) -> float:
    """Mean saturation of HSV: 255 · (max - min) / max of the three channels, 0 for black.

    Args:
        rgb: mode `RGB`.

    Returns:
        0…255. (Pillow's own HSV rounds each pixel down first, which is up to 1 less and takes longer.)
    """
    red, green, blue = (np.asarray(channel) for channel in rgb.split())
    most, least = np.maximum(red, green), np.minimum(red, green)
    np.maximum(most, blue, out=most)
    np.minimum(least, blue, out=least)
    chroma = (most - least).ravel().astype(np.float32)
    most += most == 0  # black: 0 of 1
    scale = most.ravel().astype(np.float32)
    chroma *= np.reciprocal(scale, out=scale)
    return 255.0 * float(chroma.mean())  # float32 sums pairwise: 7 digits
