"""Neck, clothes and limbs; what people hold before their faces."""

from __future__ import annotations

import numpy as np

from maskbench.data.sample.head import Geometry
from maskbench.data.sample.paint import Colour, FloatArray, Layer, ellipse, mix, offset, scaled, smooth
from maskbench.data.sample.traits import Person

#: Half the width of the torso and arms, in units of half a face: used for painting and for placing people.
SHOULDER_HALF = 2.25
SHOULDER_TOP = 1.75
HIP = 6.6
FEET = 14.5


def paint_body(layer: Layer, person: Person) -> None:
    """Neck, torso, arms, legs: everything below the head, opaque."""
    colour = person.clothing_colour
    dark = scaled(colour, 0.62)
    neck = smooth([(-0.52, 0.5), (-0.5, 1.2), (-0.66, 1.75), (0, 2.3), (0.66, 1.75), (0.5, 1.2), (0.52, 0.5)])
    if layer.window[3] > layer.placement.to_image([(0, HIP)])[0, 1]:
        _paint_legs(layer, person)
    torso = [(-0.55, 1.62), (-1.3, 1.9), (-1.95, 2.2), (-2.2, 2.9), (-2.25, 4.2), (-2.2, 5.8), (-1.9, 6.5), (-1.4, 6.7)]
    torso += [(1.4, 6.7), (1.9, 6.5), (2.2, 5.8), (2.25, 4.2), (2.2, 2.9), (1.95, 2.2), (1.3, 1.9), (0.55, 1.62)]
    cloth = smooth([*torso, (0.3, 1.95), (-0.3, 1.95)], 4)
    layer.shape(neck, scaled(person.skin, 0.9))
    layer.soft(ellipse(0.1 * np.sin(person.yaw), 1.3, 0.75, 0.32), scaled(person.skin, 0.42), 0.6, 0.14, neck)
    layer.shape(cloth, colour)
    if person.pattern != "plain" and layer.detail > 2:
        _paint_pattern(layer, person, cloth)
    for side in (-1, 1):  # arms stand apart from the trunk by a soft line
        arm = smooth([(side * 1.5, 2.9), (side * 1.52, 4.2), (side * 1.45, 6.6)], closed=False)
        layer.soft(arm, dark, 0.6, 0.1, cloth, width=0.12)
        fold = smooth([(side * 0.9, 3.4), (side * 0.5, 4.4), (side * 0.8, 5.6)], closed=False)
        layer.soft(fold, dark, 0.25, 0.16, cloth, width=0.2)
    _paint_collar(layer, person, cloth, dark)


def _paint_legs(layer: Layer, person: Person) -> None:
    for side in (-1, 1):
        leg = [
            (side * 0.02, 6.2),
            (side * 1.5, 6.2),
            (side * 1.4, 10),
            (side * 1.15, 14),
            (side * 0.35, 14),
            (side * 0.3, 10),
        ]
        layer.shape(leg, person.trousers)
        layer.shape(ellipse(side * 0.85, 14.2, 0.62, 0.32), (34, 32, 34))
        layer.shape(ellipse(side * 1.95, 7.1, 0.3, 0.45), scaled(person.skin, 0.9))
    layer.soft([(0, 6.6), (0, 14)], (10, 10, 14), 0.6, 0.12, width=0.25)


def _paint_pattern(layer: Layer, person: Person, cloth: FloatArray) -> None:
    tint = (
        scaled(person.clothing_colour, 1.5)
        if sum(person.clothing_colour) < 330
        else scaled(person.clothing_colour, 0.6)
    )
    strokes: list[tuple[FloatArray, Colour, float]] = [
        (np.array([(-2.4, y), (0, y + 0.1), (2.4, y)]), tint, 0.14) for y in np.arange(1.8, HIP, 0.5)
    ]
    if person.pattern == "checks":
        strokes += [(np.array([(x, 1.6), (x * 1.1, HIP + 0.2)]), tint, 0.1) for x in np.arange(-2.0, 2.1, 0.5)]
    layer.inside(cloth, strokes)


