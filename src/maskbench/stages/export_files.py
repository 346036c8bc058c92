"""Export a trained model to a file: the float32 graph, or eight bits with the loss measured on validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from maskbench import schemas
from maskbench.config import ConfigError
from maskbench.evaluation.confusion import class_ratios, confusion_counts, macro_mean
from maskbench.inference.export import export_plan, largest_difference
from maskbench.inference.export_graphs import EXACT, Plan, classifier_plan, detector_plan
from maskbench.inference.export_int8 import calibration_batches, check_int8, export_int8
from maskbench.inference.runtime import SUFFIXES, Format, load_exported
from maskbench.inference.runtime_classifier import ExportedClassifier
from maskbench.stages import export_data as data
from maskbench.storage import atomic_path, sha256_file, write_json
from maskbench.training.checkpoint import CLASSIFIER, load_checkpoint, load_detector_checkpoint

if TYPE_CHECKING:
    from maskbench.data.photographs import Photographs
    from maskbench.stages.context import Context

#: Faces that the models see together when they are measured.
_TOGETHER = 64


@dataclass(frozen=True)
class Wish:
    """What is to be written.

    Attributes:
        form: format of the file.
        int8: in eight bits.
        out: the file; None: beside the checkpoint.
        data: dataset to calibrate and measure with, for a checkpoint that lies in no run.
    """

    form: Format = "onnx"
    int8: bool = False
    out: Path | None = None
    data: Path | None = None


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: the file.
        difference: the largest of its float32 graph's answers from PyTorch's.
        measured: of an int8 file, what it loses.
        as_run: the same difference in the precision that OpenVINO chooses on this machine; None: of another format.
    """

    path: Path
    difference: float
    measured: dict[str, Any] | None = None
    as_run: float | None = None


def export_file(checkpoint: Path, kind: str, wish: Wish, notify: data.Notify, progress: data.Progress) -> Written:
    """Export one checkpoint.

    Args:
        checkpoint: of a finished training.
        kind: of model: `classifier` or `detector`.
        wish: what is to be written.
        notify: receives lines for the user.
        progress: given a title, returns a callback for (done, total).

    Returns:
        What was written. Beside an int8 file lie FILE.json with what it loses and, of a classifier,
        FILE.predictions.csv with the probabilities that say so.

    Raises:
        ConfigError: an int8 file has no data to be calibrated and measured with.
        ExportError, RuntimeMissingError, ValueError: see `export_classifier` and `export_int8`.
    """
    target = wish.out or checkpoint.with_suffix((".int8" if wish.int8 else "") + SUFFIXES[wish.form])
    if target.resolve() == checkpoint.resolve():
        raise ConfigError(f"--out {target}: that is the checkpoint")
    if wish.int8:
        check_int8(wish.form)
    context = data.run_of(checkpoint, kind, notify, progress)
    export = _export_classifier if kind == CLASSIFIER else _export_detector
    return export(checkpoint, target, wish, context, progress)


def _export_classifier(
    checkpoint: Path, target: Path, wish: Wish, context: Context | None, progress: data.Progress
) -> Written:
    model, record = load_checkpoint(checkpoint)
    sha256 = sha256_file(checkpoint)
    if not wish.int8:
        return _in_float32(classifier_plan(model, record), record, target, wish.form, sha256)
    faces = faces_for(checkpoint, record, context, wish.data, progress)
    plan = classifier_plan(model, record, faces.views)
    found: dict[str, NDArray[np.float32]] = {}

    def measure(path: Path) -> dict[str, Any]:
        found.update(fp32=probabilities(plan_answers(plan), faces.views),
                     int8=probabilities(ExportedClassifier(path), faces.views))  # fmt: skip
        return compared(found["fp32"], found["int8"], faces)

    batches = calibration_batches(faces.calibration)
    difference, measured = export_int8(plan, record, target, wish.form, batches, measure, sha256=sha256)
    write_json(_beside(target, ".json"), measured)
    _write_predictions(_beside(target, ".predictions.csv"), found, faces, record, wish.form)
    return Written(target, difference, measured)


def _in_float32(plan: Plan, record: dict[str, Any], target: Path, form: Format, sha256: str) -> Written:
    difference = export_plan(plan, record, target, form, sha256=sha256)
    as_run = largest_difference(plan, target, exact=False) if form == "openvino" else None
    return Written(target, difference, as_run=as_run)


def faces_for(
    checkpoint: Path, record: dict[str, Any], context: Context | None, folder: Path | None, progress: data.Progress
) -> data.Faces:
    """Faces to calibrate and measure with: of `folder` if there is one, else of the checkpoint's run.

    Raises:
        ConfigError: there is neither.
    """
    if folder is not None:
        return data.faces_of_folder(folder, record, progress)
    if context is None:
        raise ConfigError(
            f"{checkpoint}: lies in no run (results/NAME/train/ARM/seedN), so --int8 needs --data DIR, a folder with "
            "images/ and annotations/, to take the ranges of activations from and to measure what is lost"
        )
    return data.faces_of_run(context, record)


