"""Light, colour and sharpness of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Squares of up to 1024² summed in 32 bits: 2047 would be the most.
_SQUARES = 1024
#: Pixels worked on at once. Arrays that are small are made from memory that was just used. Of large ones the system
#: takes the memory back when they are dropped and gives it anew page by page, which takes longer than the work.
_BLOCK = 1 << 15


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
    # Along a row the neighbours are the neighbours in memory; at the ends of rows that is put right.
    flat, centres = laplacian.ravel(), middle.ravel()
    flat[1:] += centres[:-1]
    flat[:-1] += centres[1:]
    laplacian[1:, 0] += middle[1:, 0] - middle[:-1, -1]
    laplacian[:-1, -1] += middle[:-1, -1] - middle[1:, 0]
    flat[0] += centres[0]
    flat[-1] += centres[-1]
    centres <<= 2  # in place, as all of this: see `_BLOCK`
    flat -= centres
    # Every difference enters once with each sign, so the mean is exactly 0 and the variance is the mean square.
    return _sum_of_squares(flat) / flat.size


def _sum_of_squares(values: NDArray[np.int16]) -> int:
    """Exact for (N,) values of at most 1024: so many squares fit into 32 bits."""
    whole = values.size // _SQUARES * _SQUARES
    rows, rest = values[:whole].reshape(-1, _SQUARES), values[whole:]
    # einsum and not a BLAS product: that would start threads inside each of the audit's threads.
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.int32)
    return int(squares.sum(dtype=np.int64)) + int(np.einsum("i,i->", rest, rest, dtype=np.int32))


def saturation_mean(pixels: NDArray[np.uint8]) -> float:
    """Mean saturation of HSV: 255 · (max - min) / max of the three channels, 0 for black.

    Args:
        pixels: (H, W, 3) uint8, RGB.

    Returns:
        0…255, to about 7 digits: quotients in float32, summed pairwise. (Pillow's own HSV rounds each pixel down
        first, which is up to 1 less and takes longer.)
    """
    flat, total = pixels.ravel(), 0.0
    for start in range(0, flat.size, 3 * _BLOCK):
        part = flat[start : start + 3 * _BLOCK]
        # Extremes of any three values that follow each other, without taking channels apart; each third is a pixel's.
        most, least = np.maximum(part[:-2], part[1:-1]), np.minimum(part[:-2], part[1:-1])
        np.maximum(most, part[2:], out=most)
        np.minimum(least, part[2:], out=least)
        highest, lowest = most[::3].copy(), least[::3].copy()
        chroma = highest - lowest
        highest += highest == 0  # black: 0 of 1
        total += float(np.divide(chroma, highest, dtype=np.float32).sum())
    return 255.0 * total / (flat.size // 3)
