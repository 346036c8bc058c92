import hashlib
import io
import json
import os
import re
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maskbench.audit import integrity
from maskbench.audit.checks import CHECKS
from maskbench.audit.scan import scan_dataset
from maskbench.audit.summary import summarise, summary_text, terminal_summary, write_audit
from maskbench.config import AuditConfig
from maskbench.data import images as images_module
from maskbench.data.crops import CropKeeper, cached_faces, cut_faces
from maskbench.data.images import read_bytes
from maskbench.data.photographs import PhotographKeeper, cached_photographs, usable_images
from maskbench.schemas import DUPLICATES, FACES, FINDINGS, IMAGES, read_table

CONFIG = AuditConfig(max_pixels=1_000_000)
WIDTH, HEIGHT = 64, 48


def picture(seed, mode="RGB", size=(WIDTH, HEIGHT)):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def face(label="a", box=(4, 4, 24, 24)):
    fields = "".join(
        f"<{name}>{value}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{label}</name><bndbox>{fields}</bndbox></object>"


class Dataset:
    """A dataset in a temporary folder, sound unless told otherwise: 3 photographs of each of 2 classes."""

    def __init__(self, root, sound=True):
        self.root = root
        for name in ("images", "annotations"):
            (root / name).mkdir()
        if sound:
            for index in range(6):
                self.add(f"sound{index}", picture(100 + index), face("ab"[index % 2]))

    def add(self, stem, image, *faces, suffix=".png", size=(WIDTH, HEIGHT), filename=None, extra=""):
        if image is not None:
            self.image(stem + suffix, image)
        name = stem + suffix if filename is None else filename
        self.annotation(
            stem,
            f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            f"{''.join(faces)}{extra}</annotation>",
        )

    def image(self, name, content):
        path = self.root / "images" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, "PNG")

    def annotation(self, stem, text):
        (self.root / "annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")

    def scan(self, label_map=None, classes=(), config=CONFIG, **options):
        return scan_dataset(self.root, config, label_map or {}, classes, **options)


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "data").mkdir()
    return Dataset(tmp_path / "data")


def found(result, check):
    """Rows of one check as (file, detail)."""
    rows = result.findings[result.findings["check"] == check]
    assert set(rows["severity"]) <= {CHECKS[check].severity}
    return list(zip(rows["file"], rows["detail"], strict=True))


def files_of(result, check):
    return [file for file, _ in found(result, check)]


def tree_hash(root):
    state = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        facts = path.stat()
        state.update(f"{path.relative_to(root)} {facts.st_mode} {facts.st_mtime_ns}".encode())
        state.update(path.read_bytes() if path.is_file() else b"")
    return state.hexdigest()


def test_a_sound_dataset(dataset):
    steps = []
    before = tree_hash(dataset.root)
    result = dataset.scan(progress=lambda done, total: steps.append((done, total)))
    assert tree_hash(dataset.root) == before
    assert steps == [(k, 6) for k in range(1, 7)]
    assert not result.has_errors and set(result.findings["severity"]) == {"info"}
    assert result.images["image_id"].tolist() == [f"sound{k}" for k in range(6)]
    row = result.images.iloc[0]
    path = dataset.root / row["file"]
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and row["bytes"] == path.stat().st_size
    assert (row["format"], row["mode"], row["bit_depth"], row["width"], row["height"]) == ("PNG", "RGB", 8, 64, 48)
    first = result.faces.iloc[0]
    assert first["face_id"] == "sound0#000" and first["label"] == first["source_label"] == "a"
    assert [first[name] for name in ("xmin", "ymin", "xmax", "ymax")] == [4, 4, 24, 24] and not first["clipped"]
    assert result.duplicates.empty


def test_the_result_does_not_depend_on_the_number_of_workers(dataset):
    dataset.add("copy", picture(100), face("b"))
    one, four = dataset.scan(workers=1), dataset.scan(workers=4)
    for name in ("images", "faces", "findings", "duplicates"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(four, name))


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


def test_size_in_the_annotation(dataset):
    dataset.add("wrong", picture(1), face(), size=(640, 480))
    dataset.add("turned", picture(2), face(), size=(HEIGHT, WIDTH))
    dataset.add("none", picture(3), face(), size=(0, 0))
    result = dataset.scan()
    (turned, detail), (wrong, _) = found(result, "size_mismatch")
    assert (turned, wrong) == ("annotations/turned.xml", "annotations/wrong.xml") and "quarter turn" in detail
    assert files_of(result, "size_missing") == ["annotations/none.xml"]
    faces = result.faces.set_index("image_id")
    assert faces.loc["wrong", "image_width"] == WIDTH


