"""Photographs that are the same, or nearly.

Near-duplicates on two sides of a split let a model be tested on what it has seen. Candidates come from
perceptual hashes: all pairs within a Hamming distance, exactly, without comparing all pairs. A second
measure, the correlation of small thumbnails, confirms each: hashes of 64 bits also meet by chance.
Solid pictures are like each other without being copies and are never paired.

Source:
    Perceptual hash: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    sec. 3.2.1 (the DCT hash); see `quality.perceptual_hash`.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.audit.hashes import Ints, near_pairs
from maskbench.audit.quality import THUMBNAIL_SIDE, Quality
from maskbench.config import AuditConfig
from maskbench.schemas import DUPLICATES, empty_table

_CONFIRM_BLOCK = 1 << 14


def thumbnail_correlation(thumbnails: NDArray[np.uint8], first: Ints, second: Ints) -> NDArray[np.float64]:
    """Pearson correlation of pairs of thumbnails over all pixels and channels.

    Args:
        thumbnails: (N, ...) uint8.
        first: (P,) indices.
        second: (P,) indices.

    Returns:
        (P,) in [-1, 1]; 0 where a thumbnail is constant.
    """
    values = np.zeros(len(first))
    for start in range(0, len(first), _CONFIRM_BLOCK):
        part = slice(start, start + _CONFIRM_BLOCK)
        a, b = (_centred(thumbnails[indices[part]]) for indices in (first, second))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        values[part] = np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)
    return values


def _centred(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    return np.asarray(flat - flat.mean(axis=1, keepdims=True))


class Fingerprints:
    """What photographs are compared by, a few bytes each; thumbnails wait on disk until a pair asks for them."""

    def __init__(self) -> None:
        self._hashes, self._contrasts, self._solid = array("Q"), array("d"), bytearray()
        self._pictures = bytearray()
        self._thumbnails = tempfile.TemporaryFile()  # noqa: SIM115 - this object's own context closes it

    def __len__(self) -> int:
        return len(self._hashes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._thumbnails.close()

    def add(self, quality: Quality) -> None:
        """Keep the next photograph's."""
        self._hashes.append(int(quality.phash, 16))
        self._contrasts.append(quality.contrast)
        self._solid.append(quality.solid)
        self._pictures += quality.picture
        self._thumbnails.write(quality.thumbnail.tobytes())

    def exact_pairs(self) -> set[tuple[int, int]]:
        """Pairs with equal pixels (equal bytes imply them), solid pictures apart; the smaller index first."""
        same: dict[bytes, list[int]] = defaultdict(list)
        words = np.frombuffer(self._pictures, dtype=np.uint64).reshape(-1, 4)
        structured = np.flatnonzero(np.frombuffer(self._solid, dtype=np.uint8) == 0)
        order = structured[np.lexsort(words[structured].T)]  # equal ones are neighbours then
        twins = np.flatnonzero((words[order[1:]] == words[order[:-1]]).all(axis=1))
        for index in sorted({int(i) for i in order[twins]} | {int(i) for i in order[twins + 1]}):
            same[words[index].tobytes()].append(index)
        return {pair for members in same.values() for pair in combinations(members, 2)}

    def near_pairs(self, config: AuditConfig) -> Ints:
        """Pairs that resemble each other, (P, 3): the indices, the smaller first, and the distance in bits."""
        solid, contrasts = np.frombuffer(self._solid, dtype=np.uint8), np.frombuffer(self._contrasts)
        usable = np.flatnonzero((solid == 0) & (contrasts >= config.flat_contrast))
        candidates = near_pairs(np.frombuffer(self._hashes, dtype=np.uint64)[usable], config.near_duplicate_bits)
        if not len(candidates):
            return candidates
        candidates[:, :2] = usable[candidates[:, :2]]
        self._thumbnails.flush()
        thumbnails = np.memmap(
            self._thumbnails, dtype=np.uint8, mode="r", shape=(len(self), THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
        )
        correlations = thumbnail_correlation(thumbnails, candidates[:, 0], candidates[:, 1])
        return np.asarray(candidates[correlations >= config.near_duplicate_correlation])


def find_duplicates(
    image_ids: Sequence[str], prints: Fingerprints, faces: pd.DataFrame, config: AuditConfig
) -> pd.DataFrame:
    """Pairs of photographs with equal or nearly equal content.

    Args:
        image_ids: N ids of readable photographs.
        prints: theirs, in the same order.
        faces: `image_id` and `label` of their faces.
        config: thresholds of near-duplicates.

    Returns:
        `schemas.DUPLICATES`, sorted by the ids; `exact` pairs have equal pixels.
    """
    exact = prints.exact_pairs()
    rows = [(a, b, "exact", 0) for a, b in exact]
    rows += [(a, b, "near", distance) for a, b, distance in prints.near_pairs(config).tolist() if (a, b) not in exact]
    if not rows:
        return empty_table(DUPLICATES)
    labels = labels_of({image_ids[index] for row in rows for index in row[:2]}, faces)
    named = []
    for first, second, kind, distance in rows:
        a, b = sorted((image_ids[first], image_ids[second]))
        named.append((a, b, kind, distance, labels[a] == labels[b]))
    return pd.DataFrame(sorted(named), columns=list(DUPLICATES.columns))


def labels_of(image_ids: Collection[str], faces: pd.DataFrame) -> dict[str, Counter[str]]:
    """How many faces of each label photographs have."""
    found: dict[str, Counter[str]] = {image_id: Counter() for image_id in image_ids}
    chosen = faces[faces["image_id"].isin(found)]
    for image_id, label in zip(chosen["image_id"], chosen["label"], strict=True):
        found[image_id][label] += 1
    return found
