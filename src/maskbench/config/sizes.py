"""Input sizes that change while a model is trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from maskbench.config.base import Section


class Phase(Section):
    """Epochs at one input size."""

    # Up to 16 px the last stage strides over maps of one pixel, whose bfloat16 gradient oneDNN reads from memory that
    # nobody wrote: not finite now and then.
    size: int = Field(ge=24, le=512, description="side of the square input, px")
    epochs: int = Field(ge=1, description="passes over the training images")

    def __str__(self) -> str:
        """As it is typed: `64:30`."""
        return f"{self.size}:{self.epochs}"


def _from_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = [re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", part) for part in value.split(",")] if value.strip() else []
    if not all(parts):
        raise ValueError(f"write it as size:epochs, e.g. 64:20,96:10 (got {value!r})")
    return [{"size": int(part[1]), "epochs": int(part[2])} for part in parts if part]


#: Phases in order, also as text: `64:20,96:10`.
Phases = Annotated[tuple[Phase, ...], BeforeValidator(_from_text)]


def epochs_of(phases: Sequence[Phase]) -> int:
    """Of all phases together."""
    return sum(phase.epochs for phase in phases)


def size_in(phases: Sequence[Phase], epoch: int, last: int) -> int:
    """Input size of a 0-based epoch, px; `last` after all phases.

    Example:
        >>> [size_in((Phase(size=32, epochs=1), Phase(size=48, epochs=2)), epoch, 64) for epoch in range(4)]
        [32, 48, 48, 64]
    """
    for phase in phases:
        if epoch < phase.epochs:
            return phase.size
        epoch -= phase.epochs
    return last
