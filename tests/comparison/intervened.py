"""Intervened tables whose answers are known: what tests of curves and figures share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def rows_of(
    labels: Sequence[str], predicted: Sequence[str], images: Sequence[str], *, arm: str = "m", seed: int = 0,
    intervention: str = "none", level: float = np.nan, position: int = 0, reference: bool = False,
    changed: bool | Sequence[bool] = True, unit: str = "px",
) -> pd.DataFrame:  # fmt: skip
    """One level of `schemas.INTERVENED`; untouched by default."""
    still, count = intervention == "none", len(labels)
    flags = np.zeros(count, dtype=bool) if still else np.broadcast_to(changed, count)
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "intervention": intervention,
            "description": "untouched" if still else f"{intervention} at",
            "level": float(level),
            "unit": "" if still else unit,
            "position": position,
            "reference": reference,
            "face_id": [f"{image}#{number}" for number, image in enumerate(images)],
            "image_id": list(images),
            "label": list(labels),
            "predicted": list(predicted),
            "correct": np.array(labels, dtype=object) == np.array(predicted, dtype=object),
            "loss": 0.5,
            "changed": flags,
            "distortion": flags * 12.0,
        }
    )


def plausible(
    classes: Sequence[str],
    costs: dict[str, dict[float, float]],
    arms: dict[str, float],
    *,
    photographs: int = 60,
    seeds: Sequence[int] = (0,),
    source: int = 0,
    rarest: float = 0.05,
) -> pd.DataFrame:
    """Faces that are named rightly with chance `arms[arm]`, less by what each level costs.

    Faces of one photograph share half of their luck. The middle level of each intervention is its reference.
    """
    rng = np.random.default_rng(source)
    sizes = rng.integers(1, 8, photographs)
    images = np.repeat([f"p{i:03d}" for i in range(photographs)], sizes)
    shares = np.full(len(classes), (1 - rarest) / (len(classes) - 1))
    shares[0] = rarest
    true = rng.choice(len(classes), len(images), p=shares)
    true[: len(classes)] = np.arange(len(classes))
    names = np.array(classes, dtype=object)
    parts = []
    for arm, right in arms.items():
        for seed in seeds:
            ease = rng.random(photographs).repeat(sizes)
            luck = np.where(rng.random(len(images)) < 0.5, ease, rng.random(len(images)))
            wrong = (true + rng.integers(1, len(classes), len(images))) % len(classes)

            def level_of(chance: float, luck=luck, wrong=wrong, key=(arm, seed), **options) -> pd.DataFrame:
                named = names[np.where(luck < chance, true, wrong)]
                return rows_of(names[true], named, images, arm=key[0], seed=key[1], **options)

            parts.append(level_of(right))
            for name, levels in costs.items():
                for number, (level, cost) in enumerate(levels.items(), start=1):
                    middle = number == (len(levels) + 1) // 2
                    parts.append(
                        level_of(right - cost, intervention=name, level=level, position=number, reference=middle)
                    )
    return pd.concat(parts, ignore_index=True)
