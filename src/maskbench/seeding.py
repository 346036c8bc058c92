"""Seeds and determinism: every random choice follows from the run's seed and where it is made."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, *where: str | int) -> int:
    """A seed for one place, from the run's seed and that place's name.

    Hashing keeps the streams of different places independent, and stateless: epoch 7 draws the same
    numbers whether or not epochs 0–6 ran in this process, which is what makes resuming exact.

    Args:
        seed: the run's seed.
        where: names or counters of the place, e.g. `("augment", epoch, batch)`.

    Returns:
        An integer in [0, 2^63).

    Example:
        >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1) != derive_seed(0, "order", 2)
        True
    """
    text = "/".join([str(seed), *map(str, where)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *where: str | int) -> torch.Generator:
    """A CPU generator seeded by `derive_seed`; parameters drawn on the CPU are equal on any device."""
    return torch.Generator().manual_seed(derive_seed(seed, *where))


def seed_everything(seed: int, *where: str | int) -> None:
    """Seed Python's, NumPy's and torch's global generators for one place.

    Library code of our own draws from explicit generators; this covers what third parties draw.
    """
    value = derive_seed(seed, *where)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 - third-party code still draws from the global state
    torch.manual_seed(value)
