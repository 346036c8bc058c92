"""What the figures of the explain stage show, kept with the results: the report needs no photographs and no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.schemas import empty_table, write_table
from maskbench.schemas.failures import FEATURE_CHANNELS, PORTRAITS, example_ids
from maskbench.stages.inside import Look, Study
from maskbench.stages.views import view_pixels, write_sheet, write_views
from maskbench.storage import write_arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Channels shown of a layer, strongest first.
CHANNELS = 12


def write_pictures(
    folder: Path, study: Study, looks: Sequence[Look], tables: Mapping[str, tuple[pd.DataFrame, Any]]
) -> list[Path]:
    """Keep views of the faces that are shown, their maps, and what layers answer to some of them.

    Args:
        folder: of the stage.
        study: what is shared.
        looks: all arms of all runs, the first run first.
        tables: of the stage, by name.

    Returns:
        `maps.safetensors` (Grad-CAM of the first run's test faces and of the hardest faces of the others, by arm),
        `portraits.safetensors` (every method, by `ARM/METHOD`) with `portraits.parquet`, `layers.safetensors`
        (filters, feature maps, favourite inputs) with `feature_channels.parquet` and `.csv`, `views.safetensors`,
        `sheet.jpg`, `sheet.json`.
    """
    config = study.context.config
    write_arrays(folder / "maps.safetensors", *kept_maps(looks, set(tables["failures"][0]["face_id"])))
    looks = [look for look in looks if look.seed == looks[0].seed]
    ids, size = list(looks[0].faces["face_id"]), config.faces.input_size
    chosen = portrait_faces(looks, tables["failures"][0], study.context.classes(), config.explain.feature_faces)
    position = {face_id: row for row, face_id in enumerate(study.faces["face_id"])}
    portraits: dict[str, NDArray[Any]] = {}
    layers: dict[str, NDArray[Any]] = {}
    channels: list[dict[str, Any]] = []
    cells: dict[str, tuple[int, int]] = {}
    for look in looks:
        seen = _of_model(study, look, [position[face_id] for face_id in chosen])
        portraits |= {f"{look.arm}/{name}": part for name, part in seen.maps.items()}
        layers |= {f"{look.arm}/{name}": part for name, part in seen.layers.items()}
        channels += [
            {"arm": look.arm, "seed": look.seed, "face_id": chosen[number], **row} for number, row in seen.channels
        ]
        cells[look.arm] = seen.cells
    write_arrays(folder / "portraits.safetensors", portraits, chosen)
    write_table(folder / "portraits.parquet", said_of(study.predictions, looks, chosen, cells), PORTRAITS)
    write_arrays(folder / "layers.safetensors", layers, chosen)
    table = (
        pd.DataFrame(channels, columns=list(FEATURE_CHANNELS.columns)) if channels else empty_table(FEATURE_CHANNELS)
    )
    write_table(folder / "feature_channels.parquet", table, FEATURE_CHANNELS, csv=True)
    shown = sorted(_named(tables, config.explain.gallery) | set(ids) | set(chosen), key=lambda name: position[name])
    write_views(folder, study.canvases, list(study.faces["face_id"]), shown, size)
    sheet = write_sheet(folder, view_pixels(study.canvases[[position[name] for name in ids]], size), ids)
    names = ("maps", "portraits", "layers", "views")
    tables_written = [
        folder / name for name in ("portraits.parquet", "feature_channels.parquet", "feature_channels.csv")
    ]
    return [*(folder / f"{name}.safetensors" for name in names), *tables_written, *sheet]


def said_of(
    predictions: pd.DataFrame, looks: Sequence[Look], face_ids: Sequence[str], cells: Mapping[str, tuple[int, int]]
) -> pd.DataFrame:
    """What the arms of one run say of some of its test faces: `schemas.failures.PORTRAITS`.

    Args:
        predictions: `schemas.PREDICTIONS`.
        looks: all arms of the run.
        face_ids: of the faces.
        cells: by arm, height and width of the activations that maps weigh.
    """
    test = predictions[(predictions["split"] == "test") & predictions["face_id"].isin(face_ids)]
    parts = [test[(test["arm"] == look.arm) & (test["seed"] == look.seed)] for look in looks]
    table = pd.concat(parts, ignore_index=True)
    probs = table[[name for name in table if str(name).startswith("prob_")]].max(axis=1)
    sizes = {f"map_{side}": [cells[arm][k] for arm in table["arm"]] for k, side in enumerate(("height", "width"))}
    return table.assign(prob_predicted=probs.astype(float).clip(0, 1), **sizes)[list(PORTRAITS.columns)]


def kept_maps(looks: Sequence[Look], hard: set[str]) -> tuple[dict[str, NDArray[np.float16]], list[str]]:
    """Maps by arm of the first run's test faces and of hard faces, these from the first run that tested them."""
    known: dict[str, dict[str, NDArray[np.floating]]] = {}
    for look in looks:
        own = known.setdefault(look.arm, {})
        for face_id, heat in zip(look.faces["face_id"], look.maps, strict=True):
            own.setdefault(face_id, heat)
    first = list(looks[0].faces["face_id"])
    ids = first + sorted(hard - set(first))
    return {arm: np.stack([own[name] for name in ids]).astype(np.float16) for arm, own in known.items()}, ids


def portrait_faces(looks: Sequence[Look], failures: pd.DataFrame, classes: Sequence[str], count: int) -> list[str]:
    """Faces that all methods are shown on: some that every arm gets right, and each arm's most confident mistake.

    Args:
        looks: all arms of one run.
        failures: `schemas.failures.FAILURES`.
        classes: class order.
        count: right faces, of the classes in turn; the larger ones, in which a person sees what a map is on.
    """
    right = np.logical_and.reduce([look.features.faces["correct"].to_numpy(dtype=bool) for look in looks])
    table = looks[0].features.faces
    found: list[str] = []
    for rank in range(count):
        for name in classes:
            part = table[right & (table["label"] == name).to_numpy()]
            part = part.sort_values(["box_side_px", "face_id"], ascending=[False, True])
            # From the upper quarter of the class's sizes downwards: the very largest are often portraits of their own.
            place = len(part) // 4 + rank
            if place < len(part) and len(found) < count:
                found.append(str(part["face_id"].iloc[place]))
    tested = set(table["face_id"])
    for look in looks:
        wrong = failures[(failures["arm"] == look.arm) & (failures["kind"] == "confident")]
        found += [str(face_id) for face_id in wrong["face_id"] if face_id in tested][:1]
    return list(dict.fromkeys(found)) or [str(table["face_id"].iloc[0])]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is shown of one model.

    Attributes:
        maps: by method, of the chosen faces' predicted classes.
        layers: filters, feature maps and favourite inputs by name.
        channels: place of a face and, of `schemas.failures.FEATURE_CHANNELS`, what is said of one of its feature maps.
        cells: height and width of the activations that maps weigh.
    """

    maps: dict[str, NDArray[np.float16]]
    layers: dict[str, NDArray[np.floating]]
    channels: list[tuple[int, dict[str, Any]]]
    cells: tuple[int, int]


def _of_model(study: Study, look: Look, rows: list[int]) -> _Seen:
    import torch

    from maskbench.explain.cam import maps_by_method
    from maskbench.explain.features import feature_maps, first_filters
    from maskbench.training.checkpoint import BEST, execution_of, load_checkpoint, preprocess_of

    job = next(job for job in study.jobs if job.arm.name == look.arm and job.seed == look.seed)
    config, (model, record) = study.context.config.explain, load_checkpoint(job.folder / BEST)
    execution, preprocess = execution_of(record), preprocess_of(record)
    execution.place(model)
    images = preprocess.view(study.canvases[rows].to(execution.device))
    predicted = study.predicted(job).set_index("face_id")["predicted"]
    names = list(record["classes"])
    targets = torch.tensor(
        [names.index(predicted[study.faces["face_id"].iloc[row]]) for row in rows], device=execution.device
    )
    maps = maps_by_method(
        model, images, targets, config.methods, layer=config.layer, execution=execution, seed=job.seed
    )
    found: dict[str, NDArray[np.floating]] = {"filters": first_filters(model)}
    channels: list[tuple[int, dict[str, Any]]] = []
    for number, image in enumerate(images[: config.feature_faces]):
        for layer, (numbers, part) in layer_maps(model, image, config.feature_layers).items():
            found[f"maps/{number}/{layer}"] = part.astype(np.float16)
            channels += [
                (number, {"layer": layer, "rank": rank, "channel": int(channel), "mean_activation": float(one.mean())})
                for rank, (channel, one) in enumerate(zip(numbers, part, strict=True), start=1)
            ]
    found |= _favourites(model, config.maximised_channels, preprocess.input_size, job.seed)
    _, weighed = feature_maps(model, images[0], config.layer, 1)
    kept = {name: part.numpy().astype(np.float16) for name, part in maps.items()}
    return _Seen(kept, found, channels, (weighed.shape[1], weighed.shape[2]))


def layer_maps(
    model: nn.Module, image: Tensor, layers: Sequence[str]
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The strongest channels of each layer for one face.

    Args:
        model: left as it was.
        image: float (3, S, S), normalised, on the model's device.
        layers: depths or names of modules.

    Returns:
        By layer as it was called: numbers of channels (K,), strongest mean activation first, and maps (K, h, w).
    """
    from maskbench.explain.features import feature_maps, layer_named

    return {name: feature_maps(model, image, layer_named(name), CHANNELS) for name in layers}


def _favourites(model: nn.Module, count: int, size: int, seed: int) -> dict[str, NDArray[np.floating]]:
    """Inputs that the first channels of every depth answer strongly to: by depth (count, 3, S, S)."""
    from maskbench.explain.features import DEPTHS, maximise_channel

    if not count:
        return {}
    return {
        f"maximised/{depth}": np.stack([maximise_channel(model, layer, k, size, seed=seed) for k in range(count)])
        for depth, layer in DEPTHS.items()
    }


def _named(tables: Mapping[str, tuple[pd.DataFrame, Any]], gallery: int) -> set[str]:
    """Faces that galleries show."""
    found = set(tables["failures"][0]["face_id"]) | set(tables["prototypes"][0]["face_id"])
    neighbours = tables["neighbours"][0]
    found |= set(neighbours["face_id"]) | set(neighbours["neighbour_id"])
    found |= {face_id for text in tables["confusion_pairs"][0]["examples"] for face_id in example_ids(text)}
    return found | set(tables["label_issues"][0]["face_id"].head(gallery))
