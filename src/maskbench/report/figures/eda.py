"""Figures of the photographs: size, format, light, faces in each, what boxes cover, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.eda_boxes import fig_box_violins, fig_class_bands, fig_tests
from maskbench.report.figures.eda_classes import fig_class_balance, fig_class_cooccurrence
from maskbench.report.figures.eda_spatial import fig_heatmaps
from maskbench.report.style import MUTED, PALETTE, new_figure, percent_ticks, plain_log_ticks, thousands_ticks, wrapped

_QUALITY = {
    "brightness": "mean luma, 0–255",
    "contrast": "standard deviation of luma, 0–255",
    "saturation": "mean HSV saturation, 0–255",
    "sharpness": "variance of the Laplacian (log scale)",
}
_ASPECTS = {0.5: "1:2", 2 / 3: "2:3", 1.0: "1:1", 1.5: "3:2", 2.0: "2:1", 3.0: "3:1", 1 / 3: "1:3"}
#: Photographs with more faces than this quantile share one bar.
_LONG_TAIL = 0.97


def eda_drawings(images: pd.DataFrame, tables: Mapping[str, pd.DataFrame], classes: Sequence[str]) -> list[Drawing]:
    """Every figure of the description that is drawn from tables (`fig_sample_grid` needs pictures).

    Args:
        images: `schemas.IMAGES`.
        tables: of `maskbench.eda.compute.EDA_TABLES`, read back.
        classes: class order.
    """
    return [
        fig_image_sizes(images),
        fig_image_kinds(tables["image_kinds"]),
        fig_image_quality(images, tables["image_summary"]),
        fig_faces_per_image(tables["faces_per_image"]),
        fig_image_coverage(tables["image_coverage"], tables["image_summary"]),
        fig_class_balance(tables["class_balance"], tables["class_measures"]),
        fig_class_cooccurrence(tables["class_cooccurrence"], classes),
        fig_box_violins(tables["boxes"], tables["box_summary"], classes),
        fig_class_bands(tables["class_bands"], classes, "box_side"),
        fig_class_bands(tables["class_bands"], classes, "faces_in_image"),
        fig_tests(tables["tests"]),
        fig_heatmaps(tables["heatmaps"], classes, "centres"),
        fig_heatmaps(tables["heatmaps"], classes, "coverage"),
    ]


@styled
def fig_image_sizes(images: pd.DataFrame) -> Drawing:
    """Width against height, and the aspect ratio.

    Args:
        images: `schemas.IMAGES`.
    """
    figure, (plane, ratio) = new_figure(1, 2, (9.2, 4.0))
    sizes = images.groupby(["width", "height"]).size().reset_index(name="photographs")
    sizes = sizes.sort_values("photographs", ascending=False)  # small markers on top of large ones
    largest = int(sizes["photographs"].max())
    area = 14 + 380 * sizes["photographs"] / largest
    plane.scatter(sizes["width"], sizes["height"], s=area, color=PALETTE[0], alpha=0.45, edgecolors="white", lw=0.5)
    limit = 1.08 * float(max(images["width"].max(), images["height"].max()))
    plane.plot([0, limit], [0, limit], color=MUTED, linewidth=0.8, linestyle=":")
    plane.annotate("square", (limit * 0.93, limit * 0.93), ha="right", color=MUTED, fontsize=8)
    plane.set(xlim=(0, limit), ylim=(0, limit), xlabel="width (px)", ylabel="height (px)", aspect="equal")
    plane.set_title("Size")
    for count in sorted({1, max(1, round(largest / 4)), largest}):
        plane.scatter([], [], s=14 + 380 * count / largest, color=PALETTE[0], alpha=0.45, lw=0, label=f"{count:,}")
    plane.legend(title="photographs", loc="lower left", labelspacing=1.1, title_fontsize=8, borderpad=0.8)
    aspects = images["aspect"].to_numpy(dtype=float)
    spread = max(float(np.abs(np.log2(aspects)).max()), 0.3)
    ratio.hist(aspects, bins=list(2 ** np.linspace(-spread, spread, 41)), color=PALETTE[0], edgecolor="white", lw=0.4)
    ratio.set_xscale("log", base=2)
    shown = {value: name for value, name in sorted(_ASPECTS.items()) if abs(np.log2(value)) <= spread * 1.05}
    ratio.set_xticks(list(shown), list(shown.values()))
    ratio.xaxis.set_minor_locator(NullLocator())
    ratio.axvline(1, color=MUTED, linewidth=0.8, linestyle=":")
    ratio.set(xlabel="width : height (log scale)", ylabel="photographs", title="Aspect ratio")
    landscape, portrait = float((aspects > 1).mean()), float((aspects < 1).mean())
    return finished(
        figure,
        "image_sizes",
        "Size and shape of the photographs",
        f"{len(images):,} photographs of {len(sizes):,} different sizes; a marker's area shows how many share a size. "
        f"{landscape:.0%} are wider than high, {portrait:.0%} higher than wide. The commonest is "
        f"{sizes['width'].iloc[0]} × {sizes['height'].iloc[0]} px ({largest:,} photographs): where a few sizes "
        "dominate, the source scaled its photographs, and the sizes of faces in pixels say little about distance.",
    )


@styled
def fig_image_kinds(kinds: pd.DataFrame) -> Drawing:
    """File formats, colour modes, bit depths and transparency.

    Args:
        kinds: `schemas.IMAGE_KINDS`.
    """
    figure, (axes,) = new_figure(1, 1, (7.4, 0.9 + 0.3 * len(kinds) + 0.15 * kinds["property"].nunique()))
    places, names, heads, place = [], [], [], 0.0
    for _, group in kinds.groupby("property", sort=False):
        for row in group.itertuples(index=False):
            places.append(place)
            names.append(f"{str(row.property).replace('_', ' ')}: {row.value}")
            heads.append(f"{row.photographs:,}  ({row.share:.1%})")
            place += 1
        place += 0.6
    bars = axes.barh(places, kinds["photographs"], color=PALETTE[0], height=0.7)
    axes.bar_label(bars, heads, padding=4, fontsize=8)
    axes.set_yticks(places, names)
    axes.set_xlim(0, 1.22 * float(kinds["photographs"].max()))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    thousands_ticks(axes.xaxis)
    axes.set_xlabel("photographs")
    total = int(kinds.loc[kinds["property"] == "mode", "photographs"].sum())
    several = [str(name).replace("_", " ") for name, group in kinds.groupby("property", sort=False) if len(group) > 1]
    found = f"They differ in {' and '.join(several)}" if several else "All photographs are alike in all four"
    return finished(
        figure,
        "image_kinds",
        "Format, colour mode, bit depth and transparency of the files",
        f"{total:,} photographs; bit depth is per channel. {found}: a property that went with a class would let a "
        "model recognise the file instead of the face.",
    )


@styled
def fig_image_quality(images: pd.DataFrame, summary: pd.DataFrame) -> Drawing:
    """Brightness, contrast, saturation and sharpness.

    Args:
        images: `schemas.IMAGES`.
        summary: the image summary (`schemas.EDA_SUMMARY`); its quartiles are marked.
    """
    figure, panels = new_figure(2, 2, (8.6, 5.4))
    rows = {str(row["quantity"]): row for row in summary.to_dict("records")}
    for axes, (quantity, label) in zip(panels, _QUALITY.items(), strict=True):
        values = images[quantity].to_numpy(dtype=float)
        if quantity == "sharpness":
            positive = values[values > 0]
            values = np.maximum(values, positive.min() if len(positive) else 1.0)
            axes.hist(
                values, bins=list(np.geomspace(values.min(), values.max() * 1.001, 41)), color=PALETTE[0], alpha=0.7
            )
            axes.set_xscale("log")
            plain_log_ticks(axes.xaxis)
        else:
            axes.hist(values, bins=list(np.linspace(0, 255, 52)), color=PALETTE[0], alpha=0.7)
            axes.set_xlim(0, min(255.0, float(values.max()) * 1.08 + 1))
        _mark_quartiles(axes, rows[quantity])
        axes.set(xlabel=label, ylabel="photographs", title=quantity.capitalize())
    return finished(
        figure,
        "image_quality",
        "Light, colour and sharpness of the photographs",
        f"{len(images):,} photographs; solid line: median, dashed: quartiles. Dark (left in brightness), flat (left in "
        "contrast), grey (left in saturation) and blurred (left in sharpness) photographs are where errors are to be "
        "looked for. Sharpness depends on content and scaling, so compare it within a dataset only.",
    )


def _mark_quartiles(axes: Axes, row: Mapping[Any, Any]) -> None:
    """Median and quartiles as vertical lines, the median with its value."""
    for name, line in (("q1", "--"), ("median", "-"), ("q3", "--")):
        axes.axvline(float(row[name]), color="black", linestyle=line, linewidth=1.1)
    axes.annotate(
        f"median {row['median']:,.0f}",
        (0.98, 0.97),
        xycoords="axes fraction",
        ha="right",
        va="top",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


@styled
def fig_faces_per_image(faces_per_image: pd.DataFrame) -> Drawing:
    """How many photographs hold how many faces, and how concentrated the faces are.

    Args:
        faces_per_image: `schemas.FACES_PER_IMAGE`.
    """
    figure, (bars, curve) = new_figure(1, 2, (9.2, 3.5))
    table = faces_per_image.sort_values("faces")
    most, photographs = int(table["faces"].max()), int(table["photographs"].sum())
    reached = table.loc[table["photograph_share"].cumsum() >= _LONG_TAIL, "faces"]
    cut = int(reached.min()) if len(reached) else most
    shown = table[table["faces"] <= cut]
    bars.bar(shown["faces"], shown["photographs"], color=PALETTE[0], width=0.8)
    beyond = int(table.loc[table["faces"] > cut, "photographs"].sum())
    if beyond:
        place = cut + 2
        bars.bar([place], [beyond], color=MUTED, width=0.8)
        bars.annotate(f"{beyond} photographs\nwith {cut + 1}–{most}", (place, beyond), xytext=(0, 4),
                      textcoords="offset points", ha="right", va="bottom", fontsize=8)  # fmt: skip
    step = max(1, -(-cut // 10))
    ticks = {value: str(value) for value in range(int(table["faces"].min()), cut + 1, step)}
    bars.set_xticks([*ticks, *([cut + 2] if beyond else [])], [*ticks.values(), *([f"> {cut}"] if beyond else [])])
    bars.grid(visible=False, axis="x")
    bars.set(xlabel="faces in the photograph", ylabel="photographs", title="Photographs by number of faces")
    some = table[table["faces"] > 0]
    curve.step(some["faces"], table["photograph_share"].cumsum()[some.index], where="post", color=PALETTE[0],
               label="photographs")  # fmt: skip
    curve.step(some["faces"], some["face_share"].cumsum(), where="post", color=PALETTE[3], linestyle="--",
               label="faces they hold")  # fmt: skip
    curve.set_xscale("log")
    plain_log_ticks(curve.xaxis)
    curve.set(xlabel="at most this many faces (log scale)", ylabel="share", ylim=(0, 1.03), title="Concentration")
    percent_ticks(curve.yaxis)
    curve.legend(loc="lower right")
    held = (table["faces"] * table["photographs"]).sum()
    single = table[table["faces"] == 1]
    singles, share = int(single["photographs"].sum()), float(single["face_share"].sum())
    return finished(
        figure,
        "faces_per_image",
        "Faces in each photograph",
        f"{held:,} faces in {photographs:,} photographs. {singles:,} photographs show one face and hold {share:.0%} of "
        f"all faces; the fullest shows {most}. The further the dashed curve lies below the solid one, the more a few "
        "crowded photographs decide what an average over faces says: intervals therefore draw whole photographs.",
    )


@styled
def fig_image_coverage(coverage: pd.DataFrame, summary: pd.DataFrame) -> Drawing:
    """Share of each photograph inside a box.

    Args:
        coverage: `schemas.IMAGE_COVERAGE`.
        summary: the image summary (`schemas.EDA_SUMMARY`).
    """
    figure, (histogram, plane) = new_figure(1, 2, (9.2, 3.5))
    shares = coverage["coverage"].to_numpy(dtype=float)
    top = max(float(shares.max()) * 1.05, 0.01)
    histogram.hist(shares, bins=list(np.linspace(0, top, 41)), color=PALETTE[0], alpha=0.7)
    row = next(row for row in summary.to_dict("records") if row["quantity"] == "coverage")
    for name, line in (("q1", "--"), ("median", "-"), ("q3", "--")):
        histogram.axvline(float(row[name]), color="black", linestyle=line, linewidth=1.1)
    percent_ticks(histogram.xaxis)
    histogram.set(xlabel="share of the photograph inside a box", ylabel="photographs", title="Covered share")
    some = coverage[coverage["faces"] > 0]
    plane.scatter(some["faces"], some["coverage"], s=9, color=PALETTE[0], alpha=0.35, lw=0, rasterized=True)
    plane.set_xscale("log")
    plain_log_ticks(plane.xaxis)
    percent_ticks(plane.yaxis)
    plane.set(xlabel="faces in the photograph (log scale)", ylabel="covered share", ylim=(0, top))
    plane.set_title("By number of faces")
    overlapping = int((coverage["share_sum"] > coverage["coverage"] + 1e-9).sum())
    return finished(
        figure,
        "image_coverage",
        "How much of each photograph lies inside a box",
        f"{len(coverage):,} photographs, {int(coverage['faces'].sum()):,} faces; the area of the union of the boxes "
        f"(boxes overlap in {overlapping:,} photographs). Solid line: median ({row['median']:.1%}), dashed: quartiles. "
        "A small covered share means that most of what a whole-image classifier sees is background.",
    )


@styled
def fig_sample_grid(
    crops: Sequence[NDArray[np.uint8]], labels: Sequence[str], captions: Sequence[str], classes: Sequence[str] = ()
) -> Drawing:
    """Faces as they are, a row per class.

    Args:
        crops: uint8, each (H, W, 3) of any size; shown with their own pixels, not smoothed.
        labels: class of each crop.
        captions: a short line under each crop, e.g. its size.
        classes: order of the rows; by default the labels' first appearance.

    Raises:
        ValueError: nothing to show, lengths differ, a label is not among `classes`, or a crop is not
            (H, W, 3) uint8.
    """
    order = list(classes) or list(dict.fromkeys(labels))
    if not crops or not len(crops) == len(labels) == len(captions):
        raise ValueError(f"{len(crops)} crops, {len(labels)} labels, {len(captions)} captions: as many of each, not 0")
    if not set(labels) <= set(order):
        raise ValueError(f"labels that are not classes: {sorted(set(labels) - set(order))}")
    for crop in crops:
        if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or not crop.size:
            raise ValueError(f"a crop is (H, W, 3) uint8, not {crop.shape} {crop.dtype}")
    rows = [name for name in order if name in labels]
    columns = max(list(labels).count(name) for name in rows)
    side = min(1.25, 11.0 / columns)
    figure, panels = new_figure(len(rows), columns, (1.1 + side * columns, 0.45 + (side + 0.28) * len(rows)))
    used = dict.fromkeys(rows, 0)
    for axes in panels:
        axes.set_axis_off()
    for crop, label, caption in zip(crops, labels, captions, strict=True):
        row, column = rows.index(label), used[label]
        used[label] += 1
        axes = panels[row * columns + column]
        axes.imshow(crop, interpolation="nearest")
        axes.set_title(caption, fontsize=7, fontweight="normal", y=-0.02, va="top", pad=0)
        if column == 0:
            axes.annotate(wrapped(label, 13), (-0.1, 0.5), xycoords="axes fraction", ha="right", va="center",
                          fontsize=8, fontweight="bold")  # fmt: skip
    return finished(
        figure,
        "sample_faces",
        "Faces of each class",
        f"{len(crops)} faces drawn for display ({', '.join(f'{used[name]} {name}' for name in rows)}); each is scaled "
        "to the same size on paper, so coarse squares are single pixels of small faces. Look at how little of a small "
        "face is left to decide from, and whether you would have given the same label.",
    )
