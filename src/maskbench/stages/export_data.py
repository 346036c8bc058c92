"""What an export is calibrated and measured on: faces or photographs of the run that a checkpoint lies in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench import schemas
from maskbench.config import ConfigError
from maskbench.rundir import RunDir
from maskbench.seeding import derive_seed
from maskbench.stages.context import Context
from maskbench.storage import read_yaml
from maskbench.training.checkpoint import BEST, CLASSIFIER, DETECTOR, read_record

if TYPE_CHECKING:
    from maskbench.data.photographs import Photographs

Notify = Callable[[str], None]
Progress = Callable[[str], Callable[[int, int], None] | None]
Task = Literal["classify", "detect"]
#: Folder of a run in which trainings of each kind lie.
FOLDERS = {CLASSIFIER: "train", DETECTOR: "detect-train"}
KINDS: dict[Task, str] = {"classify": CLASSIFIER, "detect": DETECTOR}
#: Faces and photographs that show the ranges of activations; more changed nothing.
CALIBRATION_FACES, CALIBRATION_PHOTOGRAPHS = 256, 48


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces as a classifier is shown them.

    Attributes:
        calibration: uint8 (N, S, S, 3), of the side `train`.
        views: uint8 (M, S, S, 3), of the side `val`.
        targets: int64 (M,), positions in the class order.
        table: (M,) rows with `face_id`, `image_id`, `label`, `split`.
        origin: where they come from, in words.
    """

    calibration: NDArray[np.uint8]
    views: NDArray[np.uint8]
    targets: NDArray[np.int64]
    table: pd.DataFrame
    origin: str


def find_model(path: Path, task: Task | None) -> tuple[Path, str]:
    """A checkpoint with its kind; of a run's folder the one that stands for it.

    Of several trainings of a run, that is its last arm's first run.

    Args:
        path: a checkpoint, or `results/NAME`.
        task: what the model does; None: what there is.

    Raises:
        CheckpointError: a file that is no checkpoint.
        ConfigError: there is nothing finished, or both kinds and `task` does not say which.
    """
    if path.is_file():
        kind = str(read_record(path).get("kind", CLASSIFIER))
        if task is not None and KINDS[task] != kind:
            raise ConfigError(f"{path}: a {kind}, so --task {task} cannot be exported from it")
        return path, kind
    config = RunDir(path, path).config_file
    if not config.is_file():
        raise ConfigError(f"{path}: neither a checkpoint (.safetensors) nor the folder of a run (results/NAME)")
    arms = [str(arm["name"]) for arm in read_yaml(config)["arms"]]
    wanted = [KINDS[task]] if task else list(FOLDERS)
    found = {kind: files for kind in wanted if (files := finished(path / FOLDERS[kind], arms))}
    if not found:
        stages = " or ".join(FOLDERS[kind] for kind in wanted)
        raise ConfigError(f"{path}: no finished training; run maskbench {stages} first")
    if len(found) > 1:
        raise ConfigError(
            f"{path}: has classifiers and detectors: say --task classify or --task detect, or name one of "
            f"{', '.join(str(file) for files in found.values() for file in files)}"
        )
    ((kind, files),) = found.items()
    last = next(arm for arm in reversed(arms) if any(file.parts[-3] == arm for file in files))
    return next(file for file in files if file.parts[-3] == last), kind


def finished(folder: Path, arms: list[str]) -> list[Path]:
    """The best checkpoints of finished trainings, by arm and number of the run."""
    return [
        file
        for arm in arms
        for file in sorted(folder.glob(f"{arm}/seed*/{BEST}"), key=lambda file: int(file.parent.name[4:]))
        if (file.parent / "fit.json").is_file()
    ]


def run_of(checkpoint: Path, kind: str, notify: Notify, progress: Progress) -> Context | None:
    """The study that a checkpoint was trained in; None: it lies elsewhere, or in a variant's folder."""
    parents = checkpoint.resolve().parents
    if len(parents) < 4 or parents[2].name != FOLDERS[kind]:
        return None
    folders = RunDir(parents[3], parents[3])
    config = folders.saved_config()
    return None if config is None else Context(config, folders, notify, progress)


