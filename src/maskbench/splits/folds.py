"""Folds that keep groups together and classes in proportion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int_]


def grouped_folds(labels: NDArray[Any], groups: NDArray[Any], folds: int, seed: int) -> Ints:
    """Fold of every face: no group in two, classes spread as evenly as it goes.

    Groups are shuffled, those with the most uneven classes are dealt first, and each goes to the fold where class
    shares then differ least between folds, of equal ones to the smaller. The folds are those of scikit-learn's
    `StratifiedGroupKFold(folds, shuffle=True, random_state=seed)` (tested), a fold at a time there and all at once
    here: 100,000 groups take seconds, and nothing of scikit-learn has to be loaded.

    Args:
        labels: (N,) classes.
        groups: (N,) groups.
        folds: F, at least 2.
        seed: of the shuffling, in [0, 2^32).

    Returns:
        (N,) numbers in [0, F).

    Raises:
        ValueError: there are fewer groups than folds, or no class has as many faces.
    """
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    names, group_of = np.unique(groups, return_inverse=True)
    if folds > min(len(names), sizes.max()):
        raise ValueError(f"{folds} folds of {len(names)} groups and at most {sizes.max()} faces of a class")
    counts = np.zeros((len(names), len(sizes)))
    np.add.at(counts, (group_of, classes), 1)
    order = np.arange(len(names))
    np.random.RandomState(seed).shuffle(order)  # scikit-learn's generator: splits of record were dealt in this order
    order = order[np.argsort(-np.std(counts[order], axis=1), kind="stable")]
    fold_of_group, held = np.empty(len(names), dtype=int), np.zeros((folds, len(sizes)))
    own = np.eye(folds)[:, :, None]
    for group in order:
        # (F, F, K): what the folds would hold, if fold i took the group; as shares of all faces of each class.
        unevenness = np.std((held + own * counts[group]) / sizes, axis=1).mean(axis=1)
        fold = _least(unevenness, held.sum(axis=1))
        held[fold] += counts[group]
        fold_of_group[group] = fold
    return np.asarray(fold_of_group[group_of])


def _least(values: NDArray[np.float64], faces: NDArray[np.float64]) -> int:
    """The place of the least value; where one is as good as equal to the best so far, of the fewer faces."""
    best = 0
    for place in range(1, len(values)):
        equal = abs(values[place] - values[best]) <= 1e-8 + 1e-5 * abs(values[best])
        if values[place] < values[best] or (equal and faces[place] < faces[best]):
            best = place
    return best
