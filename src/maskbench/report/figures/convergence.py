"""Figures of convergence over all seeds: how fast arms learn, when they are best, loss and gradients from within.

Curves of single runs are in `training` and `gradients`; here every line stands for all seeds of an arm.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.runs import seeds_of
from maskbench.report.style import (
    MUTED,
    SEQUENTIAL,
    colours,
    linestyles,
    markers,
    new_figure,
    plain_log_ticks,
    short_name,
    thousands_ticks,
    wrapped,
)

_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")


def convergence_figures(
    epochs: pd.DataFrame,
    times: pd.DataFrame,
    convergence: pd.DataFrame,
    best_epochs: pd.DataFrame,
    autocorrelation: pd.DataFrame,
    flow: pd.DataFrame,
    ratio: pd.DataFrame,
    arms: Sequence[str],
) -> list[Drawing]:
    """All figures of this module, in the report's order; those of gradients only where some were recorded.

    Args:
        epochs: `schemas.EPOCHS` of all runs.
        times: `schemas.EPOCH_TIMES`, may be empty.
        convergence: `schemas.CONVERGENCE`.
        best_epochs: `schemas.BEST_EPOCHS`.
        autocorrelation: `schemas.LOSS_AUTOCORRELATION`.
        flow: `schemas.GRADIENT_FLOW`, may be empty.
        ratio: `schemas.GRADIENT_RATIO`, may be empty.
        arms: the study's arms, in order.
    """
    drawings = [
        fig_convergence(epochs, times, convergence, arms),
        fig_best_epochs(best_epochs, arms),
        fig_autocorrelation(autocorrelation, arms),
    ]
    if not flow.empty:
        drawings += [fig_gradient_flow(flow, arms), fig_gradient_ratio(ratio, arms)]
    return drawings


@styled
def fig_convergence(
    epochs: pd.DataFrame,
    times: pd.DataFrame,
    convergence: pd.DataFrame,
    arms: Sequence[str],
    *,
    metric: str = "f1_macro",
    split: str = "val",
    label: str = "validation macro-F1",
) -> Drawing:
    """The validation score by epoch and by wall time: mean and range over seeds, marks at shares of the best.

    Args:
        epochs: `schemas.EPOCHS`.
        times: `schemas.EPOCH_TIMES`; without rows the panel of wall time is left out.
        convergence: `schemas.CONVERGENCE` of the same metric, for the marks.
        arms: the study's arms, in order.
        metric: name of the metric.
        split: side it was measured on.
        label: what the metric is, for the axis.
    """
    table = epochs[(epochs["metric"] == metric) & (epochs["class_name"] == "") & (epochs["split"] == split)]
    table = table.assign(place=table["epoch"] + 1.0)
    timed = table.drop(columns="place").merge(times, on=["arm", "seed", "epoch"]).assign(place=lambda t: t["elapsed"])
    panels = [("epoch", "epochs", table)] + ([("wall time (s)", "seconds", timed)] if len(timed) else [])
    targets = _targets(convergence)
    strip = 0.55 + 0.13 * len(targets) * len(arms)
    figure, axes = new_figure(
        2, len(panels), size=(4.7 * len(panels), 4.0 + strip), sharex="col", sharey="row", height_ratios=[3, strip]
    )
    paint, styles, shapes = colours(arms), linestyles(arms), markers(arms)
    for column, (xlabel, unit, shown) in enumerate(panels):
        above, below = axes[column], axes[len(panels) + column]
        for index, arm in enumerate(arms):
            part = shown[shown["arm"] == arm].groupby("epoch")
            x, mean, low, high = part["place"].mean(), part["value"].mean(), part["value"].min(), part["value"].max()
            above.fill_between(x, low, high, color=paint[arm], alpha=0.15, linewidth=0)
            above.plot(
                x, mean, color=paint[arm], linestyle=styles[arm], marker=shapes[arm], markersize=3, linewidth=1.7,
                label=short_name(arm, 30),
            )  # fmt: skip
            places = np.arange(len(targets)) + (index - (len(arms) - 1) / 2) * 0.7 / len(arms)
            mine = convergence[convergence["arm"] == arm]
            _mark_targets(below, mine, unit, targets, places, paint[arm], shapes[arm])
        below.set_xlabel(xlabel)
        below.set_xlim(left=0)
        below.grid(visible=False, axis="y")
        _whole(below, 7)
    thousands_ticks(axes[-1].xaxis)
    axes[0].set_ylabel(label)
    axes[len(panels)].set_yticks(range(len(targets)), [f"{target} % of its best" for target in targets])
    axes[len(panels)].set_ylim(len(targets) - 0.45, -0.55)
    _legend(figure, axes[0])
    title = f"Convergence of the {label}"
    return finished(
        figure, f"convergence-{metric.replace('_', '-')}", title,
        "Above, line: mean over seeds; band: lowest to highest seed. Below: when an arm first comes to a share of its "
        "own best, mean and range over seeds; the line may fall below it again, and an arm that ends lower has a "
        f"lower mark to reach. {_seeds_sentence(table)}",
    )  # fmt: skip


def _targets(convergence: pd.DataFrame) -> list[str]:
    """Shares of the best that were measured, in percent, as the metrics name them."""
    names = (str(name).removeprefix("epochs_to_") for name in convergence["metric"].unique())
    return sorted((name for name in names if name.replace(".", "", 1).isdigit()), key=float)


def _mark_targets(
    ax: Axes, table: pd.DataFrame, unit: str, targets: Sequence[str], places: np.ndarray, colour: str, marker: str
) -> None:
    """When shares of the best are first reached: mean and range over seeds."""
    for target, place in zip(targets, places, strict=True):
        found = table.loc[table["metric"] == f"{unit}_to_{target}", "value"].dropna()
        if len(found):
            ax.hlines(place, found.min(), found.max(), color=colour, linewidth=1.8, alpha=0.6)
            ax.plot(found.mean(), place, marker=marker, markersize=5.5, color=colour, clip_on=False)


@styled
def fig_best_epochs(best_epochs: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """In which epoch the runs of each arm were best, one panel per arm.

    Args:
        best_epochs: `schemas.BEST_EPOCHS`.
        arms: the study's arms, in order.
    """
    figure, axes = new_figure(len(arms), 1, size=(6.4, 1.0 + 1.35 * len(arms)), sharex=True, sharey=True)
    paint = colours(arms)
    longest = int(best_epochs["length"].max()) if len(best_epochs) else 1
    for index, (ax, arm) in enumerate(zip(axes, arms, strict=True)):
        part = best_epochs[best_epochs["arm"] == arm]
        ax.bar(
            part["epoch"], part["runs"], 0.85, color=paint[arm], edgecolor="white", linewidth=0.6,
            hatch=_HATCHES[index % len(_HATCHES)],
        )  # fmt: skip
        if len(part):
            middle = float(np.median(np.repeat(part["epoch"], part["runs"])))
            ax.axvline(middle, color="#111827", linewidth=1.2, linestyle=":")
        ax.set_title(short_name(arm, 40), loc="left")
        ax.set_ylabel("runs")
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes[0].set_xlim(0.4, longest + 0.6)
    _whole(axes[-1], 12)
    axes[-1].set_xlabel("best epoch (highest validation macro-F1)")
    runs = best_epochs.groupby("arm")["runs"].sum()
    counts = ", ".join(f"{arm} {int(runs.get(arm, 0))}" for arm in arms)
    title = "When the arms were best"
    return finished(
        figure, "best-epochs", title,
        f"Runs by the epoch whose checkpoint was kept, of {longest} epoch{'s' * (longest != 1)}; the dotted line is "
        "the median. Bars against the right edge may mean that training stopped before the arm had converged; early "
        f"ones that the rest was overfitting, or luck. Runs: {counts}.",
    )  # fmt: skip


@styled
def fig_autocorrelation(autocorrelation: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Autocorrelation of the batch losses, mean and range over seeds, one panel per way of detrending.

    Args:
        autocorrelation: `schemas.LOSS_AUTOCORRELATION`.
        arms: the study's arms, in order.
    """
    titles = {"within_epoch": "Residuals from each epoch's line", "first_difference": "Change from step to step"}
    figure, axes = new_figure(1, 2, size=(9.0, 3.6), sharex=True, sharey=True)
    paint, shapes = colours(arms), markers(arms)
    table = autocorrelation[autocorrelation["lag"] > 0]
    for ax, (method, name) in zip(axes, titles.items(), strict=True):
        part = table[(table["method"] == method) & table["value"].notna()]
        band = float(part["band"].max()) if len(part) else float("nan")
        if len(part):
            ax.axhspan(-band, band, color="#9CA3AF", alpha=0.25, linewidth=0, label="independent losses (95 %)")
        ax.axhline(0, color=MUTED, linewidth=0.8)
        for index, arm in enumerate(arms):
            lines = part[part["arm"] == arm].groupby("lag")["value"]
            x = lines.mean().index + (index - (len(arms) - 1) / 2) * 0.6 / max(len(arms), 1)
            ax.vlines(x, lines.min(), lines.max(), color=paint[arm], linewidth=1.6, alpha=0.6)
            ax.plot(
                x, lines.mean(), linestyle="none", marker=shapes[arm], markersize=3.5, color=paint[arm],
                label=short_name(arm, 30),
            )  # fmt: skip
        if part.empty:
            ax.text(0.5, 0.6, "too few steps", transform=ax.transAxes, ha="center", color=MUTED)
        ax.set(title=name, xlabel="lag (optimiser steps)")
        ax.set_xlim(0.3, float(table["lag"].max() if len(table) else 1) + 0.7)
        _whole(ax, 8)
    axes[0].set_ylabel("autocorrelation of the batch loss")
    _legend(figure, max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1])))
    title = "Does a hard batch follow a hard batch?"
    steps = int(autocorrelation["steps"].max()) if len(autocorrelation) else 0
    return finished(
        figure, "loss-autocorrelation", title,
        "Dots: mean over seeds; lines: range of the seeds. Inside the grey band (of one run) losses are as good as "
        "independent once the course of training is taken out; above it, single bad steps linger. For changes from "
        f"step to step, independent losses give −0.5 at lag 1 and 0 beyond. At most {steps:,} steps a run. "
        f"{_seeds_sentence(autocorrelation)}",
    )  # fmt: skip


