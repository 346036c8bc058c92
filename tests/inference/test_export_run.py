"""Exports from runs: which model is taken, eight bits with what they lose, all formats side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from maskbench.config import ConfigError
from maskbench.inference.runtime_classifier import ExportedClassifier
from maskbench.stages import export_benchmark
from maskbench.stages.export_data import faces_of_folder, faces_of_run, find_model, run_of
from maskbench.stages.export_files import Wish, export_file
from maskbench.storage import write_yaml
from maskbench.training.checkpoint import CLASSIFIER
from tests.commands import maskbench
from tests.inference.tiny_classifier import ARM, CLASSES, SIZE, record, save_classifier, save_run, views
from tests.training.detector_in_memory import tiny_backbone

__all__ = ["tiny_backbone"]  # a fixture


def silent(title: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A classifier in a run called `mine`."""
    with pytest.MonkeyPatch.context() as patch:
        yield save_run(tmp_path_factory.mktemp("runs") / "mine", patch)


@pytest.fixture(scope="module")
def int8(checkpoint: Path) -> Path:
    """The run's classifier in eight bits."""
    return export_file(checkpoint, CLASSIFIER, Wish("onnx", int8=True), print, silent).path


def test_what_eight_bits_lose_is_what_the_saved_predictions_say(checkpoint: Path, int8: Path) -> None:
    assert int8 == checkpoint.parent / "best.int8.onnx"
    saved = json.loads((int8.parent / "best.int8.onnx.json").read_text())
    table = pd.read_csv(int8.parent / "best.int8.onnx.predictions.csv")
    assert set(table["split"]) == {"val"}
    columns = [f"prob_{name}" for name in CLASSES]
    for arm, name in ((f"{ARM}/torch-fp32", "fp32"), (f"{ARM}/onnx-int8", "int8")):
        own = table[table["arm"] == arm]
        assert len(own) == 12
        predicted = np.array(CLASSES)[own[columns].to_numpy().argmax(axis=1)]
        assert saved[f"f1_macro_{name}"] == pytest.approx(f1_score(own["label"], predicted, average="macro"))
    assert saved["f1_macro_loss"] == saved["f1_macro_fp32"] - saved["f1_macro_int8"]
    assert 0 < saved["largest_difference_of_probabilities"] < 0.2
    assert ExportedClassifier(int8).record["export"]["int8"] == saved


def test_the_file_is_smaller_and_answers_what_was_saved(checkpoint: Path, int8: Path) -> None:
    assert int8.stat().st_size < 0.35 * checkpoint.stat().st_size
    table = pd.read_csv(int8.parent / "best.int8.onnx.predictions.csv")
    own = table[table["arm"] == f"{ARM}/onnx-int8"]
    found = ExportedClassifier(int8)(views(48)[24:36])
    assert found == pytest.approx(own[[f"prob_{name}" for name in CLASSES]].to_numpy(), abs=1e-6)


def test_what_openvino_chooses_is_compared_too(checkpoint: Path, tmp_path: Path) -> None:
    written = export_file(checkpoint, CLASSIFIER, Wish("openvino", out=tmp_path / "net.xml"), print, silent)
    assert written.as_run is not None
    assert 0 < written.difference <= written.as_run < 0.2  # coarser only where the processor has bfloat16
    exchange = export_file(checkpoint, CLASSIFIER, Wish("onnx", out=tmp_path / "net.onnx"), print, silent)
    assert exchange.as_run is None


def test_ranges_come_from_training_faces_and_losses_from_validation(checkpoint: Path) -> None:
    context = run_of(checkpoint, CLASSIFIER, print, silent)
    assert context is not None
    faces = faces_of_run(context, record())
    known = views(48)
    assert sorted(map(bytes, faces.calibration)) == sorted(map(bytes, known[:24]))
    assert (faces.views == known[24:36]).all()
    assert faces.targets.tolist() == [place % 3 for place in range(24, 36)]


def test_all_formats_side_by_side(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_benchmark, "_SECONDS", 0.005)
    told: list[str] = []
    before = sorted(path.name for path in checkpoint.parent.iterdir())
    table = export_benchmark.benchmark(checkpoint, None, told.append, silent, rounds=2)
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == before
    rows = table.set_index("system")
    assert list(rows.index) == [
        "PyTorch eager fp32", "ONNX Runtime fp32", "ONNX Runtime int8", "OpenVINO fp32",
        "OpenVINO fp32, computed as it chooses", "OpenVINO int8", "torch.export fp32",
    ]  # fmt: skip
    assert [line for line in told if "torch-export in int8" in line]
    assert (rows.loc["PyTorch eager fp32", ["ratio_1", "ratio_32", "largest_difference", "f1_macro_loss"]]
            == [1, 1, 0, 0]).all()  # fmt: skip
    for name in ("ONNX Runtime", "OpenVINO"):
        assert rows.loc[f"{name} fp32", "largest_difference"] < 1e-5
        assert 0 < rows.loc[f"{name} int8", "largest_difference"] < 0.2
        assert rows.loc[f"{name} int8", "megabytes"] < 0.35 * rows.loc[f"{name} fp32", "megabytes"]
    assert (rows[["faces_per_s_1", "faces_per_s_32"]] > 0).all(axis=None)
    text = export_benchmark.shown(table)
    assert len(text.splitlines()) == 8 and "1.00 x" in text


