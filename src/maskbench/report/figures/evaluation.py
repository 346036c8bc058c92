"""Figures of the test results: confusion, ROC and precision–recall curves, F1 by class, headline numbers.

Each figure shows one seed; arms keep their colour from one figure to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, colours, linestyles, markers, new_figure, short_name

#: Light to dark blue: reads in grey, and black or white numbers stand out on it.
_CELLS = "Blues"
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
#: Headline figures, in the report's order.
HEADLINES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "Macro-F1",
    "roc_auc_macro": "Macro AUC",
}


def evaluation_figures(
    metrics: pd.DataFrame,
    confusion: pd.DataFrame,
    roc: pd.DataFrame,
    precision_recall: pd.DataFrame,
    intervals: pd.DataFrame,
    differences: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
) -> list[Drawing]:
    """All figures of this module for every seed, in the report's order.

    Args:
        metrics: `schemas.METRICS`.
        confusion: `schemas.CONFUSION`.
        roc: `schemas.ROC`.
        precision_recall: `schemas.PRECISION_RECALL`.
        intervals: `schemas.INTERVALS`.
        differences: `schemas.DIFFERENCES`, empty for a single arm.
        classes: class order.
        arms: the study's arms, in order.
    """
    drawings = []
    for seed in sorted(int(seed) for seed in metrics["seed"].unique()):
        drawings += [
            fig_headline(intervals, differences, arms, seed),
            fig_confusion(confusion, classes, arms, seed),
            fig_class_f1_bars(intervals, classes, arms, seed),
            fig_roc(roc, metrics, classes, arms, seed),
            fig_precision_recall(precision_recall, metrics, classes, arms, seed),
        ]
    return drawings


@styled
def fig_headline(intervals: pd.DataFrame, differences: pd.DataFrame, arms: Sequence[str], seed: int) -> Drawing:
    """Headline figures of the arms with their intervals, and the differences between arms beside them.

    Args:
        intervals: `schemas.INTERVALS`.
        differences: `schemas.DIFFERENCES`, empty for a single arm.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    values = _test(intervals, seed)
    gaps = _test(differences, seed)
    pairs = list(dict.fromkeys(zip(gaps["arm"], gaps["baseline"], strict=True)))
    height = 1.3 + 0.28 * len(HEADLINES) * max(len(arms), len(pairs), 2)
    figure, axes = new_figure(1, 2 if pairs else 1, size=(9.2 if pairs else 5.5, height), sharey=bool(pairs))
    paint, shapes = colours(arms), markers(arms)
    for index, arm in enumerate(arms):
        _dots(axes[0], values[values["arm"] == arm], index, len(arms), paint[arm], shapes[arm], arm)
    axes[0].set(title="Value on the test faces", xlabel="share, or area under the curve")
    axes[0].set_yticks(range(len(HEADLINES)), list(HEADLINES.values()))
    axes[0].set_ylim(len(HEADLINES) - 0.5, -0.5)
    axes[0].grid(visible=False, axis="y")
    if pairs:
        for index, (arm, baseline) in enumerate(pairs):
            part = gaps[(gaps["arm"] == arm) & (gaps["baseline"] == baseline)]
            shade = "#111827" if len(pairs) == 1 else paint[arm]
            _dots(axes[1], part, index, len(pairs), shade, shapes[baseline], f"{arm} − {baseline}")
        axes[1].axvline(0, color=MUTED, linewidth=1.1, linestyle="--", zorder=1)
        axes[1].set(title="Difference, paired by photograph", xlabel="difference")
        axes[1].grid(visible=False, axis="y")
    for ax in axes:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 - 0.3 / height), ncols=1 if len(pairs) > 1 else 2)
    title = "Headline figures with their intervals"
    some = values.iloc[0] if len(values) else None
    basis = (
        f"Bars: {some['confidence']:.0%} bootstrap over {some['images']} test photographs with "
        f"{int(values['faces'].max())} faces, {some['resamples']} resamples. "
        if some is not None
        else ""
    )
    return finished(
        figure, f"headline-seed{seed}", title,
        f"{basis}The difference is measured on the same resampled photographs for both arms, so its interval is the "
        "one to read: where it contains 0, no difference is shown. Intervals cover the choice of test photographs, "
        f"not the seed of the training. Seed {seed}.",
    )  # fmt: skip


