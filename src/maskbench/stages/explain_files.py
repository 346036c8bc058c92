"""Explain any photograph with any checkpoint: overlays as files, for people who have no study at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from maskbench.config import ConfigError
from maskbench.data.faces import canvas_size, resize_region, shown_squares
from maskbench.data.images import ImageError, decode_rgb
from maskbench.data.voc import AnnotationError, read_annotation
from maskbench.explain.cam import METHODS, attribution_maps
from maskbench.models.forward import evaluation_logits
from maskbench.report.figures.portraits import Cell, fig_cells
from maskbench.storage import atomic_path, read_yaml
from maskbench.training.checkpoint import BEST, execution_of, load_checkpoint, preprocess_of

#: Refused before decoding, as in a study.
MAX_PIXELS = 100_000_000
PREDICTED, TRUE = "predicted", "true"
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Face:
    """Where a face is.

    Attributes:
        box: `xmin, ymin, xmax, ymax` in px of the photograph; None: the whole photograph is the face.
        label: its true class; empty: not known.
    """

    box: Box | None = None
    label: str = ""


@dataclass(frozen=True)
class Wish:
    """What is to be explained.

    Attributes:
        methods: keys of `explain.cam.METHODS`.
        layer: whose activations class activation maps weigh.
        class_name: the class explained; `predicted`: of each model its own answer; `true`: what the annotation says.
        boxes: faces in px of the photograph; empty: the whole photograph is one face.
        annotations: folder of Pascal VOC files that hold the boxes; None: there is none.
    """

    methods: tuple[str, ...] = ("grad_cam",)
    layer: str = "layer3"
    class_name: str = PREDICTED
    boxes: tuple[Box, ...] = ()
    annotations: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be explained.

        Raises:
            ConfigError: an unknown method, or an empty or inverted box.
        """
        for method in self.methods:
            if method not in METHODS:
                raise ConfigError(f"--method {method}: choose among {', '.join(METHODS)}")
        for box in self.boxes:
            if not (box[2] > box[0] and box[3] > box[1]):
                raise ConfigError(f"--box {box}: write it as xmin,ymin,xmax,ymax in px")
        if self.boxes and self.annotations is not None:
            raise ConfigError("--box and --annotations: one of them says where the faces are")
        if self.class_name == TRUE and self.annotations is None:
            raise ConfigError("--class true: only --annotations can say it")


def find_checkpoints(path: Path) -> list[Path]:
    """A checkpoint, or of a run's folder the best checkpoint of each arm's first run.

    Raises:
        ConfigError: neither is there.
    """
    if path.is_file():
        return [path]
    config = path / "config.yaml"
    if not config.is_file():
        raise ConfigError(f"{path}: neither a checkpoint (.safetensors) nor the folder of a run (results/NAME)")
    saved = read_yaml(config)
    found = [
        sorted(path.glob(f"train/{arm['name']}/seed*/{BEST}"), key=lambda file: int(file.parent.name[4:]))
        for arm in saved["arms"]
    ]
    if not all(found):
        raise ConfigError(f"{path}: not every arm has a finished training; run maskbench train first")
    return [files[0] for files in found]


