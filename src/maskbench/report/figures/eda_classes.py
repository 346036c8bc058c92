"""Figures of the classes: how many faces each has, and which stand together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import PALETTE, colours, new_figure, plain_log_ticks, thousands_ticks, wrapped


@styled
def fig_class_balance(balance: pd.DataFrame, measures: pd.DataFrame) -> Drawing:
    """Faces per class, and their shares with two intervals.

    Args:
        balance: `schemas.CLASS_BALANCE` in class order.
        measures: `schemas.CLASS_MEASURES`.
    """
    classes = balance["class_name"].tolist()
    figure, (bars, shares) = new_figure(1, 2, (9.2, 1.5 + 0.5 * len(classes)), sharey=True)
    places = np.arange(len(classes))
    drawn = bars.barh(places, balance["faces"], color=list(colours(classes).values()), height=0.62)
    heads = [
        f"{faces:,}  ({share:.1%})" if np.isfinite(share) else f"{faces:,}"
        for faces, share in zip(balance["faces"].tolist(), balance["share"].tolist(), strict=True)
    ]
    bars.bar_label(drawn, heads, padding=4, fontsize=8)
    bars.set_yticks(places, [wrapped(name, 18) for name in classes])
    bars.set_ylim(len(classes) - 0.4, -0.6)
    bars.set_xlim(0, 1.3 * max(float(balance["faces"].max()), 1.0))
    thousands_ticks(bars.xaxis)
    bars.set(xlabel="faces", title="Faces")
    bars.grid(visible=False, axis="y")
    shares.grid(visible=False, axis="y")
    for kind, offset, marker, colour, label in (
        ("wilson", -0.12, "o", PALETTE[0], "faces independent (Wilson)"),
        ("cluster", 0.12, "s", PALETTE[3], "whole photographs drawn (bootstrap)"),
    ):
        some = balance[(balance["share"] > 0) & balance[f"{kind}_low"].notna()]
        if len(some):
            spread = [some["share"] - some[f"{kind}_low"], some[f"{kind}_high"] - some["share"]]
            shares.errorbar(some["share"], places[some.index] + offset, xerr=np.clip(np.array(spread), 0, None),
                            fmt=marker, color=colour, capsize=3, markersize=5, label=label)  # fmt: skip
    shares.set_xscale("log")
    shown = balance.loc[balance["share"] > 0, ["share", "wilson_low", "cluster_low"]].min().min()
    shares.set_xlim(0.8 * float(shown) if shown > 0 else 0.01, 1.1)
    plain_log_ticks(shares.xaxis, percent=True)
    shares.set(xlabel="share of all faces (log scale)", title="Share")
    if shares.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower right", ncols=2)
    rows = {str(row["measure"]): row for row in measures.to_dict("records")}
    confidence, photographs = float(balance["confidence"].iloc[0]), int(balance["photographs"].max())
    return finished(
        figure,
        "class_balance",
        "Faces per class and their shares",
        f"{int(balance['faces'].sum()):,} faces; the commonest class is in {photographs:,} photographs. Ratio of the "
        f"most to the least frequent class {_with_interval(rows['imbalance_ratio'])}, entropy "
        f"{_with_interval(rows['entropy_normalised'])} of its maximum, as many as "
        f"{_with_interval(rows['effective_classes'])} equally frequent classes ({confidence:.0%} intervals, "
        f"{int(balance['resamples'].iloc[0])} resamples of photographs). A square's interval wider than the circle's "
        "shows that faces of one photograph are alike. The more unequal the shares, the less accuracy alone says.",
    )


def _with_interval(row: Mapping[Any, Any]) -> str:
    """A value with its interval, or – and the reason."""
    if not np.isfinite(row["value"]):
        return f"– ({row['reason']})"
    interval = f" [{row['low']:.3g}, {row['high']:.3g}]" if np.isfinite(row["low"]) else ""
    return f"{row['value']:.3g}{interval}"


@styled
def fig_class_cooccurrence(cooccurrence: pd.DataFrame, classes: Sequence[str]) -> Drawing:
    """Photographs in which two classes stand together, and φ where they could.

    Args:
        cooccurrence: `schemas.CLASS_COOCCURRENCE`.
        classes: class order.
    """
    side = max(3.0, 1.2 + 0.62 * len(classes))
    figure, (counts, association) = new_figure(1, 2, (2 * side + 2.4, side + 0.7), sharey=True)
    everything = cooccurrence[cooccurrence["scope"] == "all"]
    several = cooccurrence[cooccurrence["scope"] == "several"]
    together = _square(everything, "together", classes)
    most = max(float(np.nanmax(together)), 1.0)
    image = counts.imshow(together, cmap="Blues", vmin=0, vmax=most)
    _write(counts, together, [[f"{value:,.0f}" for value in row] for row in together], together > 0.55 * most)
    figure.colorbar(image, ax=counts, shrink=0.8, label="photographs")
    counts.set_title("Photographs with both")
    phi = _square(several, "phi", classes)
    spread = max(float(np.nanmax(np.abs(phi))) if np.isfinite(phi).any() else 0.0, 0.1)
    image = association.imshow(phi, cmap="PuOr_r", vmin=-spread, vmax=spread)
    texts = [["–" if np.isnan(value) else f"{value:+.2f}" for value in row] for row in phi]
    _write(association, phi, texts, np.abs(np.nan_to_num(phi)) > 0.7 * spread)
    figure.colorbar(image, ax=association, shrink=0.8, label="φ")
    association.set_title("φ, photographs with ≥ 2 faces")
    for axes in (counts, association):
        axes.grid(visible=False)
        axes.set_xticks(range(len(classes)), [wrapped(name, 11) for name in classes], fontsize=8,
                        rotation=0 if len(classes) <= 4 else 90)  # fmt: skip
        axes.set_yticks(range(len(classes)), [wrapped(name, 14) for name in classes], fontsize=8)
        axes.tick_params(length=0)
    total, some = (int(table["photographs"].max()) for table in (everything, several))
    return finished(
        figure,
        "class_cooccurrence",
        "Which classes stand together in a photograph",
        f"Left: {total:,} photographs with a face; the diagonal counts those with the class. Right: the {some:,} with "
        "at least two faces, since in the others two classes cannot meet. φ is 0 for independence, +1 if two classes "
        "always go together, -1 if they exclude each other; – is undefined. Classes that go together share backgrounds "
        "and light, so a model must look at the face; classes that avoid each other let it go by the scene.",
    )


def _square(table: pd.DataFrame, column: str, classes: Sequence[str]) -> NDArray[np.float64]:
    """`column` as (K, K), rows `class_a`."""
    pairs = pd.MultiIndex.from_product([classes, classes])
    values = table.set_index(["class_a", "class_b"])[column].reindex(pairs)
    return values.to_numpy(dtype=float).reshape(len(classes), len(classes))


def _write(
    axes: Axes,
    values: NDArray[np.float64],
    texts: list[list[str]],
    dark: NDArray[np.bool_],
) -> None:
    """Each cell's text in its middle, white where the cell is dark."""
    for row, column in np.ndindex(*values.shape):
        colour = "white" if dark[row, column] else "black"
        axes.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=9)
