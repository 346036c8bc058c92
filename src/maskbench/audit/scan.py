"""The audit: one pass over a dataset's files, each photograph decoded once, nothing modified."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from maskbench.audit.checks import Finding, findings_table
from maskbench.audit.duplicates import find_duplicates
from maskbench.audit.integrity import (
    ANNOTATIONS_FOLDER,
    IMAGES_FOLDER,
    Face,
    ImageFacts,
    Inspected,
    LabelRules,
    LabelTally,
    Pair,
    check_annotation,
    check_image,
    inspect_pair,
    pair_files,
    relative,
    usable_faces,
)
from maskbench.config import AuditConfig
from maskbench.data.voc import Annotation
from maskbench.schemas import DUPLICATES, FACES, IMAGES, empty_table, validate

#: Train, val and test each need a photograph of every class.
MIN_GROUPS_PER_CLASS = 3
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class AuditResult:
    """What the audit knows.

    Attributes:
        images: `schemas.IMAGES`, one row per photograph that can be used, by id.
        faces: `schemas.FACES`, one row per usable face, by photograph and place in the annotation.
        findings: `schemas.FINDINGS`, most severe first.
        duplicates: `schemas.DUPLICATES`.
    """

    images: pd.DataFrame
    faces: pd.DataFrame
    findings: pd.DataFrame
    duplicates: pd.DataFrame

    @property
    def has_errors(self) -> bool:
        """Whether a finding stops a study."""
        return bool((self.findings["severity"] == "error").any())


@dataclass(frozen=True)
class _Usable:
    """A photograph with a readable annotation."""

    pair: Pair
    image: ImageFacts
    faces: list[Face]


def scan_dataset(
    root: Path,
    config: AuditConfig,
    label_map: Mapping[str, str],
    classes: Sequence[str],
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditResult:
    """Audit a dataset folder.

    Args:
        root: holds `images` and `annotations`.
        config: thresholds.
        label_map: label in an annotation -> class name.
        classes: permitted class names; empty: all found.
        workers: threads (decoding releases the interpreter lock); None: one per processor, at most 16.
        progress: called with photographs done and in all.

    Returns:
        Tables and findings. What is broken becomes a finding; nothing raises for a dataset's content.
    """
    root = Path(root)
    missing = [name for name in (IMAGES_FOLDER, ANNOTATIONS_FOLDER) if not (root / name).is_dir()]
    if missing:
        finding = Finding("layout", "", f"{root}: folder missing: {', '.join(missing)}")
        return AuditResult(empty_table(IMAGES), empty_table(FACES), findings_table([finding]), empty_table(DUPLICATES))
    pairs, findings = pair_files(root)
    inspected = _inspect_all(pairs, config.max_pixels, workers, progress)

    rules, tally = LabelRules(label_map, classes), LabelTally()
    usable = []
    for item in inspected:
        findings += check_image(item, config.flat_contrast) + check_annotation(item)
        if isinstance(item.image, ImageFacts) and isinstance(item.annotation, Annotation):
            faces, found = _faces_of(item, item.image, item.annotation, rules, tally, config.tiny_px)
            findings += found
            usable.append(_Usable(item.pair, item.image, faces))

    images, faces_table = _images_table(usable), _faces_table(usable)
    labels = {item.pair.image_id: Counter(face.label for face in item.faces) for item in usable}
    duplicates = find_duplicates(
        [item.pair.image_id for item in usable],
        [item.image.quality for item in usable],
        labels,
        config,
    )
    findings += _pixel_findings(usable) + _label_findings(rules, tally)
    findings += _duplicate_findings(duplicates, usable, labels)
    findings += _study_findings(faces_table, duplicates, tuple(classes), len(usable))
    return AuditResult(
        validate(images, IMAGES),
        validate(faces_table, FACES),
        findings_table(findings),
        validate(duplicates, DUPLICATES),
    )


def _inspect_all(
    pairs: Sequence[Pair], max_pixels: int, workers: int | None, progress: Callable[[int, int], None] | None
) -> list[Inspected]:
    count = workers if workers is not None else min(16, os.cpu_count() or 1)
    inspected = []
    with ThreadPoolExecutor(max_workers=max(1, count)) as pool:
        for done, item in enumerate(pool.map(partial(inspect_pair, max_pixels=max_pixels), pairs), start=1):
            inspected.append(item)
            if progress:
                progress(done, len(pairs))
    return inspected


def _faces_of(
    item: Inspected, image: ImageFacts, annotation: Annotation, rules: LabelRules, tally: LabelTally, tiny_px: float
) -> tuple[list[Face], list[Finding]]:
    size = (image.header.width, image.header.height)
    file = f"{ANNOTATIONS_FOLDER}/{item.pair.annotation.name}" if item.pair.annotation else ""
    faces, findings = usable_faces(annotation, size, file, rules, tally, tiny_px)
    if not faces:
        detail = f"{annotation.object_count} annotated, none usable" if annotation.object_count else "no face annotated"
        findings.append(Finding("no_faces", relative(item.pair.image), detail))
    return faces, findings


def _images_table(usable: Sequence[_Usable]) -> pd.DataFrame:
    return _table(
        IMAGES,
        [
            {
                "image_id": item.pair.image_id,
                "file": relative(item.pair.image),
                "sha256": item.image.sha256,
                "bytes": item.image.bytes,
                "format": item.image.header.format,
                "mode": item.image.header.mode,
                "bit_depth": item.image.header.bit_depth,
                "transparent_share": item.image.transparent_share,
                "width": item.image.header.width,
                "height": item.image.header.height,
                "aspect": item.image.header.width / item.image.header.height,
                "brightness": item.image.quality.brightness,
                "contrast": item.image.quality.contrast,
                "saturation": item.image.quality.saturation,
                "sharpness": item.image.quality.sharpness,
                "phash": item.image.quality.phash,
                "faces": len(item.faces),
            }
            for item in usable
        ],
    )


def _faces_table(usable: Sequence[_Usable]) -> pd.DataFrame:
    return _table(
        FACES,
        [
            {
                "face_id": f"{item.pair.image_id}#{face.source.index:03d}",
                "image_id": item.pair.image_id,
                "label": face.label,
                "source_label": face.source.name,
                **dict(zip(("xmin", "ymin", "xmax", "ymax"), face.box, strict=True)),
                "image_width": item.image.header.width,
                "image_height": item.image.header.height,
                "clipped": face.clipped,
                "pose": face.source.pose,
                "truncated": face.source.truncated,
                "occluded": face.source.occluded,
                "difficult": face.source.difficult,
            }
            for item in usable
            for face in item.faces
        ],
    )


def _table(schema: pa.DataFrameSchema, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(schema.columns)) if rows else empty_table(schema)


def _pixel_findings(usable: Sequence[_Usable]) -> list[Finding]:
    """Formats, transparency and orientation: one finding per kind, not per photograph."""
    kinds: dict[str, list[str]] = defaultdict(list)
    turned: dict[int, list[str]] = defaultdict(list)
    transparent = []
    for item in usable:
        header, name = item.image.header, relative(item.pair.image)
        kinds[f"{header.format} {header.mode}, {header.bit_depth} bit"].append(name)
        if item.image.orientation != 1:
            turned[item.image.orientation].append(name)
        if item.image.transparent_share > 0:
            transparent.append(name)
    findings = [Finding("pixel_format", "", f"{kind}: {_counted(kinds[kind])}") for kind in sorted(kinds)]
    findings += [
        Finding("orientation", "", f"EXIF orientation {value}: {_counted(turned[value])}") for value in sorted(turned)
    ]
    if transparent:
        findings.append(Finding("transparency", "", f"partly transparent: {_counted(transparent)}"))
    return findings


def _counted(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    return f"{len(names)} photograph{'s' if len(names) > 1 else ''} ({shown})"


def _label_findings(rules: LabelRules, tally: LabelTally) -> list[Finding]:
    findings = []
    for label, files in sorted(tally.unknown.items()):
        mapped = rules.label_map.get(label, label)
        via = "" if mapped == label else f" (mapped to {mapped!r})"
        detail = f"label {label!r}{via} is not among the classes: {len(files)} face(s) in {len(set(files))} file(s)"
        findings.append(Finding("label_unknown", files[0], detail))
    findings += [
        Finding("label_map_unused", "", f"label_map: no annotation uses the label {label!r}")
        for label in sorted(set(rules.label_map) - tally.seen)
    ]
    return findings


def _duplicate_findings(
    duplicates: pd.DataFrame, usable: Sequence[_Usable], labels: Mapping[str, Counter[str]]
) -> list[Finding]:
    by_id = {item.pair.image_id: item for item in usable}
    findings = []
    for row in duplicates.itertuples(index=False):
        a, b = by_id[str(row.image_id_a)], by_id[str(row.image_id_b)]
        file, other = relative(a.pair.image), relative(b.pair.image)
        if row.kind == "exact":
            how = "same bytes" if a.image.sha256 == b.image.sha256 else "same pixels in different files"
            findings.append(Finding("duplicate_exact", file, f"{how} as {other}"))
        else:
            findings.append(Finding("duplicate_near", file, f"nearly the same as {other} ({row.distance} of 64 bits)"))
        if not row.labels_agree:
            ours, theirs = _counts(labels[a.pair.image_id]), _counts(labels[b.pair.image_id])
            findings.append(Finding("duplicate_labels", file, f"{ours}, but {theirs} in its duplicate {other}"))
    return findings


def _counts(labels: Counter[str]) -> str:
    return ", ".join(f"{labels[label]} {label}" for label in sorted(labels)) or "no faces"


def _study_findings(
    faces: pd.DataFrame, duplicates: pd.DataFrame, classes: tuple[str, ...], photographs: int
) -> list[Finding]:
    """What no study can do without."""
    if not photographs:
        return [Finding("no_images", "", "no photograph with a readable annotation")]
    names = list(classes) or sorted(set(faces["label"]))
    findings = []
    if len(names) < 2:
        found = f"one class only: {names[0]}" if names else "no usable face"
        findings.append(Finding("few_classes", "", found))
    groups = _groups(sorted(set(faces["image_id"])), duplicates)
    for name in names:
        of_class = {str(image_id) for image_id in faces.loc[faces["label"] == name, "image_id"]}
        count = len({groups[image_id] for image_id in of_class})
        if count < MIN_GROUPS_PER_CLASS:
            merged = "" if count == len(of_class) else f" ({len(of_class)} photographs, duplicates counted once)"
            detail = f"class {name!r} is in {count} photograph(s){merged}; three splits need {MIN_GROUPS_PER_CLASS}"
            findings.append(Finding("class_too_rare", "", detail))
    return findings


def _groups(image_ids: Sequence[str], duplicates: pd.DataFrame) -> dict[str, int]:
    """Photographs that are duplicates of each other, directly or in a chain, share a number."""
    position = {image_id: index for index, image_id in enumerate(image_ids)}
    links = [
        (position[a], position[b])
        for a, b in zip(duplicates["image_id_a"], duplicates["image_id_b"], strict=True)
        if a in position and b in position
    ]
    rows, columns = np.array(links, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(len(image_ids), len(image_ids)))
    if not image_ids:
        return {}
    _, numbers = connected_components(graph, directed=False)
    return dict(zip(image_ids, (int(number) for number in numbers), strict=True))
