"""Which maps the explain stage keeps for its figures."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd

from maskbench.stages.inside import Look
from maskbench.stages.pictures import kept_maps


def test_a_hard_face_of_a_later_run_keeps_the_map_of_the_first_run_that_tested_it() -> None:
    looks = [
        _look("a", 1, {"x": 1, "y": 2}),
        _look("b", 1, {"x": 3, "y": 4}),
        _look("a", 2, {"y": 5, "z": 6, "w": 7}),
        _look("b", 2, {"y": 8, "z": 9, "w": 10}),
        _look("a", 3, {"z": 11}),
        _look("b", 3, {"z": 12}),
    ]
    maps, ids = kept_maps(looks, {"z", "y"})
    assert ids == ["x", "y", "z"]
    assert maps["a"][:, 0, 0].tolist() == [1, 2, 6]
    assert maps["b"][:, 0, 0].tolist() == [3, 4, 9]
    assert maps["a"].shape == (3, 4, 4)
    assert maps["a"].dtype == np.float16


def _look(arm: str, seed: int, values: dict[str, float]) -> Look:
    maps = np.stack([np.full((4, 4), value, dtype=np.float32) for value in values.values()])
    faces = pd.DataFrame({"face_id": list(values)})
    return cast(Look, SimpleNamespace(arm=arm, seed=seed, maps=maps, faces=faces))
