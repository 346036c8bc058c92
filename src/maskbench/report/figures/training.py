"""Figures of training: losses, metrics over epochs, gradient flow, update ratios.

Arms keep their colour from one figure to the next (`style.colours` of all the study's arms) and share
axes; seeds are told apart by line style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import MUTED, SEQUENTIAL, colours, linestyles, new_figure, short_name

#: Epochs averaged by the heavy line of the metric figures: the epoch itself and those before it.
WINDOW = 3
#: Update ratios around this are usual for a healthy run (Karpathy, "makemore" part 3); a rule of thumb.
USUAL_RATIO = 1e-3
_EPOCHS = ("first", "middle", "last")

Best = Mapping[tuple[str, int], int]


def training_figures(
    epochs: pd.DataFrame,
    steps: pd.DataFrame,
    gradients: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
    best: Best,
) -> list[Drawing]:
    """All figures of this module, in the report's order; those of gradients only where some were recorded.

    Args:
        epochs: `schemas.EPOCHS` of all runs.
        steps: `schemas.STEPS` of all runs.
        gradients: `schemas.GRADIENTS` of all runs, may be empty.
        classes: class order.
        arms: the study's arms, in order.
        best: epoch of the kept checkpoint by (arm, seed).
    """
    drawings = [
        fig_loss(epochs, arms, best),
        fig_step_loss(steps, arms),
        fig_metrics(epochs, arms, best),
        fig_class_f1(epochs, classes, arms, best),
    ]
    if not gradients.empty:
        drawings += [fig(gradients, arms) for fig in (fig_gradient_depth, fig_gradient_time, fig_update_ratio)]
    return drawings


@styled
def fig_loss(epochs: pd.DataFrame, arms: Sequence[str], best: Best, *, metric: str = "loss") -> Drawing:
    """Training and validation loss per epoch, one panel per arm.

    Args:
        epochs: `schemas.EPOCHS`.
        arms: the study's arms, in order.
        best: epoch of the kept checkpoint by (arm, seed).
        metric: `loss` (the configured one) or `cross_entropy` (plain, nats).
    """
    figure, axes = new_figure(1, len(arms), sharey=True)
    table = epochs[(epochs["metric"] == metric) & (epochs["class_name"] == "")]
    paint, seeds = colours(arms), _seeds(epochs)
    styles = linestyles([str(seed) for seed in seeds])
    for ax, arm in zip(axes, arms, strict=True):
        for seed in seeds:
            for split, name, colour, width in (
                ("train", "training", MUTED, 1.2),
                ("val", "validation", paint[arm], 1.8),
            ):
                line = _select(table, arm, seed, split)
                ax.plot(
                    line["epoch"] + 1, line["value"], color=colour, linewidth=width, linestyle=styles[str(seed)],
                    marker="o", markersize=3, label=name + _of(seed, seeds),
                )  # fmt: skip
            _mark_best(ax, best.get((arm, seed)))
        ax.set(title=arm, xlabel="epoch")
        _whole_epochs(ax)
        ax.legend()
    axes[0].set_ylabel("loss" if metric == "loss" else "cross-entropy (nats)")
    title = "Loss per epoch" if metric == "loss" else "Cross-entropy per epoch"
    return finished(
        figure, metric.replace("_", "-"), title,
        "Training loss is measured on augmented faces while the weights move, validation loss on plain faces "
        "afterwards, so the first may lie above the second. Validation loss that rises while training loss falls "
        f"is overfitting. The dotted line marks the epoch whose checkpoint was kept. {_seeds_sentence(seeds)}",
    )  # fmt: skip


@styled
def fig_step_loss(steps: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Batch losses of every optimiser step with their moving average and the epoch's spread.

    Args:
        steps: `schemas.STEPS`.
        arms: the study's arms, in order.
    """
    figure, axes = new_figure(1, len(arms), sharey=True)
    paint, seeds = colours(arms), _seeds(steps)
    styles = linestyles([str(seed) for seed in seeds])
    for ax, arm in zip(axes, arms, strict=True):
        for seed in seeds:
            part = _select(steps, arm, seed)
            spread = np.sqrt(part["loss_variance"])
            ax.fill_between(
                part["step"], part["loss_mean"] - spread, part["loss_mean"] + spread, color=paint[arm], alpha=0.18,
                linewidth=0, label="epoch's mean ± sd" if seed == seeds[0] else None,
            )  # fmt: skip
            ax.plot(
                part["step"], part["loss"], ".", color=MUTED, markersize=2, alpha=0.6,
                label="one batch" if seed == seeds[0] else None,
            )  # fmt: skip
            ax.plot(
                part["step"], part["loss_moving_average"], color=paint[arm], linewidth=1.8,
                linestyle=styles[str(seed)], label="moving average" + _of(seed, seeds),
            )  # fmt: skip
        ax.set(title=arm, xlabel="optimiser step")
        ax.legend()
    axes[0].set_ylabel("training loss")
    top = steps["loss"].quantile(0.995)
    if np.isfinite(top) and top > 0:
        axes[0].set_ylim(0, float(top) * 1.15)
    title = "Training loss per optimiser step"
    return finished(
        figure, "step-loss", title,
        "Each point is one batch; the line is the exponential moving average over the run; the band is the running "
        "mean within each epoch, plus and minus the standard deviation of its batch losses so far. A band that "
        "does not narrow says the batches differ more than the weights improve. The highest 0.5 % of points may "
        f"lie outside the panel. {_seeds_sentence(seeds)}",
    )  # fmt: skip


