"""Training of detectors."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from maskbench.evaluation.detection_boxes import Detected, System
from maskbench.evaluation.detection_coco import coco_metrics
from maskbench.inference.photographs import detect_photographs, detections_table
from maskbench.schemas import read_table
from maskbench.schemas.detection import ALL_CLASSES
from maskbench.storage import read_json
from maskbench.training.checkpoint import load_checkpoint, load_detector_checkpoint
from maskbench.training.fit_detector import fit_detector
from maskbench.training.history import TABLES
from tests.training.detector_in_memory import ARM, CLASSES, config, inputs, photographs, tiny_backbone

__all__ = ["tiny_backbone"]  # a fixture
SYSTEM = System("tiny", 0, "test", "detector")


def truth() -> pd.DataFrame:
    """The faces of `photographs()`, as the audit lists them."""
    known = photographs()
    rows = [
        {"face_id": f"{image_id}-{number}", "image_id": image_id, "label": CLASSES[label]}
        | dict(zip(("xmin", "ymin", "xmax", "ymax"), map(float, box), strict=True))
        for image_id, boxes, labels in zip(known.image_ids, known.boxes, known.labels, strict=True)
        for number, (box, label) in enumerate(zip(boxes, labels, strict=True))
    ]
    return pd.DataFrame(rows).assign(width=lambda t: t["xmax"] - t["xmin"], height=lambda t: t["ymax"] - t["ymin"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that saw four photographs again and again, one of which is empty."""
    folder = tmp_path_factory.mktemp("trained")
    fit_detector(inputs(repeats=16), config(4), ARM, 0, None, folder, notify=lambda line: None)
    return folder


def test_four_photographs_are_learnt_by_heart(trained: Path) -> None:
    model, record = load_detector_checkpoint(trained / "best.safetensors")
    data = inputs()
    found = detect_photographs(model, record, data.photographs, data.val)
    ids = list(data.photographs.image_ids)
    table = detections_table(found, ids, CLASSES, arm="tiny", seed=0, split="test", pipeline="detector")
    metrics = coco_metrics(Detected.of(table, truth(), ids, CLASSES, SYSTEM))
    ap50 = metrics[(metrics["metric"] == "ap50") & (metrics["band"] == "all")].set_index("class_name")["value"]
    assert ap50[ALL_CLASSES] > 0.9
    epochs = read_table(trained / "epochs", TABLES["epochs"])
    seen = epochs[(epochs["split"] == "val") & (epochs["metric"] == "ap50")]
    best = read_json(trained / "fit.json")["best_epoch"]
    assert seen.set_index("epoch")["value"].loc[best] == pytest.approx(ap50[ALL_CLASSES], abs=0.01)


def test_an_interrupted_training_ends_as_one_never_interrupted(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if "epoch 1/2" in line:
            raise RuntimeError("the power went off")

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit_detector(inputs(), config(2), ARM, 0, None, whole, notify=lambda line: None)
    with pytest.raises(RuntimeError, match="power"):
        fit_detector(inputs(), config(2), ARM, 0, None, broken, notify=interrupt)
    assert not (broken / "fit.json").exists()
    fit_detector(inputs(), config(2), ARM, 0, None, broken, notify=lambda line: None)
    for name in ("epochs", "steps"):
        first, second = (read_table(folder / name, TABLES[name]) for folder in (whole, broken))
        pd.testing.assert_frame_equal(first, second)
    for name in ("best", "last"):
        first, second = (load_detector_checkpoint(folder / f"{name}.safetensors")[0] for folder in (whole, broken))
        for (key, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
            assert torch.equal(a, b), key
    assert read_json(whole / "fit.json")["best_epoch"] == read_json(broken / "fit.json")["best_epoch"]


def test_a_detector_is_not_taken_for_a_classifier(trained: Path) -> None:
    with pytest.raises(ValueError, match="a classifier is needed here"):
        load_checkpoint(trained / "best.safetensors")
