"""Predictions whose errors follow known properties, clustered by photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

#: Log odds per standard deviation: strong, and absent.
STRONG = {"size": -1.3, "blur": 1.1}
ABSENT = ("light", "place", "age", "flag")


def clustered_faces(photographs: int, rng: np.random.Generator, most: int = 12) -> np.ndarray:
    """(N,) photograph of each face; 1 to `most` faces in each, many with few."""
    sizes = np.clip(np.rint(rng.lognormal(1.0, 0.8, photographs)).astype(int), 1, most)
    return np.repeat(np.arange(photographs), sizes)


def simulated_properties(photographs: int = 150, seed: int = 0) -> pd.DataFrame:
    """Properties that faces of one photograph partly share."""
    rng = np.random.default_rng(seed)
    photo = clustered_faces(photographs, rng)
    n = len(photo)

    def shared() -> np.ndarray:
        return np.sqrt(0.4) * rng.normal(size=photographs)[photo] + np.sqrt(0.6) * rng.normal(size=n)

    size, blur, light = shared(), shared(), shared()
    numbers = pd.Series(photo).groupby(photo).cumcount()
    return pd.DataFrame(
        {
            "face_id": [f"p{p:04d}#{k:03d}" for p, k in zip(photo, numbers, strict=True)],
            "image_id": [f"p{p:04d}" for p in photo],
            "size": np.exp(3 + 0.7 * size),
            "blur": blur,
            "light": 0.6 * light + 0.4 * size,  # goes with size, and has no effect of its own
            "place": rng.uniform(size=n),
            "age": shared(),
            "flag": rng.random(n) < 0.3,
        }
    )


def simulated_predictions(
    properties: pd.DataFrame,
    effects: Mapping[str, float],
    *,
    arms: Sequence[str] = ("one", "two words"),
    seeds: Sequence[int] = (0,),
    base: float = -1.6,
    between: float = 0.7,
    source: int = 1,
    split: str = "test",
) -> pd.DataFrame:
    """Each run errs with log odds `base` + Σ effect · standardised property + a share of the photograph's."""
    rng = np.random.default_rng(source)
    codes = pd.factorize(properties["image_id"])[0]
    linear = np.full(len(properties), base)
    for name, effect in effects.items():
        values = properties[name].to_numpy(dtype=float)
        values = np.log(values) if name == "size" else values
        linear += effect * (values - values.mean()) / values.std()
    linear += between * rng.normal(size=codes.max() + 1)[codes]
    parts = []
    for arm in arms:
        for seed in seeds:
            wrong = rng.random(len(linear)) < 1 / (1 + np.exp(-linear))
            parts.append(
                pd.DataFrame(
                    {
                        "arm": arm,
                        "seed": seed,
                        "split": split,
                        "face_id": properties["face_id"],
                        "image_id": properties["image_id"],
                        "label": "a class",
                        "predicted": np.where(wrong, "Größe 2", "a class"),
                        "correct": ~wrong,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
