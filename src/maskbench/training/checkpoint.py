"""Checkpoints: safetensors with its record inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from maskbench.config import DetectConfig
from maskbench.data.transforms import Preprocess
from maskbench.models.execution import Execution, has_fast_bf16
from maskbench.models.registry import build_model
from maskbench.storage import atomic_path, write_json

#: Files of a training: the epoch that is kept, the last one, where it stands.
BEST, LAST, RESUME = "best.safetensors", "last.safetensors", "resume.ckpt"
#: Key of the record inside the safetensors header.
RECORD = "maskbench"
FORMAT = 1
#: Kinds of models a checkpoint may hold; one without a kind is a classifier of faces.
CLASSIFIER, DETECTOR, BACKBONE = "classifier", "detector", "backbone"


class CheckpointError(ValueError):
    """A file is not a checkpoint of this project; the message names it."""


def save_checkpoint(path: Path, model: nn.Module, record: dict[str, Any]) -> None:
    """Write weights and their record as one safetensors file, and the record as JSON beside it.

    The record travels inside the file, so the two can never belong to different models; the JSON is
    for people and other programs. Loading either runs no code.

    Args:
        path: `….safetensors`.
        model: weights and buffers are saved in float32, contiguous.
        record: primitives: arm, implementation, classes, preprocessing, execution, epoch, versions.

    Raises:
        OSError: it cannot be written; the previous file survives.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    record = {"format": FORMAT, **record}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={RECORD: json.dumps(record, allow_nan=False)})
        except SafetensorError as error:
            raise OSError(f"{path}: could not be written ({error})") from error
    write_json(path.with_suffix(".json"), record)


def read_record(path: Path) -> dict[str, Any]:
    """The record of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, or not written by this project.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error
    if RECORD not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not a maskbench checkpoint (no record inside)")
    record: dict[str, Any] = json.loads(metadata[RECORD])
    if record.get("format") != FORMAT:
        raise CheckpointError(f"{path}: checkpoint format {record.get('format')}; this version reads {FORMAT}")
    return record


def load_checkpoint(path: Path, kind: str = CLASSIFIER) -> tuple[nn.Module, dict[str, Any]]:
    """A classifier, in evaluation mode on the CPU, and its record.

    Args:
        path: of the checkpoint.
        kind: `CLASSIFIER` of faces, or `BACKBONE`: a pretraining's, with the head for its own classes.

    Raises:
        CheckpointError: see `read_record`, or the tensors do not fit the recorded implementation.
    """
    record = read_record(path)
    _check_kind(path, record, kind)
    model, _ = build_model(record["implementation"], len(record["classes"]), seed=0, loaded=None)
    return _filled(model, path, record), record


def load_detector_checkpoint(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A detector, in evaluation mode on the CPU, and its record.

    Raises:
        CheckpointError: see `read_record`, or the tensors do not fit the recorded implementation.
    """
    from maskbench.models.detectors import build_detector

    record = read_record(path)
    _check_kind(path, record, DETECTOR)
    mean, std = (tuple(record["preprocess"][name]) for name in ("mean", "std"))
    protocol = DetectConfig.model_validate(record["protocol"])
    model, _ = build_detector(
        record["implementation"], len(record["classes"]), protocol, mean=mean, std=std, seed=0, loaded=None
    )
    return _filled(model, path, record), record


def _check_kind(path: Path, record: dict[str, Any], wanted: str) -> None:
    kind = record.get("kind", CLASSIFIER)
    if kind != wanted:
        use = {
            CLASSIFIER: "names faces",
            DETECTOR: "finds faces in photographs",
            BACKBONE: "other trainings start from",
        }
        raise CheckpointError(f"{path}: a {kind} that {use.get(kind, 'is unknown')}; a {wanted} is needed here")


def _filled(model: nn.Module, path: Path, record: dict[str, Any]) -> nn.Module:
    """`model` with the checkpoint's tensors."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: tensors do not fit {record['implementation']} ({error})") from error
    return model.eval()


def preprocess_of(record: dict[str, Any]) -> Preprocess:
    """The preprocessing a checkpoint was trained with."""
    saved = record["preprocess"]
    return Preprocess(saved["input_size"], tuple(saved["mean"]), tuple(saved["std"]))


def execution_of(record: dict[str, Any]) -> Execution:
    """Device, precision and layout a checkpoint was trained with; what this machine has where it lacks them."""
    saved = dict(record["execution"])
    if saved["device"] == "cuda" and not torch.cuda.is_available():
        saved["device"] = "cpu"
    if saved["precision"] == "bf16" and not has_fast_bf16(saved["device"]):
        saved["precision"] = "fp32"
    return Execution(**saved)
