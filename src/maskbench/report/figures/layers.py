"""Figures of what layers answer to: first filters, feature maps of a face, favourite inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import SEQUENTIAL, literal, new_figure, short_name, wrapped

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]
_SHOWN = 8


@styled
def fig_filters(filters: Mapping[str, Floats]) -> Drawing:
    """The filters of the first convolution of every arm.

    Args:
        filters: by arm (64, 3, 7, 7).
    """
    figure, axes = new_figure(1, len(filters), size=(4.4 * len(filters), 4.7))
    for ax, (arm, weights) in zip(axes, filters.items(), strict=True):
        ax.imshow(_tiled([_as_colour(one) for one in weights], 8), interpolation="nearest")
        ax.set_title(short_name(arm, 30))
        ax.set_axis_off()
    return finished(
        figure, "first-filters", "What the first layer looks for",
        "Each tile is one filter of 7 × 7 px, scaled to its own largest weight about grey. Edges and colours tell a "
        "layer that has learned from one that still looks like the noise it started from.",
    )  # fmt: skip


def _as_colour(weights: Floats) -> NDArray[np.float64]:
    """(3, h, w) weights as (h, w, 3) colours about grey."""
    largest = float(np.abs(weights).max()) or 1.0
    return np.asarray(0.5 + 0.5 * weights.transpose(1, 2, 0).astype(float) / largest)


def _tiled(tiles: Sequence[Floats], columns: int) -> NDArray[np.float64]:
    """Tiles (h, w, …) in rows, with a white line between them."""
    high, wide, *rest = tiles[0].shape
    rows = -(-len(tiles) // columns)
    sheet = np.ones((rows * (high + 1) - 1, columns * (wide + 1) - 1, *rest))
    for index, tile in enumerate(tiles):
        top, left = index // columns * (high + 1), index % columns * (wide + 1)
        sheet[top : top + high, left : left + wide] = tile
    return sheet


@styled
def fig_feature_maps(
    pixels: Pixels,
    maps: Mapping[str, Mapping[str, Floats]],
    channels: Mapping[str, Mapping[str, Sequence[int]]],
    *,
    number: int,
    title: str,
) -> Drawing:
    """The strongest channels of every layer for one face, arms under each other.

    Args:
        pixels: (S, S, 3) uint8, the face.
        maps: by arm, then by layer (K, h, w), strongest first.
        channels: by arm, then by layer, the numbers of these K channels, counted from 0.
        number: of the face, for the file's name.
        title: what is said of the face.
    """
    layers = list(next(iter(maps.values())))
    rows = [(arm, layer) for arm in maps for layer in layers]
    figure, axes = new_figure(len(rows), _SHOWN + 1, size=(9.6, 1.16 * len(rows) + 0.9))
    for ax in axes:
        ax.set_axis_off()
    for row, (arm, layer) in enumerate(rows):
        shown = np.nan_to_num(maps[arm][layer][:_SHOWN].astype(float))
        peak, least = max(float(shown.max(initial=0.0)), 1e-9), float(shown.min(initial=0.0))
        line = axes[row * (_SHOWN + 1) : (row + 1) * (_SHOWN + 1)]
        for ax, values, channel in zip(line[1:], shown, channels[arm][layer], strict=False):
            drawn = ax.imshow(values, cmap=SEQUENTIAL, vmin=least, vmax=peak, interpolation="nearest")
            ax.set_title(f"{channel}", fontsize=6.5, fontweight="normal", pad=2)
        if layer == layers[0]:
            line[0].imshow(pixels, interpolation="nearest")
            line[0].set_title(literal(wrapped(arm, 11)), fontsize=8)
        size = f"{shown.shape[1]} × {shown.shape[2]}"
        line[1].annotate(
            f"{_broken(layer)}\n{size}", (-0.12, 0.5), xycoords="axes fraction", ha="right", va="center", fontsize=8
        )
        bar = figure.colorbar(drawn, ax=line[-1], pad=0.05, fraction=0.09)
        bar.ax.tick_params(labelsize=6)
    return finished(
        figure, f"feature-maps-{number}", title,
        "The channels of each layer that answer most to this face, by their mean, strongest first; above each its "
        "number in the layer, counted from 0 (feature_channels.csv lists them), at the left how many places it answers "
        "at. One colour scale per row. Look how deep into the network the face can still be made out.",
    )  # fmt: skip


def _broken(layer: str) -> str:
    """A module's name over several lines, broken after dots."""
    return wrapped(layer.replace(".", ". "), 14).replace(". ", ".")


@styled
def fig_favourites(found: Mapping[str, Mapping[str, Floats]]) -> Drawing:
    """Inputs that channels answer strongly to.

    Args:
        found: by arm, then by depth (n, 3, S, S) in [0, 1].
    """
    rows = [(arm, depth) for arm, depths in found.items() for depth in depths]
    count = max(len(part) for depths in found.values() for part in depths.values())
    figure, axes = new_figure(len(rows), count, size=(1.3 * count + 1.6, 1.35 * len(rows) + 0.8))
    for ax in axes:
        ax.set_axis_off()
    for row, (arm, depth) in enumerate(rows):
        for column, image in enumerate(found[arm][depth]):
            axes[row * count + column].imshow(image.transpose(1, 2, 0).astype(float))
        axes[row * count].annotate(
            f"{short_name(arm, 22)}\n{depth}",
            (-0.1, 0.5),
            xycoords="axes fraction",
            ha="right",
            va="center",
            fontsize=8,
        )
    return finished(
        figure, "favourite-inputs", "Inputs that single channels answer strongly to",
        "Found by gradient ascent from noise, with small shifts and a blur against patterns of single pixels; contrast "
        "stretched. The first channels of each depth, not chosen.",
    )  # fmt: skip
