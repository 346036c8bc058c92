"""The dataset that tests of the audit spoil."""

import pytest

from tests.audit.dataset import Dataset


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "data").mkdir()
    return Dataset(tmp_path / "data")
