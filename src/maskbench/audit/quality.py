"""Measures of a photograph that need its pixels: light, colour, sharpness, fingerprints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

#: Side of the thumbnail that confirms candidates for near-duplicates, px.
THUMBNAIL_SIDE = 16
#: 1 / n for n = 0…255, with 1 / 0 = 0: black has no saturation.
_RECIPROCALS = np.concatenate([[0.0], 1.0 / np.arange(1, 256)]).astype(np.float32)


@dataclass(frozen=True)
class Quality:
    """Measures of one photograph.

    Attributes:
        brightness: mean luma (ITU-R BT.601), 0…255.
        contrast: standard deviation of luma, 0…127.5.
        saturation: mean saturation of HSV, 0…255.
        sharpness: variance of the Laplacian of luma, ≥ 0; small for blurred photographs.
        phash: perceptual hash of 64 bits as 16 hexadecimal digits.
        pixels_sha256: SHA-256 of size and RGB pixels: equal for equal pictures in different files.
        thumbnail: (16, 16, 3) uint8.
        solid: every pixel has the same colour.
    """

    brightness: float
    contrast: float
    saturation: float
    sharpness: float
    phash: str
    pixels_sha256: str
    thumbnail: NDArray[np.uint8]
    solid: bool


def measure(rgb: Image.Image) -> Quality:
    """Measure a photograph.

    Args:
        rgb: mode `RGB`.
    """
    luma = rgb.convert("L")
    brightness, contrast = _mean_and_deviation(luma.histogram())
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode())
    digest.update(rgb.tobytes())
    return Quality(
        brightness=brightness,
        contrast=contrast,
        saturation=saturation_mean(rgb),
        sharpness=laplacian_variance(np.asarray(luma)),
        phash=str(imagehash.phash(luma)),  # equals imagehash.phash(rgb): it converts to luma first
        pixels_sha256=digest.hexdigest(),
        thumbnail=np.array(rgb.resize(side, Image.Resampling.BOX, reducing_gap=1.0)),
        solid=rgb.getcolors(maxcolors=1) is not None,
    )


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


def _mean_and_deviation(histogram: list[int]) -> tuple[float, float]:
    """Exact mean and standard deviation from a histogram of 256 grey levels."""
    counts = np.array(histogram, dtype=np.float64)
    levels = np.arange(256, dtype=np.float64)
    mean = float(counts @ levels / counts.sum())
    return mean, float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum()))
