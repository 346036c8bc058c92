"""Models as files for other runtimes, checked against PyTorch before they appear.

A classifier's graph takes cut faces, uint8 RGB (B, S, S, 3) as decoders of pictures give them, in batches of any size,
and answers `probs` and `logits` (B, K): scaling, normalisation, the mean over a face and its mirror image (if the study
takes it) and softmax lie inside. Cutting and resizing stay with the caller: antialiased resizing differs between
runtimes, so equality could not be promised. `export_facts` says in every file how the study does it.

A detector's graph takes float32 RGB (B, 3, H, W) in 0…1, sides multiples of 32 px, padding in the mean colour;
normalisation lies inside. It gives the raw answers of torchvision's head (FCOS: class logits (B, A, K), distances
(B, A, 4), centredness (B, A, 1)); `inference.runtime` settles the boxes.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from maskbench.inference.export_facts import facts_of
from maskbench.inference.export_graphs import Plan, classifier_plan, detector_plan
from maskbench.inference.runtime import SUFFIXES, Format, attach_facts, load_network, package, to_openvino

#: Answers of an exported graph may differ from PyTorch's by this much, in units of logits and strides.
TOLERANCE = 1e-3
_OPSET = 20


class ExportError(ValueError):
    """A graph that does not compute what the model does."""


def export_classifier(
    model: nn.Module,
    record: dict[str, Any],
    path: Path,
    form: Format = "onnx",
    *,
    faces: NDArray[np.uint8] | None = None,
    sha256: str = "",
) -> float:
    """Write a classifier for another runtime, after comparing what the file computes with PyTorch.

    Args:
        model: from `load_checkpoint`, on the CPU.
        record: the checkpoint's; it travels inside the file.
        path: to write; OpenVINO's weights lie beside it as `.bin`.
        form: of the file; its extension is fixed by `runtime.SUFFIXES`.
        faces: uint8 (N, S, S, 3), real ones to compare with, beside noise and drawn ones.
        sha256: of the checkpoint's file, kept as a fact.

    Returns:
        The largest difference between the file's answers and PyTorch's, both computed in float32.

    Raises:
        ExportError: the difference exceeds `TOLERANCE`; nothing is written.
        RuntimeMissingError: a package that the format needs is not installed.
        ValueError: the extension is not the format's.
    """
    return export_plan(classifier_plan(model, record, faces), record, path, form, sha256=sha256)


def export_detector(
    model: nn.Module, record: dict[str, Any], path: Path, form: Format = "onnx", *, sha256: str = ""
) -> float:
    """Write a detector for another runtime: see `export_classifier`.

    Args:
        model: from `load_detector_checkpoint`, on the CPU.
        record: the checkpoint's.
        path: to write.
        form: of the file.
        sha256: of the checkpoint's file.
    """
    return export_plan(detector_plan(model), record, path, form, sha256=sha256)


def export_plan(plan: Plan, record: dict[str, Any], path: Path, form: Format, *, sha256: str) -> float:
    """Write what `plan` describes, if it computes the same: see `export_classifier`."""
    check_suffix(path, form)
    facts = facts_of(record, plan.kind, form, "fp32", sha256)
    with published(path) as written:
        if form == "torch-export":
            _to_torch(plan, written, facts)
        else:
            exchange = written.with_suffix(SUFFIXES["onnx"])
            to_onnx(plan, exchange)
            if form == "openvino":
                to_openvino(exchange, written)
            attach_facts(written, facts)
        return check_difference(plan, written, path)


def check_suffix(path: Path, form: Format) -> None:
    """Refuse a file that its format does not allow.

    Raises:
        ValueError: the extension is another's.
    """
    if path.suffix != SUFFIXES[form]:
        raise ValueError(f"{path}: a file for {form} ends in {SUFFIXES[form]}")


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Yield a path in a folder of its own; on success the file, and OpenVINO's `.bin`, move to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        yield written
        # The description last: it is what is opened.
        for part in (written.with_suffix(".bin"), written):
            if part.is_file():
                with part.open("r+b") as file:
                    os.fsync(file.fileno())
                part.replace(path.with_suffix(part.suffix))


def check_difference(plan: Plan, written: Path, path: Path) -> float:
    """The largest difference of a file's answers from PyTorch's.

    Raises:
        ExportError: it exceeds `TOLERANCE`; `path` is what the message names.
    """
    difference = largest_difference(plan, written)
    if not difference <= TOLERANCE:
        raise ExportError(f"{path}: its answers differ from PyTorch's by {difference:.2g}; nothing was written")
    return difference


def largest_difference(plan: Plan, path: Path, *, exact: bool = True) -> float:
    """Between the answers of a file and of PyTorch in float32, over all inputs of the plan.

    Args:
        plan: what the file computes.
        path: of the file.
        exact: the file's in float32 too; otherwise as its runtime computes on this machine.
    """
    network, worst = load_network(path, exact=exact), 0.0
    for batch in plan.checks:
        answers = network(batch)
        for name, values in plan.expected(batch).items():
            gaps = np.abs(values - answers[name])
            # NaN compares with nothing, so it may not get lost in a maximum.
            worst = float("nan") if np.isnan(gaps).any() else max(worst, float(gaps.max()))
    return worst


def to_onnx(plan: Plan, path: Path) -> None:
    """Write the plan's graph as an ONNX file without facts.

    Raises:
        RuntimeMissingError: a package is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        package(name)
    with quiet(), torch.inference_mode():
        names = list(plan.graph(plan.example))
        torch.onnx.export(
            plan.graph, (plan.example,), str(path), input_names=[plan.input_name], output_names=names,
            dynamic_shapes=(plan.dynamic,), opset_version=_OPSET, external_data=False, dynamo=True,
        )  # fmt: skip


def _to_torch(plan: Plan, path: Path, facts: Mapping[str, str]) -> None:
    with quiet(), torch.no_grad():
        program = torch.export.export(plan.graph, (plan.example,), dynamic_shapes=(plan.dynamic,))
        torch.export.save(program, str(path), extra_files=dict(facts))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress of exporters and their warnings about packages of other people's."""
    loggers = [logging.getLogger(name) for name in (None, "torch.onnx", "onnxscript", "onnx_ir", "nncf")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
