import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.metrics import matthews_corrcoef

from maskbench.eda.bootstrap import draw_resamples
from maskbench.eda.classes import (
    class_balance,
    class_cooccurrence,
    class_measures,
    counts_per_photograph,
    shares_entropy,
    wilson_interval,
)

# Rows are photographs, columns classes a, b, c.
COUNTS = np.array([[2, 0, 0], [1, 1, 0], [3, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]])
CLASSES = ["a", "b", "c"]


def resamples_of(count: int, draws: int = 200):
    return draw_resamples(pd.Series([f"p{index}" for index in range(count)]), draws, 0.95, 0)


def test_wilson_by_hand() -> None:
    # 5 of 10, z = 1.96: centre (0.5 + 3.8415/20) / 1.38415 = 0.5; half width
    # 1.95996 / 1.38415 · sqrt(0.25/10 + 3.8415/400) = 1.41600 · 0.186027 = 0.263415.
    low, high = wilson_interval(np.array([5.0, 0, 10, 0]), np.array([10.0, 10, 10, 0]), 0.95)
    assert (low[0], high[0]) == (pytest.approx(0.236593, abs=1e-6), pytest.approx(0.763407, abs=1e-6))
    # 0 of 10: upper bound z² / (n + z²) = 3.8415 / 13.8415 = 0.277533; 10 of 10 mirrors it.
    assert (low[1], high[1]) == (pytest.approx(0), pytest.approx(0.277533, abs=1e-6))
    assert (low[2], high[2]) == (pytest.approx(1 - 0.277533, abs=1e-6), pytest.approx(1))
    assert np.isnan([low[3], high[3]]).all()


def test_entropy_against_scipy_and_by_hand() -> None:
    counts = np.array([[5.0, 3, 2], [4, 4, 0], [7, 0, 0]])
    assert shares_entropy(counts) == pytest.approx(entropy(counts, axis=1))
    assert shares_entropy(counts)[1:] == pytest.approx([np.log(2), 0])  # two equal shares; one class
    assert np.isnan(shares_entropy(np.zeros((1, 3))))


def test_balance_and_measures_by_hand() -> None:
    resamples = resamples_of(6)
    balance = class_balance(COUNTS, CLASSES, resamples)
    assert balance["faces"].tolist() == [7, 3, 1]
    assert balance["share"].tolist() == pytest.approx([7 / 11, 3 / 11, 1 / 11])
    assert balance["photographs"].tolist() == [4, 3, 1]
    assert balance["photograph_share"].tolist() == [4 / 5, 3 / 5, 1 / 5]  # the empty photograph is left out
    assert balance["reason"].str.contains("fewer than").all()  # 4 photographs give no interval
    measures = class_measures(COUNTS, CLASSES, resamples).set_index("measure")
    # H = -(7/11 ln 7/11 + 3/11 ln 3/11 + 1/11 ln 1/11) = 0.287627 + 0.354350 + 0.217990 = 0.859967
    assert measures["value"].tolist() == pytest.approx([7, 0.859967, 0.859967 / np.log(3), np.exp(0.859967)], abs=2e-6)


def test_intervals_hold_the_share_and_are_wider_for_photographs_of_one_class() -> None:
    counts = np.zeros((60, 2), dtype=int)
    counts[:40, 0], counts[40:, 1] = 8, 8
    row = class_balance(counts, ["a", "b"], resamples_of(60, 500)).iloc[0]
    assert row["cluster_low"] < row["share"] < row["cluster_high"]
    ratio = (row["cluster_high"] - row["cluster_low"]) / (row["wilson_high"] - row["wilson_low"])
    assert ratio == pytest.approx(np.sqrt(8), rel=0.15)  # 60 independent things, not 480


def test_an_absent_class_is_named() -> None:
    counts = np.column_stack([np.ones((20, 2), dtype=int), np.zeros(20, dtype=int)])
    measures = class_measures(counts, ["a", "b", "gone"], resamples_of(20)).set_index("measure")
    assert np.isnan(measures.loc["imbalance_ratio", "value"])
    assert measures.loc["imbalance_ratio", "reason"] == "no face of: gone"
    assert measures.loc["entropy", "value"] == pytest.approx(np.log(2))
    assert measures.loc["entropy_normalised", "value"] == pytest.approx(np.log(2) / np.log(3))
    balance = class_balance(counts * 0, ["a", "b", "gone"], resamples_of(20))
    assert balance["share"].isna().all() and (balance["reason"] == "no faces").all()


def test_cooccurrence_by_hand_and_phi_against_sklearn() -> None:
    table = class_cooccurrence(COUNTS, CLASSES).set_index(["scope", "class_a", "class_b"])
    pair = table.loc[("all", "a", "b")]
    # 5 photographs with a face, a in 4, b in 3, both in 2: expected 12/5, lift 10/12,
    # phi = (5·2 - 12) / sqrt(4·1·3·2) = -2 / sqrt(24).
    assert (pair["photographs"], pair["together"], pair["expected"]) == (5, 2, 2.4)
    assert (pair["lift"], pair["phi"]) == (pytest.approx(10 / 12), pytest.approx(-2 / np.sqrt(24)))
    present = COUNTS[:5] > 0
    for a, b in ((0, 1), (0, 2), (1, 2)):
        expected = matthews_corrcoef(present[:, a], present[:, b])
        assert table.loc[("all", CLASSES[a], CLASSES[b]), "phi"] == pytest.approx(expected)
    several = table.loc["several"]
    assert several["photographs"].unique().tolist() == [4]  # photographs 0-3 hold at least two faces
    assert table.loc[("all", "c", "c"), "together"] == 1
    assert table.loc[("all", "c", "c"), "reason"] == "a class with itself"
    assert (table["together"] == table.swaplevel(1, 2)["together"].reindex(table.index)).all()


def test_undefined_associations_have_reasons() -> None:
    table = class_cooccurrence(np.array([[1, 1, 0], [2, 0, 0]]), CLASSES).set_index(["scope", "class_a", "class_b"])
    assert table.loc[("all", "a", "b"), "reason"] == "a class is in all of the photographs"
    assert table.loc[("all", "a", "b"), "lift"] == 1
    assert table.loc[("all", "a", "c"), "reason"] == "a class is in none of the photographs"
    alone = class_cooccurrence(np.array([[1, 0], [0, 1]]), ["a", "b"])
    assert (alone.loc[alone["scope"] == "several", "reason"] != "").all()


def test_counts_per_photograph() -> None:
    faces = pd.DataFrame({"image_id": ["p1", "p0", "p1", "p1"], "label": ["a", "b", "a", "c"]})
    assert counts_per_photograph(faces, CLASSES, resamples_of(3)).tolist() == [[0, 1, 0], [2, 0, 1], [0, 0, 0]]
    with pytest.raises(ValueError, match=r"labels that are not classes: \['c'\]"):
        counts_per_photograph(faces, ["a", "b"], resamples_of(3))
