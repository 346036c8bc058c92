"""The processes that train one model together: each on its device, with its share of every batch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from maskbench.data.shares import Share


@dataclass(frozen=True)
class Processes:
    """Which of them this one is.

    Attributes:
        devices: of each machine; a process drives one.
        nodes: machines.
        rank: number of this process among all.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0

    @property
    def count(self) -> int:
        """On all machines."""
        return self.devices * self.nodes

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """This process's part of every batch."""
        return Share(self.rank, self.count)

    def use_device(self, device: str) -> None:
        """Make this process's GPU the one that `cuda` means."""
        if device == "cuda" and self.count > 1:
            import torch

            torch.cuda.set_device(self.rank % self.devices)

    @classmethod
    def from_environment(cls) -> Processes:
        """As whoever started this process says, in the variables that torch's own launcher sets."""
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        return cls(devices, world // devices, rank)


#: One process on one device.
ALONE = Processes()
