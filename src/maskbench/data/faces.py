"""Face crops: each photograph is decoded once, its faces kept in one compact cache.

The cache holds every face at its native resolution with the context that augmentation can reach. For
training, `make_canvases` resizes all of them once to a common size, so no epoch decodes or resizes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from maskbench.data.boxes import BOX_COLUMNS, square_around
from maskbench.data.images import decode_rgb
from maskbench.storage import atomic_path, content_key

if TYPE_CHECKING:
    import torch

#: Changes when the cache's content or layout does.
CACHE_VERSION = "1"
#: A canvas shows this many times the model's view on each side, so that shifted, rotated and zoomed
#: views still show photograph and not padding.
CANVAS_FACTOR = 1.25

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class FaceCrops:
    """Native-resolution crops of many faces in one array.

    Attributes:
        face_ids: N ids.
        pixels: flat uint8 RGB of all crops, one after the other.
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


def shown_squares(boxes_xyxy: NDArray[np.float64], margin: float, input_size: int) -> NDArray[np.float64]:
    """(N, 4) squares, px, that canvases for `input_size` show of boxes (N, 4)."""
    # The canvas's rounding changes its reach by under one pixel: scale the square to match exactly.
    return square_around(square_around(boxes_xyxy, margin), (canvas_size(input_size) / input_size - 1) / 2)


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
    sizes = (regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1]) * 3
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    pixels = np.empty(int(starts[-1]), dtype=np.uint8)
    files = dict(zip(images["image_id"], images["file"], strict=True))
    rows_of = faces.reset_index(drop=True).groupby("image_id", sort=True).indices

    def cut(image_id: str) -> None:
        photograph = decode_rgb(root / files[image_id], max_pixels)
        for row in rows_of[image_id]:
            x0, y0, x1, y1 = regions[row]
            pixels[starts[row] : starts[row + 1]] = photograph[y0:y1, x0:x1].reshape(-1)

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for done, _ in enumerate(pool.map(cut, rows_of), start=1):
            if progress:
                progress(done, len(rows_of))
    return FaceCrops(tuple(faces["face_id"]), pixels, starts, regions)


def cache_key(images: pd.DataFrame, faces: pd.DataFrame, margin: float) -> str:
    """Key of the crops' content: the photographs' hashes, the boxes, the margin, the version."""
    hashes = dict(zip(images["image_id"], images["sha256"], strict=True))
    boxes = faces[["face_id", "image_id", *BOX_COLUMNS]].to_numpy().tolist()
    used = {image_id: hashes[image_id] for image_id in sorted(set(faces["image_id"]))}
    return content_key({"version": CACHE_VERSION, "margin": margin, "images": used, "boxes": boxes})


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
    """Crops from the cache; cut and kept there when missing or damaged.

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
    """
    path = cache / f"faces-{cache_key(images, faces, margin)[:20]}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        crops = _read_crops(path, faces)
        if crops is None:
            folder = root() if callable(root) else root
            crops = cut_faces(folder, images, faces, margin, max_pixels=max_pixels, progress=progress)
            arrays: dict[str, NDArray[Any]] = {"pixels": crops.pixels, "starts": crops.starts, "regions": crops.regions}
            with atomic_path(path) as temporary:
                save_file(arrays, temporary)
    return crops


def _read_crops(path: Path, faces: pd.DataFrame) -> FaceCrops | None:
    """The cached crops, or None when there are none or the file is damaged (it is then made again)."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            pixels, starts, regions = (file.get_tensor(name) for name in ("pixels", "starts", "regions"))
    except (SafetensorError, OSError):
        return None
    areas = (regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1])
    if len(regions) != len(faces) or int(starts[-1]) != len(pixels) or (np.diff(starts) != areas * 3).any():
        return None
    return FaceCrops(tuple(faces["face_id"]), pixels, starts, regions)


def canvas_size(input_size: int) -> int:
    """Side of a canvas in px; canvas and input differ by an even number, so the view is a plain slice."""
    return input_size + 2 * round(input_size * (CANVAS_FACTOR - 1) / 2)


def make_canvases(crops: FaceCrops, faces: pd.DataFrame, margin: float, input_size: int) -> torch.Tensor:
    """Resize every face to a square canvas, antialiased; beyond the photograph its edge is repeated.

    Args:
        crops: native crops, in the order of `faces`.
        faces: `schemas.FACES`.
        margin: the margin the crops were cut with.
        input_size: side of the model's input in px.

    Returns:
        (N, 3, C, C) uint8 with C = `canvas_size(input_size)`; the central `input_size` px are the
        view without augmentation.
    """
    import torch  # what only cuts faces does without

    side = canvas_size(input_size)
    squares = shown_squares(faces[BOX_COLUMNS].to_numpy(dtype=float), margin, input_size)
    squares = squares - np.tile(crops.regions[:, :2], (1, 2))
    canvases = np.empty((len(crops), side, side, 3), dtype=np.uint8)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for index, canvas in enumerate(
            pool.map(lambda i: resize_region(crops.crop(i), squares[i], side), range(len(crops)))
        ):
            canvases[index] = canvas
    return torch.from_numpy(canvases).permute(0, 3, 1, 2).contiguous()


def resize_region(image: Bytes, square: NDArray[np.float64], side: int) -> Bytes:
    """The part of `image` under `square`, resized to `side` × `side` px.

    Args:
        image: (H, W, 3) uint8.
        square: `x0 y0 x1 y1` in px, possibly fractional or reaching outside; outside, edges repeat.
        side: of the result, px.

    Returns:
        (side, side, 3) uint8; bilinear with antialiasing (Pillow's filter support grows with the scale).
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (float(value) for value in square)
    before = (max(0, int(np.ceil(-y0))), max(0, int(np.ceil(-x0))))
    after = (max(0, int(np.ceil(y1 - height))), max(0, int(np.ceil(x1 - width))))
    if any(before) or any(after):
        image = np.pad(image, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
    box = (x0 + before[1], y0 + before[0], x1 + before[1], y1 + before[0])
    # Rounding may put an edge a hair outside the padded image, which Pillow refuses.
    wide, high = float(image.shape[1]), float(image.shape[0])
    clipped = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], wide), min(box[3], high))
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=clipped))
