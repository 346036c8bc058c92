import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, kruskal
from scipy.stats.contingency import association
from statsmodels.stats.multitest import multipletests

from maskbench.eda.associations import (
    association_tests,
    chi_squared,
    cramers_v,
    cramers_v_corrected,
    effect_interval,
    holm,
    kruskal_h,
)
from maskbench.eda.bands import class_bands, doubling_bands
from maskbench.eda.bootstrap import draw_resamples
from maskbench.schemas import CLASS_BANDS, EDA_TESTS, validate


def boxes_table(rng: np.random.Generator, photographs: int = 60, classes: tuple[str, ...] = ("a", "b", "c")):
    sizes = rng.integers(1, 9, photographs)
    image_ids = np.repeat([f"p{index}" for index in range(photographs)], sizes)
    n = len(image_ids)
    width, height = rng.integers(4, 90, n).astype(float), rng.integers(4, 90, n).astype(float)
    return pd.DataFrame(
        {
            "face_id": [f"f{index}" for index in range(n)],
            "image_id": image_ids,
            "class_name": rng.choice(classes, n, p=np.arange(len(classes), 0, -1) / sum(range(len(classes) + 1))),
            "box_width": width,
            "box_height": height,
            "box_area": width * height,
            "box_side": np.sqrt(width * height),
            "box_aspect": width / height,
            "box_share": width * height / 1e5,
            "faces_in_image": np.repeat(sizes, sizes),
        }
    )


def resamples_of(photographs: int, draws: int = 100):
    return draw_resamples(pd.Series([f"p{index}" for index in range(photographs)]), draws, 0.95, 0)


def test_cramers_v_by_hand_and_against_scipy() -> None:
    # [[10, 20], [30, 40]]: n = 100, expected [[12, 18], [28, 42]], all differences 2:
    # χ² = 4 (1/12 + 1/18 + 1/28 + 1/42) = 0.793651; V = sqrt(0.793651 / 100) = 0.0890871.
    table = np.array([[10.0, 20], [30, 40]])
    assert chi_squared(table) == pytest.approx(0.793651, abs=1e-6)
    assert cramers_v(table) == pytest.approx(0.0890871, abs=1e-7)
    # Bergsma: phi² = max(0, 0.00793651 - 1/99) = 0, since 1/99 = 0.0101.
    assert cramers_v_corrected(table) == 0
    # [[30, 10], [10, 30]]: χ² = 20, phi² = 0.25 - 1/79 = 0.237342; r~ - 1 = 1 - 1/79 = 0.987342;
    # V~ = sqrt(0.237342 / 0.987342) = 0.490290.
    assert cramers_v_corrected(np.array([[30.0, 10], [10, 30]])) == pytest.approx(0.490290, abs=1e-6)
    wide = np.random.default_rng(0).integers(1, 40, (3, 5)).astype(float)
    assert chi_squared(wide) == pytest.approx(chi2_contingency(wide, correction=False).statistic)
    assert cramers_v(wide) == pytest.approx(association(wide.astype(int), method="cramer"))
    padded = np.pad(wide, ((0, 1), (1, 0)))  # empty rows and columns change nothing
    assert cramers_v(np.stack([padded, padded])) == pytest.approx(float(cramers_v(wide)))
    assert np.isnan(cramers_v(np.array([[3.0, 4], [0, 0]])))
    assert np.isnan(chi_squared(np.zeros((2, 2))))


def test_kruskal_against_scipy_with_ties_and_weights() -> None:
    rng = np.random.default_rng(2)
    values, codes = rng.integers(0, 6, 80).astype(float), rng.integers(0, 3, 80)
    weights = np.vstack([np.ones(80, dtype=int), rng.integers(0, 4, 80)])
    found = kruskal_h(values, codes, 3, weights)
    for h, row in zip(found, weights, strict=True):
        written_out, groups = np.repeat(values, row), np.repeat(codes, row)
        assert h == pytest.approx(kruskal(*(written_out[groups == code] for code in range(3))).statistic)
    assert np.isnan(kruskal_h(np.ones(5), np.array([0, 1, 0, 1, 1]), 2, np.ones((1, 5), dtype=int)))


