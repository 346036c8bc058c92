"""Photographs that are the same, or nearly.

Near-duplicates on two sides of a split let a model be tested on what it has seen. Candidates come from
perceptual hashes: all pairs within a Hamming distance, exactly, without comparing all pairs. A second
measure, the correlation of small thumbnails, confirms each: hashes of 64 bits also meet by chance.
Solid pictures are like each other without being copies and are never paired.

Source:
    Perceptual hash: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    sec. 3.2.1 (the DCT hash), as implemented in `imagehash.phash`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.audit.hashes import near_pairs
from maskbench.audit.quality import Quality
from maskbench.config import AuditConfig
from maskbench.schemas import DUPLICATES, empty_table

_CONFIRM_BLOCK = 1 << 14


def thumbnail_correlation(
    thumbnails: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
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


def find_duplicates(
    image_ids: Sequence[str], qualities: Sequence[Quality], labels: Mapping[str, Counter[str]], config: AuditConfig
) -> pd.DataFrame:
    """Pairs of photographs with equal or nearly equal content.

    Args:
        image_ids: N ids of readable photographs.
        qualities: their measures, in the same order.
        labels: how many faces of each label each photograph has; missing ids have none.
        config: thresholds of near-duplicates.

    Returns:
        `schemas.DUPLICATES`, sorted by the ids; `exact` pairs have equal pixels.
    """
    exact = _exact_pairs(qualities)
    rows = [(a, b, "exact", 0) for a, b in exact]
    usable = np.array(
        [i for i, q in enumerate(qualities) if not q.solid and q.contrast >= config.flat_contrast], dtype=int
    )
    if len(usable) > 1:
        hashes = np.array([int(qualities[i].phash, 16) for i in usable], dtype=np.uint64)
        thumbnails = np.stack([qualities[i].thumbnail for i in usable])
        candidates = near_pairs(hashes, config.near_duplicate_bits)
        correlations = thumbnail_correlation(thumbnails, candidates[:, 0], candidates[:, 1])
        confirmed = correlations >= config.near_duplicate_correlation
        for first, second, distance in candidates[confirmed].tolist():
            a, b = int(usable[first]), int(usable[second])
            if (a, b) not in exact:
                rows.append((a, b, "near", distance))
    if not rows:
        return empty_table(DUPLICATES)
    none: Counter[str] = Counter()
    named = []
    for a, b, kind, distance in rows:
        first_id, second_id = sorted((image_ids[a], image_ids[b]))
        agree = labels.get(first_id, none) == labels.get(second_id, none)
        named.append((first_id, second_id, kind, distance, agree))
    return pd.DataFrame(sorted(named), columns=list(DUPLICATES.columns))


def _exact_pairs(qualities: Sequence[Quality]) -> set[tuple[int, int]]:
    """Pairs with equal pixels (equal bytes imply them), solid pictures apart."""
    same: dict[str, list[int]] = defaultdict(list)
    for index, quality in enumerate(qualities):
        if not quality.solid:
            same[quality.pixels_sha256].append(index)
    return {pair for members in same.values() for pair in combinations(members, 2)}
