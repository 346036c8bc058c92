"""Photographs: headers and decoding to 8-bit RGB, PNG and JPEG only.

What a file is, its content says, never its name. The header is read before any pixel, so that a file
that promises more pixels than allowed is refused before memory is spent. Nothing global in Pillow is
changed: any number of threads and processes can decode at once.

The annotations refer to stored pixels, so an EXIF orientation is reported and not applied. Alpha is
reported and ignored: the pixels are those of Pillow's `convert("RGB")`. 16-bit samples are read by
their high byte, in colour (as Pillow does) and in grey (where Pillow's own conversion would clip).
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskbench.storage import read_at_most

Format = Literal["PNG", "JPEG"]

FORMATS: tuple[Format, ...] = ("PNG", "JPEG")
#: Extensions that name each format.
SUFFIXES: dict[Format, tuple[str, ...]] = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif")}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
# PNG specification, table 11.1: colour type -> Pillow's mode and permitted depths.
_PNG_MODES: dict[int, tuple[str, tuple[int, ...]]] = {
    0: ("L", (1, 2, 4, 8, 16)),
    2: ("RGB", (8, 16)),
    3: ("P", (1, 2, 4, 8)),
    4: ("LA", (8, 16)),
    6: ("RGBA", (8, 16)),
}
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# ITU T.81, table B.1: start-of-frame markers are C0…CF without DHT (C4), JPG (C8), DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_EXIF_ORIENTATION = 0x0112
# A sample takes at most 2 bytes and a pixel 4 samples; the rest is for metadata and incompressible rows.
_BYTES_PER_PIXEL = 12
_METADATA_BYTES = 32 * 1024**2


class ImageError(ValueError):
    """A photograph cannot be used; the message is one line that names the file.

    Attributes:
        kind: `unreadable` (the file system says no), `not_an_image` (neither PNG nor JPEG),
            `too_large` (a decompression bomb), `damaged` (truncated or corrupt).
    """

    def __init__(self, message: str, kind: Literal["unreadable", "not_an_image", "too_large", "damaged"]) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        """Keep `kind` on the way back from a worker process."""
        return type(self), (str(self), self.kind)


@dataclass(frozen=True)
class Header:
    """What a file's header promises.

    Attributes:
        format: `PNG` or `JPEG`, by content.
        width: px.
        height: px.
        mode: Pillow's name of the pixel layout: `1`, `L`, `LA`, `I;16`, `P`, `RGB`, `RGBA`, `CMYK`.
        bit_depth: bits per sample (per index for `P`).
    """

    format: Format
    width: int
    height: int
    mode: str
    bit_depth: int


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph.

    Attributes:
        header: what the file is.
        rgb: the pixels as a Pillow image of mode `RGB`, in stored orientation.
        transparent_share: share of pixels whose alpha, at 8 bits, is below 255; 0 without alpha.
        orientation: EXIF orientation, 1…8; 1 when there is none. Not applied.
    """

    header: Header
    rgb: Image.Image
    transparent_share: float
    orientation: int


def read_header(path: Path) -> Header:
    """Read a PNG's or JPEG's header without decoding pixels.

    Args:
        path: the file; its name plays no part.

    Raises:
        ImageError: neither PNG nor JPEG, or the header is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _header(file, path.name)
    except OSError as error:
        raise ImageError(f"{path.name}: cannot be read ({error.strerror})", "unreadable") from error


def decode_rgb(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a photograph to 8-bit RGB.

    Args:
        path: the file; its name plays no part.
        max_pixels: a header promising more is refused before decoding.

    Returns:
        (H, W, 3) uint8, equal to Pillow's `convert("RGB")` (for 16-bit grey: the high byte).

    Raises:
        ImageError: not a PNG or JPEG, damaged, or too large.
    """
    path = Path(path)
    return np.array(decode(read_bytes(path, max_pixels), path.name, max_pixels).rgb)


def read_bytes(path: Path, max_pixels: int) -> bytes:
    """The bytes of a file, unless there are more than an image of `max_pixels` can need.

    Raises:
        ImageError: the file cannot be read, is empty or too large.
    """
    limit = _BYTES_PER_PIXEL * max_pixels + _METADATA_BYTES
    try:
        content = read_at_most(path, limit)
    except OSError as error:
        raise ImageError(f"{path.name}: cannot be read ({error.strerror})", "unreadable") from error
    if len(content) > limit:
        raise ImageError(f"{path.name}: more than {limit} bytes for at most {max_pixels} pixels", "too_large")
    return content


