import numpy as np
import pandas as pd
import pytest

from maskbench.eda import spatial
from maskbench.eda.spatial import covered_cells, heatmaps, image_coverage, overlaps, relative_boxes, total_coverage
from maskbench.schemas import HEATMAPS, IMAGE_COVERAGE, validate
from tests.conftest import faces_table


def faces_at(boxes: list[tuple[float, float, float, float]], labels: list[str], image_ids: list[str]) -> pd.DataFrame:
    """Faces with given boxes in photographs of 100 × 80 px."""
    faces = faces_table(labels, image_ids)
    faces[["xmin", "ymin", "xmax", "ymax"]] = np.array(boxes, dtype=float)
    return faces


def test_union_by_hand() -> None:
    # Two squares of 0.4 × 0.4 that share 0.2 × 0.2: 0.16 + 0.16 - 0.04 = 0.28; a third inside adds 0.
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.3, 0.3, 0.7, 0.7], [0.35, 0.35, 0.4, 0.4]])
    assert covered_cells(boxes, 1)[0, 0] == pytest.approx(0.28)
    assert covered_cells(boxes[:0], 3).tolist() == np.zeros((3, 3)).tolist()
    assert covered_cells(np.array([[-1.0, -1, 2, 2]]), 2) == pytest.approx(1)  # cut to the photograph
    assert covered_cells(np.array([[0.5, 0.2, 0.3, 0.6]]), 2) == pytest.approx(0)  # inverted: empty
    # Columns are x, rows y: the right half of the top row.
    assert covered_cells(np.array([[0.5, 0, 1, 0.5]]), 2).tolist() == [[0, 1], [0, 0]]
    # A box of 0.25 × 0.5 at the corner covers half of the first cell of a 2 × 2 grid.
    assert covered_cells(np.array([[0, 0, 0.25, 0.5]]), 2)[0, 0] == pytest.approx(0.5)


def test_cells_against_a_fine_raster() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 200, (25, 2, 2)) / 200
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    centres = (np.arange(200) + 0.5) / 200  # every edge is a line of this raster, so it is exact too
    inside_x = (boxes[:, :1] <= centres) & (centres < boxes[:, 2:3])
    inside_y = (boxes[:, 1:2] <= centres) & (centres < boxes[:, 3:])
    raster = (inside_y[:, :, None] & inside_x[:, None, :]).any(axis=0)
    for cells in (1, 5, 8):
        expected = raster.reshape(cells, 200 // cells, cells, 200 // cells).mean(axis=(1, 3))
        assert covered_cells(boxes, cells) == pytest.approx(expected)


def test_coverage_per_photograph() -> None:
    faces = faces_at([(0, 0, 50, 40), (25, 20, 75, 60), (0, 0, 10, 8)], ["a", "b", "a"], ["p", "p", "q"])
    images = pd.DataFrame({"image_id": ["q", "empty", "p"]})
    table = validate(image_coverage(images, faces), IMAGE_COVERAGE)
    # p: 0.25 + 0.25 - 0.25 · 0.25 = 0.4375 of 0.5; q: 0.1 · 0.1.
    assert table["image_id"].tolist() == ["q", "empty", "p"]
    assert table["faces"].tolist() == [1, 0, 2]
    assert table["coverage"].tolist() == pytest.approx([0.01, 0, 0.4375])
    assert table["share_sum"].tolist() == pytest.approx([0.01, 0, 0.5])


def test_heatmaps_by_hand() -> None:
    faces = faces_at([(0, 0, 50, 40), (50, 40, 100, 80), (0, 0, 100, 40)], ["a", "a", "b"], ["p", "p", "q"])
    table = validate(heatmaps(faces, ["a", "b", "gone"], 2), HEATMAPS)
    maps = {key: group["value"].tolist() for key, group in table.groupby(["quantity", "class_name"])}
    assert maps["centres", "a"] == [0.5, 0, 0, 0.5]
    assert maps["centres", "b"] == [0, 1, 0, 0]  # a centre on the line between cells counts right
    assert maps["centres", ""] == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert maps["coverage", "a"] == [1, 0, 0, 1]  # over the one photograph with a
    assert maps["coverage", ""] == [1, 0.5, 0, 0.5]  # over both
    assert np.isnan(maps["coverage", "gone"]).all()
    assert set(table.loc[table["class_name"] == "gone", "reason"]) == {"no face of this class"}


def test_centres_sum_to_one_and_coverage_to_the_mean_union() -> None:
    rng = np.random.default_rng(3)
    left = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([left, left + rng.uniform(1, 20, (40, 2))], axis=1).tolist()
    faces = faces_at(boxes, ["a", "b"] * 20, [f"p{index % 9}" for index in range(40)])
    table = heatmaps(faces, ["a", "b"], 7)
    sums = table.groupby(["quantity", "class_name"])["value"].sum()
    assert sums["centres"].to_numpy() == pytest.approx(1)
    coverage = image_coverage(pd.DataFrame({"image_id": sorted(set(faces["image_id"]))}), faces)
    assert sums["coverage", ""] / 49 == pytest.approx(coverage["coverage"].mean())


@pytest.mark.parametrize(("seed", "side"), [(0, 0.05), (1, 0.3), (2, 0.9)])
def test_the_sum_over_photographs_equals_one_photograph_after_the_other(
    seed: int, side: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spatial, "_BOXES_AT_ONCE", 7)
    rng = np.random.default_rng(seed)
    left = rng.uniform(-0.05, 1, (60, 2))  # some reach beyond the photograph; some photographs hold one box, some many
    boxes = np.concatenate([left, left + rng.uniform(0, side, (60, 2))], axis=1)
    groups = rng.integers(0, 25, 60)
    for cells in (1, 7):
        plain = sum(covered_cells(boxes[groups == group], cells) for group in np.unique(groups))
        assert total_coverage(boxes, groups, cells) == pytest.approx(plain, abs=1e-12)
    # Boxes that touch share no area.
    touching = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0.4, 0, 0.6, 1]])
    assert overlaps(touching, np.array([0, 0, 1])).tolist() == []
    assert overlaps(touching, np.array([0, 1, 0])).tolist() == [[0, 2]]


@pytest.mark.parametrize("side", [0.05, 0.3, 0.9])
def test_the_union_of_each_photograph_equals_cutting_up_all_its_boxes(side: float) -> None:
    rng = np.random.default_rng(4)
    left = rng.uniform(0, 50, (80, 2))  # alone, in twos and in heaps
    boxes = np.concatenate([left, left + rng.uniform(0, 50 * side, (80, 2))], axis=1)
    faces = faces_at(boxes.tolist(), ["a"] * 80, [f"p{index % 30:02}" for index in range(80)])
    found = image_coverage(pd.DataFrame({"image_id": [f"p{index:02}" for index in range(31)]}), faces)
    relative, groups = relative_boxes(faces), np.arange(80) % 30
    plain = [covered_cells(relative[groups == group], 1)[0, 0] for group in range(31)]
    assert found["coverage"].to_numpy() == pytest.approx(np.array(plain), abs=1e-12)