@styled
def fig_metrics(epochs: pd.DataFrame, arms: Sequence[str], best: Best, *, split: str = "val") -> Drawing:
    """Accuracy and macro precision, recall and F1 over epochs, arms together.

    Args:
        epochs: `schemas.EPOCHS`.
        arms: the study's arms, in order.
        best: epoch of the kept checkpoint by (arm, seed).
        split: side the metrics are measured on.
    """
    shown = {
        "accuracy": "Accuracy",
        "precision_macro": "Macro precision",
        "recall_macro": "Macro recall",
        "f1_macro": "Macro-F1",
    }
    figure, axes = new_figure(2, 2, size=(8.4, 6.0), sharex=True, sharey=True)
    for ax, (metric, name) in zip(axes, shown.items(), strict=True):
        part = epochs[(epochs["metric"] == metric) & (epochs["class_name"] == "")]
        _curves(ax, part, arms, best, split)
        ax.set_title(name)
    return _finish_curves(
        figure, axes, epochs, split, "metrics", "Validation metrics per epoch",
        "Macro figures weigh every class equally, accuracy weighs every face equally: a gap between them is the "
        "rare classes being missed.",
    )  # fmt: skip


@styled
def fig_class_f1(
    epochs: pd.DataFrame, classes: Sequence[str], arms: Sequence[str], best: Best, *, split: str = "val"
) -> Drawing:
    """F1 of each class over epochs, one panel per class.

    Args:
        epochs: `schemas.EPOCHS`.
        classes: class order.
        arms: the study's arms, in order.
        best: epoch of the kept checkpoint by (arm, seed).
        split: side the metrics are measured on.
    """
    columns = min(3, len(classes))
    rows = -(-len(classes) // columns)
    figure, axes = new_figure(rows, columns, size=(3.4 * columns, 3.1 * rows + 0.3), sharex=True, sharey=True)
    for ax, name in zip(axes, classes, strict=False):
        part = epochs[(epochs["metric"] == "f1") & (epochs["class_name"] == name)]
        _curves(ax, part, arms, best, split)
        ax.set_title(short_name(name))
    for ax in axes[len(classes) :]:
        ax.set_axis_off()
    return _finish_curves(
        figure, axes[: len(classes)], epochs, split, "class-f1", "Validation F1 of each class per epoch",
        "The rarer the class, the fewer faces its curve rests on and the more it jumps; gaps are epochs in which "
        "F1 was undefined.",
    )  # fmt: skip


def _curves(ax: Axes, part: pd.DataFrame, arms: Sequence[str], best: Best, split: str) -> None:
    """Per arm and seed: the values, thin, and their moving average, heavy; the best epoch as a ring."""
    paint, seeds = colours(arms), _seeds(part)
    for index, arm in enumerate(arms):
        for seed in seeds:
            line = _select(part, arm, seed, split).sort_values("epoch")
            style = linestyles([str(s) for s in seeds])[str(seed)]
            ax.plot(line["epoch"] + 1, line["value"], color=paint[arm], linewidth=0.8, alpha=0.55, linestyle=style)
            smooth = line["value"].rolling(WINDOW, min_periods=1).mean().where(line["value"].notna())
            ax.plot(
                line["epoch"] + 1, smooth, color=paint[arm], linewidth=2.0,
                linestyle=style if len(seeds) > 1 else ("-", "--", "-.", ":")[index % 4], label=arm + _of(seed, seeds),
            )  # fmt: skip
            chosen = line[line["epoch"] == best.get((arm, seed), -1)]
            ax.plot(
                chosen["epoch"] + 1, chosen["value"], linestyle="none", marker="o", markersize=8,
                markerfacecolor="white", markeredgecolor=paint[arm], markeredgewidth=1.8,
            )  # fmt: skip
    ax.set_ylim(-0.02, 1.02)
    _whole_epochs(ax)


def _finish_curves(
    figure: mpl.figure.Figure, axes: Sequence[Axes], epochs: pd.DataFrame, split: str, name: str, title: str, say: str
) -> Drawing:
    for ax in axes:
        if ax.get_subplotspec() is not None and ax.get_subplotspec().is_last_row():  # type: ignore[union-attr]
            ax.set_xlabel("epoch")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(len(labels), 3)))
    title = title if split == "val" else title.replace("Validation", {"train": "Training", "test": "Test"}[split])
    return finished(
        figure, f"{name}-{split}", title,
        f"Thin: each epoch; heavy: mean of the last {WINDOW} epochs; ring: the epoch whose checkpoint was kept "
        f"(highest validation macro-F1, chosen on the thin line). {say} {_seeds_sentence(_seeds(epochs))}",
    )  # fmt: skip


