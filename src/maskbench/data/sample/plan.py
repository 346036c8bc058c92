"""What the sample will hold, decided before anything is drawn: counts, sizes and labels by quota.

Quantities whose distribution is promised are laid out over the whole sample (exact quotas, evenly
spaced quantiles) and then dealt to the photographs, so a small sample keeps the promise too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from maskbench.data.sample.params import PNG_KINDS, SAMPLE_CLASSES, SampleParams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PhotoPlan:
    """One photograph to draw.

    Attributes:
        index: position in the sample.
        size: width and height in px.
        png: one of `PNG_KINDS`.
        transparent: whether some pixels are partly transparent.
        labels: class of each face.
        sides: side of each face box in px, as wanted.
    """

    index: int
    size: tuple[int, int]
    png: str
    transparent: bool
    labels: tuple[str, ...]
    sides: tuple[float, ...]

    @property
    def image_id(self) -> str:
        """The file name without its suffix."""
        return f"sample{self.index:04d}"


def quota(shares: Mapping[str, float], total: int, order: Sequence[str]) -> dict[str, int]:
    """Whole numbers that sum to `total` and are nearest to the shares (largest remainder).

    A name with a positive share gets at least one where `total` allows, taken from the most frequent.

    Args:
        shares: non-negative, not all zero; need not sum to 1.
        total: number of things to deal out.
        order: the names in the order of the result; equal remainders go to the earlier name.

    Returns:
        Name -> number, for every name in `order`.

    Example:
        >>> quota({"a": 0.79, "b": 0.18, "c": 0.03}, 10, ["a", "b", "c"])
        {'a': 7, 'b': 2, 'c': 1}
    """
    weight = sum(shares.get(name, 0.0) for name in order)
    exact = {name: total * shares.get(name, 0.0) / weight for name in order}
    counts = {name: int(exact[name]) for name in order}
    by_remainder = sorted(order, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    missing = [name for name in order if counts[name] == 0 and exact[name] > 0]
    for name in sorted(missing, key=lambda name: -exact[name]):
        richest = max(order, key=lambda other: counts[other])
        if counts[richest] < 2:
            break
        counts[richest] -= 1
        counts[name] += 1
    return counts


def _quantiles(n: int) -> FloatArray:
    """`n` evenly spaced standard normal quantiles, (n,)."""
    return np.asarray(ndtri((np.arange(n) + 0.5) / n), dtype=np.float64)


def face_counts(params: SampleParams, rng: np.random.Generator) -> IntArray:
    """Faces per photograph: rounded log-normal quantiles, shuffled, with the wanted mean, (images,)."""
    steps = _quantiles(params.images) * params.faces_spread
    low, high = -4.0, 6.0
    counts = np.ones(params.images, dtype=np.int64)
    for _ in range(50):  # the mean grows with the location: bisection
        middle = (low + high) / 2
        counts = np.clip(np.rint(np.exp(middle + steps)), 1, params.max_faces).astype(np.int64)
        if counts.mean() < params.faces_per_image:
            low = middle
        else:
            high = middle
    return rng.permutation(counts)


def face_sides(params: SampleParams, counts: IntArray, rng: np.random.Generator) -> list[FloatArray]:
    """Side of every face in px: log-normal over the sample, small where there are many faces.

    Faces are ranked by a score shared within a photograph, and the k-th in rank gets the k-th
    quantile: the distribution is exact whatever the link between faces and photographs.
    """
    total = int(counts.sum())
    photo = np.repeat(np.arange(len(counts)), counts)
    log_counts = np.log(counts)
    spread = float(log_counts.std()) or 1.0
    crowd = (log_counts - log_counts.mean()) / spread
    link = params.crowd_size_link
    photo_score = -link * crowd + np.sqrt(1 - link**2) * rng.standard_normal(len(counts))
    score = photo_score[photo] + 0.55 * rng.standard_normal(total)
    rank = np.empty(total, dtype=np.int64)
    rank[np.argsort(score, kind="stable")] = np.arange(total)
    steps = _quantiles(total)
    sides = params.median_face_px * np.exp(steps * np.where(steps < 0, *params.face_spread))
    sides = np.clip(sides, *params.face_px_range)
    return list(np.split(sides[rank], np.cumsum(counts)[:-1]))


def image_size(params: SampleParams, largest: float, rng: np.random.Generator) -> tuple[int, int]:
    """Width and height in px of one photograph; a large one if the `largest` face needs the room."""
    short = int(rng.integers(params.short_side_px[0], params.short_side_px[1] + 1))
    scale = 1.5 if rng.random() < params.large_image_share or largest > 0.72 * short else 1.0
    short = round(scale * short)
    long = round(scale * params.long_side_px)
    return (short, long) if rng.random() < params.portrait_share else (long, short)


def plan_sample(params: SampleParams) -> list[PhotoPlan]:
    """The plan of every photograph; the same for the same parameters."""
    rng = np.random.default_rng(np.random.SeedSequence([params.seed, 2**32 - 1]))
    counts = face_counts(params, rng)
    sides = face_sides(params, counts, rng)
    per_class = quota(params.class_shares, int(counts.sum()), SAMPLE_CLASSES)
    labels = rng.permutation(np.repeat(np.arange(len(SAMPLE_CLASSES)), [per_class[name] for name in SAMPLE_CLASSES]))
    per_kind = quota(params.png_mix, params.images, PNG_KINDS)
    kinds = rng.permutation(np.repeat(np.arange(len(PNG_KINDS)), [per_kind[name] for name in PNG_KINDS]))
    with_alpha = np.flatnonzero(kinds != PNG_KINDS.index("rgb8"))
    transparent = set(rng.permutation(with_alpha)[: round(params.transparent_share * len(with_alpha))].tolist())
    ends = np.cumsum(counts)
    return [
        PhotoPlan(
            index=index,
            size=image_size(params, float(sides[index].max()), rng),
            png=PNG_KINDS[int(kinds[index])],
            transparent=index in transparent,
            labels=tuple(SAMPLE_CLASSES[int(label)] for label in labels[end - count : end]),
            sides=tuple(float(side) for side in sides[index]),
        )
        for index, (count, end) in enumerate(zip(counts.tolist(), ends.tolist(), strict=True))
    ]
