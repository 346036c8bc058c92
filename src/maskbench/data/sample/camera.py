"""The camera: exposure, colour cast, blur, sensor noise, JPEG, and the alpha channel of the file."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from maskbench.data.sample.params import SampleParams


@dataclass(frozen=True)
class Shot:
    """Conditions of one photograph.

    Attributes:
        brightness: exposure factor.
        contrast: factor about middle grey.
        gains: factor per channel.
        light_degrees: where the light comes from: 0 the right, 90 above, 180 the left.
        harshness: 0 diffuse … 1 a single hard light.
        blur_px: sd of the blur in px.
        noise: sd of the sensor noise in grey levels.
        jpeg_quality: of the JPEG file it once was; 0 if it never was one.
    """

    brightness: float
    contrast: float
    gains: tuple[float, float, float]
    light_degrees: float
    harshness: float
    blur_px: float
    noise: float
    jpeg_quality: int

    @property
    def light_x(self) -> float:
        """-1 (light from the left) … 1 (from the right)."""
        return float(np.cos(np.deg2rad(self.light_degrees)))


def draw_shot(rng: np.random.Generator, params: SampleParams) -> Shot:
    """Draw the conditions of one photograph; `rng` advances."""
    warm = float(rng.normal(0, 0.5)) * params.colour_cast
    green = float(rng.normal(0, 0.25)) * params.colour_cast
    compressed = rng.random() < params.jpeg_rate
    quality = int(rng.integers(params.jpeg_quality[0], params.jpeg_quality[1] + 1))
    return Shot(
        brightness=float(rng.uniform(*params.brightness)),
        contrast=float(rng.uniform(*params.contrast)),
        gains=(1 + warm, 1 + green, 1 - warm),
        light_degrees=float(rng.uniform(15, 165)),
        harshness=float(rng.beta(2, 3)),
        blur_px=float(rng.uniform(*params.photo_blur_px)),
        noise=float(np.exp(rng.uniform(*np.log(np.maximum(params.noise, 1e-3))))),
        jpeg_quality=quality if compressed else 0,
    )


def expose(picture: Image.Image, shot: Shot, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What the camera makes of the scene.

    Args:
        picture: the scene, RGB.
        shot: the conditions.
        rng: for the noise; it advances.

    Returns:
        (H, W, 3) uint8.
    """
    blurred = picture.filter(ImageFilter.GaussianBlur(shot.blur_px)) if shot.blur_px > 0 else picture
    values = np.asarray(blurred, dtype=np.float32) * np.array(shot.gains, np.float32) * np.float32(shot.brightness)
    values = 118 + (values - 118) * np.float32(shot.contrast)
    # a shoulder instead of clipping: highlights keep their folds
    bright = values > 165
    values[bright] = 165 + 90 * np.tanh((values[bright] - 165) / 125)
    height, width = values.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None, :], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    values *= (1 - 0.09 * (x * x + y * y))[..., None]  # lenses darken the corners
    own = rng.standard_normal((height, width, 3), dtype=np.float32)
    shared = own.sum(axis=2, keepdims=True)  # sd 1.73; together an sd of 1, correlated between channels by 0.75
    values += np.float32(shot.noise) * (0.5 * own + np.float32(0.354) * shared)
    pixels = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    if shot.jpeg_quality:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=shot.jpeg_quality)
        return np.array(Image.open(buffer).convert("RGB"), dtype=np.uint8)
    return np.asarray(pixels, dtype=np.uint8)


def to_file_pixels(
    rgb: NDArray[np.uint8], kind: str, transparent: bool, low_order_bits: int, rng: np.random.Generator
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels of the file: depth, channels, and an alpha channel that leaves RGB meaningful.

    Args:
        rgb: (H, W, 3) uint8.
        kind: one of `PNG_KINDS`.
        transparent: whether some pixels are partly transparent; ignored for RGB.
        low_order_bits: random low bits of 16-bit values.
        rng: advances.

    Returns:
        (H, W, 3 or 4), uint8 or uint16; 16-bit values are the 8-bit ones times 257, so that the high
        byte is the 8-bit value.
    """
    if kind == "rgb8":
        return rgb
    height, width = rgb.shape[:2]
    alpha = np.full((height, width, 1), 255, np.uint8)
    if transparent:
        if rng.random() < 0.5:  # a soft-edged frame
            x = np.minimum(np.arange(width), np.arange(width)[::-1])[None, :]
            y = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
            edge = np.minimum(x, y) / float(rng.uniform(3, 14))
            alpha[..., 0] = np.clip(80 + 175 * edge, 0, 255).astype(np.uint8)
        else:  # a translucent patch, such as a watermark leaves
            x0, y0 = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
            alpha[y0 : y0 + height // 3, x0 : x0 + width // 3] = int(rng.integers(90, 250))
    pixels = np.concatenate([rgb, alpha], axis=2)
    if kind == "rgba8":
        return pixels
    deep = pixels.astype(np.uint16) * np.uint16(257)
    if low_order_bits:
        deep[..., :3] ^= rng.integers(0, 2**low_order_bits, (height, width, 3), dtype=np.uint16)
    return deep