def plan_answers(plan: Plan) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """PyTorch's probabilities in float32, by the study's own forward pass."""
    return lambda faces: plan.expected(faces)["probs"]


def probabilities(
    classify: Callable[[NDArray[np.uint8]], NDArray[np.float32]], faces: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """(M, K) of many faces, some at a time."""
    starts = range(0, len(faces), _TOGETHER)
    return np.concatenate([classify(np.ascontiguousarray(faces[start : start + _TOGETHER])) for start in starts])


def macro_f1(probs: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Macro-F1 of the likeliest classes; probabilities (M, K), targets (M,)."""
    counts = confusion_counts(targets, probs.argmax(axis=1).astype(np.int64), probs.shape[1])
    return float(macro_mean(class_ratios(counts)["f1"], counts))


def compared(exact: NDArray[np.float32], smaller: NDArray[np.float32], faces: data.Faces) -> dict[str, Any]:
    """What eight bits lose against float32, on the same faces."""
    before, after = macro_f1(exact, faces.targets), macro_f1(smaller, faces.targets)
    return {
        "measured_on": f"{len(faces.targets)} validation faces of {faces.origin}",
        "calibrated_on": f"{len(faces.calibration)} training faces of {faces.origin}",
        "f1_macro_fp32": before,
        "f1_macro_int8": after,
        "f1_macro_loss": before - after,
        "answers_changed": int((exact.argmax(axis=1) != smaller.argmax(axis=1)).sum()),
        "largest_difference_of_probabilities": float(np.abs(exact - smaller).max()),
    }


def _write_predictions(
    path: Path, found: dict[str, NDArray[np.float32]], faces: data.Faces, record: dict[str, Any], form: Format
) -> None:
    """Both predictions, in the form that `maskbench compare` reads."""
    parts = [
        faces.table.assign(
            arm=f"{record['arm']}/{form if precision == 'int8' else 'torch'}-{precision}", seed=record["seed"],
            **{f"prob_{name}": probs[:, place] for place, name in enumerate(record["classes"])},
        )
        for precision, probs in found.items()
    ]  # fmt: skip
    with atomic_path(path) as temporary:
        pd.concat(parts, ignore_index=True).to_csv(temporary, index=False)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _export_detector(
    checkpoint: Path, target: Path, wish: Wish, context: Context | None, progress: data.Progress
) -> Written:
    model, record = load_detector_checkpoint(checkpoint)
    plan, sha256 = detector_plan(model), sha256_file(checkpoint)
    if not wish.int8:
        return _in_float32(plan, record, target, wish.form, sha256)
    if wish.data is not None or context is None:
        raise ConfigError(
            f"{checkpoint}: a detector in int8 is calibrated and measured on the photographs of its run: export it "
            "where it was trained (results/NAME/detect-train/ARM/seedN), without --data"
        )
    from maskbench.stages.detect_jobs import sides_of_run, study_photographs

    photographs, sides = study_photographs(context), sides_of_run(context, record["seed"]).to_numpy()
    training = data.drawn(np.flatnonzero(sides == "train"), data.CALIBRATION_PHOTOGRAPHS)
    rows = np.flatnonzero(sides == "val")

    def measure(path: Path) -> dict[str, Any]:
        before = _average_precision(model, record | {"execution": EXACT.to_dict()}, context, photographs, rows)
        after = _average_precision(*load_exported(path), context, photographs, rows)
        return {
            "measured_on": f"{len(rows)} validation photographs of {context.folders.results.name}",
            "calibrated_on": f"{len(training)} training photographs of {context.folders.results.name}",
            **{f"{name}_fp32": value for name, value in before.items()},
            **{f"{name}_int8": value for name, value in after.items()},
            **{f"{name}_loss": value - after[name] for name, value in before.items()},
        }

    batches = data.views_of_photographs(photographs, training, record)
    difference, measured = export_int8(plan, record, target, wish.form, batches, measure, sha256=sha256)
    write_json(_beside(target, ".json"), measured)
    return Written(target, difference, measured)


def _average_precision(
    model: nn.Module, record: dict[str, Any], context: Context, photographs: Photographs, rows: NDArray[np.int64]
) -> dict[str, float]:
    """COCO's AP and AP50, mean of classes, on some photographs."""
    from maskbench.evaluation.detection_boxes import Detected, System
    from maskbench.evaluation.detection_coco import coco_metrics
    from maskbench.inference.photographs import detect_photographs, detections_table

    system = System(record["arm"], record["seed"], "val", "detector")
    ids = [photographs.image_ids[row] for row in rows]
    found = detect_photographs(model, record, photographs, rows, context.progress("validation photographs"))
    table = detections_table(found, ids, record["classes"], arm=system.arm, seed=system.seed, split="val",
                             pipeline="detector")  # fmt: skip
    detected = Detected.of(
        table, context.table("audit", "faces", schemas.FACES), ids, record["classes"], system,
        max_detections=context.config.detect.max_detections,
    )  # fmt: skip
    values = coco_metrics(detected)
    overall = values[(values["class_name"] == "") & (values["band"] == "all")].set_index("metric")["value"]
    return {name: float(overall[name]) for name in ("ap", "ap50")}