# --- gradient flow ----------------------------------------------------------------------------------


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
    seeds = _seeds(gradients)
    for ax, arm in zip(axes, arms, strict=True):
        part = _select(table, arm, seeds[0])
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
    table, seeds = main_tensors(gradients), _seeds(gradients)
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
    table, seeds = main_tensors(gradients), _seeds(gradients)
    groups = list(table.sort_values("depth")["group"].unique())
    figure, axes = new_figure(1, len(arms), size=(4.6 * len(arms), 3.9), sharex=True, sharey=True)
    shades = mpl.colormaps[SEQUENTIAL](np.linspace(0.0, 0.85, len(groups)))
    for ax, arm in zip(axes, arms, strict=True):
        part = _select(table, arm, seeds[0])
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


# --- small parts ------------------------------------------------------------------------------------


def _seeds(table: pd.DataFrame) -> list[int]:
    return sorted(int(seed) for seed in table["seed"].unique())


def _select(table: pd.DataFrame, arm: str, seed: int, split: str | None = None) -> pd.DataFrame:
    part = table[(table["arm"] == arm) & (table["seed"] == seed)]
    return part if split is None else part[part["split"] == split]


def _positive(values: pd.Series) -> pd.Series:
    """A logarithmic axis has no place for zero: it becomes a gap."""
    return values.where(values > 0)


def _mark_best(ax: Axes, epoch: int | None) -> None:
    if epoch is not None:
        ax.axvline(epoch + 1, color="#374151", linewidth=1.1, linestyle=":", zorder=1)


def _whole_epochs(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _of(seed: int, seeds: Sequence[int]) -> str:
    return f", seed {seed}" if len(seeds) > 1 else ""


def _seeds_sentence(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seeds, told apart by line style." if len(seeds) > 1 else "One seed."


def _one_seed_sentence(seeds: Sequence[int]) -> str:
    return f"Seed {seeds[0]} of {len(seeds)}." if len(seeds) > 1 else "One seed."


def _tensors_sentence(gradients: pd.DataFrame) -> str:
    steps = gradients["step"].nunique()
    if main_tensors(gradients)["layer"].nunique() == gradients["layer"].nunique():
        return f"{steps} recorded steps."
    return f"Gains and shifts of batch norms are left out here (they are in the table). {steps} recorded steps."
