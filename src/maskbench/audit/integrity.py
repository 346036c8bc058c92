"""Checks of one photograph with its annotation, and of the files' names.

Everything here takes what was read and returns findings and usable faces; nothing is written and
nothing is repaired in place.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskbench.audit.checks import Finding
from maskbench.audit.quality import Quality, measure
from maskbench.data.boxes import clip_boxes
from maskbench.data.images import SUFFIXES, Header, ImageError, decode, read_bytes, suffix_matches
from maskbench.data.voc import AnnotatedObject, Annotation, AnnotationError, Problem, clean_label, read_annotation

IMAGES_FOLDER = "images"
ANNOTATIONS_FOLDER = "annotations"

_IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
#: Extensions of other picture formats: such a file was meant as a photograph and is worth a warning.
_OTHER_PICTURES = frozenset({".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif", ".jp2", ".jxl"})


@dataclass(frozen=True)
class Pair:
    """A photograph and its annotation, by stem.

    Attributes:
        image_id: the common stem, in Unicode's composed form.
        image: the photograph's path.
        annotation: the annotation's path, None when there is none.
    """

    image_id: str
    image: Path
    annotation: Path | None


@dataclass(frozen=True)
class ImageFacts:
    """What decoding a photograph once gave."""

    header: Header
    sha256: str
    bytes: int
    transparent_share: float
    orientation: int
    quality: Quality


@dataclass(frozen=True)
class Inspected:
    """A pair after reading: facts or the reason there are none, for either file."""

    pair: Pair
    image: ImageFacts | ImageError
    annotation: Annotation | AnnotationError | None


@dataclass(frozen=True)
class Face:
    """A usable face: label known, box inside the photograph and not empty."""

    source: AnnotatedObject
    label: str
    box: tuple[float, float, float, float]
    clipped: bool


@dataclass
class LabelTally:
    """Labels met while scanning, for the checks of the whole dataset.

    Attributes:
        seen: every label in the annotations.
        unknown: label -> files with faces that were left out for it, one entry per face.
    """

    seen: set[str] = field(default_factory=set)
    unknown: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


class LabelRules:
    """From a label in an annotation to a class name.

    Args:
        label_map: label -> class name; others keep their name.
        classes: permitted class names; empty: all.
    """

    def __init__(self, label_map: Mapping[str, str], classes: Sequence[str]) -> None:
        self.label_map = {clean_label(source): clean_label(name) for source, name in label_map.items()}
        # Configured names are kept as written there: later stages compare with them.
        self.classes = {clean_label(name): name for name in classes}
        self.written = {clean_label(name): name for name in label_map.values()}

    def class_of(self, source_label: str) -> str | None:
        """The class a label stands for, None when it is not among the permitted ones."""
        name = self.label_map.get(source_label, source_label)
        if self.classes:
            return self.classes.get(name)
        return self.written.get(name, name)


def pair_files(root: Path) -> tuple[list[Pair], list[Finding]]:
    """Pair photographs and annotations by file stem.

    Args:
        root: a folder that holds `images` and `annotations`.

    Returns:
        Pairs sorted by id (an annotation may be missing), and what is wrong with names and partners.
    """
    findings: list[Finding] = []
    annotations: dict[str, list[Path]] = defaultdict(list)
    for path in _files(root / ANNOTATIONS_FOLDER, findings):
        if path.suffix.lower() == ".xml":
            annotations[_stem(path)].append(path)
        else:
            findings.append(Finding("ignored_file", relative(path), "not an .xml file"))
    images: dict[str, list[Path]] = defaultdict(list)
    for path in _files(root / IMAGES_FOLDER, findings):
        named_so = path.suffix.lower() in _IMAGE_SUFFIXES | _OTHER_PICTURES
        if named_so or _stem(path) in annotations or not path.suffix:
            images[_stem(path)].append(path)
        else:
            findings.append(Finding("ignored_file", relative(path), "neither its name nor an annotation makes it one"))
    pairs = []
    for stem in sorted(images):
        ambiguous = [paths for paths in (images[stem], annotations.get(stem, [])) if len(paths) > 1]
        for paths in ambiguous:
            names = ", ".join(path.name for path in paths)
            findings.append(Finding("ambiguous_stem", relative(paths[0]), f"same stem: {names}"))
        if not ambiguous:
            pairs.append(Pair(stem, images[stem][0], next(iter(annotations.get(stem, [])), None)))
    findings += _missing_partners(images, annotations) + _case_collisions(images)
    return pairs, findings


def relative(path: Path) -> str:
    """`images/NAME` or `annotations/NAME`: how findings and tables name a file."""
    return f"{path.parent.name}/{path.name}"


def inspect_pair(pair: Pair, max_pixels: int) -> Inspected:
    """Read both files of a pair once, measuring the photograph."""
    annotation: Annotation | AnnotationError | None = None
    if pair.annotation is not None:
        try:
            annotation = read_annotation(pair.annotation)
        except AnnotationError as error:
            annotation = error
    try:
        content = read_bytes(pair.image, max_pixels)
        photograph = decode(content, pair.image.name, max_pixels)
    except ImageError as error:
        return Inspected(pair, error, annotation)
    facts = ImageFacts(
        header=photograph.header,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        transparent_share=photograph.transparent_share,
        orientation=photograph.orientation,
        quality=measure(photograph.rgb),
    )
    return Inspected(pair, facts, annotation)


def check_image(inspected: Inspected, flat_contrast: float) -> list[Finding]:
    """What is wrong with the photograph's file."""
    file, image = relative(inspected.pair.image), inspected.image
    if isinstance(image, ImageError):
        code = {"unreadable": "image_unreadable", "not_an_image": "not_an_image", "too_large": "image_too_large",
                "damaged": "image_damaged"}[image.kind]  # fmt: skip
        return [Finding(code, file, str(image))]
    findings = []
    if not suffix_matches(inspected.pair.image, image.header.format):
        findings.append(Finding("extension_mismatch", file, f"content is {image.header.format}"))
    if image.quality.solid or image.quality.contrast < flat_contrast:
        detail = f"nearly one colour (standard deviation of luma {image.quality.contrast:.1f} of 255)"
        findings.append(Finding("flat_image", file, detail))
    return findings


