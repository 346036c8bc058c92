"""Which models a path stands for, and that they answer as a study's do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskbench.app.models import ArmFiles, find_arms, load_arms
from maskbench.config import ConfigError
from maskbench.data.photographs import Photographs
from maskbench.inference.photographs import name_boxes
from maskbench.models.detecting import Found
from maskbench.models.detectors import build_detector
from maskbench.training.checkpoint import CheckpointError, save_checkpoint
from tests.app.conftest import classifier, record
from tests.training.detector_in_memory import config, tiny, tiny_backbone  # noqa: F401


def save_classifier(path: Path, arm: str = "hand") -> Path:
    torch.manual_seed(0)
    save_checkpoint(path, tiny(2).eval(), record(arm))
    return path


def save_detector(path: Path, arm: str = "hand") -> Path:
    protocol = config(1).detect
    model, _ = build_detector("tiny", 2, protocol, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0, loaded=None)
    save_checkpoint(path, model.eval(), record(arm, kind="detector", protocol=protocol.model_dump(mode="json")))
    return path


def make_run(folder: Path, arms: tuple[str, ...] = ("hand", "bought")) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"arms: [{', '.join(f'{{name: {arm}}}' for arm in arms)}]")
    return folder


def test_a_run_stands_for_all_its_arms(tmp_path: Path) -> None:
    run = make_run(tmp_path / "mine", ("hand", "bought", "untrained"))
    for stage, arm, seed in (("train", "hand", 10), ("train", "hand", 2), ("detect-train", "bought", 0)):
        (run / stage / arm / f"seed{seed}").mkdir(parents=True)
        (run / stage / arm / f"seed{seed}" / "best.safetensors").touch()
    assert find_arms([run]) == [
        ArmFiles("hand", classifier=run / "train/hand/seed2/best.safetensors"),
        ArmFiles("bought", detector=run / "detect-train/bought/seed0/best.safetensors"),
    ]


def test_a_detector_and_a_classifier_of_one_arm_belong_together(tmp_path: Path) -> None:
    named, found = save_classifier(tmp_path / "named.safetensors"), save_detector(tmp_path / "found.safetensors")
    assert find_arms([found, named]) == [ArmFiles("hand", found, named)]
    other = save_classifier(tmp_path / "other.safetensors")
    assert find_arms([named, other, found]) == [
        ArmFiles("hand", found, named), ArmFiles("other/hand", classifier=other),
    ]  # fmt: skip
    arm = load_arms(find_arms([found, named]))[0]
    assert arm.classes == ("dark", "light")
    assert arm.detector is not None and len(arm.detector.detect([np.zeros((40, 60, 3), np.uint8)])) == 1


def test_runs_of_equal_arms_are_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, ("hand",)) for name in ("a", "b")]
    for run in runs:
        (run / "train/hand/seed0").mkdir(parents=True)
        (run / "train/hand/seed0/best.safetensors").touch()
    assert [arm.name for arm in find_arms(runs)] == ["hand", "b/hand"]
    assert [arm.name for arm in find_arms([*runs, runs[1]])] == ["hand", "b/hand", "b/hand (2)"]


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder; name results/NAME"):
        find_arms([tmp_path / "gone"])
    with pytest.raises(ConfigError, match="not the folder of a run"):
        find_arms([tmp_path])
    with pytest.raises(ConfigError, match="no trained model in it; run maskbench run --name new first"):
        find_arms([make_run(tmp_path / "new")])
    (tmp_path / "notes.safetensors").write_text("notes")
    with pytest.raises(CheckpointError, match=r"notes\.safetensors: not a readable checkpoint"):
        find_arms([tmp_path / "notes.safetensors"])


def test_boxes_are_named_as_the_study_s_second_stage_names_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    boxes = np.array([[10, 10, 40, 50], [60, 5, 99, 30.5], [0, 0, 8, 8]], dtype=np.float32)
    asked = classifier("hand", 1)
    one = Photographs(("p",), pixels.reshape(-1), np.array([0, pixels.size]), np.array([[80, 100]]), np.ones(1),
                      (boxes,), (np.zeros(3, np.int64),))  # fmt: skip
    found = Found(boxes, np.zeros(3, np.int64), np.ones(3, np.float32), np.ones(3, dtype=bool))
    named = name_boxes(asked.model, asked.record, one, np.array([0]), [found])[0].answered()
    probs = asked.probabilities(pixels, boxes.astype(float))
    assert np.allclose(probs.sum(axis=1), 1)
    assert np.allclose(np.sort(probs.max(axis=1))[::-1], named.scores, atol=1e-6)
    assert len(asked.probabilities(pixels, np.empty((0, 4)))) == 0
