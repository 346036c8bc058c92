"""Labels that a weak classifier doubts: confident learning on what it says of photographs that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maskbench.schemas.failures import LABEL_ISSUES

Floats = NDArray[np.floating]
#: Inverse strength of the ridge penalty: hundreds of features, some classes with a hundred faces.
_C = 0.01
#: Fewer folds hold nothing out.
_LEAST_FOLDS = 2


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Probabilities of every face by a classifier fitted on other photographs.

    Attributes:
        probs: (N, K), in the class order.
        folds: (N,) the fold that held the face out.
        accuracy: of these probabilities, so that nobody trusts weak ones.
        f1_macro: likewise.
        reason: why there are none; the rest is then NaN.
    """

    probs: NDArray[np.float64]
    folds: NDArray[np.int64]
    accuracy: float
    f1_macro: float
    reason: str = ""


def held_out_probabilities(
    features: Floats, labels: pd.Series, groups: pd.Series, classes: Sequence[str], *, folds: int, seed: int
) -> HeldOut:
    """Cross-validated probabilities of a logistic regression.

    Args:
        features: (N, D), by a network that has not been trained with these labels.
        labels: (N,).
        groups: (N,) photographs, or groups of those that resemble each other, which are held out whole.
        classes: class order.
        folds: at least 2; fewer where a class lies in fewer groups, or would be unknown to a fold's classifier.
        seed: of the folds.

    Returns:
        The probabilities; with a reason in their place where not even two folds can be dealt.
    """
    count, known = len(labels), np.asarray(labels, dtype=object).astype(str)
    dealt = _deal(known, groups.to_numpy(), classes, folds, seed)
    if not dealt:
        least = min(int(groups[known == name].nunique()) for name in classes)
        reason = f"a class lies in {least} group{'s' * (least != 1)} of photographs: too few to hold some of them out"
        reason = reason if len(classes) > 1 else "there is one class"
        return HeldOut(np.full((count, len(classes)), np.nan), np.zeros(count, np.int64), np.nan, np.nan, reason)
    probs, fold_of = np.zeros((count, len(classes))), np.zeros(count, dtype=np.int64)
    places = {name: k for k, name in enumerate(classes)}
    for number, (inside, outside) in enumerate(dealt):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=300, tol=1e-3))
        model.fit(features[inside], known[inside])
        columns = [places[name] for name in model[-1].classes_]
        probs[np.ix_(outside, np.array(columns))] = model.predict_proba(features[outside])
        fold_of[outside] = number
    predicted = np.asarray(classes, dtype=object)[probs.argmax(axis=1)].astype(str)
    return HeldOut(
        probs, fold_of, float(accuracy_score(known, predicted)),
        float(f1_score(known, predicted, average="macro", labels=list(classes), zero_division=0)),
    )  # fmt: skip


def _deal(
    known: NDArray[np.str_], groups: NDArray[Any], classes: Sequence[str], folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows inside and outside of each fold, every class inside of all; as many folds as can be; none: not even two.

    A classifier that does not know a class would doubt every label of it.
    """
    least = min(len(set(groups[known == name])) for name in classes)
    for count in range(min(folds, least), _LEAST_FOLDS - 1, -1):
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        dealt = list(splitter.split(np.zeros(len(known)), known, groups))
        if len(classes) > 1 and all(set(known[inside]) >= set(classes) for inside, _ in dealt):
            return dealt
    return []


def suspected_labels(
    held_out: HeldOut, faces: pd.DataFrame, files: pd.Series, splits: pd.Series, classes: Sequence[str]
) -> pd.DataFrame:
    """Labels that confident learning doubts, as a table one can act on.

    Args:
        held_out: of `held_out_probabilities`.
        faces: `schemas.FACES`, N rows.
        files: (N,) photograph's file.
        splits: (N,) side of the face.
        classes: class order.

    Returns:
        `schemas.failures.LABEL_ISSUES`, most doubtful first; empty where there are no probabilities.

    Source:
        Northcutt, Jiang & Chuang, Confident learning, JAIR 70:1373-1411, 2021; through cleanlab.
    """
    if held_out.reason:
        return pd.DataFrame(columns=list(LABEL_ISSUES.columns))
    places = {name: k for k, name in enumerate(classes)}
    given = faces["label"].map(places).to_numpy(dtype=int)
    probs = held_out.probs / held_out.probs.sum(axis=1, keepdims=True)
    ranked = np.asarray(
        find_label_issues(given, probs, return_indices_ranked_by="self_confidence", n_jobs=1), dtype=int
    )
    quality = np.asarray(get_label_quality_scores(given, probs))
    # A label that is also the most probable one would be "corrected" to itself.
    ranked = ranked[probs[ranked].argmax(axis=1) != given[ranked]]
    part = faces.iloc[ranked].reset_index(drop=True)
    columns: dict[str, Any] = {
        "rank": np.arange(1, len(ranked) + 1),
        "face_id": part["face_id"],
        "image_id": part["image_id"],
        "file": files.iloc[ranked].to_numpy(),
        **{name: part[name].astype(float) for name in ("xmin", "ymin", "xmax", "ymax")},
        "label": part["label"],
        "suggested": np.asarray(classes, dtype=object)[probs[ranked].argmax(axis=1)],
        "quality": np.clip(quality[ranked], 0, 1),
        "prob_suggested": np.clip(probs[ranked].max(axis=1), 0, 1),
        "split": splits.iloc[ranked].to_numpy(),
        "fold": held_out.folds[ranked],
    }
    return pd.DataFrame(columns)


def label_sentence(held_out: HeldOut, issues: pd.DataFrame, faces: int) -> str:
    """How many labels are doubted, and by how weak a classifier."""
    if held_out.reason:
        return f"Labels were not checked: {held_out.reason}."
    return (
        f"A weak classifier doubts {len(issues)} of {faces} labels: a logistic regression on features of the "
        "pretrained network before it saw this dataset. On photographs that it was not fitted on it reaches an "
        f"accuracy of {held_out.accuracy:.3f} and a macro-F1 of {held_out.f1_macro:.3f}, so many of its doubts are its "
        "own mistakes: look at a face before changing its label."
    )
