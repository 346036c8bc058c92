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


@dataclass(frozen=True, eq=False)
class Found:
    """Boxes found in one photograph, by falling score.

    Attributes:
        boxes: (N, 4) float32 `x0 y0 x1 y1`, px of the photograph.
        labels: (N,) int64, positions in the class order.
        scores: (N,) float32 in [0, 1].
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class DetectSettings:
    """How a detector is asked.

    Attributes:
        input_size: longer side of a photograph as the model sees it, px.
        nms_iou: of two boxes that overlap more, of whatever class, the better is kept.
        max_detections: per photograph.
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
    shown, scales = [], []
    for image in images:
        height, width = image.shape[:2]
        scale = settings.input_size / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        view = torch.tensor(resized(image, *size)).permute(2, 0, 1).to(execution.device)
        shown.append(view.float() / 255)
        scales.append((size[1] / width, size[0] / height))
    with torch.inference_mode(), execution.autocast():
        answers = model(shown)
    return [
        settle(answer["boxes"].float(), answer["labels"], answer["scores"].float(), scale, image.shape[:2], settings)
        for answer, scale, image in zip(answers, scales, images, strict=True)
    ]


def settle(
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor,
    scale: tuple[float, float],
    shape: Sequence[int],
    settings: DetectSettings,
) -> Found:
    """One box per face: of boxes that overlap, of whatever class, the best; in px of the photograph.

    Args:
        boxes: (N, 4) px of the view.
        labels: (N,).
        scores: (N,).
        scale: px of the view per px of the photograph, across and down.
        shape: height and width of the photograph, px.
        settings: limits.
    """
    keep = nms(boxes, scores, settings.nms_iou)[: settings.max_detections]
    kept = boxes[keep].cpu() / torch.tensor([scale[0], scale[1], scale[0], scale[1]])
    height, width = shape
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    kept = kept.clamp(min=0).minimum(limits)
    whole = ((kept[:, 2:] - kept[:, :2]) > 0).all(dim=1)
    return Found(kept[whole].numpy(), labels[keep].cpu()[whole].numpy(), scores[keep].cpu()[whole].clamp(0, 1).numpy())
