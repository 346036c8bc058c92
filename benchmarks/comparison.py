"""The comparison of ten runs, part by part, against its budget of 60 s on two cores.

Usage: python benchmarks/comparison.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from maskbench.comparison.arms import compare_arms
from maskbench.comparison.factors import explain_errors
from maskbench.config import CompareConfig
from maskbench.stages.compare import compare_predictions

ARMS, SEEDS, PHOTOGRAPHS, FACES, BUDGET = ("a", "b"), range(5), 130, 610, 60.0
CLASSES, SHARES = ("incorrect", "with", "without"), (0.03, 0.79, 0.18)


def main() -> None:
    """Measure and print seconds, and their share of the budget."""
    predictions, properties = plausible()
    config = CompareConfig()
    parts: dict[str, Callable[[], object]] = {
        "arms and tests": lambda: compare_arms(predictions, CLASSES, resamples=config.resamples),
        "arms, tests, calibration": lambda: compare_predictions(predictions, CLASSES, config, 0),
        "factors": lambda: explain_errors(predictions, properties),
    }
    total = 0.0
    for name, work in parts.items():
        started = time.perf_counter()
        work()
        taken = time.perf_counter() - started
        total += taken if name != "arms and tests" else 0.0
        print(f"{name}: {taken:.1f} s, {taken / BUDGET:.0%} of the budget")
    print(f"all of {len(ARMS) * len(SEEDS)} runs with {FACES} test faces: {total:.1f} s, {total / BUDGET:.0%}")


def plausible() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of all runs on validation and test faces, and twelve properties of the test faces."""
    rng = np.random.default_rng(0)
    faces = {side: rng.integers(0, PHOTOGRAPHS, FACES) for side in ("val", "test")}
    true = {side: rng.choice(len(CLASSES), size=FACES, p=SHARES) for side in faces}
    hard = {side: rng.normal(size=FACES) for side in faces}
    tables = [
        run(arm, seed, side, faces[side], true[side], hard[side], rng)
        for seed in SEEDS for arm in ARMS for side in faces
    ]  # fmt: skip
    test = tables[1][["face_id", "image_id"]].reset_index(drop=True)
    columns = {f"property_{n}": hard["test"] * (n == 0) + rng.normal(size=FACES) for n in range(12)}
    return pd.concat(tables, ignore_index=True), pd.concat([test, pd.DataFrame(columns)], axis=1)


def run(
    arm: str, seed: int, side: str, photographs: np.ndarray, true: np.ndarray, hard: np.ndarray,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """One run on one side: right in about 95 of 100."""
    logits = rng.normal(size=(len(true), len(CLASSES))) + (4.2 - hard)[:, None] * np.eye(len(CLASSES))[true]
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    names, predicted = np.array(CLASSES), logits.argmax(axis=1)
    rows = np.arange(len(true))
    table = pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "split": side,
            "face_id": [f"{side}{row}" for row in rows],
            "image_id": [f"{side}-photo{number}" for number in photographs],
            "label": names[true],
            "predicted": names[predicted],
            "correct": predicted == true,
            "loss": -log_probs[rows, true],
        }
    )
    table[[f"prob_{name}" for name in CLASSES]] = np.exp(log_probs)
    table[[f"logit_{name}" for name in CLASSES]] = logits
    return table


if __name__ == "__main__":
    main()
