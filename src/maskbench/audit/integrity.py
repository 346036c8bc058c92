"""Checks of one photograph with its annotation.

Everything here takes what was read and returns findings and usable faces; nothing is written and
nothing is repaired in place.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maskbench.audit.checks import Finding
from maskbench.audit.files import Pair
from maskbench.audit.quality import Quality, Reduced, pixels_in, qualities, reduce_pixels
from maskbench.config import AuditConfig
from maskbench.data.images import Header, ImageError, decode, read_bytes, suffix_matches
from maskbench.data.keeping import Keeper
from maskbench.data.voc import AnnotatedObject, Annotation, AnnotationError, Problem, clean_label, read_annotation


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

    def add(self, other: LabelTally) -> None:
        """Count what another has met."""
        self.seen |= other.seen
        for label, files in other.unknown.items():
            self.unknown[label] += files


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


@dataclass(frozen=True)
class Reading:
    """What inspecting a pair depends on.

    Attributes:
        rules: labels to classes.
        config: thresholds.
        keepers: keep pixels of usable photographs.
    """

    rules: LabelRules
    config: AuditConfig
    keepers: Sequence[Keeper] = ()


@dataclass(frozen=True)
class Inspected:
    """What is kept of a pair: no decoded pixels but those that keepers cut.

    Attributes:
        pair: the files.
        image: facts of the photograph; None where one of the files cannot be used.
        faces: the usable ones.
        findings: what is wrong with either file.
        tally: labels met.
        kept: what each keeper cut; nothing of an unusable pair.
    """

    pair: Pair
    image: ImageFacts | None
    faces: list[Face]
    findings: list[Finding]
    tally: LabelTally
    kept: tuple[bytes, ...]


@dataclass(frozen=True)
class _Read:
    """What reading a photograph once gave, before its measures are worked out; no decoded pixels."""

    header: Header
    sha256: str
    length: int
    transparent_share: float
    orientation: int
    reduced: Reduced
    faces: list[Face]
    findings: list[Finding]
    tally: LabelTally
    kept: tuple[bytes, ...]

    def facts(self, quality: Quality) -> ImageFacts:
        """With its measures."""
        return ImageFacts(self.header, self.sha256, self.length, self.transparent_share, self.orientation, quality)


def inspect_pairs(pairs: Sequence[Pair], reading: Reading) -> list[Inspected]:
    """Read both files of each pair once; measure the photograph, check the annotation, cut the faces.

    What needs pixels is done photograph by photograph. All else is done for one pair right after the other: the same
    code takes twice as long when decoding has driven it out of the processor's caches.

    Args:
        pairs: some.
        reading: what this depends on.
    """
    annotations = [_annotation_of(pair) for pair in pairs]
    photographs = [
        _read_photograph(pair, annotation, reading) for pair, annotation in zip(pairs, annotations, strict=True)
    ]
    measured = iter(qualities([photograph.reduced for photograph in photographs if isinstance(photograph, _Read)]))
    inspected = []
    for pair, annotation, photograph in zip(pairs, annotations, photographs, strict=True):
        image = photograph.facts(next(measured)) if isinstance(photograph, _Read) else photograph
        inspected.append(_inspected(pair, annotation, photograph, image, reading.config.flat_contrast))
    return inspected


def _annotation_of(pair: Pair) -> Annotation | AnnotationError | None:
    path = pair.annotation
    try:
        return None if path is None else read_annotation(path)
    except AnnotationError as error:
        return error


def _read_photograph(
    pair: Pair, annotation: Annotation | AnnotationError | None, reading: Reading
) -> _Read | ImageError:
    path, limit = pair.image, reading.config.max_pixels
    try:
        content = read_bytes(path, limit)
        photograph = decode(content, path.name, limit)
    except ImageError as error:
        return error
    digest, length = hashlib.sha256(content).hexdigest(), len(content)
    del content  # its memory serves what follows
    rgb, header = photograph.rgb.tobytes(), photograph.header
    faces: list[Face] = []
    findings: list[Finding] = []
    tally = LabelTally()
    kept: tuple[bytes, ...] = ()
    if isinstance(annotation, Annotation):
        faces, findings = usable_faces(
            annotation, (header.width, header.height), pair.annotation_file, reading.rules, tally,
            reading.config.tiny_px,
        )  # fmt: skip
        pixels, boxes = pixels_in(rgb, photograph.rgb.size), [face.box for face in faces]
        kept = tuple(keeper.cut(pixels, boxes) for keeper in reading.keepers)
    return _Read(
        header=header,
        sha256=digest,
        length=length,
        transparent_share=photograph.transparent_share,
        orientation=photograph.orientation,
        reduced=reduce_pixels(photograph.rgb, rgb),
        faces=faces,
        findings=findings,
        tally=tally,
        kept=kept,
    )


def _inspected(
    pair: Pair, annotation: Annotation | AnnotationError | None, photograph: _Read | ImageError,
    image: ImageFacts | ImageError, flat_contrast: float,
) -> Inspected:  # fmt: skip
    findings = check_image(pair, image, flat_contrast) + check_annotation(pair, annotation, image)
    if isinstance(photograph, ImageError) or isinstance(image, ImageError) or not isinstance(annotation, Annotation):
        return Inspected(pair, None, [], findings, LabelTally(), ())
    findings += photograph.findings
    if not photograph.faces:
        detail = f"{annotation.object_count} annotated, none usable" if annotation.object_count else "no face annotated"
        findings.append(Finding("no_faces", pair.file, detail))
    return Inspected(pair, image, photograph.faces, findings, photograph.tally, photograph.kept)


def check_image(pair: Pair, image: ImageFacts | ImageError, flat_contrast: float) -> list[Finding]:
    """What is wrong with the photograph's file."""
    file = pair.file
    if isinstance(image, ImageError):
        code = {"unreadable": "image_unreadable", "not_an_image": "not_an_image", "too_large": "image_too_large",
                "damaged": "image_damaged"}[image.kind]  # fmt: skip
        return [Finding(code, file, str(image))]
    findings = []
    if not suffix_matches(pair.image, image.header.format):
        findings.append(Finding("extension_mismatch", file, f"content is {image.header.format}"))
    if image.quality.solid or image.quality.contrast < flat_contrast:
        detail = f"nearly one colour (standard deviation of luma {image.quality.contrast:.1f} of 255)"
        findings.append(Finding("flat_image", file, detail))
    return findings


