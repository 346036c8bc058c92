"""Face crops: each photograph is decoded once, its faces kept in one compact cache.

The cache holds every face at its native resolution with the context that augmentation can reach. It stays
on disk; memory holds what is used. The audit, which decodes every photograph anyway, fills it
(`CropKeeper`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from maskbench.data.boxes import BOX_COLUMNS, square_around
from maskbench.data.images import decode_rgb
from maskbench.data.keeping import Keeper
from maskbench.steps import in_order
from maskbench.storage import atomic_path, canonical_json

#: Changes when the cache's content or layout does.
CACHE_VERSION = "1"
#: A canvas shows this many times the model's view on each side, so that shifted, rotated and zoomed
#: views still show photograph and not padding.
CANVAS_FACTOR = 1.25
_ROWS_AT_ONCE = 4096

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class FaceCrops:
    """Native-resolution crops of many faces in one array.

    Attributes:
        face_ids: N ids.
        pixels: flat uint8 RGB of all crops, one after the other; may be mapped from a file, and then only read.
        starts: (N + 1,) offsets into `pixels`.
        regions: (N, 4) int, the crop's place in its photograph, `x0 y0 x1 y1` in px, inside it.
    """

    face_ids: tuple[str, ...]
    pixels: Bytes
    starts: NDArray[np.int64]
    regions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.face_ids)

    def crop(self, index: int) -> Bytes:
        """The crop of face number `index`: (H, W, 3) uint8, a view."""
        x0, y0, x1, y1 = self.regions[index]
        return self.pixels[self.starts[index] : self.starts[index + 1]].reshape(y1 - y0, x1 - x0, 3)


def crop_regions(faces: pd.DataFrame, margin: float) -> NDArray[np.int64]:
    """Whole-pixel regions that hold each face with all the context a canvas needs, inside the image.

    Args:
        faces: `schemas.FACES`.
        margin: context on each side as a share of the box's longer side.

    Returns:
        (N, 4) int `x0 y0 x1 y1`, px.
    """
    return context_regions(faces[BOX_COLUMNS].to_numpy(dtype=float), margin, photograph_bounds(faces))


def photograph_bounds(faces: pd.DataFrame) -> NDArray[np.float64]:
    """(N, 4) `0 0 width height` of each face's photograph, px."""
    limits = faces[["image_width", "image_height"]].to_numpy(dtype=float)
    return np.concatenate([np.zeros_like(limits), limits], axis=1)


