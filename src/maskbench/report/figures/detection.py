"""Figures of detection in whole photographs: curves, AP by class and size, confusion, errors, exactness.

Each figure shows one seed. Colours are the arms' own; a pipeline has its line style, filling or hatch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from maskbench.evaluation.detection_matching import BANDS, SIZE_BANDS
from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.systems import (
    Pair,
    bar_of,
    dot_of,
    label_of,
    least_scores,
    line_handle,
    line_of,
    number,
    pairs_in,
    rows_axis,
    rows_of,
    systems_legend,
)
from maskbench.report.style import MUTED, new_figure, percent_ticks, short_name, thousands_ticks, wrapped
from maskbench.schemas.detection import ALL_CLASSES, ANY_FACE, BACKGROUND, ERROR_KINDS, PIPELINES

_INK = "#111827"
_CELLS = "Blues"
_METRICS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ar_max": "AR", "ar50": "AR50", "ar75": "AR75"}
_KINDS = dict(
    zip(
        ERROR_KINDS,
        ("wrong class", "badly placed", "wrong class,\nbadly placed", "second box", "on no face", "missed face"),
        strict=True,
    )
)


def detection_figures(
    metrics: pd.DataFrame,
    curves: pd.DataFrame,
    confusion: pd.DataFrame,
    errors: pd.DataFrame,
    found: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
) -> list[Drawing]:
    """All figures of this module for every seed, in the report's order.

    Args:
        metrics: `schemas.detection.DETECTION_METRICS` of one side of the split, as all tables here.
        curves: `schemas.detection.DETECTION_CURVES`.
        confusion: `schemas.detection.DETECTION_CONFUSION`.
        errors: `schemas.detection.DETECTION_ERRORS`, see `fig_detection_errors`.
        found: `schemas.detection.FOUND_FACES`.
        classes: class order.
        arms: the study's arms, in order.
    """
    drawings = []
    for seed in sorted(int(seed) for seed in metrics["seed"].unique()):
        drawings += [
            fig_detection_ap(metrics, classes, arms, seed),
            *(fig_detection_curves(curves, metrics, classes, arms, seed, iou) for iou in (0.5, 0.75)),
            fig_detection_confusion(confusion, classes, arms, seed),
            fig_detection_errors(errors, arms, seed),
            fig_found_iou(found, arms, seed),
        ]
    return drawings


@styled
def fig_detection_curves(
    curves: pd.DataFrame,
    metrics: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
    seed: int,
    iou: float = 0.5,
) -> Drawing:
    """Precision–recall curves of each class and of any face, all systems in each panel.

    Args:
        curves: `schemas.detection.DETECTION_CURVES`.
        metrics: `schemas.detection.DETECTION_METRICS`, for the AP in the legends.
        classes: class order.
        arms: the study's arms, in order.
        seed: the training seed shown.
        iou: least overlap, 0.5 or 0.75.

    Raises:
        KeyError: an overlap for which COCO names no AP.
    """
    metric = {0.5: "ap50", 0.75: "ap75"}[iou]
    values, points = metrics[metrics["seed"] == seed], curves[(curves["seed"] == seed) & (curves["iou"] == iou)]
    pairs, names = pairs_in(values, arms), [*classes, ANY_FACE]
    columns = len(names) if len(names) <= 4 else math.ceil(len(names) / math.ceil(len(names) / 4))
    rows = math.ceil(len(names) / columns)
    height = 0.9 + 2.9 * rows + 0.18 * math.ceil(len(pairs) / 2)
    figure, axes = new_figure(rows, columns, size=(0.6 + 2.75 * columns, height), sharex=True, sharey=True)
    for place, (ax, name) in enumerate(zip(axes, names, strict=False)):
        handles = []
        for pair in pairs:
            part = rows_of(points, pair)
            part = part[part["class_name"] == name]
            rises = part.drop_duplicates("recall", keep="first")  # of equal recalls the first lies highest
            x, y = np.append(0.0, rises["recall"]), np.append(rises["interpolated"].iloc[:1], rises["interpolated"])
            if len(rises):
                ax.step([*x, x[-1]], [*y, 0.0], where="pre", **line_of(pair, arms))
            label = f"{_METRICS[metric]} {number(_one(values, pair, metric, name, 'all'))}"
            handles.append(line_handle(pair, arms, label))
        if not (points.loc[points["class_name"] == name, "recall"] > 0).any():
            ax.annotate("none found", (0.5, 0.4), xycoords="axes fraction", ha="center", color=MUTED)
        ax.set_title(wrapped(short_name(name, 44), 26))
        ax.legend(handles=handles, loc="best", handlelength=2.6, fontsize=7.5, borderaxespad=0.3, frameon=True,
                  framealpha=0.85, edgecolor="none")  # fmt: skip
        ax.tick_params(labelbottom=place + columns >= len(names))
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        if place + columns >= len(names):
            ax.set_xlabel("recall")
        if place % columns == 0:
            ax.set_ylabel("precision")
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    systems_legend(figure, [line_handle(pair, arms, label_of(pair, pairs)) for pair in pairs])
    return finished(
        figure, f"detection-curves-iou{iou * 100:.0f}-seed{seed}", f"Precision and recall at IoU ≥ {iou:g}",
        "As the score that a box needs falls, more faces are found (to the right) and more boxes are wrong (down); "
        "each step is the highest precision at that recall or more. A curve ends where all boxes are used: what lies "
        f"beyond is never found. {ANY_FACE.capitalize()}: classes are not minded. "
        f"{_METRICS[metric]} is the area by COCO's rules. {_basis(values)} Seed {seed}.",
    )  # fmt: skip


@styled
def fig_detection_ap(
    metrics: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
    seed: int,
    metric: str = "ap",
    by_size: str = ANY_FACE,
) -> Drawing:
    """One metric by class and by size of the face, with intervals.

    Args:
        metrics: `schemas.detection.DETECTION_METRICS`.
        classes: class order.
        arms: the study's arms, in order.
        seed: the training seed shown.
        metric: e.g. `ap`.
        by_size: the class whose sizes are shown, or `ALL_CLASSES` or `ANY_FACE`.
    """
    values = metrics[(metrics["seed"] == seed) & (metrics["metric"] == metric)]
    pairs = pairs_in(values, arms)
    parts = [
        [(name, "all") for name in (ALL_CLASSES, *classes, ANY_FACE)],
        [(by_size, band) for band in SIZE_BANDS],
    ]
    pitch = max(0.55, 0.17 * len(pairs) + 0.2)
    height = 1.3 + pitch * max(len(part) for part in parts) + 0.18 * math.ceil(len(pairs) / 2)
    figure, axes = new_figure(1, 2, size=(9.4, height), sharex=True)
    for ax, part in zip(axes, parts, strict=True):
        for index, pair in enumerate(pairs):
            places = np.arange(len(part)) + (index - (len(pairs) - 1) / 2) * 0.7 / len(pairs)
            rows = rows_of(values, pair).set_index(["class_name", "band"]).reindex(pd.MultiIndex.from_tuples(part))
            _intervals(ax, rows, places, dot_of(pair, arms))
        rows_axis(ax, [_row_name(values, *row) for row in part])
        ax.set_xlabel(
            f"{_METRICS[metric]}, mean over IoU 0.50 … 0.95" if metric in ("ap", "ar_max") else _METRICS[metric]
        )
    axes[0].set_title("By class")
    axes[1].set_title(f"By size: {short_name(by_size, 30) or 'mean over classes'}")
    drawn = [pair in [*parts[0], *parts[1]] for pair in zip(values["class_name"], values["band"], strict=True)]
    most = float(np.nanmax(values.loc[drawn, ["value", "high"]].to_numpy(dtype=float), initial=0.0))
    axes[0].set_xlim(0, min(1.0, most * 1.1 + 0.02) + 0.01)
    handles = [Line2D([], [], label=label_of(pair, pairs), **dot_of(pair, arms)) for pair in pairs]
    systems_legend(figure, handles)
    return finished(
        figure, f"detection-{metric.replace('_', '-')}-seed{seed}",
        f"{_METRICS[metric]} of whole photographs, by class and by size of the face",
        f"{_basis(values)} A bar is missing where too many draws of photographs lack such faces; a dash: there are "
        "none. Size is the side of a square as large as the face's box. The fewer photographs show such faces, the "
        "longer the bar. Bars of two systems may overlap although they differ: read the paired differences. "
        f"Seed {seed}.",
    )  # fmt: skip


@styled
def fig_detection_confusion(confusion: pd.DataFrame, classes: Sequence[str], arms: Sequence[str], seed: int) -> Drawing:
    """Confusion matrices with the background as row and column; arms side by side, pipelines below each other.

    Args:
        confusion: `schemas.detection.DETECTION_CONFUSION`.
        classes: class order.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    table = confusion[confusion["seed"] == seed]
    pairs, names = pairs_in(table, arms), [*classes, BACKGROUND]
    shown = [arm for arm in arms if any(pair[0] == arm for pair in pairs)]
    pipelines = [name for name in PIPELINES if any(pair[1] == name for pair in pairs)]
    cell = max(0.62, min(0.95, 4.4 / len(names)))
    width, height = 0.4 + cell * len(names), 0.75 + cell * len(names)
    figure, axes = new_figure(
        len(pipelines), len(shown), size=(2.6 + width * len(shown), 1.9 + height * len(pipelines)), sharex=True,
        sharey=True,
    )  # fmt: skip
    for place, (ax, pair) in enumerate(zip(axes, [(arm, name) for name in pipelines for arm in shown], strict=True)):
        part = rows_of(table, pair).set_index(["label", "predicted"])["count"]
        grid = np.array([[part.get((row, column), np.nan) for column in names] for row in names], dtype=float)
        _matrix(ax, grid, names)
        ax.set_title(wrapped(short_name(label_of(pair, pairs), 60), max(16, int(width * 9))))
        ax.set_xlabel("found as" if place >= len(shown) * (len(pipelines) - 1) else "")
        ax.set_ylabel("face of class" if place % len(shown) == 0 else "")
    return finished(
        figure, f"detection-confusion-seed{seed}", "What faces were found as",
        "Faces are matched with boxes at IoU ≥ 0.5, classes not minded, by falling score. Rows are the truth: shades "
        f"and percentages are shares of a class's faces; in the column “{BACKGROUND}” are faces not found. The row "
        f"“{BACKGROUND}” counts boxes on no face, second boxes on a face included. {least_scores(table, pairs)} "
        f"Seed {seed}.",
    )  # fmt: skip