def explain_files(
    checkpoints: Sequence[Path],
    images: Sequence[Path],
    wish: Wish,
    out: Path,
    notify: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Predict faces with every checkpoint, and draw what each looks at.

    Args:
        checkpoints: safetensors files of this project; their models stand under each other in every overlay.
        images: photographs.
        wish: what is to be explained.
        out: receives `STEM.explained.png` (`STEM-1.explained.png` … where there are several faces) and
            `explanations.csv`; never written over one of the photographs.
        notify: receives a line per file.
        progress: called with photographs done and in all.

    Returns:
        One row per face and checkpoint, and a message for each photograph that could not be read; the others are
        explained all the same.

    Raises:
        CheckpointError: a checkpoint cannot be used.
        ConfigError: a checkpoint knows no such class.
        ValueError: there is no such layer, or it has no maps.
    """
    models = [_Model.load(path, wish) for path in checkpoints]
    classes = set.intersection(*(set(item.record["classes"]) for item in models))
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    names = _Names.beside(images, out)
    for done, path in enumerate(images, start=1):
        try:
            photograph = decode_rgb(path, MAX_PIXELS)
            faces = _faces(path, photograph, wish, classes)
        except (ImageError, AnnotationError) as error:
            problems.append(str(error))
            notify(f"{path}: left out: {error}")
        else:
            for number, face in enumerate(faces, start=1):
                overlay = names.overlay(path.stem if len(faces) == 1 else f"{path.stem}-{number}")
                found = _explain_face(models, photograph, face, wish, overlay, path)
                rows += [{"file": str(path), "face": number, **row} for row in found]
                notify(f"{path}: {overlay}: {'; '.join(_words(row) for row in found)}")
        if progress:
            progress(done, len(images))
    table = pd.DataFrame(rows)
    if rows:
        with atomic_path(out / "explanations.csv") as temporary:
            table.to_csv(temporary, index=False)
    return table, problems


@dataclass(frozen=True)
class _Names:
    """Names of overlays that no other face of this call has taken, and no photograph of it bears."""

    out: Path
    taken: set[str]

    @classmethod
    def beside(cls, images: Sequence[Path], out: Path) -> _Names:
        # Wherever they lie, links followed; and some file systems take `Face.png` and `face.png` for one file.
        return cls(out, {name.casefold() for path in images for name in (path.name, path.resolve().name)})

    def overlay(self, stem: str) -> Path:
        """`STEM.explained.png`, or `STEM_2.explained.png` … where that is taken."""
        name, count = f"{stem}.explained.png", 1
        while name.casefold() in self.taken:
            count += 1
            name = f"{stem}_{count}.explained.png"
        self.taken.add(name.casefold())
        return self.out / name


def _words(row: dict[str, Any]) -> str:
    return f"{row['arm']} says {row['predicted']} ({row['prob_predicted']:.2f})"


def _faces(path: Path, photograph: NDArray[np.uint8], wish: Wish, classes: set[str]) -> list[Face]:
    """The faces of a photograph.

    Raises:
        AnnotationError: the annotation is missing, unusable, without a face, or names classes that a checkpoint that
            is to explain them does not know.
        ImageError: a box lies outside the photograph.
    """
    faces = [Face(box) for box in wish.boxes] or [Face()]
    if wish.annotations is not None:
        objects = read_annotation(wish.annotations / f"{path.stem}.xml").objects
        faces = [Face(item.box, item.name) for item in objects]
        if not faces:
            raise AnnotationError(f"{path.stem}.xml: no face with a box")
    height, width = photograph.shape[:2]
    for face in faces:
        if wish.class_name == TRUE and face.label not in classes:
            raise AnnotationError(f"{path.stem}.xml: class {face.label!r} is not one of the checkpoint's")
        x0, y0, x1, y1 = face.box or (0, 0, width, height)
        if not (x1 > x0 and y1 > y0) or x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            raise ImageError(f"{path.name}: box {face.box} has no area inside its {width} × {height} px", "damaged")
    return faces


@dataclass(frozen=True, eq=False)
class _Model:
    """A checkpoint, ready to explain."""

    model: nn.Module
    record: dict[str, Any]

    @classmethod
    def load(cls, path: Path, wish: Wish) -> _Model:
        from maskbench.explain.hooks import named_layer, require_maps

        model, record = load_checkpoint(path)
        if wish.class_name not in {PREDICTED, TRUE, *record["classes"]}:
            raise ConfigError(
                f"--class {wish.class_name}: {path.name} knows {', '.join(record['classes'])}; or say {PREDICTED}"
            )
        named_layer(model, wish.layer)
        if any(METHODS[name].uses_layer for name in wish.methods):
            side = preprocess_of(record).input_size
            require_maps(model, wish.layer, torch.zeros(1, 3, side, side))
        execution_of(record).place(model)
        return cls(model, record)

    def canvas(self, photograph: NDArray[np.uint8], face: Face) -> torch.Tensor:
        """(1, 3, C, C) uint8: as a study would show the face; a whole photograph fills the view."""
        saved, height, width = self.record["preprocess"], *photograph.shape[:2]
        margin = 0.0 if face.box is None else float(saved["margin"])
        box = np.array([face.box or (0.0, 0.0, width, height)], dtype=float)
        square = shown_squares(box, margin, saved["input_size"])[0]
        canvas = resize_region(photograph, square, canvas_size(saved["input_size"]))
        return torch.from_numpy(canvas.copy()).permute(2, 0, 1)[None].contiguous()


def _explain_face(
    models: Sequence[_Model], photograph: NDArray[np.uint8], face: Face, wish: Wish, path: Path, source: Path
) -> list[dict[str, Any]]:
    rows, cells = [], []
    for item in models:
        row, drawn = _explain_with(item, photograph, face, wish)
        height, width = photograph.shape[:2]
        edges = face.box or (0.0, 0.0, float(width), float(height))
        rows.append(
            {
                **dict(zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)),
                "label": face.label,
                **row,
                "overlay": path.name,
            }
        )
        cells.append(drawn)
    labels = [row["arm"] for row in rows]
    drawing = fig_cells(cells, labels, name="face", title=source.name, caption="Explained.")
    drawing.save_png(path)
    return rows


def _explain_with(
    item: _Model, photograph: NDArray[np.uint8], face: Face, wish: Wish
) -> tuple[dict[str, Any], list[Cell | None]]:
    """What one checkpoint says of a face, and the cells that show why."""
    record, preprocess, execution = item.record, preprocess_of(item.record), execution_of(item.record)
    canvas = item.canvas(photograph, face).to(execution.device)
    flip = bool(record["evaluate"]["flip_average"])
    logits = evaluation_logits(item.model, canvas, preprocess, execution, flip_average=flip)[0]
    probs, classes = torch.softmax(logits.double(), dim=0).cpu().numpy(), list(record["classes"])
    predicted = int(probs.argmax())
    wanted = {PREDICTED: classes[predicted], TRUE: face.label}.get(wish.class_name, wish.class_name)
    explained = classes.index(wanted)
    border = (canvas.shape[-1] - preprocess.input_size) // 2
    inside = slice(border, border + preprocess.input_size)
    pixels = canvas[0, :, inside, inside].permute(1, 2, 0).cpu().numpy()
    cells: list[Cell | None] = [Cell(pixels, lines=(classes[predicted], f"p = {probs[predicted]:.2f}"))]
    images, targets = preprocess.view(canvas), torch.tensor([explained], device=execution.device)
    for method in wish.methods:
        heat = attribution_maps(item.model, images, targets, method, layer=wish.layer, execution=execution)[0].numpy()
        words = "no evidence for it" if not heat.max() > 0 else f"p = {probs[explained]:.2f}"
        cells.append(Cell(pixels, heat, METHODS[method].label, (f"for {classes[explained]}", words)))
    row = {
        "arm": record["arm"],
        "predicted": classes[predicted],
        "prob_predicted": float(probs[predicted]),
        "explained": classes[explained],
        "prob_explained": float(probs[explained]),
        **{f"prob_{name}": float(p) for name, p in zip(classes, probs, strict=True)},
    }
    return row, cells
