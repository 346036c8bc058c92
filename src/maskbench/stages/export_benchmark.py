"""All formats of one classifier side by side: speed, size, and how far each is from PyTorch in float32."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from maskbench.inference.export import ExportError
from maskbench.inference.runtime import SUFFIXES, Format, RuntimeMissingError
from maskbench.inference.runtime_classifier import ExportedClassifier
from maskbench.models.forward import evaluation_logits
from maskbench.stages import export_data as data
from maskbench.stages.export_files import Wish, export_file, faces_for, macro_f1, plan_answers, probabilities
from maskbench.training.checkpoint import CLASSIFIER, execution_of, load_checkpoint, preprocess_of

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
REFERENCE = "PyTorch eager fp32"
#: Faces that are answered together when speed is measured.
BATCHES = (1, 32)
#: A system answers for at least this long in a round, s.
_SECONDS = 0.15
_NOISE = 64
_NAMES: dict[Format, str] = {"onnx": "ONNX Runtime", "openvino": "OpenVINO", "torch-export": "torch.export"}


@dataclass(frozen=True)
class System:
    """One way to compute the same answers.

    Attributes:
        name: in the table.
        answer: faces to probabilities.
        megabytes: of its file.
    """

    name: str
    answer: Answer
    megabytes: float


def benchmark(
    checkpoint: Path,
    folder: Path | None,
    notify: data.Notify,
    progress: data.Progress,
    *,
    rounds: int = 7,
    threads: int = 0,
) -> pd.DataFrame:
    """Export a classifier in every format and measure all of them in this process, in rounds that take turns.

    Args:
        checkpoint: of a classifier.
        folder: dataset, if the checkpoint lies in no run.
        notify: told what is left out, and why.
        progress: shows the work.
        rounds: that are counted, after one to warm up.
        threads: of every system; 0: as many as PyTorch uses.

    Returns:
        A row per system, the reference first: `system`, `megabytes`; `faces_per_s_B` (median over the rounds) and
        `ratio_B` (median over the rounds of this system's faces/s by the reference's) with `ratio_B_low` and
        `ratio_B_high` for batches of B faces; `largest_difference` of the probabilities from the reference's;
        `f1_macro` on validation faces (None without data) and `f1_macro_loss` against the reference.

    Raises:
        CheckpointError: not a classifier.
    """
    model, record = load_checkpoint(checkpoint)
    context = data.run_of(checkpoint, CLASSIFIER, notify, progress)
    faces = None
    if context is not None or folder is not None:
        faces = faces_for(checkpoint, record, context, folder, progress)
    else:
        notify(f"{checkpoint}: lies in no run and there is no --data: no int8, no macro-F1, speed on noise")
    with TemporaryDirectory(prefix="maskbench-") as place, _threads(threads) as used:
        systems = _in_pytorch(model, record, checkpoint.stat().st_size / 1e6)
        for form in SUFFIXES:
            for int8 in (False, True) if faces is not None else (False,):
                wish = Wish(form, int8, Path(place) / f"{form}-{int8}{SUFFIXES[form]}", folder)
                systems += _exported(checkpoint, wish, used, notify, progress)
        shown = faces.views if faces is not None else _noise(record)
        answers = {system.name: probabilities(system.answer, shown) for system in systems}
        rates = _rates(systems, shown, rounds, progress("rounds"))
    return _table(systems, rates, answers, faces.targets if faces is not None else None)


@contextmanager
def _threads(count: int) -> Iterator[int]:
    """PyTorch's threads set for a while; yields how many every system gets."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield count or before
    finally:
        torch.set_num_threads(before)


def _noise(record: dict[str, Any]) -> NDArray[np.uint8]:
    size = record["preprocess"]["input_size"]
    return np.random.default_rng(0).integers(0, 256, (_NOISE, size, size, 3)).astype(np.uint8)


