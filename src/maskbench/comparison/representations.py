"""What models see in faces, compared: similarity of layers, what each depth knows of the classes, embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import f1_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maskbench.eda.bootstrap import Resamples, draw_resamples
from maskbench.evaluation.intervals import interval, too_few_photographs
from maskbench.schemas.representations import CKA, EMBEDDING, EXPLAINED_VARIANCE, PROBES, SEPARATION

#: Fewer faces in common say nothing of two models' likeness.
LEAST_FACES = 20
#: Principal components whose share of the variance is kept.
COMPONENTS = 50

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class RunFeatures:
    """Pooled features of one trained model.

    Attributes:
        arm: its arm.
        seed: its run.
        train: by depth (T, channels), of training faces.
        train_labels: (T,).
        test: by depth (M, channels).
        faces: M rows with `face_id`, `image_id`, `label`, `predicted`, `correct`, `box_side_px`.
    """

    arm: str
    seed: int
    train: Mapping[str, Floats]
    train_labels: NDArray[np.object_]
    test: Mapping[str, Floats]
    faces: pd.DataFrame


def linear_cka(one: Floats, other: Floats) -> float:
    """Similarity of two representations of the same faces, debiased.

    The plain index grows with the number of features: with as many channels as faces even noise is like noise. The
    unbiased estimate of HSIC takes that away, and can come out below 0.

    Args:
        one: (n, p).
        other: (n, q); both with n ≥ 4 rows of the same faces.

    Returns:
        At most 1: equal but for rotation and scale; about 0: unrelated; NaN for features without spread.

    Source:
        Kornblith et al., Similarity of neural network representations revisited, ICML 2019, eq. 3 and 4; unbiased
        HSIC: Song et al., JMLR 13:1393-1434, 2012, eq. 5, as used by Nguyen, Raghu & Kornblith, ICLR 2021.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(30, 5))
        >>> round(linear_cka(x, -3 * x[:, ::-1]), 6)
        1.0
    """
    kernels = [_without_diagonal(part.astype(np.float64)) for part in (one, other)]
    size = np.sqrt(max(_hsic(kernels[0], kernels[0]), 0.0) * max(_hsic(kernels[1], kernels[1]), 0.0))
    return float(_hsic(*kernels) / size) if size > 1e-12 else float("nan")


def _without_diagonal(features: NDArray[np.float64]) -> NDArray[np.float64]:
    features = features - features.mean(axis=0)
    spread = np.linalg.norm(features)
    kernel = (features / spread) @ (features / spread).T if spread > 0 else np.zeros((len(features),) * 2)
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel)


def _hsic(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Song et al. 2012, eq. 5, of kernels with zero diagonal."""
    n = len(one)
    products = float((one * other).sum())
    sums = one.sum() * other.sum() / ((n - 1) * (n - 2))
    cross = 2 * float(one.sum(axis=0) @ other.sum(axis=0)) / (n - 2)
    return float((products + sums - cross) / (n * (n - 3)))


def cka_table(runs: Sequence[RunFeatures]) -> pd.DataFrame:
    """`schemas.representations.CKA`: every two arms of a run, and every two runs of an arm, depth by depth."""
    rows: list[dict[str, Any]] = []
    for index, one in enumerate(runs):
        for other in runs[index + 1 :]:
            if (one.seed == other.seed) == (one.arm == other.arm):
                continue
            kind = "arms" if one.seed == other.seed else "seeds"
            rows += [{"kind": kind, **row} for row in _pair(one, other, kind)]
    return pd.DataFrame(rows, columns=list(CKA.columns))


def _pair(one: RunFeatures, other: RunFeatures, kind: str) -> Iterator[dict[str, Any]]:
    places = pd.Series(range(len(other.faces)), index=other.faces["face_id"])
    shared = one.faces["face_id"].isin(places.index).to_numpy()
    matched = places[one.faces.loc[shared, "face_id"]].to_numpy()
    enough = int(shared.sum()) >= LEAST_FACES
    reason = "" if enough else f"{int(shared.sum())} test faces in common: fewer than {LEAST_FACES}"
    for a, features in one.test.items():
        for b, compared in other.test.items():
            if kind == "seeds" and a != b:
                continue  # between runs the question is whether a depth comes out the same
            yield {
                "arm_a": one.arm, "seed_a": one.seed, "layer_a": a, "arm_b": other.arm, "seed_b": other.seed,
                "layer_b": b, "cka": linear_cka(features[shared], compared[matched]) if enough else np.nan,
                "faces": int(shared.sum()), "reason": reason,
            }  # fmt: skip


