"""Folders of labelled images: the layouts, the sides, and every way a folder can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskbench.data.labelled import LabelledError, LabelledImages, read_labelled
from tests.labelled_shapes import CLASSES, make_shapes


def read(root: Path, share: float = 0.25, seed: int = 0) -> LabelledImages:
    return read_labelled(root, validation_share=share, seed=seed)


@pytest.mark.parametrize(("layout", "name"), [("imagenet", "train and val"), ("tiny", "Tiny-ImageNet")])
def test_layouts_with_a_validation_side(tmp_path: Path, layout: str, name: str) -> None:
    found = read(make_shapes(tmp_path, layout, train=3, val=2))
    assert (found.layout, found.classes) == (name, CLASSES)
    assert found.counts(validation=False).tolist() == [3, 3, 3]
    assert found.counts(validation=True).tolist() == [2, 2, 2]
    for file, target, validates in zip(found.files, found.targets, found.validation, strict=True):
        assert CLASSES[target] in file and file.startswith("val/") == validates and (tmp_path / file).is_file()


def test_a_stratified_share_validates_where_there_is_no_such_side(tmp_path: Path) -> None:
    plain = read(make_shapes(tmp_path / "a", "plain", train=8))
    assert plain.layout == "class folders"
    assert plain.counts(validation=True).tolist() == [2, 2, 2] and len(plain.files) == 24
    assert (read(tmp_path / "a").validation == plain.validation).all()
    other = read(tmp_path / "a", seed=1)
    assert other.files == plain.files and (other.validation != plain.validation).any()
    (tmp_path / "b").mkdir()
    (tmp_path / "a").rename(tmp_path / "b" / "train")  # train/ alone: the same choice
    assert (read(tmp_path / "b").validation == plain.validation).all()
    assert read(tmp_path / "b", share=0.01).counts(validation=True).tolist() == [1, 1, 1]
    assert read(tmp_path / "b", share=0.99).counts(validation=False).tolist() == [1, 1, 1]


def test_other_and_hidden_files_are_passed_over_and_folders_may_be_deep(tmp_path: Path) -> None:
    root = make_shapes(tmp_path, train=1, val=1)
    (root / "train" / "bar" / "bar_boxes.txt").write_text("x")
    (root / "train" / "bar" / "._hidden.png").write_text("x")
    deep = root / "train" / "bar" / "more" / "deeper"
    deep.mkdir(parents=True)
    (root / "train" / "bar" / "bar_0.png").rename(deep / "moved.PNG")
    assert [file for file in read(root).files if "train/bar" in file] == ["train/bar/more/deeper/moved.PNG"]


def test_what_is_left_without_broken_files(tmp_path: Path) -> None:
    found = read(make_shapes(tmp_path, train=2, val=1))
    kept = found.without(frozenset({"train/bar/bar_0.png"}))
    assert kept.sum() == 8 and not kept[found.files.index("train/bar/bar_0.png")]
    with pytest.raises(LabelledError, match="no readable training image of class bar"):
        found.without(frozenset({"train/bar/bar_0.png", "train/bar/bar_1.png"}))
    with pytest.raises(LabelledError, match="no readable validation image"):
        found.without(frozenset(np.array(found.files)[found.validation]))


def wrong(root: Path, case: str) -> None:
    """Spoil a good folder."""
    if case == "class":
        table = root / "val" / "val_annotations.txt"
        table.write_text(table.read_text().replace("\tbar\t", "\tnone\t", 1))
    elif case == "empty":
        (root / "train" / "zebra").mkdir()
    elif case == "strange":
        (root / "val" / "zebra").mkdir()
        (root / "val" / "bar" / "val_bar_0.png").rename(root / "val" / "zebra" / "a.png")


@pytest.mark.parametrize(
    ("layout", "case", "message"),
    [
        ("imagenet", "empty", r"train/zebra: a class without images"),
        ("imagenet", "strange", r"val/zebra: a class that .*train does not have"),
        ("tiny", "class", r"val_annotations.txt, line 1: class 'none' is not in"),
    ],
)
def test_wrong_folders_are_one_line_that_names_what_is_wrong(
    tmp_path: Path, layout: str, case: str, message: str
) -> None:
    wrong(make_shapes(tmp_path, layout, train=2, val=2), case)
    with pytest.raises(LabelledError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelledError, match="absent: no such folder"):
        read(tmp_path / "absent")
    with pytest.raises(LabelledError, match="0 class folders"):
        read(tmp_path)
    root = make_shapes(tmp_path / "tiny", "tiny", train=2, val=2)
    (root / "val" / "images" / "val_bar_1.png").unlink()
    with pytest.raises(LabelledError, match=r"line 2: .*val_bar_1.png is missing"):
        read(root)
    with pytest.raises(LabelledError, match="disc: one image"):
        plain = make_shapes(tmp_path / "plain", "plain", train=2)
        (plain / "disc" / "disc_0.png").unlink()
        read(plain)
