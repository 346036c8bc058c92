"""The head: its shape, face, ears, beard. Units: the face is 2 wide, its centre at the origin, y down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from maskbench.data.sample.paint import Colour, FloatArray, Layer, ellipse, mix, scaled, smooth
from maskbench.data.sample.traits import Person

#: Half the head's width at heights between the crown and the chin: the profile of a frontal face.
_PROFILE_V = np.array([-1.5, -1.44, -1.25, -1.0, -0.7, -0.3, 0.1, 0.45, 0.75, 0.98, 1.14, 1.23, 1.26])
_PROFILE_W = np.array([0.0, 0.34, 0.68, 0.89, 0.98, 1.0, 0.98, 0.92, 0.79, 0.6, 0.38, 0.17, 0.0])
#: Of the cylinder that a face turns on.
RADIUS = 1.06
BROW_V = -0.32
EYE_V = -0.1
NOSE_V = 0.42
MOUTH_V = 0.74
CHIN_V = 1.26
BOX_TOP_V = -0.86


@dataclass(frozen=True)
class Geometry:
    """Where points of the face's surface lie once the head is turned."""

    yaw: float
    pitch: float
    jaw: float
    length: float

    @classmethod
    def of(cls, person: Person) -> Geometry:
        """The geometry of a person's head."""
        return cls(person.yaw, person.pitch, person.jaw, person.length)

    def on_face(self, points: ArrayLike, lift: float | FloatArray = 0.0) -> FloatArray:
        """Surface coordinates -> units: a turn of the cylinder the face is painted on.

        Args:
            points: (n, 2): u in -1..1 from ear to ear, v as y of a frontal face.
            lift: how far the point stands out from the cylinder (the nose's tip about 0.25).

        Returns:
            (n, 2) in units; points turned to the back stay on the outline.
        """
        p = np.asarray(points, dtype=np.float64)
        u, v = p[:, 0], p[:, 1]
        sine = math.sin(self.yaw)
        # np.minimum and np.maximum: np.clip costs several times more on a handful of points
        longitude = np.arcsin(np.maximum(np.minimum(u / RADIUS, 1), -1)) + self.yaw
        longitude = np.maximum(np.minimum(longitude, math.pi / 2), -math.pi / 2)
        x = RADIUS * np.sin(longitude) + np.asarray(lift) * sine
        x = x * (1 - (1 - self.jaw) * np.maximum(np.minimum(v - 0.2, 1), 0)) + self.jaw_shift(v)
        nod = np.maximum(np.minimum(1.3 - np.abs(v), 1), 0.15)
        y = v + 0.42 * self.pitch * np.cos(longitude) * nod
        y = np.where(y > 0, y * self.length, y)
        return np.stack([x, y], 1)

    def jaw_shift(self, v: FloatArray) -> FloatArray:
        """The chin goes with the turn, the crown against it."""
        return np.asarray(0.2 * math.sin(self.yaw) * np.maximum(np.minimum(v, 1.3), -1.2))

    def outline(self, from_v: float = -1.5, grow: float = 0.0) -> FloatArray:
        """The head's silhouette at and below `from_v`, `grow` units larger, (n, 2)."""
        return _outline(self, from_v, grow)

    def face_region(self) -> FloatArray:
        """What the annotation's box is drawn around: the face from the forehead to the chin."""
        return self.outline(BOX_TOP_V)


@lru_cache(maxsize=32)
def _outline(g: Geometry, from_v: float, grow: float) -> FloatArray:
    v = np.linspace(from_v, CHIN_V, 40)
    width = np.interp(v, _PROFILE_V, _PROFILE_W)
    width = width * (1 - (1 - g.jaw) * np.clip(v - 0.2, 0, 1)) + grow
    y = np.where(v > 0, v * g.length, v) + np.where(v > 0.9, grow, 0) - np.where(v < -0.9, grow, 0)
    shift = g.jaw_shift(v)
    outline = np.concatenate([np.stack([shift - width, y], 1), np.stack([shift + width, y], 1)[::-1]])
    outline.flags.writeable = False  # shared by all callers
    return outline


def _band(geometry: Geometry, top: ArrayLike, bottom: ArrayLike, lift: float = 0.0) -> FloatArray:
    upper = smooth(top, closed=False)
    lower = smooth(bottom, closed=False)
    return geometry.on_face(np.concatenate([upper, lower[::-1]]), lift)


