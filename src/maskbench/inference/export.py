"""Detectors as files for other runtimes: the network is exported, boxes are settled by `inference.runtime`.

The graph takes float32 RGB (B, 3, H, W) in 0…1, sides multiples of 32 px, padding in the mean colour; normalisation
lies inside. It gives the raw answers of torchvision's head (FCOS: class logits (B, A, K), distances (B, A, 4),
centredness (B, A, 1)).
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from maskbench.inference.runtime import INPUT, SUFFIXES, attach_record, load_network, package, to_openvino
from maskbench.models.detecting import PADDED_TO

Format = Literal["onnx", "openvino"]
#: Answers of the exported graph may differ from PyTorch's by this much, in units of logits and strides.
TOLERANCE = 1e-3
_OPSET = 20


class ExportError(ValueError):
    """A graph that does not compute what the model does."""


class Graph(nn.Module):
    """The part of a torchvision detector that is a network.

    Args:
        model: from `build_detector`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any) -> None:  # torchvision is not typed
        super().__init__()
        self.backbone, self.head = model.backbone, model.head
        self.register_buffer("mean", torch.tensor(model.transform.image_mean)[:, None, None])
        self.register_buffer("std", torch.tensor(model.transform.image_std)[:, None, None])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Float (B, 3, H, W) in 0…1 to the head's answers."""
        features = self.backbone((images - self.mean) / self.std)
        answers: dict[str, Tensor] = self.head(list(features.values()))
        return answers


def export_detector(model: nn.Module, record: dict[str, Any], path: Path, form: Format = "onnx") -> float:
    """Write a detector for ONNX Runtime or OpenVINO, after comparing what it computes with PyTorch.

    Args:
        model: from `load_detector_checkpoint`, on the CPU.
        record: the checkpoint's; it travels inside the file.
        path: to write; OpenVINO's weights lie beside it as `.bin`.
        form: of the file; its extension is fixed by `runtime.SUFFIXES`.

    Returns:
        The largest difference between the file's raw answers and PyTorch's, both computed in float32.

    Raises:
        ExportError: the difference exceeds `TOLERANCE`; nothing is written.
        RuntimeMissingError: a package that the format needs is not installed.
        ValueError: the extension is not the format's.
    """
    if path.suffix != SUFFIXES[form]:
        raise ValueError(f"{path}: a file for {form} ends in {SUFFIXES[form]}")
    graph = Graph(model).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        exchange = written.with_suffix(SUFFIXES["onnx"])
        _to_onnx(graph, exchange, record)
        if form == "openvino":
            to_openvino(exchange, written, record)
        difference = largest_difference(graph, written)
        if not difference <= TOLERANCE:
            raise ExportError(f"{path}: its answers differ from PyTorch's by {difference:.2g}; nothing was written")
        if form == "openvino":
            written.with_suffix(".bin").replace(path.with_suffix(".bin"))
        written.replace(path)
    return difference


def largest_difference(graph: nn.Module, path: Path) -> float:
    """Between the answers of a file, in float32, and of PyTorch, to noise in several sizes and batches."""
    network, worst = load_network(path, exact=True), 0.0
    draw = torch.Generator().manual_seed(0)
    for batch, rows, columns in ((1, 3, 4), (2, 5, 2), (3, 2, 2)):
        images = torch.rand(batch, 3, rows * PADDED_TO, columns * PADDED_TO, generator=draw)
        with torch.inference_mode():
            expected = graph(images)
        answers = network(images.numpy())
        for name, values in expected.items():
            worst = max(worst, float(np.abs(values.numpy() - answers[name]).max()))
    return worst


def _to_onnx(graph: Graph, path: Path, record: dict[str, Any]) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        package(name)
    steps = {axis: PADDED_TO * torch.export.Dim(name) for axis, name in ((2, "rows"), (3, "columns"))}
    example = torch.zeros(2, 3, 3 * PADDED_TO, 4 * PADDED_TO)
    with _quiet(), torch.inference_mode():
        torch.onnx.export(
            graph, (example,), str(path), input_names=[INPUT], output_names=list(graph(example)),
            dynamic_shapes=({0: torch.export.Dim("batch"), **steps},), opset_version=_OPSET, external_data=False,
            dynamo=True,
        )  # fmt: skip
    attach_record(path, record)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress and its warnings about packages of other people's."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
