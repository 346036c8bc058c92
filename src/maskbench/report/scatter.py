"""Embeddings of faces as an interactive picture: a point shows its face when the pointer is on it, without a script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.report.style import PALETTE

#: Pixels of the drawing: a panel's side, what is around it, the height of the preview under it.
PANEL, GAP, HEAD, PREVIEW = 470, 24, 26, 132


@dataclass(frozen=True)
class Sheet:
    """Small pictures of faces in one image.

    Attributes:
        jpeg: the image's bytes; tiles in rows.
        face_ids: of the tiles, row after row.
        columns: tiles in a row.
        tile: side of a tile, px.
    """

    jpeg: bytes
    face_ids: tuple[str, ...]
    columns: int
    tile: int

    @property
    def data(self) -> str:
        """The image, for a data address."""
        return base64.b64encode(self.jpeg).decode("ascii")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.columns * self.tile, -(-len(self.face_ids) // self.columns) * self.tile

    def places(self) -> dict[str, tuple[int, int]]:
        """Left and upper edge of each face's tile, px."""
        return {
            face_id: (index % self.columns * self.tile, index // self.columns * self.tile)
            for index, face_id in enumerate(self.face_ids)
        }


@dataclass(frozen=True)
class Point:
    """A face in a panel.

    Attributes:
        x, y: px of the drawing.
        colour: of its class.
        wrong: the arm gets it wrong.
        tile: left and upper edge in the sheet, px.
        lines: what is known of it.
    """

    x: float
    y: float
    colour: str
    wrong: bool
    tile: tuple[int, int]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One arm's embedding.

    Attributes:
        title: above.
        left: edge, px.
        points: those that are right first, so that mistakes lie on top.
    """

    title: str
    left: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Scatter:
    """All panels with their sheet.

    Attributes:
        panels: from left to right.
        sheet: the faces.
        legend: class names with their colours.
        caption: what is shown.
    """

    panels: tuple[Panel, ...]
    sheet: Sheet
    legend: tuple[tuple[str, str], ...]
    caption: str
    side: int = PANEL
    head: int = HEAD
    preview: int = PREVIEW

    @property
    def width(self) -> int:
        """Of the drawing, px."""
        return len(self.panels) * (PANEL + GAP) - GAP

    @property
    def height(self) -> int:
        """Of the drawing, px."""
        return HEAD + PANEL + PREVIEW


def make_scatter(
    embedding: pd.DataFrame, sheet: Sheet, classes: Sequence[str], arms: Sequence[str], caption: str
) -> Scatter:
    """Lay out one panel per arm.

    Args:
        embedding: `schemas.representations.EMBEDDING` of one method and seed; faces without a tile are left out.
        sheet: the faces.
        classes: class order.
        arms: in order; those without rows are left out.
        caption: what is shown.
    """
    places, paint = sheet.places(), {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(classes)}
    panels: list[Panel] = []
    for arm in [arm for arm in arms if (embedding["arm"] == arm).any()]:
        part = embedding[(embedding["arm"] == arm) & embedding["face_id"].isin(places)]
        part = part.sort_values(["correct", "face_id"], ascending=[False, True], kind="stable")
        left = len(panels) * (PANEL + GAP)
        xs = left + _scaled(part["x"].to_numpy(dtype=float))
        ys = HEAD + _scaled(-part["y"].to_numpy(dtype=float))
        points = [
            Point(round(float(x), 1), round(float(y), 1), paint[row["label"]], not row["correct"],
                  places[row["face_id"]], _lines(row))
            for x, y, row in zip(xs, ys, part.to_dict("records"), strict=True)
        ]  # fmt: skip
        panels.append(Panel(arm, left, tuple(points)))
    return Scatter(tuple(panels), sheet, tuple(paint.items()), caption)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values over a panel's side, with room for the points at its edges."""
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return np.asarray(10 + share * (PANEL - 20))


def _lines(row: Mapping[Any, Any]) -> tuple[str, ...]:
    verdict = "right" if row["correct"] else f"predicted {row['predicted']}"
    return (str(row["face_id"]), f"{row['label']}, {verdict}", f"{row['box_side_px']:.0f} px wide")
