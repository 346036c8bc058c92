"""The audit: one pass over a dataset's files, each photograph decoded once, nothing modified."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from maskbench.audit.checks import Finding, findings_table
from maskbench.audit.duplicates import Fingerprints, find_duplicates, labels_of
from maskbench.audit.files import ANNOTATIONS_FOLDER, IMAGES_FOLDER, Pair, pair_files
from maskbench.audit.integrity import Face, ImageFacts, Inspected, LabelRules, LabelTally, Reading, inspect_pairs
from maskbench.config import AuditConfig
from maskbench.data.boxes import BOX_COLUMNS
from maskbench.data.chains import chained
from maskbench.data.keeping import Keeper
from maskbench.schemas import DUPLICATES, FACES, IMAGES, empty_table, validate
from maskbench.steps import in_order

#: Train, val and test each need a photograph of every class.
MIN_GROUPS_PER_CLASS = 3
_NAMES_SHOWN = 3
#: More would hardly be faster, and as many photographs' cut faces wait for their turn per thread.
_PAIRS_AT_ONCE = 8
#: A row as Python objects takes several times the memory of a row in a table.
_ROWS_AT_ONCE = 2048


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


def scan_dataset(
    root: Path,
    config: AuditConfig,
    label_map: Mapping[str, str],
    classes: Sequence[str],
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    keepers: Sequence[Keeper] = (),
) -> AuditResult:
    """Audit a dataset folder.

    Args:
        root: holds `images` and `annotations`.
        config: thresholds.
        label_map: label in an annotation -> class name.
        classes: permitted class names; empty: all found.
        workers: threads (decoding releases the interpreter lock); None: one per processor, at most 16.
        progress: called with photographs done and in all.
        keepers: keep pixels while the photographs are decoded anyway; `keep` is the caller's to call.

    Returns:
        Tables and findings. What is broken becomes a finding; nothing raises for a dataset's content.

    Raises:
        OSError: a keeper's file cannot be written.
    """
    root = Path(root)
    missing = [name for name in (IMAGES_FOLDER, ANNOTATIONS_FOLDER) if not (root / name).is_dir()]
    if missing:
        finding = Finding("layout", "", f"{root}: folder missing: {', '.join(missing)}")
        return AuditResult(empty_table(IMAGES), empty_table(FACES), findings_table([finding]), empty_table(DUPLICATES))
    pairs, findings = pair_files(root)
    rules = LabelRules(label_map, classes)
    reading = Reading(rules, config, keepers)
    threads = max(1, workers if workers is not None else min(16, os.cpu_count() or 1))
    tally, kinds, image_rows, face_rows = LabelTally(), _Kinds(), _Rows(IMAGES), _Rows(FACES)
    with Fingerprints() as prints:
        some = (pairs[start : start + _PAIRS_AT_ONCE] for start in range(0, len(pairs), _PAIRS_AT_ONCE))
        inspected = chain.from_iterable(in_order(partial(inspect_pairs, reading=reading), some, threads, ahead=1))
        for done, item in enumerate(inspected, start=1):
            findings += item.findings
            tally.add(item.tally)
            if item.image is not None:
                image_rows.add(_image_row(item, item.image))
                for face in item.faces:
                    face_rows.add(_face_row(item.pair, face, item.image))
                kinds.add(item.pair.file, item.image)
                prints.add(item.image.quality)
                for keeper, part in zip(keepers, item.kept, strict=True):
                    keeper.add(part)
            if progress:
                progress(done, len(pairs))
        images, faces = image_rows.table(), face_rows.table()
        duplicates = find_duplicates(images["image_id"].tolist(), prints, faces, config)
    findings += kinds.findings() + _label_findings(rules, tally)
    findings += _duplicate_findings(duplicates, images, faces)
    findings += _study_findings(faces, duplicates, tuple(classes), len(images))
    return AuditResult(
        validate(images, IMAGES), validate(faces, FACES), findings_table(findings), validate(duplicates, DUPLICATES)
    )


class _Rows:
    """Rows on their way to a table; most of them wait in its compact form."""

    def __init__(self, schema: pa.DataFrameSchema) -> None:
        self.schema = schema
        self._columns = list(schema.columns)
        self._values = itemgetter(*self._columns)
        self._rows: list[tuple[Any, ...]] = []
        self._parts: list[pd.DataFrame] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep the next row."""
        self._rows.append(self._values(row))
        if len(self._rows) == _ROWS_AT_ONCE:
            self._condense()

    def table(self) -> pd.DataFrame:
        """All rows, once."""
        if self._rows:
            self._condense()
        if not self._parts:
            return empty_table(self.schema)
        parts, self._parts = self._parts, []  # their memory is free again as soon as they are put together
        return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)

    def _condense(self) -> None:
        self._parts.append(pd.DataFrame(self._rows, columns=self._columns))
        self._rows = []


