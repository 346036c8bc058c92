"""Exported detectors in use: ONNX Runtime or OpenVINO computes the network, torchvision settles its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskbench.config import DetectConfig
from maskbench.models.detectors import STRIDES, Unresized, detector_around
from maskbench.training.checkpoint import CheckpointError

Floats = NDArray[np.float32]
#: Float32 (B, 3, H, W) to the head's raw answers by torchvision's names.
Network = Callable[[Floats], dict[str, Floats]]
#: Extension of files by what computes them.
SUFFIXES: dict[Literal["onnx", "openvino"], str] = {"onnx": ".onnx", "openvino": ".xml"}
#: Name of the graph's input.
INPUT = "images"
#: Where a file keeps its checkpoint's record.
_RECORD = "maskbench"


class RuntimeMissingError(ImportError):
    """A package is not installed."""


def package(name: str) -> Any:
    """A package of the extra `export`.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise RuntimeMissingError(f"{name} is not installed: pip install 'maskbench[export]'") from error


def load_exported(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """An exported detector, used as `load_detector_checkpoint`'s are, and the record of its checkpoint.

    Args:
        path: `.onnx`, or OpenVINO's `.xml`, from `export_detector`.

    Raises:
        CheckpointError: not an exported detector of this project.
        RuntimeMissingError: what computes it is not installed.
    """
    record = read_exported_record(path)
    config = DetectConfig.model_validate(record["protocol"])
    features = _Features(load_network(path), config.channels)
    model = detector_around(features, len(record["classes"]), config)
    model.transform = _PaddedInMeanColour(tuple(record["preprocess"]["mean"]))
    model.head = _Answers(features)
    # Of the CPU and float32 as far as PyTorch is concerned; the runtime decides for itself.
    execution = {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"}
    return model.eval(), record | {"execution": execution}


def load_network(path: Path, *, exact: bool = False) -> Network:
    """What computes a file's graph, on the CPU.

    Args:
        path: `.onnx` or `.xml`.
        exact: in float32; otherwise OpenVINO computes in bfloat16 where the processor has it.

    Raises:
        RuntimeMissingError: what computes it is not installed.
    """
    if path.suffix == SUFFIXES["onnx"]:
        session = package("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))
    openvino = package("openvino")
    options = {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_PRECISION_HINT": "f32"} if exact else {})
    compiled = openvino.Core().compile_model(str(path), "CPU", options)

    def compute(images: Floats) -> dict[str, Floats]:
        answers = compiled({INPUT: images})
        return {output.any_name: answers[output] for output in compiled.outputs}

    return compute


def read_exported_record(path: Path) -> dict[str, Any]:
    """The record that `attach_record` or `to_openvino` put into a file.

    Raises:
        CheckpointError: the file is damaged, or not of this project.
        RuntimeMissingError: what reads it is not installed.
    """
    reader = package("onnx" if path.suffix == SUFFIXES["onnx"] else "openvino")
    try:
        if path.suffix == SUFFIXES["onnx"]:
            kept = {entry.key: entry.value for entry in reader.load(str(path)).metadata_props}
            text = kept[_RECORD]
        else:
            text = reader.Core().read_model(str(path)).get_rt_info(["framework", _RECORD]).astype(str)
        record: dict[str, Any] = json.loads(text)
    except Exception as error:
        # Each package has errors of its own for what it cannot read.
        raise CheckpointError(f"{path}: not a detector exported by maskbench ({error})") from error
    return record


def attach_record(path: Path, record: dict[str, Any]) -> None:
    """Put a checkpoint's record into an ONNX file."""
    onnx = package("onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {_RECORD: json.dumps(record, allow_nan=False)})
    onnx.save(model, str(path))


def to_openvino(exchange: Path, path: Path, record: dict[str, Any]) -> None:
    """Write an ONNX file as OpenVINO's, in float32, with a checkpoint's record."""
    openvino = package("openvino")
    model = openvino.Core().read_model(str(exchange))
    model.set_rt_info(json.dumps(record, allow_nan=False), ["framework", _RECORD])
    openvino.save_model(model, str(path), compress_to_fp16=False)


class _Features(nn.Module):
    """In the place of a backbone: runs the whole network, keeps its answers, and gives features without content."""

    def __init__(self, network: Network, out_channels: int) -> None:
        super().__init__()
        self.network, self.out_channels = network, out_channels
        self.answers: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of the right sizes, which is all that anchors are laid by."""
        answers = self.network(np.ascontiguousarray(images.float().numpy()))
        self.answers = {name: torch.from_numpy(np.array(part)) for name, part in answers.items()}
        count, _, height, width = images.shape
        shapes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
        return {str(level): images.new_zeros(1).expand(count, 1, *shape) for level, shape in enumerate(shapes)}


class _Answers(nn.Module):
    """In the place of a head: the answers that the network gave."""

    def __init__(self, features: _Features) -> None:
        super().__init__()
        self.features = (features,)  # not a submodule of two modules

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """The answers to the photographs that `features` are of."""
        return self.features[0].answers


class _PaddedInMeanColour(Unresized):
    """Views as they are, padded so that the graph's normalisation makes nothing of the padding, as in training."""

    def __init__(self, mean: tuple[float, float, float]) -> None:
        super().__init__(1, 1, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
        self.colour = torch.tensor(mean)

    def batch_images(self, images: list[Tensor], size_divisible: int = 32) -> Tensor:
        """(B, 3, H, W) with sides that are multiples of `size_divisible`."""
        height, width = (
            -(-max(image.shape[axis] for image in images) // size_divisible) * size_divisible for axis in (1, 2)
        )
        batch = self.colour[None, :, None, None].repeat(len(images), 1, height, width)
        for place, image in enumerate(images):
            batch[place, :, : image.shape[1], : image.shape[2]] = image
        return batch
