"""Simulated studies: faces that come in photographs, arms and seeds of known quality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from maskbench.comparison.runs import Run, Runs
from maskbench.evaluation.classification import Scored
from maskbench.evaluation.weighted import WeightedMetrics

CLASSES = ("a", "b", "c")
SHARES = np.array([0.6, 0.25, 0.15])


def scored_from(logits: np.ndarray, true: np.ndarray, images: np.ndarray) -> Scored:
    """Scored faces for logits (N, K), classes (N,) and photographs 0…I-1 (N,)."""
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    loss = -log_probs[np.arange(len(true)), true]
    return Scored(true, logits.argmax(axis=1), np.exp(log_probs), loss, images, int(images.max()) + 1)


def simulated(
    rng: np.random.Generator,
    photographs: int,
    *,
    arms: Sequence[float] = (2.5,),
    seeds: int = 1,
    clustering: float = 1.0,
    seed_effect: float = 0.0,
    one_face: bool = False,
    shares: np.ndarray = SHARES,
) -> dict[tuple[str, int], Scored]:
    """Runs on the same faces; an arm's number is how well it separates the classes.

    Args:
        rng: random numbers.
        photographs: how many.
        arms: separation of arm0, arm1, …; equal numbers are equal arms.
        seeds: runs of each arm.
        clustering: 0 for faces independent of each other; 1 for photographs whose faces share class and difficulty.
        seed_effect: standard deviation of the separation between runs.
        one_face: one face in each photograph instead of four on average.
        shares: of the classes.
    """
    sizes = np.ones(photographs, dtype=int) if one_face else np.minimum(rng.geometric(0.25, size=photographs), 20)
    images, K = np.repeat(np.arange(photographs), sizes), len(shares)
    N = len(images)

    def noise(scale: float) -> np.ndarray:
        shared = clustering * rng.normal(size=(photographs, K))[images]
        return scale * (shared + rng.normal(size=(N, K)))

    own, shared = rng.choice(K, size=N, p=shares), rng.choice(K, size=photographs, p=shares)[images]
    true = np.where(rng.random(N) < 0.5 * clustering, shared, own)
    common = np.log(shares) + noise(0.7)
    difficulty = 0.7 * clustering * rng.normal(size=photographs)[images]
    found = {}
    for number, separation in enumerate(arms):
        for seed in range(seeds):
            logits = common + noise(0.6)
            logits[np.arange(N), true] += separation + difficulty + seed_effect * rng.normal()
            found[f"arm{number}", seed] = scored_from(logits, true, images)
    return found


def runs_from(scored: dict[tuple[str, int], Scored], classes: Sequence[str] = CLASSES) -> Runs:
    """Runs that all have the same photographs."""
    first = next(iter(scored.values()))
    ids = np.array([f"i{number:05d}" for number in range(first.image_count)])
    faces = pd.DataFrame(
        {
            "face_id": np.arange(len(first.true)).astype(str),
            "seed": 0,
            "label": np.asarray(classes, dtype=object)[first.true],
            "image_id": ids[first.images],
        }
    )
    seeds = tuple(sorted({seed for _, seed in scored}))
    return Runs(
        classes=tuple(classes),
        arms=tuple(dict.fromkeys(arm for arm, _ in scored)),
        seeds=seeds,
        image_ids=pd.Index(ids),
        runs={key: Run(part, WeightedMetrics(part), np.arange(len(ids))) for key, part in scored.items()},
        faces=pd.concat([faces.assign(seed=seed) for seed in seeds], ignore_index=True),
    )


def truth(*, photographs: int = 20_000, repeats: int = 3, **options: object) -> np.ndarray:
    """(M,): the measurements of the first arm that a very large study would give, columns `weighted.metric_names`."""
    rng = np.random.default_rng(12345)
    found = []
    for _ in range(repeats):
        for part in simulated(rng, photographs, **options).values():  # type: ignore[arg-type]
            metrics = WeightedMetrics(part)
            found.append(metrics.measure(np.ones((1, metrics.images)))[0])
    return np.mean(found, axis=0)