def _in_pytorch(model: torch.nn.Module, record: dict[str, Any], megabytes: float) -> list[System]:
    """The reference, and the model as the study computes it if that is another way."""
    from maskbench.inference.export_graphs import classifier_plan

    systems = [System(REFERENCE, plan_answers(classifier_plan(model, record)), megabytes)]
    execution, preprocess = execution_of(record), preprocess_of(record)
    if (execution.device, execution.precision) != ("cpu", "bf16"):
        return systems

    def answer(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        canvases = torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous()
        logits = evaluation_logits(
            model, canvases, preprocess, execution, flip_average=record["evaluate"]["flip_average"]
        )
        return np.asarray(logits.softmax(dim=1).numpy())

    return [*systems, System("PyTorch eager bf16", answer, megabytes)]


def _exported(checkpoint: Path, wish: Wish, threads: int, notify: data.Notify, progress: data.Progress) -> list[System]:
    """A file of this format; OpenVINO's in float32 also as it comes, where it takes bfloat16."""
    try:
        path = export_file(checkpoint, CLASSIFIER, wish, notify, progress).path
    except (ExportError, RuntimeMissingError) as error:
        notify(f"left out: {error}")
        return []
    size = sum(part.stat().st_size for part in (path, path.with_suffix(".bin")) if part.is_file()) / 1e6
    name = f"{_NAMES[wish.form]} {'int8' if wish.int8 else 'fp32'}"
    # What is measured is what `ExportedClassifier` gives: int8 as it comes, fp32 in float32.
    systems = [System(name, ExportedClassifier(path, exact=not wish.int8, threads=threads), size)]
    if wish.form == "openvino" and not wish.int8:
        systems.append(System(f"{name}, computed as it chooses", ExportedClassifier(path, threads=threads), size))
    return systems


def _rates(
    systems: list[System], faces: NDArray[np.uint8], rounds: int, progress: Callable[[int, int], None] | None
) -> dict[tuple[str, int], list[float]]:
    """Faces/s of every system and size of batch, by round; within a round the systems take turns."""
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds + 1):
        for size in BATCHES:
            batch = np.ascontiguousarray(faces[np.arange(size) % len(faces)])
            for system in systems:
                count, started = 0, time.perf_counter()
                while (spent := time.perf_counter() - started) < _SECONDS or not count:
                    system.answer(batch)
                    count += size
                if number:  # the first round warms up
                    rates.setdefault((system.name, size), []).append(count / spent)
        if progress:
            progress(number + 1, rounds + 1)
    return rates


def _table(
    systems: list[System], rates: dict[tuple[str, int], list[float]], answers: dict[str, NDArray[np.float32]],
    targets: NDArray[np.int64] | None,
) -> pd.DataFrame:  # fmt: skip
    rows = []
    for system in systems:
        row: dict[str, Any] = {"system": system.name, "megabytes": round(system.megabytes, 1)}
        for size in BATCHES:
            own, reference = rates[(system.name, size)], rates[(REFERENCE, size)]
            ratios = [one / other for one, other in zip(own, reference, strict=True)]
            row |= {
                f"faces_per_s_{size}": statistics.median(own), f"ratio_{size}": statistics.median(ratios),
                f"ratio_{size}_low": min(ratios), f"ratio_{size}_high": max(ratios),
            }  # fmt: skip
        row["largest_difference"] = float(np.abs(answers[system.name] - answers[REFERENCE]).max())
        row["f1_macro"] = row["f1_macro_loss"] = None
        if targets is not None:
            row["f1_macro"] = macro_f1(answers[system.name], targets)
            row["f1_macro_loss"] = macro_f1(answers[REFERENCE], targets) - row["f1_macro"]
        rows.append(row)
    return pd.DataFrame(rows)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table for JSON; what is not known is None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows


def shown(table: pd.DataFrame) -> str:
    """The table as text for a terminal."""
    head = ["", "MB", *(f"faces/s, {size} at a time" for size in BATCHES), "difference", "macro-F1", "loss"]
    lines = [head]
    for row in table.to_dict("records"):
        speeds = [
            f"{row[f'faces_per_s_{size}']:.1f} ({row[f'ratio_{size}']:.2f} x, {row[f'ratio_{size}_low']:.2f} to "
            f"{row[f'ratio_{size}_high']:.2f})"
            for size in BATCHES
        ]
        known = not pd.isna(row["f1_macro"])
        quality = [f"{row['f1_macro']:.4f}", f"{row['f1_macro_loss']:+.4f}"] if known else ["–", "–"]
        lines.append([row["system"], f"{row['megabytes']:.1f}", *speeds, f"{row['largest_difference']:.1e}", *quality])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) if place == 0 else text.rjust(width)
                  for place, (text, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip
