"""The headline metrics of one run when each photograph counts any number of times, for thousands of weightings at once.

A bootstrap draw of photographs is a weighting, so nothing is resampled row by row: a confusion matrix
is a sum over photographs, and so is the loss. The area under the ROC curve is a sum over pairs of photographs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskbench.evaluation.classification import Scored
from maskbench.evaluation.confusion import PER_CLASS, accuracy, balanced_accuracy, class_ratios, macro_mean

Floats = NDArray[np.float64]

#: Pairs of photographs per face up to which counting by pairs is faster than ranking faces (measured).
_PAIRS_PER_FACE = 1000
#: Comparisons of faces held at once.
_BLOCK = 4_000_000
#: Half-integers up to here are exact in float32.
_EXACT = 2.0**23


def metric_names(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Metric and class name ("" for all classes) of each column of `WeightedMetrics.measure`.

    `accuracy`, `balanced_accuracy`, `f1_macro`; `precision`, `recall`, `f1` per class; `roc_auc_macro`,
    `roc_auc` per class (against the rest); `loss` (mean cross-entropy in nats, the negative log-likelihood).
    """
    return [
        *(("accuracy", ""), ("balanced_accuracy", ""), ("f1_macro", "")),
        *((metric, name) for metric in PER_CLASS for name in classes),
        *(("roc_auc_macro", ""), *(("roc_auc", name) for name in classes)),
        ("loss", ""),
    ]


class WeightedMetrics:
    """One run's predictions, summed up by photograph so that any weighting of photographs is a product.

    Attributes:
        images: I, photographs.
        support: int64 (K,), faces per class.
        counts: float64 (I, K·K), confusion matrix of each photograph, row = true.
        losses: float64 (I,), sum of the cross-entropies of its faces.
    """

    def __init__(self, scored: Scored) -> None:
        K = scored.probs.shape[1]
        self.images = scored.image_count
        self.support = np.bincount(scored.true, minlength=K)
        self.counts = np.zeros((self.images, K * K))
        np.add.at(self.counts, (scored.images, scored.true * K + scored.predicted), 1)
        self.losses = np.bincount(scored.images, scored.loss, minlength=self.images)
        self._areas = [WeightedArea(scored.probs[:, k], scored.true == k, scored.images, self.images) for k in range(K)]

    def shown(self) -> NDArray[np.bool_]:
        """What each photograph shows: (I, 3, K), a face of the class, one given the class, one of another class."""
        K = len(self.support)
        counts = self.counts.reshape(-1, K, K)
        faces = counts.sum(axis=2)
        return np.stack([faces > 0, counts.sum(axis=1) > 0, faces.sum(axis=1, keepdims=True) > faces], axis=1)

    def measure(self, weights: Floats) -> Floats:
        """The metrics under weights of photographs.

        Args:
            weights: (R, I), how often each photograph counts, ≥ 0; whole numbers.

        Returns:
            (R, M), columns as in `metric_names`. A weighting without any face of a class says nothing about
            that class: its metrics, and means over classes, are NaN there. A class without faces
            under any weighting is left out of means as in `classification.metrics_table`.
        """
        K = len(self.support)
        counts = np.rint(weights @ self.counts).astype(np.int64).reshape(-1, K, K)  # (R, K, K)
        areas = np.column_stack([area.measure(weights) for area in self._areas])  # (R, K)
        defined = [area.defined for area in self._areas]
        macro = areas[:, defined].mean(axis=1) if any(defined) else np.full(len(weights), np.nan)
        faces = counts.sum(axis=(1, 2))
        loss = np.divide(weights @ self.losses, faces, out=np.full(len(weights), np.nan), where=faces > 0)
        return np.column_stack([count_metrics(counts, self.support > 0), macro, areas, loss])