def faces_of_run(context: Context, record: dict[str, Any]) -> Faces:
    """Training and validation faces of the run that a classifier was trained in.

    Raises:
        RunError: the saved split is of other faces.
    """
    from maskbench.stages.jobs import split_of_run, study_canvases

    split = split_of_run(context, record["seed"])
    faces = context.table("audit", "faces", schemas.FACES)
    canvases = study_canvases(context).permute(0, 2, 3, 1).numpy()
    sides = split["split"].to_numpy()
    origin = f"{context.folders.results.name}, split {record['split_id']}"
    return _faces(canvases, faces.assign(split=sides), record, np.flatnonzero(sides == "train"),
                  np.flatnonzero(sides == "val"), origin)  # fmt: skip


def faces_of_folder(root: Path, record: dict[str, Any], progress: Progress) -> Faces:
    """Faces of any dataset: every second photograph calibrates, the others measure.

    Args:
        root: holds images/ and annotations/ with the checkpoint's class names.
        record: the checkpoint's.
        progress: shows the work.

    Raises:
        ConfigError: there is no such dataset, or it has too few faces of these classes.
    """
    from maskbench.audit.scan import scan_dataset
    from maskbench.config import AuditConfig
    from maskbench.data.crops import cut_faces
    from maskbench.data.faces import make_canvases

    config, classes = AuditConfig(), tuple(record["classes"])
    found = scan_dataset(root, config, {}, (), progress=progress("photographs"))
    faces = found.faces[found.faces["label"].isin(classes)].reset_index(drop=True)
    ids = sorted(set(faces["image_id"]))
    if len(ids) < 2:
        raise ConfigError(
            f"{root}: needs two photographs or more, in images/ and annotations/, with faces of {', '.join(classes)}"
        )
    margin, size = float(record["preprocess"]["margin"]), int(record["preprocess"]["input_size"])
    crops = cut_faces(root, found.images, faces, margin, max_pixels=config.max_pixels, progress=progress("faces"))
    canvases = make_canvases(crops, faces, margin, size).permute(0, 2, 3, 1).numpy()
    calibrates = faces["image_id"].isin(ids[::2]).to_numpy()
    sides = np.where(calibrates, "train", "val")
    origin = f"{root.name} (every second photograph; whether the model was trained on them is not known)"
    return _faces(canvases, faces.assign(split=sides), record, np.flatnonzero(calibrates),
                  np.flatnonzero(~calibrates), origin)  # fmt: skip


def _faces(
    canvases: NDArray[np.uint8], faces: pd.DataFrame, record: dict[str, Any], training: NDArray[np.int64],
    validation: NDArray[np.int64], origin: str,
) -> Faces:  # fmt: skip
    from maskbench.inference.runtime_classifier import views_of

    if not (len(training) and len(validation)):
        raise ConfigError(f"{origin}: no faces to calibrate or to measure with")
    size = int(record["preprocess"]["input_size"])
    position = {name: place for place, name in enumerate(record["classes"])}
    table = faces.iloc[validation][["face_id", "image_id", "label", "split"]].reset_index(drop=True)
    return Faces(
        views_of(canvases[drawn(training, CALIBRATION_FACES)], size), views_of(canvases[validation], size),
        table["label"].map(position).to_numpy(dtype=np.int64), table, origin,
    )  # fmt: skip


def drawn(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of `rows`, always the same ones, in order."""
    rng = np.random.default_rng(derive_seed(0, "calibration"))
    return np.sort(rng.permutation(rows)[:count])


def views_of_photographs(photographs: Photographs, rows: NDArray[np.int64], record: dict[str, Any]) -> list[Any]:
    """Photographs as a detector's graph takes them, one to a batch: float32 (1, 3, H, W) in 0…1, padded.

    Args:
        photographs: to be shown.
        rows: their positions.
        record: the detector's.
    """
    from maskbench.data.photographs import resized
    from maskbench.inference.photographs import settings_of
    from maskbench.models.detecting import padded_size, view_size

    longest, mean = settings_of(record).input_size, np.array(record["preprocess"]["mean"], dtype=np.float32)
    found = []
    for row in rows:
        image = photographs.image(int(row))
        height, width = view_size(image.shape[0], image.shape[1], longest)
        high, wide = padded_size(height, width)
        batch = np.broadcast_to(mean[None, :, None, None], (1, 3, high, wide)).copy()
        view = resized(image, height, width).astype(np.float32) / 255
        batch[0, :, :height, :width] = view.transpose(2, 0, 1)
        found.append(batch)
    return found