@styled
def fig_gradient_flow(flow: pd.DataFrame, arms: Sequence[str], *, column: str = "gradient_norm") -> Drawing:
    """Gradient norm by depth group and epoch, one heatmap per arm with one colour scale, median over seeds.

    Args:
        flow: `schemas.GRADIENT_FLOW`, not empty.
        arms: the study's arms, in order.
        column: `gradient_norm`, `relative_norm` or `update_ratio`.
    """
    labels = {
        "gradient_norm": "gradient norm", "relative_norm": "‖gradient‖ / ‖weights‖", "update_ratio": "‖Δw‖ / ‖w‖",
    }  # fmt: skip
    groups = flow.drop_duplicates("group").sort_values("position")["group"].tolist()
    wide = flow.pivot_table(index="position", columns=["arm", "epoch"], values=column, aggfunc="median", dropna=False)
    logs = np.log10(wide.where(wide > 0).to_numpy(dtype=np.float64))
    norms, known = pd.DataFrame(logs, wide.index, wide.columns), logs[np.isfinite(logs)]
    scale = Normalize(float(known.min()), float(known.max())) if len(known) else Normalize(-1, 0)
    last = int(flow["epoch"].max())
    figure, axes = new_figure(1, len(arms), size=(3.9 * len(arms) + 1.2, 1.7 + 0.32 * len(groups)), sharey=True)
    for ax, arm in zip(axes, arms, strict=True):
        ax.grid(False)
        ax.set_facecolor("#E5E7EB")
        cells = pd.MultiIndex.from_product([[arm], range(last + 1)])
        grid = norms.reindex(index=range(len(groups)), columns=cells).to_numpy(dtype=np.float64)
        ax.pcolormesh(
            np.arange(last + 2) + 0.5, np.arange(len(groups) + 1) - 0.5, np.ma.masked_invalid(grid), cmap=SEQUENTIAL,
            norm=scale, edgecolors="white", linewidth=0.4 if last < 40 else 0,
        )  # fmt: skip
        ax.set(title=wrapped(short_name(arm, 40), 30), xlabel="epoch", xlim=(0.5, last + 1.5))
        ax.set_ylim(len(groups) - 0.5, -0.5)
        _whole(ax, 8)
        ax.tick_params(length=0)
    axes[0].set_yticks(range(len(groups)), [short_name(group, 18) for group in groups])
    axes[0].set_ylabel("depth, from the input")
    bar = figure.colorbar(mpl.cm.ScalarMappable(scale, SEQUENTIAL), ax=axes, shrink=0.95)
    bar.set_label(f"log₁₀ of the {labels[column]}")
    title = f"Gradient flow by depth: {labels[column]}"
    return finished(
        figure, f"gradient-flow-{column.replace('_', '-')}", title,
        "Median over the recorded steps of each epoch and over seeds; arms share one colour scale. Compare a row with "
        "itself over time and between arms: groups of more parameters have larger norms. Grey: the group did not "
        f"learn in that epoch. {_seeds_sentence(flow)}",
    )  # fmt: skip


