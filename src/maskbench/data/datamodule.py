"""Batches of faces for Lightning: canvases in memory, an order that follows from seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Self

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from maskbench.data.batch import Batch
from maskbench.data.shares import WHOLE, Share
from maskbench.schemas import SPLITS
from maskbench.seeding import generator

#: Of a GPU's free memory, what pixels may take: several trainings may share it.
GPU_SHARE = 0.1


class Canvases(Protocol):
    """What a batch is gathered from: a tensor, or what is indexed like one."""

    @property
    def device(self) -> torch.device:
        """Where they are."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        ...

    def to(self, device: torch.device, /) -> Self:
        """The same on another device."""
        ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Canvases of int64 (B,) rows: uint8 (B, 3, C, C)."""
        ...


class FaceBatches(Dataset[Batch]):
    """Faces of one side; indexed by lists of positions, so a batch is one gather.

    Args:
        canvases: uint8 (N, 3, C, C) of all faces.
        targets: int64 (N,).
        rows: int64 (M,), the faces of this side.
        share: what part of each batch is handed out.
    """

    def __init__(self, canvases: Canvases, targets: Tensor, rows: Tensor, share: Share = WHOLE) -> None:
        self.canvases, self.targets, self.rows, self.share = canvases, targets, rows, share

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: list[int]) -> Batch:
        rows = self.rows[torch.as_tensor(positions, dtype=torch.int64)]
        if self.share.world == 1:
            return Batch(self._gather(rows), self.targets[rows], rows)
        own = rows[self.share.places]
        return Batch(self._gather(own), self.targets[own], own, self.share, (self.targets[rows], rows))

    def _gather(self, rows: Tensor) -> Tensor:
        # Told where the pixels are before it is indexed: indexing itself would make a GPU wait for the rows.
        return self.canvases[rows.to(self.canvases.device, non_blocking=True)]


class EpochBatchSampler(Sampler[list[int]]):
    """Shuffled batches whose order is a function of seed and epoch alone.

    Lightning calls `set_epoch` before each epoch, after a resume too, so an epoch has the same order
    whether or not those before it ran in this process.

    Args:
        count: faces.
        batch_size: faces per batch over all processes.
        seed: the run's seed.
        weights: relative chance of each face per draw (with replacement); None: each once, shuffled.
        world: number of processes; each is given every batch and takes its share.
    """

    def __init__(self, count: int, batch_size: int, seed: int, weights: Tensor | None = None, world: int = 1) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.weights, self.world = weights, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Positions in this epoch's order: int64 (count,)."""
        source = generator(self.seed, "order", self.epoch)
        if self.weights is not None:
            return torch.multinomial(self.weights, self.count, replacement=True, generator=source)
        return torch.randperm(self.count, generator=source)

    def __len__(self) -> int:
        # Batch norm needs two faces, and every process one: a smaller last batch is left out.
        return self.count // self.batch_size + (self.count % self.batch_size >= max(2, self.world))

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order().tolist()
        for index in range(len(self)):
            yield order[index * self.batch_size : (index + 1) * self.batch_size]


class FaceDataModule(L.LightningDataModule):
    """Faces, targets and sides of a study.

    Args:
        canvases: uint8 (N, 3, C, C), in the order of the split table.
        split: `schemas.SPLIT`.
        classes: class order.
        seed: the run's seed; orders batches.
        batch_size: training faces per optimiser step.
        eval_batch_size: faces per batch when predicting.
        balanced: draw faces with chances inverse to their class's frequency.
        training: `schemas.TRAINING_FACES`, if other faces or labels are trained with than those of the side `train`.
    """

    def __init__(
        self,
        canvases: Canvases,
        split: pd.DataFrame,
        classes: tuple[str, ...],
        *,
        seed: int,
        batch_size: int,
        eval_batch_size: int,
        balanced: bool = False,
        training: pd.DataFrame | None = None,
    ) -> None:
        super().__init__()
        self.canvases, self.seed, self.num_classes = canvases, seed, len(classes)
        self._home: tuple[Canvases, torch.device] | None = None
        self.batch_size, self.eval_batch_size, self.balanced = batch_size, eval_batch_size, balanced
        position = {name: index for index, name in enumerate(classes)}
        self.targets = torch.tensor([position[label] for label in split["label"]])
        self.rows = {side: torch.from_numpy(np.flatnonzero(split["split"] == side)) for side in SPLITS}
        self.training_targets = self.targets
        if training is not None:
            rows = torch.from_numpy(training["row"].to_numpy(copy=True))
            if not np.isin(training["row"], self.rows["train"]).all():
                raise ValueError("training: a face that is not on the side `train`")
            told = torch.tensor([position[label] for label in training["label"]])
            self.training_targets = self.targets.clone().index_copy(0, rows, told)
            self.rows["train"] = rows

    def setup(self, stage: str) -> None:
        """Keep the pixels on the GPU that trains, where they fit: a batch is then gathered there."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cuda" and self.canvases.nbytes <= GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            self._home, self.canvases = (self.canvases, self.canvases.device), self.canvases.to(device)

    def teardown(self, stage: str) -> None:
        """Give the GPU's memory back."""
        if self._home is not None:
            canvases, device = self._home
            self._home, self.canvases = None, canvases.to(device)

    def class_counts(self) -> Tensor:
        """Training faces per class, by the labels that are trained with: int64 (K,)."""
        return torch.bincount(self.training_targets[self.rows["train"]], minlength=self.num_classes)

    @property
    def share(self) -> Share:
        """This process's part of every batch: all of it, unless Lightning trains in several."""
        return Share(self.trainer.global_rank, self.trainer.world_size) if self.trainer else WHOLE

    def faces(self, side: str, share: Share = WHOLE) -> FaceBatches:
        """The faces of one side, in batches of which `share` is handed out."""
        targets = self.training_targets if side == "train" else self.targets
        return FaceBatches(self.canvases, targets, self.rows[side], share)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches; Lightning tells the sampler each epoch's number.

        Raises:
            ValueError: there are too few faces for one batch.
        """
        share = self.share
        faces = self.faces("train", share)
        weights = None
        if self.balanced:
            weights = 1.0 / self.class_counts().clamp(min=1)[self.training_targets[faces.rows]].double()
        sampler = EpochBatchSampler(len(faces), self.batch_size, self.seed, weights, share.world)
        if not len(sampler):
            raise ValueError(f"{len(faces)} training faces: a step needs {max(2, share.world)}")
        return _loader(faces, sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches in table order; of several processes, each takes whole batches in turn."""
        return self.ordered_dataloader("val", self.share)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch; Lightning does not look into dataclasses of its own accord."""
        return batch.to(device, non_blocking=True)

    def ordered_dataloader(self, side: str, share: Share = WHOLE) -> DataLoader[Batch]:
        """Batches of one side in table order; of several processes, each takes every `world`-th."""
        faces = self.faces(side)
        starts = range(0, len(faces), self.eval_batch_size)
        batches: list[list[int]] = [list(range(s, min(s + self.eval_batch_size, len(faces)))) for s in starts]
        batches += [[]] * (-len(batches) % share.world)  # processes keep in step: the last round may hold empty ones
        return _loader(faces, batches[share.places])


def _loader(faces: FaceBatches, batches: Sampler[list[int]] | list[list[int]]) -> DataLoader[Batch]:
    """A loader that hands lists of positions to the dataset whole: no per-face work, no workers needed.

    The gather runs in the calling process: copying 32 canvases takes well under a millisecond, less
    than handing them over from a worker.
    """
    return DataLoader(faces, sampler=batches, batch_size=None)
