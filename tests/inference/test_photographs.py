"""The second stage of detection: boxes that a classifier of faces names."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from maskbench.inference.photographs import NAMED_TOGETHER, name_boxes
from maskbench.models.detecting import Found
from tests.training.detector_in_memory import photographs

#: Of a classifier whose logits are ten times the mean green and red of what it sees.
RECORD: dict[str, Any] = {
    "classes": ["green", "red"],
    "preprocess": {"input_size": 32, "margin": 0.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    "evaluate": {"batch_size": 5, "flip_average": True},
    "execution": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
}


class ByColour(nn.Module):
    """Names a face after its colour."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 10 * images.mean(dim=(2, 3))[:, [1, 0]]


def _found(count: int, rng: np.random.Generator) -> list[Found]:
    """The true boxes, all named alike by a detector, with scores by chance."""
    parts = []
    for boxes in photographs(count).boxes:
        scores = np.sort(rng.uniform(0.1, 0.9, len(boxes)).astype(np.float32))[::-1]
        parts.append(Found(boxes, np.zeros(len(boxes), np.int64), scores, np.ones(len(boxes), dtype=bool)))
    return parts


def test_boxes_take_the_classes_colour_and_its_probability(rng: np.random.Generator) -> None:
    count = NAMED_TOGETHER + 3  # more than are named together
    shown, rows = photographs(count), np.arange(count)
    seen: list[tuple[int, int]] = []
    found = _found(count, rng)
    named = name_boxes(
        ByColour(), RECORD, shown, rows, found, progress=lambda done, total: seen.append((done, total))
    )  # fmt: skip
    assert seen == [(NAMED_TOGETHER, count), (count, count)]
    # green (40, 220, 40), red (220, 40, 40): logits differ by 10 * 180 / 255
    probability = 1 / (1 + np.exp(-1800 / 255))
    for before, after, true in zip(found, named, shown.labels, strict=True):
        assert (np.diff(after.scores) <= 0).all() and len(after.scores) == 2 * len(before.scores)
        order = [int(np.flatnonzero((before.boxes == box).all(axis=1))[0]) for box in after.boxes]
        assert sorted(order) == sorted([*range(len(before.scores))] * 2)  # each box once for each class
        assert (after.answers == (after.labels == true[order])).all()
        told = before.scores[order][after.answers]
        assert after.scores[after.answers] == pytest.approx(told * probability, rel=1e-3)
        assert np.bincount(order, weights=after.scores) == pytest.approx(before.scores, rel=1e-5)


def test_rows_below_the_least_score_are_dropped(rng: np.random.Generator) -> None:
    found = _found(4, rng)
    every = name_boxes(ByColour(), RECORD, photographs(), np.arange(4), found)
    sure = name_boxes(ByColour(), RECORD, photographs(), np.arange(4), found, min_score=0.3)
    assert sum(len(one.scores) for one in every) > sum(len(one.scores) for one in sure) > 0
    for all_rows, kept in zip(every, sure, strict=True):
        assert kept.scores.tolist() == all_rows.scores[all_rows.scores >= 0.3].tolist()


def test_only_answers_are_named(rng: np.random.Generator) -> None:
    found = _found(4, rng)
    half = [replace(one, answers=np.arange(len(one.scores)) % 2 == 0) for one in found]
    named = name_boxes(ByColour(), RECORD, photographs(), np.arange(4), half)
    for before, after in zip(half, named, strict=True):
        assert {tuple(box) for box in after.boxes} == {tuple(box) for box in before.boxes[::2]}
    none = [replace(one, answers=np.zeros(len(one.scores), dtype=bool)) for one in found]
    assert all(len(one.scores) == 0 for one in name_boxes(ByColour(), RECORD, photographs(), np.arange(4), none))


def test_boxes_of_a_photograph_kept_smaller_are_cut_where_they_lie(rng: np.random.Generator) -> None:
    whole, found = photographs(), _found(4, rng)
    half = [replace(one, boxes=one.boxes * 2) for one in found]  # of an original twice as large
    shrunk = type(whole)(**{**vars(whole), "scales": np.full(4, 0.5)})
    expected = name_boxes(ByColour(), RECORD, whole, np.arange(4), found)
    for one, other in zip(expected, name_boxes(ByColour(), RECORD, shrunk, np.arange(4), half), strict=True):
        assert (one.labels == other.labels).all() and one.scores == pytest.approx(other.scores)
        assert other.boxes == pytest.approx(one.boxes * 2)
