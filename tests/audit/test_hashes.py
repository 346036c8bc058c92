import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench.audit import hashes as module
from maskbench.audit.hashes import bands_of, choose_bands, near_pairs


def brute_force(hashes, bits):
    return [
        [i, j, (int(hashes[i]) ^ int(hashes[j])).bit_count()]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= bits
    ]


@st.composite
def clustered_hashes(draw):
    """Hashes near a few centres: uniform ones are never near each other."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=12)
    values = []
    for _ in range(draw(st.integers(0, 30))):
        value = draw(st.sampled_from(centres))
        for bit in draw(flips):
            value ^= 1 << bit
        values.append(value)
    return np.array(values, dtype=np.uint64)


@settings(max_examples=60, deadline=None)
@given(clustered_hashes(), st.integers(0, 64), st.sampled_from([1, 7, 64, 1 << 22]))
def test_all_pairs_equal_brute_force_for_any_block(hashes, bits, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        assert near_pairs(hashes, bits).tolist() == brute_force(hashes, bits)


@settings(max_examples=100, deadline=None)
@given(clustered_hashes(), st.integers(0, 12), st.integers(4, 13), st.sampled_from([1, 7, 1 << 18]))
def test_bands_equal_brute_force_for_any_number_of_them(hashes, bits, bands, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "choose_bands", lambda count, max_bits: bands_of(bands, max_bits))
        patch.setattr(module, "_BLOCK", block)
        if max(sum(1 for _ in band.flips()) for band in bands_of(bands, bits)) < 1000:
            assert near_pairs(hashes, bits).tolist() == brute_force(hashes, bits)


@pytest.mark.parametrize("bits", [0, 1, 5, 8, 19])
def test_partners_differ_in_too_many_bits_where_they_meet_in_no_band(bits):
    for count in range(1, 65):
        # Pairs that no band finds differ in slack + 1 bits of each at least: more than allowed.
        assert sum(band.slack + 1 for band in bands_of(count, bits)) == bits + 1
    bands = bands_of(5, 8)
    assert [(band.shift, band.width, band.slack) for band in bands] == [
        (0, 12, 1), (12, 13, 1), (25, 13, 1), (38, 13, 1), (51, 13, 0)
    ]  # fmt: skip


def test_many_hashes_are_looked_up_and_few_compared():
    assert choose_bands(50, 8) == () and choose_bands(20_000, 40) == ()
    # 5e9 comparisons of 100,000 hashes; the look-ups are a thousandth of that, and grow little faster than the hashes
    assert len(choose_bands(20_000, 8)) > 3 and len(choose_bands(100_000, 8)) == 4


def test_near_pairs_of_many_hashes():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    hashes[19_999] = hashes[0] ^ np.uint64(0b101)
    hashes[5_000] = hashes[12_345] ^ np.uint64(1 << 63)
    # Two random hashes of 64 bits are within 6 bits with probability 5e-12: none among 2e8 pairs.
    assert near_pairs(hashes, 6).tolist() == [[0, 19_999, 2], [5_000, 12_345, 1]]


def test_looking_up_equals_comparing_all_on_hashes_with_near_ones():
    rng = np.random.default_rng(1)
    hashes = np.tile(rng.integers(0, 2**64, 1_500, dtype=np.uint64), 2)
    for _ in range(5):  # every copy gets up to five bits flipped
        hashes[1_500:] ^= np.uint64(1) << rng.integers(0, 64, 1_500, dtype=np.uint64)
    assert choose_bands(len(hashes), 4)
    plain = np.concatenate(list(module._all_pairs(hashes, 4)))
    assert len(plain) > 200
    np.testing.assert_array_equal(near_pairs(hashes, 4), plain)
