import imagehash
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter
from scipy.ndimage import laplace

from maskbench.audit.quality import block_sums, dct_hashes, hashed_luma, measure, thumbnail_of
from maskbench.data import light
from maskbench.data.light import laplacian_variance, saturation_mean

PHOTOS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)), elements=st.integers(0, 255)
)


#: Frequencies of it are zero but for rounding, so its hash is that of `imagehash` only if it is computed alike.
TIED = np.full((2, 6, 3), 23, dtype=np.uint8)
TIED[1, 0, 1] = 162


@settings(max_examples=60, deadline=None)
@given(PHOTOS)
@example(TIED)
def test_measures_equal_references(pixels):
    image = Image.fromarray(pixels)
    quality = measure(image)
    luma = np.asarray(image.convert("L"), dtype=float)
    assert quality.brightness == pytest.approx(luma.mean())
    assert quality.contrast == pytest.approx(luma.std(), abs=1e-9)
    assert quality.sharpness == pytest.approx(laplace(luma, mode="nearest").var(), rel=1e-9, abs=1e-6)
    most, least = pixels.max(axis=2).astype(float), pixels.min(axis=2).astype(float)
    saturation = np.where(most > 0, 255 * (most - least) / np.maximum(most, 1), 0).mean()
    assert quality.saturation == pytest.approx(saturation, rel=1e-5, abs=1e-5)
    assert quality.phash == str(imagehash.phash(image))
    assert quality.solid == (len(np.unique(pixels.reshape(-1, 3), axis=0)) == 1)
    assert quality.thumbnail.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("colour", "brightness", "saturation"),
    [((0, 0, 0), 0, 0), ((255, 255, 255), 255, 0), ((90, 90, 90), 90, 0), ((255, 0, 0), 76, 255), ((200, 100, 100), 130,
      127.5)],
)  # fmt: skip
def test_solid_colours_have_known_answers(colour, brightness, saturation):
    quality = measure(Image.new("RGB", (30, 20), colour))
    assert quality.brightness == pytest.approx(brightness, abs=0.5)
    assert quality.saturation == pytest.approx(saturation)
    assert quality.contrast == quality.sharpness == 0 and quality.solid


def test_laplacian_by_hand():
    # One bright pixel of 1 in the middle of 3 × 3: Laplacian -4 there, 1 at its 4 neighbours, 0 at corners.
    luma = np.zeros((3, 3), dtype=np.uint8)
    luma[1, 1] = 1
    # mean (-4 + 4) / 9 = 0; variance (16 + 4) / 9
    assert laplacian_variance(luma) == pytest.approx(20 / 9)


@settings(max_examples=60, deadline=None)
@given(PHOTOS)
def test_measures_equal_the_plain_way_to_the_last_bit(pixels):
    luma = pixels[..., 0].astype(np.int64)
    padded = np.pad(luma, 1, mode="edge")
    plain = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luma
    assert laplacian_variance(pixels[..., 0]) == int((plain**2).sum()) / luma.size
    most, least = pixels.max(axis=2).ravel(), pixels.min(axis=2).ravel()
    per_pixel = (most - least).astype(np.float32) / np.maximum(most, 1).astype(np.float32)
    assert saturation_mean(pixels) == 255.0 * float(per_pixel.sum()) / luma.size


def test_saturation_is_the_same_block_by_block(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 41, 3), dtype=np.uint8)
    whole = saturation_mean(pixels)
    monkeypatch.setattr(light, "_BLOCK", 100)  # the last block is smaller
    assert saturation_mean(pixels) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("side", [8, 101])  # fewer and more pixels than are summed in 32 bits
def test_the_extreme_laplacian_does_not_overflow(side):
    board = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert laplacian_variance(board) == pytest.approx(laplace(board.astype(float), mode="nearest").var())


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (16, 16), (31, 33), (400, 267), (301, 400), (20, 4200)])
def test_thumbnails_are_pillows_but_for_one_grey_level(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    for content in (pixels, np.full_like(pixels, 255)):  # the largest sums, too
        theirs = Image.fromarray(content).resize((16, 16), Image.Resampling.BOX, reducing_gap=1.0)
        assert np.abs(thumbnail_of(block_sums(content), size).astype(int) - np.asarray(theirs)).max() <= 1


def test_the_hash_of_blocks_is_nearly_that_of_all_pixels():
    rng = np.random.default_rng(0)
    sizes = [(400, 267), (301, 400), (1000, 40), (127, 127), (40, 60)]
    noise = [Image.fromarray(rng.integers(0, 256, (9, 11), dtype=np.uint8)) for _ in sizes]
    lumas = [one.resize(size, Image.Resampling.BICUBIC) for one, size in zip(noise, sizes, strict=True)]
    found = dct_hashes(np.stack([np.asarray(hashed_luma(luma)) for luma in lumas]))
    for size, luma, phash in zip(sizes, lumas, found, strict=True):
        bits = (int(phash, 16) ^ int(str(imagehash.phash(luma)), 16)).bit_count()
        assert bits <= 2 and (bits == 0 or max(size) >= 128)
    assert dct_hashes(np.empty((0, 32, 32), dtype=np.uint8)) == []


def test_blur_lowers_sharpness():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    sharp = Image.fromarray(pixels)
    values = [measure(sharp.filter(ImageFilter.GaussianBlur(radius))).sharpness for radius in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True) and values[0] > 10 * values[-1]


def test_saturation_is_close_to_pillows():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8))
    theirs = np.asarray(image.convert("HSV"))[..., 1].mean()
    assert 0 <= saturation_mean(np.asarray(image)) - theirs < 1


def test_pictures_are_told_apart_by_shape_and_by_any_pixel():
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    wide, tall = Image.fromarray(pixels), Image.fromarray(pixels.reshape(4, 3, 3))
    assert measure(wide).picture == measure(wide.copy()).picture != measure(tall).picture
    # Equal in every measure: one grey pixel of a white wall, moved within a block of the thumbnail.
    walls = [Image.new("RGB", (400, 300), "white") for _ in range(2)]
    for wall, column in zip(walls, (10, 12), strict=True):
        wall.putpixel((column, 10), (254, 254, 254))
    one, other = (measure(wall) for wall in walls)
    assert (one.sharpness, one.contrast, one.phash) == (other.sharpness, other.contrast, other.phash)
    assert (one.thumbnail == other.thumbnail).all() and one.picture != other.picture
