"""Exported classifiers in use: probabilities of faces without PyTorch's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskbench.data.faces import canvas_size, resize_region, shown_squares
from maskbench.inference.runtime import Floats, Network, load_network, read_exported_record
from maskbench.training.checkpoint import CLASSIFIER

Bytes = NDArray[np.uint8]


class ExportedClassifier:
    """Names faces.

    Args:
        path: from `maskbench export`: `.onnx`, `.xml` or `.pt2`.
        exact: in float32 where OpenVINO would take bfloat16.
        threads: that the runtime may use; 0: as many as it chooses.

    Example:
        ```python
        classifier = ExportedClassifier("best.int8.onnx")
        photograph = maskbench.inference.predictor.as_rgb("street.png")
        probs = classifier.of_boxes(photograph, [[40, 30, 90, 85]])    # (1, K)
        classifier.classes[probs[0].argmax()]
        ```

    Raises:
        CheckpointError: not an exported classifier of this project.
        RuntimeMissingError: what computes it is not installed.
    """

    def __init__(self, path: str | Path, *, exact: bool = False, threads: int = 0) -> None:
        self.record = read_exported_record(Path(path), CLASSIFIER)
        self.network: Network = load_network(Path(path), exact=exact, threads=threads)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order."""
        return tuple(self.record["classes"])

    @property
    def input_size(self) -> int:
        """Side of the faces that are taken, px."""
        return int(self.record["preprocess"]["input_size"])

    def __call__(self, faces: Bytes) -> Floats:
        """Probabilities, float32 (B, K), of cut faces, uint8 RGB (B, S, S, 3) with S = `input_size`.

        Raises:
            ValueError: of another shape or type.
        """
        size = self.input_size
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != (size, size, 3):
            raise ValueError(f"faces: uint8 (B, {size}, {size}, 3), not {faces.dtype} {faces.shape}")
        if not len(faces):
            return np.empty((0, len(self.classes)), dtype=np.float32)
        return np.array(self.network(np.ascontiguousarray(faces))["probs"])

    def of_boxes(self, photograph: Bytes, boxes: Any) -> Floats:
        """Probabilities (N, K) of the faces in boxes, cut and resized as the study's are.

        Args:
            photograph: uint8 RGB (H, W, 3).
            boxes: (N, 4) `x0 y0 x1 y1`, px.
        """
        return self(cut_views(photograph, np.asarray(boxes, dtype=float).reshape(-1, 4), self.record))


def cut_views(photograph: Bytes, boxes: NDArray[np.float64], record: dict[str, Any]) -> Bytes:
    """What a classifier is shown of boxes (N, 4), px: uint8 RGB (N, S, S, 3)."""
    size = int(record["preprocess"]["input_size"])
    squares = shown_squares(boxes, float(record["preprocess"]["margin"]), size)
    canvases = [resize_region(photograph, square, canvas_size(size)) for square in squares]
    side = canvas_size(size)
    return views_of(np.stack(canvases) if canvases else np.empty((0, side, side, 3), dtype=np.uint8), size)


def views_of(canvases: Bytes, size: int) -> Bytes:
    """The central `size` px of canvases (N, C, C, 3)."""
    border = (canvases.shape[1] - size) // 2
    return np.ascontiguousarray(canvases[:, border : border + size, border : border + size])


def load_exported_classifier(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """An exported classifier in the place of `load_checkpoint`'s: `predict_logits` and `name_boxes` take it.

    Returns:
        A module from float (B, 3, S, S) in 0…1 to logits, and the checkpoint's record without what lies in the graph:
        nothing is normalised and mirrored outside.

    Raises:
        CheckpointError: not an exported classifier of this project.
        RuntimeMissingError: what computes it is not installed.
    """
    record = read_exported_record(path, CLASSIFIER)
    inside = {
        "preprocess": record["preprocess"] | {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        "evaluate": record["evaluate"] | {"flip_average": False},
        # Of PyTorch, which only hands the faces over; the runtime decides for itself.
        "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
    }
    return _Named(load_network(path)).eval(), record | inside


class _Named(nn.Module):
    """In the place of a classifier: hands faces to the network as the bytes that they were."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: Tensor) -> Tensor:
        """Logits of float (B, 3, S, S) in 0…1, whole 255ths."""
        faces = (views * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return torch.from_numpy(np.array(self.network(np.ascontiguousarray(faces.numpy()))["logits"]))
