"""The sample's parts: quotas, sizes, the PNG encoder, polygons, curves."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from maskbench.data.sample.outline import clip_polygon, trace_outline
from maskbench.data.sample.paint import Layer, Placement, ellipse, smooth
from maskbench.data.sample.params import INCORRECT, SAMPLE_CLASSES, SampleParams
from maskbench.data.sample.plan import plan_sample, quota
from maskbench.data.sample.png import encode_png


def polygon_area(points: np.ndarray) -> float:
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def test_quota_by_hand() -> None:
    # 768 faces: 606.72, 138.24, 23.04 -> floors 606 + 138 + 23 = 767; the remainder .72 gets the last one
    shares = {"with_mask": 0.79, "without_mask": 0.18, "mask_weared_incorrect": 0.03}
    assert quota(shares, 768, SAMPLE_CLASSES) == {"with_mask": 607, "without_mask": 138, "mask_weared_incorrect": 23}
    # 5 faces: 3.95, 0.9, 0.15 -> 4, 1, 0; the rare class takes one from the most frequent
    assert quota(shares, 5, SAMPLE_CLASSES) == {"with_mask": 3, "without_mask": 1, "mask_weared_incorrect": 1}
    # two faces cannot show three classes
    assert sum(quota(shares, 2, SAMPLE_CLASSES).values()) == 2
    assert quota({"a": 1.0, "b": 0.0}, 3, ["a", "b"]) == {"a": 3, "b": 0}


def test_default_plan_has_the_real_datas_figures() -> None:
    params = SampleParams()
    plans = plan_sample(params)
    sides = np.concatenate([plan.sides for plan in plans])
    counts = np.array([len(plan.sides) for plan in plans])
    assert len(plans) == 160
    assert counts.mean() == pytest.approx(4.8, abs=0.1)
    assert counts.max() >= 25  # the long tail
    assert np.median(sides) == pytest.approx(21, abs=0.3)
    assert np.percentile(sides, 5) == pytest.approx(7, abs=1)
    assert np.percentile(sides, 95) == pytest.approx(96, abs=10)
    assert sides.max() > 200
    labels = [label for plan in plans for label in plan.labels]
    expected = quota(params.class_shares, len(labels), SAMPLE_CLASSES)
    assert {name: labels.count(name) for name in SAMPLE_CLASSES} == expected
    kinds = [plan.png for plan in plans]  # 160 * (648, 183, 22) / 853 = 121.5, 34.3, 4.1
    assert [kinds.count(kind) for kind in ("rgba16", "rgba8", "rgb8")] == [122, 34, 4]
    assert sum(plan.transparent for plan in plans) == round(186 / 853 * 156)
    assert np.corrcoef(np.log(counts), [np.log(plan.sides).mean() for plan in plans])[0, 1] < -0.5


@pytest.mark.parametrize("median", [15.0, 40.0])
def test_median_side_is_a_parameter(median: float) -> None:
    plans = plan_sample(SampleParams(images=40, median_face_px=median))
    assert np.median(np.concatenate([plan.sides for plan in plans])) == pytest.approx(median, rel=0.05)


def test_class_shares_are_a_parameter() -> None:
    plans = plan_sample(SampleParams(images=3, faces_per_image=1.0, class_shares={INCORRECT: 1.0}))
    assert {label for plan in plans for label in plan.labels} == {INCORRECT}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(channels: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, np.iinfo(dtype).max, (5, 7, channels), endpoint=True).astype(dtype)
    data = encode_png(pixels)
    assert data[24] == 8 * np.dtype(dtype).itemsize
    assert data[25] == {3: 2, 4: 6}[channels]
    read = np.asarray(Image.open(io.BytesIO(data)))
    high_bytes = pixels if dtype is np.uint8 else (pixels >> 8).astype(np.uint8)  # what Pillow keeps of 16 bits
    np.testing.assert_array_equal(read, high_bytes)


def test_png_refuses_what_it_cannot_write() -> None:
    with pytest.raises(ValueError, match="encode_png"):
        encode_png(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="float"):
        encode_png(np.zeros((4, 4, 3), np.float32))


def test_clip_polygon_by_hand() -> None:
    square = np.array([[-1.0, -1.0], [3.0, -1.0], [3.0, 3.0], [-1.0, 3.0]])
    assert polygon_area(clip_polygon(square, (0, 0, 2, 2))) == pytest.approx(4)
    assert clip_polygon(square, (5, 5, 6, 6)).shape == (0, 2)
    assert polygon_area(clip_polygon(square, (-9, -9, 9, 9))) == pytest.approx(16)


def test_trace_outline_encloses_the_cells() -> None:
    cells = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]], bool)
    assert polygon_area(trace_outline(cells)) == 5
    one = trace_outline(np.array([[0, 0], [0, 1]], bool))
    assert sorted(map(tuple, one.tolist())) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert trace_outline(np.zeros((2, 2), bool)).shape == (0, 2)


def test_trace_outline_of_random_regions_ends_and_fits() -> None:
    from scipy import ndimage

    rng = np.random.default_rng(1)
    for _ in range(50):
        labels, count = ndimage.label(rng.random((12, 12)) < 0.6)
        if count == 0:
            continue
        region = labels == 1
        # the region is 4-connected, so what is outside of it is 8-connected: a corner lets the outside in
        filled = ndimage.binary_fill_holes(region, structure=np.ones((3, 3)))
        assert polygon_area(trace_outline(region)) == filled.sum()


def test_smooth_goes_through_its_knots() -> None:
    knots = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0), (4.0, 4.0)])
    np.testing.assert_allclose(smooth(knots, 6, closed=False)[::6], knots, atol=1e-12)
    np.testing.assert_allclose(smooth(knots, 5)[::5], knots, atol=1e-12)


def test_ellipse_is_turned() -> None:
    upright = ellipse(1, 2, 3, 1, np.pi / 2)
    assert np.ptp(upright[:, 0]) == pytest.approx(2)
    assert np.ptp(upright[:, 1]) == pytest.approx(6)


def test_placement_and_its_inverse() -> None:
    place = Placement(30, 40, 12, 0.3, 1.1)
    points = np.array([(0.5, -1.0), (2.0, 3.0)])
    image = place.to_image(points).astype(np.float32)
    x, y = place.to_units(image[:, 0], image[:, 1])
    np.testing.assert_allclose(np.stack([x, y], 1), points, atol=1e-4)
    pivot = place.to_image([(0, 1.1)])[0]
    np.testing.assert_allclose(pivot, (30, 40 + 12 * 1.1))


def test_layer_covers_what_is_shaped_and_nothing_else() -> None:
    layer = Layer(Placement(10, 10, 5), (0, 0, 20, 20), 4)
    layer.shape([(-1, -1), (1, -1), (1, 1), (-1, 1)], (200, 100, 50))
    layer.soft([(-2, -2), (2, -2), (2, 2), (-2, 2)], (0, 0, 0), 0.5, 0.3)
    alpha = np.asarray(layer.flatten())[..., 3] / 255
    assert alpha.sum() == pytest.approx(100, rel=0.08)  # 10 px by 10 px
    assert alpha[:4].sum() == 0
