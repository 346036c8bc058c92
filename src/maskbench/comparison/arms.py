"""Everything question 1 needs from saved predictions, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from maskbench.comparison.bootstrap import draw_metrics
from maskbench.comparison.paired import difference_table, seeds_table, summary_table
from maskbench.comparison.paired_tests import paired_tests_table
from maskbench.comparison.runs import Runs
from maskbench.steps import Progress, in_steps


def compare_arms(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    split: str = "test",
    resamples: int = 10_000,
    permutations: int = 9_999,
    alpha: float = 0.05,
    draw_seeds: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, pd.DataFrame]:
    """Compare the arms of saved predictions over all their seeds.

    Args:
        predictions: `schemas.PREDICTIONS`; the first arm is the baseline.
        classes: class order.
        split: the side that is compared.
        resamples: bootstrap draws of photographs.
        permutations: random swaps of photographs.
        alpha: level of verdicts; intervals have confidence 1 - alpha.
        draw_seeds: with two seeds or more, intervals also cover the choice of seeds.
        seed: of draws and swaps.
        progress: called with tables done and in all.

    Returns:
        `seeds`, `summary`, `differences`, `tests`: see `schemas.comparison.COMPARISON_TABLES`.

    Raises:
        ValueError: see `Runs.of` and `difference_table`.
    """
    draws = draw_metrics(Runs.of(predictions, classes, split), seed=seed, resamples=resamples)
    return in_steps(
        progress,
        {
            "seeds": lambda: seeds_table(draws.runs),
            "summary": lambda: summary_table(draws, confidence=1 - alpha, draw_seeds=draw_seeds),
            "differences": lambda: difference_table(
                draws, permutations=permutations, seed=seed, alpha=alpha, draw_seeds=draw_seeds
            ),
            "tests": lambda: paired_tests_table(draws),
        },
    )
