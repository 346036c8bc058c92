"""What the audit can find: one entry per check, with its severity and what the pipeline does about it.

An error stops a study; a warning costs data or trust in it; an info is worth knowing. A single broken
file is never an error: it is left out, and said so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from maskbench.schemas import FINDINGS, SEVERITIES, empty_table


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        severity: `error`, `warning` or `info`.
        action: what the pipeline does when the check finds something.
    """

    severity: str
    action: str


#: Stable codes; a code never changes its meaning.
CHECKS: dict[str, Check] = {
    # The study as a whole
    "layout": Check("error", "study stops: give a folder that holds images/ and annotations/"),
    "no_images": Check("error", "study stops"),
    "few_classes": Check("error", "study stops: a classifier needs two classes"),
    "class_too_rare": Check("error", "study stops: merge the class by label_map, leave it out of classes, or add data"),
    # Files
    "image_without_annotation": Check("warning", "photograph left out: no annotation is not the same as no faces"),
    "annotation_without_image": Check("warning", "annotation left out"),
    "ambiguous_stem": Check("warning", "all of them left out: which one the annotation describes is not known"),
    "case_collision": Check("warning", "kept apart here; rename before copying to a system that ignores case"),
    "file_name": Check("warning", "file left out: its name cannot be written as Unicode"),
    "ignored_file": Check("info", "ignored"),
    "image_unreadable": Check("warning", "photograph left out"),
    "not_an_image": Check("warning", "photograph left out: only PNG and JPEG are read"),
    "image_damaged": Check("warning", "photograph left out"),
    "image_too_large": Check("warning", "photograph left out without decoding it"),
    "extension_mismatch": Check("warning", "read as what its content is"),
    "pixel_format": Check("info", "read as 8-bit RGB"),
    "transparency": Check("info", "alpha ignored: the pixels beneath are used"),
    "orientation": Check("info", "orientation ignored: boxes refer to stored pixels"),
    "flat_image": Check("warning", "kept; not compared with others for near-duplicates"),
    # Annotations
    "annotation_unreadable": Check("warning", "photograph left out"),
    "stray_text": Check("warning", "text ignored; look at the file"),
    "filename_mismatch": Check("info", "paired by file stem; the name in the annotation is not followed"),
    "size_mismatch": Check("warning", "boxes taken as pixels of the stored photograph"),
    "size_missing": Check("info", "the photograph's own size is used"),
    "flag_unreadable": Check("info", "read as no"),
    "no_faces": Check("info", "photograph kept in images, contributes no face"),
    # Boxes and labels
    "label_missing": Check("warning", "face left out"),
    "label_unknown": Check("warning", "these faces left out"),
    "label_map_unused": Check("warning", "nothing to map; check the spelling"),
    "box_unreadable": Check("warning", "face left out"),
    "box_not_finite": Check("warning", "face left out"),
    "box_empty": Check("warning", "face left out"),
    "box_outside": Check("warning", "face left out"),
    "box_out_of_bounds": Check("warning", "clipped to the photograph"),
    "box_tiny": Check("info", "kept"),
    "box_repeated": Check("warning", "kept once"),
    "box_conflict": Check("warning", "all of them left out: which label is right is not known"),
    # Photographs among themselves
    "duplicate_exact": Check("warning", "kept on one side of a grouped split"),
    "duplicate_near": Check("info", "kept on one side of a grouped split"),
    "duplicate_labels": Check("warning", "kept as annotated; look at both"),
}


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        check: a key of `CHECKS`.
        file: relative to the dataset's folder; empty when it concerns the whole.
        detail: one line.
    """

    check: str
    file: str
    detail: str


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """`schemas.FINDINGS`, most severe first, then in the order of `CHECKS`, then by file.

    Example:
        >>> findings_table([Finding("box_tiny", "a.xml", "3 px")])["severity"].tolist()
        ['info']
    """
    codes = list(CHECKS)
    ordered = sorted(findings, key=lambda f: (SEVERITIES.index(CHECKS[f.check].severity), codes.index(f.check), f.file))
    if not ordered:
        return empty_table(FINDINGS)
    rows = [(CHECKS[f.check].severity, f.check, f.file, f.detail, CHECKS[f.check].action) for f in ordered]
    return pd.DataFrame(rows, columns=list(FINDINGS.columns))