def check_annotation(
    pair: Pair, annotation: Annotation | AnnotationError | None, image: ImageFacts | ImageError
) -> list[Finding]:
    """What is wrong with the annotation, boxes and labels apart."""
    if annotation is None:
        return []
    file = pair.annotation_file
    if isinstance(annotation, AnnotationError):
        return [Finding("annotation_unreadable", file, str(annotation))]
    codes = {"label": "label_missing", "box": "box_unreadable", "not_finite": "box_not_finite", "flag":
             "flag_unreadable", "size": "size_missing"}  # fmt: skip
    findings = [Finding(codes[problem.kind], file, problem.message) for problem in _size_once(annotation.problems)]
    findings += [Finding("stray_text", file, f"stray text: {text!r}") for text in annotation.stray_text]
    named = annotation.filename.replace("\\", "/").rsplit("/", 1)[-1]
    if unicodedata.normalize("NFC", annotation.filename) != unicodedata.normalize("NFC", pair.image_name):
        said = (
            f"names {named[:80]!r}" if annotation.filename == named else f"names a path, {annotation.filename[:80]!r}"
        )
        findings.append(Finding("filename_mismatch", file, f"{said if named else 'names no file'}; it belongs to "
                                f"{pair.image_name!r}"))  # fmt: skip
    if not isinstance(image, ImageError) and annotation.width and annotation.height:
        said_size, size = (annotation.width, annotation.height), (image.header.width, image.header.height)
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
        if item.box[2] <= item.box[0] or item.box[3] <= item.box[1]:
            findings.append(Finding("box_empty", file, f"{_where(item)} is empty or inverted"))
            continue
        # As `clip_boxes` does, without an array for four numbers.
        xmin, xmax = (float(min(max(value, 0.0), size[0])) for value in item.box[::2])
        ymin, ymax = (float(min(max(value, 0.0), size[1])) for value in item.box[1::2])
        box = (xmin, ymin, xmax, ymax)
        beyond = f"the photograph of {size[0]} × {size[1]} px"
        if xmax <= xmin or ymax <= ymin:
            findings.append(Finding("box_outside", file, f"{_where(item)} lies outside {beyond}"))
            continue
        if box != item.box:
            findings.append(Finding("box_out_of_bounds", file, f"{_where(item)} reaches beyond {beyond}"))
        if min(xmax - xmin, ymax - ymin) < tiny_px:
            findings.append(Finding("box_tiny", file, f"{_where(item)} has a side below {tiny_px:g} px"))
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


def _where(item: AnnotatedObject) -> str:
    return f"object {item.index} ({item.name}): box {_shown(item.box)}"


def _shown(box: Sequence[float]) -> str:
    return "[" + " ".join(f"{value:g}" for value in box) + "]"
