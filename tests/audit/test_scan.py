import hashlib
import json
import re

import pandas as pd
import pytest
from PIL import Image

from maskbench.audit import scan
from maskbench.audit.scan import scan_dataset
from maskbench.audit.summary import summarise, summary_text, terminal_summary, write_audit
from maskbench.config import AuditConfig
from maskbench.schemas import DUPLICATES, FACES, FINDINGS, IMAGES, read_table
from tests.audit.dataset import CONFIG, HEIGHT, WIDTH, Dataset, face, files_of, found, picture


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


def test_the_result_does_not_depend_on_the_number_of_workers_or_of_pairs_at_once(dataset, monkeypatch):
    dataset.add("copy", picture(100), face("b"))
    dataset.add("broken", b"no picture", face("b"))
    dataset.image("alone.png", picture(101))
    told = []
    one = dataset.scan(workers=1, progress=lambda *done: told.append(done))
    assert told == [(done, 9) for done in range(1, 10)]
    others = [dataset.scan(workers=4)]
    monkeypatch.setattr(scan, "_PAIRS_AT_ONCE", 2)
    others.append(dataset.scan(workers=3))
    for other in others:
        for name in ("images", "faces", "findings", "duplicates"):
            pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


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
    assert (result.duplicates["kind"] == "near").sum() == 15 and (result.duplicates["kind"] == "exact").sum() == 5
    assert sorted(result.faces["label"].unique()) == ["mask_weared_incorrect", "with_mask", "without_mask"]