def embedding_tables(run: RunFeatures, depth: str, *, perplexity: float, seed: int) -> dict[str, pd.DataFrame]:
    """PCA and t-SNE of the test faces by one depth's features.

    Args:
        run: the model's features.
        depth: whose.
        perplexity: of t-SNE; lowered to a third of the faces where there are too few.
        seed: of t-SNE.

    Returns:
        `embedding` and `explained_variance`, see `schemas.representations`.

    Source:
        van der Maaten & Hinton, JMLR 9:2579-2605, 2008; start from principal components: Kobak & Berens, Nature
        Communications 10:5416, 2019.
    """
    features = run.test[depth].astype(np.float64)
    components = min(COMPONENTS, *features.shape)
    found = PCA(components, svd_solver="full").fit(features)
    ratio = np.nan_to_num(found.explained_variance_ratio_)
    used = min(perplexity, max(1.0, (len(features) - 1) / 3))
    points = {"pca": found.transform(features)[:, :2]}
    # With fewer faces nothing is near or far.
    if len(features) >= 5:
        points["tsne"] = TSNE(2, perplexity=used, init="pca", random_state=seed, n_jobs=1).fit_transform(features)
    columns = ["face_id", "image_id", "label", "predicted", "correct", "box_side_px"]
    parts = [
        run.faces[columns].assign(
            arm=run.arm, seed=run.seed, method=method, perplexity=used if method == "tsne" else np.nan,
            x=xy[:, 0].astype(float), y=(xy[:, 1] if xy.shape[1] > 1 else 0 * xy[:, 0]).astype(float),
        )
        for method, xy in points.items()
    ]  # fmt: skip
    variance = pd.DataFrame(
        {
            "arm": run.arm, "seed": run.seed, "component": np.arange(1, components + 1), "ratio": np.clip(ratio, 0, 1),
            "cumulative": np.clip(ratio.cumsum(), 0, 1),
        }
    )  # fmt: skip
    return {
        "embedding": pd.concat(parts, ignore_index=True)[list(EMBEDDING.columns)],
        "explained_variance": variance[list(EXPLAINED_VARIANCE.columns)],
    }


