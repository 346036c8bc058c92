"""Exported classifiers: what a file answers is what the study answers, and it says all that its user needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from maskbench.data.batch import Batch
from maskbench.inference import export as module
from maskbench.inference.export import ExportError, export_classifier
from maskbench.inference.predict import predict_logits
from maskbench.inference.runtime import SUFFIXES, Format, load_exported
from maskbench.inference.runtime_classifier import ExportedClassifier, cut_views, load_exported_classifier
from maskbench.training.checkpoint import CheckpointError, execution_of, preprocess_of
from tests.inference.tiny_classifier import CANVAS, CLASSES, SIZE, canvases, model, record, views
from tests.training.detector_in_memory import tiny_backbone

__all__ = ["tiny_backbone"]  # a fixture
FORMS: list[Format] = ["onnx", "openvino", "torch-export"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    """One classifier in every format."""
    folder = tmp_path_factory.mktemp("exported")
    files = {form: folder / f"net{SUFFIXES[form]}" for form in FORMS}
    for form, path in files.items():
        assert 0 <= export_classifier(model(), record(), path, form, faces=views(8), sha256="abc") < 1e-4
    assert {path.name for path in folder.iterdir()} == {"net.onnx", "net.xml", "net.bin", "net.pt2"}
    return files


def study_probabilities(mirror: bool, loaded: Any = None) -> np.ndarray[Any, Any]:
    """(48, 3) by the path of `evaluate`, from canvases that are larger than the view."""
    own, facts = loaded or (model(), record(mirror))
    pixels, _ = canvases()
    rows = torch.arange(len(pixels))
    batches = [Batch(pixels[start : start + 16], rows[start : start + 16], rows[start : start + 16])
               for start in range(0, len(pixels), 16)]  # fmt: skip
    found = predict_logits(own, batches, preprocess_of(facts), execution_of(facts),
                           flip_average=facts["evaluate"]["flip_average"])  # fmt: skip
    return np.exp(found.log_probs())


@pytest.mark.parametrize("form", FORMS)
def test_a_file_answers_as_the_study_does_in_batches_of_any_size(exported: dict[Format, Path], form: Format) -> None:
    expected, classifier = study_probabilities(mirror=True), ExportedClassifier(exported[form], exact=True)
    assert np.ptp(expected, axis=0).min() > 0.05  # faces differ, so equality says something
    for count in (1, 3, 8, 48):
        assert classifier(views(count)) == pytest.approx(expected[:count], abs=1e-5)
    assert classifier(views(0)).shape == (0, 3)
    assert classifier.classes == CLASSES


def test_the_mirror_image_counts_only_where_the_study_counts_it(tmp_path: Path) -> None:
    export_classifier(model(), record(mirror=False), tmp_path / "net.pt2", "torch-export")
    found = ExportedClassifier(tmp_path / "net.pt2")(views(48))
    assert found == pytest.approx(study_probabilities(mirror=False), abs=1e-5)
    assert np.abs(found - study_probabilities(mirror=True)).max() > 1e-3


def test_a_file_takes_the_place_of_a_checkpoint(exported: dict[Format, Path]) -> None:
    found = study_probabilities(True, load_exported_classifier(exported["onnx"]))
    assert found == pytest.approx(study_probabilities(True), abs=1e-5)


def test_each_runtime_itself_reads_what_a_user_needs(exported: dict[Format, Path]) -> None:
    session = onnxruntime.InferenceSession(exported["onnx"], providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    network = openvino.Core().read_model(exported["openvino"])
    extra = dict.fromkeys(texts, "")
    torch.export.load(exported["torch-export"], extra_files=extra)
    for name, text in texts.items():
        if name not in ("maskbench", "format"):
            assert network.get_rt_info(["framework", name]).astype(str) == text
            assert extra[name] == text
    assert json.loads(texts["classes"]) == list(CLASSES)
    assert (texts["input_size"], texts["margin"], texts["colour"]) == (str(SIZE), "0.25", "RGB")
    assert json.loads(texts["mean"]) == [0.4, 0.5, 0.3]
    assert (texts["arm"], texts["seed"], texts["checkpoint_sha256"]) == ("tiny-random", "0", "abc")
    assert "the mean with the mirror image" in texts["cutting"]
    for form in FORMS:
        own = ExportedClassifier(exported[form]).record
        assert {name: own[name] for name in record()} == record()
        assert own["export"]["format"] == form


def test_boxes_are_cut_as_the_facts_say(exported: dict[Format, Path]) -> None:
    photograph = np.random.default_rng(0).integers(0, 255, (90, 70, 3)).astype(np.uint8)
    # A box of 20 px and a margin of a quarter: 30 px become 32; another reaches beyond the photograph.
    boxes = np.array([[20.0, 30, 40, 44], [-4, 50, 30, 88]])
    seen = cut_views(photograph, boxes, record())
    assert seen.shape == (2, SIZE, SIZE, 3)
    assert np.abs(seen[0].astype(float).mean() - photograph[22:52, 15:45].mean()) < 3
    classifier = ExportedClassifier(exported["onnx"])
    assert classifier.of_boxes(photograph, boxes.tolist()) == pytest.approx(classifier(seen))
    with pytest.raises(ValueError, match=r"uint8 \(B, 32, 32, 3\), not uint8 \(48, 3, 40, 40\)"):
        classifier(canvases()[0].numpy())


def test_what_is_no_classifier_is_refused(exported: dict[Format, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"net\.xml: an exported classifier; a detector is needed here"):
        load_exported(exported["openvino"])
    (tmp_path / "broken.pt2").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"broken\.pt2: not a model exported by maskbench"):
        ExportedClassifier(tmp_path / "broken.pt2")


@pytest.mark.parametrize("fault", [0.01, float("nan")])
def test_a_file_that_differs_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: float
) -> None:
    right = module.load_network

    def wrong(path: Path, **options: Any) -> Any:
        network = right(path, **options)
        return lambda faces: {name: answers + fault for name, answers in network(faces).items()}

    monkeypatch.setattr(module, "load_network", wrong)
    (tmp_path / "net.pt2").write_text("an earlier file")
    with pytest.raises(ExportError, match="nothing was written"):
        export_classifier(model(), record(), tmp_path / "net.pt2", "torch-export")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]
    assert (tmp_path / "net.pt2").read_text() == "an earlier file"


def test_canvas_and_view_of_the_tests_are_the_studys() -> None:
    from maskbench.data.faces import canvas_size

    assert canvas_size(SIZE) == CANVAS
