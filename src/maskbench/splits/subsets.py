"""Training sets made smaller, more balanced or wrong on purpose: what a study trains with, never what it tests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.config import TrainingSetConfig

#: Stands in the column `split` for training faces that a study leaves out.
LEFT_OUT = "left out"


def training_set(split: pd.DataFrame, classes: Sequence[str], config: TrainingSetConfig, seed: int) -> pd.DataFrame:
    """The split with the training side altered; validation and test stay as they are.

    Args:
        split: one split of `schemas.SPLIT`.
        classes: class order.
        config: share, balance and label noise, applied in this order.
        seed: of what is drawn; the draws of one seed are nested (a smaller share, and a smaller share of wrong
            labels, are part of a larger one).

    Returns:
        A copy in which training faces that are left out have `LEFT_OUT` in `split`, and wrong labels stand in
        `label` of training faces.
    """
    found = split.copy()
    if config.fraction < 1:
        found = _fraction(found, config.fraction, seed)
    if config.balance is not None:
        found = _balanced(found, classes, config.balance, seed)
    if config.label_noise > 0:
        found = _mislabelled(found, classes, config.label_noise, seed)
    return found


def _fraction(split: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """A share of the training photographs, by whole groups, stratified by the rarest class of each."""
    train = split[split["split"] == "train"]
    frequency = train["label"].value_counts()
    groups = np.sort(train["group"].unique())
    rank = pd.Series(np.random.default_rng([seed, 1]).permutation(len(groups)), index=groups)
    rarest = (
        train.assign(frequency=train["label"].map(frequency))
        .sort_values(["frequency", "label"], kind="stable")
        .groupby("group")["label"]
        .first()
    )
    kept: set[int] = set()
    for members in rarest.groupby(rarest).groups.values():
        ordered = sorted(members, key=lambda group: int(rank[group]))
        kept.update(ordered[: max(1, round(fraction * len(ordered)))])
    for label in frequency.index:  # a class may only ever come along with rarer ones
        holders = train.loc[train["label"] == label, "group"].unique()
        kept.add(min(holders, key=lambda group: int(rank[group])))
    return _without(split, train.index[~train["group"].isin(kept)])


def _balanced(split: pd.DataFrame, classes: Sequence[str], balance: float, seed: int) -> pd.DataFrame:
    """Faces drawn class by class, K times as many as the rarest class has, whatever the balance.

    That is the largest size at which the classes can be equal without showing a face twice, so that natural and
    balanced sets of equal size differ in nothing but the shares of the classes.
    """
    train = split[split["split"] == "train"]
    counts = np.array([(train["label"] == name).sum() for name in classes], dtype=float)
    counts = np.where(counts > 0, counts, np.nan)
    known = ~np.isnan(counts)
    size = known.sum() * np.nanmin(counts)
    natural, equal = np.nan_to_num(counts / np.nansum(counts)), known / known.sum()
    wanted = _rounded(size * ((1 - balance) * natural + balance * equal))
    rng = np.random.default_rng([seed, 2])
    order = train.index[rng.permutation(len(train))]
    labels = train["label"].loc[order]
    kept = [index for name, count in zip(classes, wanted, strict=True) for index in order[labels == name][:count]]
    return _without(split, train.index.difference(pd.Index(kept)))


def _rounded(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers of the same sum, each at least 1 where the share is not 0 (largest remainders)."""
    whole = np.where(shares > 0, np.maximum(1, np.floor(shares + 1e-9)), 0).astype(np.int64)
    for index in np.argsort(whole - shares, kind="stable")[: max(0, round(shares.sum()) - int(whole.sum()))]:
        whole[index] += 1
    return whole


def _mislabelled(split: pd.DataFrame, classes: Sequence[str], noise: float, seed: int) -> pd.DataFrame:
    """A share of the training labels replaced by another class, drawn uniformly."""
    rows = np.flatnonzero((split["split"] == "train").to_numpy())
    rng = np.random.default_rng([seed, 3])
    order, steps = rng.permutation(rows), rng.integers(1, len(classes), len(rows))
    position = {name: index for index, name in enumerate(classes)}
    labels = split["label"].to_numpy(dtype=object).copy()
    for row, step in list(zip(order, steps, strict=True))[: round(noise * len(rows))]:
        labels[row] = classes[(position[labels[row]] + int(step)) % len(classes)]
    return split.assign(label=pd.Series(labels, index=split.index, dtype=split["label"].dtype))


def _without(split: pd.DataFrame, rows: pd.Index) -> pd.DataFrame:
    found = split.copy()
    found.loc[rows, "split"] = LEFT_OUT
    return found
