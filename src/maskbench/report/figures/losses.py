"""Where detectors lose faces, system by system."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.systems import label_of, pairs_in, rows_axis, rows_of
from maskbench.report.style import new_figure, percent_ticks
from maskbench.schemas.localisation import OUTCOMES

#: Words and colour of each outcome; the dark ones are losses of finding.
LOOKS = {
    "right": ("found and named right", "#4C956C"),
    "misnamed": ("found, named wrongly", "#F2A65A"),
    "misplaced": ("box badly placed (IoU below 0.5)", "#B5546B"),
    "missed": ("no box on it", "#5A3E5D"),
}
#: Narrower parts have no room for their number, share of the axis.
_ROOM = 0.045


@styled
def fig_detection_losses(losses: pd.DataFrame, arms: Sequence[str], seed: int) -> Drawing:
    """Shares of test faces by what became of them, a bar per system.

    Args:
        losses: `schemas.localisation.DETECTION_LOSSES`.
        arms: the study's arms, in order.
        seed: the run shown.
    """
    shown = losses[losses["seed"] == seed]
    pairs = pairs_in(shown, arms)
    figure, axes = new_figure(1, 1, size=(8.4, 1.7 + 0.5 * len(pairs)))
    ax = axes[0]
    names = [label_of(pair, pairs) for pair in pairs]
    rows_axis(ax, names)
    left = np.zeros(len(pairs))
    for outcome in OUTCOMES:
        words, colour = LOOKS[outcome]
        shares = np.array(
            [rows_of(shown, pair).set_index("outcome").loc[outcome, "share"] for pair in pairs], dtype=float
        )
        ax.barh(range(len(pairs)), shares, left=left, color=colour, label=words, height=0.62, edgecolor="white")
        for row, share in enumerate(shares):
            if share >= _ROOM:
                ax.text(left[row] + share / 2, row, f"{share:.1%}", ha="center", va="center", color="white", fontsize=8)
        left += shares
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the test faces")
    percent_ticks(ax.xaxis)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    faces = int(shown["faces"].max())
    return finished(
        figure, f"detection-losses-seed{seed}", "What is lost to finding, and what to naming",
        f"{faces} faces of the test photographs, boxes of at least the score that validation chose. The dark parts are "
        "lost before any class is named; a better classifier could win back the light one only.",
    )  # fmt: skip
