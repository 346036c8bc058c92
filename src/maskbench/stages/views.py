"""Small pictures of the faces that figures show, kept with the results: the report needs no photographs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskbench.storage import atomic_path, write_arrays, write_json

#: Side of a tile of the sheet, px; its columns; its JPEG quality: 600 faces take about half a megabyte.
TILE, COLUMNS, QUALITY = 48, 25, 80


def write_views(folder: Path, canvases: Tensor, face_ids: Sequence[str], chosen: Sequence[str], size: int) -> Path:
    """Keep what a model sees of the chosen faces.

    Args:
        folder: of the stage.
        canvases: uint8 (N, 3, C, C) of all faces.
        face_ids: N ids.
        chosen: ids of those kept.
        size: side of the model's input, px.

    Returns:
        `views.safetensors` with `views` uint8 (V, S, S, 3) and the ids.
    """
    position = {face_id: row for row, face_id in enumerate(face_ids)}
    views = view_pixels(canvases[[position[face_id] for face_id in chosen]], size)
    write_arrays(folder / "views.safetensors", {"views": views}, chosen)
    return folder / "views.safetensors"


def view_pixels(canvases: Tensor, size: int) -> NDArray[np.uint8]:
    """The central views of canvases (N, 3, C, C): uint8 (N, S, S, 3)."""
    border = (canvases.shape[-1] - size) // 2
    inside = slice(border, border + size)
    return np.ascontiguousarray(canvases[:, :, inside, inside].permute(0, 2, 3, 1).cpu().numpy())


def write_sheet(folder: Path, views: NDArray[np.uint8], face_ids: Sequence[str]) -> list[Path]:
    """One picture that holds all faces as tiles, for the interactive figure.

    Args:
        folder: of the stage.
        views: uint8 (N, S, S, 3).
        face_ids: N ids.

    Returns:
        `sheet.jpg` and `sheet.json`.
    """
    rows = -(-len(views) // COLUMNS)
    sheet = np.zeros((rows * TILE, COLUMNS * TILE, 3), dtype=np.uint8)
    for index, view in enumerate(views):
        top, left = index // COLUMNS * TILE, index % COLUMNS * TILE
        tile = Image.fromarray(view).resize((TILE, TILE), Image.Resampling.BILINEAR)
        sheet[top : top + TILE, left : left + TILE] = np.asarray(tile)
    content = io.BytesIO()
    Image.fromarray(sheet).save(content, "JPEG", quality=QUALITY)
    with atomic_path(folder / "sheet.jpg") as temporary:
        temporary.write_bytes(content.getvalue())
    write_json(folder / "sheet.json", {"tile": TILE, "columns": COLUMNS, "face_ids": list(face_ids)})
    return [folder / "sheet.jpg", folder / "sheet.json"]