@styled
def fig_gradient_ratio(ratio: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Gradient norm nearest the input over that of the head, by epoch: mean and range over seeds.

    Args:
        ratio: `schemas.GRADIENT_RATIO`, not empty.
        arms: the study's arms, in order.
    """
    figure, axes = new_figure(1, 2, size=(9.0, 3.6), sharex=True)
    paint, styles, shapes = colours(arms), linestyles(arms), markers(arms)
    panels = {"ratio": "Gradient norms", "relative_ratio": "Norms relative to the weights"}
    for ax, (column, name) in zip(axes, panels.items(), strict=True):
        for arm in arms:
            part = ratio[ratio["arm"] == arm]
            lines = part[column].where(part[column] > 0).groupby(part["epoch"])
            x = lines.median().index + 1
            ax.fill_between(x, lines.min(), lines.max(), color=paint[arm], alpha=0.15, linewidth=0)
            ax.plot(
                x, lines.median(), color=paint[arm], linestyle=styles[arm], marker=shapes[arm], markersize=3.5,
                label=short_name(arm, 30),
            )  # fmt: skip
        ax.set(title=name, xlabel="epoch", yscale="log")
        plain_log_ticks(ax.yaxis)
        ax.set_xlim(0.5, float(ratio["epoch"].max() if len(ratio) else 0) + 1.5)
        _whole(ax, 8)
    ends = ratio.iloc[0] if len(ratio) else None
    axes[0].set_ylabel(f"{ends['shallow']} / {ends['deep']}" if ends is not None else "first / last group")
    _legend(figure, axes[0])
    title = "How much of the gradient arrives at the input"
    return finished(
        figure, "gradient-ratio", title,
        "The first depth group's gradient over the head's; line: median over seeds, band: their range. A line that "
        "lies orders of magnitude lower than the other arm's is a gradient that vanishes on its way down; epochs in "
        f"which the head alone learned have no point. {_seeds_sentence(ratio)}",
    )  # fmt: skip


def _legend(figure: Figure, ax: Axes) -> None:
    """One legend under the figure, as wide as fits."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, int(figure.get_figwidth() // 2.6)))


def _whole(ax: Axes, most: int) -> None:
    """Ticks of the horizontal axis at whole numbers only, even where there is but one."""
    ax.xaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def _seeds_sentence(table: pd.DataFrame) -> str:
    seeds = seeds_of(table)
    return f"{len(seeds)} seeds." if len(seeds) > 1 else "One seed: there is no band."
