"""Labelled images decoded once: squares of fixed sizes in files that are mapped into memory, never read whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskbench.data.faces import canvas_size
from maskbench.data.images import ImageError, decode, read_bytes, read_header
from maskbench.data.labelled import LabelledError, LabelledImages
from maskbench.steps import in_order
from maskbench.storage import atomic_path, content_key, read_json, write_json

#: Changes when the content or layout of the files does.
STORE_VERSION = "1"
#: Headers that are read to learn how large the images are.
_PROBES = 64

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Decoded images.

    Attributes:
        by_side: uint8 (N, 3, C, C) for each stored side C in px, mapped from disk; images that could not be decoded
            are black.
        problems: what is wrong with each image that could not be decoded, by its file.
        fingerprint: SHA-256 over the names and contents of all files: equal data, equal fingerprint, on any machine.
    """

    by_side: dict[int, Tensor]
    problems: dict[str, str]
    fingerprint: str


class StoredImages:
    """Images of the chosen side, indexed by rows as one tensor would be.

    Args:
        by_side: uint8 (N, 3, C, C) for each stored side C.
    """

    def __init__(self, by_side: dict[int, Tensor]) -> None:
        self._stored = self.by_side = by_side
        self.side = min(by_side)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.by_side[self.side].device

    @property
    def nbytes(self) -> int:
        """Bytes that they take at all sides."""
        return sum(images.nbytes for images in self.by_side.values())

    def to(self, device: torch.device) -> StoredImages:
        """These images, moved: whoever chooses the side goes on choosing it. Stored ones stay, for the way back."""
        at_home = all(images.device == device for images in self._stored.values())
        self.by_side = self._stored if at_home else {side: images.to(device) for side, images in self._stored.items()}
        return self

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.by_side[self.side][rows]


def stored_side(size: int, native: int) -> int:
    """Side, px, at which images are kept that are trained on at `size`.

    That of a canvas, so that a crop of it has as many pixels as the input; never more than images have.
    """
    return min(canvas_size(size), native)


def native_side(images: LabelledImages) -> int:
    """The longest shorter side, px, of up to 64 images evenly spaced in the list.

    Raises:
        LabelledError: none of them can be read.
    """
    positions = np.unique(np.linspace(0, len(images.files) - 1, _PROBES).round().astype(int))
    sides, first = [], ""
    for position in positions:
        try:
            header = read_header(images.root / images.files[position])
        except ImageError as error:
            first = first or str(error)
            continue
        sides.append(min(header.width, header.height))
    if not sides:
        raise LabelledError(f"{images.root}: none of {len(positions)} images can be read; the first: {first}")
    return max(sides)


def stored_images(
    cache: Path,
    images: LabelledImages,
    sides: set[int],
    *,
    max_pixels: int,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ImageStore:
    """Images from the cache; decoded and kept there when missing.

    A lock lets one process build while others wait. The files appear by renaming, the JSON that makes them count last.

    Args:
        cache: the cache's folder.
        images: what there is.
        sides: sides to keep, px: the central square, resized with antialiasing.
        max_pixels: an image header promising more is not decoded.
        workers: decoding threads (Pillow releases the interpreter lock); 0: one per core.
        progress: called with images done and in all.

    Raises:
        OSError: the disk is full.
    """
    key = _key(images, sides, max_pixels)
    facts = cache / f"images-{key[:20]}.json"
    paths = {side: facts.with_name(f"{facts.stem}-{side}.u8") for side in sorted(sides)}
    facts.parent.mkdir(parents=True, exist_ok=True)
    count = len(images.files)
    with FileLock(facts.with_suffix(".lock")):
        whole = all(path.is_file() and path.stat().st_size == count * 3 * side**2 for side, path in paths.items())
        if not (whole and facts.is_file()):
            write_json(facts, _decode_all(images, paths, max_pixels, workers or os.cpu_count() or 1, progress))
    found = read_json(facts)
    # Copy on write: torch asks for memory that may be written to, and nothing does.
    mapped = {s: np.memmap(path, np.uint8, "c", shape=(count, 3, s, s)) for s, path in paths.items()}
    by_side = {side: torch.from_numpy(array) for side, array in mapped.items()}
    return ImageStore(by_side, found["problems"], found["fingerprint"])


def _key(images: LabelledImages, sides: set[int], max_pixels: int) -> str:
    """What the files depend on; contents by size and time, so that nothing has to be read to find them."""
    found = ((name, (images.root / name).stat()) for name in images.files)
    facts = [[name, state.st_size, state.st_mtime_ns] for name, state in found]
    return content_key({"version": STORE_VERSION, "files": facts, "sides": sorted(sides), "max_pixels": max_pixels})


def _decode_all(
    images: LabelledImages,
    paths: dict[int, Path],
    max_pixels: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, object]:
    """Write the files; problems and fingerprint, for the JSON."""
    problems: dict[str, str] = {}
    contents: dict[str, str] = {}

    def read(name: str) -> tuple[str, str, dict[int, Bytes]]:
        return _squares(images.root, name, list(paths), max_pixels)

    with ExitStack() as stack:
        files = {s: stack.enter_context(stack.enter_context(atomic_path(p)).open("wb")) for s, p in paths.items()}
        for done, (name, found) in enumerate(zip(images.files, in_order(read, images.files, workers), strict=True)):
            contents[name], problem, squares = found
            if problem:
                problems[name] = problem
            for side, file in files.items():
                file.write(squares[side].tobytes())
            if progress:
                progress(done + 1, len(images.files))
    return {"images": len(images.files), "problems": problems, "fingerprint": _fingerprint(contents)}


def _fingerprint(contents: dict[str, str]) -> str:
    found = hashlib.sha256()
    for name in sorted(contents):
        found.update(f"{name}\0{contents[name]}\n".encode())
    return found.hexdigest()


def _squares(root: Path, name: str, sides: list[int], max_pixels: int) -> tuple[str, str, dict[int, Bytes]]:
    """Hash of a file's content, what is wrong with it, and its central square at every side, (3, C, C) uint8."""
    digest = ""
    try:
        content = read_bytes(root / name, max_pixels)
        digest = hashlib.sha256(content).hexdigest()
        rgb = decode(content, Path(name).name, max_pixels).rgb
    except ImageError as error:
        return digest, str(error), {side: np.zeros((3, side, side), dtype=np.uint8) for side in sides}
    short, (width, height) = min(rgb.size), rgb.size
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    resized = {side: rgb.resize((side, side), Image.Resampling.BILINEAR, box=box) for side in sides}
    return digest, "", {side: np.asarray(image).transpose(2, 0, 1) for side, image in resized.items()}
