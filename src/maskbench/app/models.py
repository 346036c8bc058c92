"""The models behind the page: which files a path stands for, and how each is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskbench.config import ConfigError
from maskbench.data.boxes import square_around
from maskbench.data.faces import canvas_size, resize_region, shown_squares
from maskbench.explain.cam import attribution_maps
from maskbench.inference.predictor import Detector, load_detector
from maskbench.inference.runtime import SUFFIXES, read_exported_record
from maskbench.models.forward import evaluation_logits
from maskbench.storage import read_yaml
from maskbench.training.checkpoint import (
    BEST,
    CLASSIFIER,
    DETECTOR,
    execution_of,
    load_checkpoint,
    preprocess_of,
    read_record,
)

#: Whose activations Grad-CAM weighs, as in a study.
LAYER = "layer3"
#: Faces that a classifier sees at once.
_BATCH = 64


@dataclass(frozen=True)
class ArmFiles:
    """The files of one arm.

    Attributes:
        name: unique among those that are shown.
        detector: checkpoint, or exported file; None: there is none.
        classifier: checkpoint; None: there is none.
    """

    name: str
    detector: Path | None = None
    classifier: Path | None = None


class Classifier:
    """A classifier of faces.

    Args:
        model: from `load_checkpoint`; it is placed on its device.
        record: the checkpoint's.
    """

    def __init__(self, model: nn.Module, record: dict[str, Any]) -> None:
        self.model, self.record = model, record
        self.execution, self.preprocess = execution_of(record), preprocess_of(record)
        self.execution.place(model)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order."""
        return tuple(self.record["classes"])

    def probabilities(
        self, pixels: NDArray[np.uint8], boxes: NDArray[np.float64], *, whole: bool = False
    ) -> NDArray[np.float64]:
        """(N, K) of boxes (N, 4) in px of `pixels`; a whole photograph is given no context."""
        parts = [np.empty((0, len(self.classes)))]
        for start in range(0, len(boxes), _BATCH):
            logits = evaluation_logits(
                self.model, self._canvases(pixels, boxes[start : start + _BATCH], whole), self.preprocess,
                self.execution, flip_average=bool(self.record["evaluate"]["flip_average"]),
            )  # fmt: skip
            parts.append(torch.softmax(logits.double(), dim=1).cpu().numpy())
        return np.concatenate(parts)

    def grad_cam(
        self, pixels: NDArray[np.uint8], box: NDArray[np.float64], target: int, *, whole: bool = False
    ) -> NDArray[np.float32]:
        """(S, S) ≥ 0, where the evidence for class `target` lies in the view of a box (4,).

        Source: Selvaraju et al. 2017.
        """
        view = self.preprocess.view(self._canvases(pixels, box[None], whole))
        targets = torch.tensor([target], device=self.execution.device)
        maps = attribution_maps(self.model, view, targets, "grad_cam", layer=LAYER, execution=self.execution)
        return np.asarray(maps[0].numpy())

    def view_square(self, box: NDArray[np.float64], *, whole: bool = False) -> NDArray[np.float64]:
        """(4,) the part of a photograph that the model sees of a box (4,), px."""
        return np.asarray(square_around(box[None], self._margin(whole))[0])

    def _margin(self, whole: bool) -> float:
        return 0.0 if whole else float(self.record["preprocess"]["margin"])

    def _canvases(self, pixels: NDArray[np.uint8], boxes: NDArray[np.float64], whole: bool) -> Tensor:
        """(N, 3, C, C) uint8, cut and resized as a study's faces are."""
        size = self.preprocess.input_size
        squares = shown_squares(boxes, self._margin(whole), size)
        canvases = np.stack([resize_region(pixels, square, canvas_size(size)) for square in squares])
        return torch.from_numpy(canvases).permute(0, 3, 1, 2).contiguous().to(self.execution.device)


@dataclass(frozen=True, eq=False)
class Arm:
    """The models of one arm; at least one is there.

    Attributes:
        name: unique.
        detector: finds faces; None: there is none.
        classifier: names faces; None: the detector's own classes count.
    """

    name: str
    detector: Detector | None
    classifier: Classifier | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order of the answers."""
        model = self.classifier or self.detector
        return model.classes if model is not None else ()


def load_arms(files: Iterable[ArmFiles]) -> list[Arm]:
    """The models of the arms.

    Raises:
        CheckpointError: a file is none of this project.
        RuntimeMissingError: what computes an exported file is not installed.
    """
    return [
        Arm(
            one.name,
            load_detector(one.detector) if one.detector else None,
            Classifier(*load_checkpoint(one.classifier)) if one.classifier else None,
        )
        for one in files
    ]


def find_arms(paths: Sequence[Path]) -> list[ArmFiles]:
    """The arms that paths stand for: a run's folder for all its arms, a file for one model.

    A detector and a classifier that are named beside each other and come from the same arm are one.

    Raises:
        ConfigError: a path is neither, or a run has no trained model.
        CheckpointError: a file is none of this project.
    """
    found: list[ArmFiles] = []
    loose: set[str] = set()
    for path in paths:
        for arm in _of_run(path) if path.is_dir() else [_of_file(path)]:
            place = next((k for k, one in enumerate(found) if one.name == arm.name), None)
            if place is None:
                found.append(arm)
                loose |= {arm.name} if path.is_file() else set()
            elif arm.name in loose and path.is_file() and (both := _together(found[place], arm)):
                found[place] = both
            else:
                found.append(replace(arm, name=_free_name(path, arm.name, {one.name for one in found})))
    return found


def _of_run(folder: Path) -> list[ArmFiles]:
    config = folder / "config.yaml"
    if not config.is_file():
        raise ConfigError(f"{folder}: not the folder of a run (no config.yaml); name results/NAME or a model's file")
    arms = [
        ArmFiles(str(arm["name"]), _first(folder / "detect-train", arm["name"]), _first(folder / "train", arm["name"]))
        for arm in read_yaml(config)["arms"]
    ]
    trained = [arm for arm in arms if arm.detector or arm.classifier]
    if not trained:
        raise ConfigError(f"{folder}: no trained model in it; run maskbench run --name {folder.name} first")
    return trained


def _first(stage: Path, arm: str) -> Path | None:
    """The best checkpoint of an arm's first run, if there is one."""
    files = sorted(stage.glob(f"{arm}/seed*/{BEST}"), key=lambda file: int(file.parent.name[4:]))
    return files[0] if files else None


def _of_file(path: Path) -> ArmFiles:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file or folder; name results/NAME, a checkpoint or an exported detector")
    exported = path.suffix in SUFFIXES.values()
    record = read_exported_record(path, DETECTOR) if exported else read_record(path)
    kind = DETECTOR if exported else record.get("kind", CLASSIFIER)
    name = str(record.get("arm", path.stem))
    return ArmFiles(name, detector=path) if kind == DETECTOR else ArmFiles(name, classifier=path)


def _together(first: ArmFiles, second: ArmFiles) -> ArmFiles | None:
    """A detector and a classifier as one arm; None where both are of one kind."""
    if bool(first.detector) == bool(second.detector) or bool(first.classifier) == bool(second.classifier):
        return None
    return ArmFiles(first.name, first.detector or second.detector, first.classifier or second.classifier)


def _free_name(path: Path, name: str, taken: set[str]) -> str:
    where = path.name if path.is_dir() else path.stem
    wished, count = f"{where}/{name}", 1
    chosen = wished
    while chosen in taken:
        count += 1
        chosen = f"{wished} ({count})"
    return chosen
