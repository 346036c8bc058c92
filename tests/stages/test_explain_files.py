"""`maskbench explain CHECKPOINT IMAGE…`: overlays for any photograph, and clear words for what cannot be explained."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maskbench import cli
from maskbench.models.forward import evaluation_logits
from maskbench.models.registry import build_model
from maskbench.training.checkpoint import execution_of, load_checkpoint, preprocess_of, save_checkpoint

CLASSES = ["bare", "masked"]
XML = (
    "<annotation><object><name>masked</name><bndbox><xmin>10</xmin><ymin>4</ymin><xmax>40</xmax><ymax>30</ymax>"
    "</bndbox></object></annotation>"
)


def checkpoint(folder: Path, arm: str, seed: int) -> Path:
    model, _ = build_model("manual" if seed else "torchvision", 2, seed=seed, loaded=None)
    record = {
        "arm": arm,
        "implementation": "manual" if seed else "torchvision",
        "classes": CLASSES,
        "preprocess": {"input_size": 32, "margin": 0.15, "mean": [0.5] * 3, "std": [0.25] * 3},
        "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
        "evaluate": {"flip_average": True, "batch_size": 8},
    }
    path = folder / arm / f"seed{seed}" / "best.safetensors"
    save_checkpoint(path, model, record)
    return path


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "Team photo.png")
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "Team photo.xml").write_text(XML)
    return tmp_path / "Team photo.png"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["maskbench", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_both_arms_explain_a_face_side_by_side(
    tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("arms: [{name: hand}, {name: bought}]\n")
    first, second = checkpoint(tmp_path / "run/train", "hand", 1), checkpoint(tmp_path / "run/train", "bought", 0)
    code = run(monkeypatch, "explain", tmp_path / "run", photograph, "--annotations", tmp_path / "xml", "--out",
               tmp_path / "out", "--class", "true", "--method", "grad_cam", "--method", "occlusion")  # fmt: skip
    assert code == 0
    table = pd.read_csv(tmp_path / "out/explanations.csv")
    assert list(table["arm"]) == ["hand", "bought"]
    assert list(table["explained"]) == ["masked"] * 2
    assert list(table["overlay"]) == ["Team photo.explained.png"] * 2
    assert table.loc[0, ["xmin", "ymin", "xmax", "ymax"]].tolist() == [10, 4, 40, 30]
    assert np.allclose(table[["prob_bare", "prob_masked"]].sum(axis=1), 1)
    with Image.open(tmp_path / "out/Team photo.explained.png") as image:
        assert image.width > 400
        assert np.asarray(image.convert("RGB")).std() > 10
    assert "hand says" in capsys.readouterr().out
    assert first != second


def test_a_probability_is_that_of_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A face of 32 px that fills its photograph is shown as it is: the canvas repeats its edges all around.
    pixels = np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    path = checkpoint(tmp_path, "hand", 1)
    assert run(monkeypatch, "explain", path, tmp_path / "face.png", "--out", tmp_path / "out") == 0
    model, record = load_checkpoint(path)
    canvas = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    logits = evaluation_logits(model, canvas, preprocess_of(record), execution_of(record), flip_average=True)
    expected = torch.softmax(logits, dim=1)[0].numpy()
    table = pd.read_csv(tmp_path / "out/explanations.csv")
    assert np.allclose(table.loc[0, ["prob_bare", "prob_masked"]].to_numpy(dtype=float), expected, atol=1e-5)
    assert table.loc[0, "predicted"] == CLASSES[int(expected.argmax())]


def test_a_bad_file_is_named_and_the_others_are_explained(
    tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    code = run(monkeypatch, "explain", checkpoint(tmp_path, "hand", 1), tmp_path / "torn.png", photograph,
               tmp_path / "gone.png", "--out", tmp_path / "out", "--box", "5,5,20,20",
               "--box", "30,1,60,40")  # fmt: skip
    assert code == 1
    out = capsys.readouterr().out
    assert "torn.png: left out" in out
    assert "gone.png: left out" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "Team photo-1.explained.png", "Team photo-2.explained.png", "explanations.csv",
    ]  # fmt: skip
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "gradcam"], "--method gradcam: choose among grad_cam"),
        (["--layer", "layer7"], "layer 'layer7': ResNet34 has conv1"),
        (["--layer", "fc"], "layer 'fc' gives (B, 2); maps need (B, C, h, w), once: conv1, bn1, relu, maxpool, layer1"),
        (["--layer", "fc", "--method", "eigen_cam"], "layer 'fc' gives (B, 2); maps need (B, C, h, w)"),
        (["--layer", "layer1.0.relu"], "layer 'layer1.0.relu' is used more than once, or not at all"),
        (["--class", "hat"], "--class hat: best.safetensors knows bare, masked"),
        (["--class", "true"], "--class true: only --annotations can say it"),
        (["--box", "1,2,3"], "--box 1,2,3: write it as xmin,ymin,xmax,ymax in px"),
        (["--box", "9,9,3,3"], "write it as xmin,ymin,xmax,ymax in px"),
    ],
)
def test_a_wrong_wish_gets_one_line(
    tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    code = run(monkeypatch, "explain", checkpoint(tmp_path, "hand", 1), photograph, "--out", tmp_path / "out", *options)
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_neither_a_checkpoint_nor_a_run(
    tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "explain", tmp_path, photograph) == 2
    assert "neither a checkpoint (.safetensors) nor the folder of a run" in capsys.readouterr().err


def test_photographs_are_never_written_over(
    tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into their own folder, two of one stem, one that is named as an overlay would be."""
    (tmp_path / "more").mkdir()
    images = [photograph, tmp_path / "more" / "Team photo.png", tmp_path / "TEAM photo.explained.png"]
    for copy in images[1:]:
        copy.write_bytes(photograph.read_bytes())
    before = photograph.read_bytes()
    assert run(monkeypatch, "explain", checkpoint(tmp_path / "c", "hand", 1), *images, "--out", tmp_path) == 0
    assert all(path.read_bytes() == before for path in images)
    table = pd.read_csv(tmp_path / "explanations.csv")
    assert list(table["overlay"]) == [
        "Team photo_2.explained.png", "Team photo_3.explained.png", "TEAM photo.explained.explained.png",
    ]  # fmt: skip
    assert all((tmp_path / name).is_file() for name in table["overlay"])
    assert "Team photo_2.explained.png: hand says" in capsys.readouterr().out


def test_a_photograph_with_dollar_signs_and_commas_in_its_name_is_explained(
    tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costly = tmp_path / r"a $\frac$, b.png"
    costly.write_bytes(photograph.read_bytes())
    assert run(monkeypatch, "explain", checkpoint(tmp_path, "hand", 1), costly, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / r"a $\frac$, b.explained.png").is_file()
