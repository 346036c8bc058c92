"""How detectors were trained, in the report's section on detection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from maskbench import schemas
from maskbench.report.content_results import number
from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.systems import systems_legend
from maskbench.report.grids import grid
from maskbench.report.questions import Block
from maskbench.report.style import colours, linestyles, markers, new_figure, short_name
from maskbench.schemas import read_table
from maskbench.storage import read_json

#: Of figures.
SECTION = "detector training"
#: Metric of the epochs' table, its side, and the label of its panel.
_PANELS = (("loss", "train", "training loss"), ("ap", "val", "validation AP@[.5:.95]"),
           ("ap50", "val", "validation AP50"))  # fmt: skip


def detector_training_drawings(folder: Path, arms: Sequence[str]) -> list[Drawing]:
    """The figure of the stage `detect-train`.

    Args:
        folder: of the stage.
        arms: in order.
    """
    tables = [read_table(run / "epochs", schemas.EPOCHS) for arm in arms for run in _runs(folder, arm)]
    return [fig_detector_training(schemas.concat_tables(tables), arms)]


def _runs(folder: Path, arm: str) -> list[Path]:
    return sorted((path.parent for path in folder.glob(f"{arm}/seed*/fit.json")), key=lambda run: int(run.name[4:]))


@styled
def fig_detector_training(epochs: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Loss and average precision epoch by epoch.

    Args:
        epochs: `schemas.EPOCHS` of all detectors.
        arms: in order.
    """
    figure, axes = new_figure(1, len(_PANELS), size=(11.0, 3.4))
    for ax, (metric, side, label) in zip(axes, _PANELS, strict=True):
        part = epochs[(epochs["metric"] == metric) & (epochs["split"] == side) & (epochs["class_name"] == "")]
        for arm in arms:
            _curves(ax, part[part["arm"] == arm], arm, arms)
        ax.set_xlabel("epoch")
        ax.set_ylabel(label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylim(bottom=0)
    handles: list[Artist] = []
    for arm in arms:
        look: dict[str, Any] = {
            "color": colours(arms)[arm],
            "marker": markers(arms)[arm],
            "linestyle": linestyles(arms)[arm],
        }
        handles.append(Line2D([], [], label=short_name(arm, 40), **look))
    systems_legend(figure, handles)
    runs = epochs["seed"].nunique()
    return finished(
        figure, "detector-training", "Training of the detectors",
        f"{runs} {'run' if runs == 1 else 'runs'} of each arm, a line each. AP is that of the moving average of "
        "weights on validation photographs, the mean of the classes; the epoch with the highest AP@[.5:.95] is kept.",
    )  # fmt: skip


def _curves(ax: Axes, part: pd.DataFrame, arm: str, arms: Sequence[str]) -> None:
    for _, run in part.groupby("seed"):
        ax.plot(
            run["epoch"] + 1, run["value"], color=colours(arms)[arm], marker=markers(arms)[arm], markersize=3,
            linestyle=linestyles(arms)[arm], linewidth=1.4,
        )  # fmt: skip


def trainings_block(folder: Path, arms: Sequence[str]) -> Block:
    """What each detector started from, and what its training came to.

    Args:
        folder: of the stage `detect-train`.
        arms: in order.
    """
    rows = []
    for arm in arms:
        for run in _runs(folder, arm):
            fit, weights = read_json(run / "fit.json"), read_json(run / "weights.json")
            tensors = f" ({weights['matched']} tensors)" if weights["matched"] else ""
            rows.append(
                {
                    "arm": arm, "run": fit["seed"], "starts from": weights["name"] + tensors,
                    "epochs": fit["epochs_run"], "best": fit["best_epoch"] + 1, "validation AP": number(fit["best_ap"]),
                    "photographs": fit["train_photographs"], "minutes": f"{fit['seconds'] / 60:.1f}",
                    "device": f"{fit['device']}, {fit['precision']}",
                }
            )  # fmt: skip
    return Block(
        "Trainings", "One protocol for all arms: detectors differ in their backbone and its initial weights (checked "
        "from the saved files, `detect-train/protocol.json`).", grid(pd.DataFrame(rows)),
    )  # fmt: skip
