"""Properties of faces equal what can be computed by hand."""

import numpy as np
import pandas as pd
import pytest

from maskbench.data import properties
from maskbench.data.crops import FaceCrops, crop_regions
from maskbench.data.properties import (
    THUMBNAIL_SIDE,
    face_geometry,
    face_properties,
    face_thumbnails,
    nearest_training_face,
    nearest_training_hash,
    neighbours,
    training_properties,
)
from maskbench.schemas import validate
from maskbench.schemas.factors import PROPERTIES, TRAINING_PROPERTIES
from tests.conftest import faces_table


def crops_of(photograph, faces, margin=0.25):
    """Crops of faces that all lie in one photograph (H, W, 3)."""
    regions = crop_regions(faces, margin)
    parts = [photograph[y0:y1, x0:x1].reshape(-1) for x0, y0, x1, y1 in regions]
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return FaceCrops(tuple(faces["face_id"]), np.concatenate(parts), starts, regions)


def boxes(*corners):
    faces = faces_table(["a"] * len(corners), ["p"] * len(corners))
    faces[["xmin", "ymin", "xmax", "ymax"]] = np.array(corners, dtype=float)
    return faces


def test_geometry_by_hand():
    # Photograph 100 × 80. Box A 0…20 × 0…20 at the corner: its view with margin 0.25 is -5…25 in both
    # directions, 30² = 900 px², of which 25² = 625 lie inside: 1 - 625/900 lies outside.
    # Centre of A (10, 10): (40, 30) from the photograph's (50, 40), so 50 / hypot(50, 40) of the way out.
    # Box B 40…60 × 30…50 lies in the middle; centres are hypot(40, 30) = 50 px = 2.5 sides of 20 apart.
    table = face_geometry(boxes((0, 0, 20, 20), (40, 30, 60, 50)), 0.25)
    assert table["view_outside"].tolist() == pytest.approx([1 - 625 / 900, 0])
    assert table["centre_distance"].tolist() == pytest.approx([50 / np.hypot(50, 40), 0])
    assert table["neighbour_distance"].tolist() == pytest.approx([2.5, 2.5])
    assert table["at_border"].tolist() == [True, False]
    assert table["box_share"].tolist() == pytest.approx([400 / 8000] * 2)
    assert table["reason"].tolist() == ["", ""]


def test_overlap_and_distance_are_of_the_same_photograph():
    # A 0…10 and B 5…15 (both 10 high): overlap 50, union 150, IoU 1/3; centres 5 px apart, half a side.
    # C, far away in the same photograph, is 50 sides (of 2 px) from B; D is alone in its own.
    corners = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [109, 4, 111, 6], [0, 0, 10, 10]])
    iou, distance = neighbours(corners, pd.Series(["p", "p", "p", "q"], index=[7, 7, 7, 7]))
    assert iou.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0])
    assert distance[:3].tolist() == pytest.approx([0.5, 0.5, 50]) and np.isnan(distance[3])


def test_a_face_alone_and_an_empty_box_say_why_they_lack_values():
    faces = boxes((10, 10, 10, 30))
    row = face_geometry(faces, 0.25).iloc[0]
    assert np.isnan(row["box_aspect"]) and np.isnan(row["neighbour_distance"])
    assert "empty box" in row["reason"] and "no other face" in row["reason"]


def test_light_and_colour_are_of_the_box_alone():
    # Red inside the first box, grey 200 inside the second, white everywhere else.
    photograph = np.full((80, 100, 3), 255, dtype=np.uint8)
    photograph[10:30, 10:30] = (255, 0, 0)
    photograph[40:60, 50:70] = 200
    faces = boxes((10, 10, 30, 30), (50, 40, 70, 60))
    table = validate(face_properties(crops_of(photograph, faces), faces, 0.25), PROPERTIES)
    assert table["brightness"].tolist() == pytest.approx([76, 200])  # BT.601: 0.299 · 255 = 76
    assert table["saturation"].tolist() == pytest.approx([255, 0])
    assert table["contrast"].tolist() == [0, 0]
    assert table["sharpness"].isna().all() and table["reason"].str.contains("one grey").all()


