"""Splits: stratified by class and grouped by photograph, or (to measure leakage) by face."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.config import SplitConfig
from maskbench.data.chains import chained
from maskbench.schemas import SPLITS
from maskbench.splits.folds import grouped_folds

#: Ways of dealing folds to the three sides that are tried; 2,000 take a few milliseconds.
DEALS = 2000


class SplitError(ValueError):
    """The faces cannot be divided as asked; the message says why and what to change."""


def photo_groups(image_ids: pd.Series, duplicates: pd.DataFrame) -> pd.Series:
    """Number the groups of photographs that must stay together.

    Near-duplicates are chained: if A resembles B and B resembles C, all three form one group.

    Args:
        image_ids: ids of the photographs, repeated ids allowed.
        duplicates: pairs (`schemas.DUPLICATES`).

    Returns:
        A series of group numbers, indexed by the ids of `image_ids` and `duplicates`.
    """
    # Photographs without faces can still link two that have some.
    unique = sorted({*image_ids, *duplicates["image_id_a"], *duplicates["image_id_b"]})
    position = {image_id: index for index, image_id in enumerate(unique)}
    pairs = zip(duplicates["image_id_a"].map(position), duplicates["image_id_b"].map(position), strict=True)
    return pd.Series(chained(pairs, len(unique)), index=pd.Index(unique, name="image_id"), name="group")


def split_faces(faces: pd.DataFrame, duplicates: pd.DataFrame, config: SplitConfig, split_id: int = 0) -> pd.DataFrame:
    """Assign every face to train, val or test.

    Args:
        faces: `schemas.FACES`.
        duplicates: `schemas.DUPLICATES`.
        config: strategy, fractions, seed.
        split_id: which of a study's splits: dealt with seed `config.seed + split_id`; under `kfold`, fold
            `split_id mod k` of the repetition whose seed is `config.seed + split_id div k`.

    Returns:
        `schemas.SPLIT`, one row per face in the order of `faces`.

    Raises:
        SplitError: too few groups, or a class is missing from the training side.
    """
    group = faces["image_id"].map(photo_groups(faces["image_id"], duplicates)).to_numpy()
    labels = faces["label"].to_numpy()
    if config.strategy == "kfold":
        seed = config.seed + split_id // config.k
        sides = _kfold_sides(labels, group, config, seed, split_id % config.k)
    else:
        seed = config.seed + split_id
        deal = _grouped_sides if config.strategy == "grouped" else _random_sides
        sides = deal(labels, group, config, seed)
    split = pd.DataFrame(
        {
            "split_id": split_id,
            "face_id": faces["face_id"].to_numpy(),
            "image_id": faces["image_id"].to_numpy(),
            "group": group,
            "label": labels,
            "split": sides,
            "strategy": config.strategy,
            "seed": seed,
        }
    )
    if empty := [side for side in SPLITS if side not in set(sides)]:
        raise SplitError(f"split: no face on the side {empty[0]}; there are {len(np.unique(group))} group(s) only")
    absent = sorted(set(labels) - set(split.loc[split["split"] == "train", "label"]))
    if absent:
        raise SplitError(f"split: no training face of class {', '.join(absent)}; it sits in too few photographs")
    return split


def _grouped_sides(
    labels: NDArray[np.object_], group: NDArray[np.int_], config: SplitConfig, seed: int
) -> NDArray[np.str_]:
    """Deal stratified, grouped folds to the three sides so that class counts come closest."""
    largest_class = int(pd.Series(labels).value_counts().max())
    folds = min(config.folds, len(np.unique(group)), largest_class)
    if folds < len(SPLITS):
        raise SplitError(f"split: {len(np.unique(group))} group(s) of photographs cannot fill three sides")
    fold_of = grouped_folds(labels, group, folds, seed)
    return np.asarray(SPLITS)[_deal_folds(fold_of, labels, config, seed)[fold_of]]


def _kfold_sides(
    labels: NDArray[np.object_], group: NDArray[np.int_], config: SplitConfig, seed: int, fold: int
) -> NDArray[np.str_]:
    """Test on one fold of k; of the other faces, hold out the configured share for validation."""
    _, val, _ = config.fractions
    inner = max(2, round((1 - 1 / config.k) / val))
    largest_class = int(pd.Series(labels).value_counts().max())
    if len(np.unique(group)) < max(config.k, inner) + 1 or largest_class < config.k:
        raise SplitError(f"split: {len(np.unique(group))} group(s) of photographs cannot fill {config.k} folds")
    sides = np.full(len(labels), "train", dtype="<U5")
    test = grouped_folds(labels, group, config.k, seed) == fold
    rest = np.flatnonzero(~test)
    sides[test] = "test"
    sides[rest[grouped_folds(labels[rest], group[rest], inner, seed) == 0]] = "val"
    return sides


def _deal_folds(
    fold_of: NDArray[np.int_], labels: NDArray[np.object_], config: SplitConfig, seed: int
) -> NDArray[np.int_]:
    """Side (0, 1, 2) of every fold.

    Of many random deals: those that leave the fewest classes without a face on some side, and of these the
    one with the smallest squared relative error of class counts.
    """
    folds = int(fold_of.max()) + 1
    # A fold may be empty where there are hardly more groups than folds.
    counts = pd.crosstab(fold_of, labels).reindex(range(folds), fill_value=0).to_numpy(dtype=float)  # (F, K)
    sizes = np.maximum(1, np.round(np.array(config.fractions) * folds)).astype(int)
    sizes[0] = folds - sizes[1:].sum()
    pattern = np.repeat(np.arange(len(SPLITS)), sizes)
    rng = np.random.default_rng(seed)
    deals = rng.permuted(np.tile(pattern, (DEALS, 1)), axis=1)  # (D, F)
    one_hot = deals[:, None, :] == np.arange(len(SPLITS))[None, :, None]  # (D, 3, F)
    got = one_hot @ counts  # (D, 3, K)
    wanted = np.outer(config.fractions, counts.sum(axis=0))  # (3, K)
    error = (((got - wanted) / np.maximum(wanted, 1)) ** 2).sum(axis=(1, 2))
    absent = ((got == 0) & (counts.sum(axis=0) > 0)).sum(axis=(1, 2))
    return np.asarray(deals[np.lexsort((error, absent))[0]])


def _random_sides(
    labels: NDArray[np.object_], group: NDArray[np.int_], config: SplitConfig, seed: int
) -> NDArray[np.str_]:
    """Stratified split of faces that ignores photographs: the leaky protocol, on purpose."""
    from sklearn.model_selection import train_test_split  # half of what the command would import, for this alone

    indices = np.arange(len(labels))
    _, val, test = config.fractions
    try:
        kept, test_indices = train_test_split(indices, test_size=test, stratify=labels, random_state=seed)
        _, val_indices = train_test_split(kept, test_size=val / (1 - test), stratify=labels[kept], random_state=seed)
    except ValueError as error:
        raise SplitError(f"split: faces cannot be divided at random ({error})") from error
    sides = np.full(len(labels), "train", dtype="<U5")
    sides[val_indices] = "val"
    sides[test_indices] = "test"
    return sides


def split_proportions(split: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Faces, photographs and class shares per side.

    Args:
        split: `schemas.SPLIT`.
        classes: class order.

    Returns:
        One row per split, side and class: `split_id`, `split`, `label`, `faces`, `share` (of the side's faces),
        `share_overall` (of all faces of this class, how many sit on this side), `photographs`.
    """
    rows = []
    for side in SPLITS:
        part = split[split["split"] == side]
        for label in classes:
            count = int((part["label"] == label).sum())
            total = int((split["label"] == label).sum())
            rows.append(
                {
                    "split": side,
                    "label": label,
                    "faces": count,
                    "share": count / len(part) if len(part) else float("nan"),
                    "share_overall": count / total if total else float("nan"),
                    "photographs": int(part.loc[part["label"] == label, "image_id"].nunique()),
                }
            )
    return pd.DataFrame(rows)
