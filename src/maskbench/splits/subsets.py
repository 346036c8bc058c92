"""Interventions on the training side: fewer faces, other class shares, wrong labels.

All are nested: a smaller fraction's faces are among a larger one's, more noise keeps the wrong labels of less,
and within a class the faces of a smaller share are among those of a larger one. So two points of a curve differ
by what was added, not by another draw. Validation and test faces are never touched.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.config import TrainingSetConfig
from maskbench.splits.grouped import SplitError

#: Orders of groups that are tried; the one whose beginnings have class shares closest to the whole is taken.
ORDERS = 500
#: Shares of the faces at which beginnings are compared.
_CHECKED = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
#: Streams of random numbers, so that one intervention's draws do not depend on another's.
_ORDER, _NOISE, _BALANCE, _REPEAT = 1, 2, 3, 4

Rows = NDArray[np.int64]


def training_faces(split: pd.DataFrame, classes: Sequence[str], config: TrainingSetConfig, seed: int) -> pd.DataFrame:
    """The faces a model is trained with: a fraction, then wrong labels, then other class shares.

    Args:
        split: `schemas.SPLIT` of one split.
        classes: class order.
        config: what is done.
        seed: of all draws.

    Returns:
        `schemas.TRAINING_FACES`. With the default configuration all training faces in the split's order.

    Raises:
        SplitError: there is no training face, or fewer than two would be left.
    """
    rows = np.flatnonzero(split["split"] == "train")
    if not len(rows):
        raise SplitError("split: no training face")
    labels, group, whole = split["label"].to_numpy(dtype=object), split["group"].to_numpy(), len(rows)
    if config.fraction < 1:
        rows = rows[fraction_of_groups(group[rows], labels[rows], config.fraction, seed)]
    told = noisy_labels(labels[rows], classes, config.label_noise, seed)
    uses = np.arange(len(rows))
    if config.balance is not None:
        uses = balanced_uses(told, config.balance, seed, total=whole if config.repeat else None)
    elif config.repeat:
        uses = repeated_uses(len(rows), whole, seed)
    if len(uses) < 2:
        raise SplitError(f"training_set: {len(uses)} training face(s) left, two are needed; use a larger fraction")
    part = split.iloc[rows[uses]]
    return pd.DataFrame(
        {
            "row": rows[uses],
            "copy": pd.Series(uses).groupby(uses).cumcount().to_numpy(),
            "face_id": part["face_id"].to_numpy(),
            "group": part["group"].to_numpy(),
            "label": told[uses],
            "true_label": part["label"].to_numpy(),
        }
    )


def fraction_of_groups(group: Rows, labels: NDArray[np.object_], fraction: float, seed: int) -> Rows:
    """Whole groups of photographs that together have a share of the faces, every class among them.

    Groups are put into one random order and taken from its beginning, so fractions are nested. Of many orders
    the one is used whose beginnings have class shares closest to those of all faces. The number of faces is as
    close to the share as whole groups come; where a class would be missing, more groups are taken.

    Args:
        group: (N,) group of each face.
        labels: (N,) class of each face.
        fraction: in (0, 1].
        seed: of the order.

    Returns:
        (M,) places of the faces taken, rising.
    """
    numbers, of_face = np.unique(group, return_inverse=True)
    counts = pd.crosstab(of_face, labels).to_numpy(dtype=float)  # (G, K)
    rng = np.random.default_rng([seed, _ORDER])
    orders = rng.permuted(np.tile(np.arange(len(numbers)), (ORDERS, 1)), axis=1)  # (O, G)
    order = orders[int(np.argmin([_distance(counts[candidate]) for candidate in orders]))]
    taken = counts[order].cumsum(axis=0)  # (G, K)
    nearest = int(np.abs(taken.sum(axis=1) - fraction * len(group)).argmin())
    complete = int((taken > 0).all(axis=1).argmax())
    chosen = order[: max(nearest, complete) + 1]
    return np.flatnonzero(np.isin(of_face, chosen))


def _distance(counts: NDArray[np.float64]) -> float:
    """How far beginnings of (G, K) counts are from the whole's class shares: χ² over faces, summed."""
    taken = counts.cumsum(axis=0)
    sizes, shares = taken.sum(axis=1), taken[-1] / taken[-1].sum()
    ends = np.searchsorted(sizes, np.array(_CHECKED) * sizes[-1])
    wanted = sizes[ends, None] * shares
    return float(((taken[ends] - wanted) ** 2 / wanted).sum())