def test_sharpness_follows_blur_and_neither_size_nor_contrast():
    # One pattern of 4 × 4 squares, as faces of 16, 32 and 64 px: at 16 px they are the same picture.
    pattern = np.random.default_rng(0).integers(80, 176, (4, 4, 1)).repeat(3, axis=2).repeat(4, 0).repeat(4, 1)
    photograph = np.full((80, 300, 3), 128, dtype=np.uint8)
    smooth = (pattern + np.roll(pattern, 1, 0) + np.roll(pattern, 1, 1) + np.roll(pattern, (1, 1), (0, 1))) // 4
    pictures = [pattern, pattern.repeat(2, 0).repeat(2, 1), pattern.repeat(4, 0).repeat(4, 1), smooth]
    pictures.append(128 + (pattern - 128) // 2)  # half the contrast
    left, corners = 0, []
    for picture in pictures:
        side = len(picture)
        photograph[8 : 8 + side, left : left + side] = picture
        corners.append((left, 8, left + side, 8 + side))
        left += side + 4
    faces = boxes(*corners)
    faces["image_width"] = 300
    sharpness = face_properties(crops_of(photograph, faces), faces, 0.25)["sharpness"].to_numpy()
    np.testing.assert_allclose(sharpness[1:3], sharpness[0])
    assert sharpness[4] == pytest.approx(sharpness[0], rel=0.05)
    assert sharpness[3] < 0.6 * sharpness[:3].min()


def test_nearest_training_face_is_of_another_photograph():
    # Thumbnails of one grey: 10, 12 (training, same photograph as the first), 30 (training), 90.
    greys = np.array([10, 12, 30, 90], dtype=np.uint8)
    thumbnails = np.broadcast_to(greys[:, None, None, None], (4, 16, 16, 3))
    found = nearest_training_face(thumbnails, np.array([0, 0, 1, 2]), np.array([False, True, True, False]))
    # 10 -> 30: 20; 12 -> 30: 18; 30 -> 12: 18; 90 -> 30: 60
    assert found.tolist() == pytest.approx([20, 18, 18, 60])


def test_nearest_training_hash_counts_bits():
    images = pd.DataFrame({"image_id": ["a", "b", "c"], "phash": ["0" * 16, "0" * 15 + "7", "f" + "0" * 15]})
    # a-b: 3 bits (0111), a-c: 4, b-c: 7. Training: a and b; a's nearest other is b.
    found = nearest_training_hash(images, pd.Series(["c", "a", "b"]), {"a", "b"})
    assert found.tolist() == [4, 3, 3]


def test_training_properties_follow_the_split():
    faces = faces_table(["x", "x", "y", "z"], ["a", "b", "c", "d"])
    images = pd.DataFrame({"image_id": list("abcd"), "phash": ["0" * 15 + digit for digit in "0137"]})
    split = pd.DataFrame({"face_id": faces["face_id"], "split": ["train", "train", "train", "test"]})
    thumbnails = np.zeros((4, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), dtype=np.uint8)
    table = validate(training_properties(thumbnails, images, faces, split), TRAINING_PROPERTIES)
    assert table["class_share"].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0])  # z: never in training
    assert table["train_hash_distance"].tolist() == [1, 1, 1, 1]
    only = split.assign(split=["test", "test", "test", "train"])
    last = training_properties(thumbnails, images, faces, only).iloc[3]
    assert np.isnan(last["train_face_distance"]) and last["reason"]


def test_wrong_tables_are_refused():
    faces = boxes((0, 0, 20, 20), (40, 30, 60, 50))
    crops = crops_of(np.zeros((80, 100, 3), dtype=np.uint8), faces)
    with pytest.raises(ValueError, match="crops"):
        face_thumbnails(crops, faces.iloc[::-1])
    with pytest.raises(ValueError, match="thumbnails"):
        training_properties(np.zeros((1, 16, 16, 3), dtype=np.uint8), pd.DataFrame(), faces, pd.DataFrame())
    strangers = pd.DataFrame({"face_id": ["elsewhere"], "split": ["train"]})
    with pytest.raises(ValueError, match="split"):
        training_properties(np.zeros((2, 16, 16, 3), dtype=np.uint8), pd.DataFrame(), faces, strangers)


def test_nearest_training_hash_equals_all_pairs_for_any_block(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 30)
    ids = [f"p{index}" for index in range(30)]
    images = pd.DataFrame({"image_id": ids, "phash": [f"{value:016x}" for value in hashes]})
    training = set(ids[::3])
    plain = [
        min((int(a) ^ int(b)).bit_count() for other, b in zip(ids, hashes, strict=True) if other in training - {own})
        for own, a in zip(ids, hashes, strict=True)
    ]
    for block in (1, 25, 4_000_000):
        monkeypatch.setattr(properties, "_BLOCK", block)
        assert nearest_training_hash(images, pd.Series(ids), training).tolist() == plain
    assert np.isnan(nearest_training_hash(images, pd.Series(ids), {"p1"})[1])
    assert np.isnan(nearest_training_hash(images, pd.Series(ids), set())).all()
