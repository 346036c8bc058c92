"""What goes wrong: the hardest faces, the most confident mistakes, confusions, prototypes, and what lies near."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.comparison.representations import RunFeatures
from maskbench.schemas.failures import CONFUSION_PAIRS, FAILURES, NEIGHBOURS, PROTOTYPES

Floats = NDArray[np.floating]
#: Faces named as examples of a confusion.
EXAMPLES = 8


def failures_table(predictions: pd.DataFrame, classes: Sequence[str], count: int) -> pd.DataFrame:
    """The faces that each arm finds hardest.

    Args:
        predictions: `schemas.PREDICTIONS` of test faces, any number of arms and runs.
        classes: class order.
        count: faces per arm and kind.

    Returns:
        `schemas.failures.FAILURES`. A face tested in several runs counts once, with its means; it is predicted as the
        class of the highest mean probability, and confidently wrong only if that is not its label.
    """
    parts = []
    for arm in dict.fromkeys(predictions["arm"]):
        table = _by_face(predictions[predictions["arm"] == arm], classes)
        wrong = table[table["predicted"] != table["label"]]
        for kind, ranked in (
            ("hard_loss", table.sort_values(["loss", "face_id"], ascending=[False, True])),
            ("hard_margin", table.sort_values(["margin", "face_id"])),
            ("confident", wrong.sort_values(["prob_predicted", "face_id"], ascending=[False, True])),
        ):
            top = ranked.head(count)
            parts.append(top.assign(arm=str(arm), kind=kind, rank=np.arange(1, len(top) + 1)))
    return pd.concat(parts, ignore_index=True)[list(FAILURES.columns)]


def _by_face(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One row per face, means over runs."""
    columns = [f"prob_{name}" for name in classes]
    grouped = table.groupby("face_id", sort=True)
    found = grouped[["image_id", "label"]].first()
    found["seeds"] = grouped.size()
    found["loss"] = grouped["loss"].mean()
    probs = np.clip(grouped[columns].mean().to_numpy(dtype=float), 0, 1)
    rows, own = np.arange(len(found)), found["label"].map({name: k for k, name in enumerate(classes)}).to_numpy()
    best = probs.argmax(axis=1)
    others = probs.copy()
    others[rows, own] = -np.inf
    found["predicted"] = np.asarray(classes, dtype=object)[best]
    found["prob_label"], found["prob_predicted"] = probs[rows, own], probs[rows, best]
    found["margin"] = probs[rows, own] - others.max(axis=1)
    return found.reset_index()


def confusion_pairs(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Which classes are taken for which, most often first, with the most confident examples.

    Args:
        predictions: `schemas.PREDICTIONS` of test faces, any number of arms and runs.
        classes: class order.

    Returns:
        `schemas.failures.CONFUSION_PAIRS`; pairs that did not occur are left out.
    """
    rows: list[dict[str, Any]] = []
    for arm in dict.fromkeys(predictions["arm"]):
        part = predictions[predictions["arm"] == arm]
        sizes = part["label"].value_counts()
        for (label, predicted), group in part[part["label"] != part["predicted"]].groupby(["label", "predicted"]):
            probs = group[[f"prob_{name}" for name in classes]].max(axis=1)
            ranked = group.assign(prob=probs).sort_values(["prob", "face_id"], ascending=[False, True])
            rows.append(
                {
                    "arm": str(arm), "label": label, "predicted": predicted, "mistakes": len(group),
                    "share_of_class": len(group) / int(sizes[label]), "mean_prob": float(min(probs.mean(), 1.0)),
                    "examples": json.dumps(list(ranked["face_id"].drop_duplicates()[:EXAMPLES]), ensure_ascii=False),
                }
            )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(CONFUSION_PAIRS.columns))
    return table.sort_values(["arm", "mistakes"], ascending=[True, False], kind="stable", ignore_index=True)


def prototypes_table(run: RunFeatures, depth: str, classes: Sequence[str], count: int) -> pd.DataFrame:
    """The most typical test faces of each class: `schemas.failures.PROTOTYPES`.

    Args:
        run: the model's features.
        depth: whose features.
        classes: class order.
        count: faces per class.
    """
    features, labels, rows = _unit(run.test[depth]), run.faces["label"].to_numpy(dtype=object), list[dict[str, Any]]()
    for name in classes:
        own = np.flatnonzero(labels == name)
        if not len(own):
            continue
        likeness = features[own] @ _unit(features[own].mean(axis=0, keepdims=True))[0]
        for rank, place in enumerate(np.argsort(-likeness, kind="stable")[:count], start=1):
            rows.append(
                {"arm": run.arm, "seed": run.seed, "label": name, "rank": rank,
                 "face_id": run.faces["face_id"].iloc[own[place]], "similarity": float(likeness[place])}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PROTOTYPES.columns))


def neighbours_table(
    run: RunFeatures, depth: str, train_ids: Sequence[str], confidence: Mapping[str, float], count: int
) -> pd.DataFrame:
    """What lies near the mistakes: `schemas.failures.NEIGHBOURS`.

    Args:
        run: the model's features.
        depth: whose features.
        train_ids: (T,) of the training faces.
        confidence: probability of the predicted class by test face.
        count: training faces per mistake.
    """
    test, train, faces = _unit(run.test[depth]), _unit(run.train[depth]), run.faces
    labels, right = faces["label"].to_numpy(dtype=object), faces["correct"].to_numpy(dtype=bool)
    ids, rows = faces["face_id"].to_numpy(dtype=object), list[dict[str, Any]]()
    for place in np.flatnonzero(~right):
        facts = {
            "arm": run.arm, "seed": run.seed, "face_id": ids[place], "label": labels[place],
            "predicted": faces["predicted"].iloc[place], "prob_predicted": confidence[ids[place]],
        }  # fmt: skip
        likeness = train @ test[place]
        for rank, other in enumerate(np.argsort(-likeness, kind="stable")[:count], start=1):
            near = {"neighbour_id": train_ids[other], "neighbour_label": run.train_labels[other]}
            rows.append({**facts, "kind": "train", "rank": rank, **near, "similarity": float(likeness[other])})
        own = np.flatnonzero(right & (labels == labels[place]))
        if len(own):
            likeness = test[own] @ test[place]
            best = own[int(likeness.argmax())]
            near = {"neighbour_id": ids[best], "neighbour_label": labels[best]}
            rows.append({**facts, "kind": "right", "rank": 1, **near, "similarity": float(likeness.max())})
    return pd.DataFrame(rows, columns=list(NEIGHBOURS.columns))


def _unit(features: Floats) -> NDArray[np.float64]:
    """Rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(features / np.where(length > 0, length, 1))


def neighbours_sentence(neighbours: pd.DataFrame, arm: str) -> str:
    """What the training faces near the mistakes of an arm are labelled; empty without mistakes."""
    near = neighbours[(neighbours["arm"] == arm) & (neighbours["kind"] == "train")]
    if near.empty:
        return ""
    own = float((near["neighbour_label"] == near["label"]).mean())
    taken = float((near["neighbour_label"] == near["predicted"]).mean())
    mistakes = near[["seed", "face_id"]].drop_duplicates().shape[0]
    return (
        f"Of the training faces nearest to the {mistakes} mistakes of {arm}, {taken:.0%} have the class that was "
        f"predicted and {own:.0%} the true one."
    )