def decode(content: bytes, name: str, max_pixels: int) -> Photograph:
    """Decode the bytes of a photograph.

    Args:
        content: a whole file.
        name: what messages call it.
        max_pixels: a header promising more is refused before decoding.

    Raises:
        ImageError: not a PNG or JPEG, damaged, or too large.
    """
    header = _header(io.BytesIO(content), name)
    if header.width * header.height > max_pixels:
        raise ImageError(
            f"{name}: the header promises {header.width} × {header.height} px, more than the {max_pixels} allowed",
            "too_large",
        )
    try:
        with Image.open(io.BytesIO(content), formats=[header.format]) as image:
            # A second chunk or segment may contradict the header that was checked above.
            if image.size != (header.width, header.height):
                raise ImageError(f"{name}: damaged (two headers disagree about the size)", "damaged")
            image.load()
            share = _transparent_share(image)
            # Alpha has been counted; without this, Pillow would try to carry the key colour over, with warnings.
            image.info.pop("transparency", None)
            return Photograph(header, _to_rgb(image), share, _orientation(image))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: refused by Pillow as a decompression bomb", "too_large") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory for {header.width} × {header.height} px", "too_large") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError,
            OverflowError, AttributeError, NotImplementedError) as error:  # fmt: skip
        # Pillow's plugins raise all of these on damaged files.
        reason = " ".join(str(error).split()) or type(error).__name__
        # Pillow names the in-memory file by its address, which says nothing.
        reason = "content is not a valid " + header.format if "BytesIO" in reason else reason
        raise ImageError(f"{name}: damaged ({reason})", "damaged") from error


def suffix_matches(path: Path, format: Format) -> bool:
    """Whether the file's extension names the format its content has."""
    return path.suffix.lower() in SUFFIXES[format]


def _header(file: BinaryIO, name: str) -> Header:
    start = file.read(8)
    if start == _PNG_SIGNATURE:
        return _png_header(file, name)
    if start[:3] == _JPEG_SIGNATURE:
        file.seek(2)
        return _jpeg_header(file, name)
    if not start:
        raise ImageError(f"{name}: empty file", "damaged")
    raise ImageError(f"{name}: content is neither PNG nor JPEG", "not_an_image")


def _png_header(file: BinaryIO, name: str) -> Header:
    chunk = file.read(25)  # length, "IHDR", 13 bytes, CRC
    if len(chunk) < 25 or chunk[:8] != b"\x00\x00\x00\rIHDR":
        raise ImageError(f"{name}: damaged (PNG without its header chunk)", "damaged")
    if zlib.crc32(chunk[4:21]) != int.from_bytes(chunk[21:25], "big"):
        raise ImageError(f"{name}: damaged (checksum of the PNG header)", "damaged")
    width, height, depth, colour = struct.unpack(">IIBB", chunk[8:18])
    mode, depths = _PNG_MODES.get(colour, ("", ()))
    if depth not in depths or not width or not height:
        raise ImageError(f"{name}: damaged (PNG header promises nonsense)", "damaged")
    if mode == "L" and depth in (1, 16):
        mode = {1: "1", 16: "I;16"}[depth]
    return Header("PNG", width, height, mode, depth)


def _jpeg_header(file: BinaryIO, name: str) -> Header:
    """Walk the segments up to the frame header (ITU T.81, B.1 and B.2.2)."""
    while True:
        byte = file.read(1)
        while byte and byte != b"\xff":  # decoders skip garbage between segments
            byte = file.read(1)
        while byte == b"\xff":  # fill bytes
            byte = file.read(1)
        if not byte or byte[0] in (0xD9, 0xDA):
            raise ImageError(f"{name}: damaged (JPEG without a frame header)", "damaged")
        if byte[0] in _JPEG_BARE or byte[0] == 0:
            continue
        length = int.from_bytes(file.read(2), "big")
        if byte[0] not in _JPEG_FRAMES:
            file.seek(max(0, length - 2), io.SEEK_CUR)
            continue
        frame = file.read(6)
        if len(frame) < 6:
            raise ImageError(f"{name}: damaged (JPEG ends in its frame header)", "damaged")
        depth, height, width, components = struct.unpack(">BHHB", frame)
        if not width or not height or components not in _JPEG_MODES or depth != 8:
            raise ImageError(
                f"{name}: damaged or unsupported (JPEG of {width} × {height} px, {components} components, {depth} bit)",
                "damaged",
            )
        return Header("JPEG", width, height, _JPEG_MODES[components], depth)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image.copy()
    if image.mode.startswith("I"):  # 16-bit grey
        high = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    return image.convert("RGB")


def _transparent_share(image: Image.Image) -> float:
    if "A" in image.getbands():
        alpha = image.getchannel("A")
    elif "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        alpha = image.convert("RGBA").getchannel("A")
    else:
        return 0.0
    return 1.0 - alpha.histogram()[255] / (image.width * image.height)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error, IndexError):
        return 1  # damaged metadata; the pixels are not concerned
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
