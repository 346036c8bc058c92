"""The head: face, hair, beard, glasses, hats. Units: the face is 2 wide, its centre at the origin, y down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from maskbench.data.sample.paint import Colour, FloatArray, Layer, ellipse, mix, offset, scaled, smooth
from maskbench.data.sample.traits import Person

#: Half the head's width at heights between the crown and the chin: the profile of a frontal face.
_PROFILE_V = np.array([-1.5, -1.44, -1.25, -1.0, -0.7, -0.3, 0.1, 0.45, 0.75, 0.98, 1.14, 1.23, 1.26])
_PROFILE_W = np.array([0.0, 0.34, 0.68, 0.89, 0.98, 1.0, 0.98, 0.92, 0.79, 0.6, 0.38, 0.17, 0.0])
_RADIUS = 1.06
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
        longitude = np.arcsin(np.maximum(np.minimum(u / _RADIUS, 1), -1)) + self.yaw
        longitude = np.maximum(np.minimum(longitude, math.pi / 2), -math.pi / 2)
        x = _RADIUS * np.sin(longitude) + np.asarray(lift) * sine
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


def paint_back_hair(layer: Layer, person: Person) -> None:
    """Hair behind the head and neck; painted before the body."""
    turn = -0.22 * np.sin(person.yaw)
    dark = scaled(person.hair, 0.72)
    if person.hat == "hood":
        hood = [(0, -1.75), (0.85, -1.5), (1.25, -0.7), (1.3, 0.3), (1.2, 1.2), (0.9, 1.9), (-0.9, 1.9)]
        hood += [(-1.2, 1.2), (-1.3, 0.3), (-1.25, -0.7), (-0.85, -1.5)]
        layer.shape(smooth(np.array(hood) + offset(turn, 0)), scaled(person.hat_colour, 0.75))
        return
    if person.hat == "headscarf":
        return
    if person.hair_style == "long":
        knots = [(0, -1.62), (0.95, -1.3), (1.24, -0.4), (1.26, 0.6), (1.36, 1.6), (1.2, 2.5), (0.6, 2.75)]
        knots += [(-0.6, 2.75), (-1.2, 2.5), (-1.36, 1.6), (-1.26, 0.6), (-1.24, -0.4), (-0.95, -1.3)]
        layer.shape(smooth(np.array(knots) + offset(turn, 0)), dark)
    elif person.hair_style == "bob":
        knots = [(0, -1.62), (0.95, -1.32), (1.26, -0.5), (1.32, 0.3), (1.22, 1.05), (0.6, 1.3)]
        knots += [(-0.6, 1.3), (-1.22, 1.05), (-1.32, 0.3), (-1.26, -0.5), (-0.95, -1.32)]
        layer.shape(smooth(np.array(knots) + offset(turn, 0)), dark)
    elif person.hair_style == "curly":
        for x, y, r in ((-0.9, -0.9, 0.5), (0.9, -0.9, 0.5), (-1.1, -0.3, 0.42), (1.1, -0.3, 0.42), (0, -1.25, 0.75)):
            layer.shape(ellipse(x + turn, y, r, r), dark)
        for x, y, r in ((-0.5, -1.3, 0.5), (0.5, -1.3, 0.5), (-1.08, 0.2, 0.32), (1.08, 0.2, 0.32)):
            layer.shape(ellipse(x + turn, y, r, r), dark)
    elif person.hair_style == "bun":
        layer.shape(ellipse(turn * 1.5, -1.68, 0.36, 0.33), scaled(person.hair, 0.85))


def paint_face(layer: Layer, person: Person, light_x: float) -> None:
    """Skin, ears and features; `light_x` is where the light comes from (-1 left … 1 right)."""
    g = Geometry.of(person)
    skin = person.skin
    dark = mix(scaled(skin, 0.62), (96, 40, 30), 0.12)
    _paint_ears(layer, person, near=False)
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


def _paint_ears(layer: Layer, person: Person, near: bool) -> None:
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


def paint_hair(layer: Layer, person: Person) -> None:
    """Hair on top of the head, or the hat over it, and the ear a turned head shows."""
    covered = person.hat in ("hood", "headscarf")
    if not covered:
        _paint_hair_behind_ear(layer, person)
    if person.hat != "none":
        _paint_hat(layer, person)
    else:
        _paint_hair_on_top(layer, person)
    if not covered and person.hair_style not in ("bob", "long", "curly"):
        _paint_ears(layer, person, near=True)


def _paint_hair_behind_ear(layer: Layer, person: Person) -> None:
    """The back of a turned head: between the ear and the silhouette it is hair, not cheek."""
    sine = math.sin(person.yaw)
    if person.hair_style == "bald" or abs(sine) < 0.28:
        return
    g = Geometry.of(person)
    side = -1.0 if sine > 0 else 1.0
    v = np.array([-1.2, -0.6, -0.1, 0.2, 0.38, 0.5])
    ear = np.stack([side * _RADIUS * math.cos(person.yaw) * np.array([0.7, 0.86, 0.97, 1.0, 1.02, 1.04]), v], 1)
    ear[:, 0] += g.jaw_shift(v)
    rim = g.outline(grow=0.04)
    rim = rim[: len(rim) // 2] if side < 0 else rim[len(rim) // 2 :][::-1]
    rim = rim[(rim[:, 1] > -1.25) & (rim[:, 1] < 0.5)]
    layer.shape(np.concatenate([smooth(ear, closed=False), rim[::-1]]), scaled(person.hair, 0.9))


def _paint_hair_on_top(layer: Layer, person: Person) -> None:
    style = person.hair_style
    if style == "bald":
        return
    g = Geometry.of(person)
    hair, m = person.hair, person.mirror
    grow = {"buzz": 0.03, "curly": 0.16, "bun": 0.06}.get(style, 0.11)
    hairline: list[tuple[float, float]] = {
        "buzz": [(-1, -0.42), (-0.86, -0.8), (-0.5, -1.02), (0, -1.05), (0.5, -1.02), (0.86, -0.8), (1, -0.42)],
        "short": [(-1, -0.3), (-0.88, -0.72), (-0.5, -0.92), (0, -0.86), (0.5, -0.96), (0.88, -0.72), (1, -0.3)],
        "side part": [(-1, -0.2), (-0.86, -0.7), (-0.5, -1.02), (-0.3, -1.12), (0.2, -0.8), (0.72, -0.7), (1, -0.15)],
        "fringe": [(-1, 0.0), (-0.85, -0.4), (-0.5, -0.5), (0, -0.46), (0.5, -0.52), (0.85, -0.4), (1, 0.0)],
        "bob": [(-1.0, 0.6), (-0.84, -0.3), (-0.6, -0.82), (-0.2, -1.02), (0.3, -0.84), (0.82, -0.3), (1.0, 0.6)],
        "long": [(-1.0, 0.8), (-0.84, -0.2), (-0.6, -0.8), (-0.05, -1.1), (0.5, -0.8), (0.84, -0.2), (1.0, 0.8)],
        "curly": [(-1, -0.1), (-0.86, -0.62), (-0.5, -0.8), (0, -0.86), (0.5, -0.8), (0.86, -0.62), (1, -0.1)],
        "bun": [(-1, -0.3), (-0.84, -0.74), (-0.45, -1.0), (0, -1.06), (0.45, -1.0), (0.84, -0.74), (1, -0.3)],
    }[style]
    line = np.array(hairline) * [m, 1]
    line = line[np.argsort(line[:, 0])]
    front = g.on_face(smooth(line, closed=False))
    end_left, end_right = front[0, 1], front[-1, 1]
    crown = g.outline(-1.5, grow)
    left = crown[: len(crown) // 2]  # crown to chin along the left
    right = crown[len(crown) // 2 :]  # chin to crown along the right
    left, right = left[left[:, 1] < end_left], right[right[:, 1] < end_right]
    cap = np.concatenate([front, right, left])
    # the shade the hair throws on the forehead, then the hair, its gloss and a few strands
    layer.soft(front + offset(0, 0.05), scaled(person.skin, 0.5), 0.4, 0.07, g.outline(), width=0.16)
    layer.shape(cap, hair)
    if layer.detail > 4:
        layer.soft(ellipse(-0.25 * m, -1.18, 0.55, 0.14, -0.25 * m), scaled(hair, 1.8), 0.4, 0.12, cap)
    if layer.detail > 11:
        strands = []
        for k, share in enumerate(np.linspace(0.06, 0.94, 14)):
            root = np.array([-0.1 * m, -1.5])
            tip = front[round(share * (len(front) - 1))]
            bend = (root + tip) / 2 + [0.35 * (tip[0] - root[0]), -0.12]
            tint = scaled(hair, 0.84 if k % 2 else 1.16)
            strands.append((smooth([root, bend, tip], closed=False), tint, 0.022))
        layer.inside(cap, strands)


def _paint_hat(layer: Layer, person: Person) -> None:
    g = Geometry.of(person)
    colour, s = person.hat_colour, float(np.sin(person.yaw))
    face = g.outline()
    if person.hat == "headscarf":
        outer = [(0, -1.66), (0.8, -1.42), (1.2, -0.7), (1.24, 0.2), (1.12, 1.0), (0.9, 1.75), (0, 2.1), (-0.9, 1.75)]
        outer += [(-1.12, 1.0), (-1.24, 0.2), (-1.2, -0.7), (-0.8, -1.42)]
        shell = smooth(np.array(outer) - offset(0.12 * s, 0))
        inner = g.on_face(
            smooth(
                [
                    (0, -0.95),
                    (0.6, -0.8),
                    (0.84, -0.2),
                    (0.82, 0.4),
                    (0.6, 0.95),
                    (0, 1.22),
                    (-0.6, 0.95),
                    (-0.82, 0.4),
                    (-0.84, -0.2),
                    (-0.6, -0.8),
                ]
            )
        )
        _ring(layer, shell, inner, colour)
        return
    if person.hat == "hood":
        outer = [(0, -1.78), (0.85, -1.5), (1.26, -0.7), (1.28, 0.3), (1.15, 1.2), (0.8, 1.7), (-0.8, 1.7)]
        outer += [(-1.15, 1.2), (-1.28, 0.3), (-1.26, -0.7), (-0.85, -1.5)]
        inner = smooth(
            np.array(
                [
                    (0, -1.12),
                    (0.7, -0.92),
                    (1.0, -0.2),
                    (0.98, 0.6),
                    (0.75, 1.3),
                    (0, 1.75),
                    (-0.75, 1.3),
                    (-0.98, 0.6),
                    (-1.0, -0.2),
                    (-0.7, -0.92),
                ]
            )
            + offset(0.1 * s, 0)
        )
        _ring(layer, smooth(np.array(outer) - offset(0.12 * s, 0)), inner, colour)
        return
    if person.hair_style != "bald":  # what shows below the brim
        for u in (-1, 1):
            if u * s < 0.35:
                tuft = [(u * 1.03, -0.8), (u * 1.06, -0.35), (u * 0.97, 0.0), (u * 0.84, -0.3), (u * 0.86, -0.8)]
                layer.shape(g.on_face(tuft), person.hair)
    edge = [(-1.06, -0.62), (-0.6, -0.8), (0, -0.86), (0.6, -0.8), (1.06, -0.62)]
    front = g.on_face(smooth(edge, closed=False))
    crown = np.array([(1.12, -1.0), (0.9, -1.45), (0.4, -1.72), (-0.4, -1.72), (-0.9, -1.45), (-1.12, -1.0)])
    dome = np.concatenate([front, smooth(crown - offset(0.12 * s, 0), closed=False)])
    layer.soft(front + offset(0, 0.1), scaled(person.skin, 0.4), 0.5, 0.08, face, width=0.22)
    layer.shape(dome, colour)
    if person.hat == "beanie":
        cuff = np.concatenate([front + offset(0, 0.06), (front + offset(0, -0.3))[::-1]])
        layer.shape(cuff, scaled(colour, 0.82))
        if layer.detail > 7:
            ribs = [
                (np.stack([front[i] + offset(0, 0.06), front[i] + offset(0, -0.3)]), scaled(colour, 0.66), 0.03)
                for i in range(1, len(front) - 1, 2)
            ]
            layer.inside(cuff, ribs)
        return
    # a cap: brim towards where the face looks, seam in the middle
    brim = [(-0.86, -0.72), (-0.5, -0.9), (0.5, -0.9), (0.86, -0.72), (0.72, -0.5), (0, -0.4), (-0.72, -0.5)]
    layer.shape(g.on_face(smooth(brim), 0.42) + offset(0.1 * s, 0), scaled(colour, 0.68))
    layer.soft(
        g.on_face(smooth([(-0.8, -0.62), (0, -0.5), (0.8, -0.62)], closed=False), 0.42),
        scaled(colour, 1.3),
        0.5,
        0.02,
        width=0.04,
    )
    layer.stroke(smooth([(0.1 * s, -1.7), (0.4 * s, -1.3), (0.45 * s, -0.9)], closed=False), scaled(colour, 0.75), 0.03)


def _ring(layer: Layer, outer: FloatArray, inner: FloatArray, colour: Colour) -> None:
    """Cloth between two closed curves, with a soft inner edge and folds."""
    # one polygon with a slit from the outer to the inner curve leaves the hole open
    start = int(np.argmin(inner[:, 1]))
    hole = np.roll(inner, -start, axis=0)[::-1]
    top = int(np.argmin(outer[:, 1]))
    rim = np.roll(outer, -top, axis=0)
    cloth = np.concatenate([rim, rim[:1], hole[-1:], hole])
    layer.soft(np.concatenate([inner, inner[:1]]), (20, 14, 12), 0.5, 0.06, width=0.12)
    layer.shape(cloth, colour)
    layer.soft(np.concatenate([inner, inner[:1]]) * 1.06, scaled(colour, 0.55), 0.5, 0.04, cloth, width=0.05)
    if layer.detail > 7:
        for k in (1.12, 1.2):
            layer.soft(np.concatenate([inner, inner[:1]]) * k, scaled(colour, 1.25), 0.28, 0.03, cloth, width=0.04)


def paint_glasses(layer: Layer, person: Person) -> None:
    """Glasses; over a mask's upper edge if there is one."""
    if person.glasses == "none":
        return
    g = Geometry.of(person)
    frame = (28, 26, 28) if person.mirror > 0 else (96, 74, 52)
    thick = 0.045 if person.glasses == "round" else 0.07
    v = EYE_V + 0.04
    for u in (-0.43, 0.43):
        if person.glasses == "round":
            lens = g.on_face(ellipse(u, v, 0.29, 0.26), 0.12)
        else:
            box = [
                (u - 0.31, v - 0.18),
                (u + 0.31, v - 0.18),
                (u + 0.3, v + 0.12),
                (u + 0.18, v + 0.21),
                (u - 0.18, v + 0.21),
            ]
            lens = g.on_face(smooth([*box, (u - 0.3, v + 0.12)]), 0.12)
        if person.glasses == "sunglasses":
            layer.soft(lens, (22, 22, 26), 0.96, 0.0)
        else:
            layer.soft(lens, (235, 244, 250), 0.14, 0.0)
        if layer.detail > 9:
            glint = g.on_face(
                [(u - 0.14, v - 0.1), (u + 0.02, v - 0.13), (u - 0.12, v + 0.1), (u - 0.2, v + 0.08)], 0.12
            )
            layer.soft(glint, (255, 255, 255), 0.28, 0.02, lens)
        layer.stroke(np.concatenate([lens, lens[:2]]), frame, thick)
        arm = g.on_face([(u * 1.7, v - 0.08), (np.sign(u) * 1.04, v - 0.04)], 0.06)
        layer.stroke(arm, frame, thick)
    layer.stroke(g.on_face(smooth([(-0.14, v), (0, v - 0.06), (0.14, v)], closed=False), 0.14), frame, thick)
