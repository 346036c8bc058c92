"""What a model is given at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskbench.data.shares import WHOLE, Share


@dataclass(frozen=True)
class Batch:
    """One batch, or a process's share of it.

    Attributes:
        canvases: uint8 (B, 3, C, C).
        targets: int64 (B,), positions in the class order.
        rows: int64 (B,), positions in the faces table: what joins predictions to faces.
        share: what part of the whole batch this is.
        whole: the whole batch's targets and rows, int64 (W,) each; None: this is the whole batch.
    """

    canvases: Tensor
    targets: Tensor
    rows: Tensor
    share: Share = WHOLE
    whole: tuple[Tensor, Tensor] | None = None

    @property
    def all_targets(self) -> Tensor:
        """Of the whole batch: int64 (W,)."""
        return self.targets if self.whole is None else self.whole[0]

    @property
    def all_rows(self) -> Tensor:
        """Of the whole batch: int64 (W,)."""
        return self.rows if self.whole is None else self.whole[1]

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The same batch on `device`; the rows stay, for they are read on the CPU alone."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        whole = None if self.whole is None else (move(self.whole[0]), self.whole[1])
        return Batch(move(self.canvases), move(self.targets), self.rows, self.share, whole)
