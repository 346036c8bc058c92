"""Figures of training: losses and metrics over epochs; those of gradients are in `gradients`.

Arms keep their colour from one figure to the next (`style.colours` of all the study's arms) and share
axes; seeds are told apart by line style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.gradients import fig_gradient_depth, fig_gradient_time, fig_update_ratio
from maskbench.report.figures.runs import seeds_of, select
from maskbench.report.style import MUTED, colours, linestyles, new_figure, short_name

#: Epochs averaged by the heavy line of the metric figures: the epoch itself and those before it.
WINDOW = 3

Best = Mapping[tuple[str, int], int]


def training_figures(
    epochs: pd.DataFrame,
    steps: pd.DataFrame,
    gradients: pd.DataFrame,
    classes: Sequence[str],
    arms: Sequence[str],
    best: Best,
) -> list[Drawing]:
    """All figures of training, in the report's order; those of gradients only where some were recorded.

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
    paint, seeds = colours(arms), seeds_of(epochs)
    styles = linestyles([str(seed) for seed in seeds])
    for ax, arm in zip(axes, arms, strict=True):
        for seed in seeds:
            for split, name, colour, width in (
                ("train", "training", MUTED, 1.2),
                ("val", "validation", paint[arm], 1.8),
            ):
                line = select(table, arm, seed, split)
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
    paint, seeds = colours(arms), seeds_of(steps)
    styles = linestyles([str(seed) for seed in seeds])
    for ax, arm in zip(axes, arms, strict=True):
        for seed in seeds:
            part = select(steps, arm, seed)
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
    paint, seeds = colours(arms), seeds_of(part)
    for index, arm in enumerate(arms):
        for seed in seeds:
            line = select(part, arm, seed, split).sort_values("epoch")
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
        f"(highest validation macro-F1, chosen on the thin line). {say} {_seeds_sentence(seeds_of(epochs))}",
    )  # fmt: skip


# --- gradient flow ----------------------------------------------------------------------------------


# --- small parts ------------------------------------------------------------------------------------


def _mark_best(ax: Axes, epoch: int | None) -> None:
    if epoch is not None:
        ax.axvline(epoch + 1, color="#374151", linewidth=1.1, linestyle=":", zorder=1)


def _whole_epochs(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _of(seed: int, seeds: Sequence[int]) -> str:
    return f", seed {seed}" if len(seeds) > 1 else ""


def _seeds_sentence(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seeds, told apart by line style." if len(seeds) > 1 else "One seed."
