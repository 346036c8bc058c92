"""Measures of explanations, where the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor

from maskbench.comparison.faithfulness import decisions_sentence, faithfulness_sentences, faithfulness_summary
from maskbench.explain import faithfulness
from maskbench.explain.cam import BASELINES, METHODS
from maskbench.explain.faithfulness import (
    deletion_insertion,
    measure_faithfulness,
    pointing,
    randomised,
    rank_correlation,
    top_iou,
    unchanged,
)
from maskbench.models.registry import build_model
from maskbench.schemas import validate
from maskbench.schemas.faithfulness import FAITHFULNESS, FAITHFULNESS_CURVES, FAITHFULNESS_SUMMARY

RECORD = {
    "arm": "hand",
    "seed": 0,
    "implementation": "manual",
    "classes": ["a", "b"],
    "preprocess": {"input_size": 32, "margin": 0.25, "mean": [0.5] * 3, "std": [0.25] * 3},
    "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
}


def bright_half(images: Tensor) -> Tensor:
    """Knows one thing: the probability of class 0 is the share of bright pixels in the lower half."""
    share = (images[:, 0, 2:] > 0.5).float().mean(dim=(1, 2))
    return torch.stack([share, 1 - share], dim=1)


def test_deletion_and_insertion_where_the_answer_is_known() -> None:
    # 16 pixels; the 8 of the lower half alone count, and each is worth 1/8.
    images, blurred = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    maps = torch.zeros(2, 4, 4)
    maps[0, 2:] = 1.0  # the best map: the pixels that count come first
    maps[1, :2] = 1.0  # the worst: they come last
    curves = deletion_insertion(bright_half, images, blurred, maps, torch.tensor([0, 0]), steps=4)
    assert curves[0, 0].tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert curves[0, 1].tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert curves[1, 0].tolist() == [1.0, 1.0, 1.0, 0.5, 0.0]
    assert curves[1, 1].tolist() == [0.0, 0.0, 0.0, 0.5, 1.0]


def test_pixels_of_equal_importance_are_not_taken_in_reading_order() -> None:
    images = torch.ones(1, 3, 32, 32)
    curve = deletion_insertion(
        lambda x: bright_half(x[:, :, -4:]), images, 0 * images, torch.zeros(1, 32, 32), torch.tensor([0]), steps=2
    )
    assert curve[0, 0, 1] == pytest.approx(0.5, abs=0.15)  # in reading order half of the pixels would cost nothing
    again = deletion_insertion(
        lambda x: bright_half(x[:, :, -4:]), images, 0 * images, torch.zeros(1, 32, 32), torch.tensor([0]), steps=2
    )
    assert np.array_equal(curve, again)


def test_overlap_of_the_largest_pixels_with_a_region() -> None:
    maps = np.array([[[4.0, 3], [2, 1]], [[0, 0], [0, 0]], [[1, 2], [3, 4]]])
    regions = np.array([[[True, False], [True, False]], [[True, True], [False, False]], [[False, False]] * 2])
    # of two pixels in the region, the two largest of the map hold one: 1 / (2 + 2 - 1)
    assert top_iou(maps, regions) == pytest.approx([1 / 3, np.nan, np.nan], nan_ok=True)


def test_zeros_of_a_map_favour_no_side() -> None:
    maps = np.zeros((1, 32, 32))
    maps[0, 16, 16] = 1.0
    upper, lower = np.zeros((2, 1, 32, 32), dtype=bool)
    upper[:, :16], lower[:, 16:] = True, True
    # a random half of the pixels overlaps a half in a third of their union
    assert top_iou(maps, upper) == pytest.approx([1 / 3], abs=0.05)
    assert top_iou(maps, lower) == pytest.approx([1 / 3], abs=0.05)


def test_a_peak_between_pixels_lies_on_both_sides_of_a_border() -> None:
    lower = np.zeros((1, 8, 8), dtype=bool)
    lower[:, 4:] = True
    middle = np.zeros((1, 8, 8))
    middle[0, 3:5, 3:5] = 1.0
    assert pointing(middle, lower).tolist() == [0.5]
    below = np.zeros((1, 8, 8))
    below[0, 4, 2] = 1.0
    assert pointing(below, lower).tolist() == [1.0]
    assert pointing(below[:, ::-1], lower).tolist() == [0.0]
    assert np.isnan(pointing(0 * below, lower)).all()


def test_a_map_that_vanishes_without_training_has_changed() -> None:
    map_, nothing = np.random.default_rng(0).random((1, 4, 4)), np.zeros((1, 4, 4))
    assert unchanged(map_, nothing).tolist() == [0.0]
    assert unchanged(map_, map_) == pytest.approx([1.0])
    assert np.isnan(unchanged(nothing, map_)).all()


class FollowsBright(torch.nn.Module):
    """One layer whose activation is the brightness itself; both classes read it, so maps follow the bright spot."""

    def __init__(self) -> None:
        super().__init__()
        self.spot = torch.nn.Identity()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, images: Tensor) -> Tensor:
        seen = self.spot(images.mean(dim=1, keepdim=True).clamp(min=0))
        return seen.mean(dim=(1, 2, 3))[:, None] * self.weight


def test_maps_that_move_with_the_face_are_stable_and_maps_that_stay_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # a bright spot off the middle, on dark canvases
    canvases = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)
    canvases[0, :, 8:14, 10:16] = 255
    canvases[1, :, 24:30, 20:26] = 255
    monkeypatch.setattr(faithfulness, "randomised", lambda record, seed: FollowsBright())
    faces = pd.DataFrame(
        {"face_id": ["f0", "f1"], "image_id": ["i0", "i1"], "xmin": 10.0, "ymin": 10.0, "xmax": 40.0, "ymax": 40.0}
    )
    table = measure_faithfulness(FollowsBright(), RECORD, canvases, faces, ["eigen_cam"], layer="spot", steps=2).table

    def values(method: str, measure: str) -> pd.Series:
        return table[(table["method"] == method) & (table["measure"] == measure)]["value"]

    for measure in ("stability_shift", "stability_mirror"):
        assert values("eigen_cam", measure).to_numpy() == pytest.approx(1.0, abs=0.02)
        assert values("random", measure).abs().max() < 0.3
    assert values("centre", "stability_shift").max() < 0.999  # a blob that stays where the face moved away


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((3, 5, 5)), rng.integers(0, 4, (3, 5, 5)).astype(float)
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    assert rank_correlation(one, other) == pytest.approx(expected)


def test_an_untrained_network_has_other_weights_and_the_same_shape() -> None:
    model, _ = build_model("manual", 2, seed=0, loaded=None)
    fresh = randomised(RECORD, 0)
    assert not fresh.training
    same = {name for name, value in fresh.state_dict().items() if torch.equal(value, model.state_dict()[name])}
    assert not any(name.endswith(("conv1.weight", "conv2.weight", "fc.weight")) for name in same)


@pytest.fixture(scope="module")
def measured() -> tuple[pd.DataFrame, pd.DataFrame]:
    model, _ = build_model("manual", 2, seed=1, loaded=None)
    source = torch.Generator().manual_seed(0)
    canvases = torch.randint(0, 255, (6, 3, 40, 40), dtype=torch.uint8, generator=source)
    boxes = {"xmin": 10.0, "ymin": 10.0, "xmax": 40.0, "ymax": 40.0}
    faces = pd.DataFrame(
        {"face_id": [f"f{k}" for k in range(6)], "image_id": [f"i{k // 2}" for k in range(6)], **boxes}
    )
    mask = [[15, 25], [35, 25], [35, 38], [15, 38]]
    found = measure_faithfulness(
        model.eval(), RECORD, canvases, faces, ["layer_cam", "eigen_cam"], polygons=[mask] * 5 + [[]], layer="layer2",
        steps=3, seed=0,
    )  # fmt: skip
    assert not any(module._forward_hooks for module in model.modules())
    return validate(found.table, FAITHFULNESS), validate(found.curves, FAITHFULNESS_CURVES)


def test_every_method_and_null_map_is_measured_on_every_face(measured: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, curves = measured
    assert list(dict.fromkeys(table["method"])) == ["layer_cam", "eigen_cam", "random", "centre"]
    assert (table.groupby(["method", "measure"]).size() == 6).all()
    assert table["measure"].nunique() == 11
    bare = table[(table["face_id"] == "f5") & table["measure"].str.endswith("_mask")]
    assert bare["value"].isna().all()  # this face wears none
    assert (bare["reason"] != "").all()
    share = table[table["measure"].isin(["energy_lower", "deletion", "insertion", "iou_lower"])]["value"]
    assert share.dropna().between(0, 1).all()
    assert table.loc[table["value"].isna(), "reason"].ne("").all()
    assert set(curves["kind"]) == {"deletion", "insertion"}
    assert curves.groupby(["method", "kind"])["share"].max().eq(1).all()


def test_maps_that_know_nothing_are_found_out(measured: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = measured[0]

    def values(method: str, measure: str) -> list[float]:
        return list(table.loc[(table["method"] == method) & (table["measure"] == measure), "value"])

    # the same noise, the same Gaussian, whatever the weights are
    assert values("random", "similarity_random") == pytest.approx([1.0] * 6)
    assert values("centre", "similarity_random") == pytest.approx([1.0] * 6)
    assert values("centre", "stability_mirror") == pytest.approx([1.0] * 6)
    assert max(values("eigen_cam", "similarity_random")) < 0.9


def test_the_summary_marks_what_fails_the_randomisation_check(measured: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    labels = {name: method.label for name, method in (METHODS | BASELINES).items()}
    summary = validate(
        faithfulness_summary(measured[0], labels, list(BASELINES), resamples=50, seed=0), FAITHFULNESS_SUMMARY
    )
    check = summary[summary["measure"] == "similarity_random"].set_index("method")["check"]
    assert set(check) == {"undecided"}  # three photographs are too few for intervals
    assert set(summary.loc[summary["measure"] != "similarity_random", "check"]) == {""}
    assert set(summary.loc[summary["baseline"], "method"]) == set(BASELINES)
    assert "undecided: LayerCAM" in faithfulness_sentences(summary)[-1]


@pytest.mark.parametrize(("likeness", "state"), [(0.9, "fails"), (0.1, "passes"), (0.5, "undecided")])
def test_the_randomisation_check_has_three_answers(likeness: float, state: str) -> None:
    images = [f"i{k}" for k in range(20)]
    spread = np.random.default_rng(0).normal(0, 0.05, 20)
    table = pd.concat(
        [rows(name, list(likeness + spread), images, "similarity_random") for name in ("a", "random", "centre")]
    )
    labels = {"a": "A", "random": "random", "centre": "centre"}
    summary = faithfulness_summary(table, labels, list(BASELINES), resamples=200)
    row = summary.set_index("method").loc["a"]
    assert row["check"] == state
    assert not row["better"]  # a null map is no better or worse here: there is nothing to compare
    words = {"fails": "the map stays the same: A", "passes": "the map changes: A", "undecided": "undecided: A"}[state]
    assert words in faithfulness_sentences(summary)[-1]


def rows(method: str, values: list[float], images: list[str], measure: str = "insertion") -> pd.DataFrame:
    facts = {"arm": "hand", "seed": 0, "method": method, "measure": measure, "reason": ""}
    return pd.DataFrame(
        {**facts, "face_id": [f"f{k}" for k in range(len(values))], "image_id": images, "value": values}
    )


def test_intervals_are_those_of_whole_photographs_and_gaps_are_paired() -> None:
    images = [f"i{k // 4}" for k in range(40)]  # ten photographs of four equal faces: ten independent values, not forty
    level = np.repeat(np.random.default_rng(3).normal(0.5, 0.1, 10), 4)
    table = pd.concat(
        [rows("grad_cam", list(level + 0.05), images), rows("random", list(level), images),
         rows("centre", list(level + 0.02), images)]
    )  # fmt: skip
    labels = {"grad_cam": "Grad-CAM", "random": "random", "centre": "centre"}
    summary = faithfulness_summary(table, labels, list(BASELINES), resamples=4000)
    found = summary.set_index("method").loc["grad_cam"]
    expected = level[::4].std() / np.sqrt(10)  # of the mean of ten photographs
    reach = stats.t.ppf(0.975, 9) * np.sqrt(10 / 9)  # ten photographs have nine degrees of freedom
    assert (found["high"] - found["low"]) / (2 * reach) == pytest.approx(expected, rel=0.08)
    # the photographs cancel: no draw differs, and the bound is that of Clopper & Pearson for ten of them
    bound = 1 - 0.025 ** (1 / 10)
    assert found[["gap", "gap_low", "gap_high"]].tolist() == pytest.approx([0.05, 0.05 - bound, 0.05 + bound])
    assert found["centre_gap"] == pytest.approx(0.03)


def test_less_is_better_where_less_is_better() -> None:
    images = [f"i{k}" for k in range(12)]
    noise = np.random.default_rng(0).normal(0, 0.02, (5, 12))
    levels = {"a": 0.9, "b": 0.1, "c": 0.4, "random": 0.5, "centre": 0.3}
    table = pd.concat(
        [rows(name, list(level + noise[k]), images, "deletion") for k, (name, level) in enumerate(levels.items())]
    )
    labels = {name: name.upper() for name in levels}
    summary = faithfulness_summary(table, labels, list(BASELINES), resamples=100)
    better = summary.set_index("method")["better"].to_dict()
    assert better == {"a": False, "b": True, "c": False, "random": False, "centre": False}
    told = faithfulness_sentences(summary)[0]
    assert "B says more than a random map and than a blob" in told
    assert "C more than a random map, not more than the blob" in told


def test_only_maps_that_pass_every_check_speak_of_decisions() -> None:
    images = [f"i{k}" for k in range(20)]
    noise = np.random.default_rng(0).normal(0, 0.02, (5, 20))
    labels = {"good": "Good", "fixed": "Fixed", "blob": "Blob-like", "random": "random", "centre": "centre"}
    levels = {  # deletion, insertion, likeness to the map of a network that learned nothing
        "good": (0.1, 0.9, 0.1), "fixed": (0.1, 0.9, 0.9), "blob": (0.3, 0.7, 0.1),
        "random": (0.5, 0.5, 1.0), "centre": (0.3, 0.7, 1.0),
    }  # fmt: skip
    measures = ("deletion", "insertion", "similarity_random")
    table = pd.concat(
        [rows(name, list(levels[name][place] + noise[row]), images, measure)
         for row, name in enumerate(labels) for place, measure in enumerate(measures)]
    )  # fmt: skip
    told = decisions_sentence(faithfulness_summary(table, labels, list(BASELINES), resamples=200))
    assert "of 3 methods, Good in hand told more" in told
    table = table[table["method"] != "good"]
    told = decisions_sentence(faithfulness_summary(table, labels, list(BASELINES), resamples=200))
    assert "of 2 methods, no method in hand told more" in told


def test_a_measure_that_nothing_can_be_said_of_keeps_its_reason() -> None:
    images = [f"i{k}" for k in range(3)]
    table = pd.concat([rows("a", [np.nan] * 3, images), rows("random", [0.5] * 3, images)])
    table.loc[table["value"].isna(), "reason"] = "the region is empty or the map is zero"
    summary = faithfulness_summary(table, {"a": "A", "random": "random"}, ["random"], resamples=20).set_index("method")
    assert np.isnan(summary.loc["a", "value"])
    assert summary.loc["a", "reason"] == "the region is empty or the map is zero"
    assert summary.loc["a", ["maps", "undefined"]].tolist() == [0, 3]
    assert not summary.loc["a", "better"]
