"""Photographs that people hand in: refused before they are decoded, turned upright, of a size that costs little."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskbench.data.images import ImageError, decode

Box = tuple[float, float, float, float]

#: A header that promises more is refused before decoding; an upload of a phone's camera has 12 to 50 million.
MAX_PIXELS = 50_000_000
#: Longer side from which on a photograph is reduced, px: models see at most a few hundred of them, and a square around
#: a long strip of pixels would take memory without end.
WORKING_SIDE = 4096
#: Boxes that may be given with one photograph.
MOST_BOXES = 100
#: Letters of a file's name in messages.
_NAME = 60
# EXIF 2.32, 4.6.4 A, Orientation: what turns stored pixels upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BoxError(ValueError):
    """A box that no face can have; the message is one line that says why."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph, ready to be looked at.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright, with sides of at most `WORKING_SIDE` px.
        width: of the upright photograph as handed in, px: what boxes are counted in.
        height: likewise.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int

    @property
    def scale(self) -> NDArray[np.float64]:
        """(4,) px of `pixels` per px of the photograph, for `xmin, ymin, xmax, ymax`."""
        across, down = self.pixels.shape[1] / self.width, self.pixels.shape[0] / self.height
        return np.array([across, down, across, down])

    @property
    def whole(self) -> Box:
        """The photograph's own edges."""
        return (0.0, 0.0, float(self.width), float(self.height))


def plain_name(name: str | None) -> str:
    r"""What messages call a file: the last part of its name, printable and short.

    Example:
        >>> plain_name("../../etc/pass\nwd.png"), plain_name("C:\\a\\b.png"), plain_name(None)
        ('pass wd.png', 'b.png', 'photograph')
    """
    last = PureWindowsPath(PurePosixPath(name or "").name).name
    printable = re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in last)).strip()
    return (printable if len(printable) <= _NAME else printable[: _NAME - 1] + "…") or "photograph"


def read_picture(content: bytes, name: str, *, max_bytes: int) -> Picture:
    """A photograph from the bytes of a file.

    Args:
        content: a whole PNG or JPEG file; of an animated PNG, the first picture counts.
        name: what messages call it.
        max_bytes: more are refused.

    Raises:
        ImageError: too many bytes or pixels, neither PNG nor JPEG, or damaged.
    """
    if len(content) > max_bytes:
        raise ImageError(f"{name}: larger than the {megabytes(max_bytes)} allowed", "too_large")
    photograph = decode(content, name, MAX_PIXELS)
    upright = photograph.rgb
    if photograph.orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[photograph.orientation])
    width, height = upright.size
    scale = min(1.0, WORKING_SIDE / max(width, height))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        upright = upright.resize(size, Image.Resampling.BILINEAR)
    return Picture(np.asarray(upright), width, height)


def megabytes(count: int) -> str:
    """A number of bytes for people.

    Example:
        >>> megabytes(20 * 1024**2), megabytes(1024**2 // 2)
        ('20 MB', '0.5 MB')
    """
    return f"{count / 1024**2:.3g} MB"


def parse_boxes(text: str) -> list[Box]:
    """Boxes that a person wrote: `xmin,ymin,xmax,ymax` in px, several with semicolons or line breaks between them.

    Raises:
        BoxError: not four numbers.

    Example:
        >>> parse_boxes("1,2,3,4; 5, 6, 7.5, 8")
        [(1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.5, 8.0)]
    """
    boxes: list[Box] = []
    for part in re.split(r"[;\n]", text):
        if not part.strip():
            continue
        try:
            xmin, ymin, xmax, ymax = (float(number) for number in part.split(","))
        except ValueError as error:
            raise BoxError(f"box {part.strip()[:_NAME]!r}: write it as xmin,ymin,xmax,ymax in px") from error
        boxes.append((xmin, ymin, xmax, ymax))
    return boxes


def check_boxes(boxes: Sequence[Box], picture: Picture) -> None:
    """Refuse boxes that no face of the photograph can have.

    Raises:
        BoxError: too many, not finite, inverted, under a pixel wide or high, or not inside the photograph.
    """
    if len(boxes) > MOST_BOXES:
        raise BoxError(f"{len(boxes)} boxes: at most {MOST_BOXES} for one photograph")
    for box in boxes:
        named = "box " + ",".join(f"{value:g}" for value in box)
        if not all(math.isfinite(value) for value in box):
            raise BoxError(f"{named}: every number must be finite")
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            raise BoxError(f"{named}: xmin,ymin,xmax,ymax with at least 1 px between them is needed")
        if box[0] < 0 or box[1] < 0 or box[2] > picture.width or box[3] > picture.height:
            raise BoxError(f"{named}: reaches outside the photograph of {picture.width} × {picture.height} px")
