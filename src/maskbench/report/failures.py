"""Figures of what goes wrong: galleries of hard faces, mistakes beside their neighbours, confusions, doubted labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing
from maskbench.report.figures.portraits import Cell, fig_cells
from maskbench.schemas import read_table
from maskbench.schemas.failures import FAILURE_TABLES, LABEL_ISSUES, example_ids
from maskbench.storage import read_arrays

Pixels = NDArray[np.uint8]
#: Faces in a row of a gallery.
ROW = 6
#: Mistakes shown with their neighbours.
PAIRS = 8
#: Examples of a confusion that are shown.
EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class Faces:
    """Views of faces by id, and Grad-CAM by arm and id where it is known."""

    views: Mapping[str, Pixels]
    maps: Mapping[str, Mapping[str, NDArray[np.floating]]]

    @classmethod
    def read(cls, folder: Path) -> Faces:
        """From the pictures that the stage left."""
        views, shown = read_arrays(folder / "views.safetensors")
        maps, tested = read_arrays(folder / "maps.safetensors")
        return cls(
            dict(zip(shown, views["views"], strict=True)),
            {arm: dict(zip(tested, part.astype(float), strict=True)) for arm, part in maps.items()},
        )

    def cell(self, face_id: str, **options: Any) -> Cell:
        """The face alone."""
        return Cell(self.views[face_id], **options)

    def heat(self, arm: str, face_id: str, **options: Any) -> Cell | None:
        """The face under an arm's map, or said to have no evidence; None where no map of it was kept."""
        heat = self.maps[arm].get(face_id)
        if heat is None:
            return None
        return Cell(self.views[face_id], heat, lines=evidence(heat), **options)


def evidence(heat: NDArray[np.floating]) -> tuple[str, ...]:
    """What is said below a map that shows nothing, such as Grad-CAM where nothing speaks for the class."""
    return () if heat.max() > 0 else ("no evidence for it",)


def failure_drawings(folder: Path, faces: Faces, arms: Sequence[str]) -> list[Drawing]:
    """What goes wrong, arm by arm, and labels that are doubted.

    Args:
        folder: of the explain stage.
        faces: of `Faces.read`.
        arms: in order.
    """
    tables = {name: read_table(folder / name, schema) for name, schema in FAILURE_TABLES.items()}
    issues = read_table(folder / "label_issues", LABEL_ISSUES)
    drawn: list[Drawing] = []
    first = int(tables["prototypes"]["seed"].min())
    for number, arm in enumerate(arms, start=1):
        drawn += _galleries(tables["failures"], faces, arm, number)
        drawn += _beside_neighbours(tables["neighbours"], faces, arm, number, first)
        drawn += _confusions(tables["confusion_pairs"], faces, arm, number)
        drawn += _prototypes(tables["prototypes"], faces, arm, number)
    return [*drawn, *_issues(issues, faces)]


_KINDS = {
    "hard_loss": (
        "The hardest faces by loss",
        "By cross-entropy, hardest first: the faces whose true class is given the smallest probability.",
    ),
    "hard_margin": (
        "The hardest faces by margin",
        "By the probability of the true class minus the largest other one (m), smallest first; below 0 the face is "
        "misclassified.",
    ),
    "confident": (
        "The most confident mistakes",
        "By the probability of the wrong class. Look whether the label, the face or the model is to blame.",
    ),
}
_SAME = " The faces of the smallest margins are the same."


def _galleries(failures: pd.DataFrame, faces: Faces, arm: str, number: int) -> list[Drawing]:
    """One of each kind; none by margin where it would hold the faces by loss again."""
    own = failures[failures["arm"] == arm]
    parts = {kind: own[own["kind"] == kind] for kind in _KINDS}
    same = set(parts["hard_loss"]["face_id"]) == set(parts["hard_margin"]["face_id"])
    return [
        _gallery(parts[kind], faces, arm, name=f"{kind.replace('_', '-')}-{number}", title=f"{title}: {arm}",
                 caption=caption + _SAME * (same and kind == "hard_loss"))
        for kind, (title, caption) in _KINDS.items()
        if len(parts[kind]) and not (same and kind == "hard_margin")
    ]  # fmt: skip


def _gallery(part: pd.DataFrame, faces: Faces, arm: str, *, name: str, title: str, caption: str) -> Drawing:
    """Faces, each with its map below."""
    rows: list[list[Cell | None]] = []
    for start in range(0, len(part), ROW):
        line = part.iloc[start : start + ROW].to_dict("records")
        rows.append(
            [
                faces.cell(
                    row["face_id"], wrong=row["predicted"] != row["label"],
                    lines=(f"true: {row['label']}", f"says: {row['predicted']}", _numbers(row)),
                )
                for row in line
            ]
        )  # fmt: skip
        rows.append([faces.heat(arm, row["face_id"]) for row in line])
    return fig_cells(rows, [""] * len(rows), name=name, title=title, caption=f"{caption} {_of_runs(part)}")


def _numbers(row: Mapping[Any, Any]) -> str:
    margin = f", m = {row['margin']:+.2f}" if row["kind"] == "hard_margin" else ""
    return f"p = {row['prob_predicted']:.2f}{margin}"