def context_regions(boxes_xyxy: NDArray[np.float64], margin: float, bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    """The regions of boxes (N, 4) inside `bounds` (N, 4), all `x0 y0 x1 y1` in px: see `crop_regions`."""
    # The model's view, enlarged as canvases are.
    squares = square_around(square_around(boxes_xyxy, margin), (CANVAS_FACTOR - 1) / 2)
    lower = np.clip(np.floor(squares[:, :2]) - 1, bounds[:, :2], bounds[:, 2:] - 1)
    upper = np.clip(np.ceil(squares[:, 2:]) + 1, lower + 1, bounds[:, 2:])
    # C order: safetensors writes the memory of an array as it lies.
    return np.concatenate([lower, upper], axis=1).astype(np.int64, order="C")


def cut_faces(
    root: Path,
    images: pd.DataFrame,
    faces: pd.DataFrame,
    margin: float,
    *,
    max_pixels: int,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> FaceCrops:
    """Decode each photograph once and cut its faces.

    Args:
        root: the dataset's folder.
        images: `schemas.IMAGES`; gives the files.
        faces: `schemas.FACES`; the order of the result.
        margin: see `crop_regions`.
        max_pixels: see `decode_rgb`.
        workers: decoding threads (Pillow releases the interpreter lock).
        progress: called with photographs done and in all.

    Raises:
        ImageError: a photograph that the audit could read no longer can be.
    """
    regions = crop_regions(faces, margin)
    starts = _starts(regions)
    pixels = np.empty(int(starts[-1]), dtype=np.uint8)
    crops = FaceCrops(tuple(faces["face_id"]), pixels, starts, regions)
    _cut_into(crops, root, images, faces, max_pixels, workers, progress)
    return crops


def _starts(regions: NDArray[np.int64]) -> NDArray[np.int64]:
    sizes = (regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1]) * 3
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _cut_into(
    crops: FaceCrops,
    root: Path,
    images: pd.DataFrame,
    faces: pd.DataFrame,
    max_pixels: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Fill the crops' pixels."""
    files = dict(zip(images["image_id"], images["file"], strict=True))
    rows_of = faces.reset_index(drop=True).groupby("image_id", sort=True).indices

    def cut(image_id: str) -> None:
        photograph = decode_rgb(root / files[image_id], max_pixels)
        for row in rows_of[image_id]:
            x0, y0, x1, y1 = crops.regions[row]
            crops.pixels[crops.starts[row] : crops.starts[row + 1]] = photograph[y0:y1, x0:x1].reshape(-1)

    for done, _ in enumerate(in_order(cut, map(str, rows_of), max(1, workers)), start=1):
        if progress:
            progress(done, len(rows_of))


def cache_key(images: pd.DataFrame, faces: pd.DataFrame, margin: float) -> str:
    """Key of the crops' content: the photographs' hashes, the boxes, the margin, the version."""
    hashes = dict(zip(images["image_id"], images["sha256"], strict=True))
    boxes = faces[["face_id", "image_id", *BOX_COLUMNS]]
    used = sorted(set(faces["image_id"]))
    # The bytes of `storage.content_key` of the whole, some faces at a time: a hundred thousand make a large text.
    digest = hashlib.sha256(b'{"boxes":[')
    for start in range(0, len(boxes), _ROWS_AT_ONCE):
        rows = boxes.iloc[start : start + _ROWS_AT_ONCE].to_numpy().tolist()
        digest.update((b"," if start else b"") + canonical_json(rows)[1:-1])
    digest.update(b'],"images":{')
    for start in range(0, len(used), _ROWS_AT_ONCE):
        part = {image_id: hashes[image_id] for image_id in used[start : start + _ROWS_AT_ONCE]}
        digest.update((b"," if start else b"") + canonical_json(part)[1:-1])
    digest.update(b"}," + canonical_json({"margin": margin, "version": CACHE_VERSION})[1:])
    return digest.hexdigest()


def _cache_file(cache: Path, images: pd.DataFrame, faces: pd.DataFrame, margin: float) -> Path:
    return cache / f"faces-{cache_key(images, faces, margin)[:20]}.bin"


class CropKeeper(Keeper):
    """Keeps the faces' crops.

    Args:
        cache: the cache's folder.
        margin: context.
    """

    def __init__(self, cache: Path, margin: float) -> None:
        super().__init__(cache)
        self.margin = margin

    def cut(self, photograph: Bytes, boxes_xyxy: Sequence[Sequence[float]]) -> bytes:
        """The pixels of the faces' regions, one after the other."""
        if not len(boxes_xyxy):
            return b""
        height, width = photograph.shape[:2]
        bounds = np.array([[0.0, 0.0, width, height]])
        regions = context_regions(np.asarray(boxes_xyxy, dtype=float), self.margin, bounds).tolist()
        return b"".join(photograph[y0:y1, x0:x1].tobytes() for x0, y0, x1, y1 in regions)

    def keep(self, images: pd.DataFrame, faces: pd.DataFrame) -> None:
        """As `cached_faces` finds them."""
        size = int(_starts(crop_regions(faces, self.margin))[-1])
        self.finish(_cache_file(self.cache, images, faces, self.margin), size)


def cached_faces(
    cache: Path,
    root: Path | Callable[[], Path],
    images: pd.DataFrame,
    faces: pd.DataFrame,
    margin: float,
    *,
    max_pixels: int,
    progress: Callable[[int, int], None] | None = None,
) -> FaceCrops:
    """Crops from the cache; cut and kept there when missing or damaged. Their pixels stay on disk until they are used.

    A lock lets one process build while others wait; the file appears by a rename, so a reader never
    sees half of it.

    Args:
        cache: the cache's folder.
        root: the dataset's folder, or what finds it: asked only when faces have to be cut.
        images: photographs.
        faces: faces.
        margin: context.
        max_pixels: limit of decoding.
        progress: called while cutting.

    Raises:
        ImageError: a photograph that the audit could read no longer can be.
    """
    path = _cache_file(cache, images, faces, margin)
    path.parent.mkdir(parents=True, exist_ok=True)
    regions = crop_regions(faces, margin)
    starts, ids = _starts(regions), tuple(faces["face_id"])
    if not starts[-1]:
        return FaceCrops(ids, np.empty(0, dtype=np.uint8), starts, regions)
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file() or path.stat().st_size != starts[-1]:
            folder = root() if callable(root) else root
            with atomic_path(path) as temporary:
                pixels = np.memmap(temporary, dtype=np.uint8, mode="w+", shape=(int(starts[-1]),))
                _cut_into(FaceCrops(ids, pixels, starts, regions), folder, images, faces, max_pixels, 2, progress)
                pixels.flush()
    return FaceCrops(ids, np.memmap(path, dtype=np.uint8, mode="r"), starts, regions)
