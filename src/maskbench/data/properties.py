"""Properties of each face that may make it hard: geometry, neighbours, light, sharpness, familiarity."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from maskbench.data.boxes import BOX_COLUMNS, Floats, box_area, box_iou, box_properties, square_around
from maskbench.data.crops import FaceCrops
from maskbench.data.light import laplacian_variance, saturation_mean

#: Common size, px, of faces whose sharpness and likeness are compared. Three quarters of the faces of
#: the study's dataset are larger, so most are only reduced and none gains detail from its resolution: the
#: rank correlation of sharpness with box size is 0.70 at 16 px (0.26 among faces of 18 px or more), 0.90
#: at 64 px, where most would be enlarged.
THUMBNAIL_SIDE = 16
#: Distances held at once: 4 million float64 are 32 MB.
_BLOCK = 4_000_000
#: Stands for the distance of a hash that is not compared; hashes of 64 bits are nearer than that.
_NONE = 255

Bytes = NDArray[np.uint8]


def face_properties(crops: FaceCrops, faces: pd.DataFrame, margin: float, *, workers: int = 2) -> pd.DataFrame:
    """Properties of each face that do not depend on the split.

    Args:
        crops: the faces' pixels, in the order of `faces`.
        faces: `schemas.FACES`.
        margin: context on each side of the model's view as a share of the box's longer side, ≥ 0.
        workers: threads that read pixels.

    Returns:
        `schemas.factors.PROPERTIES`, in the order of `faces`.

    Raises:
        ValueError: `crops` are not those of `faces`.
    """
    geometry = face_geometry(faces, margin)
    pixels = pixel_properties(crops, faces, workers=workers)
    reasons = ["; ".join(filter(None, pair)) for pair in zip(geometry.pop("reason"), pixels.pop("reason"), strict=True)]
    return pd.concat([geometry, pixels], axis=1).assign(reason=reasons)


def face_geometry(faces: pd.DataFrame, margin: float) -> pd.DataFrame:
    """The columns of `schemas.factors.PROPERTIES` that need no pixels, with their `reason`.

    Args:
        faces: `schemas.FACES`.
        margin: see `face_properties`.

    Returns:
        One row per face, in order. `neighbour_iou` is 0 and `neighbour_distance` NaN for a face that is
        alone in its photograph; aspect and distance are NaN for an empty box.
    """
    boxes = faces[BOX_COLUMNS].to_numpy(dtype=float)
    limits = faces[["image_width", "image_height"]].to_numpy(dtype=float)  # (N, 2)
    properties = box_properties(faces).reset_index(drop=True)
    views = square_around(boxes, margin)
    inside = box_area(np.clip(views, 0, np.tile(limits, (1, 2))))
    area = box_area(views)
    overlap, distance = neighbours(boxes, faces["image_id"])
    off_centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - limits / 2
    empty = properties["box_area"].to_numpy() <= 0
    alone = properties["faces_in_image"].to_numpy() == 1
    reasons = [
        "; ".join(filter(None, ("an empty box: no aspect" if e else "", "no other face: no distance" if a else "")))
        for e, a in zip(empty, alone, strict=True)
    ]
    return pd.DataFrame(
        {
            "face_id": faces["face_id"].to_numpy(),
            "image_id": faces["image_id"].to_numpy(),
            **{name: properties[name] for name in ("box_width", "box_height", "box_area")},
            "box_share": properties["box_share"].clip(upper=1),
            "box_aspect": properties["box_aspect"].mask(empty),
            "centre_x": properties["centre_x"].clip(0, 1),
            "centre_y": properties["centre_y"].clip(0, 1),
            "centre_distance": np.clip(np.hypot(*off_centre.T) / (np.hypot(*limits.T) / 2), 0, 1),
            "at_border": properties["at_border"],
            "view_outside": np.clip(1 - np.divide(inside, area, out=np.ones_like(area), where=area > 0), 0, 1),
            "faces_in_image": properties["faces_in_image"],
            "neighbour_iou": overlap,
            "neighbour_distance": distance,
            "reason": reasons,
        }
    )


def neighbours(boxes_xyxy: Floats, image_ids: pd.Series) -> tuple[Floats, Floats]:
    """Each face's largest overlap with, and distance to the nearest of, its photograph's other faces.

    Args:
        boxes_xyxy: (N, 4) float, px.
        image_ids: (N,) photograph of each box.

    Returns:
        Largest intersection over union (N,), 0 where there is no other; distance between centres in
        sides (√area) of the face's own box (N,), NaN where there is no other or the box is empty.

    Example:
        >>> boxes = np.array([[0.0, 0, 10, 10], [20, 0, 40, 20], [0, 0, 5, 5]])
        >>> iou, distance = neighbours(boxes, pd.Series(["a", "a", "b"]))
        >>> iou.tolist(), distance.round(2).tolist()
        ([0.0, 0.0, 0.0], [2.55, 1.27, nan])
    """
    overlap, distance = np.zeros(len(boxes_xyxy)), np.full(len(boxes_xyxy), np.nan)
    sides = np.sqrt(box_area(boxes_xyxy))
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    for rows in image_ids.reset_index(drop=True).groupby(image_ids.to_numpy()).indices.values():
        if len(rows) < 2:
            continue
        iou = box_iou(boxes_xyxy[rows], boxes_xyxy[rows])
        apart = np.hypot(*(centres[rows, None] - centres[None, rows]).transpose(2, 0, 1))  # (F, F)
        np.fill_diagonal(iou, 0)
        np.fill_diagonal(apart, np.inf)
        overlap[rows] = iou.max(axis=1)
        side = sides[rows]
        distance[rows] = np.divide(apart.min(axis=1), side, out=np.full(len(rows), np.nan), where=side > 0)
    return overlap, distance


def pixel_properties(crops: FaceCrops, faces: pd.DataFrame, *, workers: int = 2) -> pd.DataFrame:
    """Light, colour and sharpness of the pixels under each box.

    Brightness, contrast and saturation are taken at native resolution. Sharpness is taken of the face
    at `THUMBNAIL_SIDE`² px, so that the box's size does not enter through the number of pixels, and is
    divided by the variance of luma there, so that it does not repeat contrast.

    Args:
        crops: in the order of `faces`.
        faces: `schemas.FACES`.
        workers: threads.

    Returns:
        One row per face: `sharpness` (NaN for a face of one grey), `brightness`, `contrast`,
        `saturation`, `reason`.

    Raises:
        ValueError: `crops` are not those of `faces`.

    Source:
        Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", sec. 2 (variance of
        the Laplacian).
    """
    boxes = _boxes_in_crops(crops, faces)
    thumbnails = face_thumbnails(crops, faces, workers=workers)

    def measure(index: int) -> dict[str, Any]:
        face = _under(crops.crop(index), boxes[index])
        luma = np.asarray(Image.fromarray(face).convert("L"), dtype=np.float64)
        small = np.asarray(Image.fromarray(thumbnails[index]).convert("L"))
        spread = float(small.var())
        return {
            "sharpness": laplacian_variance(small) / spread if spread else np.nan,
            "brightness": float(luma.mean()),
            "contrast": float(luma.std()),
            "saturation": min(saturation_mean(face), 255.0),
            "reason": "" if spread else "a face of one grey: no sharpness",
        }

    columns = ["sharpness", "brightness", "contrast", "saturation", "reason"]
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        return pd.DataFrame(list(pool.map(measure, range(len(crops)))), columns=columns)


def face_thumbnails(crops: FaceCrops, faces: pd.DataFrame, *, workers: int = 2) -> Bytes:
    """Each face's box at one common size.

    Args:
        crops: in the order of `faces`.
        faces: `schemas.FACES`.
        workers: threads.

    Returns:
        (N, 16, 16, 3) uint8: means of the pixels under each cell, or interpolated where there are fewer
        pixels than cells.

    Raises:
        ValueError: `crops` are not those of `faces`.
    """
    boxes = _boxes_in_crops(crops, faces)
    thumbnails = np.empty((len(crops), THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), dtype=np.uint8)

    def reduce(index: int) -> None:
        thumbnails[index] = _thumbnail(_under(crops.crop(index), boxes[index]))

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for _ in pool.map(reduce, range(len(crops))):
            pass
    return thumbnails


def training_properties(
    thumbnails: Bytes, images: pd.DataFrame, faces: pd.DataFrame, split: pd.DataFrame
) -> pd.DataFrame:
    """Properties of each face that depend on the split: how common its class is, how familiar it looks.

    Args:
        thumbnails: `face_thumbnails`, in the order of `faces`.
        images: `schemas.IMAGES`; gives the perceptual hashes.
        faces: `schemas.FACES`.
        split: `schemas.SPLIT`; rows with split `train` are the training faces.

    Returns:
        `schemas.factors.TRAINING_PROPERTIES`, in the order of `faces`. A face's own photograph is left
        out of the search for the nearest.

    Raises:
        ValueError: `thumbnails` and `faces` differ in length, or `split` names no training face of `faces`.
    """
    if len(thumbnails) != len(faces):
        raise ValueError(f"thumbnails: {len(thumbnails)} for {len(faces)} faces; make them from this faces table")
    training = faces["face_id"].isin(split.loc[split["split"] == "train", "face_id"]).to_numpy()
    if not training.any():
        raise ValueError("split: no face of this faces table is a training face; give the split of this dataset")
    shares = faces["label"][training].value_counts(normalize=True)
    codes = pd.factorize(faces["image_id"])[0]
    familiar = nearest_training_face(thumbnails, codes, training)
    hashes = nearest_training_hash(images, faces["image_id"], set(faces["image_id"][training]))
    alone = np.isnan(familiar)
    return pd.DataFrame(
        {
            "face_id": faces["face_id"].to_numpy(),
            "class_share": faces["label"].map(shares).fillna(0.0).to_numpy(dtype=float),
            "train_face_distance": familiar,
            "train_hash_distance": hashes,
            "reason": np.where(alone, "no training face of another photograph", ""),
        }
    )


def nearest_training_face(thumbnails: Bytes, photographs: NDArray[np.int64], training: NDArray[np.bool_]) -> Floats:
    """Distance of each thumbnail to the nearest training thumbnail of another photograph.

    Args:
        thumbnails: (N, ...) uint8.
        photographs: (N,) a number per photograph.
        training: (N,) which faces are training faces.

    Returns:
        (N,) root-mean-square difference over pixels and channels, grey levels 0…255; NaN where there is
        no training face of another photograph.
    """
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64) - 127.5
    known, owner = flat[training], photographs[training]
    norms = (known**2).sum(axis=1)
    nearest = np.empty(len(flat))
    step = max(1, _BLOCK // max(1, len(known)))
    for start in range(0, len(flat), step):
        block = flat[start : start + step]
        squares = (block**2).sum(axis=1)[:, None] + norms[None] - 2 * block @ known.T  # (step, T)
        squares[photographs[start : start + step, None] == owner[None]] = np.inf
        nearest[start : start + step] = squares.min(axis=1)
    root = np.sqrt(np.maximum(nearest, 0) / flat.shape[1])
    return np.asarray(np.where(np.isfinite(root), root, np.nan))


def nearest_training_hash(images: pd.DataFrame, image_ids: pd.Series, training: set[str]) -> Floats:
    """Hamming distance of each face's photograph to the nearest other training photograph.

    Args:
        images: `schemas.IMAGES`.
        image_ids: (N,) photograph of each face.
        training: photographs with a training face.

    Returns:
        (N,) bits, 0…64; NaN where there is no other training photograph.

    Source:
        Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", sec. 3.2.1.
    """
    used = images[images["image_id"].isin(set(image_ids))].reset_index(drop=True)
    hashes = np.array([int(text, 16) for text in used["phash"]], dtype=np.uint64)
    known = np.flatnonzero(used["image_id"].isin(training))
    bits = np.full(len(used), np.nan)
    step = max(1, _BLOCK // max(1, len(known)))
    for start in range(0, len(used) if len(known) else 0, step):
        rows = np.arange(start, min(start + step, len(used)))
        apart = np.bitwise_count(hashes[rows, None] ^ hashes[None, known])  # (step, T) uint8
        apart[rows[:, None] == known[None]] = _NONE  # the photograph itself
        least = apart.min(axis=1)
        bits[rows] = np.where(least < _NONE, least, np.nan)
    nearest = pd.Series(bits, index=used["image_id"])
    return np.asarray(nearest.reindex(image_ids), dtype=np.float64)


def _boxes_in_crops(crops: FaceCrops, faces: pd.DataFrame) -> Floats:
    """Boxes in the pixels of their crops, (N, 4)."""
    if list(crops.face_ids) != list(faces["face_id"]):
        raise ValueError("crops: not those of this faces table; cut them from it")
    return faces[BOX_COLUMNS].to_numpy(dtype=float) - np.tile(crops.regions[:, :2], (1, 2))


def _thumbnail(face: Bytes) -> Bytes:
    """A face of any size (H, W, 3) at `THUMBNAIL_SIDE`², each axis by itself.

    Plain means when reducing: smoother filters soften a face of 17 px but not one of 16, and so would
    let size into sharpness.
    """
    height, width = face.shape[:2]
    across, down = (
        Image.Resampling.BOX if length >= THUMBNAIL_SIDE else Image.Resampling.BILINEAR for length in (width, height)
    )
    narrow = Image.fromarray(face).resize((THUMBNAIL_SIDE, height), across)
    return np.asarray(narrow.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), down))


def _under(image: Bytes, box: Floats) -> Bytes:
    """The pixels a box touches, at least one."""
    height, width = image.shape[:2]
    x0, y0 = min(max(int(np.floor(box[0])), 0), width - 1), min(max(int(np.floor(box[1])), 0), height - 1)
    x1, y1 = max(int(np.ceil(box[2])), x0 + 1), max(int(np.ceil(box[3])), y0 + 1)
    return np.ascontiguousarray(image[y0:y1, x0:x1])