def test_the_tests_table_equals_its_references() -> None:
    boxes = boxes_table(np.random.default_rng(1))
    resamples = resamples_of(60)
    table = validate(association_tests(boxes, ["a", "b", "c"], resamples), EDA_TESTS).set_index("quantity")
    row, n = table.loc["box_width"], len(boxes)
    expected = kruskal(*(group["box_width"] for _, group in boxes.groupby("class_name")))
    assert (row["statistic"], row["p_value"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    # epsilon² = H (n + 1) / (n² - 1); eta²_H = (H - 3 + 1) / (n - 3)
    assert row["effect"] == pytest.approx(expected.statistic * (n + 1) / (n**2 - 1))
    assert row["effect_corrected"] == pytest.approx((expected.statistic - 2) / (n - 3))
    bands = class_bands(boxes, ["a", "b", "c"], resamples)
    sizes = bands[bands["factor"] == "box_side"]
    counts = sizes["faces"].to_numpy().reshape(-1, 3).T  # rows come band by band, classes in order
    reference = chi2_contingency(counts, correction=False)
    row = table.loc["box_side"]
    assert (row["statistic"], row["p_value"]) == (pytest.approx(reference.statistic), pytest.approx(reference.pvalue))
    assert row["degrees_of_freedom"] == reference.dof
    small = int((reference.expected_freq < 5).sum())
    assert f"{small} of {counts.size} cells expect fewer than 5" in row["note"]
    assert table["note"].str.contains("not independent").all() and (table["null_hypothesis"] != "").all()
    assert table["p_value_holm"].to_numpy() == pytest.approx(holm(table["p_value"].to_numpy()))


def test_a_class_that_follows_size_is_found_and_one_that_does_not_is_not() -> None:
    boxes = boxes_table(np.random.default_rng(5), 200)
    chance = association_tests(boxes, ["a", "b", "c"], resamples_of(200)).set_index("quantity")
    bound = boxes.assign(class_name=np.where(boxes["box_side"] > 32, "a", "b"))
    certain = association_tests(bound, ["a", "b"], resamples_of(200)).set_index("quantity")
    assert certain.loc["box_side", "effect"] == pytest.approx(1)  # bands begin at 32 px: V = 1
    assert certain.loc["box_area", "effect_low"] > 0.5
    assert chance["effect_low"].max() < 0.03 and chance["p_value_holm"].min() > 0.05


def test_undefined_tests_say_why() -> None:
    boxes = boxes_table(np.random.default_rng(1))
    one = association_tests(boxes.assign(class_name="a"), ["a", "b"], resamples_of(60))
    assert one[["statistic", "p_value", "p_value_holm", "effect"]].isna().all(axis=None)
    assert one["reason"].str.len().min() > 0
    equal = association_tests(boxes.assign(box_width=9.0), ["a", "b", "c"], resamples_of(60)).set_index("quantity")
    assert equal.loc["box_width", "reason"] == "all values are equal"
    assert np.isfinite(equal.loc["box_height", "p_value_holm"])
    validate(one, EDA_TESTS)
    nothing = association_tests(boxes.iloc[:0], ["a", "b"], resamples_of(60))
    assert (nothing["n"] == 0).all() and (nothing["reason"] != "").all()
    assert class_bands(boxes.iloc[:0], ["a", "b"], resamples_of(60)).empty


def test_holm_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        p_values = rng.random(count) ** 3
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-15)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.9 by 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.9; the NaN is not counted.
    found = holm(np.array([0.02, 0.9, np.nan, 0.01, 0.03]))
    assert found == pytest.approx([0.06, 0.9, np.nan, 0.04, 0.06], nan_ok=True)
    assert holm(np.array([0.7, 0.8])).tolist() == [1, 1]


def test_bands_are_doublings_with_pooled_ends() -> None:
    values = np.array([3.0] * 2 + [5] * 40 + [9] * 40 + [31.9] * 3 + [32] * 40 + [200] * 4)
    photographs = np.arange(len(values))
    bands = doubling_bands(values, photographs, least=30, least_photographs=1)
    assert bands.labels == ["< 8", "8–16", "16–32", "≥ 32"]
    assert (bands.lower, bands.upper) == ([0, 8, 16, 32], [8, 16, 32, np.inf])
    assert np.bincount(bands.codes).tolist() == [42, 40, 3, 44]
    crowd = doubling_bands(np.array([1.0, 2, 3, 4, 7, 8]), np.arange(6), whole=True, least=1, least_photographs=1)
    assert (crowd.labels, crowd.codes.tolist()) == (["1", "2–3", "4–7", "8–15"], [0, 1, 1, 2, 2, 3])
    # 70 faces of one photograph are one photograph: its band joins the next.
    lonely = doubling_bands(
        np.r_[np.full(70, 70.0), np.full(40, 40.0)], np.r_[np.zeros(70), np.arange(1, 41)].astype(int)
    )
    assert lonely.labels == ["all"]
    assert doubling_bands(np.array([0.0, 4]), np.arange(2), least=1, least_photographs=1).codes.tolist() == [0, 0]


def test_class_shares_sum_to_one_in_each_band() -> None:
    boxes = boxes_table(np.random.default_rng(7))
    table = validate(class_bands(boxes, ["a", "b", "c", "gone"], resamples_of(60)), CLASS_BANDS)
    sums = table.groupby(["factor", "band_index"])[["share", "faces"]].sum()
    assert sums["share"].to_numpy() == pytest.approx(1)
    assert sums.groupby("factor")["faces"].sum().tolist() == [len(boxes)] * 2
    gone = table[table["class_name"] == "gone"]
    assert (gone["share"] == 0).all() and gone["low"].isna().all() and gone["reason"].str.contains("varies").all()
    some = table.dropna(subset=["low"])
    assert (some["low"] <= some["share"] + 1e-12).all() and (some["share"] <= some["high"] + 1e-12).all()


def test_the_effects_interval_reflects_the_resamples() -> None:
    # Percentiles of 0…1 in 101 steps at 95 %: 0.025 and 0.975; about 0.4: [-0.175, 0.775], cut at 0.
    resamples = resamples_of(20, 101)
    found = effect_interval(resamples, 0.4, np.linspace(0, 1, 101), 20)
    assert (found.low, found.high) == (0, pytest.approx(0.775))
    assert np.isnan(effect_interval(resamples, 0.4, np.linspace(0, 1, 101), 3).low)