def check_annotation(inspected: Inspected) -> list[Finding]:
    """What is wrong with the annotation, boxes and labels apart."""
    annotation, pair = inspected.annotation, inspected.pair
    if annotation is None or pair.annotation is None:
        return []
    file = relative(pair.annotation)
    if isinstance(annotation, AnnotationError):
        return [Finding("annotation_unreadable", file, str(annotation))]
    codes = {"label": "label_missing", "box": "box_unreadable", "not_finite": "box_not_finite", "flag":
             "flag_unreadable", "size": "size_missing"}  # fmt: skip
    findings = [Finding(codes[problem.kind], file, problem.message) for problem in _size_once(annotation.problems)]
    findings += [Finding("stray_text", file, f"stray text: {text!r}") for text in annotation.stray_text]
    named = annotation.filename.replace("\\", "/").rsplit("/", 1)[-1]
    if unicodedata.normalize("NFC", annotation.filename) != unicodedata.normalize("NFC", pair.image.name):
        said = (
            f"names {named[:80]!r}" if annotation.filename == named else f"names a path, {annotation.filename[:80]!r}"
        )
        findings.append(Finding("filename_mismatch", file, f"{said if named else 'names no file'}; it belongs to "
                                f"{pair.image.name!r}"))  # fmt: skip
    if not isinstance(inspected.image, ImageError) and annotation.width and annotation.height:
        said_size, size = (annotation.width, annotation.height), (
            inspected.image.header.width, inspected.image.header.height)  # fmt: skip
        if said_size != size:
            turned = " (as if rotated by a quarter turn)" if said_size == size[::-1] else ""
            detail = f"says {said_size[0]} × {said_size[1]} px, the photograph has {size[0]} × {size[1]}{turned}"
            findings.append(Finding("size_mismatch", file, detail))
    return findings


