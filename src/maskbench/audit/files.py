"""The files of a dataset: photographs and annotations, paired by their names alone."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maskbench.audit.checks import Finding
from maskbench.data.images import SUFFIXES

IMAGES_FOLDER = "images"
ANNOTATIONS_FOLDER = "annotations"

_IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
#: Extensions of other picture formats: such a file was meant as a photograph and is worth a warning.
_OTHER_PICTURES = frozenset({".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif", ".jp2", ".jxl"})


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph and its annotation, by stem. Names and no paths: a dataset may hold hundreds of thousands.

    Attributes:
        image_id: the common stem, in Unicode's composed form.
        root: the dataset's folder.
        image_name: the photograph's file, in the folder of images.
        annotation_name: the annotation's file, in the folder of annotations; None when there is none.
    """

    image_id: str
    root: Path
    image_name: str
    annotation_name: str | None

    @property
    def image(self) -> Path:
        """The photograph's path."""
        return self.root.joinpath(IMAGES_FOLDER, self.image_name)

    @property
    def file(self) -> str:
        """How findings and tables name the photograph."""
        return f"{IMAGES_FOLDER}/{self.image_name}"

    @property
    def annotation(self) -> Path | None:
        """The annotation's path."""
        return None if self.annotation_name is None else self.root.joinpath(ANNOTATIONS_FOLDER, self.annotation_name)

    @property
    def annotation_file(self) -> str:
        """How findings name the annotation."""
        return f"{ANNOTATIONS_FOLDER}/{self.annotation_name}"


def pair_files(root: Path) -> tuple[list[Pair], list[Finding]]:
    """Pair photographs and annotations by file stem.

    Args:
        root: a folder that holds `images` and `annotations`.

    Returns:
        Pairs sorted by id (an annotation may be missing), and what is wrong with names and partners.
    """
    findings: list[Finding] = []
    annotations: dict[str, list[str]] = defaultdict(list)
    for name in _files(root, ANNOTATIONS_FOLDER, findings):
        stem, suffix = _stem_and_suffix(name)
        if suffix == ".xml":
            annotations[stem].append(name)
        else:
            findings.append(Finding("ignored_file", f"{ANNOTATIONS_FOLDER}/{name}", "not an .xml file"))
    images: dict[str, list[str]] = defaultdict(list)
    for name in _files(root, IMAGES_FOLDER, findings):
        stem, suffix = _stem_and_suffix(name)
        if suffix in _IMAGE_SUFFIXES or suffix in _OTHER_PICTURES or stem in annotations or not suffix:
            images[stem].append(name)
        else:
            detail = "neither its name nor an annotation makes it one"
            findings.append(Finding("ignored_file", f"{IMAGES_FOLDER}/{name}", detail))
    pairs = []
    for stem in sorted(images):
        sides = ((IMAGES_FOLDER, images[stem]), (ANNOTATIONS_FOLDER, annotations.get(stem, [])))
        ambiguous = [(folder, names) for folder, names in sides if len(names) > 1]
        for folder, names in ambiguous:
            findings.append(Finding("ambiguous_stem", f"{folder}/{names[0]}", f"same stem: {', '.join(names)}"))
        if not ambiguous:
            pairs.append(Pair(stem, root, images[stem][0], next(iter(annotations.get(stem, [])), None)))
    findings += _missing_partners(images, annotations) + _case_collisions(images)
    return pairs, findings


def _files(root: Path, folder: str, findings: list[Finding]) -> list[str]:
    """Names of a folder's regular files, sorted, hidden ones apart; what else lies there is reported."""
    with os.scandir(root / folder) as entries:
        kinds = {entry.name: entry.is_file() for entry in entries}
    files = []
    for name in sorted(kinds):
        if name.startswith(".") or name.lower() in {"thumbs.db", "desktop.ini"}:
            continue
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            shown = name.encode("utf-8", "backslashreplace").decode()
            findings.append(Finding("file_name", f"{folder}/{shown}", "name is not Unicode"))
            continue
        if kinds[name]:
            files.append(name)
        else:
            findings.append(Finding("ignored_file", f"{folder}/{name}", "not a regular file"))
    return files


def _stem_and_suffix(name: str) -> tuple[str, str]:
    """The stem in Unicode's composed form (macOS stores decomposed letters), the suffix in small letters."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or not suffix:  # as pathlib has it: a dot at either end begins no suffix
        return unicodedata.normalize("NFC", name), ""
    return unicodedata.normalize("NFC", stem), (dot + suffix).lower()


def _missing_partners(images: Mapping[str, list[str]], annotations: Mapping[str, list[str]]) -> list[Finding]:
    findings = []
    for code, here, there, folder, other_folder in (
        ("image_without_annotation", images, annotations, IMAGES_FOLDER, ANNOTATIONS_FOLDER),
        ("annotation_without_image", annotations, images, ANNOTATIONS_FOLDER, IMAGES_FOLDER),
    ):
        alone = sorted(here.keys() - there.keys())
        folded = {stem.casefold(): stem for stem in there} if alone else {}
        for stem in alone:
            detail = "no annotation of this stem" if here is images else "no photograph of this stem"
            if (other := folded.get(stem.casefold())) is not None:
                detail += f"; {other_folder}/{there[other][0]} differs in upper and lower case only"
            findings += [Finding(code, f"{folder}/{name}", detail) for name in here[stem]]
    return findings


def _case_collisions(images: Mapping[str, list[str]]) -> list[Finding]:
    if len({stem.casefold() for stem in images}) == len(images):
        return []
    folded: dict[str, list[str]] = defaultdict(list)
    for stem in sorted(images):
        folded[stem.casefold()].append(stem)
    return [
        Finding(
            "case_collision",
            f"{IMAGES_FOLDER}/{images[stems[0]][0]}",
            f"stems differ in case only: {', '.join(stems)}",
        )
        for stems in folded.values()
        if len(stems) > 1
    ]