def _paint_collar(layer: Layer, person: Person, cloth: FloatArray, dark: Colour) -> None:
    colour, under = person.clothing_colour, person.under_colour
    if layer.detail < 2.5:
        return
    if person.clothing == "round neck":
        neckline = smooth([(-0.62, 1.68), (-0.36, 2.05), (0, 2.2), (0.36, 2.05), (0.62, 1.68)], closed=False)
        layer.fill(neckline, scaled(person.skin, 0.88))
        layer.stroke(neckline, dark, 0.08)
    elif person.clothing == "shirt":
        layer.fill([(-0.6, 1.6), (0, 2.5), (0.6, 1.6)], scaled(person.skin, 0.86))
        for side in (-1, 1):
            layer.fill([(side * 0.5, 1.5), (0, 2.55), (side * 0.5, 2.75), (side * 0.95, 1.85)], scaled(colour, 1.12))
            layer.stroke([(0, 2.55), (side * 0.5, 2.75), (side * 0.95, 1.85)], dark, 0.04)
        layer.stroke([(0, 2.5), (0.03, 6.6)], dark, 0.05)
        if person.mirror > 0:
            layer.fill([(-0.14, 2.45), (0.14, 2.45), (0.24, 5.4), (0, 5.8), (-0.24, 5.4)], scaled(under, 0.6))
    elif person.clothing == "jacket":
        layer.fill(smooth([(-0.55, 1.6), (-0.7, 3.4), (-0.35, 6.7), (0.35, 6.7), (0.7, 3.4), (0.55, 1.6)], 4), under)
        layer.fill([(-0.5, 1.6), (0, 2.15), (0.5, 1.6)], scaled(person.skin, 0.85))
        for side in (-1, 1):
            layer.fill(
                [(side * 0.55, 1.5), (side * 0.25, 3.3), (side * 0.95, 3.0), (side * 1.2, 1.9)], scaled(colour, 0.82)
            )
            layer.stroke([(side * 0.25, 3.3), (side * 0.95, 3.0), (side * 1.2, 1.9)], dark, 0.04)
    elif person.clothing == "hoodie":
        layer.fill(
            smooth([(-1.15, 1.75), (-0.7, 2.45), (0, 2.75), (0.7, 2.45), (1.15, 1.75), (0.5, 1.6), (-0.5, 1.6)]),
            scaled(colour, 0.8),
        )
        layer.fill(smooth([(-0.5, 1.62), (0, 2.2), (0.5, 1.62)], closed=False), scaled(person.skin, 0.8))
        for side in (-1, 1):
            layer.stroke([(side * 0.35, 2.6), (side * 0.4, 3.8)], (220, 218, 212), 0.06)
    else:
        layer.fill(
            smooth([(-0.62, 1.28), (-0.7, 1.9), (0, 2.15), (0.7, 1.9), (0.62, 1.28), (0, 1.45)]), scaled(colour, 0.9)
        )
        layer.soft([(-0.6, 1.62), (0, 1.8), (0.6, 1.62)], dark, 0.6, 0.05, cloth, width=0.08)


def scarf_polygon(person: Person) -> FloatArray:
    """A scarf drawn up over mouth and chin, in units."""
    g = Geometry.of(person)
    top = g.on_face(smooth([(-1.02, 0.3), (-0.5, 0.52), (0, 0.58), (0.5, 0.52), (1.02, 0.3)], closed=False), 0.1)
    low = np.array([(1.35, 1.3), (1.5, 2.0), (0.9, 2.5), (0, 2.65), (-0.9, 2.5), (-1.5, 2.0), (-1.35, 1.3)])
    return np.concatenate([top, smooth(low, closed=False)])


