"""What a model is given at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        canvases: uint8 (B, 3, C, C).
        targets: int64 (B,), positions in the class order.
        rows: int64 (B,), positions in the faces table: what joins predictions to faces.
    """

    canvases: Tensor
    targets: Tensor
    rows: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""
        return Batch(*(t.to(device, non_blocking=non_blocking) for t in (self.canvases, self.targets, self.rows)))