@styled
def fig_detection_errors(errors: pd.DataFrame, arms: Sequence[str], seed: int) -> Drawing:
    """How often each kind of error occurs, and the AP50 that mending it alone would give.

    Args:
        errors: `schemas.detection.DETECTION_ERRORS`; of each system's `min_score`s, errors are counted at the highest
            and gains taken at the lowest. One alone serves for both.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    table = errors[errors["seed"] == seed]
    pairs = pairs_in(table, arms)
    pitch = max(0.5, 0.17 * len(pairs) + 0.2)
    legend = 0.2 * math.ceil(len(pairs) / 2)
    figure, axes = new_figure(1, 2, size=(9.4, 1.4 + pitch * len(ERROR_KINDS) + legend), sharey=True)
    thick = 0.76 / max(len(pairs), 1)
    handles = []
    scores = table.groupby(["arm", "pipeline"])["min_score"]
    told, ranked = (table[table["min_score"] == ends] for ends in (scores.transform("max"), scores.transform("min")))
    for index, pair in enumerate(pairs):
        style = bar_of(pair, arms)
        for ax, column, rows in zip(axes, ("count", "gain"), (told, ranked), strict=True):
            part = rows_of(rows, pair).set_index("kind").reindex(list(ERROR_KINDS))
            places = np.arange(len(part)) + (index - (len(pairs) - 1) / 2) * thick
            ax.barh(places, part[column], thick, **style)
            _bar_numbers(ax, places, part[column].to_numpy(dtype=float), "{:,.0f}" if column == "count" else "{:+.3f}")
        ap50 = number(float(part["ap50"].iloc[0]))
        handles.append(Patch(label=f"{label_of(pair, pairs)}: AP50 {ap50}", **style))
    rows_axis(axes[0], list(_KINDS.values()))
    rows_axis(axes[1], list(_KINDS.values()))
    for ax, title, label in zip(axes, ("How many", "What they cost"), ("errors", "AP50 won if mended"), strict=True):
        ax.set(title=title, xlabel=label)
        ax.margins(x=0.14)
        ax.axvline(0, color=MUTED, linewidth=0.8)
    thousands_ticks(axes[0].xaxis)
    systems_legend(figure, handles)
    return finished(
        figure, f"detection-errors-seed{seed}", "Kinds of error",
        "Left: boxes that are wrong, by what is wrong with them, and faces that no box found. "
        f"{least_scores(told, pairs)}{' This is what a user is told.' * bool((told['min_score'] > 0).all())} Right: "
        "the AP50 that would be won if that kind alone were mended (Bolya et al. 2020). "
        f"{least_scores(ranked, pairs)} A frequent kind need not be a costly one: wrong boxes of low score cost "
        f"little. Gains do not add up. Seed {seed}.",
    )  # fmt: skip


@styled
def fig_found_iou(found: pd.DataFrame, arms: Sequence[str], seed: int) -> Drawing:
    """How exactly faces are found, by their size: the share found at each overlap or more.

    Args:
        found: `schemas.detection.FOUND_FACES`.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    table = found[found["seed"] == seed]
    pairs = pairs_in(table, arms)
    height = 3.4 + 0.18 * math.ceil(len(pairs) / 2)
    figure, axes = new_figure(1, len(SIZE_BANDS), size=(10.4, height), sharex=True, sharey=True)
    for ax, (band, title) in zip(axes, SIZE_BANDS.items(), strict=True):
        low, high = BANDS[band]
        here = table[table["side"].pow(2).between(low, high)]
        faces = 0
        for pair in pairs:
            part = rows_of(here, pair)
            faces = len(part)
            if not faces:
                continue
            reached = np.sort(part.loc[part["found"], "iou"].to_numpy(dtype=float))
            shares = np.arange(len(reached), -1, -1) / faces
            ax.step([0.5, *reached, 1.0], [*shares, 0.0], where="post", **line_of(pair, arms))
        ax.set_title(f"{title}: {faces:,} faces")
        if not faces or not here["found"].any():
            words = "none found" if faces else "–"
            ax.annotate(words, (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)
        ax.set(xlim=(0.49, 1.005), ylim=(-0.02, 1.02), xlabel="IoU with the true box")
        percent_ticks(ax.yaxis)
    axes[0].set_ylabel("faces found this exactly or better")
    systems_legend(figure, [line_handle(pair, arms, label_of(pair, pairs)) for pair in pairs])
    return finished(
        figure, f"detection-exactness-seed{seed}", "How exactly faces are found, by their size",
        "Each curve starts at the share of faces that are found at all (IoU ≥ 0.5, classes not minded) and falls as "
        "more overlap is asked for: the further right it falls, the more exact the boxes. One pixel more or less "
        f"moves a small face's IoU far. {least_scores(table, pairs)} Seed {seed}.",
    )  # fmt: skip


def _intervals(ax: Axes, rows: pd.DataFrame, places: np.ndarray, look: dict[str, Any]) -> None:
    """A bar from low to high and a marker at the value of each row; a dash where there is none."""
    known = rows[["low", "high"]].notna().all(axis=1).to_numpy()
    low, high = rows.loc[known, "low"], rows.loc[known, "high"]
    ax.hlines(places[known], low, high, color=look["color"], linewidth=2.2, alpha=0.75, zorder=2)
    ax.plot(rows["value"], places, zorder=3, clip_on=False, in_layout=False, **look)
    for place, value in zip(places, rows["value"].to_numpy(dtype=float), strict=True):
        if math.isnan(value):
            ax.annotate("–", (0.01, place), xycoords=("axes fraction", "data"), va="center", color=look["color"])


def _row_name(values: pd.DataFrame, class_name: str, band: str) -> str:
    """The class or the size, and how many faces there are."""
    some = values[(values["class_name"] == class_name) & (values["band"] == band)]
    faces = f"{int(some['faces'].iloc[0]):,}" if len(some) else "0"
    name = {ALL_CLASSES: "mean over classes", ANY_FACE: "any face, classes\nnot minded"}.get(class_name)
    name = wrapped(short_name(class_name, 40), 24) if name is None else name
    return f"{SIZE_BANDS.get(band, name)}\n{faces} faces"


def _matrix(ax: Axes, grid: np.ndarray, names: Sequence[str]) -> None:
    """Counts with shares of their row; the last row, of what is no face, has counts only."""
    totals = grid.sum(axis=1, keepdims=True)
    shares = np.divide(grid, totals, out=np.full(grid.shape, np.nan), where=totals > 0)
    shares[-1] = np.nan
    ax.set_facecolor("#F3F4F6")
    ax.imshow(shares, cmap=_CELLS, norm=Normalize(0, 1))
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    size = 8.5 if len(names) <= 5 else max(5.5, 10.5 - 0.5 * len(names))
    for (i, j), value in np.ndenumerate(grid):
        share = shares[i, j]
        text = "–" if math.isnan(value) else f"{value:,.0f}"
        text += "" if math.isnan(share) else f"\n{share:.0%}"
        colour = "white" if share > 0.55 else _INK
        ax.text(j, i, text, ha="center", va="center", fontsize=size, color=colour, linespacing=1.15)
    ax.set_xticks(
        range(len(names)), [short_name(name, 24) for name in names], rotation=40, ha="right", rotation_mode="anchor"
    )
    ax.set_yticks(range(len(names)), [wrapped(short_name(name, 44), 20) for name in names])
    borders = np.arange(len(names) - 1) + 0.5
    ax.set_xticks(borders, minor=True)
    ax.set_yticks(borders, minor=True)
    ax.grid(visible=True, which="minor", color="#D1D5DB", linewidth=0.8)
    ax.tick_params(which="both", length=0)


def _bar_numbers(ax: Axes, places: np.ndarray, values: np.ndarray, form: str) -> None:
    """The number at the end of each bar."""
    for place, value in zip(places, values, strict=True):
        known = not math.isnan(value)
        text = form.format(value) if known else "–"
        ax.annotate(
            text, (max(value, 0.0) if known else 0.0, place), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=7.5, color=_INK,
        )  # fmt: skip


def _one(values: pd.DataFrame, pair: Pair, metric: str, class_name: str, band: str) -> float:
    part = rows_of(values, pair)
    part = part[(part["metric"] == metric) & (part["class_name"] == class_name) & (part["band"] == band)]
    return float(part["value"].iloc[0]) if len(part) else math.nan


def _basis(values: pd.DataFrame) -> str:
    """On what intervals rest."""
    if values.empty:
        return "No photographs."
    first = values.iloc[0]
    faces = int(values["faces"].max())
    return (
        f"From {first['images']:,} photographs with {faces:,} faces; intervals: {first['confidence']:.0%} percentile "
        f"bootstrap over photographs, {first['resamples']:,} draws."
    )
