"""What is handed in is checked before it is decoded, and turned upright."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from maskbench.app.photographs import (
    MAX_PIXELS,
    MOST_BOXES,
    WORKING_SIDE,
    BoxError,
    Picture,
    check_boxes,
    parse_boxes,
    plain_name,
    read_picture,
)
from maskbench.data.images import ImageError
from tests.app.conftest import MAX_BYTES, content


def pixels(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright_as_browsers_show_them(orientation: int) -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels()).save(file, "PNG", exif=exif)
    found = read_picture(file.getvalue(), "a.png", max_bytes=MAX_BYTES)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    assert np.array_equal(found.pixels, expected)
    assert (found.width, found.height) == ((9, 6) if orientation < 5 else (6, 9))


def test_large_photographs_are_reduced_and_boxes_stay_in_their_pixels() -> None:
    found = read_picture(content(np.zeros((10, 2 * WORKING_SIDE, 3), np.uint8)), "wide.png", max_bytes=MAX_BYTES)
    assert found.pixels.shape == (5, WORKING_SIDE, 3)
    assert (found.width, found.height, found.scale.tolist()) == (2 * WORKING_SIDE, 10, [0.5] * 4)


def bomb() -> bytes:
    """A header that promises more than is allowed, with a checksum that fits."""
    import zlib

    body = b"IHDR" + (50_000).to_bytes(4, "big") + (2_000).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" + body + zlib.crc32(body).to_bytes(4, "big")


FRAMES = [Image.fromarray(pixels()), Image.fromarray(255 - pixels())]


def animated(form: str) -> bytes:
    file = io.BytesIO()
    FRAMES[0].save(file, form, save_all=True, append_images=FRAMES[1:])
    return file.getvalue()


#: What people hand in that is none: its bytes, the kind of error, what the message says.
HOSTILE = {
    "empty.png": (b"", "damaged", "empty file"),
    "text.png": (b"dear sir, " * 50, "not_an_image", "neither PNG nor JPEG"),
    "truncated.png": (content(pixels(60, 90))[:2000], "damaged", "damaged"),
    "truncated.jpg": (content(pixels(60, 90), "JPEG")[:700], "damaged", "damaged"),
    "bomb.png": (bomb(), "too_large", f"more than the {MAX_PIXELS} allowed"),
    "animated.gif": (animated("GIF"), "not_an_image", "neither PNG nor JPEG"),
    "animated.webp": (animated("WEBP"), "not_an_image", "neither PNG nor JPEG"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not_an_image", "neither PNG"),
    "huge.png": (b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES), "too_large", "larger than the 0.25 MB allowed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_photograph_gets_one_line(name: str) -> None:
    given, kind, says = HOSTILE[name]
    with pytest.raises(ImageError) as caught:
        read_picture(given, name, max_bytes=MAX_BYTES)
    assert caught.value.kind == kind
    assert name in str(caught.value) and says in str(caught.value) and "\n" not in str(caught.value)


def test_of_an_animated_png_the_first_picture_counts() -> None:
    found = read_picture(animated("PNG"), "moving.png", max_bytes=MAX_BYTES)
    assert np.array_equal(found.pixels, pixels())


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((-1, 0, 5, 5), "reaches outside the photograph of 60 × 40 px"),
        ((0, 0, 60.5, 5), "reaches outside"),
        ((0, 0, 5, 41), "reaches outside"),
        ((float("nan"), 0, 5, 5), "finite"),
        ((0, 0, float("inf"), 5), "finite"),
        ((5, 5, 1, 9), "at least 1 px"),
        ((5, 5, 5.5, 9), "at least 1 px"),
    ],
)
def test_boxes_that_no_face_can_have_are_refused(box: tuple[float, float, float, float], says: str) -> None:
    picture = Picture(np.zeros((40, 60, 3), np.uint8), 60, 40)
    check_boxes([picture.whole], picture)
    with pytest.raises(BoxError, match=says):
        check_boxes([box], picture)
    with pytest.raises(BoxError, match="101 boxes: at most 100"):
        check_boxes([picture.whole] * (MOST_BOXES + 1), picture)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "1 2 3 4"])
def test_boxes_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(BoxError, match="write it as xmin,ymin,xmax,ymax in px"):
        parse_boxes(f"1,2,3,4;{text}")
    assert parse_boxes(" ;\n") == []


def test_names_of_files_are_harmless_in_messages() -> None:
    assert plain_name("../../../etc/passwd") == "passwd"
    assert len(plain_name("a" * 5000)) == 60
    assert plain_name("\x00\x1b[31m") == "[31m"
