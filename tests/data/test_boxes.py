import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchvision.ops import box_iou as torchvision_iou

from maskbench.data.boxes import box_area, box_iou, box_properties, clip_boxes, square_around

COORDINATES = st.integers(-40, 400).map(lambda value: value / 4)  # quarters: exact in floating point


@st.composite
def box_arrays(draw, valid=False):
    count = draw(st.integers(0, 6))
    corners = draw(hnp.arrays(np.float64, (count, 2, 2), elements=COORDINATES))
    if valid:
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return corners.reshape(count, 4)


@given(box_arrays(valid=True), box_arrays(valid=True))
def test_iou_equals_torchvision(a, b):
    ours = box_iou(a, b)
    theirs = torchvision_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    # torchvision divides 0 by 0 for two empty boxes; ours defines that as no overlap.
    np.testing.assert_allclose(ours, np.nan_to_num(theirs, nan=0.0), atol=1e-12)


@given(box_arrays(), box_arrays())
def test_iou_is_a_share_and_symmetric(a, b):
    ours = box_iou(a, b)
    assert ours.shape == (len(a), len(b))
    assert ((ours >= 0) & (ours <= 1)).all()
    np.testing.assert_array_equal(ours, box_iou(b, a).T)


def test_iou_by_hand():
    # 4 × 4 and 4 × 4 shifted by (2, 2): intersection 2 · 2 = 4, union 16 + 16 - 4 = 28.
    a, b = np.array([[0.0, 0, 4, 4]]), np.array([[2.0, 2, 6, 6], [4, 4, 8, 8], [0, 0, 4, 4]])
    np.testing.assert_allclose(box_iou(a, b), [[4 / 28, 0, 1]])


@given(box_arrays())
def test_clip_stays_inside_is_idempotent_and_does_not_mutate(boxes):
    before = boxes.copy()
    clipped = clip_boxes(boxes, 50, 30)
    np.testing.assert_array_equal(boxes, before)
    assert (clipped >= 0).all() and (clipped[:, [0, 2]] <= 50).all() and (clipped[:, [1, 3]] <= 30).all()
    np.testing.assert_array_equal(clip_boxes(clipped, 50, 30), clipped)
    inside = (boxes >= 0).all(axis=1) & (boxes[:, [0, 2]] <= 50).all(axis=1) & (boxes[:, [1, 3]] <= 30).all(axis=1)
    np.testing.assert_array_equal(clipped[inside], boxes[inside])


@given(box_arrays(valid=True), st.sampled_from([0.0, 0.25, 0.5, 2.0]))
def test_square_shares_the_centre_and_has_the_asked_side(boxes, margin):
    square = square_around(boxes, margin)
    np.testing.assert_allclose(square[:, :2] + square[:, 2:], boxes[:, :2] + boxes[:, 2:], atol=1e-9)
    sides = square[:, 2:] - square[:, :2]
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) if len(boxes) else np.empty(0)
    np.testing.assert_allclose(sides, np.stack([longest * (1 + 2 * margin)] * 2, axis=1).reshape(-1, 2), atol=1e-9)


@settings(max_examples=30)
@given(box_arrays())
def test_area_of_empty_and_inverted_boxes_is_zero(boxes):
    area = box_area(boxes)
    inverted = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    assert (area[inverted] == 0).all() and (area[~inverted] > 0).all()


def test_properties_by_hand():
    faces = pd.DataFrame(
        {
            "face_id": ["a#000", "a#001", "b#000", "c#000", "c#001"],
            "image_id": ["a", "a", "b", "c", "c"],
            "xmin": [0.0, 10.0, 20.0, 30.0, 2.0],
            "ymin": [10.0, 10.0, 20.0, 1.0, 2.0],
            "xmax": [20.0, 30.0, 40.0, 40.0, 12.0],
            "ymax": [50.0, 20.0, 60.0, 11.0, 12.0],
            "image_width": [100, 100, 200, 50, 50],
            "image_height": [100, 100, 60, 50, 50],
        }
    )
    table = box_properties(faces)
    assert table["box_area"].tolist() == [800, 200, 800, 100, 100]  # 20·40, 20·10, 20·40, 10·10
    assert table["box_aspect"].tolist() == [0.5, 2.0, 0.5, 1, 1]
    assert table["box_share"].tolist() == pytest.approx([0.08, 0.02, 800 / 12000, 0.04, 0.04])
    assert table["centre_x"].tolist() == pytest.approx([0.1, 0.2, 0.15, 0.7, 0.14])
    assert table["centre_y"].tolist() == pytest.approx([0.3, 0.15, 2 / 3, 0.12, 0.14])
    # left edge; none; bottom edge; upper edge as VOC counts it; a pixel away from it
    assert table["at_border"].tolist() == [True, False, True, True, False]
    assert table["faces_in_image"].tolist() == [2, 2, 1, 2, 2]
