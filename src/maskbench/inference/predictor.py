"""A trained detector for use: any photograph in, faces with classes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import nn

from maskbench.data.images import decode_rgb
from maskbench.inference.detections import Detections
from maskbench.inference.photographs import settings_of
from maskbench.inference.runtime import SUFFIXES, load_exported
from maskbench.models.detecting import detect_batch
from maskbench.training.checkpoint import execution_of, load_detector_checkpoint

Photograph = str | Path | Image.Image | NDArray[Any] | torch.Tensor
#: Refused before decoding, as in a study.
MAX_PIXELS = 100_000_000


class Detector(Protocol):
    """What finds faces."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order."""
        ...

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Faces of RGB photographs (H, W, 3)."""
        ...


class TorchDetector:
    """A detector of this project.

    Args:
        model: from `load_detector_checkpoint` or `load_exported`; it is placed on its device.
        record: the checkpoint's.
    """

    def __init__(self, model: nn.Module, record: dict[str, Any]) -> None:
        self.model, self.record = model, record
        self.execution, self.settings = execution_of(record), settings_of(record)
        self.execution.place(model)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order."""
        return tuple(self.record["classes"])

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Faces of RGB photographs (H, W, 3) uint8 of any sizes."""
        if not images:
            return []
        answers = [one.answered() for one in detect_batch(self.model, images, self.settings, self.execution)]
        return [
            Detections.of(
                found.boxes, [self.classes[label] for label in found.labels], found.scores, image.shape[1],
                image.shape[0], self.classes,
            )
            for found, image in zip(answers, images, strict=True)
        ]  # fmt: skip


def load_detector(path: Path) -> TorchDetector:
    """The detector of a checkpoint, or of a file that `maskbench export` wrote.

    Raises:
        CheckpointError: not a detector of this project.
        RuntimeMissingError: what computes an exported file is not installed.
    """
    exported = path.suffix in SUFFIXES.values()
    return TorchDetector(*(load_exported(path) if exported else load_detector_checkpoint(path)))


class Predictor:
    """Finds faces in photographs.

    Args:
        model: a detector's checkpoint, a file from `maskbench export`, or anything that detects.
        min_score: faces below are left out.

    Example:
        `Predictor("results/mine/detect-train/torchvision-pretrained/seed0/best.safetensors")("street.png").plot(…)`
    """

    def __init__(self, model: str | Path | Detector, *, min_score: float = 0.3) -> None:
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score: in 0…1, not {min_score}")
        self.detector: Detector = load_detector(Path(model)) if isinstance(model, str | Path) else model
        self.min_score = min_score

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order."""
        return self.detector.classes

    def __call__(self, image: Photograph) -> Detections:
        """Faces of one photograph: see `as_rgb` for what it may be."""
        return next(self.many([image]))

    def many(self, images: Iterable[Photograph], batch: int = 8) -> Iterator[Detections]:
        """Faces of many photographs, one after the other, looked at `batch` at a time.

        Raises:
            ValueError: `batch` below 1, or see `as_rgb`.
        """
        if batch < 1:
            raise ValueError(f"batch: at least 1, not {batch}")
        source = iter(images)
        while part := [as_rgb(image) for image in islice(source, batch)]:
            for found in self.detector.detect(part):
                yield found.above(self.min_score)


def as_rgb(image: Photograph) -> NDArray[np.uint8]:
    """A photograph as uint8 RGB (H, W, 3).

    Args:
        image: a file or a Pillow image, both turned upright as their EXIF data ask; an array (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4) of uint8, uint16 or floats in 0…1; a tensor (3, H, W) or (1, H, W) of uint8 or
            floats in 0…1. Alpha is ignored, grey is repeated.

    Raises:
        ImageError: a file that is no PNG or JPEG, or is damaged.
        ValueError: of another shape or kind, empty, or floats outside 0…1.
    """
    if isinstance(image, str | Path):
        return _upright(Path(image), decode_rgb(Path(image), MAX_PIXELS))
    if isinstance(image, Image.Image) and image.mode.startswith("I;16"):
        return _from_array(np.asarray(image).astype(np.uint16))  # Pillow's own conversion would clip
    if isinstance(image, Image.Image):
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(image, torch.Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise ValueError(f"a tensor is (3, H, W) or (1, H, W), not {tuple(image.shape)}")
        return _from_array(image.detach().cpu().permute(1, 2, 0).float().numpy() if image.is_floating_point()
                           else image.detach().cpu().permute(1, 2, 0).numpy())  # fmt: skip
    if isinstance(image, np.ndarray):
        return _from_array(image)
    raise ValueError(f"a photograph is a path, a Pillow image, an array or a tensor, not {type(image).__name__}")


def _upright(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A file's pixels as its EXIF data say it was held; datasets are read as they lie, since boxes refer to that."""
    with Image.open(path) as file:
        held = file.getexif().get(ExifTags.Base.Orientation, 1)
    if held == 1:
        return pixels
    picture = Image.fromarray(pixels)
    picture.getexif()[ExifTags.Base.Orientation] = held
    return np.array(ImageOps.exif_transpose(picture))


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise ValueError(f"an array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) and not empty, not {array.shape}")
    if pixels.dtype == np.uint16:
        pixels = pixels >> 8  # the high byte, as files of 16 bits are read
    elif np.issubdtype(pixels.dtype, np.floating):
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError("an array of floats holds values in 0…1")
        pixels = np.round(pixels * 255)
    elif pixels.dtype != np.uint8:
        raise ValueError(f"an array is of uint8, uint16 or floats in 0…1, not {pixels.dtype}")
    colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return np.ascontiguousarray(colour.astype(np.uint8))
