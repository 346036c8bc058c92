"""Pixels kept while somebody decodes the photographs anyway: each file is read and decoded once in a study."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from maskbench.storage import umask


class Keeper(ABC):
    """A file of a cache, written photograph by photograph; what it is called is known at the end. Removed unless kept.

    Args:
        cache: the cache's folder, made when missing.

    Raises:
        OSError: the cache cannot be written; so do the methods.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".part-", suffix=".bin", dir=cache)
        self._path, self._file = Path(name), os.fdopen(descriptor, "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    @abstractmethod
    def cut(self, photograph: NDArray[np.uint8], boxes_xyxy: Sequence[Sequence[float]]) -> bytes:
        """What is kept of a photograph; called by several threads.

        Args:
            photograph: (H, W, 3) uint8, only read.
            boxes_xyxy: its usable faces, `x0 y0 x1 y1`, px.
        """

    @abstractmethod
    def keep(self, images: pd.DataFrame, faces: pd.DataFrame) -> None:
        """Put what was written in the cache, as the pixels of exactly these photographs and faces, in this order.

        Args:
            images: `schemas.IMAGES`.
            faces: `schemas.FACES`.

        Raises:
            ValueError: it is not as many bytes as they have.
        """

    def add(self, part: bytes) -> None:
        """Append what `cut` gave for the next photograph."""
        self._file.write(part)

    def finish(self, path: Path, size: int) -> None:
        """Give the file its name.

        Raises:
            ValueError: not `size` bytes were written.
        """
        if self._file.tell() != size:
            raise ValueError(f"{path.name}: {self._file.tell()} bytes were written, not {size}")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with FileLock(path.with_suffix(".lock")):
            self._path.chmod(0o666 & ~umask())
            self._path.replace(path)
