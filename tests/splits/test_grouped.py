import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench import schemas
from maskbench.config import SplitConfig
from maskbench.splits.folds import grouped_folds
from maskbench.splits.grouped import SplitError, photo_groups, split_faces, split_proportions
from maskbench.splits.leakage import is_leak_free, measure_leakage
from tests.conftest import faces_table


def pairs(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"image_id_a": [n[0] for n in names], "image_id_b": [n[1] for n in names]}, dtype=object)


def test_near_duplicates_are_chained_into_groups() -> None:
    groups = photo_groups(pd.Series(list("abcdea")), pairs("ab", "bc", "xz"))
    # a–b–c are linked through b; d and e stand alone; x and z are not in the study.
    assert groups["a"] == groups["b"] == groups["c"]
    assert len({groups["a"], groups["d"], groups["e"]}) == 3


@st.composite
def studies(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    photographs = draw(st.integers(12, 60))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, photographs)
    images = np.repeat([f"p{i:03d}" for i in range(photographs)], counts).tolist()
    labels = rng.choice(["a", "b", "c"], len(images), p=[0.7, 0.2, 0.1]).tolist()
    labels[:6] = ["a", "b", "c", "a", "b", "c"]
    linked = rng.choice(sorted(set(images)), (draw(st.integers(0, 5)), 2))
    return faces_table(labels, images), pairs(*[tuple(row) for row in linked]), seed


@settings(max_examples=40, deadline=None)
@given(studies())
def test_no_group_ever_sits_on_two_sides(study: tuple[pd.DataFrame, pd.DataFrame, int]) -> None:
    faces, duplicates, seed = study
    try:
        split = split_faces(faces, duplicates, SplitConfig(seed=seed))
    except SplitError as error:
        assert "no training face" in str(error)  # a rare class may sit in one group only
        return
    schemas.validate(split, schemas.SPLIT)
    assert list(split["face_id"]) == list(faces["face_id"])
    assert is_leak_free(split)
    assert set(split["split"]) == {"train", "val", "test"}
    sides = split.set_index("image_id")["split"].groupby(level=0).first()
    for a, b in zip(duplicates["image_id_a"], duplicates["image_id_b"], strict=True):
        assert sides[a] == sides[b]


@pytest.mark.parametrize("seed", [23, 233, 290, 639])
def test_an_empty_fold_is_no_hole(seed: int) -> None:
    """With hardly more groups than folds one may stay empty, scikit-learn's too."""
    rng = np.random.default_rng(seed)
    images = np.repeat([f"p{i:02d}" for i in range(17)], rng.integers(1, 6, 17)).tolist()
    labels = rng.choice(["a", "b", "c"], len(images), p=[0.7, 0.2, 0.1]).tolist()
    faces = faces_table(["a", "b", "c", "a", "b", "c", *labels[6:]], images)
    fold_of = grouped_folds(faces["label"].to_numpy(), faces["image_id"].to_numpy(), 17, seed)
    assert len(np.unique(fold_of)) < 17 == fold_of.max() + 1
    split = split_faces(faces, pairs(), SplitConfig(seed=seed))
    assert is_leak_free(split) and set(split["split"]) == {"train", "val", "test"}


def crowd(rng: np.random.Generator) -> pd.DataFrame:
    images = np.repeat([f"p{i:03d}" for i in range(300)], rng.integers(1, 10, 300)).tolist()
    return faces_table(rng.choice(["a", "b", "c"], len(images), p=[0.79, 0.18, 0.03]).tolist(), images)


def test_class_shares_come_close_to_the_wanted_ones(rng: np.random.Generator) -> None:
    proportions = split_proportions(split_faces(crowd(rng), pairs(), SplitConfig()), ("a", "b", "c"))
    wanted = proportions["split"].map({"train": 0.70, "val": 0.15, "test": 0.15})
    # the rare class has about 45 faces: one face is 2 points
    assert (proportions["share_overall"] - wanted).abs().max() < 0.03
    assert proportions.groupby("split")["share"].sum().to_numpy() == pytest.approx([1, 1, 1])


def test_same_seed_same_split_other_seed_another(rng: np.random.Generator) -> None:
    faces = crowd(rng)
    first, again, other = (split_faces(faces, pairs(), SplitConfig(seed=s)) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["split"] != other["split"]).any()


def test_random_splits_leak_and_that_is_measured(rng: np.random.Generator) -> None:
    split = split_faces(crowd(rng), pairs(), SplitConfig(strategy="random"))
    leakage = measure_leakage(split).set_index(["side_a", "side_b"])
    assert not is_leak_free(split)
    assert leakage.loc[("train", "test"), "exposed_faces"] > 100
    assert (leakage["shared_faces"] == 0).all()


def test_leakage_counts_by_hand() -> None:
    split = pd.DataFrame(
        {"face_id": list("abcd"), "image_id": ["p", "p", "q", "r"], "group": [0, 0, 1, 1],
         "split": ["train", "test", "test", "val"]}
    )  # fmt: skip
    table = measure_leakage(split).set_index(["side_a", "side_b"])
    # train has photograph p (group 0), test has p and q (groups 0, 1), val has r (group 1)
    assert table.loc[("train", "test")].to_dict() == {
        "shared_faces": 0, "shared_photographs": 1, "shared_groups": 1, "exposed_faces": 1,
    }  # fmt: skip
    assert table.loc[("val", "test"), "shared_groups"] == 1
    assert table.loc[("train", "val"), "shared_groups"] == 0


def test_too_few_photographs_are_refused() -> None:
    with pytest.raises(SplitError, match="cannot fill three sides"):
        split_faces(faces_table(["a", "b", "a"], ["p", "p", "q"]), pairs(), SplitConfig())
