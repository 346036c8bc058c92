import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from maskbench.data.chains import chained
from maskbench.splits.folds import grouped_folds


def scikit_learns(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    found = np.empty(len(labels), dtype=int)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, members) in enumerate(splitter.split(labels, labels, groups)):
        found[members] = fold
    return found


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("seed", range(12))
def test_folds_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    many, classes = rng.integers(20, 80), rng.integers(1, 12)
    groups = rng.integers(0, many, rng.integers(many, 5 * many))
    labels = rng.choice(classes, len(groups), p=rng.dirichlet(np.full(classes, rng.choice([0.3, 1, 5]))))
    labels = np.array([f"class {label}" for label in labels], dtype=object)
    most = min(20, len(np.unique(groups)), np.unique(labels, return_counts=True)[1].max())
    folds = int(rng.integers(2, most + 1))
    assert (grouped_folds(labels, groups, folds, seed) == scikit_learns(labels, groups, folds, seed)).all()


def test_one_class_fills_folds_evenly_and_too_many_folds_are_refused() -> None:
    labels, groups = np.array(["a"] * 12, dtype=object), np.arange(12)
    assert np.bincount(grouped_folds(labels, groups, 4, 0)).tolist() == [3, 3, 3, 3]
    with pytest.raises(ValueError, match="13 folds of 12 groups"):
        grouped_folds(labels, groups, 13, 0)
    with pytest.raises(ValueError, match="at most 6 faces of a class"):
        grouped_folds(np.array(["a", "b"] * 6, dtype=object), groups, 7, 0)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
@settings(deadline=None)
def test_chains_are_connected_components(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    count, links = drawn
    rows, columns = np.array(links, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(count, count))
    assert (chained(links, count) == connected_components(graph, directed=False)[1]).all()
