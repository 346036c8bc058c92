from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maskbench.data import crops as module
from maskbench.data.crops import cached_faces, cut_faces
from maskbench.data.faces import canvas_size, make_canvases, resize_region
from maskbench.storage import content_key
from tests.conftest import faces_table


@pytest.fixture
def dataset(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Two photographs of 100 × 80 px; one face in the middle, one at the border."""
    (tmp_path / "images").mkdir()
    for name in "pq":
        Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{name}.png")
    faces = faces_table(["a", "b", "a"], ["p", "q", "q"])
    faces.loc[0, ["xmin", "ymin", "xmax", "ymax"]] = [40.0, 30.0, 60.0, 50.0]
    faces.loc[2, ["xmin", "ymin", "xmax", "ymax"]] = [90.0, 70.0, 100.0, 80.0]
    images = pd.DataFrame({"image_id": ["p", "q"], "file": ["images/p.png", "images/q.png"], "sha256": ["1", "2"]})
    return tmp_path, images, faces


def test_crops_are_the_photographs_pixels(dataset) -> None:
    root, images, faces = dataset
    crops = cut_faces(root, images, faces, 0.25, max_pixels=10**6)
    for index, row in faces.iterrows():
        x0, y0, x1, y1 = crops.regions[index]
        photograph = np.asarray(Image.open(root / "images" / f"{row['image_id']}.png"))
        np.testing.assert_array_equal(crops.crop(index), photograph[y0:y1, x0:x1])
        assert x0 <= row["xmin"] and y1 >= row["ymax"]
    # box 20 px, margin 0.25: view 30 px, canvas 37.5 px around (50, 40), and a pixel on each side
    assert crops.regions[0].tolist() == [30, 20, 70, 60]


def test_a_whole_pixel_region_at_its_own_size_is_copied(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    region = resize_region(image, np.array([10.0, 5.0, 30.0, 25.0]), 20)
    np.testing.assert_array_equal(region, image[5:25, 10:30])


def test_outside_the_photograph_its_edge_is_repeated(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    region = resize_region(image, np.array([-10.0, -10.0, 10.0, 10.0]), 20)
    np.testing.assert_array_equal(region[10:, 10:], image[:10, :10])
    np.testing.assert_array_equal(region[:10, 10:], np.broadcast_to(image[0, :10], (10, 10, 3)))
    assert (region[:10, :10] == image[0, 0]).all()


def test_canvases_hold_the_view_in_their_centre(dataset) -> None:
    root, images, faces = dataset
    crops = cut_faces(root, images, faces, 0.25, max_pixels=10**6)
    canvases = make_canvases(crops, faces, 0.25, 30)
    assert canvases.shape == (3, 3, canvas_size(30), canvas_size(30)) and canvases.dtype == torch.uint8
    # box 20 px with a quarter on each side is 30 px: at an input of 30 px the view is the photograph itself
    border = (canvas_size(30) - 30) // 2
    view = canvases[0, :, border:-border, border:-border].permute(1, 2, 0).numpy()
    photograph = np.asarray(Image.open(root / "images" / "p.png"))
    np.testing.assert_allclose(view.astype(int), photograph[25:55, 35:65], atol=1)


@pytest.mark.parametrize("size", [32, 48, 63, 64, 96, 112])
def test_canvas_and_input_differ_by_an_even_number(size: int) -> None:
    assert (canvas_size(size) - size) % 2 == 0
    assert canvas_size(size) / size == pytest.approx(1.25, abs=0.03)


def test_a_second_call_decodes_nothing(dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, images, faces = dataset
    first = cached_faces(tmp_path / "cache", root, images, faces, 0.25, max_pixels=10**6)

    def refuse(*args: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(module, "decode_rgb", refuse)
    again = cached_faces(tmp_path / "cache", root, images, faces, 0.25, max_pixels=10**6)
    for name in ("pixels", "starts", "regions"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    with pytest.raises(AssertionError, match="decoded again"):  # another margin, other content
        cached_faces(tmp_path / "cache", root, images, faces, 0.3, max_pixels=10**6)
    with pytest.raises(AssertionError, match="decoded again"):  # a photograph changed
        cached_faces(tmp_path / "cache", root, images.assign(sha256=["1", "3"]), faces, 0.25, max_pixels=10**6)


def test_a_damaged_cache_is_made_again(dataset, tmp_path: Path) -> None:
    root, images, faces = dataset
    first = cut_faces(root, images, faces, 0.25, max_pixels=10**6)
    cached_faces(tmp_path / "cache", root, images, faces, 0.25, max_pixels=10**6)
    (path,) = (tmp_path / "cache").glob("*.bin")
    path.write_bytes(path.read_bytes()[:-100])
    again = cached_faces(tmp_path / "cache", root, images, faces, 0.25, max_pixels=10**6)
    np.testing.assert_array_equal(again.pixels, first.pixels)


def _fill(arguments: tuple[Path, Path, pd.DataFrame, pd.DataFrame]) -> int:
    cache, root, images, faces = arguments
    return int(cached_faces(cache, root, images, faces, 0.25, max_pixels=10**6).pixels.sum())


def test_two_processes_sharing_a_cache_do_not_corrupt_it(dataset, tmp_path: Path) -> None:
    root, images, faces = dataset
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        sums = list(pool.map(_fill, [(tmp_path / "cache", root, images, faces)] * 4))
    assert len(set(sums)) == 1
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 1


def test_the_key_is_that_of_the_whole(dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    _, images, faces = dataset
    boxes = faces[["face_id", "image_id", "xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist()
    hashes = {"p": "1", "q": "2"}
    whole = content_key({"version": module.CACHE_VERSION, "margin": 0.25, "images": hashes, "boxes": boxes})
    for rows in (1, 2, 4096):
        monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows)
        assert module.cache_key(images, faces, 0.25) == whole


def test_faces_cut_by_the_way_are_those_that_are_cut_later(dataset, tmp_path: Path, monkeypatch) -> None:
    root, images, faces = dataset
    plain = cut_faces(root, images, faces, 0.25, max_pixels=10**6)
    with module.CropKeeper(tmp_path / "cache", 0.25) as writer:
        for image_id, group in faces.groupby("image_id"):
            photograph = np.asarray(Image.open(root / "images" / f"{image_id}.png"))
            boxes = group[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist()
            writer.add(writer.cut(photograph, boxes))
        writer.keep(images, faces)
    monkeypatch.setattr(module, "decode_rgb", lambda *_: pytest.fail("decoded again"))
    found = cached_faces(tmp_path / "cache", root, images, faces, 0.25, max_pixels=10**6)
    np.testing.assert_array_equal(found.pixels, plain.pixels)
    np.testing.assert_array_equal(found.starts, plain.starts)
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 1


def test_what_is_not_kept_leaves_nothing(dataset, tmp_path: Path) -> None:
    _, images, faces = dataset
    with module.CropKeeper(tmp_path / "cache", 0.25) as writer:
        writer.add(b"too few")
        with pytest.raises(ValueError, match="7 bytes were written, not"):
            writer.keep(images, faces)
    assert list((tmp_path / "cache").iterdir()) == []
