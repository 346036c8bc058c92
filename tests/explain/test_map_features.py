import numpy as np
import pytest

from maskbench.explain.map_features import MAP_FEATURES, correlation, energy_share, map_features, peaks
from maskbench.explain.regions import box_masks, boxes_in_view, lower_half_masks, polygon_masks


def test_a_box_with_margin_lies_in_the_middle_of_the_view() -> None:
    # 20 px wide, 40 high: the square has side 40 · (1 + 2 · 0.25) = 60 about the centre (20, 40), shown at 30 px
    found = boxes_in_view(np.array([[10.0, 20, 30, 60]]), 0.25, 30)
    assert found.tolist() == [[10.0, 5.0, 20.0, 25.0]]


def test_masks_hold_the_pixels_whose_centres_lie_inside() -> None:
    view = np.array([[1.0, 0.4, 3.0, 4.0]])
    box = box_masks(view, 4)[0]
    assert box.astype(int).tolist() == [[0, 1, 1, 0]] * 4
    lower = lower_half_masks(view, 4)[0]  # from y = 2.2 on: rows whose centres are 2.5 and 3.5
    assert lower.astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]


def test_an_outline_of_the_photograph_is_found_again_in_the_view() -> None:
    box = np.array([[100.0, 100, 140, 140]])  # margin 0: the view of 40 px is the box itself
    square = [[110, 120], [130, 120], [130, 140], [110, 140]]
    found = polygon_masks([square, []], np.repeat(box, 2, axis=0), 0.0, 40)
    expected = np.zeros((40, 40), dtype=bool)
    expected[20:40, 10:30] = True
    assert np.array_equal(found[0], expected)
    assert found[0][25, 20]
    assert not found[1].any()


def test_features_of_maps_worked_out_by_hand() -> None:
    maps = np.zeros((3, 4, 4))
    maps[0, 3, 1] = 2.0  # a single point
    maps[1, 0, 0] = maps[1, 0, 3] = 1.0  # two points, 3 px apart
    lower, box = np.zeros((3, 4, 4), bool), np.ones((3, 4, 4), bool)
    lower[:, 2:] = True
    box[1, :, 3] = False
    table = map_features({"one": maps, "two": maps[:, ::-1].copy(), "three": maps}, lower, box)
    assert list(table) == list(MAP_FEATURES)
    assert table["energy_lower"].tolist()[:2] == [1.0, 0.0]
    assert table["energy_box"].tolist()[:2] == [1.0, 0.5]
    assert table["dispersion"].tolist()[:2] == pytest.approx([0.0, 1.5 / 4])  # each 1.5 px from the middle, side 4
    assert table["map_entropy"].tolist()[:2] == pytest.approx([0.0, np.log(2) / np.log(16)])
    assert table.loc[0, ["peak_x", "peak_y"]].tolist() == [1.5 / 4, 3.5 / 4]
    assert table.loc[1, "peak_x"] == 0.5  # the middle of a plateau
    # a point against another point: -1/15; against itself: 1; the mean of both
    assert table.loc[0, "method_agreement"] == pytest.approx((-1 / 15 + 1) / 2)
    assert table.loc[2].isna().all()  # a map of zeros says nothing


def test_a_single_method_agrees_with_none() -> None:
    maps = np.random.default_rng(0).random((2, 4, 4))
    table = map_features({"one": maps}, np.ones((2, 4, 4), bool), np.ones((2, 4, 4), bool))
    assert table["method_agreement"].isna().all()
    assert table["energy_box"].tolist() == [1.0, 1.0]


def test_correlation_is_numpys_and_undefined_for_a_constant() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.random((5, 6, 6)), rng.random((5, 6, 6))
    one[4] = 3.0
    found = correlation(one, other)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one[:4], other[:4], strict=True)]
    assert found[:4] == pytest.approx(expected)
    assert np.isnan(found[4])


def test_regions_without_pixels_are_undefined() -> None:
    maps = np.ones((1, 3, 3))
    assert np.isnan(energy_share(maps, np.zeros((1, 3, 3), bool)))[0]
    assert [float(part[0]) for part in peaks(maps)] == [0.5, 0.5]
