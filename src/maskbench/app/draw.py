"""Pictures of answers: boxes on a photograph, a face beside its map."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maskbench.app.photographs import Picture
from maskbench.app.service import ArmFaces, Explanation
from maskbench.data.photographs import resized
from maskbench.inference.detections import Detections

#: Longer side of what is shown, px.
SHOWN_SIDE = 1280
#: White between a face and its map, px.
_GAP = 8


def faces_drawn(picture: Picture, seen: ArmFaces, selected: int | None = None) -> Image.Image:
    """A copy of the photograph with an arm's boxes, classes and scores; the selected face is framed once more."""
    scale = min(1.0, SHOWN_SIDE / max(picture.width, picture.height))
    width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    factor = np.array([width / picture.width, height / picture.height] * 2)
    boxes = np.array([face.box for face in seen.faces], dtype=float).reshape(-1, 4) * factor
    labels, scores = [face.label for face in seen.faces], [face.score for face in seen.faces]
    shown = Image.fromarray(resized(picture.pixels, height, width))
    drawn = Detections.of(boxes, labels, scores, width, height, seen.classes).plot(shown)
    if selected is not None:
        _frame(drawn, boxes[selected] * drawn.width / width)
    return drawn


def _frame(image: Image.Image, box: NDArray[np.float64]) -> None:
    """A white frame with a black edge inside a box: seen on any photograph, beside any class's colour."""
    draw, line = ImageDraw.Draw(image), max(3, round(max(image.size) / 250))
    xmin, ymin, xmax, ymax = (float(value) for value in box)
    line = min(line, max(1, int(min(xmax - xmin, ymax - ymin)) // 8))
    for step, colour in ((line, "white"), (2 * line, "black")):
        if xmax - xmin > 2 * step and ymax - ymin > 2 * step:
            draw.rectangle([xmin + step, ymin + step, xmax - step, ymax - step], outline=colour, width=line)


def side_by_side(explanation: Explanation) -> Image.Image:
    """What the model sees of a face, and the map over it."""
    side = explanation.face.shape[0]
    sheet = Image.new("RGB", (2 * side + _GAP, side), "white")
    sheet.paste(Image.fromarray(explanation.face), (0, 0))
    sheet.paste(Image.fromarray(explanation.overlay), (side + _GAP, 0))
    return sheet


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