def test_without_faces_there_is_no_int8_and_it_is_said(tmp_path: Path) -> None:
    alone = save_classifier(tmp_path / "best.safetensors")
    with pytest.raises(ConfigError, match=r"best\.safetensors: lies in no run .* so --int8 needs --data DIR"):
        export_file(alone, CLASSIFIER, Wish("onnx", int8=True), print, silent)
    done = maskbench("export", str(alone), "--int8", "--format", "torch-export", cwd=tmp_path, cache=tmp_path)
    assert done.returncode == 2
    assert "torch-export in int8" in done.stderr and "choose --format onnx or openvino" in done.stderr


def test_int8_needs_its_packages_before_anything_is_computed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    out = tmp_path / "net.xml"
    done = maskbench("export", str(checkpoint), "--int8", "--format", "openvino", "--out", str(out),
                     cwd=tmp_path, cache=tmp_path)  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "error: nncf is not installed: pip install 'maskbench[export]'\n")
    assert not list(tmp_path.iterdir())


def test_faces_of_any_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "annotations"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        pixels = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"p{number}.png")
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{left}</xmin><ymin>12</ymin><xmax>{left + 24}</xmax>"
            "<ymax>40</ymax></bndbox></object>"
            for name, left in ((CLASSES[number % 3], 10), ("hat", 50))
        )
        (tmp_path / "annotations" / f"p{number}.xml").write_text(f"<annotation>{objects}</annotation>")
    faces = faces_of_folder(tmp_path, record(), silent)
    assert faces.calibration.shape == faces.views.shape == (2, SIZE, SIZE, 3)
    assert list(faces.table["image_id"]) == ["p1", "p3"]
    assert list(faces.table["label"]) == ["green", "blue"]
    assert not set(map(bytes, faces.calibration)) & set(map(bytes, faces.views))
    with pytest.raises(ConfigError, match="with faces of cat, dog"):
        faces_of_folder(tmp_path, record() | {"classes": ["cat", "dog"]}, silent)


def test_a_run_gives_its_last_arms_first_finished_model(tmp_path: Path) -> None:
    run = tmp_path / "mine"
    write_yaml(run / "config.yaml", {"arms": [{"name": "a"}, {"name": "b"}]})
    with pytest.raises(ConfigError, match="no finished training; run maskbench train or detect-train first"):
        find_model(run, None)
    for place in ("train/a/seed0", "train/b/seed10", "train/b/seed9", "train/b/seed2", "detect-train/a/seed0"):
        kind = {"kind": "detector"} if place.startswith("detect") else {}
        file = save_classifier(run / place / "best.safetensors", **kind)
        if not place.endswith("seed2"):  # still in training
            (file.parent / "fit.json").write_text("{}")
    assert find_model(run, "classify") == (run / "train/b/seed9/best.safetensors", "classifier")
    assert find_model(run, "detect") == (run / "detect-train/a/seed0/best.safetensors", "detector")
    with pytest.raises(ConfigError, match=r"say --task classify or --task detect, or name one of .*train/a/seed0"):
        find_model(run, None)
    by_name = run / "train/b/seed2/best.safetensors"
    assert find_model(by_name, None) == (by_name, "classifier")
    with pytest.raises(ConfigError, match="a classifier, so --task detect cannot be exported from it"):
        find_model(by_name, "detect")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "there"], "--data is for --int8 and --benchmark"),
        (["--threads", "2"], "--threads does not go with export"),
        (["--benchmark", "--int8"], "--int8 does not go with --benchmark"),
        (["--out", "net.xml"], "a file for onnx ends in .onnx"),
    ],
)
def test_options_that_mean_nothing_are_said(checkpoint: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = maskbench("export", str(checkpoint), *options, cwd=tmp_path, cache=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_command_says_how_far_the_file_is_from_pytorch(checkpoint: Path, tmp_path: Path) -> None:
    done = maskbench("export", str(checkpoint), "--format", "torch-export", "--out", "net.pt2",
                     cwd=tmp_path, cache=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "net.pt2: " in done.stdout and "largest difference from PyTorch" in done.stdout
    assert ExportedClassifier(tmp_path / "net.pt2")(views(3)).shape == (3, 3)
