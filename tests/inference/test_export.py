"""Exported detectors: what they find is what the detector finds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from maskbench.inference import export as module
from maskbench.inference.export import ExportError, export_detector
from maskbench.inference.predictor import Predictor, TorchDetector
from maskbench.inference.runtime import RuntimeMissingError, load_exported
from maskbench.models.detectors import DETECTORS, build_detector
from maskbench.training.checkpoint import CheckpointError
from tests.training.detector_in_memory import CLASSES, config, tiny_backbone

__all__ = ["tiny_backbone"]  # a fixture
EXACT = {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"}
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)


def detector(kind: str = "fcos") -> tuple[nn.Module, dict[str, Any]]:
    """A small untrained detector that finds something everywhere, and its record."""
    protocol = config(1, detector=kind, score_threshold=0.0, max_detections=40).detect
    model, _ = build_detector("tiny", len(CLASSES), protocol, mean=MEAN, std=STD, seed=3, loaded=None)
    record = {
        "protocol": protocol.model_dump(mode="json"),
        "classes": list(CLASSES),
        "preprocess": {"mean": list(MEAN), "std": list(STD)},
        "execution": EXACT,
    }
    return model.eval(), record


def photographs() -> list[Any]:
    """Of several sizes, so that padding differs."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*shape, 3)).astype(np.uint8) for shape in ((60, 80), (200, 90), (96, 96), (61, 80))]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `net.onnx` and `net.xml` of the same FCOS."""
    folder = tmp_path_factory.mktemp("exported")
    assert 0 < export_detector(*detector(), folder / "net.onnx") < 1e-4
    assert 0 < export_detector(*detector(), folder / "net.xml", "openvino") < 1e-4
    assert sorted(path.name for path in folder.iterdir()) == ["net.bin", "net.onnx", "net.xml"]
    return folder


def compare(path: Path, kind: str, tolerance: float) -> None:
    """The best detections of an exported file against PyTorch's."""
    own, other = TorchDetector(*detector(kind)), TorchDetector(*load_exported(path))
    assert other.classes == own.classes
    for expected, found in zip(own.detect(photographs()), other.detect(photographs()), strict=True):
        assert len(expected.scores) > 10
        assert found.scores[:10] == pytest.approx(expected.scores[:10], abs=tolerance)


@pytest.mark.parametrize("name", ["net.onnx", "net.xml"])
def test_an_exported_detector_finds_the_same(exported: Path, name: str) -> None:
    # OpenVINO may compute in bfloat16, whose steps are 0.4 %.
    compare(exported / name, "fcos", 1e-5 if name == "net.onnx" else 0.01)


@pytest.mark.parametrize("kind", sorted(set(DETECTORS) - {"fcos"}))
def test_every_kind_of_detector_is_exported(tmp_path: Path, kind: str) -> None:
    export_detector(*detector(kind), tmp_path / "net.onnx")
    compare(tmp_path / "net.onnx", kind, 1e-5)


def test_boxes_are_the_same_and_a_predictor_takes_the_file(exported: Path) -> None:
    own = Predictor(TorchDetector(*detector()), min_score=0)
    other = Predictor(exported / "net.onnx", min_score=0)
    for image in photographs():
        expected, found = own(image), other(image)
        assert found.boxes == pytest.approx(expected.boxes, abs=0.01)
        assert found.labels == expected.labels


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = module.load_network

    def wrong(path: Path, *, exact: bool = False) -> Any:
        network = right(path, exact=exact)
        return lambda images: {name: 1.01 * answers for name, answers in network(images).items()}

    monkeypatch.setattr(module, "load_network", wrong)
    with pytest.raises(ExportError, match="nothing was written"):
        export_detector(*detector(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_foreign_or_damaged_file_is_said(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing of the kind")
    (tmp_path / "broken.xml").write_text("<net/>")
    for name in ("broken.onnx", "broken.xml"):
        with pytest.raises(CheckpointError, match=f"{name}: not a model exported by maskbench"):
            load_exported(tmp_path / name)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(RuntimeMissingError, match=r"onnxscript is not installed: pip install 'maskbench\[export\]'"):
        export_detector(*detector(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"a file for openvino ends in \.xml"):
        export_detector(*detector(), tmp_path / "net.onnx", "openvino")
