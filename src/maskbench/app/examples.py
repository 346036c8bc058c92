"""Example photographs: drawn by the sample's generator, so nobody's face is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskbench.data.sources import locate_dataset

#: Few people with large faces, of every class: what a visitor wants to try first.
EXAMPLES: dict[str, Any] = {
    "images": 6,
    "seed": 20,
    "faces_per_image": 4,
    "faces_spread": 0.5,
    "median_face_px": 60,
    "class_shares": {"with_mask": 0.45, "without_mask": 0.35, "mask_weared_incorrect": 0.2},
    "png_mix": {"rgb8": 1},
}


def example_photographs(cache: Path, notify: Callable[[str], None], params: dict[str, Any] | None = None) -> list[Path]:
    """The examples' files; drawn into the cache when they are not there yet.

    Raises:
        DatasetError: the cache cannot be written.
    """
    folder = locate_dataset("sample", sample_params=params or EXAMPLES, cache=cache, notify=notify)
    return sorted((folder / "images").glob("*.png"))
