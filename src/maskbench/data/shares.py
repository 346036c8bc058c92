"""Parts of a batch that processes which train one model together take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Which part of a batch a process takes: every `world`-th item from its own number on.

    Attributes:
        rank: number of the process.
        world: processes that train one model together.
    """

    rank: int = 0
    world: int = 1

    @property
    def places(self) -> slice:
        """Places of the share in the whole batch."""
        return slice(self.rank, None, self.world)

    def weight(self, whole: int) -> float:
        """Size of a batch of `whole` over that of its shares, were all as large as this one: 1 where they are.

        A mean over processes times this, weighted by the sizes of shares, is a mean over whole batches.
        """
        return whole / (self.world * len(range(whole)[self.places]))


#: All of a batch.
WHOLE = Share()
