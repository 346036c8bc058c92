"""Interventions on the training faces: nested, by whole groups, at equal size; other sides untouched."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench import schemas
from maskbench.config import SplitConfig, TrainingSetConfig
from maskbench.schemas.interventions import TRAINING_FACES
from maskbench.splits.grouped import SplitError, split_faces
from maskbench.splits.subsets import (
    balanced_uses,
    describe_training_faces,
    fraction_of_groups,
    noisy_labels,
    training_faces,
)
from tests.conftest import faces_table

CLASSES = ("rare", "sí, con", "7")


def dealt(photographs: int = 240, seed: int = 0) -> pd.DataFrame:
    """A split of photographs with 1…9 faces; some of them near-duplicates."""
    rng = np.random.default_rng(seed)
    images = np.repeat([f"p{i:03d}" for i in range(photographs)], rng.integers(1, 10, photographs)).tolist()
    labels = rng.choice(CLASSES, len(images), p=[0.03, 0.78, 0.19]).tolist()
    twins = pd.DataFrame({"image_id_a": ["p000", "p007"], "image_id_b": ["p001", "p008"]})
    return split_faces(faces_table(labels, images), twins, SplitConfig())


def used(split: pd.DataFrame, seed: int = 0, **config) -> pd.DataFrame:
    return training_faces(split, CLASSES, TrainingSetConfig(**config), seed)


SPLIT = dealt()
TRAIN = SPLIT[SPLIT["split"] == "train"]


def test_by_default_the_training_side_is_used_as_it_is() -> None:
    table = used(SPLIT)
    schemas.validate(table, TRAINING_FACES)
    assert table["row"].tolist() == np.flatnonzero(SPLIT["split"] == "train").tolist()
    assert table["face_id"].tolist() == TRAIN["face_id"].tolist()
    assert table["label"].tolist() == table["true_label"].tolist() == TRAIN["label"].tolist()
    assert (table["copy"] == 0).all()


def test_fractions_are_nested_whole_groups_of_the_right_size_and_shares() -> None:
    largest = TRAIN["group"].value_counts().max()
    before: set[str] = set()
    for fraction in (0.05, 0.1, 0.25, 0.5, 1.0):
        table = used(SPLIT, fraction=fraction)
        faces = set(table["face_id"])
        assert before <= faces and len(faces) == len(table)
        before = faces
        assert abs(len(table) - fraction * len(TRAIN)) <= largest / 2
        whole = TRAIN[TRAIN["group"].isin(set(table["group"]))]
        assert set(whole["face_id"]) == faces  # no group is taken in part
        assert set(table["label"]) == set(CLASSES)
        shares = table["label"].value_counts(normalize=True) - TRAIN["label"].value_counts(normalize=True)
        # a tenth is about 84 faces: shares of a random tenth would stray by √(0.78·0.22/84) = 4.5 points
        assert fraction < 0.1 or shares.abs().max() < 0.03
    assert before == set(TRAIN["face_id"])


def test_other_seeds_take_other_faces_and_the_same_seed_the_same() -> None:
    first, again, other = (used(SPLIT, seed=seed, fraction=0.1) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert len(set(first["face_id"]) & set(other["face_id"])) < 0.5 * len(first)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 1), st.floats(0.01, 1))
def test_any_two_fractions_are_nested_and_hold_every_class(seed: int, a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 15, 60)
    labels = rng.choice(np.array(["a", "b", "c"], dtype=object), 60, p=[0.9, 0.08, 0.02])
    small, large = (set(fraction_of_groups(group, labels, f, seed).tolist()) for f in sorted((a, b)))
    assert small <= large
    assert set(labels[list(small)]) == set(labels)
    assert not set(group[list(small)]) & set(group[sorted(set(range(60)) - small)])


def test_a_class_in_one_photograph_is_kept_at_any_fraction() -> None:
    group = np.arange(100)
    labels = np.array(["a"] * 99 + ["b"], dtype=object)
    for seed in range(5):
        assert 99 in fraction_of_groups(group, labels, 0.01, seed)


def test_sides_and_groups_stay_apart() -> None:
    for config in ({"fraction": 0.3}, {"balance": 1.0}, {"balance": 1.0, "repeat": True}, {"label_noise": 0.5}):
        table = used(SPLIT, **config)
        assert set(table["row"]) <= set(np.flatnonzero(SPLIT["split"] == "train"))
        held_out = SPLIT[SPLIT["split"] != "train"]
        assert not set(table["group"]) & set(held_out["group"])
    pd.testing.assert_frame_equal(SPLIT, dealt())  # the split itself is not altered


def test_noise_is_of_its_size_nested_and_never_the_true_class() -> None:
    labels = np.array(["rare"] * 200 + ["sí, con"] * 500 + ["7"] * 300, dtype=object)
    before = np.zeros(1000, dtype=bool)
    for share in (0.0, 0.1, 0.3, 1.0):
        noisy = noisy_labels(labels, CLASSES, share, seed=0)
        wrong = noisy != labels
        assert wrong.sum() == round(1000 * share) and (wrong | ~before).all()
        before = wrong
    # of the 500, each other class gets half: 250 ± 3·√(500/4) ≈ ± 34
    assert abs((noisy[200:700] == "rare").sum() - 250) < 34
    assert labels.tolist() == ["rare"] * 200 + ["sí, con"] * 500 + ["7"] * 300
    with pytest.raises(ValueError, match="'x' is none of the classes"):
        noisy_labels(np.array(["x"], dtype=object), CLASSES, 0.5, 0)


def test_two_classes_swap_under_noise() -> None:
    labels = np.array(["a", "b"] * 10, dtype=object)
    assert noisy_labels(labels, ("a", "b"), 1.0, 0).tolist() == ["b", "a"] * 10


@pytest.mark.parametrize("seed", [0, 1])
def test_balance_by_hand(seed: int) -> None:
    labels = np.array(["a"] * 70 + ["b"] * 20 + ["c"] * 10, dtype=object)
    expected = {
        # total 3 · 10 = 30: natural shares are 21, 6, 3; equal ones 10 each; half way 15.5, 8, 6.5
        False: {0.0: [21, 6, 3], 0.5: [16, 8, 6], 1.0: [10, 10, 10]},
        # total 100: 70, 20, 10 to 33.3 each; half way 51.7, 26.7, 21.7
        True: {0.0: [70, 20, 10], 0.5: [52, 26, 22], 1.0: [34, 33, 33]},
    }
    for repeat, levels in expected.items():
        before: np.ndarray | None = None
        for balance, wanted in levels.items():
            uses = balanced_uses(labels, balance, seed, total=len(labels) if repeat else None)
            counts = [int((labels[uses] == name).sum()) for name in "abc"]
            assert sum(counts) == (100 if repeat else 30)
            assert np.abs(np.array(counts) - wanted).max() <= 1
            assert repeat or len(set(uses)) == 30  # every face once
            if repeat:  # every face of a class about equally often
                times = pd.Series(uses[labels[uses] == "c"]).value_counts()
                assert times.max() - times.min() <= 1
            if before is not None:  # a growing class keeps its faces, a shrinking one loses some
                assert set(before[labels[before] == "c"]) <= set(uses[labels[uses] == "c"])
                assert set(uses[labels[uses] == "a"]) <= set(before[labels[before] == "a"])
            before = uses


def test_a_class_too_rare_for_its_share_keeps_a_face() -> None:
    labels = np.array(["a"] * 500 + ["b"] + ["c"], dtype=object)
    # three faces in all; natural shares of 2.99, 0.006 and 0.006 would leave none of b and c
    assert sorted(labels[balanced_uses(labels, 0.0, 0)]) == ["a", "b", "c"]


def test_a_fraction_is_repeated_to_the_length_of_all_faces() -> None:
    whole, part = used(SPLIT), used(SPLIT, fraction=0.1)
    again = used(SPLIT, fraction=0.1, repeat=True)
    assert len(again) == len(whole)
    assert set(again["face_id"]) == set(part["face_id"])
    counts = again["face_id"].value_counts()
    assert counts.max() - counts.min() <= 1
    assert describe_training_faces(again, CLASSES)["faces"] == len(part)
    balanced = used(SPLIT, fraction=0.5, balance=1.0, repeat=True)
    assert len(balanced) == len(whole)
    assert set(balanced["face_id"]) <= set(used(SPLIT, fraction=0.5)["face_id"])


def test_repeated_faces_are_numbered_and_counted() -> None:
    table = used(SPLIT, balance=1.0, repeat=True, label_noise=0.2)
    schemas.validate(table, TRAINING_FACES)
    assert len(table) == len(TRAIN)
    per_face = table.groupby("row")
    assert (per_face["copy"].max() + 1 == per_face.size()).all()
    assert (per_face["label"].nunique() == 1).all()  # a wrong label is wrong every time
    said = describe_training_faces(table, CLASSES)
    assert said["uses"] == len(TRAIN) and said["faces"] == table["row"].nunique()
    assert said["relabelled"] == table[table["label"] != table["true_label"]]["row"].nunique() > 0
    assert max(said["uses_by_class"].values()) - min(said["uses_by_class"].values()) <= 1


def test_too_few_faces_are_refused() -> None:
    alone = pd.DataFrame({"face_id": ["f", "g"], "group": [0, 1], "label": ["rare", "7"], "split": ["train", "test"]})
    with pytest.raises(SplitError, match="two are needed"):
        training_faces(alone, CLASSES, TrainingSetConfig(label_noise=0.5), 0)
    with pytest.raises(SplitError, match="no training face"):
        training_faces(alone.iloc[1:], CLASSES, TrainingSetConfig(), 0)
