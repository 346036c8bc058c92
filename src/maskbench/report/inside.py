"""Which figures the look inside has, drawn from the tables and pictures of its stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing
from maskbench.report.figures.faithfulness import faithfulness_figures
from maskbench.report.figures.layers import fig_favourites, fig_feature_maps, fig_filters
from maskbench.report.figures.mistakes import mistake_figures
from maskbench.report.figures.portraits import Cell, fig_cells
from maskbench.report.figures.representations import representation_figures
from maskbench.report.style import wrapped
from maskbench.schemas import read_table
from maskbench.schemas.failures import FAILURE_TABLES, LABEL_ISSUES, example_ids
from maskbench.schemas.faithfulness import FAITHFULNESS_CURVES, FAITHFULNESS_SUMMARY
from maskbench.schemas.mistakes import MISTAKE_TABLES
from maskbench.schemas.representations import LAYER_STATISTICS, REPRESENTATION_TABLES
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
        """The face under an arm's map; None where no map of it was kept."""
        heat = self.maps[arm].get(face_id)
        return None if heat is None else Cell(self.views[face_id], heat, **options)


def inside_drawings(folder: Path, classes: Sequence[str], arms: Sequence[str]) -> dict[str, list[Drawing]]:
    """Figures by section of the report; none where the stage left nothing.

    Args:
        folder: of the explain stage.
        classes: class order.
        arms: in order.
    """
    if not (folder / "answers.json").is_file():
        return {}
    faces = Faces.read(folder)
    summary = read_table(folder / "faithfulness_summary", FAITHFULNESS_SUMMARY)
    curves = read_table(folder / "faithfulness_curves", FAITHFULNESS_CURVES)
    statistics = read_table(folder / "layer_statistics", LAYER_STATISTICS)
    tables = {name: read_table(folder / name, schema) for name, schema in REPRESENTATION_TABLES.items()}
    mistakes = {name: read_table(folder / f"mistake_{name}", schema) for name, schema in MISTAKE_TABLES.items()}
    labels = dict(zip(summary["method"], summary["label"], strict=True))
    return {
        "question 3": mistake_figures(**mistakes, arms=arms),
        "explanations": [*_portraits(folder, labels, arms, tables), *faithfulness_figures(summary, curves, arms)],
        "representations": [
            *representation_figures(tables, statistics, classes, arms), *_layers(folder, faces, arms)
        ],
        "failures": _failures(folder, faces, arms),
    }  # fmt: skip


def _portraits(
    folder: Path, labels: Mapping[str, str], arms: Sequence[str], tables: Mapping[str, pd.DataFrame]
) -> list[Drawing]:
    """All methods and arms side by side on the same faces."""
    maps, ids = read_arrays(folder / "portraits.safetensors")
    views, shown = read_arrays(folder / "views.safetensors")
    pixels = dict(zip(shown, views["views"], strict=True))
    known = {(row["arm"], row["face_id"]): row for row in tables["embedding"].to_dict("records")}
    methods = list(dict.fromkeys(name.partition("/")[2] for name in maps))
    methods.sort(key=list(labels).index)
    rows: list[list[Cell | None]] = []
    for place, face_id in enumerate(ids):
        for arm in arms:
            row = known[arm, face_id]
            told = (f"true: {row['label']}", f"says: {row['predicted']}")
            cells: list[Cell | None] = [Cell(pixels[face_id], lines=told, wrong=not row["correct"])]
            for method in methods:
                title = wrapped(labels[method], 12) if place == 0 and arm == arms[0] else ""
                cells.append(Cell(pixels[face_id], maps[f"{arm}/{method}"][place].astype(float), title))
            rows.append(cells)
    return [
        fig_cells(
            rows, [arm for _ in ids for arm in arms], name="explained-faces",
            title="What the arms look at, by every method",
            caption="Maps of the predicted class; an orange frame marks a mistake. Look whether methods agree on one "
            "face, and whether the arms look at the same place. A map that looks right is no evidence: the next "
            "figures measure it.",
        )
    ]  # fmt: skip


def _layers(folder: Path, faces: Faces, arms: Sequence[str]) -> list[Drawing]:
    """Filters, feature maps, favourite inputs."""
    arrays, ids = read_arrays(folder / "layers.safetensors")
    drawn = [fig_filters({arm: arrays[f"{arm}/filters"] for arm in arms})]
    for number, face_id in enumerate(ids):
        prefix = f"maps/{number}/"
        maps = {
            arm: {
                name.removeprefix(f"{arm}/{prefix}"): part
                for name, part in arrays.items()
                if name.startswith(f"{arm}/{prefix}")
            }
            for arm in arms
        }
        maps = {arm: {depth: part[depth] for depth in sorted(part, key=_depth)} for arm, part in maps.items() if part}
        if maps:
            drawn.append(fig_feature_maps(
                faces.views[face_id], maps, number=number + 1, title=f"What the layers answer to a face ({number + 1})"
            ))  # fmt: skip
    favourites = {
        arm: {
            name.removeprefix(f"{arm}/maximised/"): part
            for name, part in sorted(arrays.items(), key=lambda item: _depth(item[0].rpartition("/")[2]))
            if name.startswith(f"{arm}/maximised/")
        }
        for arm in arms
    }
    if any(favourites.values()):
        drawn.append(fig_favourites(favourites))
    return drawn


