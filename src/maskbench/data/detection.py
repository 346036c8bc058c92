"""Training views of whole photographs: crops that keep faces, at drawn scales, mirrored and recoloured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from maskbench.config.detection import DetectAugmentConfig, DetectConfig
from maskbench.data.photographs import Photographs
from maskbench.data.shares import WHOLE, Share
from maskbench.seeding import derive_seed, generator

#: A box this small on a side, px of the view, teaches nothing and makes losses degenerate.
SMALLEST_PX = 2.0
#: Share of crops that are laid around a face; the others lie anywhere.
_AROUND_FACE = 0.9
#: Colour around a photograph: what normalisation turns into about zero.
_GREY = [124, 116, 104]


@dataclass(frozen=True)
class DetectionBatch:
    """One batch of views.

    Attributes:
        images: uint8 (B, 3, S, S).
        boxes: B tensors (F, 4) float32 `x0 y0 x1 y1`, px of the view.
        labels: B tensors (F,) int64.
        rows: int64 (B,), the photographs' positions.
        all_rows: int64 (W,), those of the whole batch, of which this may be a process's share.
    """

    images: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    rows: Tensor
    all_rows: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> DetectionBatch:
        """The same batch on `device`; the rows stay, for they are read on the CPU alone."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return DetectionBatch(
            move(self.images), tuple(map(move, self.boxes)), tuple(map(move, self.labels)), self.rows, self.all_rows,
        )  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """What determines a view: the photograph, the side of the crop, the seed of everything drawn."""

    row: int
    size: int
    seed: int


class Views(Dataset[DetectionBatch]):
    """Augmented views of photographs, indexed by lists of draws; a view follows from its `Draw` alone.

    Args:
        photographs: to cut from.
        base: longer side of a photograph at scale 1, px.
        augment: what may be drawn.
        share: what part of each batch is handed out.
    """

    def __init__(self, photographs: Photographs, base: int, augment: DetectAugmentConfig, share: Share = WHOLE) -> None:
        self.photographs, self.base, self.augment, self.share = photographs, base, augment, share

    def __getitem__(self, draws: list[Draw]) -> DetectionBatch:
        images, boxes, labels = zip(*(self.view(draw) for draw in draws[self.share.places]), strict=True)
        rows = torch.tensor([draw.row for draw in draws])
        return DetectionBatch(torch.stack(images), boxes, labels, rows[self.share.places], rows)

    def view(self, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """One view: see `augmented_view`."""
        photographs, row = self.photographs, draw.row
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw.seed)
            return augmented_view(
                photographs.image(row), photographs.boxes[row], photographs.labels[row], draw.size, self.base,
                self.augment,
            )  # fmt: skip


