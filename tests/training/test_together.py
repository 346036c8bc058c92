"""Two processes on a CPU (gloo) train as one does with the same batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from maskbench.models import registry
from maskbench.schemas import read_table
from maskbench.storage import read_json
from maskbench.training.history import TABLES
from tests.training.together_in_memory import KINDS, smooth, train, train_together

#: Sums are taken in another order: float32 rounds at 6e-8, and eight steps let that grow.
CLOSE = {"rtol": 2e-4, "atol": 2e-6}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """All trainings by one process, and by two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.IMPLEMENTATIONS, "smooth", smooth)
        train(one)
    said = train_together(two, 2)
    assert said[0].count("epoch 2/2") == len(KINDS)
    assert "epoch" not in said[1]  # one speaks for all
    return one, two


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_losses_and_gradients_are_those_of_one_process(folders: tuple[Path, Path], kind: str) -> None:
    one, two = (folder / kind for folder in folders)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    for name in ("epochs", "steps", "confusion", "gradients") if kind in ("full", "gradual") else ("epochs", "steps"):
        first, second = (read_table(folder / name, TABLES[name]) for folder in (one, two))
        pd.testing.assert_frame_equal(first, second, check_exact=False, **CLOSE)
    counts = [read_json(folder / "fit.json") for folder in (one, two)]
    assert counts[0]["batches_sha256"] == counts[1]["batches_sha256"]  # the same batches in the same order
    assert (counts[0]["processes"], counts[1]["processes"]) == (1, 2)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in KINDS for name in ("best", "last") if (kind, name) != ("backbone", "best")],
)
def test_weights_and_statistics_are_those_of_one_process(folders: tuple[Path, Path], kind: str, name: str) -> None:
    first, second = (load_file(folder / kind / f"{name}.safetensors") for folder in folders)
    assert first.keys() == second.keys()
    for key, values in first.items():
        np.testing.assert_allclose(second[key], values, rtol=1e-3, atol=2e-5, err_msg=key)