def paint_face(layer: Layer, person: Person, light_x: float) -> None:
    """Skin, ears and features; `light_x` is where the light comes from (-1 left … 1 right)."""
    g = Geometry.of(person)
    skin = person.skin
    dark = mix(scaled(skin, 0.62), (96, 40, 30), 0.12)
    paint_ears(layer, person, near=False)
    outline = g.outline()
    layer.shape(outline, skin)

    # planes of the face: cheeks, sockets, the nose's and the lips' shadows
    rose = mix(skin, (205, 84, 74), 0.42)
    for u in (-0.55, 0.55):
        layer.soft(g.on_face(ellipse(u, 0.32, 0.26, 0.2)), rose, 0.45, 0.13, outline)
        layer.soft(g.on_face(ellipse(u * 0.76, EYE_V - 0.06, 0.27, 0.17)), dark, 0.3, 0.07, outline)
    layer.soft(g.on_face(ellipse(0, -0.78, 0.5, 0.2)), scaled(skin, 1.14), 0.5, 0.2, outline)
    layer.soft(g.on_face(ellipse(0, 1.05, 0.2, 0.12), 0.05), scaled(skin, 1.1), 0.45, 0.08, outline)
    if layer.detail > 8:
        _paint_features(layer, person, g, outline, dark, light_x)
    else:  # a face of 12 px shows two dark spots under brows and a mouth, nothing else
        brow = scaled(person.hair, 0.8)
        for u in (-0.42, 0.42):
            layer.soft(g.on_face(ellipse(u, EYE_V - 0.02, 0.17, 0.1)), (40, 30, 28), 0.75, 0.03, outline)
            layer.soft(g.on_face(ellipse(u, BROW_V, 0.24, 0.05)), brow, 0.7, 0.02, outline)
        layer.soft(g.on_face(ellipse(0, MOUTH_V, 0.28, 0.06 + 0.1 * person.mouth)), dark, 0.75, 0.03, outline)
        layer.soft(g.on_face(ellipse(0, NOSE_V, 0.16, 0.06)), dark, 0.4, 0.03, outline)
    _paint_beard(layer, person, g, outline)


def paint_ears(layer: Layer, person: Person, near: bool) -> None:
    """The ears beside a face seen from the front, or (`near`) the one that a turned head shows."""
    skin = person.skin
    dark = mix(scaled(skin, 0.62), (96, 40, 30), 0.12)
    for u in (-1, 1):
        turn = u * math.sin(person.yaw)
        if turn > 0.3 or (turn < -0.2) != near:
            continue
        x = u * 1.02 * np.cos(person.yaw) - 0.12 * np.sin(person.yaw)
        layer.shape(ellipse(x, 0.05, 0.15, 0.27, -0.18 * u), scaled(skin, 0.93))
        layer.soft(ellipse(x + 0.01 * u, 0.05, 0.07, 0.16, -0.18 * u), dark, 0.45, 0.03)


def _paint_features(
    layer: Layer, person: Person, g: Geometry, outline: FloatArray, dark: Colour, light_x: float
) -> None:
    skin = person.skin
    # nose: shadow away from the light, bright ridge, wings, nostrils
    away = -1.0 if light_x > 0 else 1.0
    side = [(away * 0.03, -0.12), (away * 0.12, 0.2), (away * 0.21, 0.42), (0, 0.5), (0, 0.1)]
    layer.soft(g.on_face(side, 0.14), dark, 0.4, 0.045, outline)
    layer.soft(g.on_face([(0, -0.15), (0.04 * -away, 0.36)], 0.2), scaled(skin, 1.2), 0.5, 0.035, outline, width=0.08)
    layer.soft(g.on_face(ellipse(0, NOSE_V - 0.02, 0.15, 0.1), 0.22), scaled(skin, 1.1), 0.5, 0.05, outline)
    layer.soft(g.on_face(ellipse(0, NOSE_V + 0.11, 0.2, 0.035), 0.14), dark, 0.7, 0.03, outline)
    for u in (-0.09, 0.09):
        layer.soft(g.on_face(ellipse(u, NOSE_V + 0.08, 0.05, 0.028), 0.17), scaled(dark, 0.5), 0.8, 0.01, outline)
    # eyes
    height = 0.1 * person.eye_open
    iris = (62, 44, 34) if person.hair_name not in ("blond", "auburn") else (76, 104, 120)
    for u in (-0.41, 0.41):
        lid = [(u - 0.2, EYE_V + 0.02), (u - 0.08, EYE_V - height), (u + 0.08, EYE_V - height), (u + 0.2, EYE_V)]
        low = [(u - 0.2, EYE_V + 0.02), (u - 0.06, EYE_V + 0.6 * height), (u + 0.09, EYE_V + 0.55 * height)]
        low += [(u + 0.2, EYE_V)]
        eye = _band(g, lid, low)
        layer.soft(eye, (226, 222, 216), 0.95, 0.0, outline)
        gaze = u + 0.08 * person.gaze
        layer.soft(g.on_face(ellipse(gaze, EYE_V - 0.01, 0.085, 0.095)), iris, 1.0, 0.0, eye)
        layer.soft(g.on_face(ellipse(gaze, EYE_V - 0.01, 0.04, 0.045)), (14, 12, 12), 1.0, 0.0, eye)
        if layer.detail > 18:
            layer.soft(g.on_face(ellipse(gaze + 0.03, EYE_V - 0.04, 0.02, 0.02)), (250, 250, 250), 0.9, 0.0, eye)
        layer.soft(g.on_face(smooth(lid, closed=False)), (34, 24, 22), 0.9, 0.01, outline, width=0.05)
        layer.soft(g.on_face(smooth(low, closed=False)), dark, 0.5, 0.015, outline, width=0.025)
        sign = 1 if u > 0 else -1
        brow = [(u - sign * 0.2, BROW_V + 0.03), (u + sign * 0.03, BROW_V - 0.07), (u + sign * 0.25, BROW_V + 0.02)]
        hair = scaled(person.hair, 0.8)
        layer.soft(g.on_face(smooth(brow, closed=False)), hair, 0.85, 0.018, outline, width=0.075 * person.brow)
    _paint_mouth(layer, person, g, outline, dark)


