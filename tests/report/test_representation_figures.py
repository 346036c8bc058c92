"""Likeness and probes: what is drawn is what the caption says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from maskbench.report.figures.representations import fig_cka, fig_depths, fig_embedding, fig_probes
from maskbench.schemas import validate
from maskbench.schemas.representations import CKA, PROBES
from tests.report.words import without_nan

DEPTHS = ["early", "late"]


def likeness(kind: str, one: tuple[str, int], other: tuple[str, int]) -> pd.DataFrame:
    pairs = [(a, b) for a in DEPTHS for b in DEPTHS if kind == "arms" or a == b]
    return pd.DataFrame(
        [{"kind": kind, "arm_a": one[0], "seed_a": one[1], "layer_a": a, "arm_b": other[0], "seed_b": other[1],
          "layer_b": b, "cka": 0.4 if a == b else 0.1, "faces": 50, "reason": ""} for a, b in pairs]
    )  # fmt: skip


def test_one_arm_with_several_runs_is_said_to_be_compared_with_itself() -> None:
    parts = [likeness("seeds", ("one", a), ("one", b)) for a, b in ((0, 1), (0, 2), (1, 2))]
    drawing = fig_cka(validate(pd.concat(parts, ignore_index=True), CKA), DEPTHS)
    assert [ax.get_title() for ax in drawing.figure.axes] == ["two runs of one arm"]
    assert drawing.caption.endswith("Means over 3 pairs of runs of one arm, on 50 test faces in common at most.")
    assert "diagonal" not in drawing.caption


def test_two_arms_with_and_without_several_runs() -> None:
    once = likeness("arms", ("one", 0), ("two", 0))
    drawing = fig_cka(validate(once, CKA), DEPTHS)
    assert drawing.caption.endswith("Means over 1 run of two arms, on 50 test faces in common at most.")
    twice = [once, likeness("arms", ("one", 1), ("two", 1)), likeness("seeds", ("one", 0), ("one", 1))]
    drawing = fig_cka(validate(pd.concat(twice, ignore_index=True), CKA), DEPTHS)
    assert "Means over 2 runs of two arms and 1 pair of runs of one arm" in drawing.caption
    assert "diagonal" in drawing.caption


def probes(seeds: int) -> pd.DataFrame:
    """In run k macro-F1 is 0.5 + k / 10, its interval 0.1 wide on either side."""
    return pd.DataFrame(
        [{"arm": arm, "seed": k, "depth": depth, "probe": probe, "metric": "f1_macro", "value": 0.5 + k / 10,
          "low": 0.4 + k / 10, "high": 0.6 + k / 10, "confidence": 0.95, "train_faces": 90, "faces": 40 + k,
          "images": 20, "reason": ""}
         for arm in ("one", "two") for k in range(seeds) for depth in DEPTHS for probe in ("linear", "neighbours")]
    )  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_bar_is_the_interval_of_one_run(seeds: int) -> None:
    drawing = fig_probes(validate(probes(seeds), PROBES), ["one", "two"])
    bars = [segment for part in drawing.figure.axes[0].collections for segment in part.get_segments()]
    found = sorted((round(bar[:, 1].min(), 6), round(bar[:, 1].max(), 6)) for bar in bars)
    assert found == sorted((round(0.4 + k / 10, 6), round(0.6 + k / 10, 6)) for k in range(seeds) for _ in range(4))
    curve = drawing.figure.axes[0].get_lines()[0]
    assert curve.get_ydata() == pytest.approx(np.full(2, 0.5 + (seeds - 1) / 20))
    words = "No bar is an interval of the mean. 40–42 test faces in 20 photographs a run."
    assert drawing.caption.endswith(
        words if seeds > 1 else "over the test photographs. 40 test faces in 20 photographs."
    )


def embedding(perplexity: float) -> pd.DataFrame:
    return pd.DataFrame(
        [{"arm": arm, "seed": 0, "method": "tsne", "face_id": f"f{k}", "label": "a", "predicted": "ab"[k % 2],
          "correct": k % 2 == 0, "box_side_px": 20.0 + k, "x": float(k), "y": float(k % 3), "perplexity": perplexity}
         for arm in ("one", "two") for k in range(6)]
    )  # fmt: skip


def test_the_perplexity_stands_on_the_figure() -> None:
    drawing = fig_embedding(embedding(12.5), ["a", "b"], ["one", "two"])
    assert drawing.figure.get_suptitle() == "t-SNE of what the head reads (perplexity 12.5)"
    assert drawing.caption.startswith("Perplexity 12.5;")


def test_likeness_that_is_undefined_is_a_dash() -> None:
    table = likeness("arms", ("one", 0), ("two", 0))
    table.loc[1, ["cka", "reason"]] = [np.nan, "no spread"]
    drawing = fig_cka(validate(table, CKA), DEPTHS)
    assert [text.get_text() for text in drawing.figure.axes[0].texts].count("–") == 1
    without_nan([drawing])


def test_titles_do_not_judge() -> None:
    separation = pd.DataFrame({"arm": ["one"] * 2, "depth": DEPTHS, "silhouette": [0.5, -0.5],
                               "scatter_ratio": [2.0, 1.0], "faces": [9, 9]})  # fmt: skip
    statistics = pd.DataFrame({"arm": ["one"] * 2, "depth": DEPTHS, "sparsity": [0.9, 0.1],
                               "effective_rank": [9.0, 1.0], "dead_channels": [3, 0]})  # fmt: skip
    drawing = fig_depths(separation, statistics, ["one"])  # classes that come together, channels that wake up
    assert drawing.title == "Separation of classes and use of channels, by depth"
