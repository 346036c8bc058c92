"""Views of photographs for detectors: boxes follow the pixels, and everything follows from seed and epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maskbench.config import DetectAugmentConfig, DetectConfig
from maskbench.data import detection
from maskbench.data.detection import Draw, EpochDraws, Views, augmented_view, training_loader
from maskbench.data.photographs import Photographs, cached_photographs
from maskbench.data.shares import WHOLE, Share
from tests.conftest import faces_table

PLAIN = DetectAugmentConfig(flip=0, scale=(1, 1), brightness=0, contrast=0, saturation=0, hue=0)
COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], dtype=np.uint8)
BOXES = np.array([[10, 20, 30, 50], [60, 30, 100, 70], [120, 5, 134, 21]], dtype=np.float32)


def photograph() -> np.ndarray:
    """Three faces, each of a colour of its own, on grey."""
    pixels = np.full((80, 150, 3), 120, dtype=np.uint8)
    for (x0, y0, x1, y1), colour in zip(BOXES.astype(int), COLOURS, strict=True):
        pixels[y0:y1, x0:x1] = colour
    return pixels


def colour_box(view: torch.Tensor, label: int) -> list[float]:
    """Where the pixels of a face's colour are: xmin, ymin, xmax, ymax."""
    own, others = view[label].int(), view[[k for k in range(3) if k != label]].int().amax(dim=0)
    rows, columns = torch.nonzero(own - others > 120, as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_the_pixels(seed: int) -> None:
    torch.manual_seed(seed)
    augment = DetectAugmentConfig(scale=(0.7, 2.5), visible=0.4, brightness=0, contrast=0, saturation=0, hue=0)
    view, boxes, labels = augmented_view(photograph(), BOXES, np.arange(3), 96, 150, augment)
    assert view.shape == (3, 96, 96) and view.dtype == torch.uint8
    assert boxes.min() >= 0 and boxes.max() <= 96
    for box, label in zip(boxes, labels, strict=True):
        assert box.tolist() == pytest.approx(colour_box(view, int(label)), abs=2.5)


def test_a_face_that_is_mostly_outside_does_not_count() -> None:
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        view, _, labels = augmented_view(photograph(), BOXES, np.arange(3), 40, 150, PLAIN)
        areas = (BOXES[:, 2] - BOXES[:, 0]) * (BOXES[:, 3] - BOXES[:, 1])
        for label in range(3):
            own = (view[label].int() - view[[k for k in range(3) if k != label]].int().amax(dim=0) > 120).sum()
            share = float(own) / areas[label]
            if share > 0.6:
                assert label in labels.tolist()
            if share < 0.4:
                assert label not in labels.tolist()
            seen.add((label, label in labels.tolist()))
    assert len(seen) == 6  # every face was there in some views and not in others


def test_a_photograph_without_faces_gives_views_without_boxes() -> None:
    torch.manual_seed(0)
    nothing = np.empty((0, 4), np.float32), np.empty(0, np.int64)
    view, boxes, labels = augmented_view(photograph(), *nothing, 64, 150, DetectAugmentConfig())
    assert view.shape == (3, 64, 64) and boxes.shape == (0, 4) and labels.shape == (0,)


def test_a_face_that_a_view_is_laid_around_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is larger than the view: the photograph is then shown smaller."""
    monkeypatch.setattr(detection, "_AROUND_FACE", 1.0)
    large = np.array([[20, 10, 130, 70]], dtype=np.float32)  # 110 px; views are 48 px
    for seed in range(40):
        torch.manual_seed(seed)
        _, boxes, labels = augmented_view(photograph(), large, np.zeros(1, np.int64), 48, 150, PLAIN)
        assert labels.tolist() == [0] and boxes[0, 2] - boxes[0, 0] == pytest.approx(48, abs=0.5)
        assert boxes[0, 3] - boxes[0, 1] == pytest.approx(48 * 60 / 110, abs=0.5)


def test_a_view_larger_than_the_photograph_is_grey_outside() -> None:
    torch.manual_seed(1)
    view, boxes, _ = augmented_view(photograph(), BOXES, np.arange(3), 300, 150, PLAIN)
    assert len(boxes) == 3
    assert (view[:, 0, 0] == torch.tensor([124, 116, 104])).all() or (
        view[:, -1, -1] == torch.tensor([124, 116, 104])
    ).all()


def many() -> Photographs:
    pixels, count = photograph(), 10
    return Photographs(
        tuple(f"p{k}" for k in range(count)), np.tile(pixels.reshape(-1), count),
        np.arange(count + 1) * pixels.size, np.tile([80, 150], (count, 1)), np.ones(count), (BOXES,) * count,
        (np.arange(3),) * count,
    )  # fmt: skip


def test_batches_follow_from_seed_and_epoch_alone() -> None:
    config = DetectConfig(batch_size=4, crop_sizes=(64, 96, 128))
    draws = EpochDraws(np.arange(1, 8), config, seed=3)
    first = list(draws)
    assert [len(part) for part in first] == [4, 3] and len(draws) == 2
    assert sorted(draw.row for part in first for draw in part) == list(range(1, 8))
    assert all(len({draw.size for draw in part}) == 1 for part in first)
    draws.set_epoch(1)
    assert list(draws) != first
    again = EpochDraws(np.arange(1, 8), config, seed=3)
    again.set_epoch(1)
    assert list(again) == list(draws)
    assert len(EpochDraws(np.arange(9), config, seed=0)) == 2  # a single view is no batch for batch norm


def test_too_few_photographs_for_one_step_are_refused() -> None:
    config = DetectConfig(batch_size=8, crop_sizes=(64,), input_size=150)
    for count, share, needed in ((1, WHOLE, 2), (3, Share(0, 4), 4)):
        with pytest.raises(ValueError, match=f"{count} training photographs: a step needs {needed}"):
            training_loader(many(), np.arange(count), config, 0, workers=0, share=share)


def test_views_do_not_depend_on_who_makes_them() -> None:
    config = DetectConfig(batch_size=4, crop_sizes=(64,), input_size=150)
    rows = np.arange(10)
    batches = list(training_loader(many(), rows, config, 0, workers=0))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    view = Views(many(), 150, config.augment).view(next(iter(EpochDraws(rows, config, 0)))[0])
    assert torch.equal(before, torch.random.get_rng_state())  # the caller's random numbers are untouched
    assert torch.equal(batches[0].images[0], view[0]) and torch.equal(batches[0].boxes[0], view[1])
    assert not torch.equal(batches[0].images[0], Views(many(), 150, config.augment).view(Draw(0, 64, 99))[0])


def test_photographs_are_decoded_once_and_kept(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    Image.fromarray(photograph()).save(root / "images" / "a.png")
    Image.fromarray(photograph()[:, :40]).save(root / "images" / "b.png")
    images = pd.DataFrame(
        {"image_id": ["a", "b"], "file": ["images/a.png", "images/b.png"], "sha256": ["1", "2"], "width": [150, 40],
         "height": [80, 80]}
    )  # fmt: skip
    faces = faces_table(["y", "x"], ["a", "a"])
    options = {"classes": ("x", "y"), "max_pixels": 10**6}
    found = cached_photographs(tmp_path / "cache", root, images, faces, longest=100, **options)  # type: ignore[arg-type]
    assert found.sizes.tolist() == [[53, 100], [80, 40]] and found.scales.tolist() == pytest.approx([2 / 3, 1])
    assert found.boxes[0] == pytest.approx(np.array([[10, 10, 30, 30]] * 2) * 2 / 3)
    assert found.labels[0].tolist() == [1, 0] and len(found.boxes[1]) == 0
    assert (found.image(1) == photograph()[:, :40]).all()

    def gone() -> Path:
        raise AssertionError("decoded again")

    again = cached_photographs(tmp_path / "cache", gone, images, faces, longest=100, **options)  # type: ignore[arg-type]
    assert (again.pixels == found.pixels).all()
    with pytest.raises(AssertionError, match="decoded again"):
        cached_photographs(tmp_path / "cache", gone, images, faces, longest=90, **options)  # type: ignore[arg-type]
