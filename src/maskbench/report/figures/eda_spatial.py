"""Figures of where faces lie in the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, SEQUENTIAL, new_figure, percent_ticks, wrapped

_TITLES = {
    "centres": "Where faces lie: density of the boxes' centres",
    "coverage": "What faces cover: share inside a box",
}
_UNITS = {"centres": "density (1: evenly spread)", "coverage": "mean share inside a box"}


@styled
def fig_heatmaps(heatmaps: pd.DataFrame, classes: Sequence[str], quantity: Literal["centres", "coverage"]) -> Drawing:
    """Maps over the photograph, for all classes and for each, on one scale.

    Args:
        heatmaps: `schemas.HEATMAPS`.
        classes: class order.
        quantity: `centres` are drawn as density relative to an even spread, in larger cells for
            classes of few faces (`density_of_centres`); `coverage` as it stands in the table.
    """
    table = heatmaps[heatmaps["quantity"] == quantity]
    names = ["", *classes]
    cells = int(table["row"].max()) + 1
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, panels = new_figure(rows, columns, (2.45 * columns + 1.0, 2.75 * rows + 0.55), sharex=True, sharey=True)
    chosen = {name: table[table["class_name"] == name] for name in names}
    maps = {
        name: _grid(some, cells) if quantity == "coverage" else density_of_centres(some)
        for name, some in chosen.items()
    }
    top = max((float(values.max()) for values in maps.values() if np.isfinite(values).all()), default=1.0)
    images = []
    for axes, name in zip(panels, names, strict=False):
        row = chosen[name].iloc[0]
        axes.set_title(wrapped(name or "all classes", 24), fontsize=9, pad=15)
        axes.annotate(f"{int(row['faces']):,} faces, {int(row['photographs']):,} photographs", (0.5, 1.015),
                      xycoords="axes fraction", ha="center", va="bottom", fontsize=7.5, color=MUTED)  # fmt: skip
        axes.grid(visible=False)
        axes.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", "50", "100"])
        axes.set_yticks([0, 0.5, 1], ["0", "50", "100"])
        if np.isnan(maps[name]).any():
            axes.text(0.5, 0.5, f"–\n{row['reason']}", ha="center", va="center", color=MUTED)
            continue
        images.append(
            axes.imshow(maps[name], cmap=SEQUENTIAL, vmin=0, vmax=top, extent=(0, 1, 1, 0), interpolation="nearest")
        )
    for axes in panels[len(names) :]:
        axes.remove()
    if images:
        bar = figure.colorbar(images[0], ax=panels[: len(names)], shrink=0.8, pad=0.015, aspect=20)
        bar.set_label(_UNITS[quantity])
        if quantity == "coverage":
            percent_ticks(bar.ax.yaxis)
    figure.supxlabel("% of the photograph's width", fontsize=8.5)
    figure.supylabel("% of its height", fontsize=8.5)
    if quantity == "centres":
        how = (
            "Colour is the density of box centres, 1 if faces were spread evenly, on one scale; classes with few faces "
            "have larger cells (on average at least one face in each)"
        )
    else:
        how = (
            f"Colour is the mean share of each of {cells} × {cells} cells inside a box of the class, over photographs "
            "with such a face, on one scale"
        )
    total = chosen[""].iloc[0]
    return finished(
        figure,
        f"heatmap_{quantity}",
        _TITLES[quantity],
        f"{int(total['faces']):,} faces in {int(total['photographs']):,} photographs, each stretched to the unit "
        f"square. {how}. Faces gather where photographers put them; a class with a place of its own could be told by "
        "place instead of by face.",
    )


def _grid(table: pd.DataFrame, cells: int) -> NDArray[np.float64]:
    """One map's values, (cells, cells), row 0 at the top."""
    return table.sort_values(["row", "column"])["value"].to_numpy(dtype=float).reshape(cells, cells)


def density_of_centres(table: pd.DataFrame) -> NDArray[np.float64]:
    """Density of the centres relative to an even spread, in cells that hold a face on average.

    Args:
        table: the `centres` rows of one class in `schemas.HEATMAPS`.

    Returns:
        (c, c) ≥ 0 with mean 1; c is the largest divisor of the table's cells along a side with
        c² ≤ faces. NaN without faces.
    """
    cells, faces = int(table["row"].max()) + 1, int(table["faces"].iloc[0])
    drawn = max(size for size in range(1, cells + 1) if cells % size == 0 and (size**2 <= faces or size == 1))
    block = cells // drawn
    sums = _grid(table, cells).reshape(drawn, block, drawn, block).sum(axis=(1, 3))
    return np.asarray(sums * drawn**2)