def _dots(ax: Axes, part: pd.DataFrame, index: int, of: int, colour: str, marker: str, label: str) -> None:
    """One dot with its interval per headline figure, the `index`-th of `of` in each row."""
    rows = part[part["class_name"] == ""].set_index("metric").reindex(list(HEADLINES))
    places = np.arange(len(HEADLINES)) + (index - (of - 1) / 2) * 0.6 / max(of, 1)
    ax.hlines(places, rows["low"], rows["high"], color=colour, linewidth=2.2, alpha=0.75)
    ax.plot(rows["value"], places, linestyle="none", marker=marker, color=colour, markersize=6, label=label)
    for place, value in zip(places, rows["value"].to_numpy(dtype=float), strict=True):
        if not math.isnan(value):
            ax.annotate(
                f"{value:.3f}", (value, place), xytext=(0, 5), textcoords="offset points", ha="center",
                fontsize=7, color="#374151",
            )  # fmt: skip


@styled
def fig_confusion(confusion: pd.DataFrame, classes: Sequence[str], arms: Sequence[str], seed: int) -> Drawing:
    """Confusion matrices of the arms side by side: counts above, shares of each row below.

    Args:
        confusion: `schemas.CONFUSION`.
        classes: class order.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    table, K = _test(confusion, seed), len(classes)
    cell = max(0.55, min(0.95, 3.4 / K))
    size = ((1.6 + cell * K) * len(arms) + 0.8, 2 * (1.2 + cell * K) + 0.4)
    figure, axes = new_figure(2, len(arms), size=size, sharex=True, sharey=True)
    most = max(1, int(table["count"].max()) if len(table) else 1)
    scales = {"count": Normalize(0, most), "share": Normalize(0, 1)}
    for row, (column, scale) in enumerate(scales.items()):
        for ax, arm in zip(axes[row * len(arms) : (row + 1) * len(arms)], arms, strict=True):
            part = table[table["arm"] == arm].set_index(["true", "predicted"])[column]
            grid = np.array([[part.get((true, named), np.nan) for named in classes] for true in classes], dtype=float)
            _matrix(ax, grid, classes, scale, percent=column == "share")
            ax.set_title(f"{arm}: {'faces' if column == 'count' else 'share of row'}")
            if row == 1:
                ax.set_xlabel("predicted")
            if arm == arms[0]:
                ax.set_ylabel("true")
        bar = figure.colorbar(
            mpl.cm.ScalarMappable(scale, _CELLS), ax=axes[row * len(arms) : (row + 1) * len(arms)], shrink=0.85
        )
        bar.set_label("faces" if column == "count" else "share of the true class")
        bar.outline.set_visible(False)
    title = "Confusion matrices on the test faces"
    faces = table.loc[table["arm"] == arms[0]].groupby("true", sort=False)["count"].sum()
    counts = ", ".join(f"{name} {int(faces.get(name, 0))}" for name in classes)
    return finished(
        figure, f"confusion-seed{seed}", title,
        f"Rows are the truth, columns the decision; the diagonal is correct. Test faces: {counts}. Counts show where "
        "most mistakes are, row shares show how each class fares whatever its size; a row of few faces moves in "
        f"large steps. Arms share colour scales. Seed {seed}.",
    )  # fmt: skip


def _matrix(ax: Axes, grid: np.ndarray, classes: Sequence[str], scale: Normalize, *, percent: bool) -> None:
    """A matrix of numbers on coloured cells; a missing number is a dash on grey."""
    ax.set_facecolor("#E5E7EB")
    ax.imshow(grid, cmap=_CELLS, norm=scale)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    size = 9 if len(classes) <= 4 else max(5, 11 - len(classes) * 0.5)
    for (i, j), value in np.ndenumerate(grid):
        text = "–" if math.isnan(value) else f"{value:.0%}" if percent else f"{value:.0f}"
        dark = not math.isnan(value) and scale(value) > 0.55
        ax.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if dark else "#111827")
    names = [short_name(name) for name in classes]
    ax.set_xticks(range(len(classes)), names, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(classes)), names)
    borders = np.arange(len(classes) - 1) + 0.5
    ax.set_xticks(borders, minor=True)
    ax.set_yticks(borders, minor=True)
    ax.grid(visible=True, which="minor", color="#D1D5DB", linewidth=0.8)
    ax.tick_params(which="both", length=0)


@styled
def fig_class_f1_bars(intervals: pd.DataFrame, classes: Sequence[str], arms: Sequence[str], seed: int) -> Drawing:
    """F1 of each class by arm, with intervals.

    Args:
        intervals: `schemas.INTERVALS`.
        classes: class order.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    table = _test(intervals, seed)
    table = table[table["metric"] == "f1"]
    figure, axes = new_figure(size=(max(5.0, 1.4 + 0.62 * len(classes) * (len(arms) + 0.5)), 3.7))
    ax, paint, width = axes[0], colours(arms), 0.8 / len(arms)
    for index, arm in enumerate(arms):
        rows = table[table["arm"] == arm].set_index("class_name").reindex(list(classes))
        places = np.arange(len(classes)) + (index - (len(arms) - 1) / 2) * width
        ax.bar(
            places, rows["value"], width * 0.92, color=paint[arm], label=arm, edgecolor="white", linewidth=0.6,
            hatch=_HATCHES[index % len(_HATCHES)],
        )  # fmt: skip
        ax.vlines(places, rows["low"], rows["high"], color="#111827", linewidth=1.4)
        for place, (value, high) in zip(places, rows[["value", "high"]].to_numpy(dtype=float), strict=True):
            missing = math.isnan(value)
            above = 0.0 if missing else np.nanmax([value, high])
            ax.annotate(
                "–" if missing else f"{value:.2f}", (place, above), xytext=(0, 2), textcoords="offset points",
                ha="center", va="bottom", fontsize=8,
            )  # fmt: skip
    faces = table.groupby("class_name")["faces"].max()
    counts = [int(faces.get(name, 0)) for name in classes]
    labels = [f"{short_name(name)}\n{n} face{'' if n == 1 else 's'}" for name, n in zip(classes, counts, strict=True)]
    ax.set_xticks(range(len(classes)), labels)
    ax.set(ylim=(0, 1.09), ylabel="F1")
    ax.grid(visible=False, axis="x")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms), 3))
    title = "F1 of each class on the test faces"
    fewest = int(faces.min()) if len(faces) else 0
    return finished(
        figure, f"class-f1-test-seed{seed}", title,
        f"Lines are bootstrap intervals over photographs. The smallest class has {fewest} test "
        f"face{'' if fewest == 1 else 's'}: the fewer there are, the longer its line, and the less a gap between bars "
        f"says. Seed {seed}.",
    )  # fmt: skip


