"""A finished figure with what stands under it: every figure of the study is a `Drawing`.

A figure function is decorated with `styled`, makes its figure with `style.new_figure`, and returns
`Drawing(figure, name, title, caption)`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import joblib
import matplotlib as mpl
from matplotlib.figure import Figure

from maskbench.report.style import RC, literal, wrapped
from maskbench.storage import atomic_path

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
#: Metadata that would change from one run or installation to the next is left out.
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure, its file name, and its words.

    Attributes:
        figure: made without pyplot (`style.new_figure`).
        name: stem of its files: lower-case letters, digits, `_`, `-`, `.`.
        title: says what is shown.
        caption: says what to look for, and on how many photographs, faces and seeds it rests.

    Raises:
        ValueError: `name` is not a plain file stem, or title or caption is missing.
    """

    figure: Figure
    name: str
    title: str
    caption: str

    def __post_init__(self) -> None:
        """Refuse names that would leave the folder, and figures without words."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a drawing's name is a plain lower-case file stem, not {self.name!r}")
        if not self.title.strip() or not self.caption.strip():
            raise ValueError(f"drawing {self.name}: a title and a caption are needed")

    def save(self, folder: Path, dpi: int = 130) -> list[Path]:
        """Write `NAME.png` and `NAME.svg`, each whole or not at all; equal figures give equal files.

        Args:
            folder: made when missing.
            dpi: resolution of the PNG, and of rasterised parts of the SVG, in dots per inch.

        Returns:
            The two paths, PNG first.

        Raises:
            OSError: a file cannot be written.
        """
        engine, written = self.figure.get_layout_engine(), []
        try:
            for kind in _METADATA:
                path = Path(folder) / f"{self.name}.{kind}"
                self._write(path, kind, dpi)
                written.append(path)
                self.figure.set_layout_engine("none")  # laid out once is laid out for both
        finally:
            self.figure.set_layout_engine(engine)
        return written

    def save_png(self, path: Path, dpi: int = 130) -> None:
        """Write one PNG under any name, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        self._write(path, "png", dpi)

    def _write(self, path: Path, kind: str, dpi: int) -> None:
        with mpl.rc_context(RC), atomic_path(path) as temporary:  # type: ignore[arg-type]
            self.figure.savefig(temporary, dpi=dpi, format=kind, metadata=_METADATA[kind])


def save_drawings(
    drawings: Sequence[Drawing], folder: Path, dpi: int, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Save drawings side by side on the machine's cores; the files are those of `Drawing.save`.

    Args:
        drawings: what is saved.
        folder: made when missing.
        dpi: of the PNG files.
        progress: called with drawings done and in all.

    Returns:
        The files, in the order of the drawings.

    Raises:
        OSError: a file cannot be written.
    """
    # A process of one's own costs about as much as a few figures.
    jobs = min(joblib.cpu_count(), len(drawings) // 4) or 1
    saved = joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(_saved)(drawing, folder, dpi) for drawing in drawings
    )
    written: list[Path] = []
    for done, files in enumerate(saved, start=1):
        written += files
        if progress:
            progress(done, len(drawings))
    return written


def _saved(drawing: Drawing, folder: Path, dpi: int) -> list[Path]:
    return drawing.save(folder, dpi)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a figure function under the house style, for artists that read it when they are made.

    `style.new_figure` applies the style to the figure and its axes only; legends and texts added
    later would follow the caller's settings, which this leaves as they were.
    """

    @functools.wraps(draw)
    def under_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(RC):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return under_style


def finished(figure: Figure, name: str, title: str, caption: str) -> Drawing:
    """A drawing whose title also stands on the figure, wrapped to its width.

    Args:
        figure: from `style.new_figure`.
        name: file stem.
        title: says what is shown; dollar signs in it are shown as such.
        caption: says what to look for, and on what it rests.
    """
    characters = max(20, int(figure.get_figwidth() * 10))  # 11-point bold takes about 0.095 inch a letter
    figure.suptitle(literal(wrapped(title, characters)), fontsize=11, fontweight="bold")
    return Drawing(figure, name, title, caption)
