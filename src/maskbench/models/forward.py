"""The one forward pass behind validation, testing and later use: equal inputs give equal logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskbench.data.transforms import Preprocess
from maskbench.models.execution import Execution


def evaluation_logits(
    model: nn.Module, canvases: Tensor, preprocess: Preprocess, execution: Execution, *, flip_average: bool = False
) -> Tensor:
    """Logits of a batch without augmentation.

    Args:
        model: in evaluation mode, on the device of `canvases`.
        canvases: uint8 (B, 3, C, C).
        preprocess: view and normalisation.
        execution: precision and layout.
        flip_average: mean of the logits of each face and of its mirror image.

    Returns:
        float32 (B, K).
    """
    images = execution.arrange(preprocess.view(canvases))  # (B, 3, S, S)
    with torch.no_grad(), execution.autocast():
        logits: Tensor = model(images).float()
        if flip_average:
            logits = (logits + model(images.flip(-1)).float()) / 2
    return logits
