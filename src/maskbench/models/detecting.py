"""A detector's answer to photographs: at their size in, boxes in px of the photograph out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import nms

from maskbench.data.photographs import resized
from maskbench.models.execution import Execution

Bytes = NDArray[np.uint8]

#: torchvision's detectors pad to multiples of this, px.
PADDED_TO = 32


@dataclass(frozen=True, eq=False)
class Found:
    """Boxes found in one photograph, by falling score; a place may stand here once for each class it may be.

    Attributes:
        boxes: (N, 4) float32 `x0 y0 x1 y1`, px of the photograph.
        labels: (N,) int64, positions in the class order.
        scores: (N,) float32 in [0, 1].
        answers: (N,) bool, whether the row is what a user is told: one per face. The others are classes that were
            thought less likely; average precision ranks each class by itself and sees them all.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    answers: NDArray[np.bool_]

    def at(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Found:
        """Some of the rows, in their order."""
        return Found(self.boxes[rows], self.labels[rows], self.scores[rows], self.answers[rows])

    def answered(self) -> Found:
        """What a user is told: one box per face."""
        return self.at(self.answers)


@dataclass(frozen=True)
class DetectSettings:
    """How a detector is asked.

    Attributes:
        input_size: longer side of a photograph as the model sees it, px.
        nms_iou: of two boxes that overlap more, the better is kept: of a class, and of all for the answers.
        max_detections: answers per photograph, and boxes per class.
    """

    input_size: int
    nms_iou: float
    max_detections: int


def detect_batch(
    model: nn.Module, images: Sequence[Bytes], settings: DetectSettings, execution: Execution
) -> list[Found]:
    """Boxes of photographs of any sizes.

    Args:
        model: from `build_detector`, in evaluation mode, placed by `execution`.
        images: uint8 (H, W, 3) each, RGB.
        settings: size and limits.
        execution: device, precision, layout.

    Returns:
        One `Found` per photograph; boxes lie inside it.
    """
    sizes = [view_size(image.shape[0], image.shape[1], settings.input_size) for image in images]
    answers: dict[int, Found] = {}
    # Photographs that are padded to the same size go together: norms see the padding, so no neighbour may decide it.
    for padded in dict.fromkeys(padded_size(*size) for size in sizes):
        members = [place for place, size in enumerate(sizes) if padded_size(*size) == padded]
        shown = [_view(images[place], sizes[place], execution) for place in members]
        with torch.inference_mode(), execution.autocast():
            found = model(shown)
        for place, answer in zip(members, found, strict=True):
            shape = images[place].shape[:2]
            scale = (sizes[place][1] / shape[1], sizes[place][0] / shape[0])
            boxes, scores = answer["boxes"].float(), answer["scores"].float()
            answers[place] = settle(boxes, answer["labels"], scores, scale, shape, settings)
    return [answers[place] for place in range(len(images))]


def view_size(height: int, width: int, input_size: int) -> tuple[int, int]:
    """Height and width of a photograph as the model sees it, px: its longer side is `input_size`."""
    scale = input_size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def padded_size(height: int, width: int) -> tuple[int, int]:
    """A view's height and width with the padding that the model adds: the next multiples of 32 px."""
    return -(-height // PADDED_TO) * PADDED_TO, -(-width // PADDED_TO) * PADDED_TO


def _view(image: Bytes, size: tuple[int, int], execution: Execution) -> Tensor:
    """Float (3, H, W) in 0…1."""
    return torch.tensor(resized(image, *size)).permute(2, 0, 1).to(execution.device).float() / 255


def settle(
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor,
    scale: tuple[float, float],
    shape: Sequence[int],
    settings: DetectSettings,
) -> Found:
    """Of boxes of a class that overlap the best, in px of the photograph; the best of whatever class is the answer.

    Args:
        boxes: (N, 4) px of the view.
        labels: (N,).
        scores: (N,).
        scale: px of the view per px of the photograph, across and down.
        shape: height and width of the photograph, px.
        settings: limits.
    """
    every = nms(boxes, scores, settings.nms_iou)[: settings.max_detections]
    kinds = [torch.nonzero(labels == label).flatten() for label in torch.unique(labels)]
    of_class = [own[nms(boxes[own], scores[own], settings.nms_iou)[: settings.max_detections]] for own in kinds]
    keep = torch.unique(torch.cat([every, *of_class]))
    keep = keep[torch.argsort(scores[keep], descending=True, stable=True)]
    kept = boxes[keep].cpu() / torch.tensor([scale[0], scale[1], scale[0], scale[1]])
    height, width = shape
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    kept = kept.clamp(min=0).minimum(limits)
    whole = ((kept[:, 2:] - kept[:, :2]) > 0).all(dim=1)
    answers = torch.isin(keep, every).cpu()
    found = Found(kept.numpy(), labels[keep].cpu().numpy(), scores[keep].cpu().clamp(0, 1).numpy(), answers.numpy())
    return found.at(whole.numpy())
