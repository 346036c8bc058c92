"""Figures of gradient flow and of what each optimiser step changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.runs import seeds_of, select
from maskbench.report.style import MUTED, SEQUENTIAL, new_figure

#: Update ratios around this are usual for a healthy run (Karpathy, "makemore" part 3); a rule of thumb.
USUAL_RATIO = 1e-3
_EPOCHS = ("first", "middle", "last")


@styled
def fig_gradient_depth(gradients: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Gradient norm over depth in the first, middle and last recorded epoch, one panel per arm.

    Args:
        gradients: `schemas.GRADIENTS`, not empty.
        arms: the study's arms, in order.
    """
    table = main_tensors(gradients)
    figure, axes = new_figure(1, len(arms), size=(4.6 * len(arms), 3.7), sharex=True, sharey=True)
    shades = mpl.colormaps[SEQUENTIAL]([0.05, 0.45, 0.75])
    seeds = seeds_of(gradients)
    for ax, arm in zip(axes, arms, strict=True):
        part = select(table, arm, seeds[0])
        for label, epoch in _three_epochs(part).items():
            mean = part[part["epoch"] == epoch].groupby("depth")["gradient_norm"].mean()
            place = _EPOCHS.index(label)
            ax.plot(
                _places(table, mean.index), _positive(mean), color=shades[place], linewidth=1.5,
                linestyle=(":", "--", "-")[place], marker=("o", "s", "^")[place], markersize=3,
                label=f"epoch {epoch + 1} ({label})",
            )  # fmt: skip
        ax.set(title=arm, yscale="log", xlabel="layer, from input to head")
        _mark_groups(ax, table)
        ax.legend()
    axes[0].set_ylabel("gradient norm (Euclidean)")
    title = "Gradient flow over depth"
    return finished(
        figure, "gradient-depth", title,
        "Mean norm of the loss gradient of each convolution and of the head, before clipping; grey lines part the "
        "network's stages. A line that falls by orders of magnitude towards the input is a vanishing gradient, one "
        f"that rises an exploding one. {_tensors_sentence(gradients)} {_one_seed_sentence(seeds)}",
    )  # fmt: skip