@styled
def fig_roc(
    roc: pd.DataFrame, metrics: pd.DataFrame, classes: Sequence[str], arms: Sequence[str], seed: int
) -> Drawing:
    """ROC curves, one panel per class, arms overlaid.

    Args:
        roc: `schemas.ROC`.
        metrics: `schemas.METRICS`, for the areas in the legend.
        classes: class order.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    table, measured = roc[roc["seed"] == seed], _test(metrics, seed)
    figure, axes = _panels(len(classes), "true positive rate")
    for ax, name in zip(axes, classes, strict=False):
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=":", label="chance")
        _class_curves(ax, table, measured, name, arms, "false_positive_rate", "true_positive_rate", "roc_auc", "AUC")
        ax.set(title=short_name(name), xlabel="false positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _legend(ax, "lower right")
    title = "ROC curves, each class against the rest"
    return finished(
        figure, f"roc-seed{seed}", title,
        f"Test faces: {_support(measured, classes)}. The dotted diagonal is chance. A curve of few positives climbs "
        "in visible steps, one per face. ROC curves flatter rare classes: many false alarms are a small share of "
        f"many negatives; read them together with precision–recall. Seed {seed}.",
    )  # fmt: skip


@styled
def fig_precision_recall(
    curves: pd.DataFrame, metrics: pd.DataFrame, classes: Sequence[str], arms: Sequence[str], seed: int
) -> Drawing:
    """Precision–recall curves, one panel per class, arms overlaid, with the prevalence.

    Args:
        curves: `schemas.PRECISION_RECALL`.
        metrics: `schemas.METRICS`, for average precision and prevalence.
        classes: class order.
        arms: the study's arms, in order.
        seed: the training seed shown.
    """
    table, measured = curves[curves["seed"] == seed], _test(metrics, seed)
    support = _support_of(measured)
    figure, axes = _panels(len(classes), "precision")
    for ax, name in zip(axes, classes, strict=False):
        total = support.get("", 0)
        share = support.get(name, 0) / total if total else float("nan")
        ax.axhline(
            share,
            color=MUTED,
            linewidth=1.0,
            linestyle=":",
            label=f"prevalence {'–' if math.isnan(share) else f'{share:.2f}'}",
        )
        _class_curves(ax, table, measured, name, arms, "recall", "precision", "average_precision", "AP", steps=True)
        ax.set(title=short_name(name), xlabel="recall", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _legend(ax, "best")
    title = "Precision–recall curves, each class against the rest"
    return finished(
        figure, f"precision-recall-seed{seed}", title,
        f"Test faces: {_support(measured, classes)}. The dotted line is the share of the class among the test faces: "
        f"the precision of guessing. AP is the area under the steps. Seed {seed}.",
    )  # fmt: skip


def _class_curves(
    ax: Axes, table: pd.DataFrame, measured: pd.DataFrame, name: str, arms: Sequence[str], x: str, y: str,
    metric: str, short: str, *, steps: bool = False,
) -> None:  # fmt: skip
    """The curves of one class, arms overlaid, with their areas in the legend."""
    paint, styles = colours(arms), linestyles(arms)
    values = measured[(measured["metric"] == metric) & (measured["class_name"] == name)].set_index("arm")["value"]
    for arm in arms:
        line = table[(table["arm"] == arm) & (table["class_name"] == name)]
        value = float(values.get(arm, float("nan")))
        label = f"{arm}: {short} {'–' if math.isnan(value) else f'{value:.3f}'}"
        ax.plot(
            line[x], line[y], color=paint[arm], linestyle=styles[arm], linewidth=1.7, label=label,
            drawstyle="steps-pre" if steps else "default",
        )  # fmt: skip


def _legend(ax: Axes, where: Literal["lower right", "best"]) -> None:
    """A legend on white, so that a line running behind it does not strike it through."""
    ax.legend(loc=where, frameon=True, facecolor="white", edgecolor="none", framealpha=0.88)


def _panels(count: int, ylabel: str) -> tuple[Figure, list[Axes]]:
    """Axes for `count` classes, at most three to a row; the rest stay empty."""
    columns = min(3, count)
    rows = -(-count // columns)
    figure, axes = new_figure(rows, columns, size=(3.7 * columns, 3.5 * rows + 0.2), sharey=True)
    for ax in axes[::columns]:
        ax.set_ylabel(ylabel)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes


def _test(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    return table[(table["split"] == "test") & (table["seed"] == seed)]


def _support_of(measured: pd.DataFrame) -> dict[str, int]:
    """Test faces by class, and of all classes under the empty name."""
    rows = measured[measured["metric"] == "support"].drop_duplicates("class_name")
    return {str(name): int(value) for name, value in zip(rows["class_name"], rows["value"], strict=True)}


def _support(measured: pd.DataFrame, classes: Sequence[str]) -> str:
    found = _support_of(measured)
    return ", ".join(f"{name} {found.get(name, 0)}" for name in classes)
