"""Light, colour and sharpness of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

#: 1 / n for n = 0…255, with 1 / 0 = 0: black has no saturation.
_RECIPROCALS = np.concatenate([[0.0], 1.0 / np.arange(1, 256)]).astype(np.float32)


def laplacian_variance(luma: NDArray[np.uint8]) -> float:
    """Variance of the 4-neighbour Laplacian; edges are repeated, so any size has one.

    Args:
        luma: (H, W) uint8.

    Returns:
        ≥ 0, in squared grey levels.

    Source:
        Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", sec. 2 (LAPV).
    """
    signed = luma.astype(np.int16)  # |Laplacian| ≤ 1020 fits
    laplacian = np.zeros_like(signed)
    across = signed[:, 1:] - signed[:, :-1]
    laplacian[:, :-1] += across
    laplacian[:, 1:] -= across
    down = signed[1:] - signed[:-1]
    laplacian[:-1] += down
    laplacian[1:] -= down
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
    red, green, blue = rgb.split()
    most = np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue))
    least = np.asarray(ImageChops.darker(ImageChops.darker(red, green), blue))
    chroma = (most - least).ravel().astype(np.float32)
    # One multiplication with a looked-up reciprocal instead of a division per pixel.
    chroma *= _RECIPROCALS.take(most.ravel())
    return 255.0 * float(chroma.mean())  # float32 sums pairwise: 7 digits