def test_nonsense_boxes(dataset):
    dataset.add(
        "odd",
        picture(1),
        face(box=(4, 4, WIDTH + 1, 24)),  # 0: out of bounds
        face(box=(-9, -9, -1, -1)),  # 1: outside
        face(box=(WIDTH, 4, WIDTH + 9, 24)),  # 2: touches from outside
        face(box=(24, 4, 4, 24)),  # 3: inverted
        face(box=(4, 4, 4, 24)),  # 4: empty
        face(box=("nan", 4, 24, 24)),  # 5
        face(box=("x", 4, 24, 24)),  # 6
        face(box=(10, 10, 12, 40)),  # 7: tiny
        face(label=" "),  # 8
        face(box=(30, 30, 40, 40)),  # 9: sound
    )
    result = dataset.scan()
    faces = result.faces[result.faces["image_id"] == "odd"]
    assert faces["face_id"].tolist() == ["odd#000", "odd#007", "odd#009"]
    assert faces["clipped"].tolist() == [True, False, False] and faces["xmax"].iloc[0] == WIDTH
    assert len(found(result, "box_outside")) == len(found(result, "box_empty")) == 2
    for check in ("box_out_of_bounds", "box_not_finite", "box_unreadable", "box_tiny", "label_missing"):
        assert files_of(result, check) == ["annotations/odd.xml"], check
    assert result.images.set_index("image_id").loc["odd", "faces"] == 3


def test_repeated_boxes(dataset):
    dataset.add("twice", picture(1), face("a"), face("b", (30, 30, 40, 40)), face("a"))
    dataset.add("fight", picture(2), face("a"), face("b"), face("a", (30, 30, 40, 40)))
    dataset.add("mapped", picture(3), face("a"), face("A"))
    result = dataset.scan(label_map={"A": "a"})
    assert files_of(result, "box_repeated") == ["annotations/mapped.xml", "annotations/twice.xml"]
    ((file, detail),) = found(result, "box_conflict")
    assert file == "annotations/fight.xml" and "labels a, b" in detail
    ids = [name for name in result.faces["face_id"] if not name.startswith("sound")]
    assert ids == ["fight#002", "mapped#000", "twice#000", "twice#001"]


def test_labels_in_spanish(tmp_path):
    (tmp_path / "datos").mkdir()
    datos = Dataset(tmp_path / "datos", sound=False)
    labels = ["con_máscara", "sin máscara", "máscara mal puesta", "perro"]
    for index in range(12):
        datos.add(f"foto{index:02d}", picture(index), face(labels[index % 4]))
    decomposed = "con_ma\u0301scara"  # as some systems write it
    names = {decomposed: "with_mask", "sin máscara": "without_mask", "máscara mal puesta": "incorrect", "gato": "x"}
    result = datos.scan(names, ("with_mask", "without_mask", "incorrect"))
    assert result.faces["label"].value_counts().to_dict() == {"with_mask": 3, "without_mask": 3, "incorrect": 3}
    assert set(result.faces["source_label"]) == set(labels[:3])
    ((file, detail),) = found(result, "label_unknown")
    assert file == "annotations/foto03.xml" and "'perro'" in detail and "3 face(s) in 3 file(s)" in detail
    assert [detail for _, detail in found(result, "label_map_unused")] == [
        "label_map: no annotation uses the label 'gato'"
    ]
    assert len(found(result, "no_faces")) == 3 and not result.has_errors


def test_photographs_without_faces_are_kept(dataset):
    dataset.add("empty", picture(1))
    result = dataset.scan()
    assert found(result, "no_faces") == [("images/empty.png", "no face annotated")]
    assert result.images.set_index("image_id").loc["empty", "faces"] == 0


def test_stray_text(dataset):
    dataset.add("stray", picture(1), face(), extra="oops")
    assert found(dataset.scan(), "stray_text") == [("annotations/stray.xml", "stray text: 'oops'")]


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


def test_kinds_are_summarised(dataset):
    transparent = picture(1).convert("RGBA")
    transparent.putpixel((0, 0), (1, 2, 3, 4))
    dataset.add("clear", transparent, face())
    result = dataset.scan()
    assert [detail.split(":")[0] for _, detail in found(result, "pixel_format")] == [
        "PNG RGB, 8 bit",
        "PNG RGBA, 8 bit",
    ]
    assert found(result, "transparency") == [("", "partly transparent: 1 photograph (images/clear.png)")]
    share = result.images.set_index("image_id").loc["clear", "transparent_share"]
    assert share == pytest.approx(1 / (WIDTH * HEIGHT))


