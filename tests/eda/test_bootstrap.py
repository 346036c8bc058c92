import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from maskbench.eda import bootstrap as bootstrap_module
from maskbench.eda.bootstrap import LEAST_PHOTOGRAPHS, draw_resamples


def ids(count: int) -> pd.Series:
    return pd.Series([f"p{index}" for index in range(count)])


def test_a_resample_draws_as_many_photographs_as_there_are_and_follows_the_seed() -> None:
    one, same, other = (draw_resamples(ids(30), 200, 0.95, seed) for seed in (1, 1, 2))
    assert (one.weights.sum(axis=1) == 30).all()
    assert np.array_equal(one.weights, same.weights)
    assert not np.array_equal(one.weights, other.weights)
    assert one.weights.mean(axis=0) == pytest.approx(1, abs=0.35)  # each photograph is drawn about once


@pytest.mark.parametrize(("statistic", "method"), [(np.mean, "means"), (np.median, "medians")])
def test_one_face_per_photograph_agrees_with_scipy(statistic, method: str) -> None:
    values = np.random.default_rng(3).lognormal(3, 0.7, 120)
    resamples = draw_resamples(ids(120), 4000, 0.9, seed=0)
    found = resamples.interval(getattr(resamples, method)(values, np.arange(120)), 120)
    expected = bootstrap(
        (values,), statistic, n_resamples=4000, confidence_level=0.9, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.08 * width)
    assert found.high == pytest.approx(expected.high, abs=0.08 * width)


def test_means_and_medians_equal_those_of_the_faces_written_out() -> None:
    rng = np.random.default_rng(0)
    positions, values = rng.integers(0, 12, 57), rng.integers(0, 9, 57).astype(float)
    resamples = draw_resamples(ids(12), 50, 0.95, seed=4)
    means, medians = resamples.means(values, positions), resamples.medians(values, positions)
    for index, weights in enumerate(resamples.weights):
        written_out = np.repeat(values, weights[positions])
        assert means[index] == pytest.approx(written_out.mean())
        assert medians[index] == np.median(written_out)


def test_like_faces_in_a_photograph_widen_the_interval() -> None:
    # 40 photographs of 10 equal faces know as much as 40 faces, not as 400: sqrt(10) = 3.2 times wider.
    values = np.repeat(np.random.default_rng(1).normal(size=40), 10)
    clustered = draw_resamples(ids(40), 1000, 0.95, 0)
    alone = draw_resamples(ids(400), 1000, 0.95, 0)
    wide = clustered.interval(clustered.means(values, np.repeat(np.arange(40), 10)), 40)
    narrow = alone.interval(alone.means(values, np.arange(400)), 400)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(np.sqrt(10), rel=0.15)


def test_where_there_is_no_interval_a_reason_stands() -> None:
    none = draw_resamples(ids(20), 0, 0.95, 0)
    assert none.interval(np.empty(0), 20).reason == "no resamples asked for"
    few = draw_resamples(ids(20), 10, 0.95, 0)
    assert f"fewer than {LEAST_PHOTOGRAPHS}" in few.interval(np.ones(10), LEAST_PHOTOGRAPHS - 1).reason
    rare = few.interval(np.r_[1.0, np.full(9, np.nan)], 20)
    assert np.isnan(rare.low) and rare.reason == "undefined in 9 of 10 resamples"
    assert np.isnan(few.means(np.empty(0), np.empty(0, dtype=int))).all()
    assert np.isnan(few.medians(np.empty(0), np.empty(0, dtype=int))).all()


def test_wrong_photographs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one photograph"):
        draw_resamples(ids(0), 5, 0.95, 0)
    with pytest.raises(ValueError, match="each once"):
        draw_resamples(pd.Series(["a", "a"]), 5, 0.95, 0)
    with pytest.raises(ValueError, match=r"1 photograph\(s\) without a row in images, e.g. 'x'"):
        draw_resamples(ids(3), 5, 0.95, 0).positions(pd.Series(["p0", "x", "x"]))


def test_totals_equal_the_plain_product_for_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    resamples = draw_resamples(ids(300), 40, 0.95, seed=2)
    counts = np.random.default_rng(5).integers(0, 9, (300, 3, 2))
    plain = np.tensordot(resamples.weights.astype(np.int64), counts, axes=1)
    assert resamples.weights.dtype == np.uint8
    for block in (1, 700, 1_000_000):
        monkeypatch.setattr(bootstrap_module, "_BLOCK", block)
        np.testing.assert_array_equal(resamples.totals(counts), plain)


def test_weights_beyond_a_byte_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Always:
        def integers(self, low: int, high: int, size: int) -> np.ndarray:
            return np.zeros(size, dtype=np.int64)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Always())
    assert draw_resamples(ids(300), 2, 0.95, 0).weights[:, 0].tolist() == [300, 300]