def probe_table(
    run: RunFeatures, *, neighbours: int, resamples: int, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """What a linear classifier and the nearest neighbours make of each depth's features.

    Args:
        run: fitted on its training faces, measured on its test faces.
        neighbours: k, by cosine similarity.
        resamples: draws of photographs for the intervals.
        confidence: of the intervals.
        seed: of the draws.

    Returns:
        `schemas.representations.PROBES`; NaN with a reason where the training faces have one class only.

    Source:
        Alain & Bengio, Understanding intermediate layers using linear classifier probes, 2016.
    """
    labels, rows = run.faces["label"].to_numpy(dtype=object), list[dict[str, Any]]()
    ids = pd.Series(sorted(run.faces["image_id"].unique()))
    draws = draw_resamples(ids, resamples, confidence, seed)
    classes = sorted(set(run.train_labels) | set(labels))
    reason = "" if len(set(run.train_labels)) > 1 else "the training faces have one class"
    facts = {
        "arm": run.arm, "seed": run.seed, "confidence": confidence, "train_faces": len(run.train_labels),
        "faces": len(labels), "images": len(ids),
    }  # fmt: skip
    for depth, features in run.train.items():
        probes = {
            "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3)),
            "neighbours": KNeighborsClassifier(min(neighbours, len(features)), metric="cosine"),
        }
        for name, probe in probes.items():
            found = dict.fromkeys(("accuracy", "f1_macro"), (np.nan, np.nan, np.nan))
            if not reason:
                predicted = probe.fit(features, run.train_labels.astype(str)).predict(run.test[depth])
                found = _measured(labels.astype(str), predicted, run.faces["image_id"], draws, classes)
            rows += [
                {**facts, "depth": depth, "probe": name, "metric": metric, "value": value, "low": low, "high": high,
                 "reason": reason}
                for metric, (value, low, high) in found.items()
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(PROBES.columns))


def _measured(
    labels: NDArray[Any], predicted: NDArray[Any], image_ids: pd.Series, draws: Resamples, classes: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    """Accuracy and macro-F1 with their intervals over photographs."""
    positions, count = draws.positions(image_ids), len(draws.image_ids)
    right = labels == predicted
    present = [name for name in classes if (labels == name).any()]

    def sums(values: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(draws.weights @ np.bincount(positions, values.astype(float), minlength=count))

    f1 = []
    for name in present:
        hit, called, true = sums(right & (labels == name)), sums(predicted == name), sums(labels == name)
        f1.append(np.divide(2 * hit, called + true, out=np.full(draws.count, np.nan), where=true > 0))
    drawn = np.stack(f1).mean(axis=0)
    value = float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0))
    rarest = min(len(np.unique(positions[labels == name])) for name in present)

    def limits(value: float, drawn: NDArray[np.float64], behind: int) -> tuple[float, float, float]:
        if too_few_photographs(count):
            return value, np.nan, np.nan
        found = interval(np.array([value]), drawn[None], behind, "share", confidence=draws.confidence)
        return value, found.low, found.high

    return {
        "accuracy": limits(float(right.mean()), draws.means(right.astype(float), positions), count),
        "f1_macro": limits(value, drawn, rarest),
    }


def separation_table(run: RunFeatures) -> pd.DataFrame:
    """How far apart the classes lie at each depth: `schemas.representations.SEPARATION`."""
    labels, rows = run.faces["label"].to_numpy(dtype=object).astype(str), list[dict[str, Any]]()
    names = np.unique(labels)
    reason = "" if 1 < len(names) < len(labels) else "one class, or as many classes as faces"
    for depth, features in run.test.items():
        values = dict.fromkeys(("silhouette", "scatter_ratio"), np.nan)
        if not reason:
            values = {
                "silhouette": float(silhouette_score(features, labels, metric="cosine")),
                "scatter_ratio": scatter_ratio(features, labels),
            }
        rows.append(
            {"arm": run.arm, "seed": run.seed, "depth": depth, **values, "faces": len(labels), "reason": reason}
        )
    return pd.DataFrame(rows, columns=list(SEPARATION.columns))


def scatter_ratio(features: Floats, labels: NDArray[Any]) -> float:
    """Scatter of the class means about the mean of all faces, over scatter of faces about their class's mean.

    Args:
        features: (M, D).
        labels: (M,).

    Source:
        Fukunaga, Introduction to Statistical Pattern Recognition, 1990, section 10.2 (J4: the traces' ratio).
    """
    features = features.astype(np.float64)
    middle, between, within = features.mean(axis=0), 0.0, 0.0
    for name in np.unique(labels):
        part = features[labels == name]
        between += len(part) * float(((part.mean(axis=0) - middle) ** 2).sum())
        within += float(((part - part.mean(axis=0)) ** 2).sum())
    return between / within if within > 0 else float("nan")


def representation_sentences(
    cka: pd.DataFrame, probes: pd.DataFrame, arms: Sequence[str], depths: Sequence[str]
) -> tuple[str, ...]:
    """How alike the arms see, and what each depth knows.

    Args:
        cka: of `cka_table`.
        probes: of `probe_table`, of all runs.
        arms: in order.
        depths: from the input to the head.
    """
    sentences = []
    pairs = cka[(cka["kind"] == "arms") & (cka["layer_a"] == cka["layer_b"]) & cka["cka"].notna()]
    for (a, b), part in pairs.groupby(["arm_a", "arm_b"], sort=False):
        means = part.groupby("layer_a")["cka"].mean()
        told = ", ".join(f"{depth} {means[depth]:.2f}" for depth in depths if depth in means)
        sentences.append(
            f"Likeness of what {a} and {b} see in the same faces (debiased linear CKA, 1: the same): {told}."
        )
    linear = probes[(probes["probe"] == "linear") & (probes["metric"] == "f1_macro") & probes["value"].notna()]
    parts = []
    for arm in arms:
        means = linear[linear["arm"] == arm].groupby("depth")["value"].mean()
        if len(means):
            parts.append(f"{arm} " + ", ".join(f"{depth} {means[depth]:.2f}" for depth in depths if depth in means))
    if parts:
        sentences.append(
            f"Macro-F1 of a linear classifier on each depth's features of the test faces: {'; '.join(parts)}."
        )
    return tuple(sentences)
