"""The sample as files: promises kept, the same bytes, whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image
from pydantic import ValidationError

from maskbench.data.sample import SampleParams, generate_sample, writer
from maskbench.data.sample.params import PNG_KINDS, SAMPLE_CLASSES

SMALL = SampleParams(images=10, long_side_px=240, short_side_px=(140, 180), faces_per_image=3.0)


def tree_hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "attributes.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_boxes(folder: Path) -> dict[str, tuple[str, list[int], tuple[int, int]]]:
    """face_id -> (label, box, image size)."""
    found = {}
    for path in sorted((folder / "annotations").iterdir()):
        root = ElementTree.parse(path).getroot()
        size = (int(root.findtext("size/width")), int(root.findtext("size/height")))
        assert root.findtext("filename") == f"{path.stem}.png"
        for k, item in enumerate(root.iter("object")):
            box = [int(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
            found[f"{path.stem}#{k:03d}"] = (item.findtext("name"), box, size)
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "made"
    generate_sample(folder, SMALL, workers=1)
    return folder


def test_same_bytes_for_any_number_of_workers_and_others_for_another_seed(sample: Path, tmp_path: Path) -> None:
    generate_sample(tmp_path / "again", SMALL, workers=2)
    assert tree_hashes(tmp_path / "again") == tree_hashes(sample)
    few = SMALL.model_copy(update={"images": 2, "seed": 1})
    generate_sample(tmp_path / "other", few, workers=1)
    others = tree_hashes(tmp_path / "other")
    assert all(others[name] != digest for name, digest in tree_hashes(sample).items() if name in others)


def test_layout(sample: Path) -> None:
    names = {path.name for path in sample.iterdir()}
    assert names == {"images", "annotations", "attributes.csv", "masks.json", "sample.json"}
    ids = [f"sample{index:04d}" for index in range(SMALL.images)]
    assert sorted(path.name for path in (sample / "images").iterdir()) == [f"{name}.png" for name in ids]
    assert sorted(path.name for path in (sample / "annotations").iterdir()) == [f"{name}.xml" for name in ids]
    record = json.loads((sample / "sample.json").read_text())
    assert SampleParams.model_validate(record["parameters"]) == SMALL
    assert record["faces"] == len(read_rows(sample))


def test_attributes_and_annotations_name_the_same_faces(sample: Path) -> None:
    rows, boxes = read_rows(sample), read_boxes(sample)
    assert [row["face_id"] for row in rows] == list(boxes)
    for row in rows:
        label, (xmin, ymin, xmax, ymax), _ = boxes[row["face_id"]]
        assert row["label"] == label
        assert row["image_id"] == row["face_id"].split("#")[0]
        assert (int(row["box_width"]), int(row["box_height"])) == (xmax - xmin, ymax - ymin)
        assert (row["mask_style"] == "none") == (label == "without_mask")
        assert (row["mask_style"] == "correct") == (label == "with_mask")


def test_boxes_lie_inside_and_have_the_side_that_was_wanted(sample: Path) -> None:
    ratios = []
    for row in read_rows(sample):
        _, (xmin, ymin, xmax, ymax), (width, height) = read_boxes(sample)[row["face_id"]]
        assert 0 <= xmin < xmax <= width
        assert 0 <= ymin < ymax <= height
        if row["truncated"] == "0":
            ratios.append(np.sqrt((xmax - xmin) * (ymax - ymin)) / float(row["side_px"]))
    assert np.median(ratios) == pytest.approx(1.0, abs=0.08)
    assert 0.7 < min(ratios) <= max(ratios) < 1.5  # a turned face is narrower, a mask on the chin makes it longer


def test_mask_polygons_lie_in_their_boxes_and_only_where_there_is_a_mask(sample: Path) -> None:
    polygons = json.loads((sample / "masks.json").read_text())
    boxes = read_boxes(sample)
    assert list(polygons) == list(boxes)
    for face_id, polygon in polygons.items():
        label, (xmin, ymin, xmax, ymax), (width, height) = boxes[face_id]
        if label == "without_mask":
            assert polygon == []
            continue
        points = np.array(polygon).reshape(-1, 2)
        assert len(points) == 0 or len(points) >= 4
        slack = 1.0 + 0.05 * max(xmax - xmin, ymax - ymin)
        assert (points >= (xmin - slack, ymin - slack)).all()
        assert (points <= (xmax + slack, ymax + slack)).all()
        assert (points >= 0).all()
        assert (points <= (width, height)).all()
    drawn = [polygon for face_id, polygon in polygons.items() if boxes[face_id][0] == "with_mask"]
    assert sum(bool(polygon) for polygon in drawn) >= 0.9 * len(drawn)


def test_files_have_the_promised_depth_and_pillow_reads_them(sample: Path) -> None:
    kinds: Counter[str] = Counter()
    for path in sorted((sample / "images").iterdir()):
        width, height, depth, colour_type = struct.unpack(">IIBB", path.read_bytes()[16:26])
        kinds[{(16, 6): "rgba16", (8, 6): "rgba8", (8, 2): "rgb8"}[depth, colour_type]] += 1
        with Image.open(path) as picture:
            assert picture.size == (width, height)
            rgb = np.asarray(picture.convert("RGB"))
        assert rgb.std() > 5  # a picture, whatever the alpha channel says
    # 10 files as 648 : 183 : 22 are 7.6, 2.1, 0.26; the rarest kind is granted one
    assert kinds == {"rgba16": 7, "rgba8": 2, "rgb8": 1}
    assert set(kinds) <= set(PNG_KINDS)


def test_partly_transparent_files(tmp_path: Path) -> None:
    params = SMALL.model_copy(update={"images": 4, "transparent_share": 0.5, "png_mix": {"rgba8": 1.0}})
    generate_sample(tmp_path / "made", params, workers=1)
    lowest = [np.asarray(Image.open(path))[..., 3].min() for path in sorted((tmp_path / "made/images").iterdir())]
    assert sum(value < 255 for value in lowest) == 2


def test_progress_counts_photographs(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    few = SMALL.model_copy(update={"images": 3})
    generate_sample(tmp_path / "made", few, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_an_occupied_directory_is_refused_and_an_empty_one_used(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    few = SMALL.model_copy(update={"images": 1})
    generate_sample(target, few, workers=1)
    before = tree_hashes(target)
    with pytest.raises(FileExistsError, match="not an empty directory") as caught:
        generate_sample(target, few, workers=1)
    assert "\n" not in str(caught.value)
    assert tree_hashes(target) == before


def test_nothing_is_left_behind_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def fail_on_the_second(*arguments: Any) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError("disk full")
        return b"<annotation/>"

    monkeypatch.setattr(writer, "_annotation", fail_on_the_second)
    with pytest.raises(OSError, match="disk full"):
        generate_sample(tmp_path / "made", SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_sample(tmp_path / "made", SMALL, workers=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_workers_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers"):
        generate_sample(tmp_path / "made", SMALL, workers=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("images", 0),
        ("images", "many"),
        ("class_shares", {"masked": 1.0}),
        ("class_shares", {"with_mask": 0.0}),
        ("png_mix", {"rgba8": -1.0}),
        ("yaw_range", (30.0, -30.0)),
        ("no_such_parameter", 1),
    ],
)
def test_wrong_parameters_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        SampleParams.model_validate({field: value})


def test_parameters_from_yaml_have_lists_for_pairs() -> None:
    assert SampleParams.model_validate({"yaw_range": [-10, 10.5]}).yaw_range == (-10.0, 10.5)
    assert SampleParams.model_validate({"short_side_px": [100, 120]}).short_side_px == (100, 120)


def test_every_parameter_is_described() -> None:
    assert all(field.description for field in SampleParams.model_fields.values())
    assert set(SampleParams().class_shares) == set(SAMPLE_CLASSES)
