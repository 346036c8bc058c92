"""Measures of a photograph that need its pixels: light, colour, sharpness, fingerprints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskbench.data.light import laplacian_variance, saturation_mean

#: Side of the thumbnail that confirms candidates for near-duplicates, px.
THUMBNAIL_SIDE = 16


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


def measure(rgb: Image.Image, pixels: NDArray[np.uint8] | None = None) -> Quality:
    """Measure a photograph.

    Args:
        rgb: mode `RGB`.
        pixels: the same as an array (H, W, 3), where the caller has it.
    """
    pixels = np.asarray(rgb) if pixels is None else pixels
    luma = rgb.convert("L")
    brightness, contrast = _mean_and_deviation(luma.histogram())
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode())
    digest.update(pixels.data)
    return Quality(
        brightness=brightness,
        contrast=contrast,
        saturation=saturation_mean(rgb),
        sharpness=laplacian_variance(np.asarray(luma)),
        # Equals imagehash.phash(rgb), which converts to luma first, and str() of it, which joins 64 texts.
        phash=np.packbits(imagehash.phash(luma).hash).tobytes().hex(),
        pixels_sha256=digest.hexdigest(),
        thumbnail=np.array(rgb.resize(side, Image.Resampling.BOX, reducing_gap=1.0)),
        solid=rgb.getcolors(maxcolors=1) is not None,
    )


def _mean_and_deviation(histogram: list[int]) -> tuple[float, float]:
    """Exact mean and standard deviation from a histogram of 256 grey levels."""
    counts = np.array(histogram, dtype=np.float64)
    levels = np.arange(256, dtype=np.float64)
    mean = float(counts @ levels / counts.sum())
    return mean, float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum()))
