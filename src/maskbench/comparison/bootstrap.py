"""Bootstrap clustered by photograph for all arms and seeds at once.

One draw of photographs counts for every arm and every seed, so differences between arms are paired. Intervals
from the draws are made by `evaluation.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskbench.comparison.runs import Runs
from maskbench.evaluation.intervals import drawn_weights

Floats = NDArray[np.float64]

PHOTOGRAPHS = "test photographs"
PHOTOGRAPHS_AND_SEEDS = "test photographs and training seeds"

#: Weights held at a time: 4 million float64 are 32 MB.
_CHUNK = 4_000_000


@dataclass(frozen=True, eq=False)
class Draws:
    """The measurements of every run on every draw of photographs.

    Attributes:
        runs: what was drawn from.
        drawn: by arm and seed, (R, M) with columns `runs.names`; NaN where a class that the measurement
            needs was not drawn.
        resamples: R.
    """

    runs: Runs
    drawn: dict[tuple[str, int], Floats]
    resamples: int

    def of(self, arm: str, seeds: Sequence[int]) -> Floats:
        """(S, R, M): the draws of one arm."""
        return np.stack([self.drawn[arm, seed] for seed in seeds])


def draw_metrics(runs: Runs, *, seed: int = 0, resamples: int = 10_000) -> Draws:
    """Measure all runs on draws of photographs, the same draws for every arm and seed.

    As many photographs are drawn with replacement as all seeds have together; a run counts those of its own test
    side, so with different test sides their sizes vary between draws.

    Args:
        runs: the runs.
        seed: of the resampling.
        resamples: draws, at least 2.

    Raises:
        ValueError: fewer than two resamples.

    Source:
        Field & Welsh, J. R. Stat. Soc. B 69 (2007) (drawing whole clusters).
    """
    if resamples < 2:
        raise ValueError(f"resamples: at least 2, not {resamples}")
    rng = np.random.default_rng(seed)
    count = len(runs.image_ids)
    parts: dict[tuple[str, int], list[Floats]] = {key: [] for key in runs.runs}
    step = max(1, _CHUNK // count)
    for start in range(0, resamples, step):
        weights = drawn_weights(rng, count, min(step, resamples - start))
        for key, run in runs.runs.items():
            whole = len(run.positions) == count
            parts[key].append(run.metrics.measure(weights if whole else weights[:, run.positions]))
    return Draws(runs, {key: np.concatenate(found) for key, found in parts.items()}, resamples)
