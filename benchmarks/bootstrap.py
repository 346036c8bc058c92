"""The clustered bootstrap of the comparison: weights of photographs against a loop of scikit-learn over the draws.

Usage: python benchmarks/bootstrap.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from maskbench.comparison.bootstrap import draw_metrics
from maskbench.comparison.runs import Run, Runs
from maskbench.evaluation.classification import Scored
from maskbench.evaluation.intervals import drawn_weights
from maskbench.evaluation.weighted import WeightedMetrics

FACES, DRAWS, LOOPED, BOUND = 4_000, 10_000, 30, 5.0
CLASSES, SHARES = ("incorrect", "with", "without"), (0.03, 0.79, 0.18)


def main() -> None:
    """Measure and print seconds, medians of three alternating rounds."""
    print(f"bound: {FACES:,} faces × {DRAWS:,} draws in {BOUND:g} s")
    for photographs in (850, FACES):
        scored = plausible(photographs)
        found: dict[str, list[float]] = {"weights": [], "loop": []}
        for _ in range(3):
            found["weights"].append(seconds(weighted, scored))
            found["loop"].append(seconds(looped, scored) * DRAWS / LOOPED)
        weights, loop = (statistics.median(values) for values in found.values())
        print(
            f"{FACES:,} faces in {scored.image_count:,} photographs × {DRAWS:,} draws: weights {weights:.2f} s "
            f"({weights / BOUND:.0%} of the bound), "
            f"loop {loop:.0f} s (from {LOOPED} draws), loop ÷ weights {loop / weights:.0f}"
        )


def plausible(photographs: int) -> Scored:
    """Faces of one run in this many photographs (those that get a face)."""
    rng = np.random.default_rng(0)
    true = rng.choice(len(CLASSES), size=FACES, p=SHARES)
    drawn = np.arange(FACES) if photographs == FACES else rng.integers(0, photographs, FACES)
    images = np.unique(drawn, return_inverse=True)[1]
    logits = rng.normal(size=(FACES, len(CLASSES))) + 2.5 * np.eye(len(CLASSES))[true]
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(probs[np.arange(FACES), true])
    return Scored(true, probs.argmax(axis=1), probs, loss, images, int(images.max()) + 1)


def one_run(scored: Scored) -> Runs:
    """A comparison of one arm and seed; summing up by photograph is part of what is timed."""
    ids = pd.Index([str(number) for number in range(scored.image_count)])
    run = Run(scored, WeightedMetrics(scored), np.arange(scored.image_count))
    return Runs(CLASSES, ("arm",), (0,), ids, {("arm", 0): run}, pd.DataFrame())


def weighted(scored: Scored) -> None:
    """All draws as weights."""
    draw_metrics(one_run(scored), resamples=DRAWS)


def looped(scored: Scored) -> None:
    """The same measurements by scikit-learn, draw by draw."""
    rng = np.random.default_rng(0)
    faces = [np.flatnonzero(scored.images == image) for image in range(scored.image_count)]
    for weights in drawn_weights(rng, scored.image_count, LOOPED).astype(int):
        rows = np.concatenate([np.tile(own, times) for own, times in zip(faces, weights, strict=True) if times])
        true, predicted, probs = scored.true[rows], scored.predicted[rows], scored.probs[rows]
        accuracy_score(true, predicted)
        balanced_accuracy_score(true, predicted)
        precision_recall_fscore_support(true, predicted, labels=range(len(CLASSES)), zero_division=np.nan)
        for k in range(len(CLASSES)):
            roc_auc_score(true == k, probs[:, k])
        log_loss(true, probs, labels=range(len(CLASSES)))


def seconds(work: Callable[[Scored], None], scored: Scored) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work(scored)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