def usable_faces(
    annotation: Annotation, size: tuple[int, int], file: str, rules: LabelRules, tally: LabelTally, tiny_px: float
) -> tuple[list[Face], list[Finding]]:
    """The faces a study can use, and what is wrong with the rest.

    Args:
        annotation: what was read.
        size: width and height of the photograph, px.
        file: the annotation's name in findings.
        rules: labels to classes.
        tally: labels met; added to.
        tiny_px: sides below are reported.

    Returns:
        Faces in file order, boxes clipped; findings.
    """
    faces: list[Face] = []
    findings: list[Finding] = []
    for item in annotation.objects:
        tally.seen.add(item.name)
        label = rules.class_of(item.name)
        if label is None:
            tally.unknown[item.name].append(file)
            continue
        where = f"object {item.index} ({item.name}): box {_shown(item.box)}"
        if item.box[2] <= item.box[0] or item.box[3] <= item.box[1]:
            findings.append(Finding("box_empty", file, f"{where} is empty or inverted"))
            continue
        xmin, ymin, xmax, ymax = (float(value) for value in clip_boxes(np.array([item.box]), *size)[0])
        box = (xmin, ymin, xmax, ymax)
        beyond = f"the photograph of {size[0]} × {size[1]} px"
        if xmax <= xmin or ymax <= ymin:
            findings.append(Finding("box_outside", file, f"{where} lies outside {beyond}"))
            continue
        if box != item.box:
            findings.append(Finding("box_out_of_bounds", file, f"{where} reaches beyond {beyond}"))
        if min(xmax - xmin, ymax - ymin) < tiny_px:
            findings.append(Finding("box_tiny", file, f"{where} has a side below {tiny_px:g} px"))
        faces.append(Face(item, label, box, clipped=box != item.box))
    kept, repeated = _without_repeats(faces, file)
    return kept, findings + repeated


def _without_repeats(faces: list[Face], file: str) -> tuple[list[Face], list[Finding]]:
    """Keep one of equal boxes with equal labels, none where labels conflict."""
    same: dict[tuple[float, ...], list[Face]] = defaultdict(list)
    for face in faces:
        same[face.box].append(face)
    findings, dropped = [], set()
    for box, members in same.items():
        if len(members) == 1:
            continue
        indices = ", ".join(str(face.source.index) for face in members)
        labels = sorted({face.label for face in members})
        if len(labels) == 1:
            findings.append(Finding("box_repeated", file, f"objects {indices}: same box {_shown(box)} and label"))
            dropped |= {face.source.index for face in members[1:]}
        else:
            detail = f"objects {indices}: same box {_shown(box)}, labels {', '.join(labels)}"
            findings.append(Finding("box_conflict", file, detail))
            dropped |= {face.source.index for face in members}
    return [face for face in faces if face.source.index not in dropped], findings


def _size_once(problems: Sequence[Problem]) -> list[Problem]:
    """Width and height are usually missing together: one finding is enough."""
    sizes = [problem for problem in problems if problem.kind == "size"]
    return [problem for problem in problems if problem.kind != "size"] + sizes[:1]


def _shown(box: Sequence[float]) -> str:
    return "[" + " ".join(f"{value:g}" for value in box) + "]"


def _files(folder: Path, findings: list[Finding]) -> list[Path]:
    """Regular files of a folder by name, hidden ones apart; what else lies there is reported."""
    files = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or path.name.lower() in {"thumbs.db", "desktop.ini"}:
            continue
        try:
            path.name.encode("utf-8")
        except UnicodeEncodeError:
            shown = path.name.encode("utf-8", "backslashreplace").decode()
            findings.append(Finding("file_name", f"{folder.name}/{shown}", "name is not Unicode"))
            continue
        if path.is_file():
            files.append(path)
        else:
            findings.append(Finding("ignored_file", relative(path), "not a regular file"))
    return files


def _stem(path: Path) -> str:
    # macOS stores decomposed letters in file names where other systems store composed ones.
    return unicodedata.normalize("NFC", path.stem)


def _missing_partners(images: Mapping[str, list[Path]], annotations: Mapping[str, list[Path]]) -> list[Finding]:
    findings = []
    for code, here, there in (
        ("image_without_annotation", images, annotations),
        ("annotation_without_image", annotations, images),
    ):
        folded = {stem.casefold(): stem for stem in there}
        for stem in sorted(set(here) - set(there)):
            detail = "no annotation of this stem" if here is images else "no photograph of this stem"
            if (other := folded.get(stem.casefold())) is not None:
                detail += f"; {relative(there[other][0])} differs in upper and lower case only"
            findings += [Finding(code, relative(path), detail) for path in here[stem]]
    return findings


def _case_collisions(images: Mapping[str, list[Path]]) -> list[Finding]:
    folded: dict[str, list[str]] = defaultdict(list)
    for stem in sorted(images):
        folded[stem.casefold()].append(stem)
    return [
        Finding("case_collision", relative(images[stems[0]][0]), f"stems differ in case only: {', '.join(stems)}")
        for stems in folded.values()
        if len(stems) > 1
    ]