def photographs_behind(shown: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many photographs say something about each measurement.

    Those with a face of the class; for precision those with a face that was given the class, for the AUC also no more
    than those with another face; for means over classes those of the class that occurs in the fewest; for accuracy
    and loss all.

    Args:
        shown: (I, 3, K), as `WeightedMetrics.shown`.

    Returns:
        (M,), in the order of `metric_names`.
    """
    total = int(shown[:, 0].any(axis=1).sum())
    holding, given, others = shown.sum(axis=0)
    area = np.minimum(holding, others)
    rarest = holding[holding > 0].min(initial=total)
    rarest_area = area[area > 0].min(initial=total)
    found = [[total, rarest, rarest], given, holding, holding, [rarest_area], area, [total]]
    return np.concatenate(found).astype(np.int64)


def count_metrics(counts: NDArray[np.int64], present: NDArray[np.bool_]) -> Floats:
    """The metrics that follow from confusion matrices.

    Args:
        counts: (R, K, K) counts of faces, row = true.
        present: (K,), does the class have faces at all (under any weighting).

    Returns:
        (R, 3 + 3·K): the first columns of `metric_names`; NaN for a class that is present but not in this
        matrix, and for means over classes where one is.
    """
    drawn = counts.sum(axis=2) > 0  # (R, K)
    complete = drawn[:, present].all(axis=1)  # (R,)
    ratios = class_ratios(counts)
    macro = np.where(complete, macro_mean(ratios["f1"], counts), np.nan)
    balanced = np.where(complete, balanced_accuracy(counts), np.nan)
    # A class without any face keeps the F1 of 0 that wrong calls give it; one not drawn has none.
    per_class = [np.where(drawn | ~present, ratios[metric], np.nan) for metric in PER_CLASS]
    return np.column_stack([accuracy(counts), balanced, macro, *per_class])


class WeightedArea:
    """Area under the ROC curve of one class against the rest, under weights of photographs.

    The weighted share of pairs (face of the class, other face) in which the former scores higher; equal
    scores count half. With one matrix of wins between photographs a weighting is a quadratic form; with very many
    photographs ranking the faces once and summing weights along the ranks is cheaper. Both are the same number.

    Attributes:
        defined: are there faces of the class and others.

    Source:
        Hanley & McNeil, Radiology 143 (1982); weights of clusters as in Obuchowski, Biometrics 53 (1997).
    """

    def __init__(self, scores: Floats, positive: NDArray[np.bool_], images: NDArray[np.int64], count: int) -> None:
        """Sum up by photograph.

        Args:
            scores: (N,), higher means more likely of the class.
            positive: (N,), is it of the class.
            images: (N,), number of the photograph of each face, 0…count-1.
            count: photographs.
        """
        self._positives = np.bincount(images[positive], minlength=count).astype(np.float64)
        self._negatives = np.bincount(images[~positive], minlength=count).astype(np.float64)
        self.defined = bool(positive.any() and (~positive).any())
        self._with, self._without = np.flatnonzero(self._positives), np.flatnonzero(self._negatives)
        self._by_pairs = len(self._with) * len(self._without) <= _PAIRS_PER_FACE * len(scores)
        if not self.defined:
            return
        if self._by_pairs:
            self._wins = wins_between_photographs(scores, positive, images)
        else:
            order = np.argsort(scores, kind="stable")
            self._ranked_images, self._ranked_hits = images[order], positive[order].astype(np.float64)
            self._starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # first face of each score

    def measure(self, weights: Floats) -> Floats:
        """The area under each weighting: (R, I) -> (R,), NaN where a side has no weight."""
        pairs = (weights @ self._positives) * (weights @ self._negatives)
        if not self.defined:
            return np.full(len(weights), np.nan)
        won = self._won_by_pairs(weights) if self._by_pairs else self._won_by_ranks(weights)
        area: Floats = np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
        return area

    def _won_by_pairs(self, weights: Floats) -> Floats:
        """Σ over photographs a, b of w_a · wins[a, b] · w_b."""
        left, right, wins = weights[:, self._with], weights[:, self._without], self._wins
        if wins.shape[0] < wins.shape[1]:  # the product with fewer columns is the cheaper one to sum up
            left, right, wins = right, left, wins.T
        exact = len(weights) and left.sum(axis=1).max() * wins.max() < _EXACT
        kind = np.float32 if exact else np.float64
        reached = left.astype(kind) @ wins.astype(kind)
        won: Floats = np.einsum("ri,ri->r", reached, right, dtype=np.float64)
        return won

    def _won_by_ranks(self, weights: Floats) -> Floats:
        """Weights of the class's faces times the weight of the others ranked below."""
        won = []
        step = max(1, _BLOCK // len(self._ranked_images))
        for start in range(0, len(weights), step):
            ranked = weights[start : start + step, self._ranked_images]
            above = np.add.reduceat(ranked * self._ranked_hits, self._starts, axis=1)  # (R, distinct scores)
            below = np.add.reduceat(ranked * (1 - self._ranked_hits), self._starts, axis=1)
            lower = np.cumsum(below, axis=1) - below / 2
            won.append(np.einsum("rt,rt->r", above, lower))
        return np.concatenate(won) if won else np.zeros(0)


def wins_between_photographs(scores: Floats, positive: NDArray[np.bool_], images: NDArray[np.int64]) -> Floats:
    """Pairs of faces won, by the photographs they come from.

    Args:
        scores: (N,).
        positive: (N,), is it of the class; there are faces of the class and others.
        images: (N,), number of the photograph of each face.

    Returns:
        (photographs with a face of the class, photographs with another face), each in the order of
        their numbers: Σ over pairs of [score of the class's face > score of the other] + ½·[equal].
    """
    own, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    own, others = own[np.argsort(images[own], kind="stable")], others[np.argsort(images[others], kind="stable")]
    _, own_photo = np.unique(images[own], return_inverse=True)
    starts = np.flatnonzero(np.diff(images[others], prepend=-1))
    wins = np.zeros((own_photo[-1] + 1, len(starts)))
    step = max(1, _BLOCK // len(others))
    for start in range(0, len(own), step):
        mine, theirs = scores[own[start : start + step], None], scores[others]
        won = (mine > theirs).astype(np.float32) + np.float32(0.5) * (mine == theirs)
        first = np.flatnonzero(np.diff(own_photo[start : start + step], prepend=-1))
        by_photo = np.add.reduceat(np.add.reduceat(won, starts, axis=1), first, axis=0)
        wins[own_photo[start + first]] += by_photo
    return wins