def hand_polygons(person: Person) -> list[FloatArray]:
    """A hand before the mouth: palm and four fingers, in units (the sleeve is painted apart)."""
    s = person.occluder_side
    g = Geometry.of(person)
    at = g.on_face([(0.06 * s, 0.86)], 0.1)[0]
    palm = ellipse(at[0] + 0.3 * s, at[1] + 0.22, 0.44, 0.36, -0.5 * s)
    polygons = [palm]
    for k, (reach, lift) in enumerate(((0.62, -0.32), (0.74, -0.14), (0.7, 0.05), (0.56, 0.22))):
        middle = at + offset((-0.12 - 0.25 * reach) * s + 0.08 * s, lift + 0.06)
        polygons.append(ellipse(middle[0], middle[1], 0.5 * reach, 0.115 - 0.008 * k, (0.22 - 0.05 * k) * s, 16))
    polygons.append(ellipse(at[0] + 0.34 * s, at[1] - 0.16, 0.3, 0.12, -0.95 * s, 16))
    return polygons


def occluder_polygons(person: Person) -> list[FloatArray]:
    """Outlines, in units, of what the person holds or wears before the face."""
    if person.occluder == "scarf":
        return [scarf_polygon(person)]
    if person.occluder == "hand":
        return hand_polygons(person)
    return []


def paint_occluder(layer: Layer, person: Person) -> None:
    """The scarf or the hand, over everything else of this person."""
    if person.occluder == "scarf":
        _paint_scarf(layer, person)
    elif person.occluder == "hand":
        _paint_hand(layer, person)


def _paint_scarf(layer: Layer, person: Person) -> None:
    colour = person.occluder_colour
    outline = scarf_polygon(person)
    dark = mix(scaled(colour, 0.55), (30, 24, 40), 0.2)
    layer.soft(outline - offset(0, 0.05), (28, 16, 14), 0.45, 0.05)
    layer.shape(outline, colour)
    g = Geometry.of(person)
    for v, bow in ((0.78, 0.16), (1.02, 0.2), (1.3, 0.26), (1.62, 0.3)):
        fold = g.on_face(
            smooth([(-1.0, v - 0.2), (-0.4, v + bow * 0.7), (0.1, v + bow), (0.6, v), (1.0, v - 0.3)], closed=False)
        )
        layer.soft(fold, dark, 0.6, 0.035, outline, width=0.06)
        layer.soft(fold - offset(0, 0.09), scaled(colour, 1.25), 0.4, 0.04, outline, width=0.06)
    if person.pattern != "plain" and layer.detail > 4:
        tint = scaled(colour, 1.45) if sum(colour) < 330 else scaled(colour, 0.6)
        lines: list[tuple[FloatArray, Colour, float]] = [
            (np.array([(x, 0.2), (x * 1.3 + 0.2, 2.6)]), tint, 0.08) for x in np.arange(-1.2, 1.3, 0.3)
        ]
        layer.inside(outline, lines)


def _paint_hand(layer: Layer, person: Person) -> None:
    s = person.occluder_side
    skin = scaled(person.skin, 1.02)
    dark = mix(scaled(person.skin, 0.55), (96, 40, 30), 0.15)
    polygons = hand_polygons(person)
    palm = polygons[0]
    wrist = palm.mean(0)
    sleeve = [
        wrist + offset(0.12 * s, 0.2),
        wrist + offset(0.72 * s, 0.0),
        wrist + offset(1.75 * s, 2.5),
        wrist + offset(0.85 * s, 2.8),
    ]
    layer.shape(
        np.array(
            [
                wrist + offset(-0.1 * s, 0.1),
                wrist + offset(0.42 * s, -0.1),
                wrist + offset(0.8 * s, 0.7),
                wrist + offset(0.3 * s, 0.8),
            ]
        ),
        skin,
    )
    layer.shape(np.array(sleeve) + offset(0.22 * s, 0.42), scaled(person.clothing_colour, 0.92))
    for polygon in polygons:
        layer.soft(polygon + offset(0, 0.05), (30, 16, 12), 0.3, 0.04)
    layer.shape(palm, skin)
    layer.soft(palm + offset(0.1 * s, 0.15), dark, 0.35, 0.12, palm)
    for finger in polygons[1:]:
        layer.shape(finger, skin)
        layer.soft(np.concatenate([finger, finger[:1]]), dark, 0.55, 0.02, finger, width=0.05)
        layer.soft(finger - offset(0, 0.04), scaled(skin, 1.12), 0.4, 0.03, finger)
