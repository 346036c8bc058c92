"""Vector painting on one layer: shapes in a person's own units, drawn larger and averaged down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Colour = tuple[float, float, float]


@lru_cache(maxsize=64)
def _spline(n: int, steps: int, closed: bool) -> FloatArray:
    """The matrix that takes `n` knots to their Catmull-Rom curve: (points, n)."""
    t = np.linspace(0, 1, steps, endpoint=False)
    basis = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)
    segments = n if closed else n - 1
    matrix = np.zeros((segments * steps + (0 if closed else 1), n))
    for segment in range(segments):
        for k in range(4):
            knot = (segment - 1 + k) % n if closed else min(max(segment - 1 + k, 0), n - 1)
            matrix[segment * steps : (segment + 1) * steps, knot] += basis[:, k]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def smooth(points: ArrayLike, steps: int = 6, closed: bool = True) -> FloatArray:
    """A Catmull-Rom curve through `points`, (n, 2) -> (about n * steps, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    return np.asarray(_spline(len(knots), steps, closed) @ knots)


@lru_cache(maxsize=8)
def _circle(n: int) -> FloatArray:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0.0, n: int = 24) -> FloatArray:
    """Points on an ellipse with half-axes `rx`, `ry`, turned by `tilt` radians, (n, 2)."""
    c, s = math.cos(tilt), math.sin(tilt)
    return np.asarray(_circle(n) @ np.array([[rx * c, rx * s], [-ry * s, ry * c]]) + (x, y))


