"""Audit, split and EDA's tables at several sizes of a dataset: time and peak memory, each in a fresh process.

    python benchmarks/scale.py [--sizes 2000 10000 100000] [--side 32]

Draws tiny photographs (noise of 8 x 8 px, enlarged), every hundredth nearly a copy of another, with one to three faces.
Sides of 32 px keep 100,000 of them within minutes; what could grow with their number is the same as with large ones:
tables, hashes compared, results that wait for their turn. Drawing is not counted. Linear is a constant time per
photograph; flat is a peak that grows by a table's rows only: about a kilobyte per photograph.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLASSES = ("with_mask", "without_mask", "worn_wrong")
#: Every so many photographs one is nearly a copy of the one before.
COPY_EVERY = 100


def draw(folder: Path, count: int, side: int) -> None:
    """A dataset of `count` photographs of `side` x `side` px."""
    import numpy as np
    from PIL import Image

    for name in ("images", "annotations"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    picture = None
    for index in range(count):
        stem = f"{index:07d}"
        if picture is None or index % COPY_EVERY:
            noise = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            picture = noise.resize((side, side), Image.Resampling.BICUBIC)
        else:  # a little brighter
            picture = picture.point(lambda level: min(level + 2, 255))
        picture.save(folder / "images" / f"{stem}.png", compress_level=1)
        faces = "".join(face(rng.integers(0, side // 2, 2), side, rng.choice(CLASSES)) for _ in range(1 + index % 3))
        size = f"<size><width>{side}</width><height>{side}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{stem}.png</filename>{size}{faces}</annotation>"
        (folder / "annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")


def face(corner: Any, side: int, label: str) -> str:
    """An object of an annotation."""
    x, y = (int(value) for value in corner)
    ends = {"xmin": x, "ymin": y, "xmax": x + side // 3, "ymax": y + side // 3}
    box = "".join(f"<{name}>{value}</{name}>" for name, value in ends.items())
    return f"<object><name>{label}</name><bndbox>{box}</bndbox></object>"


def measure(root: Path) -> dict[str, float]:
    """Seconds of each part and memory in MB, in this process."""
    from maskbench.audit.scan import scan_dataset
    from maskbench.audit.summary import write_audit
    from maskbench.config import make_config
    from maskbench.data.crops import CropKeeper, cached_faces
    from maskbench.eda.compute import compute_eda, write_eda
    from maskbench.splits.grouped import split_faces
    from maskbench.splits.leakage import is_leak_free

    config = make_config("quick")
    found: dict[str, float] = {"imported MB": peak_mb()}

    def part(name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = call()
        found[f"{name} s"], found[f"{name} MB"] = time.perf_counter() - started, peak_mb()
        return result

    with tempfile.TemporaryDirectory() as name:
        folder, margin = Path(name), config.faces.margin

        def audit() -> Any:
            with CropKeeper(folder, margin) as crops:
                result = scan_dataset(root, config.audit, {}, CLASSES, keepers=[crops])
                crops.keep(result.images, result.faces)
            write_audit(result, folder / "audit")
            return result

        result = part("audit", audit)
        images, faces = result.images, result.faces
        found |= {"photographs": len(images), "faces": len(faces), "duplicates": len(result.duplicates)}
        split = part("split", lambda: split_faces(faces, result.duplicates, config.split))
        assert is_leak_free(split)
        part("EDA", lambda: write_eda(compute_eda(images, faces, CLASSES, config.eda, 0), folder / "eda"))
        limit = config.audit.max_pixels
        part("crops", lambda: cached_faces(folder, root, images, faces, margin, max_pixels=limit).crop(len(faces) - 1))
    return found


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says includes the parent's memory before the child's program began
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Draw, measure in fresh processes, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 10_000])
    parser.add_argument("--side", type=int, default=32, help="of the photographs, px")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    parts = ("audit", "split", "EDA", "crops")
    print(f"{'photographs':>11} {'faces':>8} {'pairs':>6} {'ms each':>8} {'MB before':>9}", end="")
    print("".join(f" {name + ' s':>8} {'peak MB':>8}" for name in parts))
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            draw(Path(name), size, options.side)
            command = [sys.executable, __file__, "--measure", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        each = 1000 * sum(found[f"{name} s"] for name in parts) / size
        print(f"{found['photographs']:11,} {found['faces']:8,} {found['duplicates']:6,}", end="")
        print(f" {each:8.2f} {found['imported MB']:9.0f}", end="")
        print("".join(f" {found[f'{name} s']:8.1f} {found[f'{name} MB']:8.0f}" for name in parts), flush=True)


if __name__ == "__main__":
    main()
