"""Figures as the report embeds them: read from a run's folder, and made small."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from maskbench.storage import read_json

#: A palette is kept where at most this share of the pixels is off by more than so many of 255 levels in a channel.
MOST_OFF, LEVELS = 0.002, 24
_COLOURS = 256
_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A figure as the report embeds it.

    Attributes:
        name: stem of its file.
        title: says what is shown.
        caption: says what to look for.
        section: part of the report it belongs to, such as `eda` or `training`.
        png: the file's bytes.
    """

    name: str
    title: str
    caption: str
    section: str
    png: bytes


@dataclass(frozen=True)
class Embedded:
    """A picture ready for a page.

    Attributes:
        address: a `data:` address.
        width, height: px.
    """

    address: str
    width: int
    height: int


def embedded(png: bytes) -> Embedded:
    """A figure for a page, in about a third of its bytes.

    Lines and text keep all their sharpness in a palette of 256 colours; pictures in which that would show
    (photographs of faces) become WebP. The files in the folder of figures stay as they are.

    Args:
        png: a PNG file's bytes.
    """
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    palette = picture.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    off = np.asarray(ImageChops.difference(palette.convert("RGB"), picture))[::3, ::3] > LEVELS  # a ninth is enough
    kind, stream = "png", io.BytesIO()
    if off.any(axis=2).mean() <= MOST_OFF:
        palette.save(stream, "PNG")
    else:
        kind = "webp"
        picture.save(stream, "WEBP", quality=_QUALITY, method=2, use_sharp_yuv=True)
    data = min(stream.getvalue(), png, key=len)
    if data is png:
        kind = "png"
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}", *picture.size)


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """The figures of a run or comparison, as the lists in its folder of figures name them."""
    found = []
    for listing, entry in [(path, entry) for path in sorted(folder.glob("*.json")) for entry in read_json(path)]:
        path = folder / f"{entry['name']}.png"
        if path.resolve().parent != folder.resolve():
            raise ValueError(f"{listing}: {entry['name']!r} is not the name of a file in this folder")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: {listing.name} names it and it is not there; draw the figures again")
        fields = {key: str(entry[key]) for key in ("name", "title", "caption", "section")}
        found.append(Picture(**fields, png=path.read_bytes()))
    return tuple(found)
