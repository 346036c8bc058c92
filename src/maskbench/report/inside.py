"""Which figures the look inside has, drawn from the tables and pictures of its stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from maskbench.report.drawing import Drawing
from maskbench.report.failures import Faces, evidence, failure_drawings
from maskbench.report.figures.faithfulness import faithfulness_figures
from maskbench.report.figures.layers import fig_favourites, fig_feature_maps, fig_filters
from maskbench.report.figures.mistakes import mistake_figures
from maskbench.report.figures.portraits import Cell, fig_cells
from maskbench.report.figures.representations import representation_figures
from maskbench.report.style import wrapped
from maskbench.schemas import read_table
from maskbench.schemas.failures import FEATURE_CHANNELS, PORTRAITS
from maskbench.schemas.faithfulness import FAITHFULNESS_CURVES, FAITHFULNESS_SUMMARY
from maskbench.schemas.mistakes import MISTAKE_TABLES
from maskbench.schemas.representations import LAYER_STATISTICS, REPRESENTATION_TABLES
from maskbench.storage import read_arrays


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
        "explanations": [*portrait_drawings(folder, faces, labels, arms), *faithfulness_figures(summary, curves, arms)],
        "representations": [
            *representation_figures(tables, statistics, classes, arms), *_layers(folder, faces, arms)
        ],
        "failures": failure_drawings(folder, faces, arms),
    }  # fmt: skip


def portrait_drawings(folder: Path, faces: Faces, labels: Mapping[str, str], arms: Sequence[str]) -> list[Drawing]:
    """All methods and arms side by side on the same faces.

    Args:
        folder: of the explain stage.
        faces: of `Faces.read`.
        labels: of methods, in order.
        arms: in order.
    """
    maps, ids = read_arrays(folder / "portraits.safetensors")
    table = read_table(folder / "portraits", PORTRAITS)
    known = {(row["arm"], row["face_id"]): row for row in table.to_dict("records")}
    methods = list(dict.fromkeys(name.partition("/")[2] for name in maps))
    methods.sort(key=list(labels).index)
    rows: list[list[Cell | None]] = []
    for place, face_id in enumerate(ids):
        for arm in arms:
            row = known[arm, face_id]
            told = (f"true: {row['label']}", f"says: {row['predicted']}", f"p = {row['prob_predicted']:.2f}")
            cells: list[Cell | None] = [faces.cell(face_id, lines=told, wrong=row["predicted"] != row["label"])]
            for method in methods:
                title = wrapped(labels[method], 12) if place == 0 and arm == arms[0] else ""
                heat = maps[f"{arm}/{method}"][place].astype(float)
                cells.append(faces.cell(face_id, heat=heat, title=title, lines=evidence(heat)))
            rows.append(cells)
    return [
        fig_cells(
            rows, [arm for _ in ids for arm in arms], name="explained-faces",
            title="What the arms look at, by every method",
            caption=f"Maps of the class that is predicted in run {int(table['seed'].iloc[0])}; its probability stands "
            "under the face, an orange frame marks a mistake. Look whether methods agree on one face, and whether the "
            "arms look at the same place. A map that looks right is no evidence: the next figures measure it. Class "
            f"activation maps (CAM in the name) are enlarged from {_cells(table)} places: finer shapes in them are not "
            "the model's.",
        )
    ]  # fmt: skip


def _cells(table: pd.DataFrame) -> str:
    """`2 × 2`, or several where arms differ."""
    sizes = table[["map_height", "map_width"]].drop_duplicates().itertuples(index=False, name=None)
    return " or ".join(f"{height} × {width}" for height, width in sizes)


def _layers(folder: Path, faces: Faces, arms: Sequence[str]) -> list[Drawing]:
    """Filters, feature maps, favourite inputs."""
    arrays, ids = read_arrays(folder / "layers.safetensors")
    drawn = [fig_filters({arm: arrays[f"{arm}/filters"] for arm in arms})]
    table = read_table(folder / "feature_channels", FEATURE_CHANNELS)
    for number, face_id in enumerate(ids):
        own = table[table["face_id"] == face_id]
        channels = {
            arm: {
                str(layer): list(part["channel"])
                for layer, part in own[own["arm"] == arm].groupby("layer", sort=False)
            }
            for arm in arms if (own["arm"] == arm).any()
        }  # fmt: skip
        maps = {arm: {name: arrays[f"{arm}/maps/{number}/{name}"] for name in found} for arm, found in channels.items()}
        if maps:
            drawn.append(fig_feature_maps(
                faces.views[face_id], maps, channels, number=number + 1,
                title=f"What the layers answer to a face ({number + 1})",
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