def _image_row(item: Inspected, image: ImageFacts) -> dict[str, Any]:
    header, quality = image.header, image.quality
    return {
        "image_id": item.pair.image_id,
        "file": item.pair.file,
        "sha256": image.sha256,
        "bytes": image.bytes,
        "format": header.format,
        "mode": header.mode,
        "bit_depth": header.bit_depth,
        "transparent_share": image.transparent_share,
        "width": header.width,
        "height": header.height,
        "aspect": header.width / header.height,
        "brightness": quality.brightness,
        "contrast": quality.contrast,
        "saturation": quality.saturation,
        "sharpness": quality.sharpness,
        "phash": quality.phash,
        "faces": len(item.faces),
    }


def _face_row(pair: Pair, face: Face, image: ImageFacts) -> dict[str, Any]:
    source = face.source
    return {
        "face_id": f"{pair.image_id}#{source.index:03d}",
        "image_id": pair.image_id,
        "label": face.label,
        "source_label": source.name,
        **dict(zip(BOX_COLUMNS, face.box, strict=True)),
        "image_width": image.header.width,
        "image_height": image.header.height,
        "clipped": face.clipped,
        "pose": source.pose,
        "truncated": source.truncated,
        "occluded": source.occluded,
        "difficult": source.difficult,
    }


class _Names:
    """How many photographs there are of a kind, and the first few."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, name: str) -> None:
        """Count one."""
        self.count += 1
        if self.count <= _NAMES_SHOWN:
            self.first.append(name)

    def __str__(self) -> str:
        shown = ", ".join(self.first) + (", …" if self.count > _NAMES_SHOWN else "")
        return f"{self.count} photograph{'s' if self.count > 1 else ''} ({shown})"


class _Kinds:
    """Formats, transparency and orientation: one finding per kind, not per photograph."""

    def __init__(self) -> None:
        self._formats: dict[str, _Names] = defaultdict(_Names)
        self._turned: dict[int, _Names] = defaultdict(_Names)
        self._transparent = _Names()

    def add(self, file: str, image: ImageFacts) -> None:
        """Count a photograph."""
        header = image.header
        self._formats[f"{header.format} {header.mode}, {header.bit_depth} bit"].add(file)
        if image.orientation != 1:
            self._turned[image.orientation].add(file)
        if image.transparent_share > 0:
            self._transparent.add(file)

    def findings(self) -> list[Finding]:
        """What was counted."""
        found = [Finding("pixel_format", "", f"{kind}: {names}") for kind, names in sorted(self._formats.items())]
        found += [
            Finding("orientation", "", f"EXIF orientation {value}: {names}")
            for value, names in sorted(self._turned.items())
        ]
        if self._transparent.count:
            found.append(Finding("transparency", "", f"partly transparent: {self._transparent}"))
        return found


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


def _duplicate_findings(duplicates: pd.DataFrame, images: pd.DataFrame, faces: pd.DataFrame) -> list[Finding]:
    concerned = {str(image_id) for name in ("image_id_a", "image_id_b") for image_id in duplicates[name]}
    labels = labels_of(concerned, faces)
    known = images[images["image_id"].isin(concerned)].set_index("image_id")
    files, hashes = known["file"].to_dict(), known["sha256"].to_dict()
    findings = []
    for row in duplicates.itertuples(index=False):
        a, b = str(row.image_id_a), str(row.image_id_b)
        if row.kind == "exact":
            how = "same bytes" if hashes[a] == hashes[b] else "same pixels in different files"
            findings.append(Finding("duplicate_exact", files[a], f"{how} as {files[b]}"))
        else:
            detail = f"nearly the same as {files[b]} ({row.distance} of 64 bits)"
            findings.append(Finding("duplicate_near", files[a], detail))
        if not row.labels_agree:
            detail = f"{_counts(labels[a])}, but {_counts(labels[b])} in its duplicate {files[b]}"
            findings.append(Finding("duplicate_labels", files[a], detail))
    return findings


def _counts(labels: Counter[str]) -> str:
    return ", ".join(f"{labels[label]} {label}" for label in sorted(labels)) or "no faces"


def _study_findings(
    faces: pd.DataFrame, duplicates: pd.DataFrame, classes: tuple[str, ...], photographs: int
) -> list[Finding]:
    """What no study can do without."""
    if not photographs:
        return [Finding("no_images", "", "no photograph with a readable annotation")]
    # As objects at once: a loop over a column makes them one by one.
    labels, image_ids = faces["label"].to_numpy(dtype=object), faces["image_id"].to_numpy(dtype=object)
    names = list(classes) or sorted(set(labels))
    findings = []
    if len(names) < 2:
        found = f"one class only: {names[0]}" if names else "no usable face"
        findings.append(Finding("few_classes", "", found))
    groups = _groups(sorted(set(image_ids)), duplicates)
    for name in names:
        of_class = set(image_ids[labels == name])
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
    return dict(zip(image_ids, chained(links, len(image_ids)).tolist(), strict=True))