def _depth(name: str) -> tuple[bool, str]:
    """The stem comes before the numbered layers."""
    return name != "stem", name


def _failures(folder: Path, faces: Faces, arms: Sequence[str]) -> list[Drawing]:
    tables = {name: read_table(folder / name, schema) for name, schema in FAILURE_TABLES.items()}
    issues = read_table(folder / "label_issues", LABEL_ISSUES)
    drawn: list[Drawing] = []
    for number, arm in enumerate(arms, start=1):
        for kind, (title, caption) in _KINDS.items():
            part = tables["failures"]
            part = part[(part["arm"] == arm) & (part["kind"] == kind)]
            if len(part):
                drawn.append(
                    _gallery(part, faces, arm, f"{kind.replace('_', '-')}-{number}", f"{title}: {arm}", caption)
                )
        drawn += _beside_neighbours(tables["neighbours"], faces, arm, number)
        drawn += _confusions(tables["confusion_pairs"], faces, arm, number)
        drawn += _prototypes(tables["prototypes"], faces, arm, number)
    return [*drawn, *_issues(issues, faces)]


_KINDS = {
    "hard_loss": (
        "The hardest faces",
        "By cross-entropy, hardest first; an orange frame marks a mistake, under each face Grad-CAM of the class that "
        "was predicted in the first run that tested it.",
    ),
    "confident": (
        "The most confident mistakes",
        "By the probability of the wrong class. Look whether the label, the face or the model is to blame.",
    ),
}


def _gallery(part: pd.DataFrame, faces: Faces, arm: str, name: str, title: str, caption: str) -> Drawing:
    """Faces, each with its map below."""
    rows: list[list[Cell | None]] = []
    for start in range(0, len(part), ROW):
        line = part.iloc[start : start + ROW].to_dict("records")
        rows.append(
            [
                faces.cell(
                    row["face_id"], wrong=row["predicted"] != row["label"],
                    lines=(f"true: {row['label']}", f"says: {row['predicted']}", f"p = {row['prob_predicted']:.2f}"),
                )
                for row in line
            ]
        )  # fmt: skip
        rows.append([faces.heat(arm, row["face_id"]) for row in line])
    return fig_cells(rows, [""] * len(rows), name=name, title=title, caption=caption)


def _beside_neighbours(neighbours: pd.DataFrame, faces: Faces, arm: str, number: int) -> list[Drawing]:
    """Each mistake with its map, its nearest right neighbour with its map, and the nearest training faces."""
    own = neighbours[(neighbours["arm"] == arm)]
    if own.empty:
        return []
    own = own[own["seed"] == own["seed"].min()]
    rows: list[list[Cell | None]] = []
    for _, part in list(own.groupby("face_id", sort=False))[:PAIRS]:
        first = part.iloc[0]
        right, train = part[part["kind"] == "right"], part[part["kind"] == "train"].head(3)
        face_id = str(first["face_id"])
        told = (f"true: {first['label']}", f"says: {first['predicted']}")
        cells: list[Cell | None] = [
            faces.cell(face_id, title="mistake", lines=told, wrong=True), faces.heat(arm, face_id, title="Grad-CAM"),
        ]  # fmt: skip
        near = [str(name) for name in right["neighbour_id"]]
        cells += (
            [faces.cell(near[0], title="nearest right one", lines=(str(first["label"]),)),
             faces.heat(arm, near[0], title="Grad-CAM")]
            if near else [None, None]
        )  # fmt: skip
        cells += [
            faces.cell(
                str(row["neighbour_id"]),
                title=f"training, {row['similarity']:.2f}",
                lines=(str(row["neighbour_label"]),),
            )
            for row in train.to_dict("records")
        ]
        rows.append(cells)
    return [
        fig_cells(
            rows, [""] * len(rows), name=f"mistakes-beside-neighbours-{number}",
            title=f"Mistakes beside what lies nearest: {arm}",
            caption="Left a mistake, then the nearest test face of its true class that the arm gets right, then the "
            "nearest training faces with the similarity of their features. Training faces of the predicted class say "
            "where the mistake was learned; maps that differ say what the arm looked at instead.",
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
            rows, [""] * len(rows), name="suspected-labels", title="Labels worth looking at again",
            caption="Most doubtful first; the table label_issues.csv names their files and boxes. A classifier doubts "
            "them that has not seen their photograph: many of its doubts are its own mistakes, so look before changing "
            "one.",
        )
    ]  # fmt: skip
