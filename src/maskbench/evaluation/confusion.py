"""Figures that follow from a confusion matrix alone: numpy in, numbers out, cheap enough for every epoch.

Where a denominator is zero the figure of a class is NaN. Means over classes use scikit-learn's
convention: a mean covers the classes that occur in the truth or among the decisions, and within it
an undefined figure counts 0 (`zero_division=0`), so a model gains nothing by never naming a class.
A class that occurs in neither is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Figures that exist per class, as a mean over classes and as a mean weighted by faces.
PER_CLASS = ("precision", "recall", "f1")


def confusion_counts(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count decisions by truth.

    Args:
        true: (N,) positions in the class order, 0…K-1.
        predicted: (N,), the same for the decisions.
        classes: K.

    Returns:
        (K, K), row = true, column = predicted.

    Raises:
        ValueError: a position is outside 0…K-1, or the lengths differ.

    Example:
        >>> confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    if true.shape != predicted.shape:
        raise ValueError(f"{len(true)} true classes for {len(predicted)} predicted ones")
    if len(true) and (min(true.min(), predicted.min()) < 0 or max(true.max(), predicted.max()) >= classes):
        raise ValueError(f"a class position is outside 0…{classes - 1}")
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def class_ratios(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 per class of one matrix or of many.

    Args:
        counts: (…, K, K), row = true, not negative.

    Returns:
        `precision`, `recall`, `f1`: (…, K), 0…1. NaN: precision of a class never predicted, recall of
        an absent class, F1 of a class that is both.

    Source:
        F1 = 2·TP / (2·TP + FP + FN): van Rijsbergen, Information Retrieval, 1979, chapter 7.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)  # (…, K)
    support = counts.sum(axis=-1)  # (…, K)
    decided = counts.sum(axis=-2)  # (…, K)
    return {
        "precision": _ratio(hits, decided),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + decided),
    }


def macro_mean(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the classes that occur, undefined figures counting 0.

    Args:
        values: (…, K).
        counts: (…, K, K), row = true.

    Returns:
        (…,); NaN where no class occurs.
    """
    occurs = (counts.sum(axis=-1) + counts.sum(axis=-2)) > 0  # (…, K)
    return _ratio(np.where(occurs, np.nan_to_num(values), 0.0).sum(axis=-1), occurs.sum(axis=-1))


def accuracy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of correct decisions: (…, K, K) -> (…,); NaN without faces."""
    return _ratio(np.trace(counts, axis1=-2, axis2=-1).astype(np.float64), counts.sum(axis=(-2, -1)))


def balanced_accuracy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean recall over the classes present in the truth: (…, K, K) -> (…,); NaN without faces.

    Source:
        Brodersen et al., ICPR 2010, "The balanced accuracy and its posterior distribution".
    """
    present = counts.sum(axis=-1) > 0
    recall = class_ratios(counts)["recall"]
    return _ratio(np.where(present, np.nan_to_num(recall), 0.0).sum(axis=-1), present.sum(axis=-1))


def confusion_metrics(counts: NDArray[np.int64], classes: Sequence[str]) -> list[tuple[str, str, float]]:
    """Accuracy, balanced accuracy, precision, recall and F1 (per class, macro, weighted) of one matrix.

    Args:
        counts: (K, K) counts of faces, row = true, column = predicted.
        classes: K names, in the matrix's order.

    Returns:
        Rows (metric, class name, value): `accuracy` and `balanced_accuracy` with class name "";
        `precision`, `recall` and `f1` per class; `precision_macro`, `precision_weighted` and so on
        with class name "". NaN where undefined (see the module).

    Raises:
        ValueError: `counts` is not K × K for the K class names, or holds a negative count.

    Example:
        >>> rows = confusion_metrics(np.array([[8, 2], [1, 4]]), ["a", "b"])
        >>> rows[0][0], round(rows[0][2], 3)
        ('accuracy', 0.8)
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of {len(classes)} classes is square, not of shape {counts.shape}")
    if counts.size and counts.min() < 0:
        raise ValueError("a confusion matrix holds counts, none below zero")
    support = counts.sum(axis=1)
    rows = [
        ("accuracy", "", float(accuracy(counts))),
        ("balanced_accuracy", "", float(balanced_accuracy(counts))),
    ]
    for metric, values in class_ratios(counts).items():
        rows += [(metric, name, float(value)) for name, value in zip(classes, values, strict=True)]
        weighted = _ratio((np.nan_to_num(values) * support).sum(), support.sum())
        rows += [
            (f"{metric}_macro", "", float(macro_mean(values, counts))),
            (f"{metric}_weighted", "", float(weighted)),
        ]
    return rows


def _ratio(above: NDArray[np.float64], below: NDArray[np.int64]) -> NDArray[np.float64]:
    """`above / below`, NaN where `below` is zero."""
    below = np.asarray(below, dtype=np.float64)
    ratio: NDArray[np.float64] = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return ratio
