"""Training sets made smaller, more balanced or wrong on purpose."""

import numpy as np
import pandas as pd
import pytest

from maskbench.config import SplitConfig, TrainingSetConfig
from maskbench.splits.grouped import split_faces
from maskbench.splits.subsets import LEFT_OUT, training_set
from tests.conftest import faces_table

CLASSES = ("a", "b", "c")


@pytest.fixture
def split() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    images = np.repeat([f"p{i:03d}" for i in range(200)], rng.integers(1, 8, 200)).tolist()
    faces = faces_table(rng.choice(CLASSES, len(images), p=[0.8, 0.15, 0.05]).tolist(), images)
    duplicates = pd.DataFrame({"image_id_a": ["p000", "p010"], "image_id_b": ["p001", "p011"]})
    return split_faces(faces, duplicates, SplitConfig())


def altered(split: pd.DataFrame, seed: int = 0, **settings: float) -> pd.DataFrame:
    before = split.copy()
    found = training_set(split, CLASSES, TrainingSetConfig(**settings), seed)
    pd.testing.assert_frame_equal(split, before)
    for side in ("val", "test"):
        pd.testing.assert_frame_equal(found[found["split"] == side], split[split["split"] == side])
    return found


def kept(split: pd.DataFrame) -> set[str]:
    return set(split.loc[split["split"] == "train", "face_id"])


def test_defaults_change_nothing(split: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(altered(split), split)


def test_shares_are_nested_whole_groups_with_every_class(split: pd.DataFrame) -> None:
    everything, larger = kept(split), kept(split)
    for share in (0.5, 0.25, 0.1, 0.05):
        found = altered(split, fraction=share)
        smaller = kept(found)
        assert smaller < larger
        # whole groups are taken, so the share is met to within a few photographs
        assert len(smaller) == pytest.approx(share * len(everything), abs=0.05 * len(everything))
        train = found[found["split"] == "train"]
        assert set(train["label"]) == set(CLASSES)
        assert not set(train["group"]) & set(found.loc[found["split"] == LEFT_OUT, "group"])
        larger = smaller
    assert kept(altered(split, seed=1, fraction=0.5)) != kept(altered(split, seed=0, fraction=0.5))


def test_a_class_that_never_comes_alone_is_kept() -> None:
    # Every photograph with "a" also has the rarer "b": only strata of "b" exist for it.
    faces = faces_table(["a", "a", "b"] * 20, [f"p{i}" for i in range(20) for _ in range(3)])
    split = split_faces(faces, pd.DataFrame({"image_id_a": [], "image_id_b": []}, dtype=object), SplitConfig())
    train = training_set(split, ("a", "b"), TrainingSetConfig(fraction=0.05), 0)
    assert set(train.loc[train["split"] == "train", "label"]) == {"a", "b"}


def test_balance_goes_from_natural_to_equal_at_one_size(split: pd.DataFrame) -> None:
    natural = split.loc[split["split"] == "train", "label"].value_counts()
    size = 3 * natural.min()
    shares = []
    for balance in (0.0, 0.5, 1.0):
        found = altered(split, balance=balance)
        counts = found.loc[found["split"] == "train", "label"].value_counts()
        assert counts.sum() == size
        shares.append(counts / size)
    np.testing.assert_allclose(shares[0][list(CLASSES)], natural[list(CLASSES)] / natural.sum(), atol=1 / size)
    np.testing.assert_allclose(shares[2], 1 / 3)
    np.testing.assert_allclose(shares[1]["c"], (shares[0]["c"] + shares[2]["c"]) / 2, atol=1 / size)


def test_wrong_labels_are_a_nested_share_of_the_training_labels(split: pd.DataFrame) -> None:
    train = split["split"] == "train"
    wrong = []
    for noise in (0.1, 0.4):
        found = altered(split, label_noise=noise)
        changed = found["label"] != split["label"]
        assert changed.sum() == round(noise * train.sum()) and not changed[~train].any()
        wrong.append(set(split.loc[changed, "face_id"]))
    assert wrong[0] < wrong[1]
    # another class, uniformly: about half of the wrong "a" become "b" (480 · 0.4 ≈ 190 draws: ± 4 σ = ± 0.15)
    of_a = found.loc[changed & (split["label"] == "a"), "label"]
    assert (of_a == "b").mean() == pytest.approx(0.5, abs=0.15)
