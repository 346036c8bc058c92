import io
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from maskbench.data.images import Header, ImageError, decode, decode_rgb, read_bytes, read_header, suffix_matches

LIMIT = 1_000_000
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
REAL = Path(__file__).parents[3] / "shared" / "data"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_by_hand(samples, colour_type, depth, extra=b""):
    """A PNG written without any image library (PNG specification, sections 5 and 7)."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)  # filter type 0 before each row
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(content):
    return np.asarray(decode(content, "a", LIMIT).rgb)


def test_16_bit_rgba_by_hand():
    samples = RNG.integers(0, 65536, (5, 7, 4)).astype(np.uint16)
    samples[..., 3] = 65535
    samples[0, :2, 3] = 0
    content = png_by_hand(samples, 6, 16)
    photograph = decode(content, "a.png", LIMIT)
    assert photograph.header == Header("PNG", 7, 5, "RGBA", 16)
    # 16 bits to 8: the high byte, and colours under transparent pixels as stored.
    np.testing.assert_array_equal(np.asarray(photograph.rgb), samples[..., :3] >> 8)
    np.testing.assert_array_equal(np.asarray(photograph.rgb), Image.open(io.BytesIO(content)).convert("RGB"))
    assert photograph.transparent_share == pytest.approx(2 / 35)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_every_plain_kind_gives_the_high_byte(colour_type, channels, depth):
    samples = RNG.integers(0, 2**depth, (6, 9, channels)).astype(np.uint16)
    found = pixels(png_by_hand(samples, colour_type, depth))
    high = (samples >> (depth - 8))[..., : 3 if channels >= 3 else 1]
    np.testing.assert_array_equal(found, np.broadcast_to(high, (6, 9, 3)))


def test_16_bit_grey_is_scaled_not_clipped():
    samples = np.array([[[0], [255], [256], [32768], [65535]]], dtype=np.uint16)
    content = png_by_hand(samples, 0, 16)
    assert pixels(content)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert decode(content, "a", LIMIT).header.mode == "I;16"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_8_bit_modes_equal_pillow(mode):
    source = Image.fromarray(PHOTO).convert(mode)
    content = encoded(source, "JPEG" if mode == "CMYK" else "PNG")
    with Image.open(io.BytesIO(content)) as reference:
        assert decode(content, "a", LIMIT).header.mode == reference.mode == mode
        np.testing.assert_array_equal(pixels(content), np.asarray(reference.convert("RGB")))


def test_transparency_is_counted_and_ignored():
    rgba = Image.fromarray(PHOTO).convert("RGBA")
    rgba.putpixel((0, 0), (10, 20, 30, 0))
    rgba.putpixel((1, 0), (40, 50, 60, 254))
    photograph = decode(encoded(rgba), "a", LIMIT)
    assert photograph.transparent_share == pytest.approx(2 / (12 * 17))
    assert photograph.rgb.getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize(
    ("mode", "key", "expected"),
    [("P", bytes([0] * 3 + [255] * 253), None), ("L", 7, 1 / 4), ("RGB", (7, 7, 7), 1 / 4), ("P", 7, 1 / 4)],
)
def test_key_colours_are_transparent_and_raise_no_warning(mode, key, expected):
    values = np.array([[7, 8], [9, 10]], dtype=np.uint8)
    if mode == "P":
        image = Image.fromarray(values).convert("L")
        image.putpalette([value for index in range(256) for value in (index, index, index)])
    else:
        image = Image.fromarray(values).convert(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photograph = decode(encoded(image, transparency=key), "a", LIMIT)
    assert photograph.transparent_share == (0 if expected is None else expected)
    np.testing.assert_array_equal(np.asarray(photograph.rgb)[..., 0], values)


def test_orientation_is_reported_and_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    for format in ("JPEG", "PNG"):
        content = encoded(Image.fromarray(PHOTO), format, exif=exif)
        photograph = decode(content, "a", LIMIT)
        assert photograph.orientation == 6 and photograph.rgb.size == (17, 12)
    assert decode(encoded(Image.fromarray(PHOTO)), "a", LIMIT).orientation == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_lose_the_photograph():
    content = encoded(Image.fromarray(PHOTO), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert decode(content, "a", LIMIT).orientation == 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_jpeg_header_and_pixels(tmp_path, options):
    path = tmp_path / "named.png"  # the name plays no part
    path.write_bytes(encoded(Image.fromarray(PHOTO), "JPEG", **options))
    assert read_header(path) == Header("JPEG", 17, 12, "RGB", 8)
    np.testing.assert_array_equal(decode_rgb(path, LIMIT), np.asarray(Image.open(path)))
    assert not suffix_matches(path, "JPEG") and suffix_matches(Path("A.JPG"), "JPEG")


def test_header_reads_no_pixels(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_by_hand(np.zeros((3, 4, 4)), 6, 16)[:33])
    assert read_header(path) == Header("PNG", 4, 3, "RGBA", 16)


def bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


def test_bombs_are_refused_before_decoding():
    with pytest.raises(ImageError, match="promises 60000 × 60000 px") as caught:
        decode(bomb(60_000, 60_000), "a.png", LIMIT)
    assert caught.value.kind == "too_large"
    # Beyond Pillow's own limit, whatever limit the caller allows.
    with pytest.raises(ImageError, match="bomb") as caught:
        decode(bomb(60_000, 60_000), "a.png", 10**12)
    assert caught.value.kind == "too_large"


def test_two_headers_that_disagree():
    good = png_by_hand(np.zeros((3, 4, 3)), 2, 8)
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 900, 900, 8, 2, 0, 0, 0))
    with pytest.raises(ImageError):
        decode(good[:33] + second + good[33:], "a.png", LIMIT)


def test_more_bytes_than_pixels_can_need(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(40 * 1024**2)  # sparse
    with pytest.raises(ImageError, match="more than"):
        read_bytes(path, 10)


def photos():
    return {"png": encoded(Image.fromarray(PHOTO)), "jpg": encoded(Image.fromarray(PHOTO), "JPEG")}


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_truncated_files_are_damaged(kind, share):
    content = photos()[kind]
    with pytest.raises(ImageError) as caught:
        decode(content[: int(len(content) * share)], f"a.{kind}", LIMIT)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "damaged"),
        (b"this is a text\n", "not_an_image"),
        (b"GIF89a" + b"\0" * 50, "not_an_image"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\xff\xd8\xff" + b"\0" * 100, "damaged"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)), "damaged"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 3, 2, 0, 0, 0)), "damaged"),
    ],
)
def test_what_is_no_photograph_is_refused_in_one_line(content, kind, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (lambda: decode_rgb(path, LIMIT), lambda: read_header(path)):
        with pytest.raises(ImageError) as caught:
            read()
        assert caught.value.kind == kind
        assert str(caught.value).startswith("a.png: ") and "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["png", "jpg"]), st.data())
def test_damage_gives_pixels_or_one_clear_error(kind, data):
    content = bytearray(photos()[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        photograph = decode(bytes(content), "a", LIMIT)
    except ImageError as error:
        assert str(error).startswith("a: ") and "\n" not in str(error) and "BytesIO" not in str(error)
    else:
        assert photograph.rgb.mode == "RGB"


def test_errors_keep_their_kind_across_processes():
    error = pickle.loads(pickle.dumps(ImageError("a: gone", "unreadable")))
    assert str(error) == "a: gone" and error.kind == "unreadable"


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"no\.png: cannot be read"):
        decode_rgb(tmp_path / "no.png", LIMIT)


def test_pillow_is_left_as_it_was_and_threads_agree():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    contents = list(photos().values()) * 20
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(pixels, contents))
    for content, result in zip(contents, results, strict=True):
        np.testing.assert_array_equal(result, pixels(content))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="the real dataset is not beside the checkout")
def test_original_files_equal_their_8_bit_copies():
    for path in sorted((REAL / "originals-16bit" / "images").iterdir()):
        assert read_header(path).bit_depth == 16
        copy = REAL / "face-mask-detection" / "images" / path.name
        np.testing.assert_array_equal(decode_rgb(path, LIMIT), decode_rgb(copy, LIMIT))
