"""How the properties of faces go together, and what all figures of properties share."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskbench.comparison.face_errors import property_labels, property_transforms
from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import new_figure, short_name

#: Panels from left to right.
COLUMNS = 4
_DIVERGING = "RdBu_r"


@styled
def fig_property_correlations(correlations: pd.DataFrame) -> Drawing:
    """How the properties go together.

    Args:
        correlations: `schemas.factors.PROPERTY_CORRELATIONS`.
    """
    names = [str(name) for name in correlations["property_a"].unique()]
    matrix = correlations.pivot_table(
        index="property_a", columns="property_b", values="correlation", dropna=False, sort=False
    ).reindex(index=names, columns=names)
    side = 2.4 + 0.42 * len(names)
    figure, axes = new_figure(1, 1, size=(max(5.5, side + 1.2), max(4.5, side)))
    ax = axes[0]
    colour = mpl.colormaps[_DIVERGING].with_extremes(bad="#E5E7EB")
    image = ax.imshow(matrix.to_numpy(dtype=float), cmap=colour, vmin=-1, vmax=1)
    inverse = property_transforms(names)
    labels = [
        short_name(f"1 / {label}" if inverse[name] == "reciprocal" else label, 40)
        for name, label in property_labels(names).items()
    ]
    ax.set_xticks(range(len(names)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    ax.set_yticks(range(len(names)), labels, fontsize=7.5)
    ax.grid(visible=False)
    for row, line in enumerate(matrix.to_numpy(dtype=float)):
        for column, value in enumerate(line):
            text = "–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1).replace("-", "−")
            dark = not np.isnan(value) and abs(value) > 0.6
            ax.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "#111827")
    figure.colorbar(image, ax=ax, shrink=0.6, label="correlation")
    return finished(
        figure, "property-correlations", "How the properties of the faces go together",
        f"Pearson correlations over {correlations['faces'].max()} faces, of logarithms where a property is skewed "
        "(sizes, sharpness, faces in the photograph) and of the reciprocal of the distance to the next face. Strongly "
        "coloured pairs cannot be told apart by observation: an error that goes with one goes with the other.",
    )  # fmt: skip


def by_strength(ranking: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Properties by their mean rank over the arms, the unranked last in their own order."""
    ranks = ranking.groupby("property", sort=False)["rank"].mean().reindex(list(names))
    return [str(name) for name in ranks.sort_values(kind="stable", na_position="last").index]


def property_panels(
    count: int, each: tuple[float, float], *, columns: int = COLUMNS, bottom: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Axes for `count` panels; those left over stay empty. `bottom` inches are for a legend."""
    across = min(columns, max(1, count))
    down = max(1, -(-count // across))
    width = max(each[0] * across, 4.5)
    figure, axes = new_figure(down, across, size=(width, each[1] * down + 0.5 + bottom))
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes


def arm_legend(figure: Figure, ax: Axes, arms: Sequence[str]) -> None:
    """One legend below all panels."""
    handles, labels = ax.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), [short_name(label, 40) for label in shown], loc="outside lower center",
                  ncols=min(3, max(1, len(arms))))  # fmt: skip


def errors_basis(counts: pd.DataFrame, arms: Sequence[str]) -> str:
    """Faces and errors of each arm in words."""
    known = counts.reindex([arm for arm in arms if arm in counts.index])
    return "; ".join(f"{arm}: {row['errors']:.3g} errors on {row['faces']:.0f} faces" for arm, row in known.iterrows())