def augmented_view(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    size: int,
    base: int,
    augment: DetectAugmentConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """A square view of a photograph and the faces that are visible in it, drawn from torch's global generator.

    Args:
        image: (H, W, 3) uint8.
        boxes: (F, 4) `x0 y0 x1 y1`, px.
        labels: (F,).
        size: S, side of the view, px.
        base: longer side of the photograph at scale 1, px.
        augment: what may be drawn.

    Returns:
        uint8 (3, S, S), boxes (G, 4) float32 in px of the view and inside it, labels (G,), with G ≤ F.
    """
    height, width = image.shape[:2]
    low, high = (math.log(value) for value in augment.scale)
    scale = math.exp(low + (high - low) * float(torch.rand(()))) * base / max(height, width)
    around = len(boxes) > 0 and float(torch.rand(())) < _AROUND_FACE
    face = boxes[int(torch.randint(len(boxes), ()))] if around else None
    side = max(1, round(size / scale))
    if face is not None:  # a part of a large face would be shown as what is no face
        side = max(side, math.ceil(max(face[2] - face[0], face[3] - face[1])))
    left, top = _corner(height, width, face, side)
    # Copied: the photograph lies in a file that is open for reading only.
    cut = tv_tensors.Image(torch.from_numpy(_window(image, left, top, side)).permute(2, 0, 1))
    cut = F.resize(cut, [size, size], antialias=True)
    moved = (torch.from_numpy(boxes.astype(np.float32)) - torch.tensor([left, top, left, top])) * (size / side)
    inside = tv_tensors.BoundingBoxes(moved.clamp(0, size), format="XYXY", canvas_size=(size, size))
    keep = _areas(inside) >= augment.visible * _areas(moved)
    keep &= (inside[:, 2:] - inside[:, :2]).min(dim=1).values >= SMALLEST_PX if len(inside) else keep
    change = v2.Compose(
        [
            v2.RandomHorizontalFlip(augment.flip),
            v2.ColorJitter(augment.brightness, augment.contrast, augment.saturation, augment.hue),
        ]
    )
    view, found = change(cut, tv_tensors.wrap(inside[keep], like=inside))
    return view.as_subclass(Tensor), found.as_subclass(Tensor), torch.from_numpy(labels)[keep]


def _corner(height: int, width: int, face: NDArray[np.float32] | None, side: int) -> tuple[int, int]:
    """Left and top of a crop: with the whole of a face, else anywhere; over the edge only where the crop is larger."""
    corner = []
    for axis, length in enumerate((width, height)):
        share = float(torch.rand(()))
        free = length - side
        if face is None:
            corner.append(round(min(0, free) + share * abs(free)))
            continue
        start = float(face[axis + 2]) - side + share * (side - float(face[axis + 2] - face[axis]))
        corner.append(round(min(max(start, min(0, free)), max(0, free))))
    return corner[0], corner[1]


def _window(image: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """A square of the photograph, (side, side, 3); outside it is grey."""
    height, width = image.shape[:2]
    window = np.empty((side, side, 3), dtype=np.uint8)
    window[:] = _GREY
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    if x1 > x0 and y1 > y0:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return window


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


class EpochDraws(Sampler[list[Draw]]):
    """Shuffled batches of draws; order, sizes and seeds are functions of seed and epoch alone.

    Args:
        rows: int64 (M,), the photographs trained on.
        config: batch and crop sizes.
        seed: the run's.
        world: number of processes; each is given every batch and takes its share.
    """

    def __init__(self, rows: NDArray[np.int64], config: DetectConfig, seed: int, world: int = 1) -> None:
        self.rows, self.config, self.seed, self.world = rows, config, seed, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives; Lightning calls this, after a resume too."""
        self.epoch = epoch

    def __len__(self) -> int:
        # Batch norm needs two views, and every process one; a smaller last batch is left out.
        count, size = len(self.rows), self.config.batch_size
        return count // size + (count % size >= max(2, self.world))

    def __iter__(self) -> Iterator[list[Draw]]:
        source = generator(self.seed, "photographs", self.epoch)
        order = self.rows[torch.randperm(len(self.rows), generator=source).numpy()]
        sizes = torch.randint(len(self.config.crop_sizes), (len(self),), generator=source).tolist()
        for index, choice in enumerate(sizes):
            part = order[index * self.config.batch_size : (index + 1) * self.config.batch_size]
            side = self.config.crop_sizes[choice]
            yield [Draw(int(row), side, derive_seed(self.seed, "view", self.epoch, int(row))) for row in part]


def training_loader(
    photographs: Photographs,
    rows: NDArray[np.int64],
    config: DetectConfig,
    seed: int,
    workers: int,
    share: Share = WHOLE,
) -> DataLoader[DetectionBatch]:
    """Batches of augmented views.

    Args:
        photographs: all of a study.
        rows: int64 (M,), positions of those trained on.
        config: protocol.
        seed: the run's.
        workers: processes that make views; 0: this one.
        share: this process's part of each batch.

    Raises:
        ValueError: there are too few photographs for one batch.
    """
    views = Views(photographs, config.input_size, config.augment, share)
    # As `sampler`, not `batch_sampler`: Lightning tells only the former each epoch's number.
    draws = EpochDraws(rows, config, seed, share.world)
    if not len(draws):
        raise ValueError(f"{len(rows)} training photographs: a step needs {max(2, share.world)}")
    return DataLoader(views, sampler=draws, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
