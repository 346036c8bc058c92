"""Exported models in use: another runtime computes the network; for detectors, torchvision settles its answers."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskbench.config import DetectConfig
from maskbench.models.detectors import STRIDES, Unresized, detector_around
from maskbench.training.checkpoint import CLASSIFIER, DETECTOR, CheckpointError

Format = Literal["onnx", "openvino", "torch-export"]
Floats = NDArray[np.float32]
#: One array, whose first axis is the batch, to the graph's answers by name.
Network = Callable[[NDArray[Any]], dict[str, Floats]]
#: Extension of files by what computes them.
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
#: Where a file keeps its checkpoint's record.
RECORD = "maskbench"


class RuntimeMissingError(ImportError, ValueError):
    """A package is not installed; to the command line, a wrong choice like others."""


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
        path: `.onnx`, OpenVINO's `.xml`, or `.pt2`, from `export_detector`.

    Raises:
        CheckpointError: not an exported detector of this project.
        RuntimeMissingError: what computes it is not installed.
    """
    record = read_exported_record(path, DETECTOR)
    config = DetectConfig.model_validate(record["protocol"])
    features = _Features(load_network(path), config.channels)
    model = detector_around(features, len(record["classes"]), config)
    model.transform = _PaddedInMeanColour(tuple(record["preprocess"]["mean"]))
    model.head = _Answers(features)
    # Of the CPU and float32 as far as PyTorch is concerned; the runtime decides for itself.
    execution = {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"}
    return model.eval(), record | {"execution": execution}


def load_network(path: Path, *, exact: bool = False, threads: int = 0) -> Network:
    """What computes a file's graph, on the CPU.

    Args:
        path: `.onnx`, `.xml` or `.pt2`.
        exact: in float32; otherwise OpenVINO computes in bfloat16 where the processor has it.
        threads: that it may use; 0: as many as it chooses. PyTorch's are those of the process.

    Raises:
        RuntimeMissingError: what computes it is not installed.
    """
    if path.suffix == SUFFIXES["onnx"]:
        return _onnx_network(path, threads)
    if path.suffix == SUFFIXES["torch-export"]:
        return _torch_network(path)
    openvino = package("openvino")
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    options |= {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
    options |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)

    def compute(batch: NDArray[Any]) -> dict[str, Floats]:
        answers = compiled([batch])
        return {output.any_name: answers[output] for output in compiled.outputs}

    return compute


def _onnx_network(path: Path, threads: int) -> Network:
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names, taken = [output.name for output in session.get_outputs()], session.get_inputs()[0].name
    return lambda batch: dict(zip(names, session.run(names, {taken: batch}), strict=True))


def _torch_network(path: Path) -> Network:
    module = torch.export.load(str(path)).module()

    def compute(batch: NDArray[Any]) -> dict[str, Floats]:
        with torch.inference_mode():
            return {name: part.numpy() for name, part in module(torch.from_numpy(batch)).items()}

    return compute


def read_exported_record(path: Path, kind: str) -> dict[str, Any]:
    """The record of the checkpoint that a file was made from, with what the export added to it.

    Args:
        path: of the file.
        kind: of model that is needed: `checkpoint.CLASSIFIER` or `DETECTOR`.

    Raises:
        CheckpointError: the file is damaged, not of this project, or of the other kind.
        RuntimeMissingError: what reads it is not installed.
    """
    if path.suffix != SUFFIXES["torch-export"]:
        package("onnx" if path.suffix == SUFFIXES["onnx"] else "openvino")
    try:
        record: dict[str, Any] = json.loads(_read_text(path))
    except Exception as error:
        # Each package has errors of its own for what it cannot read.
        raise CheckpointError(f"{path}: not a model exported by maskbench ({error})") from error
    found = record.get("kind", CLASSIFIER)
    if found != kind:
        raise CheckpointError(f"{path}: an exported {found}; a {kind} is needed here")
    return record


def _read_text(path: Path) -> str:
    if path.suffix == SUFFIXES["onnx"]:
        kept = {entry.key: entry.value for entry in package("onnx").load(str(path)).metadata_props}
        return str(kept[RECORD])
    if path.suffix == SUFFIXES["openvino"]:
        model = package("openvino").Core().read_model(str(path))
        return str(model.get_rt_info(["framework", RECORD]).astype(str))
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f"/extra/{RECORD}"))
        return archive.read(name).decode()


def attach_facts(path: Path, facts: Mapping[str, str]) -> None:
    """Put named texts into an ONNX or OpenVINO file, in the place of those that it holds.

    ONNX keeps them as `metadata_props`, OpenVINO as `rt_info` under `framework`. (A `.pt2` file is given them when it
    is written.)
    """
    if path.suffix == SUFFIXES["onnx"]:
        onnx = package("onnx")
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, dict(facts))
        onnx.save(model, str(path))
        return
    openvino = package("openvino")
    model = openvino.Core().read_model(str(path))
    for name, text in facts.items():
        model.set_rt_info(text, ["framework", name])
    # Never over the files that the model in memory is still mapped from.
    again = path.with_name(f"with-facts-{path.name}")
    openvino.save_model(model, str(again), compress_to_fp16=False)
    del model
    again.with_suffix(".bin").replace(path.with_suffix(".bin"))
    again.replace(path)


def to_openvino(exchange: Path, path: Path) -> None:
    """Write an ONNX file as OpenVINO's, in float32."""
    openvino = package("openvino")
    openvino.save_model(openvino.Core().read_model(str(exchange)), str(path), compress_to_fp16=False)


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
