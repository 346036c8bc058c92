"""Masks: shapes on the face's surface, cloth, folds, straps; worn correctly or not."""

from __future__ import annotations

import numpy as np

from maskbench.data.sample.head import Geometry
from maskbench.data.sample.paint import Colour, FloatArray, Layer, ellipse, mix, offset, scaled, smooth
from maskbench.data.sample.traits import Mask, Person


def _edges(mask: Mask) -> tuple[FloatArray, FloatArray]:
    """Upper and lower edge in surface coordinates, each left to right."""
    d = 0.04 * mask.droop
    if mask.style == "under nose":
        top = [(-0.9, 0.36), (-0.5, 0.5), (-0.2, 0.58), (0, 0.6), (0.2, 0.58), (0.5, 0.5), (0.9, 0.36)]
        low = [(-0.86, 0.92), (-0.52, 1.24), (-0.24, 1.4), (0, 1.43), (0.24, 1.4), (0.52, 1.24), (0.86, 0.92)]
    elif mask.style == "on chin":
        top = [(-0.9, 0.66), (-0.5, 0.88), (-0.2, 0.97), (0, 0.98), (0.2, 0.97), (0.5, 0.88), (0.9, 0.66)]
        low = [(-0.88, 1.04), (-0.54, 1.4), (-0.24, 1.52), (0, 1.54), (0.24, 1.52), (0.54, 1.4), (0.88, 1.04)]
    elif mask.kind == "n95":
        top = [(-0.8, 0.26), (-0.5, 0.1), (-0.2, -0.03), (0, -0.06), (0.2, -0.03), (0.5, 0.1), (0.8, 0.26)]
        low = [(-0.78, 0.7), (-0.55, 1.1), (-0.26, 1.3), (0, 1.34), (0.26, 1.3), (0.55, 1.1), (0.78, 0.7)]
    else:
        top = [(-0.93, 0.1), (-0.55, 0.1), (-0.22, 0.0), (0, -0.02), (0.22, 0.0), (0.55, 0.1), (0.93, 0.1)]
        low = [(-0.88, 0.84), (-0.56, 1.2), (-0.26, 1.36), (0, 1.38), (0.26, 1.36), (0.56, 1.2), (0.88, 0.84)]
    return smooth(np.array(top) + offset(0, d), closed=False), smooth(np.array(low) + offset(0, d / 2), closed=False)


def _lift(points: FloatArray, mask: Mask) -> FloatArray:
    """How far the cloth stands out: most over the nose's tip and the mouth."""
    out = 0.34 if mask.kind == "n95" else 0.24
    if mask.style == "on chin":
        out = 0.12
    return np.asarray(out * np.exp(-((points[:, 0] / 0.5) ** 2)))


def _hanging(mask: Mask, geometry: Geometry) -> FloatArray:
    """A mask that dangles from one ear, seen from its edge, in units."""
    side = mask.ear
    ear = geometry.on_face([(side * 0.97, 0.22)])[0]
    knots = [(0.06, 0.0), (-0.42, 0.2), (-0.5, 0.75), (-0.38, 1.22), (-0.05, 1.32), (0.16, 0.9), (0.17, 0.3)]
    return smooth(np.array(knots) * [side, 0.86] + ear)


def mask_polygon(person: Person) -> FloatArray | None:
    """Outline of the mask's cloth (straps are not part of it) in units, (n, 2), or None."""
    if person.mask is None:
        return None
    g = Geometry.of(person)
    if person.mask.style == "one ear":
        return _hanging(person.mask, g)
    top, low = _edges(person.mask)
    ring = np.concatenate([top, low[::-1]])
    return g.on_face(ring, _lift(ring, person.mask))


def paint_mask(layer: Layer, person: Person, light_x: float) -> None:
    """Straps, shadow, cloth and its folds."""
    mask, outline = person.mask, mask_polygon(person)
    if mask is None or outline is None:
        return
    g = Geometry.of(person)
    face = g.outline(grow=0.05)
    strap = mix(mask.colour, (225, 225, 225), 0.5) if mask.colour_name not in ("black", "navy") else mask.colour
    strap = scaled(strap, 0.92)
    if mask.style == "one ear":
        side = mask.ear
        ear = g.on_face([(side * 0.97, 0.0)])[0]
        layer.stroke(
            smooth([ear, ear + offset(0.1 * side, 0.2), ear + offset(0.05 * side, 0.36)], closed=False),
            strap,
            0.04,
            True,
        )
        layer.soft(outline + offset(-0.07 * light_x, 0.05), (30, 16, 12), 0.45, 0.06, face)
        layer.shape(outline, mask.colour)
        _cloth(layer, person, mask, outline, light_x)
        return
    top, low = _edges(mask)
    for side, end in ((-1, 0), (1, -1)):
        if side * np.sin(person.yaw) > 0.55:  # that ear is out of sight
            continue
        for corner, v in ((top[end], -0.12), (low[end], 0.26)):
            ear = (side * 1.01, v)
            sag = ((corner[0] + ear[0]) / 2, (corner[1] + v) / 2 + 0.02)
            layer.soft(g.on_face([corner, sag, ear]) + offset(0, 0.03), (40, 22, 18), 0.35, 0.02, face, width=0.05)
            layer.stroke(g.on_face(smooth([corner, sag, ear], closed=False)), strap, 0.035)
    layer.soft(outline + offset(-0.05 * light_x, -0.03), (30, 16, 12), 0.5, 0.05, face)
    layer.shape(outline, mask.colour)
    _cloth(layer, person, mask, outline, light_x)


