"""Where uploads lie while somebody looks at them: a private folder in which nothing grows old."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds after which a file is deleted, and how often that is looked after.
KEPT_SECONDS, SWEPT_EVERY = 600.0, 15.0
#: How gradio is told where to.
_VARIABLE = "GRADIO_TEMP_DIR"


@contextmanager
def upload_folder(kept: float = KEPT_SECONDS, every: float = SWEPT_EVERY) -> Iterator[Path]:
    """A private folder for uploads and for pictures of answers, which is deleted with all it holds.

    Gradio's own `delete_cache` forgets pictures of answers and uploads that were broken off.

    Args:
        kept: seconds after which a file is deleted while the folder is in use.
        every: seconds between two sweeps.
    """
    before, done = os.environ.get(_VARIABLE), threading.Event()
    with tempfile.TemporaryDirectory(prefix="maskbench-app-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        os.environ[_VARIABLE] = str(folder)

        def sweep() -> None:
            while not done.wait(every):
                delete_older(folder, time.time() - kept)

        sweeper = threading.Thread(target=sweep, daemon=True)
        sweeper.start()
        try:
            yield folder
        finally:
            done.set()
            sweeper.join()
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before


def delete_older(folder: Path, moment: float) -> None:
    """Delete files below `folder` that came into it before `moment`, in seconds since 1970."""
    for path in list(folder.rglob("*")):
        with suppress(FileNotFoundError):  # somebody else was faster
            # A copy keeps the time of its original, but not that of its entry in the folder.
            if path.is_file() and path.stat().st_ctime < moment:
                path.unlink()
