"""Sets of things that belong together because links lead from one to the next."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def chained(links: Iterable[tuple[int, int]], count: int) -> NDArray[np.int_]:
    """Number the sets that links connect, directly or in a chain.

    Args:
        links: pairs of places below `count`.
        count: N, places in all.

    Returns:
        (N,) the number of each place's set; sets are numbered in the order of their first places.

    Source:
        Galler & Fischer, *An improved equivalence algorithm*, CACM 7 (1964).

    Example:
        >>> chained([(4, 1), (1, 3)], 6).tolist()
        [0, 1, 2, 1, 1, 3]
    """
    parent = list(range(count))

    def first(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for a, b in links:
        low, high = sorted((first(a), first(b)))
        parent[high] = low
    _, numbers = np.unique([first(place) for place in range(count)], return_inverse=True)
    return np.asarray(numbers, dtype=int)
