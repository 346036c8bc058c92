"""What users get of a photograph, and what they may hand in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from maskbench.config import DetectConfig
from maskbench.inference.detections import Detections
from maskbench.inference.predictor import Predictor, TorchDetector, as_rgb
from maskbench.models.detectors import build_detector
from maskbench.models.pretrained import resolve_weights

CLASSES = ("dark", "light")


class BrightSquares:
    """Finds one box around all pixels above 200, surer the larger it is."""

    classes = CLASSES

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self.batches.append(len(images))
        return [self.look(image) for image in images]

    def look(self, image: NDArray[np.uint8]) -> Detections:
        height, width = image.shape[:2]
        rows, columns = np.nonzero(image.min(axis=2) > 200)
        if not len(rows):
            return Detections.of([], [], [], width, height, CLASSES)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections.of([box], ["light"], [min(1.0, len(rows) / 1000)], width, height, CLASSES)


def square(side: int = 20, width: int = 60, height: int = 40) -> NDArray[np.uint8]:
    pixels = np.full((height, width, 3), 30, dtype=np.uint8)
    pixels[10 : 10 + side, 5 : 5 + side] = 250
    return pixels


def found() -> Detections:
    boxes = [[1, 2, 11, 22], [30, 5, 50.5, 39]]
    return Detections.of(boxes, ["dark", "light"], [0.25, 0.75], 60, 40, CLASSES)


def test_faces_come_by_falling_score_and_cannot_be_changed() -> None:
    faces = found()
    assert [face.label for face in faces] == ["light", "dark"]
    assert next(iter(faces)).box == (30, 5, 50.5, 39)
    assert len(faces.above(0.5)) == 1 and len(faces.above(0.25)) == 2 and len(faces.above(0.9)) == 0
    with pytest.raises(ValueError, match="read-only"):
        faces.boxes[0, 0] = 5
    given = np.array([[1.0, 2, 3, 4]])
    Detections.of(given, ["dark"], [0.5], 60, 40, CLASSES)
    given[0] = 0  # the caller's array stays the caller's


def test_coco_and_table_hold_the_same_faces() -> None:
    coco = found().to_coco("p")
    assert coco[0] == {"image_id": "p", "category_id": 2, "bbox": [30, 5, 20.5, 34], "score": 0.75}
    table = found().to_table("a.png")
    assert table.iloc[1].to_dict() == {
        "image": "a.png", "label": "dark", "score": 0.25, "xmin": 1, "ymin": 2, "xmax": 11, "ymax": 22,
    }  # fmt: skip
    nothing = Detections.of([], [], [], 60, 40, CLASSES)
    assert nothing.to_coco() == [] and nothing.to_table("a").empty and len(nothing) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["dark"]}, "2, 1 and 2 of them"),
        ({"scores": [0.1, 1.2]}, "in 0…1"),
        ({"scores": [0.1, np.nan]}, "not finite"),
        ({"boxes": [[11, 2, 1, 22], [30, 5, 50, 39]]}, "the other way round"),
        ({"boxes": [[1, 2, 11, 22], [30, 5, 90, 39]]}, "outside the photograph of 60 × 40 px"),
        ({"labels": ["dark", "other"]}, "'other' is not among the classes dark, light"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    values = {"boxes": [[1, 2, 11, 22], [30, 5, 50, 39]], "labels": ["dark", "light"], "scores": [0.2, 0.7]}
    values |= change
    with pytest.raises(ValueError, match=message):
        Detections.of(values["boxes"], values["labels"], values["scores"], 60, 40, CLASSES)  # type: ignore[arg-type]


def test_boxes_are_drawn_where_they_are_and_labels_inside_the_picture() -> None:
    pixels = np.full((40, 60, 3), 128, dtype=np.uint8)
    faces = Detections.of([[0, 0, 59, 39], [40, 20, 55, 35]], ["dark", "light"], [0.9, 0.8], 60, 40, CLASSES)
    drawn = faces.plot(pixels)
    assert max(drawn.size) == 800  # small photographs are enlarged, or labels would hide faces
    scale = 800 / 60
    shown = np.asarray(drawn).astype(int)
    orange = np.array([0xE6, 0x9F, 0x00])
    edge = shown[round(30 * scale), round(40 * scale) - 2 : round(40 * scale) + 4]
    assert (np.abs(edge - orange).sum(axis=1) < 30).any()
    assert (pixels == 128).all()
    with pytest.raises(ValueError, match="60 × 41 px; these faces are of one of 60 × 40 px"):
        faces.plot(np.zeros((41, 60, 3), dtype=np.uint8))


def test_every_kind_of_photograph_gives_the_same_faces(tmp_path: Path) -> None:
    pixels = square()
    path = tmp_path / "face.png"
    Image.fromarray(pixels).save(path)
    grey, alpha = pixels[:, :, 0], np.dstack([pixels, np.full((40, 60), 7, dtype=np.uint8)])
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    given = [path, str(path), Image.fromarray(pixels), Image.fromarray(grey), Image.fromarray(alpha), pixels, grey,
             grey[..., None], alpha, pixels / 255, pixels.astype(np.uint16) * 256, tensor, tensor / 255,
             tensor[:1]]  # fmt: skip
    predictor = Predictor(BrightSquares(), min_score=0.1)
    for photograph in given:
        assert [face.box for face in predictor(photograph)] == [(5, 10, 25, 30)]
    deep = Image.fromarray(grey.astype(np.uint16) * 256)
    assert (as_rgb(deep)[:, :, 0] == grey).all()


@pytest.mark.parametrize("held", range(1, 9))
def test_photographs_are_turned_upright(tmp_path: Path, held: int) -> None:
    """A phone writes the picture as its sensor lies, and how it was held beside it."""
    picture = Image.fromarray(np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = held
    picture.save(tmp_path / "a.png", exif=exif)
    read = as_rgb(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
        assert (as_rgb(opened) == expected).all()
    assert read.shape == expected.shape == ((6, 10, 3) if held < 5 else (10, 6, 3)) and (read == expected).all()


@pytest.mark.parametrize(
    ("photograph", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), "not \\(4, 4, 2\\)"),
        (np.zeros((0, 4, 3), np.uint8), "not empty"),
        (np.zeros((4, 4, 3), np.int64), "not int64"),
        (np.full((4, 4, 3), 255.0), "floats holds values in 0…1"),
        (torch.zeros(4, 4, 3), "a tensor is \\(3, H, W\\)"),
        (7, "not int"),
    ],
)
def test_what_is_no_photograph_is_told(photograph: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_rgb(photograph)  # type: ignore[arg-type]


def test_many_photographs_are_looked_at_in_batches_and_in_order() -> None:
    detector = BrightSquares()
    sides = [3, 5, 7, 9, 11]
    answers = list(Predictor(detector, min_score=0).many((square(side) for side in sides), batch=2))
    assert [round(next(iter(found)).box[2] - 5) for found in answers] == sides
    assert detector.batches == [2, 2, 1]
    assert len(Predictor(detector, min_score=0.5)(square(5))) == 0
    with pytest.raises(ValueError, match="batch: at least 1"):
        next(Predictor(detector).many([], batch=0))
    with pytest.raises(ValueError, match="min_score"):
        Predictor(detector, min_score=1.5)


def test_answers_of_a_batch_across_photographs_are_those_of_one_at_a_time() -> None:
    config = DetectConfig(channels=64, convolutions=1, input_size=160, score_threshold=0.0, max_detections=20)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    model, _ = build_detector("manual", 2, config, mean=mean, std=std, seed=0, loaded=resolve_weights("bundled"))
    record = {"classes": list(CLASSES), "protocol": config.model_dump(mode="json"),
              "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"}}  # fmt: skip
    seen: list[int] = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    detector, rng = TorchDetector(model.eval(), record), np.random.default_rng(0)
    shapes = [(60, 80), (120, 90), (61, 80), (90, 120), (100, 75), (50, 200)]
    images = [rng.integers(0, 255, (*shape, 3)).astype(np.uint8) for shape in shapes]
    together = list(Predictor(detector, min_score=0).many(images, batch=6))
    assert sorted(seen) == [1, 2, 3]  # six photographs of three padded shapes
    alone = [Predictor(detector, min_score=0)(image) for image in images]
    for one, other in zip(together, alone, strict=True):
        assert len(one) == len(other) > 0 and [face.label for face in one] == [face.label for face in other]
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_the_package_offers_the_predictor_without_loading_torch_first() -> None:
    code = (
        "import sys, maskbench; assert 'torch' not in sys.modules; "
        "from maskbench.inference.predictor import Predictor; assert maskbench.Predictor is Predictor; "
        "assert not hasattr(maskbench, 'Nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