def test_duplicates_and_their_labels(dataset):
    dataset.add("copy", picture(100), face("b"))  # sound0 has an `a`
    dataset.add("smaller", picture(101).resize((40, 30)), face("b", (2, 2, 20, 20)), size=(40, 30))
    for stem in ("flat1", "flat2"):
        dataset.add(stem, Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)), face())
    result = dataset.scan()
    rows = result.duplicates[["image_id_a", "image_id_b", "kind", "labels_agree"]].to_numpy().tolist()
    assert rows == [["copy", "sound0", "exact", False], ["smaller", "sound1", "near", True]]
    assert found(result, "duplicate_labels") == [("images/copy.png", "1 b, but 1 a in its duplicate images/sound0.png")]
    assert files_of(result, "flat_image") == ["images/flat1.png", "images/flat2.png"]


def test_errors_stop_a_study(tmp_path):
    result = scan_dataset(tmp_path / "nothing", CONFIG, {}, ())
    assert result.has_errors and result.findings["check"].tolist() == ["layout"]
    (tmp_path / "empty").mkdir()
    empty = Dataset(tmp_path / "empty", sound=False)
    assert empty.scan().findings["check"].tolist() == ["no_images"]
    (tmp_path / "one").mkdir()
    one = Dataset(tmp_path / "one", sound=False)
    for index in range(3):
        one.add(str(index), picture(index), face())
    assert one.scan().findings["check"].tolist()[0] == "few_classes" and one.scan().has_errors


def test_a_class_must_reach_three_splits(dataset):
    for index in range(2):
        dataset.add(f"rare{index}", picture(index), face("rare"), face("rare", (30, 30, 40, 40)))
    result = dataset.scan()
    assert [detail for _, detail in found(result, "class_too_rare")] == [
        "class 'rare' is in 2 photograph(s); three splits need 3"
    ]
    # A copy is a photograph more, but no group more.
    dataset.add("rare2", picture(0), face("rare"), face("rare", (30, 30, 40, 40)))
    ((_, detail),) = found(dataset.scan(), "class_too_rare")
    assert "in 2 photograph(s) (3 photographs, duplicates counted once)" in detail
    dataset.add("rare3", picture(3), face("rare"))
    assert not dataset.scan().has_errors
    ((_, detail),) = found(dataset.scan(classes=("a", "b", "never")), "class_too_rare")
    assert "'never' is in 0" in detail


def test_tables_are_written_and_read_back(dataset, tmp_path):
    dataset.add("copy", picture(100), face("b", (4, 4, WIDTH + 5, 24)))
    result = dataset.scan()
    written = write_audit(result, tmp_path / "out")
    assert all(path.is_file() for path in written) and len(written) == 9
    for name, schema in (("images", IMAGES), ("faces", FACES), ("duplicates", DUPLICATES), ("audit", FINDINGS)):
        assert len(read_table(tmp_path / "out" / name, schema)) == len(pd.read_csv(tmp_path / "out" / f"{name}.csv"))
    document = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert document["summary"] == summarise(result) and len(document["findings"]) == len(result.findings)
    assert document["summary"]["classes"] == {
        "a": {"faces": 3, "photographs": 3},
        "b": {"faces": 4, "photographs": 4},
    }
    assert document["summary"]["duplicates"] == {"exact": 1, "near": 0, "labels_disagree": 1}
    assert document["summary"]["sizes"]["box_height_px"]["median"] == 20
    text = terminal_summary(tmp_path / "out")
    assert text == summary_text(summarise(result))
    assert "7 photographs, 7 faces: a 3, b 4" in text and "box_out_of_bounds" in text


def test_an_empty_result_can_be_written(tmp_path):
    result = scan_dataset(tmp_path / "nothing", CONFIG, {}, ())
    write_audit(result, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["summary"]["sizes"]["image_width_px"] is None
    assert "1 error" in terminal_summary(tmp_path / "out")


@pytest.mark.real
def test_the_real_dataset(real_dataset):
    result = scan_dataset(real_dataset, AuditConfig(near_duplicate_bits=6), {}, ())
    assert len(result.images) == 853 and len(result.faces) == 4072 and not result.has_errors
    assert len(found(result, "box_out_of_bounds")) == int(result.faces["clipped"].sum()) == 12
    beyond = [detail for _, detail in found(result, "box_out_of_bounds")]
    for detail in beyond:  # xmax = width + 1, nothing else
        xmax, width = re.search(r"\[\S+ \S+ (\d+) \S+\] .* of (\d+) × ", detail).groups()
        assert int(xmax) == int(width) + 1
    assert (result.duplicates["kind"] == "near").sum() == 14 and (result.duplicates["kind"] == "exact").sum() == 5
    assert sorted(result.faces["label"].unique()) == ["mask_weared_incorrect", "with_mask", "without_mask"]


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
