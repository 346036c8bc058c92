"""Folders of labelled images: which images there are, of which class, on which side.

Three layouts are read:

DIR/train/CLASS/** and DIR/val/CLASS/**                        as ImageNet
DIR/train/CLASS/** and DIR/val/images/, val_annotations.txt    as Tiny-ImageNet-200
DIR/CLASS/** (or DIR/train/CLASS/** alone)                     a share of every class validates
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maskbench.data.images import SUFFIXES
from maskbench.seeding import derive_seed

Layout = Literal["train and val", "Tiny-ImageNet", "class folders"]

#: Tiny-ImageNet's table of validation labels: file and class, then a box, separated by tabs.
ANNOTATIONS = "val_annotations.txt"
_ENDINGS = frozenset(ending for endings in SUFFIXES.values() for ending in endings)


class LabelledError(ValueError):
    """A folder cannot be trained on; the message is one line that names the folder or file."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their classes and sides.

    Attributes:
        root: the folder.
        layout: how it is laid out.
        classes: K class names, sorted.
        files: N paths relative to `root`, with forward slashes, sorted: the same list whatever the sides.
        targets: int64 (N,), positions in `classes`.
        validation: bool (N,), whether an image validates.
    """

    root: Path
    layout: Layout
    classes: tuple[str, ...]
    files: tuple[str, ...]
    targets: NDArray[np.int64]
    validation: NDArray[np.bool_]

    def counts(self, *, validation: bool) -> NDArray[np.int64]:
        """(K,) images of each class on one side."""
        return np.bincount(self.targets[self.validation == validation], minlength=len(self.classes))

    def without(self, files: frozenset[str]) -> NDArray[np.bool_]:
        """(N,) which images are left when `files` are taken out.

        Raises:
            LabelledError: a class has no training image any more, or nothing is left to validate on.
        """
        kept = np.array([file not in files for file in self.files], dtype=bool)
        found = np.bincount(self.targets[kept & ~self.validation], minlength=len(self.classes))
        if not found.all():
            raise LabelledError(f"{self.root}: no readable training image of class {self.classes[int(found.argmin())]}")
        if not (kept & self.validation).any():
            raise LabelledError(f"{self.root}: no readable validation image")
        return kept


def read_labelled(root: Path, *, validation_share: float, seed: int) -> LabelledImages:
    """List a folder of labelled images; nothing is decoded.

    Args:
        root: in one of the layouts of this module. Files other than .png and .jpg (.jpeg, …), and hidden ones, are
            passed over.
        validation_share: of each class, where there are no validation images: at least one image, never all.
        seed: of that choice, which depends on nothing but it, the class and its files' names.

    Raises:
        LabelledError: no such folder, fewer than two classes, a class without images, or annotations of
            Tiny-ImageNet's that name an unknown class or a missing file.
    """
    root = Path(root)
    if not root.is_dir():
        raise LabelledError(f"{root}: no such folder")
    within = root / "train" if (root / "train").is_dir() else root
    by_class = _class_files(root, within)
    if len(by_class) < 2:
        raise LabelledError(f"{within}: {len(by_class)} class folders; at least two classes are needed")
    layout: Layout = "class folders"
    if within != root and (root / "val" / ANNOTATIONS).is_file():
        layout, held = "Tiny-ImageNet", _annotated(root, list(by_class))
    elif within != root and (root / "val").is_dir():
        layout, held = "train and val", _class_files(root, root / "val")
        strange = sorted(set(held) - set(by_class))
        if strange:
            raise LabelledError(f"{root / 'val' / strange[0]}: a class that {within} does not have")
    else:
        held = {name: _drawn(within / name, files, validation_share, seed) for name, files in by_class.items()}
        by_class = {name: sorted(set(files) - set(held[name])) for name, files in by_class.items()}
    return _listed(root, layout, by_class, held)


def _listed(root: Path, layout: Layout, training: dict[str, list[str]], held: dict[str, list[str]]) -> LabelledImages:
    """Both sides in one list."""
    classes = tuple(training)
    position = {name: index for index, name in enumerate(classes)}
    rows = sorted(
        (file, position[name], validates)
        for side, validates in ((training, False), (held, True))
        for name, files in side.items()
        for file in files
    )
    files, targets, validation = zip(*rows, strict=True)
    return LabelledImages(root, layout, classes, files, np.array(targets, np.int64), np.array(validation, bool))


def _class_files(root: Path, folder: Path) -> dict[str, list[str]]:
    """Images below each folder in `folder`, relative to `root`, sorted; classes are sorted too."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {name: _images_below(root, folder / name) for name in names}
    for name, files in found.items():
        if not files:
            raise LabelledError(f"{folder / name}: a class without images (.png, .jpg)")
    return found


def _images_below(root: Path, folder: Path) -> list[str]:
    return sorted(
        (Path(parent) / name).relative_to(root).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in _ENDINGS
    )


def _annotated(root: Path, classes: list[str]) -> dict[str, list[str]]:
    """Tiny-ImageNet's validation images by class."""
    table = root / "val" / ANNOTATIONS
    found: dict[str, list[str]] = {name: [] for name in classes}
    for number, line in enumerate(table.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0].strip()
        if label not in found:
            raise LabelledError(f"{table}, line {number}: class {label!r} is not in {root / 'train'}")
        file = root / "val" / "images" / name
        if not file.is_file():
            raise LabelledError(f"{table}, line {number}: {file} is missing")
        found[label].append(file.relative_to(root).as_posix())
    if not any(found.values()):
        raise LabelledError(f"{table}: no validation image in it")
    return {name: sorted(files) for name, files in found.items()}


def _drawn(folder: Path, files: list[str], share: float, seed: int) -> list[str]:
    """The part of one class that validates."""
    if len(files) < 2:
        raise LabelledError(f"{folder}: one image; a class without val/ needs two: one to train on, one to validate")
    wanted = min(max(1, round(share * len(files))), len(files) - 1)
    order = np.random.default_rng(derive_seed(seed, "validation", folder.name)).permutation(len(files))
    return sorted(files[position] for position in order[:wanted])