def _of_runs(part: pd.DataFrame) -> str:
    """Whose answers stand under the faces of a gallery, and what its maps explain."""
    most, frame = int(part["seeds"].max()), "An orange frame marks a mistake."
    if most == 1:
        return f"{frame} Below each face Grad-CAM of the class that was predicted, in the one run that tested the face."
    return (
        f"{frame} Texts are means over the runs that tested a face (at most {most}). Below it Grad-CAM of the first of "
        "these runs, of the class that this run predicted: it may be another than the one that the mean names."
    )


def _beside_neighbours(neighbours: pd.DataFrame, faces: Faces, arm: str, number: int, first: int) -> list[Drawing]:
    """The first run's most confident mistakes with their maps, nearest right neighbours, nearest training faces."""
    own = neighbours[(neighbours["arm"] == arm) & (neighbours["seed"] == first)]
    if own.empty:
        return []
    own = own.sort_values(["prob_predicted", "face_id", "kind", "rank"], ascending=[False, True, True, True])
    mistakes = list(own.groupby("face_id", sort=False))
    rows: list[list[Cell | None]] = []
    for _, part in mistakes[:PAIRS]:
        row = part.iloc[0]
        right, train = part[part["kind"] == "right"], part[part["kind"] == "train"].head(3)
        face_id = str(row["face_id"])
        told = (f"true: {row['label']}", f"says: {row['predicted']}", f"p = {row['prob_predicted']:.2f}")
        cells: list[Cell | None] = [
            faces.cell(face_id, title="mistake", lines=told, wrong=True), faces.heat(arm, face_id, title="Grad-CAM"),
        ]  # fmt: skip
        near = [str(name) for name in right["neighbour_id"]]
        cells += (
            [faces.cell(near[0], title="nearest right one", lines=(str(row["label"]),)),
             faces.heat(arm, near[0], title="Grad-CAM")]
            if near else [Cell(None, title="nearest right one", lines=("none: no test face", f"of {row['label']}",
                                                                       "is right")), None]
        )  # fmt: skip
        cells += [
            faces.cell(
                str(known["neighbour_id"]),
                title=f"training, {known['similarity']:.2f}",
                lines=(str(known["neighbour_label"]),),
            )
            for known in train.to_dict("records")
        ]
        rows.append(cells)
    return [
        fig_cells(
            rows, [""] * len(rows), name=f"mistakes-beside-neighbours-{number}",
            title=f"Mistakes beside what lies nearest: {arm}",
            caption=f"The {len(rows)} most confident of {len(mistakes)} mistakes in run {first}. Left a mistake, then "
            "the nearest test face of its true class that the arm gets right, then the nearest training faces with the "
            "similarity of their features. Training faces of the predicted class say where the mistake was learned; "
            "maps that differ say what the arm looked at instead.",
        )
    ]  # fmt: skip


def _confusions(pairs: pd.DataFrame, faces: Faces, arm: str, number: int) -> list[Drawing]:
    own = pairs[pairs["arm"] == arm]
    if own.empty:
        return []
    rows: list[list[Cell | None]] = [
        [faces.cell(face_id, wrong=True) for face_id in example_ids(row["examples"])[:EXAMPLES]]
        for row in own.to_dict("records")
    ]
    labels = [f"{row['label']} → {row['predicted']} ({row['mistakes']})" for row in own.to_dict("records")]
    return [
        fig_cells(
            rows, labels, name=f"confusions-{number}", title=f"Which classes are taken for which: {arm}",
            caption="True class → predicted class (mistakes over all runs), the most confident examples.",
        )
    ]  # fmt: skip


def _prototypes(prototypes: pd.DataFrame, faces: Faces, arm: str, number: int) -> list[Drawing]:
    own = prototypes[prototypes["arm"] == arm]
    if own.empty:
        return []
    own = own[own["seed"] == own["seed"].min()]
    groups = [(str(label), part) for label, part in own.groupby("label", sort=False)]
    rows: list[list[Cell | None]] = [
        [faces.cell(str(name)) for name in part["face_id"].head(EXAMPLES + 2)] for _, part in groups
    ]
    return [
        fig_cells(
            rows, [label for label, _ in groups], name=f"prototypes-{number}",
            title=f"The most typical faces of each class: {arm}",
            caption="Test faces nearest to their class's mean direction in the features that the head reads. What they "
            "share is what the arm takes the class to be.",
        )
    ]  # fmt: skip


def _issues(issues: pd.DataFrame, faces: Faces) -> list[Drawing]:
    shown = [row for row in issues.to_dict("records") if row["face_id"] in faces.views][: 2 * ROW]
    if not shown:
        return []
    cells = [
        faces.cell(
            str(row["face_id"]),
            lines=(f"label: {row['label']}", f"or {row['suggested']}?", f"p = {row['prob_suggested']:.2f}"),
        )
        for row in shown
    ]
    rows: list[list[Cell | None]] = [list(cells[start : start + ROW]) for start in range(0, len(cells), ROW)]
    return [
        fig_cells(
            rows, [""] * len(rows), name="suspected-labels", title="Labels that a weak classifier doubts",
            caption="Most doubtful first; the table label_issues.csv names their files and boxes. The classifier has "
            "not seen their photographs; how often it is right is said beside that table. Many of its doubts are its "
            "own mistakes, so look before changing a label.",
        )
    ]  # fmt: skip
