"""Pairs of 64-bit hashes within a Hamming distance, without comparing each with every other.

Hashes are cut into bands. Two that differ in few bits differ in still fewer in one of the bands, so
it is enough to look up, band by band, which hashes hold the same bits there but for a few.

Source:
    Norouzi, Punjani & Fleet 2014, "Fast Exact Search in Hamming Space with Multi-Index Hashing", IEEE
    TPAMI 36(6):1107-1119, sec. 3 (proposition 1 and its corollary).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

BITS = 64
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

#: Pairs compared at once: 2 MB for each array of 8 bytes.
_BLOCK = 1 << 18
#: A band's table has 2^width entries: at most half a megabyte.
_WIDEST = 16


@dataclass(frozen=True)
class Band:
    """Some neighbouring bits of a hash.

    Attributes:
        shift: the lowest bit.
        width: how many.
        slack: in how many of them partners may differ here.
    """

    shift: int
    width: int
    slack: int

    def keys(self, hashes: Hashes) -> Ints:
        """The band's bits, (N,) int64 below 2^width."""
        return ((hashes >> np.uint64(self.shift)) & np.uint64((1 << self.width) - 1)).astype(np.int64)

    def flips(self) -> Iterator[int]:
        """Every difference of at most `slack` bits."""
        for count in range(self.slack + 1):
            for bits in combinations(range(self.width), count):
                yield sum(1 << bit for bit in bits)


def near_pairs(hashes: Hashes, max_bits: int) -> Ints:
    """Every pair of hashes that differ in at most `max_bits` bits.

    Exact for any threshold. Memory grows with the number of hashes and of pairs found, never with the
    square. Time does so too for scattered hashes and thresholds of up to about 10 bits; much larger
    thresholds compare all pairs, block by block.

    Args:
        hashes: (N,) uint64.
        max_bits: 0…64.

    Returns:
        (P, 3) int64: first index, second index (greater), distance in bits; sorted by the indices.

    Example:
        >>> near_pairs(np.array([0b0000, 0b1111, 0b0001], dtype=np.uint64), 1).tolist()
        [[0, 2, 1]]
    """
    bands = choose_bands(len(hashes), max_bits)
    found = [np.empty((0, 3), dtype=np.int64)]
    for number, band in enumerate(bands):
        found += _pairs_in_band(hashes, max_bits, band, bands[:number])
    pairs = np.concatenate(found if bands else [*found, *_all_pairs(hashes, max_bits)])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def bands_of(count: int, max_bits: int) -> tuple[Band, ...]:
    """`count` bands such that hashes within `max_bits` differ in at most `slack` bits of one of them.

    With r = max_bits div count and a = max_bits mod count, partners that differ in more than r bits of each
    of the first a + 1 bands and in r or more of each of the others differ in max_bits + 1 or more in all. So
    the others need a slack of r - 1 only; with r = 0 they are not needed.
    """
    slack, rest = divmod(max_bits, count)
    edges = [BITS * index // count for index in range(count + 1)]
    bands = (
        Band(edges[index], edges[index + 1] - edges[index], slack if index <= rest else slack - 1)
        for index in range(count)
    )
    return tuple(band for band in bands if band.slack >= 0)


def choose_bands(hashes: int, max_bits: int) -> tuple[Band, ...]:
    """The bands that need the fewest comparisons among scattered hashes; none: comparing all pairs needs no more."""
    best: tuple[Band, ...] = ()
    least = hashes * hashes / 2
    for count in range(-(-BITS // _WIDEST), max_bits + 2):
        if count > BITS:
            break
        bands = bands_of(count, max_bits)
        looks = sum(
            sum(comb(band.width, bits) for bits in range(band.slack + 1)) * hashes * (1 + hashes / 2**band.width)
            for band in bands
        )
        # A look-up costs several times as much as a comparison inside a block.
        if 4 * looks < least:
            best, least = bands, 4 * looks
    return best


def _all_pairs(hashes: Hashes, max_bits: int) -> Iterator[Ints]:
    """Compare each with all later ones, block by block."""
    rows = max(1, _BLOCK // max(1, len(hashes)))
    for start in range(0, len(hashes), rows):
        block = hashes[start : start + rows]
        distances = np.bitwise_count(block[:, None] ^ hashes[None, start:])  # (rows, N - start) uint8
        first, second = np.nonzero(distances <= max_bits)
        later = second > first
        first, second = first[later], second[later]
        yield np.stack([first + start, second + start, distances[first, second]], axis=1).astype(np.int64)


def _pairs_in_band(hashes: Hashes, max_bits: int, band: Band, earlier: tuple[Band, ...]) -> Iterator[Ints]:
    """Pairs that meet in this band and in none before it."""
    keys = band.keys(hashes)
    order = np.argsort(keys, kind="stable")  # neighbours in a table are then looked up one after the other
    keys, ordered = keys[order], hashes[order]
    starts = np.searchsorted(keys, np.arange((1 << band.width) + 1))
    for flip in band.flips():
        wanted = keys ^ flip
        # Of two keys that differ the smaller one asks; within a key, each asks for those after it.
        low = starts[wanted] if flip else np.arange(1, len(keys) + 1)
        sizes = np.where(wanted >= keys, starts[wanted + 1] - low, 0)
        for asking, asked in _expanded(low, sizes):
            distances = np.bitwise_count(ordered[asking] ^ ordered[asked])
            near = distances <= max_bits
            first, second, distances = asking[near], asked[near], distances[near]
            new = np.ones(len(first), dtype=bool)
            for other in earlier:
                new &= np.bitwise_count(other.keys(ordered[first] ^ ordered[second])) > other.slack
            ends = np.sort(np.stack([order[first[new]], order[second[new]]], axis=1), axis=1)
            yield np.column_stack([ends, distances[new]]).astype(np.int64)


def _expanded(low: Ints, sizes: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Each position with the `sizes` positions from `low` on, some at a time."""
    asking = np.flatnonzero(sizes)
    ends = np.cumsum(sizes[asking])
    begin = 0
    while begin < len(asking):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        rows, counts = asking[begin:end], sizes[asking[begin:end]]
        first = np.repeat(rows, counts)
        within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield first, np.repeat(low[rows], counts) + within
        begin = end
