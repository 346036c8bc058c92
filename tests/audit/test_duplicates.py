from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from maskbench.audit.duplicates import Fingerprints, find_duplicates, thumbnail_correlation
from maskbench.audit.quality import measure
from maskbench.config import AuditConfig
from maskbench.schemas import DUPLICATES, validate


def scene(seed, size=(96, 80)):
    """A smooth random picture: structure at all scales, as photographs have."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def test_correlation_by_hand():
    thumbnails = np.array([[0, 10, 20], [20, 10, 0], [5, 5, 5], [10, 30, 50]], dtype=np.uint8)
    values = thumbnail_correlation(thumbnails, np.array([0, 0, 0]), np.array([1, 2, 3]))
    assert values == pytest.approx([-1, 0, 1])


def pairs(pictures, labels=None, bits=8):
    ids = [str(index) for index in range(len(pictures))]
    rows = [(image_id, label) for image_id, found in (labels or {}).items() for label in found.elements()]
    with Fingerprints() as prints:
        for picture in pictures:
            prints.add(measure(picture))
        faces = pd.DataFrame(rows, columns=["image_id", "label"])
        table = find_duplicates(ids, prints, faces, AuditConfig(near_duplicate_bits=bits))
    return validate(table, DUPLICATES)


def test_copies_scaled_and_compressed_ones_are_found():
    original = scene(1)
    softer = original.filter(ImageFilter.GaussianBlur(1))
    smaller = original.resize((48, 40), Image.Resampling.BICUBIC)
    table = pairs([original, original.copy(), softer, smaller, scene(2), scene(3)])
    kinds = {(a, b): kind for a, b, kind in table[["image_id_a", "image_id_b", "kind"]].itertuples(index=False)}
    assert kinds[("0", "1")] == "exact"
    assert set(kinds) == {(str(a), str(b)) for a in range(4) for b in range(a + 1, 4)}
    assert [kind for pair, kind in kinds.items() if pair != ("0", "1")] == ["near"] * 5


def test_unrelated_pictures_are_not_paired():
    assert pairs([scene(seed) for seed in range(40)]).empty


def test_solid_and_nearly_flat_pictures_are_never_paired():
    colours = [(0, 0, 0), (255, 255, 255), (120, 130, 140), (120, 130, 140)]
    solid = [Image.new("RGB", (60, 40), colour) for colour in colours]
    noise = [
        Image.fromarray(np.random.default_rng(s).integers(100, 103, (40, 60, 3), dtype=np.uint8)) for s in range(3)
    ]
    assert pairs(solid + noise, bits=64).empty


def test_a_flat_but_not_solid_copy_is_exact():
    picture = Image.fromarray(np.random.default_rng(0).integers(100, 103, (40, 60, 3), dtype=np.uint8))
    assert pairs([picture, picture.copy()])["kind"].tolist() == ["exact"]


def test_equal_hashes_without_equal_content_are_refuted(monkeypatch):
    # The threshold of 64 bits makes every pair a candidate: only the correlation decides.
    assert pairs([scene(seed) for seed in range(8)], bits=64).empty


def test_labels_are_compared_as_multisets():
    labels = {"0": Counter(a=2, b=1), "1": Counter(b=1, a=2), "2": Counter(a=1, b=1)}
    table = pairs([scene(1)] * 4, labels).set_index(["image_id_a", "image_id_b"])["labels_agree"]
    assert table.to_dict() == {
        ("0", "1"): True, ("0", "2"): False, ("0", "3"): False,
        ("1", "2"): False, ("1", "3"): False, ("2", "3"): False,
    }  # fmt: skip