def _cloth(layer: Layer, person: Person, mask: Mask, outline: FloatArray, light_x: float) -> None:
    """Shading, folds, patterns and fittings, all inside the outline."""
    g = Geometry.of(person)
    colour = mask.colour
    cool = mix(scaled(colour, 0.62), (60, 72, 96), 0.25)
    low, high = outline.min(0), outline.max(0)
    centre, half = (low + high) / 2, (high - low) / 2
    ridge = float(g.on_face([(0, 0.6)], 0.2)[0, 0]) if mask.style != "one ear" else float(centre[0])
    # the side away from the light, the fall below the ridge, the bright ridge itself
    away = -np.sign(light_x) if light_x else 1.0
    shade = ellipse(centre[0] + away * half[0] * 0.95, centre[1] + 0.15, half[0] * 0.6, half[1] * 1.1)
    layer.soft(shade, cool, 0.5, 0.2 * half[0] + 0.04, outline)
    layer.soft(ellipse(centre[0], high[1], half[0], 0.24 * half[1]), cool, 0.6, 0.14 * half[1] + 0.03, outline)
    bright = mix(scaled(colour, 1.12), (255, 255, 255), 0.2 if sum(colour) > 200 else 0.1)
    layer.soft(
        ellipse(ridge - away * 0.12, centre[1] - 0.25 * half[1], 0.3 * half[0], 0.5 * half[1]),
        bright,
        0.6,
        0.16 * half[0],
        outline,
    )
    if layer.detail < 5:
        return
    if mask.kind == "patterned":
        _pattern(layer, mask, outline)
    if mask.style == "one ear":
        for share in (0.3, 0.55, 0.8):
            y = low[1] + share * (high[1] - low[1])
            layer.soft([(low[0], y), (high[0], y + 0.05)], cool, 0.5, 0.015, outline, width=0.035)
    elif mask.kind == "surgical":
        _pleats(layer, g, mask, outline, cool, bright)
    elif mask.kind == "n95":
        _cup(layer, g, mask, outline, cool)
    else:
        seam = smooth([(0, 0.0), (0.02, 0.5), (0, 1.0), (0, 1.5)], closed=False)
        layer.soft(g.on_face(seam, 0.22), cool, 0.6, 0.012, outline, width=0.03)
        for u in (-0.62, 0.62):
            fold = smooth([(u * 1.25, 0.3), (u * 0.9, 0.55), (u * 0.6, 0.62)], closed=False)
            layer.soft(g.on_face(fold, 0.05), cool, 0.5, 0.03, outline, width=0.05)
    rim = np.concatenate([outline, outline[:2]])
    layer.soft(rim, cool, 0.65, 0.012, outline, width=0.04)


def _pleats(layer: Layer, g: Geometry, mask: Mask, outline: FloatArray, cool: Colour, bright: Colour) -> None:
    top, low = _edges(mask)
    shares = (0.3, 0.5, 0.7) if mask.style != "on chin" else (0.3, 0.6)
    for share in shares:
        line = top + share * (low - top)
        placed = g.on_face(line, _lift(line, mask))
        layer.soft(placed, cool, 0.62, 0.012, outline, width=0.04)
        layer.soft(placed + offset(0, 0.05), bright, 0.5, 0.015, outline, width=0.035)
    wire = top + 0.1 * (low - top)
    layer.soft(g.on_face(wire, _lift(wire, mask)), bright, 0.6, 0.012, outline, width=0.05)


def _cup(layer: Layer, g: Geometry, mask: Mask, outline: FloatArray, cool: Colour) -> None:
    top, low = _edges(mask)
    for share in (0.14, 0.86):
        line = top + share * (low - top)
        layer.soft(g.on_face(line, _lift(line, mask)), cool, 0.55, 0.012, outline, width=0.03)
    for radius, tint in ((0.2, scaled(mask.colour, 0.72)), (0.15, scaled(mask.colour, 0.9)), (0.06, cool)):
        layer.soft(g.on_face(ellipse(0.3, 0.72, radius, radius), 0.2), tint, 0.95, 0.008, outline)


def _pattern(layer: Layer, mask: Mask, outline: FloatArray) -> None:
    rng = np.random.default_rng(mask.pattern_seed)
    low, high = outline.min(0), outline.max(0)
    strokes: list[tuple[FloatArray, Colour, float]] = []
    if "checks" in mask.colour_name or "stripes" in mask.colour_name:
        for x in np.arange(low[0], high[0], 0.24):
            strokes.append((np.array([(x, low[1]), (x + 0.1, high[1])]), scaled(mask.colour, 0.6), 0.07))
        if "checks" in mask.colour_name:
            for y in np.arange(low[1], high[1], 0.24):
                strokes.append((np.array([(low[0], y), (high[0], y)]), (238, 226, 214), 0.05))
    else:
        tints: list[Colour] = [(206, 92, 112), (104, 150, 110), (96, 124, 188)]
        if "dots" in mask.colour_name:
            tints = [(232, 236, 240)]
        for _ in range(34):
            x, y = rng.uniform(low, high)
            r = float(rng.uniform(0.035, 0.085))
            strokes.append((ellipse(float(x), float(y), r, r, n=10), tints[int(rng.integers(len(tints)))], 0.0))
    layer.inside(outline, strokes)
