"""Whole photographs per second: PyTorch eager, ONNX Runtime, OpenVINO, as ratios in the same process.

    python benchmarks/detecting.py [--model DETECTOR] [--photographs FOLDER] [--count 16] [--rounds 5]

Everything from the decoded photograph to boxes is counted: resizing, padding, the network, anchors, suppression. What
bounds it: convolutions at stride 4, on 2 cores; eager float32 is the reference.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from maskbench.config import make_config
from maskbench.data.images import decode_rgb
from maskbench.inference.export import export_detector
from maskbench.inference.predictor import MAX_PIXELS, TorchDetector
from maskbench.inference.runtime import SUFFIXES, load_exported
from maskbench.models.detectors import build_detector
from maskbench.models.execution import resolve_execution
from maskbench.training.checkpoint import load_detector_checkpoint

#: Boxes that are compared between systems have at least this score in eager float32.
SURE = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a detector's checkpoint; without one: an untrained quick one")
    parser.add_argument("--photographs", type=Path, help="a folder of PNG files; without one: noise of 400 x 300 px")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model, record = load_detector_checkpoint(options.model) if options.model else untrained()
    images = photographs(options.photographs, options.count)
    execution = resolve_execution(make_config("quick").detect, 512).to_dict()
    plain = {"device": execution["device"], "precision": "fp32", "memory_format": "contiguous"}
    with tempfile.TemporaryDirectory() as folder:
        systems = {
            "eager fp32": TorchDetector(model, record | {"execution": plain}),
            f"eager {execution['precision']}": TorchDetector(model, record | {"execution": execution}),
        }
        for form in ("onnx", "openvino"):
            path = Path(folder) / f"net{SUFFIXES[form]}"
            print(f"{form}: largest difference {export_detector(model.cpu(), record, path, form):.1e}")
            systems[form] = TorchDetector(*load_exported(path))
        compare(systems, images, options.rounds)
        agree(systems, images)


def untrained() -> tuple[torch.nn.Module, dict[str, Any]]:
    """The detector of the quick preset, before training."""
    config = make_config("quick")
    mean, std = config.faces.mean, config.faces.std
    model, _ = build_detector("manual", 3, config.detect, mean=mean, std=std, seed=0, loaded=None)
    record = {
        "protocol": config.detect.model_dump(mode="json"),
        "classes": ["a", "b", "c"],
        "preprocess": {"mean": list(mean), "std": list(std)},
    }
    return model.eval(), record


def photographs(folder: Path | None, count: int) -> list[NDArray[np.uint8]]:
    """Decoded photographs."""
    if folder is None:
        return list(np.random.default_rng(0).integers(0, 255, (count, 300, 400, 3)).astype(np.uint8))
    return [decode_rgb(path, MAX_PIXELS) for path in sorted(folder.glob("*.png"))[:count]]


def compare(systems: dict[str, TorchDetector], images: list[NDArray[np.uint8]], rounds: int) -> None:
    """One photograph at a time, and all together; rounds take turns."""
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for name, system in systems.items():
            for way, parts in (("one by one", [[image] for image in images]), ("together", [images])):
                started = time.perf_counter()
                for part in parts:
                    system.detect(part)
                if number:  # the first round warms up
                    rates.setdefault((name, way), []).append(len(images) / (time.perf_counter() - started))
    print(f"{len(images)} photographs, {torch.get_num_threads()} threads")
    for (name, way), found in rates.items():
        ratios = [one / other for one, other in zip(found, rates[("eager fp32", way)], strict=True)]
        print(f"{name:12} {way:11} {statistics.median(found):6.1f} photographs/s   {statistics.median(ratios):5.2f} x"
              f" eager fp32 ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


def agree(systems: dict[str, TorchDetector], images: list[NDArray[np.uint8]]) -> None:
    """How far the boxes that each system is surest of are those of eager float32, whatever it computes in."""
    exact = systems["eager fp32"].detect(images)
    for name, system in systems.items():
        same, overlaps, shifts = 0, list[float](), list[float]()
        for reference, found in zip(exact, system.detect(images), strict=True):
            sure = np.flatnonzero(reference.scores >= SURE)
            iou = box_iou(torch.tensor(reference.boxes[sure]), torch.tensor(found.boxes)).numpy()
            iou[np.array(reference.labels)[sure][:, None] != np.array(found.labels)[None, :]] = 0.0
            for row, face in enumerate(sure):
                place = int(iou[row].argmax()) if iou.shape[1] else -1
                if place >= 0 and iou[row, place] >= 0.5:
                    same += 1
                    overlaps.append(float(iou[row, place]))
                    shifts.append(abs(float(found.scores[place] - reference.scores[face])))
        count = sum(int((part.scores >= SURE).sum()) for part in exact)
        print(f"{name:12} {same} of {count} boxes that eager fp32 scores {SURE} or more; IoU: median"
              f" {np.median(overlaps):.3f}, 5 % below {np.quantile(overlaps, 0.05):.3f}; score differs by"
              f" {np.median(shifts):.3f}, 5 % by more than {np.quantile(shifts, 0.95):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
