"""Pieces of photographs with badly placed boxes, kept with the results: the report needs no photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.data.boxes import BOX_COLUMNS, square_around
from maskbench.data.faces import resize_region
from maskbench.schemas import write_table
from maskbench.schemas.detection import LEAST_PLACED_IOU, PLACED_FACES, SYSTEM
from maskbench.storage import write_arrays

if TYPE_CHECKING:
    from maskbench.data.photographs import Photographs

#: Side of a piece, px.
SIDE = 128
#: Share of the larger box that is shown around both.
_AROUND = 0.4


def write_placed(
    folder: Path, found: pd.DataFrame, faces: pd.DataFrame, photographs: Photographs, count: int
) -> list[Path]:
    """Keep the worst placed boxes of each detector, with the photograph around them.

    Args:
        folder: of the stage.
        found: `schemas.detection.FOUND_FACES`.
        faces: `schemas.FACES`.
        photographs: that the faces are in.
        count: of each arm's first run.

    Returns:
        `placed_faces` (Parquet and CSV) and `placed.safetensors` with `pieces`, uint8 (N, SIDE, SIDE, 3).
    """
    first = found[(found["pipeline"] == "detector") & (found["seed"] == found["seed"].min())]
    true, rows, pieces = faces.set_index("face_id")[BOX_COLUMNS], list[dict[str, Any]](), list[NDArray[np.uint8]]()
    place = {image_id: row for row, image_id in enumerate(photographs.image_ids)}
    for _, part in first.groupby("arm", sort=False):
        for rank, row in enumerate(worst_placed(part, count).to_dict("records"), start=1):
            both = np.array([true.loc[row["face_id"]].to_numpy(), [row[name] for name in BOX_COLUMNS]], dtype=float)
            piece, boxes = _piece(photographs, place[row["image_id"]], both)
            pieces.append(piece)
            kept = {name: row[name] for name in (*SYSTEM, "face_id", "label", "predicted", "score", "iou", "side")}
            placed = {
                f"{kind}_{name}": float(value)
                for kind, box in zip(("true", "found"), boxes, strict=True)
                for name, value in zip(BOX_COLUMNS, box, strict=True)
            }
            rows.append({**kept, "rank": rank, **placed})
    path = folder / "placed_faces.parquet"
    write_table(path, pd.DataFrame(rows, columns=list(PLACED_FACES.columns)), PLACED_FACES, csv=True)
    write_arrays(
        folder / "placed.safetensors",
        {"pieces": np.stack(pieces) if pieces else np.empty((0, SIDE, SIDE, 3), np.uint8)},
    )
    return [path, path.with_suffix(".csv"), folder / "placed.safetensors"]


def worst_placed(found: pd.DataFrame, count: int) -> pd.DataFrame:
    """The faces whose own box lies worst: those that were found, and those that a box of no other face overlaps.

    Args:
        found: `schemas.detection.FOUND_FACES` of one detector.
        count: faces at most.

    Returns:
        Rows of the table, worst first.
    """
    where = pd.MultiIndex.from_frame(found[["image_id", *BOX_COLUMNS]])
    of_another = where.isin(where[found["found"]]) & ~found["found"]
    own = found["found"] | ((found["iou"] >= LEAST_PLACED_IOU) & ~of_another)
    return found[own].sort_values(["iou", "face_id"]).head(count)


def _piece(
    photographs: Photographs, row: int, boxes: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A square of the photograph around both boxes (2, 4), and the boxes in its px."""
    boxes = boxes * photographs.scales[row]
    whole = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    square = square_around(whole[None], _AROUND)[0]
    shown = resize_region(photographs.image(row), square, SIDE)
    return shown, (boxes - np.tile(square[:2], 2)) * SIDE / (square[2] - square[0])
