"""Figures of the boxes: their geometry per class, classes by band, and the tests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, PALETTE, colours, markers, new_figure, percent_ticks, plain_log_ticks, wrapped

_VIOLINS = {
    "box_width": ("Width", "px (log scale)"),
    "box_height": ("Height", "px (log scale)"),
    "box_area": ("Area", "px² (log scale)"),
    "box_aspect": ("Aspect", "width / height (log scale)"),
    "box_share": ("Share of the photograph", "area of the box (log scale)"),
}
_NAMES = {
    "box_width": "width",
    "box_height": "height",
    "box_area": "area",
    "box_aspect": "aspect",
    "box_share": "share of photograph",
    "box_side": "size (√area)",
    "faces_in_image": "faces in photograph",
}
#: Fillings that tell stacked classes apart where colours are printed in grey.
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "ooo", "---")
#: Fewer faces are drawn one by one: a density of a handful shows the smoothing, not the faces.
_LEAST_VIOLIN = 10


@styled
def fig_box_violins(boxes: pd.DataFrame, summary: pd.DataFrame, classes: Sequence[str]) -> Drawing:
    """Distributions of box width, height, area, aspect and share per class; width against height.

    Args:
        boxes: `schemas.BOXES`.
        summary: the box summary (`schemas.EDA_SUMMARY`); its quartiles are drawn inside the violins.
        classes: class order.
    """
    figure, panels = new_figure(2, 3, (10.6, 1.9 + 1.15 * max(len(classes), 2)))
    rows = {(row["quantity"], row["class_name"]): row for row in summary.to_dict("records")}
    counts = boxes["class_name"].value_counts()
    names = [f"{wrapped(name, 16)}\nn = {int(counts.get(name, 0)):,}" for name in classes]
    for index, (quantity, (title, unit)) in enumerate(_VIOLINS.items()):
        axes = panels[index]
        _violins(axes, boxes, quantity, classes)
        for place, name in enumerate(classes):
            row = rows[quantity, name]
            if row["n"] > 0:
                axes.plot([row["q1"], row["q3"]], [place, place], color="black", linewidth=4, solid_capstyle="butt")
                axes.plot([row["median"]], [place], "o", color="white", markeredgecolor="black", markersize=4.5)
        axes.set_yticks(range(len(classes)), names if index % 3 == 0 else [""] * len(classes), fontsize=8)
        axes.set_ylim(len(classes) - 0.45, -0.55)
        axes.grid(visible=False, axis="y")
        axes.set(title=title, xlabel=unit, ylabel="")
        plain_log_ticks(axes.xaxis, percent=quantity == "box_share")
    _plane(panels[5], boxes, classes)
    return finished(
        figure,
        "box_geometry",
        "Size and shape of the boxes per class",
        f"{len(boxes):,} faces in {boxes['image_id'].nunique():,} photographs. Each violin is a density on the log "
        "scale, as wide at its peak as the others; black bar: quartiles, white dot: median. Where classes differ in "
        "size, a model can use resolution as a cue for the class, and errors must be compared at equal size. Faces of "
        "one photograph are not independent, so the number of faces overstates how much is known.",
    )


def _violins(axes: Axes, boxes: pd.DataFrame, quantity: str, classes: Sequence[str]) -> None:
    """Horizontal violins on a log axis; classes of few or equal values as points."""
    shades = colours(classes)
    values = boxes.loc[boxes[quantity] > 0, ["class_name", quantity]]
    smooth = [
        name
        for name, group in values.groupby("class_name")[quantity]
        if len(group) >= _LEAST_VIOLIN and group.nunique() > 1
    ]
    axes.set_xscale("log")
    if smooth:
        chosen = values[values["class_name"].isin(smooth)]
        sns.violinplot(
            chosen,
            x=quantity,
            y="class_name",
            order=list(classes),
            hue="class_name",
            hue_order=list(classes),
            palette=shades,
            orient="h",
            inner=None,
            cut=0,
            log_scale=(True, None),
            density_norm="width",
            width=0.85,
            linewidth=0.8,
            saturation=1,
            legend=False,
            ax=axes,
        )
    for place, name in enumerate(classes):
        if name not in smooth:
            few = values.loc[values["class_name"] == name, quantity]
            axes.plot(few, np.full(len(few), place), "|", color=shades[name], markersize=10)


def _plane(axes: Axes, boxes: pd.DataFrame, classes: Sequence[str]) -> None:
    """Width against height, rare classes on top."""
    shades, shapes = colours(classes), markers(classes)
    counts = boxes["class_name"].value_counts()
    for name in sorted(classes, key=lambda item: -int(counts.get(item, 0))):
        some = boxes[(boxes["class_name"] == name) & (boxes["box_area"] > 0)]
        axes.scatter(some["box_width"], some["box_height"], s=6, marker=shapes[name], color=shades[name], alpha=0.4,
                     lw=0, rasterized=True)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="width (px, log scale)", ylabel="height (px, log scale)")
    axes.set_title("Width and height")
    axes.yaxis.tick_right()  # no labels between the panels, so the upper ones stay close
    axes.yaxis.set_label_position("right")
    axes.spines[["left", "right"]].set_visible(False)
    axes.spines["right"].set_visible(True)
    if len(boxes):
        sides = boxes[["box_width", "box_height"]].to_numpy(dtype=float)
        limits = (0.8 * float(sides[sides > 0].min()), 1.25 * float(sides.max()))
        axes.plot(limits, limits, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlim=limits, ylim=limits)
    plain_log_ticks(axes.xaxis)
    plain_log_ticks(axes.yaxis)
    present = [name for name in classes if name in counts.index]
    handles = [Line2D([], [], linestyle="", marker=shapes[name], color=shades[name], markersize=4) for name in present]
    axes.legend(handles, [wrapped(name, 24) for name in present], loc="upper left", fontsize=6.5, handletextpad=0.1,
                borderaxespad=0.1)  # fmt: skip


@styled
def fig_class_bands(
    class_bands: pd.DataFrame, classes: Sequence[str], factor: Literal["box_side", "faces_in_image"]
) -> Drawing:
    """Class shares by band: stacked, and each class on its own scale with intervals.

    Args:
        class_bands: `schemas.CLASS_BANDS`.
        classes: class order.
        factor: which of its factors.
    """
    table = class_bands[class_bands["factor"] == factor].sort_values("band_index")
    bands = table.drop_duplicates("band_index")
    count = len(classes) + 1
    columns = {3: 3, 4: 2}.get(count, min(4, count))
    rows = -(-count // columns)
    width, height = (9.2, 2.75 * rows + 0.5) if columns == 2 else (3.2 * columns, 2.6 * rows + 0.5)
    figure, panels = new_figure(rows, columns, (width, height))
    places, shades, shapes = np.arange(len(bands)), colours(classes), markers(classes)
    _stack(panels[0], table, bands, classes)
    for axes, name in zip(panels[1:], classes, strict=False):
        some = table[table["class_name"] == name]
        share = some["share"].to_numpy(dtype=float)
        low, high = some["low"].to_numpy(dtype=float), some["high"].to_numpy(dtype=float)
        spread = np.nan_to_num(np.clip(np.array([share - low, high - share]), 0, None))
        axes.errorbar(places, share, yerr=spread, fmt="-", marker=shapes[name], color=shades[name],
                      ecolor="black", elinewidth=1, capsize=3, markeredgecolor="black", markersize=5)  # fmt: skip
        bare = np.isnan(low)
        axes.plot(places[bare], share[bare], shapes[name], markerfacecolor="white", markeredgecolor="black",
                  markersize=5, zorder=4)  # fmt: skip
        overall = float(some["faces"].sum()) / max(float(some["band_faces"].sum()), 1.0)
        axes.axhline(overall, color=MUTED, linestyle="--", linewidth=1)
        axes.annotate(f"all\n{overall:.1%}", (1.01, overall), xycoords=("axes fraction", "data"), ha="left",
                      va="center", fontsize=7.5, color=MUTED)  # fmt: skip
        top = np.nanmax(np.concatenate([high, share, [overall, 0.01]]))
        axes.set_ylim(-0.03 * float(top), min(1.04, 1.15 * float(top)))
        axes.set_title(wrapped(name, 30))
    for axes in panels[:count]:
        axes.set_xticks(places, bands["band"], fontsize=8)
        if columns > 2:
            axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlim(-0.6, len(bands) - 0.4)
        percent_ticks(axes.yaxis)
        axes.grid(visible=False, axis="x")
    for index, axes in enumerate(panels[:count]):
        if index + columns >= count:
            axes.set_xlabel({"box_side": "size of the box, √area (px)"}.get(factor, "faces in the photograph"))
        if index % columns == 0:
            axes.set_ylabel("share of faces")
    for axes in panels[count:]:
        axes.remove()
    patches = [
        Patch(facecolor=shades[name], hatch=hatch, edgecolor="white", linewidth=0, label=wrapped(name, 30))
        for name, hatch in zip(classes, itertools.cycle(_HATCHES), strict=False)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(classes), 4))
    confidence, resamples = float(table["confidence"].iloc[0]), int(table["resamples"].iloc[0])
    what = {"box_side": "size of the face", "faces_in_image": "number of faces in the photograph"}[factor]
    return finished(
        figure,
        f"class_by_{factor}",
        f"Class shares by {what}",
        f"{int(bands['band_faces'].sum()):,} faces; each band spans a doubling (ends with few faces are pooled), the "
        f"number of its faces stands above the bars. Bars on the points: {confidence:.0%} intervals from {resamples} "
        "resamples of whole photographs, hollow points have none (too few); dashed: share among all faces; every class "
        f"has its own scale. A share that moves with the {what} means that class and difficulty are mixed: compare "
        "scores per class at equal band.",
    )


def _stack(axes: Axes, table: pd.DataFrame, bands: pd.DataFrame, classes: Sequence[str]) -> None:
    """Stacked shares with the number of faces above."""
    places, base, shades = np.arange(len(bands)), np.zeros(len(bands)), colours(classes)
    for name, hatch in zip(classes, itertools.cycle(_HATCHES), strict=False):
        share = np.nan_to_num(table.loc[table["class_name"] == name, "share"].to_numpy(dtype=float))
        axes.bar(places, share, bottom=base, color=shades[name], hatch=hatch, edgecolor="white", linewidth=0.6,
                 width=0.85)  # fmt: skip
        base = base + share
    for place, faces in zip(places, bands["band_faces"], strict=True):
        axes.annotate(f"{int(faces):,}", (place, 1.01), ha="center", va="bottom", fontsize=7.5)
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title("All classes")


@styled
def fig_tests(tests: pd.DataFrame) -> Drawing:
    """Effect sizes of the tests with intervals, and Holm-corrected p-values.

    Args:
        tests: `schemas.EDA_TESTS`.
    """
    groups = list(tests.groupby("effect_name", sort=False))
    heights = [max(len(table), 1) for _, table in groups]
    figure, panels = new_figure(len(groups), 1, (8.2, 1.5 + 0.36 * sum(heights) + 0.62 * len(groups)),
                                gridspec_kw={"height_ratios": [height + 0.6 for height in heights]})  # fmt: skip
    for axes, (effect, table) in zip(panels, groups, strict=True):
        places = np.arange(len(table))
        values = table["effect"].to_numpy(dtype=float)
        low, high = table["effect_low"].to_numpy(dtype=float), table["effect_high"].to_numpy(dtype=float)
        axes.hlines(places, low, high, color=PALETTE[0], linewidth=2.2)
        axes.plot(values, places, "o", color=PALETTE[0], markersize=6, label=str(effect), clip_on=False)
        corrected = np.maximum(table["effect_corrected"].to_numpy(dtype=float), 0)
        axes.plot(corrected, places, "D", markerfacecolor="white", markeredgecolor="black", markersize=4.5,
                  label=str(table["corrected_name"].iloc[0]), clip_on=False)  # fmt: skip
        for place, p_value in zip(places, table["p_value_holm"].tolist(), strict=True):
            axes.annotate(_p_text(p_value), (1.02, place), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8)  # fmt: skip
        axes.annotate("p (Holm)", (1.02, -0.75), xycoords=("axes fraction", "data"), va="bottom", fontsize=8,
                      fontweight="bold")  # fmt: skip
        axes.set_yticks(places, [_NAMES.get(name, name) for name in table["quantity"]])
        axes.set_ylim(len(table) - 0.4, -0.6)
        top = np.nanmax(np.concatenate([values, high, [0.02]]))
        axes.set_xlim(0, 1.08 * float(top))
        axes.grid(visible=False, axis="y")
        axes.set_title(f"{table['test'].iloc[0]}: class and …", loc="left", fontsize=9)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    panels[-1].set_xlabel("effect size (0: none, 1: the largest possible)")
    first = tests.iloc[0]
    return finished(
        figure,
        "tests",
        "How strongly class goes with size, shape and crowd",
        f"{int(tests['n'].max()):,} faces; lines: {first['confidence']:.0%} intervals of the effect, "
        f"{int(first['resamples'])} resamples of whole photographs. Right: p-values, corrected by Holm's method for "
        f"{len(tests)} tests; they take faces of one photograph as independent and are therefore too small. The "
        "line may lie left of the circle: the plain effect is biased upwards near 0, the diamond less so, the line "
        "hardly. Read it first: with thousands of faces a difference too small to matter is significant. Null "
        "hypotheses and notes stand in the table.",
    )


def _p_text(p_value: float) -> str:
    """A p-value for people: smaller ones than 0.001 are not known that well."""
    if not np.isfinite(p_value):
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