def noisy_labels(labels: NDArray[np.object_], classes: Sequence[str], share: float, seed: int) -> NDArray[np.object_]:
    """Labels of which a share is replaced by another class, each other class with equal chance.

    Args:
        labels: (N,).
        classes: class order, at least two.
        share: of labels replaced; `round(share · N)` of them are.
        seed: of the draws.

    Returns:
        (N,), a new array.

    Raises:
        ValueError: a label is none of the classes.

    Source:
        Symmetric noise: Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017.
    """
    rng = np.random.default_rng([seed, _NOISE])
    order, step = rng.permutation(len(labels)), rng.integers(1, len(classes), size=len(labels))
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise ValueError(f"labels: {unknown[0]!r} is none of the classes")
    noisy = labels.copy()
    for face in order[: round(share * len(labels))]:
        noisy[face] = classes[(position[labels[face]] + int(step[face])) % len(classes)]
    return noisy


def repeated_uses(faces: int, total: int, seed: int) -> Rows:
    """Uses of faces that make up a total, every face as often as every other or once more.

    Args:
        faces: how many there are.
        total: how many uses.
        seed: of the choice of those used once more.

    Returns:
        (total,) places of faces, rising, repeated ones side by side.
    """
    return np.sort(np.resize(np.random.default_rng([seed, _REPEAT]).permutation(faces), total))


def balanced_uses(labels: NDArray[np.object_], balance: float, seed: int, *, total: int | None = None) -> Rows:
    """Uses of faces whose class shares lie between the natural ones and equal ones, at a total that stays the same.

    Share of a class: (1 - t) · natural + t / K over the K classes present. Only with an equal total does the curve
    over t show what the shares do and not what more faces do. Without repetition that total is K times the rarest
    class's faces, the most that reaches t = 1 with every face used at most once; most faces of common classes
    stay unused, at every t. With a total of all faces N, those of the rarest class are at t = 1 each used N / K / n
    times, which adds no picture that was not there.

    Args:
        labels: (N,).
        balance: t, in [0, 1].
        seed: of the order in which a class's faces are taken.
        total: how many uses, repeating faces of classes too rare for their share; None: as many as there can be with
            every face used once at most.

    Returns:
        (M,) places of faces, rising, repeated ones side by side.
    """
    names, of_face, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    total = len(names) * int(counts.min()) if total is None else total
    wanted = total * ((1 - balance) * counts / counts.sum() + balance / len(names))
    shares = np.floor(wanted).astype(int)
    rest = np.argsort(-(wanted - shares), kind="stable")[: total - shares.sum()]  # largest remainders
    shares[rest] += 1
    for absent in np.flatnonzero(shares == 0):  # a class too rare for its share still has one face
        shares[absent] += 1
        shares[shares.argmax()] -= 1
    rng = np.random.default_rng([seed, _BALANCE])
    uses = []
    for number, share in enumerate(shares):
        order = rng.permutation(np.flatnonzero(of_face == number))
        uses.append(np.resize(order, share))  # starts again from the first when it is used up
    return np.sort(np.concatenate(uses))


def describe_training_faces(training: pd.DataFrame, classes: Sequence[str]) -> dict[str, object]:
    """What a run's record says about its training faces.

    Args:
        training: `schemas.TRAINING_FACES`.
        classes: class order.

    Returns:
        `uses` (rows), `faces` (distinct ones), `groups`, `relabelled` (distinct faces whose label was replaced) and
        `uses_by_class`, by the label the model is told.
    """
    first = training[training["copy"] == 0]
    by_class = training["label"].value_counts()
    return {
        "uses": len(training),
        "faces": len(first),
        "groups": int(training["group"].nunique()),
        "relabelled": int((first["label"] != first["true_label"]).sum()),
        "uses_by_class": {name: int(by_class.get(name, 0)) for name in classes},
    }
