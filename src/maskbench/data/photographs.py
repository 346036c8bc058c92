"""Whole photographs for detectors: each is decoded once and kept, with its boxes, in one cache on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from maskbench.data.boxes import BOX_COLUMNS
from maskbench.data.images import decode_rgb
from maskbench.data.keeping import Keeper
from maskbench.steps import in_order
from maskbench.storage import atomic_path, content_key

#: Changes when the cache's content or layout does.
CACHE_VERSION = "1"
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Photographs:
    """Decoded photographs and the faces in them.

    Attributes:
        image_ids: N ids.
        pixels: flat uint8 RGB of all, one after the other; may be mapped from a file.
        starts: (N + 1,) offsets into `pixels`.
        sizes: (N, 2) int64, height and width as kept, px.
        scales: (N,) kept px per px of the file; 1 unless it was larger than the cache keeps.
        boxes: N arrays (F, 4) float32 `x0 y0 x1 y1`, px as kept.
        labels: N arrays (F,) int64, positions in the class order.
    """

    image_ids: tuple[str, ...]
    pixels: Bytes
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    scales: NDArray[np.float64]
    boxes: tuple[NDArray[np.float32], ...]
    labels: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, index: int) -> Bytes:
        """Photograph number `index`: (H, W, 3) uint8, a view that must not be written to."""
        height, width = self.sizes[index]
        return self.pixels[self.starts[index] : self.starts[index + 1]].reshape(height, width, 3)


def kept_sizes(images: pd.DataFrame, longest: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Size (N, 2) height and width, px, and scale (N,) at which photographs are kept; never enlarged.

    Args:
        images: `schemas.IMAGES`.
        longest: side above which a photograph is reduced, px.
    """
    return _kept(images[["height", "width"]].to_numpy(dtype=float), longest)


def _kept(size: NDArray[np.float64], longest: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    scales = np.minimum(1.0, longest / size.max(axis=1))
    return np.maximum(1, np.round(size * scales[:, None])).astype(np.int64), scales


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes.prod(axis=1) * 3)]).astype(np.int64)


def _cache_file(cache: Path, images: pd.DataFrame, longest: int) -> Path:
    key = content_key({"version": CACHE_VERSION, "longest": longest, "images": images["sha256"].tolist()})
    return cache / f"photographs-{key[:20]}.bin"


def usable_images(images: pd.DataFrame, faces: pd.DataFrame) -> pd.DataFrame:
    """Photographs that have faces: the split deals no others, so a detector neither learns nor is tested on them."""
    return images[images["image_id"].isin(faces["image_id"])].reset_index(drop=True)


class PhotographKeeper(Keeper):
    """Keeps the photographs that have faces.

    Args:
        cache: the cache's folder.
        longest: see `kept_sizes`.
    """

    def __init__(self, cache: Path, longest: int) -> None:
        super().__init__(cache)
        self.longest = longest

    def cut(self, photograph: Bytes, boxes_xyxy: Sequence[Sequence[float]]) -> bytes:
        """The pixels as they are kept."""
        if not len(boxes_xyxy):
            return b""
        height, width = _kept(np.array([photograph.shape[:2]], dtype=float), self.longest)[0][0]
        return resized(photograph, int(height), int(width)).tobytes()

    def keep(self, images: pd.DataFrame, faces: pd.DataFrame) -> None:
        """As `cached_photographs` finds them."""
        used = usable_images(images, faces)
        sizes, _ = kept_sizes(used, self.longest)
        self.finish(_cache_file(self.cache, used, self.longest), int(_starts(sizes)[-1]))


def cached_photographs(
    cache: Path,
    root: Path | Callable[[], Path],
    images: pd.DataFrame,
    faces: pd.DataFrame,
    classes: tuple[str, ...],
    longest: int,
    *,
    max_pixels: int,
    progress: Callable[[int, int], None] | None = None,
) -> Photographs:
    """Photographs from the cache; decoded and kept there when missing. Their pixels stay on disk until they are used.

    Args:
        cache: the cache's folder.
        root: the dataset's folder, or what finds it: asked only when photographs have to be decoded.
        images: `schemas.IMAGES`, the usable ones; the order of the result.
        faces: `schemas.FACES`.
        classes: class order.
        longest: see `kept_sizes`.
        max_pixels: see `decode_rgb`.
        progress: called with photographs done and in all.

    Raises:
        ImageError: a photograph that the audit could read no longer can be.
    """
    sizes, scales = kept_sizes(images, longest)
    starts, path = _starts(sizes), _cache_file(cache, images, longest)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file() or path.stat().st_size != starts[-1]:
            folder = root() if callable(root) else root
            with atomic_path(path) as temporary:
                _decode_all([folder / name for name in images["file"]], temporary, starts, sizes, max_pixels, progress)
    pixels = np.memmap(path, dtype=np.uint8, mode="r") if starts[-1] else np.empty(0, np.uint8)
    boxes, labels = _targets(images, faces, classes, scales)
    return Photographs(tuple(images["image_id"]), pixels, starts, sizes, scales, boxes, labels)


def _decode_all(
    files: list[Path],
    path: Path,
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    max_pixels: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write all photographs' pixels to `path`, in order."""
    if not starts[-1]:
        path.touch()
        return
    pixels = np.memmap(path, dtype=np.uint8, mode="w+", shape=(int(starts[-1]),))

    def keep(index: int) -> None:
        photograph = decode_rgb(files[index], max_pixels)
        height, width = sizes[index]
        pixels[starts[index] : starts[index + 1]] = resized(photograph, int(height), int(width)).reshape(-1)

    for done, _ in enumerate(in_order(keep, range(len(files)), 2), start=1):
        if progress:
            progress(done, len(files))
    pixels.flush()


def resized(image: Bytes, height: int, width: int) -> Bytes:
    """`image` (H, W, 3) at another size; bilinear with antialiasing, as all resizing here."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _targets(
    images: pd.DataFrame, faces: pd.DataFrame, classes: tuple[str, ...], scales: NDArray[np.float64]
) -> tuple[tuple[NDArray[np.float32], ...], tuple[NDArray[np.int64], ...]]:
    """Boxes and labels of every photograph; empty arrays where there is no face."""
    rows_of = faces.reset_index(drop=True).groupby("image_id").indices
    coordinates = faces[BOX_COLUMNS].to_numpy(dtype=np.float32)
    position = {name: index for index, name in enumerate(classes)}
    known = np.asarray(faces["label"].map(position), dtype=np.int64)
    none = np.empty(0, dtype=np.intp)
    rows = [np.asarray(rows_of.get(image_id, none)) for image_id in images["image_id"]]
    boxes = tuple((coordinates[part] * scale).astype(np.float32) for part, scale in zip(rows, scales, strict=True))
    return boxes, tuple(np.asarray(known[part], dtype=np.int64) for part in rows)
