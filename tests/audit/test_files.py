"""Files of a dataset as they come: broken, hostile, misnamed, alone; each read once."""

import hashlib
import io
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest

from maskbench.audit import integrity
from maskbench.data import images as images_module
from maskbench.data.crops import CropKeeper, cached_faces, cut_faces
from maskbench.data.images import read_bytes
from maskbench.data.photographs import PhotographKeeper, cached_photographs, usable_images
from tests.audit.dataset import CONFIG, face, files_of, found, picture


def test_missing_partners(dataset):
    dataset.image("alone.png", picture(1))
    dataset.add("ghost", None, face())
    dataset.image("Case.png", picture(2))
    dataset.add("case", None, face())
    result = dataset.scan()
    assert files_of(result, "image_without_annotation") == ["images/Case.png", "images/alone.png"]
    assert files_of(result, "annotation_without_image") == ["annotations/case.xml", "annotations/ghost.xml"]
    assert "differs in upper and lower case only" in found(result, "image_without_annotation")[0][1]
    # A missing annotation is not "no faces": such a photograph is not in the table.
    assert len(result.images) == 6 and not result.has_errors


def bomb():
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_broken_photographs_are_left_out(dataset):
    whole = (dataset.root / "images" / "sound0.png").read_bytes()
    contents = {
        "truncated": whole[: len(whole) // 2], "text": b"a text\n", "empty": b"", "bomb": bomb(),
        "gif": b"GIF89a" + b"\0" * 40, "text2": b"a text\n", "truncated2": whole[: len(whole) // 2],
    }  # fmt: skip
    for stem, content in contents.items():
        dataset.add(stem, content, face())
    result = dataset.scan()
    assert files_of(result, "image_damaged") == ["images/empty.png", "images/truncated.png", "images/truncated2.png"]
    assert files_of(result, "not_an_image") == ["images/gif.png", "images/text.png", "images/text2.png"]
    assert files_of(result, "image_too_large") == ["images/bomb.png"]
    assert not result.has_errors and len(result.images) == 6
    assert result.duplicates.empty  # unreadable files are not duplicates of each other


def test_content_decides_not_the_name(dataset):
    dataset.add("really", jpeg(picture(1)), face())
    result = dataset.scan()
    assert found(result, "extension_mismatch") == [("images/really.png", "content is JPEG")]
    row = result.images.set_index("image_id").loc["really"]
    assert row["format"] == "JPEG" and len(result.images) == 7


def test_hostile_annotations_are_left_out(dataset):
    dataset.image("bomb.png", picture(1))
    entities = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    dataset.annotation("bomb", f'<!DOCTYPE x [<!ENTITY l0 "ha">{entities}]><annotation>&l9;</annotation>')
    dataset.image("thief.png", picture(2))
    dataset.annotation("thief", '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation>&f;</annotation>')
    dataset.image("broken.png", picture(3))
    dataset.annotation("broken", "<annotation><object>")
    result = dataset.scan()
    assert files_of(result, "annotation_unreadable") == [f"annotations/{s}.xml" for s in ("bomb", "broken", "thief")]
    assert len(result.images) == 6 and "root:" not in result.findings.to_csv()


def test_names_inside_an_annotation_are_never_followed(dataset, tmp_path):
    picture(7).save(tmp_path / "secret.png")
    dataset.add("walker", picture(1), face(), filename="../../secret.png")
    dataset.add("other", picture(2), face(), filename="sound0.png")
    dataset.add("renamed", jpeg(picture(3)), face(), suffix=".jpg", filename="renamed.png")
    result = dataset.scan()
    assert files_of(result, "filename_mismatch") == [f"annotations/{s}.xml" for s in ("other", "renamed", "walker")]
    images = result.images.set_index("image_id")
    assert (
        images.loc["walker", "sha256"]
        == hashlib.sha256((dataset.root / "images" / "walker.png").read_bytes()).hexdigest()
    )
    assert result.duplicates.empty


def test_colliding_names(dataset):
    dataset.add("same", picture(1), face())
    dataset.image("same.jpg", jpeg(picture(2)))
    dataset.add("MiX", picture(3), face())
    dataset.add("mix", picture(4), face())
    result = dataset.scan()
    assert found(result, "ambiguous_stem") == [("images/same.jpg", "same stem: same.jpg, same.png")]
    ids = set(result.images["image_id"])
    assert "same" not in ids
    if {"MiX", "mix"} <= ids:  # not on systems that ignore case
        assert [file for file, _ in found(result, "case_collision")] == ["images/MiX.png"]


def test_what_else_lies_in_the_folders(dataset):
    (dataset.root / "images" / "notes.txt").write_text("x")
    (dataset.root / "images" / ".hidden.png").write_text("x")
    (dataset.root / "images" / "folder").mkdir()
    (dataset.root / "annotations" / "classes.txt").write_text("x")
    os.mkfifo(dataset.root / "images" / "pipe.png")
    result = dataset.scan()
    assert set(files_of(result, "ignored_file")) == {
        "images/notes.txt", "images/folder", "images/pipe.png", "annotations/classes.txt",
    }  # fmt: skip


def test_a_name_that_is_not_unicode(dataset):
    try:
        (dataset.root / "images" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    result = dataset.scan()
    assert files_of(result, "file_name") == ["images/caf\\udce9.png"]
    result.findings.to_csv().encode("utf-8")


def test_each_file_is_read_and_decoded_once_for_tables_crops_and_photographs(dataset, tmp_path, monkeypatch):
    dataset.add("faceless", picture(7))
    dataset.add("crowd", picture(8), face("a"), face("b", (30, 10, 63, 47)))
    dataset.image("damaged.png", b"\x89PNG\r\n\x1a\n")
    plain = dataset.scan()
    crops = cut_faces(dataset.root, plain.images, plain.faces, 0.25, max_pixels=CONFIG.max_pixels)
    read = []
    for module in (integrity, images_module):
        monkeypatch.setattr(module, "read_bytes", lambda path, limit: read.append(path.name) or read_bytes(path, limit))
    with CropKeeper(tmp_path / "faces", 0.25) as faces, PhotographKeeper(tmp_path / "whole", 32) as whole:
        result = dataset.scan(keepers=(faces, whole), workers=2)
        faces.keep(result.images, result.faces)
        whole.keep(result.images, result.faces)
    for table in ("images", "faces", "findings", "duplicates"):
        pd.testing.assert_frame_equal(getattr(result, table), getattr(plain, table))
    assert sorted(read) == sorted(path.name for path in (dataset.root / "images").iterdir())

    refuse = {"root": lambda: pytest.fail("decoded again"), "images": result.images, "faces": result.faces}
    kept = cached_faces(tmp_path / "faces", **refuse, margin=0.25, max_pixels=CONFIG.max_pixels)
    np.testing.assert_array_equal(kept.pixels, crops.pixels)
    refuse["images"] = usable_images(result.images, result.faces)
    photographs = cached_photographs(
        tmp_path / "whole", **refuse, classes=("a", "b"), longest=32, max_pixels=CONFIG.max_pixels
    )
    again = cached_photographs(
        tmp_path / "again", **{**refuse, "root": dataset.root}, classes=("a", "b"), longest=32,
        max_pixels=CONFIG.max_pixels,
    )  # fmt: skip
    assert "faceless" not in photographs.image_ids and "crowd" in photographs.image_ids
    np.testing.assert_array_equal(photographs.pixels, again.pixels)