def _paint_mouth(layer: Layer, person: Person, g: Geometry, outline: FloatArray, dark: Colour) -> None:
    lip = (176, 50, 58) if person.lipstick else mix(person.skin, (166, 72, 70), 0.5)
    rise = -0.05 * person.smile
    wide = 0.3 + 0.05 * max(person.smile, 0)
    gap = 0.2 * person.mouth
    v = MOUTH_V
    corners = ((-wide, v + rise), (wide, v + rise))
    upper = [corners[0], (-0.1, v - 0.075), (0, v - 0.055), (0.1, v - 0.075), corners[1]]
    lower = [corners[0], (-0.14, v + 0.09 + gap), (0.14, v + 0.09 + gap), corners[1]]
    layer.soft(_band(g, upper, lower, 0.06), lip, 0.9, 0.012, outline)
    if gap > 0:
        top = [corners[0], (-0.12, v - 0.02), (0.12, v - 0.02), corners[1]]
        low = [corners[0], (-0.13, v + 0.02 + gap), (0.13, v + 0.02 + gap), corners[1]]
        layer.soft(_band(g, top, low, 0.06), (58, 18, 18), 1.0, 0.008, outline)
        teeth = [(-0.7 * wide, v + 0.6 * rise), (-0.1, v + 0.045), (0.1, v + 0.045), (0.7 * wide, v + 0.6 * rise)]
        layer.soft(_band(g, top, teeth, 0.06), (234, 228, 220), 0.9, 0.008, outline)
    else:
        middle = smooth([corners[0], (-0.1, v + 0.01), (0, v + 0.022), (0.1, v + 0.01), corners[1]], closed=False)
        layer.soft(g.on_face(middle, 0.06), scaled(dark, 0.6), 0.85, 0.008, outline, width=0.03)
    layer.soft(g.on_face(ellipse(0, v + 0.18 + gap, 0.18, 0.035), 0.05), dark, 0.4, 0.03, outline)


def _paint_beard(layer: Layer, person: Person, g: Geometry, outline: FloatArray) -> None:
    if person.beard == "none":
        return
    opacity = {"stubble": 0.4, "goatee": 0.9, "full": 0.95}[person.beard]
    hair = scaled(person.hair, 0.9)
    if person.beard == "goatee":
        layer.soft(g.on_face(ellipse(0, 1.06, 0.27, 0.2), 0.04), hair, opacity, 0.04, outline)
        moustache = [(-0.36, 0.72), (-0.2, 0.6), (0, 0.58), (0.2, 0.6), (0.36, 0.72)]
        layer.soft(g.on_face(smooth(moustache, closed=False), 0.07), hair, opacity, 0.03, outline, width=0.1)
        return
    knots = [(-1.05, -0.05), (-0.9, 0.5), (-0.5, 0.66), (-0.24, 0.58), (0, 0.55), (0.24, 0.58), (0.5, 0.66), (0.9, 0.5)]
    knots += [(1.05, -0.05), (1.05, 0.6), (0.8, 1.1), (0.3, 1.34), (-0.3, 1.34), (-0.8, 1.1), (-1.05, 0.6)]
    layer.soft(g.on_face(smooth(knots)), hair, opacity, 0.05, outline)
    if person.beard == "full" and layer.detail > 5:
        lip = mix(person.skin, (166, 72, 70), 0.5)
        layer.soft(g.on_face(ellipse(0, MOUTH_V + 0.03, 0.22, 0.055), 0.06), lip, 0.85, 0.02, outline)
