"""Predictions tables that evaluation tests and report tests share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def predictions_from(
    logits: np.ndarray,
    labels: Sequence[str],
    classes: Sequence[str],
    images: Sequence[str],
    *,
    arm: str = "arm",
    seed: int = 0,
    split: str = "test",
) -> pd.DataFrame:
    """A predictions table for given logits (N, K), labels (N,) and photographs (N,)."""
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    targets = np.array([list(classes).index(label) for label in labels], dtype=int)
    predicted = np.asarray(classes, dtype=object)[logits.argmax(axis=1)]
    count = len(labels)
    numbers = pd.Series(images).groupby(pd.Series(images)).cumcount()
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "split": split,
            "face_id": [f"{image}#{number:03d}" for image, number in zip(images, numbers, strict=True)],
            "image_id": list(images),
            "label": list(labels),
            "predicted": predicted,
            "correct": np.asarray(labels, dtype=object) == predicted,
            "loss": np.abs(log_probs[np.arange(count), targets]),
            **{f"prob_{name}": np.exp(log_probs[:, k]) for k, name in enumerate(classes)},
            **{f"logit_{name}": logits[:, k] for k, name in enumerate(classes)},
            "box_width": 20.0,
            "box_height": 22.0,
            "box_area": 440.0,
            "box_aspect": 0.91,
            "box_share": 0.05,
            "centre_x": 0.5,
            "centre_y": 0.5,
            "at_border": False,
            "faces_in_image": 3,
            "image_brightness": 120.0,
            "image_contrast": 40.0,
            "image_sharpness": 300.0,
        }
    )


def plausible_predictions(
    classes: Sequence[str],
    shares: Sequence[float],
    *,
    faces: int = 620,
    arms: dict[str, float] | None = None,
    seeds: Sequence[int] = (0,),
    splits: Sequence[str] = ("test",),
    source: int = 0,
) -> pd.DataFrame:
    """Arms that see the same faces; an arm's number is how well it separates the classes."""
    rng = np.random.default_rng(source)
    parts = []
    for split in splits:
        labels = [str(name) for name in rng.choice(classes, size=faces, p=shares)]
        labels[: len(classes)] = list(classes)  # every class has a face
        images = sorted(f"{split}{number:03d}" for number in rng.integers(0, max(2, faces // 5), size=faces))
        targets = np.array([list(classes).index(label) for label in labels])
        common = rng.normal(size=(faces, len(classes)))
        for arm, separation in (arms or {"arm": 2.5}).items():
            for seed in seeds:
                own = rng.normal(size=(faces, len(classes)))
                logits = common + 0.6 * own + np.log(np.asarray(shares))
                logits[np.arange(faces), targets] += separation
                parts.append(predictions_from(logits, labels, classes, images, arm=arm, seed=seed, split=split))
    return pd.concat(parts, ignore_index=True)
