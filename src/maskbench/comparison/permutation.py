"""Permutation test of paired arms, clustered by photograph: the arms' predictions of whole photographs change places.

Under the null hypothesis it does not matter which arm made the predictions of a photograph. Confusion
matrices after a swap are sums over photographs. So is the difference of the areas under the ROC curve: what is
quadratic in the swaps is the same for both arms and drops out, so nothing is ranked again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskbench.comparison.runs import Run, Runs
from maskbench.evaluation.weighted import count_metrics

Floats = NDArray[np.float64]

#: Swaps held at a time: 4 million float64 are 32 MB.
_CHUNK = 4_000_000
#: Differences this close count as equally extreme: sums in another order round differently.
_TIE = 1e-12


def permutation_p_values(
    runs: Runs, arm: str, baseline: str, *, seed: int = 0, permutations: int = 9_999
) -> tuple[Floats, Floats]:
    """Test every measurement's difference between two arms.

    In each permutation every photograph's predictions change places between the arms with probability ½, in all seeds
    at once. The statistic is the difference (arm minus baseline) averaged over the seeds in
    which the measurement is defined. Two-sided: p = (1 + permutations at least as far from 0) / (1 + permutations),
    which is valid however few there are. A permutation whose difference is undefined (the precision
    of a class never predicted) counts as at least as far: on the safe side.

    Args:
        runs: the runs.
        arm: one arm.
        baseline: the other; both have a seed in common.
        seed: of the swaps.
        permutations: random swaps, at least 1.

    Returns:
        The mean differences (M,) and p-values (M,), columns `runs.names`; NaN where the difference is undefined.

    Raises:
        ValueError: no common seed, or no permutations.

    Source:
        Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), eq. 2 (the +1); Fisher, The Design of
        Experiments, 1935, section 21 (exchange within pairs).
    """
    seeds = runs.common_seeds(arm, baseline)
    if not seeds:
        raise ValueError(f"{arm} and {baseline}: no seed in common, so nothing is paired")
    if permutations < 1:
        raise ValueError(f"permutations: at least 1, not {permutations}")
    pairs = [SwappedPair(runs.runs[arm, number], runs.runs[baseline, number]) for number in seeds]
    count = len(runs.image_ids)
    kept = ~np.isnan([pair.differences(np.zeros((1, count)))[0] for pair in pairs])  # (S, M)
    observed = mean_defined([pair.differences(np.zeros((1, count))) for pair in pairs], kept)[0]
    rng = np.random.default_rng(seed)
    farther = np.zeros(len(observed))
    step = max(1, _CHUNK // count)
    for start in range(0, permutations, step):
        swaps = rng.integers(0, 2, size=(min(step, permutations - start), count), dtype=np.int8).astype(np.float64)
        found = mean_defined([pair.differences(swaps) for pair in pairs], kept)  # (R, M)
        farther += (~(np.abs(found) < np.abs(observed) - _TIE)).sum(axis=0)
    return observed, np.where(np.isnan(observed), np.nan, (1 + farther) / (1 + permutations))


def mean_defined(by_seed: Sequence[Floats], kept: NDArray[np.bool_]) -> Floats:
    """Mean over the seeds that are kept for each measurement: S arrays (R, M) and (S, M) -> (R, M); NaN without any."""
    total = sum(np.where(keep, values, 0.0) for values, keep in zip(by_seed, kept, strict=True))
    count = kept.sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return mean


class SwappedPair:
    """Two arms on the same faces of one seed, any photographs of which change places."""

    def __init__(self, arm: Run, baseline: Run) -> None:
        """Sum up by photograph; both runs hold the same faces in the same order."""
        a, b = arm.scored, baseline.scored
        self._positions = arm.positions
        self._counts, self._losses = (
            (arm.metrics.counts, baseline.metrics.counts),
            arm.metrics.losses - baseline.metrics.losses,
        )
        self._present = arm.metrics.support > 0
        self._faces = len(a.true)
        gains, self._defined = [], []
        for k, support in enumerate(arm.metrics.support):
            pairs = int(support) * (self._faces - int(support))
            own = a.true == k
            gains.append(swap_gains(a.probs[:, k], b.probs[:, k], own, a.images, a.image_count) / max(pairs, 1))
            self._defined.append(pairs > 0)
        self._gains = np.column_stack(gains)  # (I, K)

    def differences(self, swaps: Floats) -> Floats:
        """Arm minus baseline after swaps.

        Args:
            swaps: (R, all photographs of the comparison), 1 where the arms change places, else 0.

        Returns:
            (R, M), columns as `weighted.metric_names`.
        """
        swaps = swaps[:, self._positions]
        K = len(self._present)
        moved = swaps @ (self._counts[1] - self._counts[0])  # (R, K·K)
        arm, baseline = self._counts[0].sum(axis=0) + moved, self._counts[1].sum(axis=0) - moved
        shapes = [np.rint(matrix).astype(np.int64).reshape(-1, K, K) for matrix in (arm, baseline)]
        counted = count_metrics(shapes[0], self._present) - count_metrics(shapes[1], self._present)
        signs = 1 - 2 * swaps
        areas = np.where(self._defined, signs @ self._gains, np.nan)  # (R, K)
        macro = areas[:, self._defined].mean(axis=1) if any(self._defined) else np.full(len(swaps), np.nan)
        return np.column_stack([counted, macro, areas, signs @ self._losses / self._faces])


def swap_gains(
    arm: Floats, baseline: Floats, positive: NDArray[np.bool_], images: NDArray[np.int64], count: int
) -> Floats:
    """What each photograph adds to the pairs that the arm wins more than the baseline, kept or (negated) swapped.

    With P^XY[i, j] the pairs won by faces of the class in photograph i scored by X against others in photograph
    j scored by Y, and s the swaps, the arm wins (1-s)ᵀP^AA(1-s) + (1-s)ᵀP^AB s + sᵀP^BA(1-s) + sᵀP^BB s pairs, the
    baseline the same with 1 - s for s. The difference is Σ g_i · (1 - 2 s_i) with
    g = ½ (P^AA + P^AAᵀ - P^BB - P^BBᵀ + P^AB + P^BAᵀ - P^BA - P^ABᵀ) 1, sums that follow from ranks.

    Args:
        arm: (N,) scores of the arm.
        baseline: (N,) scores of the baseline.
        positive: (N,), is the face of the class.
        images: (N,), number of the photograph of each face.
        count: photographs I.

    Returns:
        (I,); their sum is (AUC of the arm - AUC of the baseline) · positives · negatives.
    """
    own, others = (arm[positive], baseline[positive]), (arm[~positive], baseline[~positive])
    signs = {(0, 0): 1, (1, 1): -1, (0, 1): 1, (1, 0): -1}  # of P^XY with X for the face of the class
    gains = np.zeros(len(arm))
    gains[positive] = sum(sign * _below(others[y], own[x]) for (x, y), sign in signs.items())
    # Transposed, the mixed terms change sign: P^BAᵀ is added, P^ABᵀ taken away.
    signs |= {(0, 1): -1, (1, 0): 1}
    gains[~positive] = sum(sign * (len(own[x]) - _below(own[x], others[y])) for (x, y), sign in signs.items())
    return np.bincount(images, gains / 2, minlength=count).astype(np.float64)


def _below(scores: Floats, values: Floats) -> Floats:
    """How many of `scores` lie below each of `values`, equal ones counting half."""
    ranked = np.sort(scores)
    return (np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")) / 2
