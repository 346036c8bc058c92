"""Faces with what a model looks at: the original enlarged, the map beside it, what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, literal, new_figure, wrapped

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

#: Perceptually even, and apart from skin and fabric over a grey face.
HEAT = "inferno"
#: Opacity of a map's peak: the face stays visible under it.
OPACITY = 0.75
#: Frame of a face that the model gets wrong.
WRONG = "#D55E00"
_CELL = 1.3
_LINE = 0.12
#: Letters that fit under a cell.
_LETTERS = 22


@dataclass(frozen=True, eq=False)
class Cell:
    """One face, or one map over it.

    Attributes:
        pixels: (S, S, 3) uint8; None: no face, the lines say why in its place.
        heat: (S, S) ≥ 0, shown as a share of its own peak; None: the face alone.
        title: above.
        lines: below.
        wrong: framed as a mistake.
    """

    pixels: Pixels | None
    heat: NDArray[np.floating] | None = None
    title: str = ""
    lines: tuple[str, ...] = ()
    wrong: bool = False


def overlay(pixels: Pixels, heat: NDArray[np.floating]) -> Floats:
    """A map over a grey face.

    Args:
        pixels: (S, S, 3) uint8.
        heat: (S, S) ≥ 0; all zero or NaN: nothing is laid over the face.

    Returns:
        (S, S, 3) float in [0, 1]; colour and opacity follow the map's share of its peak.

    Raises:
        ValueError: the sizes differ.
    """
    if pixels.shape[:2] != heat.shape:
        raise ValueError(f"a map of {heat.shape} does not lie over a face of {pixels.shape[:2]} px")
    grey = np.repeat((pixels @ np.array([0.299, 0.587, 0.114]) / 255)[..., None], 3, axis=2)
    peak = float(np.nan_to_num(heat).max(initial=0.0))
    share = np.clip(np.nan_to_num(heat) / peak, 0, 1) if peak > 0 else np.zeros(heat.shape)
    colour = mpl.colormaps[HEAT](share)[..., :3]
    opacity = OPACITY * share[..., None]
    return np.asarray(np.clip((1 - opacity) * grey + opacity * colour, 0, 1))


@styled
def fig_cells(
    rows: Sequence[Sequence[Cell | None]], labels: Sequence[str], *, name: str, title: str, caption: str
) -> Drawing:
    """A grid of faces and maps.

    Args:
        rows: cells from left to right; None leaves a place empty.
        labels: of the rows, at their left; empty strings for none.
        name: stem of the file.
        title: says what is shown.
        caption: says what to look for; what the colours mean is added where there are maps.

    Raises:
        ValueError: no cell, or not a label for each row.
    """
    if not any(cell for row in rows for cell in row) or len(labels) != len(rows):
        raise ValueError(f"{name}: at least one cell and as many labels as rows ({len(rows)}), not {len(labels)}")
    columns = max(len(row) for row in rows)
    heights = [_height(row) for row in rows]
    margin = 1.15 if any(labels) else 0.1
    heated = any(cell is not None and cell.heat is not None for row in rows for cell in row)
    size = (max(4.5, margin + columns * _CELL + 0.7 * heated), 0.6 + sum(heights))
    figure, axes = new_figure(len(rows), columns, size, gridspec_kw={"height_ratios": heights})
    for ax in axes:
        ax.set_axis_off()
    for index, row in enumerate(rows):
        if labels[index]:
            label = literal(wrapped(labels[index], 15))
            axes[index * columns].annotate(
                label, (-0.12, 0.5), xycoords="axes fraction", ha="right", va="center", fontsize=8, fontweight="bold",
                linespacing=1.1,
            )  # fmt: skip
        for column, cell in enumerate(row):
            if cell is not None:
                _draw_cell(axes[index * columns + column], cell)
    if heated:
        _colour_bar(figure, axes)
        caption += " Colour is the map's share of its own peak, so maps say where, not how much."
    return finished(figure, name, title, caption)


def _height(row: Sequence[Cell | None]) -> float:
    """Inches that a row takes with its texts."""
    cells = [cell for cell in row if cell is not None]
    above = max((cell.title.count("\n") + 1 for cell in cells if cell.title), default=0)
    below = max((_text(cell).count("\n") + 1 for cell in cells if cell.lines and cell.pixels is not None), default=0)
    return _CELL + _LINE * (above + below) + 0.08


def _text(cell: Cell) -> str:
    """The lines, folded to the width of a cell: a long class name would push the faces apart."""
    return literal("\n".join(wrapped(line, _LETTERS) for line in cell.lines))


def _draw_cell(ax: Axes, cell: Cell) -> None:
    ax.set_title(literal(cell.title), fontsize=7, fontweight="normal", pad=2, linespacing=1.05)
    if cell.pixels is None:
        ax.set(aspect="equal", box_aspect=1)
        ax.text(0.5, 0.5, _text(cell), transform=ax.transAxes, ha="center", va="center", fontsize=6.5, color=MUTED)
        return
    shown = cell.pixels if cell.heat is None else overlay(cell.pixels, cell.heat)
    ax.imshow(shown, interpolation="nearest" if cell.heat is None else "bilinear")
    ax.annotate(_text(cell), (0.5, -0.03), xycoords="axes fraction", ha="center", va="top", fontsize=6.5,
                linespacing=1.15)  # fmt: skip
    if cell.wrong:
        ax.set_axis_on()
        ax.grid(visible=False)
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(visible=True, color=WRONG, linewidth=2)


def _colour_bar(figure: Figure, axes: Sequence[Axes]) -> None:
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT), ax=list(axes), shrink=min(1.0, 2.2 / figure.get_figheight()), aspect=14,
        pad=0.01,
    )  # fmt: skip
    bar.set_label("share of the map's peak", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
