"""Detections drawn on their photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from maskbench.inference.detections import Detections

#: Okabe & Ito's palette (2008), told apart by colour-blind readers; the classes take them in order.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
#: Side from which on photographs are drawn on as they are; smaller ones are enlarged, or labels would hide faces.
LEAST_SIDE = 800
#: Letters' height as a share of the longer side.
_TEXT = 0.018


def annotated(image: NDArray[np.uint8] | Image.Image, found: Detections) -> Image.Image:
    """A copy of the photograph with boxes, classes and scores.

    Args:
        image: RGB, of the size that the detections name.
        found: what to draw, the surest last, so that it lies on top.

    Returns:
        RGB; photographs with a longer side below `LEAST_SIDE` px are enlarged to it.

    Raises:
        ValueError: the photograph has another size.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    if picture.size != (found.width, found.height):
        raise ValueError(
            f"a photograph of {picture.width} × {picture.height} px; these faces are of one of {found.width} × "
            f"{found.height} px"
        )
    scale = max(1.0, LEAST_SIDE / max(picture.size))
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    line = max(2, round(max(size) / 500))
    font = ImageFont.load_default(size=max(11, round(max(size) * _TEXT)))
    for face in reversed(list(found)):
        colour = PALETTE[found.classes.index(face.label) % len(PALETTE)]
        box = [value * scale for value in face.box]
        draw.rectangle(box, outline=colour, width=line)
        _tag(draw, f"{face.label} {face.score:.2f}", box, colour, font, size)
    return picture


def _tag(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: list[float],
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Class and score above the box, or below where there is no room; never outside the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 4
    x = min(max(box[0], 0), max(size[0] - width, 0))
    y = box[1] - height if box[1] >= height else min(box[3], max(size[1] - height, 0))
    draw.rectangle([x, y, x + width, y + height], fill=colour)
    dark = colour in {"#E69F00", "#56B4E9", "#F0E442"}
    draw.text((x + 3 - left, y + 2 - top), text, fill="black" if dark else "white", font=font)
