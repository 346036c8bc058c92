"""Tables and faces that tests share; nothing here reads the real dataset or the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.browser import browser, open_page  # noqa: F401  (fixtures)

# Two test processes on two cores: more threads each only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep tests out of the user's cache, and share one between the tests of a process."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("MASKBENCH_CACHE", str(base / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(base / "torch"))
    yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The modules that take longest go first, so that test processes end together."""
    longest = ("test_study.py", "test_commands.py", "test_engines.py", "test_study_detect.py")
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


def faces_table(labels: list[str], image_ids: list[str], side: float = 20.0) -> pd.DataFrame:
    """A faces table with one box of `side` px per label, all at one place of a 100 × 80 photograph."""
    count = len(labels)
    numbers = pd.Series(image_ids).groupby(pd.Series(image_ids)).cumcount()
    return pd.DataFrame(
        {
            "face_id": [f"{image}#{number:03d}" for image, number in zip(image_ids, numbers, strict=True)],
            "image_id": image_ids,
            "label": labels,
            "source_label": labels,
            "xmin": 10.0,
            "ymin": 10.0,
            "xmax": 10.0 + side,
            "ymax": 10.0 + side,
            "image_width": 100,
            "image_height": 80,
            "clipped": False,
            "pose": "",
            "truncated": False,
            "occluded": False,
            "difficult": False,
        },
        index=range(count),
    )


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


REAL = Path(__file__).parents[1].parent / "shared" / "data" / "face-mask-detection"


@pytest.fixture
def real_dataset() -> Path:
    """The real dataset, where it lies beside the checkout."""
    if not (REAL / "images").is_dir():
        pytest.skip("the real dataset is not beside this checkout (shared/data/face-mask-detection)")
    return REAL
