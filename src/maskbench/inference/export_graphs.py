"""What of a model is exported: graphs with the preprocessing inside, and the inputs that they are checked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maskbench.inference.runtime import Floats
from maskbench.models.detecting import PADDED_TO
from maskbench.models.execution import Execution
from maskbench.models.forward import evaluation_logits
from maskbench.training.checkpoint import CLASSIFIER, DETECTOR, preprocess_of

#: What is compared with: float32, in the plain layout.
EXACT = Execution("cpu", "fp32", "contiguous")
#: Faces that a file is compared with PyTorch on, at a time.
BATCHES = (1, 3, 8)


@dataclass(frozen=True, eq=False)
class Plan:
    """A network to be exported.

    Attributes:
        graph: gives a dictionary of float32 tensors; in evaluation mode, on the CPU.
        kind: `classifier` or `detector`.
        input_name: of the graph's one input.
        example: an input.
        dynamic: axes of the input whose size is free.
        expected: what the model answers in PyTorch, by the graph's names of answers.
        checks: inputs that a file is compared with `expected` on.
    """

    graph: nn.Module
    kind: str
    input_name: str
    example: Tensor
    dynamic: dict[int, Any]
    expected: Callable[[NDArray[Any]], dict[str, Floats]]
    checks: tuple[NDArray[Any], ...]


class FaceGraph(nn.Module):
    """A classifier from cut faces to probabilities.

    Args:
        model: from `load_checkpoint`.
        record: the checkpoint's: normalisation, and whether a face is averaged with its mirror image.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, record: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.mirror = model, bool(record["evaluate"]["flip_average"])
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(record["preprocess"][name])[None, :, None, None])

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        """Uint8 RGB (B, S, S, 3) to `probs` and `logits`, float32 (B, K)."""
        views = (faces.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        if self.mirror:
            both = torch.stack([views, views.flip(-1)], dim=1).flatten(0, 1)  # (2B, 3, S, S)
            logits = self.model(both).unflatten(0, (-1, 2)).mean(dim=1)
        else:
            logits = self.model(views)
        return {"probs": logits.softmax(dim=1), "logits": logits}


class DetectorGraph(nn.Module):
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


def classifier_plan(model: nn.Module, record: dict[str, Any], faces: NDArray[np.uint8] | None = None) -> Plan:
    """How a classifier is exported.

    Args:
        model: from `load_checkpoint`, on the CPU.
        record: the checkpoint's.
        faces: uint8 (N, S, S, 3), real ones to check with, beside noise and drawn ones.
    """
    preprocess, mirror = preprocess_of(record), bool(record["evaluate"]["flip_average"])

    def expected(faces: NDArray[Any]) -> dict[str, Floats]:
        # The study's own forward pass, not the graph's: a canvas that is no larger than the view is the view.
        canvases = torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous()
        logits = evaluation_logits(model, canvases, preprocess, EXACT, flip_average=mirror)
        return {"probs": logits.softmax(dim=1).numpy(), "logits": logits.numpy()}

    size = preprocess.input_size
    return Plan(
        graph=FaceGraph(model, record).eval(), kind=CLASSIFIER, input_name="faces",
        example=torch.zeros(2, size, size, 3, dtype=torch.uint8), dynamic={0: torch.export.Dim("batch", min=1)},
        expected=expected, checks=_face_checks(size, faces),
    )  # fmt: skip


def detector_plan(model: nn.Module) -> Plan:
    """How a detector from `load_detector_checkpoint`, on the CPU, is exported."""
    graph = DetectorGraph(model).eval()

    def expected(images: NDArray[Any]) -> dict[str, Floats]:
        with torch.inference_mode():
            return {name: part.numpy() for name, part in graph(torch.from_numpy(images)).items()}

    draw = torch.Generator().manual_seed(0)
    checks = [
        torch.rand(batch, 3, rows * PADDED_TO, columns * PADDED_TO, generator=draw).numpy()
        for batch, rows, columns in ((1, 3, 4), (2, 5, 2), (3, 2, 2))
    ]
    steps = {axis: PADDED_TO * torch.export.Dim(name) for axis, name in ((2, "rows"), (3, "columns"))}
    return Plan(
        graph=graph, kind=DETECTOR, input_name="images", example=torch.zeros(2, 3, 3 * PADDED_TO, 4 * PADDED_TO),
        dynamic={0: torch.export.Dim("batch"), **steps}, expected=expected, checks=tuple(checks),
    )  # fmt: skip


def _face_checks(size: int, faces: NDArray[np.uint8] | None) -> tuple[NDArray[np.uint8], ...]:
    """Batches of every size in `BATCHES`: noise, smooth colours as in photographs, and real faces if there are any."""
    draw = torch.Generator().manual_seed(0)
    found: list[NDArray[np.uint8]] = []
    for count in BATCHES:
        noise = torch.rand(count, 3, size, size, generator=draw)
        coarse = torch.rand(count, 3, 4, 4, generator=draw)
        smooth = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
        found += [_bytes(noise), _bytes(smooth)]
        if faces is not None and len(faces) >= count:
            found.append(np.ascontiguousarray(faces[:count]))
    return tuple(found)


def _bytes(images: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray((images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
