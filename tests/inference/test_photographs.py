"""The second stage of detection: boxes that a classifier of faces names."""

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
        parts.append(Found(boxes, np.zeros(len(boxes), np.int64), scores))
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
        assert (np.diff(after.scores) <= 0).all()
        order = [int(np.flatnonzero((before.boxes == box).all(axis=1))[0]) for box in after.boxes]
        assert (after.labels == true[order]).all()
        assert after.scores == pytest.approx(before.scores[order] * probability, rel=1e-3)


def test_boxes_below_the_asked_score_are_not_named(rng: np.random.Generator) -> None:
    found = _found(4, rng)
    named = name_boxes(ByColour(), RECORD, photographs(), np.arange(4), found, min_score=0.5)
    assert [len(one.scores) for one in named] == [int((one.scores >= 0.5).sum()) for one in found]
    assert all(len(one.scores) == 0 for one in name_boxes(
        ByColour(), RECORD, photographs(), np.arange(4), found, min_score=1.0
    ))  # fmt: skip


def test_boxes_of_a_photograph_kept_smaller_are_cut_where_they_lie(rng: np.random.Generator) -> None:
    whole, found = photographs(), _found(4, rng)
    half = [Found(one.boxes * 2, one.labels, one.scores) for one in found]  # of an original twice as large
    shrunk = type(whole)(**{**vars(whole), "scales": np.full(4, 0.5)})
    expected = name_boxes(ByColour(), RECORD, whole, np.arange(4), found)
    for one, other in zip(expected, name_boxes(ByColour(), RECORD, shrunk, np.arange(4), half), strict=True):
        assert (one.labels == other.labels).all() and one.scores == pytest.approx(other.scores)
        assert other.boxes == pytest.approx(one.boxes * 2)
