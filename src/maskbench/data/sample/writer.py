"""Writes the sample: photographs drawn in parallel, annotations and truths, whole or not at all."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET  # writing only; reading goes through defusedxml
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from maskbench.data.sample.compose import Face, compose
from maskbench.data.sample.params import GENERATOR_VERSION, SAMPLE_CLASSES, SampleParams
from maskbench.data.sample.plan import PhotoPlan, plan_sample
from maskbench.data.sample.png import encode_png
from maskbench.storage import umask

#: Below this many photographs, starting processes takes longer than drawing.
_INLINE_IMAGES = 12


def generate_sample(
    directory: Path,
    params: SampleParams = SampleParams(),  # noqa: B008 - frozen, so sharing it is safe
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw the sample into `directory`: `images/`, `annotations/`, attributes, masks, parameters.

    Everything is written into a temporary directory beside `directory` and renamed at the end. The
    bytes depend on `params` alone, not on the number of workers. Processes are spawned, so a script
    that calls this needs the usual `if __name__ == "__main__":` guard, or `workers=1`.

    Args:
        directory: where to; must not exist or be empty.
        params: what to draw.
        workers: processes; None: as many as CPUs for larger samples, 1: this process alone.
        progress: called with (photographs done, photographs in all) after each one.

    Raises:
        FileExistsError: `directory` exists and is not an empty directory.
        ValueError: `workers` is below 1.
        OSError: it cannot be written; nothing is left behind.
    """
    directory = Path(directory)
    if workers is not None and workers < 1:
        raise ValueError(f"workers: at least 1 is needed, not {workers}")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory}: exists and is not an empty directory; the sample needs a new one")
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        _write_all(temporary, params, workers, progress)
        temporary.chmod(0o777 & ~umask())  # mkdtemp makes private directories
        if directory.exists():
            directory.rmdir()
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_all(
    folder: Path, params: SampleParams, workers: int | None, progress: Callable[[int, int], None] | None
) -> None:
    plans = plan_sample(params)
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    drawn: dict[int, list[Face]] = {}
    for index, faces in _draw(folder, params, plans, workers):
        drawn[index] = faces
        if progress is not None:
            progress(len(drawn), len(plans))
    rows: list[dict[str, Any]] = []
    polygons: dict[str, list[list[float]]] = {}
    for plan in plans:
        for k, face in enumerate(drawn[plan.index]):
            face_id = f"{plan.image_id}#{k:03d}"
            rows.append({"image_id": plan.image_id, "face_id": face_id, **face.attributes})
            polygons[face_id] = face.mask_polygon
    with (folder / "attributes.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    lines = ",\n".join(f"{json.dumps(face_id)}: {json.dumps(polygon)}" for face_id, polygon in polygons.items())
    (folder / "masks.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    labels = [row["label"] for row in rows]
    record = {
        "generator": "maskbench.data.sample",
        "generator_version": GENERATOR_VERSION,
        "images": len(plans),
        "faces": len(rows),
        "faces_per_class": {name: labels.count(name) for name in SAMPLE_CLASSES},
        "parameters": params.model_dump(mode="json"),
    }
    (folder / "sample.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _draw(
    folder: Path, params: SampleParams, plans: list[PhotoPlan], workers: int | None
) -> Iterator[tuple[int, list[Face]]]:
    """Draw and write every photograph; yields its index and faces, in any order."""
    if workers is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = 1 if len(plans) <= _INLINE_IMAGES else min(cpus, 16)
    workers = min(workers, len(plans))
    if workers == 1:
        for plan in plans:
            yield _write_photo(folder, params, plan)
        return
    # spawn: threads of the caller (PyTorch, say) must not be forked
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        # the slowest, with many or large faces, first: no worker is left with one at the end
        by_cost = sorted(plans, key=lambda plan: -sum(400 + side**2 for side in plan.sides))
        futures = [pool.submit(_write_photo, folder, params, plan) for plan in by_cost]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _write_photo(folder: Path, params: SampleParams, plan: PhotoPlan) -> tuple[int, list[Face]]:
    photo = compose(params, plan)
    (folder / "images" / f"{plan.image_id}.png").write_bytes(encode_png(photo.pixels))
    (folder / "annotations" / f"{plan.image_id}.xml").write_bytes(_annotation(plan, photo.faces))
    return plan.index, photo.faces


def _annotation(plan: PhotoPlan, faces: list[Face]) -> bytes:
    """Pascal VOC, in the style of the real data."""
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "images"
    ET.SubElement(root, "filename").text = f"{plan.image_id}.png"
    size = ET.SubElement(root, "size")
    for name, value in zip(("width", "height", "depth"), (*plan.size, 3), strict=True):
        ET.SubElement(size, name).text = str(value)
    ET.SubElement(root, "segmented").text = "0"
    for face in faces:
        item = ET.SubElement(root, "object")
        fields = {
            "name": face.attributes["label"],
            "pose": "Unspecified",
            "truncated": str(int(face.truncated)),
            "occluded": str(int(face.attributes["occlusion_fraction"] > 0.1)),
            "difficult": "0",
        }
        for name, text in fields.items():
            ET.SubElement(item, name).text = text
        box = ET.SubElement(item, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), face.box, strict=True):
            ET.SubElement(box, name).text = str(value)
    ET.indent(root, space="    ")
    return str(ET.tostring(root, encoding="unicode")).encode() + b"\n"
