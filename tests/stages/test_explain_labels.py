"""Labels are doubted by a classifier that has seen neither the photograph nor a copy of it."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison import label_errors
from maskbench.stages import explain
from maskbench.stages.context import Context
from maskbench.stages.inside import Study


def test_copies_of_a_photograph_are_held_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, count = np.random.default_rng(0), 24
    ids = [f"i{k}" for k in range(count)]
    faces = pd.DataFrame({"face_id": [f"{name}#000" for name in ids], "image_id": ids})
    faces[["xmin", "ymin", "xmax", "ymax"]] = 0.0, 0.0, 9.0, 9.0
    faces["label"] = np.where(np.arange(count) % 2, "bare", "masked")
    pairs = pd.DataFrame({"image_id_a": ids[:6], "image_id_b": ids[18:], "distance": 0, "exact": True})
    tables = {"images": pd.DataFrame({"image_id": ids, "file": ids}), "duplicates": pairs}
    config = SimpleNamespace(
        explain=SimpleNamespace(folds=4), split=SimpleNamespace(seed=0), seeds=SimpleNamespace(numbers=lambda: (1,))
    )
    context = SimpleNamespace(config=config, classes=lambda: ("bare", "masked"),
                              table=lambda stage, name, schema: tables[name])  # fmt: skip
    seen: list[Any] = []

    def kept(*arguments: Any, **options: Any) -> label_errors.HeldOut:
        seen.append(held_out(*arguments, **options))
        return cast(label_errors.HeldOut, seen[-1])

    held_out = label_errors.held_out_probabilities
    monkeypatch.setattr(label_errors, "held_out_probabilities", kept)
    monkeypatch.setattr(explain, "initial_features", lambda study: rng.normal(size=(count, 3)))
    monkeypatch.setattr(explain, "split_of_run", lambda context, seed: pd.DataFrame({"split": ["train"] * count}))
    explain._labels(cast(Context, context), cast(Study, SimpleNamespace(faces=faces)))
    folds = seen[0].folds
    assert len(set(folds)) == 4
    assert list(folds[:6]) == list(folds[18:])
