"""Images decoded once: equal to Pillow's own, kept, found again, broken ones named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskbench.data import image_store
from maskbench.data.image_store import ImageStore, StoredImages, native_side, stored_images, stored_side
from maskbench.data.labelled import LabelledError, LabelledImages, read_labelled
from tests.labelled_shapes import make_shapes


@pytest.fixture
def images(tmp_path: Path) -> LabelledImages:
    root = make_shapes(tmp_path / "shapes", train=3, val=1)
    # Wide, tall, grey, and JPEG: what folders hold.
    rng = np.random.default_rng(0)
    for name, shape, mode in (
        ("wide.jpg", (30, 50, 3), "RGB"),
        ("tall.png", (41, 28, 3), "RGB"),
        ("g.png", (9, 9), "L"),
    ):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(root / "train" / "bar" / name)
    return read_labelled(root, validation_share=0.1, seed=0)


def store(images: LabelledImages, cache: Path, **options: object) -> ImageStore:
    return stored_images(cache, images, {16, 24}, max_pixels=10_000, **options)  # type: ignore[arg-type]


def test_pixels_are_the_central_square_resized(images: LabelledImages, tmp_path: Path) -> None:
    found = store(images, tmp_path / "cache")
    assert found.problems == {} and {s: tuple(t.shape) for s, t in found.by_side.items()} == {
        side: (len(images.files), 3, side, side) for side in (16, 24)
    }
    for row, name in enumerate(images.files):
        with Image.open(images.root / name) as file:
            rgb = file.convert("RGB")
        short, (width, height) = min(rgb.size), rgb.size
        x, y = (width - short) / 2, (height - short) / 2
        for side, tensor in found.by_side.items():
            wanted = rgb.resize((side, side), Image.Resampling.BILINEAR, box=(x, y, x + short, y + short))
            assert np.array_equal(tensor[row].numpy(), np.asarray(wanted).transpose(2, 0, 1)), name


def test_images_are_decoded_once_whatever_the_sides(
    images: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    first = store(images, tmp_path, progress=lambda done, total: seen.append((done, total)), workers=1)
    assert seen == [(number + 1, len(images.files)) for number in range(len(images.files))]
    monkeypatch.setattr(image_store, "_squares", None)  # whoever decodes now fails
    other_sides = read_labelled(images.root, validation_share=0.4, seed=7)
    again = store(other_sides, tmp_path)
    assert again.fingerprint == first.fingerprint
    assert all(torch.equal(first.by_side[side], again.by_side[side]) for side in (16, 24))


def test_a_changed_or_incomplete_store_is_made_again(images: LabelledImages, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = store(images, cache)
    pixels = {side: tensor.clone() for side, tensor in first.by_side.items()}
    next(cache.glob("*-16.u8")).write_bytes(b"cut short")
    assert torch.equal(store(images, cache).by_side[16], pixels[16])
    file = images.root / images.files[0]
    Image.new("RGB", (10, 10), "white").save(file)
    changed = store(images, cache)
    assert changed.fingerprint != first.fingerprint and (changed.by_side[16][0] == 255).all()


def test_the_fingerprint_is_of_names_and_contents_alone(images: LabelledImages, tmp_path: Path) -> None:
    first = store(images, tmp_path / "cache").fingerprint
    images.root.rename(tmp_path / "moved")
    moved = read_labelled(tmp_path / "moved", validation_share=0.1, seed=0)
    assert store(moved, tmp_path / "other").fingerprint == first


def test_broken_images_are_black_and_named(images: LabelledImages, tmp_path: Path) -> None:
    broken = {"train/disc/disc_0.png": "content is neither", "train/ring/ring_1.png": "damaged"}
    (images.root / "train/disc/disc_0.png").write_bytes(b"not a picture")
    whole = (images.root / "train/ring/ring_1.png").read_bytes()
    (images.root / "train/ring/ring_1.png").write_bytes(whole[: len(whole) // 2])
    found = store(images, tmp_path / "cache")
    assert set(found.problems) == set(broken)
    for name, problem in broken.items():
        assert problem in found.problems[name]
        assert not found.by_side[24][images.files.index(name)].any()


def test_no_temporary_file_is_left(images: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_store, "_squares", full)
    with pytest.raises(OSError, match="No space"):
        store(images, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_native_side(images: LabelledImages) -> None:
    assert native_side(images) == 30  # the shorter side of the wide one
    assert stored_side(64, 30) == 30 and stored_side(16, 30) == 20  # a canvas: 1.25 × the input
    for name in images.files:
        (images.root / name).write_bytes(b"x")
    with pytest.raises(LabelledError, match=r"none of \d+ images can be read; the first: "):
        native_side(images)


def test_stored_images_are_indexed_like_the_tensor_of_the_chosen_side() -> None:
    by_side = {8: torch.arange(3), 4: torch.arange(3) * 10}
    found = StoredImages(by_side)
    assert found[torch.tensor([2, 0])].tolist() == [20, 0]
    found.side = 8
    assert found[torch.tensor([2, 0])].tolist() == [2, 0]


def test_moved_images_are_those_whose_side_is_chosen(images: LabelledImages, tmp_path: Path) -> None:
    stored = StoredImages(store(images, tmp_path / "cache").by_side)
    moved = stored.to(torch.device("meta"))
    assert moved is stored and stored.device.type == "meta"
    assert stored.nbytes == len(images.files) * 3 * (16**2 + 24**2)
    stored.side = 24
    assert moved[torch.tensor([0])].shape == (1, 3, 24, 24)
    back = stored.to(torch.device("cpu"))
    assert back.device.type == "cpu" and back[torch.tensor([0])].numel()