def offset(x: float, y: float) -> FloatArray:
    """A displacement to add to points, (2,)."""
    return np.array([x, y])


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` of `b`."""
    return (
        a[0] + share * (b[0] - a[0]),
        a[1] + share * (b[1] - a[1]),
        a[2] + share * (b[2] - a[2]),
    )


def scaled(colour: Colour, factor: float) -> Colour:
    """`colour` made lighter (factor above 1) or darker."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def ints(colour: Colour) -> tuple[int, int, int]:
    """The colour as Pillow wants it, each channel in 0..255."""
    r, g, b = (min(255, max(0, round(channel))) for channel in colour)
    return r, g, b


@dataclass(frozen=True)
class Placement:
    """Where a person's units lie in the photograph.

    Attributes:
        x: image x of the origin in px.
        y: image y of the origin in px.
        unit: px per unit.
        roll: rotation in radians about `pivot`.
        pivot: the y, in units, of the point on the axis that stays in place.
    """

    x: float
    y: float
    unit: float
    roll: float = 0.0
    pivot: float = 0.0

    def to_image(self, points: ArrayLike) -> FloatArray:
        """Points in units -> image px, (n, 2)."""
        p = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        c, s = np.cos(self.roll), np.sin(self.roll)
        dx, dy = p[:, 0], p[:, 1] - self.pivot
        return np.stack(
            [self.x + self.unit * (c * dx - s * dy), self.y + self.unit * (self.pivot + s * dx + c * dy)], 1
        )

    def to_units(self, x: Float32Array, y: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Image px -> units, elementwise."""
        c, s = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        dx = (x - np.float32(self.x)) / np.float32(self.unit)
        dy = (y - np.float32(self.y)) / np.float32(self.unit) - np.float32(self.pivot)
        return c * dx + s * dy, c * dy - s * dx + np.float32(self.pivot)


class Layer:
    """A window of the photograph, painted at `oversample` times its resolution.

    Colour and coverage are kept apart: `shape` paints both, everything else paints colour only, so
    shadows and textures never leak out of the silhouette.
    """

    def __init__(self, placement: Placement, window: tuple[int, int, int, int], oversample: int) -> None:
        self.placement = placement
        self.window = window
        self.oversample = oversample
        size = ((window[2] - window[0]) * oversample, (window[3] - window[1]) * oversample)
        # units -> painted px, as one matrix and one offset: this is done for every shape
        origin = placement.to_image([(0, 0), (1, 0), (0, 1)])
        self._matrix = (origin[1:] - origin[0]) * oversample  # (2, 2), rows: where x and y units go
        self._offset = (origin[0] - window[:2]) * oversample
        self.rgb = Image.new("RGB", size)
        self.alpha = Image.new("L", size)
        self._draw = ImageDraw.Draw(self.rgb)
        self._draw_alpha = ImageDraw.Draw(self.alpha)

    @property
    def px(self) -> float:
        """Painted px per unit."""
        return self.placement.unit * self.oversample

    @property
    def detail(self) -> float:
        """Px of the photograph per unit: what is finer than that need not be painted."""
        return self.placement.unit

    def _map(self, points: ArrayLike) -> FloatArray:
        return np.asarray(np.asarray(points, dtype=np.float64) @ self._matrix + self._offset)

    def _flat(self, points: ArrayLike) -> list[float]:
        # Pillow's cost grows with coordinates far outside; this far out, clipping changes nothing visible
        limit = 4.0 * max(self.rgb.size)
        flat: list[float] = np.minimum(np.maximum(self._map(points), -limit), limit).ravel().tolist()
        return flat

    def shape(self, points: ArrayLike, colour: Colour) -> None:
        """An opaque polygon."""
        flat = self._flat(points)
        self._draw.polygon(flat, fill=ints(colour))
        self._draw_alpha.polygon(flat, fill=255)

    def fill(self, points: ArrayLike, colour: Colour) -> None:
        """A polygon seen only where something is already painted."""
        self._draw.polygon(self._flat(points), fill=ints(colour))

    def stroke(self, points: ArrayLike, colour: Colour, width: float, opaque: bool = False) -> None:
        """A line of `width` units; at least half a final px wide, or it would vanish."""
        flat = self._flat(points)
        thick = max(1, round(max(width * self.px, 0.3 * self.oversample)))
        self._draw.line(flat, fill=ints(colour), width=thick, joint="curve")
        if opaque:
            self._draw_alpha.line(flat, fill=255, width=thick, joint="curve")

    def soft(
        self,
        points: ArrayLike,
        colour: Colour,
        opacity: float,
        blur: float,
        within: ArrayLike | None = None,
        width: float = 0.0,
    ) -> None:
        """A blurred, translucent polygon (or line, if `width` > 0), optionally only inside `within`.

        Args:
            points: (n, 2) in units.
            colour: what is mixed in.
            opacity: 0..1 where the blur leaves it whole.
            blur: sd in units.
            within: polygon in units to which the effect is clipped.
            width: of the line in units.
        """
        sd = float(blur * self.px)
        mapped = self._map(points)
        pad = 2.6 * sd + width * self.px + 2
        (x0, y0), (x1, y1) = mapped.min(0).tolist(), mapped.max(0).tolist()
        left, top = max(0, math.floor(x0 - pad)), max(0, math.floor(y0 - pad))
        right, bottom = min(self.rgb.width, math.ceil(x1 + pad)), min(self.rgb.height, math.ceil(y1 + pad))
        if right <= left or bottom <= top:
            return
        size = (right - left, bottom - top)
        # a wide blur leaves nothing that a coarser mask could not hold
        coarse = max(1, int(sd / 1.6))
        mask = Image.new("L", (-(-size[0] // coarse), -(-size[1] // coarse)))
        value = round(255 * min(1.0, opacity))
        local = ((mapped - (left, top)) / coarse).ravel().tolist()
        if width > 0:
            thick = max(1, round(width * self.px / coarse))
            ImageDraw.Draw(mask).line(local, fill=value, width=thick, joint="curve")
        else:
            ImageDraw.Draw(mask).polygon(local, fill=value)
        if sd > 0.4:
            mask = mask.filter(ImageFilter.GaussianBlur(sd / coarse))
        if coarse > 1:
            scaled_up = (mask.width * coarse, mask.height * coarse)
            mask = mask.resize(scaled_up, Image.Resampling.BILINEAR).crop((0, 0, *size))
        if within is not None:
            clip = Image.new("L", size)
            ImageDraw.Draw(clip).polygon((self._map(within) - (left, top)).ravel().tolist(), fill=255)
            mask = ImageChops.multiply(mask, clip)
        self.rgb.paste(ints(colour), (left, top, right, bottom), mask)

    def inside(self, points: ArrayLike, strokes: Sequence[tuple[FloatArray, Colour, float]]) -> None:
        """Polygons (width 0) and lines painted only inside the polygon `points`."""
        painted = self.rgb.copy()
        draw = ImageDraw.Draw(painted)
        for shape, colour, width in strokes:
            flat = self._flat(shape)
            if width > 0:
                draw.line(flat, fill=ints(colour), width=max(1, round(width * self.px)), joint="curve")
            else:
                draw.polygon(flat, fill=ints(colour))
        mask = Image.new("L", self.rgb.size)
        ImageDraw.Draw(mask).polygon(self._flat(points), fill=255)
        self.rgb.paste(painted, (0, 0), mask)

    def units(self) -> tuple[Float32Array, Float32Array]:
        """Each painted pixel's place in units: x and y, each (h, w)."""
        width, height = self.rgb.size
        x = self.window[0] + (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(self.oversample)
        y = self.window[1] + (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(self.oversample)
        return self.placement.to_units(x[None, :], y[:, None])

    def light(self, gain: Float32Array) -> None:
        """Multiply the colours by `gain`, (h, w), at least 0."""
        lit = np.asarray(self.rgb, dtype=np.float32) * gain[..., None]
        self.rgb = Image.fromarray(np.minimum(lit, 255, out=lit).astype(np.uint8))
        self._draw = ImageDraw.Draw(self.rgb)

    def flatten(self) -> Image.Image:
        """The layer at the photograph's resolution, RGBA with straight alpha."""
        joined = self.rgb.copy()
        joined.putalpha(self.alpha)
        return joined.reduce(self.oversample) if self.oversample > 1 else joined