@styled
def fig_gradient_time(gradients: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Gradient norm of every layer over the recorded steps, as one heatmap per arm with one colour scale.

    Args:
        gradients: `schemas.GRADIENTS`, not empty.
        arms: the study's arms, in order.
    """
    table, seeds = main_tensors(gradients), seeds_of(gradients)
    table = table[table["seed"] == seeds[0]]
    norms = np.log10(_positive(table["gradient_norm"]))
    finite = norms[np.isfinite(norms)]
    scale = Normalize(float(finite.min()), float(finite.max())) if len(finite) else Normalize(-1, 0)
    figure, axes = new_figure(1, len(arms), size=(4.6 * len(arms) + 0.6, 3.9), sharey=True)
    for ax, arm in zip(axes, arms, strict=True):
        grid = (
            table.assign(norm=norms)[table["arm"] == arm]
            .pivot_table(index="depth", columns="step", values="norm", dropna=False)
            .reindex(sorted(table["depth"].unique()))
        )
        ax.grid(False)
        ax.set(title=arm, xlabel="optimiser step")
        if grid.shape[1]:
            picture = ax.pcolormesh(
                _edges(grid.columns.to_numpy(dtype=float)), np.arange(len(grid) + 1) - 0.5, grid.to_numpy(),
                cmap=SEQUENTIAL, norm=scale, rasterized=True,
            )  # fmt: skip
            picture.set_label(arm)
        ax.set_ylim(len(grid) - 0.5, -0.5)
        _mark_groups(ax, table, vertical=True)
    axes[0].set_ylabel("layer, from input (top) to head")
    bar = figure.colorbar(mpl.cm.ScalarMappable(scale, SEQUENTIAL), ax=axes, shrink=0.9)
    bar.set_label("log₁₀ gradient norm")
    title = "Gradient flow over time"
    return finished(
        figure, "gradient-time", title,
        "Each row is a layer, each column a recorded step; both arms share one colour scale. Rows that stay dark "
        f"learn nothing; columns that flash are unstable steps. {_tensors_sentence(gradients)} "
        f"{_one_seed_sentence(seeds)}",
    )  # fmt: skip


@styled
def fig_update_ratio(gradients: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """How much one step changes the weights of each stage of the network, relative to their norm.

    Args:
        gradients: `schemas.GRADIENTS`, not empty.
        arms: the study's arms, in order.
    """
    table, seeds = main_tensors(gradients), seeds_of(gradients)
    groups = list(table.sort_values("depth")["group"].unique())
    figure, axes = new_figure(1, len(arms), size=(4.6 * len(arms), 3.9), sharex=True, sharey=True)
    shades = mpl.colormaps[SEQUENTIAL](np.linspace(0.0, 0.85, len(groups)))
    for ax, arm in zip(axes, arms, strict=True):
        part = select(table, arm, seeds[0])
        for index, group in enumerate(groups):
            line = part[part["group"] == group].groupby("step")["update_ratio"].median()
            ax.plot(
                line.index, _positive(line), color=shades[index], linewidth=1.3,
                linestyle=("-", "--", "-.")[index % 3], label=group,
            )  # fmt: skip
        ax.axhline(USUAL_RATIO, color=MUTED, linewidth=1.0, linestyle=":")
        ax.set(title=arm, yscale="log", xlabel="optimiser step")
    axes[0].set_ylabel("‖Δw‖ / ‖w‖ per step")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(len(labels), 6)))
    title = "Update ratio over time"
    return finished(
        figure, "update-ratio", title,
        "Median over a stage's layers of the change that one optimiser step made, relative to the weights' norm. "
        "The dotted line is a rule of thumb (10⁻³): far above it training is unstable, far below it a stage hardly "
        f"moves. {_tensors_sentence(gradients)} {_one_seed_sentence(seeds)}",
    )  # fmt: skip


def main_tensors(gradients: pd.DataFrame) -> pd.DataFrame:
    """The rows of convolutions and of the head: one per layer, without gains and shifts of batch norms.

    A tensor named `….weight` is kept where its module has no `….bias` (a convolution followed by a
    batch norm) or is the last module (the head). A network in which that leaves fewer than three
    tensors is kept whole.

    Args:
        gradients: `schemas.GRADIENTS`.
    """
    names = gradients[["layer", "depth"]].drop_duplicates().sort_values("depth")["layer"]
    modules = {name: name.rpartition(".")[0] for name in names}
    with_bias = {modules[name] for name in names if name.endswith(".bias")}
    last = modules[names.iloc[-1]] if len(names) else ""
    kept = [
        name for name in names
        if name.endswith(".weight") and (modules[name] not in with_bias or modules[name] == last)
    ]  # fmt: skip
    return gradients[gradients["layer"].isin(kept)] if len(kept) >= 3 else gradients


def _three_epochs(part: pd.DataFrame) -> dict[str, int]:
    """First, middle and last epoch of `part`, each epoch once."""
    found = sorted(int(epoch) for epoch in part["epoch"].unique())
    if not found:
        return {}
    chosen = {"first": found[0], "last": found[-1], "middle": found[len(found) // 2]}
    names = {epoch: name for name, epoch in reversed(chosen.items())}  # an epoch that has two names keeps the earlier
    return {names[epoch]: epoch for epoch in sorted(names)}


def _places(table: pd.DataFrame, depths: pd.Index) -> list[int]:
    """Ranks of `depths` among the drawn layers, so that left-out tensors leave no gaps."""
    order = {depth: place for place, depth in enumerate(sorted(table["depth"].unique()))}
    return [order[depth] for depth in depths]


def _mark_groups(ax: Axes, table: pd.DataFrame, *, vertical: bool = False) -> None:
    """Lines between the stages of the network, and their names."""
    groups = table.groupby("depth")["group"].first()
    starts = [0, *(np.flatnonzero(groups.to_numpy()[1:] != groups.to_numpy()[:-1]) + 1), len(groups)]
    for start, end in pairwise(starts):
        middle = (start + end - 1) / 2
        if start:
            line = ax.axhline if vertical else ax.axvline
            line(start - 0.5, color="white" if vertical else "#C4C8CF", linewidth=0.8, zorder=3 if vertical else 0.5)
        if vertical:
            continue
        ax.annotate(
            str(groups.iloc[start]), (middle, 0.01), xycoords=("data", "axes fraction"), ha="center", va="bottom",
            fontsize=7, color=MUTED, rotation=90 if end - start < 4 else 0,
        )  # fmt: skip
    if vertical:
        ax.set_yticks([(a + b - 1) / 2 for a, b in pairwise(starts)])
        ax.set_yticklabels([str(groups.iloc[start]) for start in starts[:-1]])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xticks([])


def _edges(steps: np.ndarray) -> np.ndarray:
    """Borders of cells centred on `steps`."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]])


def _positive(values: pd.Series) -> pd.Series:
    """A logarithmic axis has no place for zero: it becomes a gap."""
    return values.where(values > 0)


def _one_seed_sentence(seeds: Sequence[int]) -> str:
    return f"Seed {seeds[0]} of {len(seeds)}." if len(seeds) > 1 else "One seed."


def _tensors_sentence(gradients: pd.DataFrame) -> str:
    steps = gradients["step"].nunique()
    if main_tensors(gradients)["layer"].nunique() == gradients["layer"].nunique():
        return f"{steps} recorded steps."
    return f"Gains and shifts of batch norms are left out here (they are in the table). {steps} recorded steps."
