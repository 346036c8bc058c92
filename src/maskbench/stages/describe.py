"""The stages that describe a dataset: audit, eda, split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from maskbench import schemas
from maskbench.rundir import RunError
from maskbench.schemas import write_table
from maskbench.stages.context import Context, dataset_root, face_crops, kept_pixels
from maskbench.storage import write_json


def audit(context: Context) -> list[Path]:
    """Check the dataset, and decide the class order; what later stages need of the pixels is kept on the way."""
    from maskbench.audit.scan import scan_dataset
    from maskbench.audit.summary import write_audit

    config, folder = context.config, context.folders.stage("audit")
    with kept_pixels(context) as keepers:
        result = scan_dataset(
            dataset_root(context),
            config.audit,
            config.data.label_map,
            config.data.classes,
            progress=context.progress("audit"),
            keepers=keepers,
        )
        if not result.has_errors:
            for keeper in keepers:
                keeper.keep(result.images, result.faces)
    written = write_audit(result, folder)
    if result.has_errors:
        errors = result.findings[result.findings["severity"] == "error"]
        raise AuditFailedError("; ".join(errors["detail"]), folder / "audit.csv")
    classes = list(config.data.classes) or sorted(result.faces["label"].unique())
    write_json(folder / "classes.json", classes)
    return [*written, folder / "classes.json"]


class AuditFailedError(Exception):
    """The dataset has an error that stops a study.

    Attributes:
        table: the findings.
    """

    def __init__(self, message: str, table: Path) -> None:
        super().__init__(message)
        self.table = table


def eda(context: Context) -> list[Path]:
    """Describe the dataset: tables and figures."""
    from maskbench.eda.compute import compute_eda, write_eda
    from maskbench.report.sections import draw_eda

    folder, classes = context.folders.stage("eda"), context.classes()
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    tables = compute_eda(
        images, faces, classes, context.config.eda, seed=context.config.split.seed,
        progress=context.progress("tables"),
    )  # fmt: skip
    written: list[Path] = write_eda(tables, folder)
    crops = face_crops(context, images, faces)
    position = {face_id: index for index, face_id in enumerate(crops.face_ids)}
    written += draw_eda(
        context.folders.results,
        context.folders.plots,
        classes,
        lambda face_id: crops.crop(position[face_id]),
        dpi=context.config.report.dpi,
        progress=context.progress("figures"),
    )
    return written


def _numbered(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the study's splits, stacked."""
    return pd.concat([table.assign(split_id=number) for number, table in enumerate(tables)], ignore_index=True)


def split(context: Context) -> list[Path]:
    """Divide the faces, and measure what the sides share."""
    from maskbench.splits.grouped import split_faces, split_proportions
    from maskbench.splits.leakage import is_leak_free, measure_leakage
    from maskbench.storage import atomic_path

    folder, config = context.folders.stage("split"), context.config.split
    faces = context.table("audit", "faces", schemas.FACES)
    duplicates = context.table("audit", "duplicates", schemas.DUPLICATES)
    splits = [split_faces(faces, duplicates, config, number) for number in range(context.config.seeds.splits())]
    if config.strategy != "random" and not all(map(is_leak_free, splits)):
        raise RunError("split: a group of photographs sits on two sides; this is a defect of maskbench, please report")
    write_table(folder / "split.parquet", pd.concat(splits, ignore_index=True), schemas.SPLIT, csv=True)
    small = {
        "proportions.csv": _numbered([split_proportions(table, context.classes()) for table in splits]),
        "leakage.csv": _numbered([measure_leakage(table) for table in splits]),
    }
    for name, frame in small.items():
        with atomic_path(folder / name) as temporary:
            frame.to_csv(temporary, index=False)
    if config.strategy == "random":
        context.notify(
            "split.strategy is random: faces of one photograph sit on several sides; figures will be too good"
        )
    return [folder / "split.parquet", folder / "split.csv", *(folder / name for name in small)]
