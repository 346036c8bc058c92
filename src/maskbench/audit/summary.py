"""The audit in figures: a summary for people and `audit.json`, and the writing of its tables.

`summarise` and `summary_text` are pure; `write_audit` and `terminal_summary` are the edge to the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.schemas import DUPLICATES, FACES, FINDINGS, IMAGES, SEVERITIES, write_table
from maskbench.storage import read_json, write_json

if TYPE_CHECKING:
    from maskbench.audit.scan import AuditResult

#: Quantiles that describe sizes: the extremes, the quartiles.
_QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}


def summarise(result: AuditResult) -> dict[str, Any]:
    """The audit in figures, ready for JSON.

    Returns:
        `photographs`, `faces`; `findings` (by severity); `checks` (by code, with severity and action);
        `classes` (faces and photographs of each); `formats`; `sizes` (quantiles of the photographs' and
        boxes' sides in px and of faces per photograph; None where there is nothing); `duplicates`.
    """
    images, faces, findings, duplicates = result.images, result.faces, result.findings, result.duplicates
    sides = [(faces["xmax"] - faces["xmin"]), (faces["ymax"] - faces["ymin"])]
    return {
        "photographs": len(images),
        "faces": len(faces),
        "findings": {severity: int((findings["severity"] == severity).sum()) for severity in SEVERITIES},
        "checks": {
            str(check): {
                "severity": str(rows["severity"].iloc[0]),
                "count": len(rows),
                "action": str(rows["action"].iloc[0]),
            }
            for check, rows in findings.groupby("check", sort=False)
        },
        "classes": {
            str(label): {"faces": len(rows), "photographs": int(rows["image_id"].nunique())}
            for label, rows in faces.groupby("label", sort=True)
        },
        "formats": {
            f"{key[0]} {key[1]}, {key[2]} bit": len(rows)
            for key, rows in images.groupby(["format", "mode", "bit_depth"], sort=True)
        },
        "sizes": {
            "image_width_px": _quantiles(images["width"]),
            "image_height_px": _quantiles(images["height"]),
            "box_width_px": _quantiles(sides[0]),
            "box_height_px": _quantiles(sides[1]),
            "faces_per_photograph": _quantiles(images["faces"]),
        },
        "duplicates": {
            "exact": int((duplicates["kind"] == "exact").sum()),
            "near": int((duplicates["kind"] == "near").sum()),
            "labels_disagree": int((~duplicates["labels_agree"].astype(bool)).sum()),
        },
    }


def summary_text(summary: Mapping[str, Any]) -> str:
    """A summary for the terminal, of a few lines.

    Args:
        summary: what `summarise` returns.
    """
    classes = ", ".join(f"{name} {counts['faces']:,}" for name, counts in summary["classes"].items())
    pairs = summary["duplicates"]
    lines = [
        f"{summary['photographs']:,} photographs, {summary['faces']:,} faces" + (f": {classes}" if classes else ""),
        f"duplicates: {pairs['exact']} exact and {pairs['near']} near pairs, "
        f"{pairs['labels_disagree']} with labels that disagree",
        "findings: " + ", ".join(f"{count} {severity}" for severity, count in summary["findings"].items()),
    ]
    width = max((len(check) for check in summary["checks"]), default=0)
    lines += [
        f"  {facts['severity']:<8}{check:<{width}}  {facts['count']:>5}  {facts['action']}"
        for check, facts in summary["checks"].items()
    ]
    return "\n".join(lines)


def write_audit(result: AuditResult, folder: Path) -> list[Path]:
    """Write the audit's tables (Parquet with CSV beside it) and `audit.json`.

    Args:
        result: what `scan_dataset` returned.
        folder: made when missing.

    Returns:
        The files written: `images`, `faces`, `duplicates`, `audit` (the findings) as `.parquet` and
        `.csv`, and `audit.json`, last.

    Raises:
        TableError: a table does not fit its schema.
        OSError: the folder cannot be written; existing files stay whole.
    """
    written = []
    for name, table, schema in (
        ("images", result.images, IMAGES),
        ("faces", result.faces, FACES),
        ("duplicates", result.duplicates, DUPLICATES),
        ("audit", result.findings, FINDINGS),
    ):
        write_table(folder / name, table, schema, csv=True)
        written += [folder / f"{name}.parquet", folder / f"{name}.csv"]
    rows = [{str(key): value for key, value in row.items()} for row in result.findings.to_dict("records")]
    write_json(folder / "audit.json", {"summary": summarise(result), "findings": rows})
    return [*written, folder / "audit.json"]


def terminal_summary(folder: Path) -> str:
    """The text for the terminal of an audit that was written to `folder`.

    Raises:
        OSError: there is none.
        ValueError: `audit.json` is damaged.
    """
    return summary_text(read_json(folder / "audit.json")["summary"])


def _quantiles(values: pd.Series) -> dict[str, float] | None:
    if values.empty:
        return None
    return {name: round(float(np.quantile(values.to_numpy(dtype=float), q)), 3) for name, q in _QUANTILES.items()}
