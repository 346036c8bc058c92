"""What grows on a head and what is worn there: hair, hats, glasses. Units as in `head`."""

from __future__ import annotations

import math

import numpy as np

from maskbench.data.sample.head import EYE_V, RADIUS, Geometry, paint_ears
from maskbench.data.sample.paint import Colour, FloatArray, Layer, ellipse, offset, scaled, smooth
from maskbench.data.sample.traits import Person


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
        paint_ears(layer, person, near=True)


def _paint_hair_behind_ear(layer: Layer, person: Person) -> None:
    """The back of a turned head: between the ear and the silhouette it is hair, not cheek."""
    sine = math.sin(person.yaw)
    if person.hair_style == "bald" or abs(sine) < 0.28:
        return
    g = Geometry.of(person)
    side = -1.0 if sine > 0 else 1.0
    v = np.array([-1.2, -0.6, -0.1, 0.2, 0.38, 0.5])
    ear = np.stack([side * RADIUS * math.cos(person.yaw) * np.array([0.7, 0.86, 0.97, 1.0, 1.02, 1.04]), v], 1)
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
