"""Detectors on whole photographs: one row per box; and boxes named by a classifier of faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from maskbench.config import DetectConfig
from maskbench.data.batch import Batch
from maskbench.data.faces import canvas_size, resize_region, shown_squares
from maskbench.data.photographs import Photographs
from maskbench.inference.predict import predict_logits
from maskbench.models.detecting import DetectSettings, Found, detect_batch, padded_size, view_size
from maskbench.models.execution import Execution
from maskbench.schemas.detection import DETECTIONS
from maskbench.training.checkpoint import execution_of, preprocess_of

Progress = Callable[[int, int], None] | None
#: Photographs whose boxes a classifier sees together; their cut faces are in memory at once.
NAMED_TOGETHER = 16


def settings_of(record: dict[str, Any]) -> DetectSettings:
    """How the detector of a checkpoint is asked."""
    protocol = DetectConfig.model_validate(record["protocol"])
    return DetectSettings(protocol.input_size, protocol.nms_iou, protocol.max_detections)


def detect_photographs(
    model: nn.Module,
    record: dict[str, Any],
    photographs: Photographs,
    rows: NDArray[np.int64],
    progress: Progress = None,
) -> list[Found]:
    """Boxes of many photographs.

    Args:
        model: from `load_detector_checkpoint`; it is placed on its device.
        record: the checkpoint's.
        photographs: to look at.
        rows: (M,) positions of those that are looked at.
        progress: called with photographs done and in all.

    Returns:
        One `Found` per row, in px of the photograph's file.
    """
    execution, settings = execution_of(record), settings_of(record)
    execution.place(model)
    size = DetectConfig.model_validate(record["protocol"]).eval_batch_size
    views = [padded_size(*view_size(height, width, settings.input_size)) for height, width in photographs.sizes[rows]]
    order = sorted(range(len(rows)), key=lambda place: views[place])  # alike ones share a batch
    found: dict[int, Found] = {}
    for start in range(0, len(order), size):
        part = order[start : start + size]
        images = [photographs.image(int(rows[place])) for place in part]
        for place, answer in zip(part, detect_batch(model, images, settings, execution), strict=True):
            scale = photographs.scales[rows[place]]
            found[int(place)] = replace(answer, boxes=(answer.boxes / scale).astype(np.float32))
        if progress:
            progress(len(found), len(order))
    return [found[place] for place in range(len(rows))]


def name_boxes(
    model: nn.Module,
    record: dict[str, Any],
    photographs: Photographs,
    rows: NDArray[np.int64],
    found: Sequence[Found],
    progress: Progress = None,
    *,
    min_score: float = 0.0,
) -> list[Found]:
    """The detector's answers with the classes that a classifier of faces gives them.

    A box stands once for each class, with the detector's score times the probability of the class: the chance of a face
    of that class. The answer is the most probable one.

    Args:
        model: from `load_checkpoint`; it is placed on its device.
        record: the checkpoint's.
        photographs: that the boxes lie in.
        rows: (M,) their positions.
        found: boxes of each.
        progress: called with (done, total) photographs.
        min_score: rows below are dropped, as a detector drops its own below `detect.score_threshold`.
    """
    execution, preprocess = execution_of(record), preprocess_of(record)
    execution.place(model)
    named: list[Found] = []
    for start in range(0, len(rows), NAMED_TOGETHER):
        part = [one.answered() for one in found[start : start + NAMED_TOGETHER]]
        probs = _probabilities(
            model, record, photographs, rows[start : start + NAMED_TOGETHER], part, execution, preprocess
        )
        ends = np.cumsum([len(one.scores) for one in part])[:-1]
        named += [_renamed(one, own, min_score) for one, own in zip(part, np.split(probs, ends), strict=True)]
        if progress:
            progress(len(named), len(rows))
    return named


def _renamed(found: Found, probs: NDArray[np.float64], min_score: float) -> Found:
    """(N,) boxes and (N, K) probabilities to at most N × K rows, by falling score."""
    count, K = probs.shape
    scores = (found.scores[:, None] * probs).astype(np.float32).ravel()
    answers = np.zeros((count, K), dtype=bool)
    answers[np.arange(count), probs.argmax(axis=1)] = True
    every = Found(np.repeat(found.boxes, K, axis=0), np.tile(np.arange(K), count), scores, answers.ravel())
    order = np.argsort(-scores, kind="stable")
    return every.at(order[scores[order] >= min_score])


def _probabilities(
    model: nn.Module, record: dict[str, Any], photographs: Photographs, rows: NDArray[np.int64],
    found: Sequence[Found], execution: Execution, preprocess: Any,
) -> NDArray[np.float64]:  # fmt: skip
    """(B, K) of all boxes, one photograph after the other; cut and resized as the study's faces are."""
    margin, size = float(record["preprocess"]["margin"]), int(record["preprocess"]["input_size"])
    side, batch_size = canvas_size(size), int(record["evaluate"]["batch_size"])
    parts: list[NDArray[np.uint8]] = []
    for row, one in zip(rows, found, strict=True):
        boxes = one.boxes.astype(float) * photographs.scales[row]
        image = photographs.image(int(row))
        parts += [resize_region(image, square, side) for square in shown_squares(boxes, margin, size)]
    if not parts:
        return np.empty((0, len(record["classes"])))
    canvases = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)
    nothing = torch.zeros(len(parts), dtype=torch.int64)
    starts = range(0, len(parts), batch_size)
    batches = [
        Batch(canvases[s : s + batch_size], nothing[s : s + batch_size], nothing[s : s + batch_size]) for s in starts
    ]
    logits = predict_logits(
        model, batches, preprocess, execution, flip_average=record["evaluate"]["flip_average"]
    )  # fmt: skip
    return np.exp(logits.log_probs())


def detections_table(
    found: Sequence[Found],
    image_ids: Sequence[str],
    classes: Sequence[str],
    *,
    arm: str,
    seed: int,
    split: str,
    pipeline: str,
) -> pd.DataFrame:
    """`schemas.detection.DETECTIONS` of one system on one side.

    Args:
        found: boxes of each photograph, by falling score.
        image_ids: of the photographs.
        classes: class order of the labels.
        arm: name of the arm.
        seed: number of the run.
        split: the side.
        pipeline: `detector` or `two-stage`.
    """
    counts = [len(one.scores) for one in found]
    boxes = np.concatenate([np.empty((0, 4)), *(one.boxes for one in found)])
    names = np.asarray(classes, dtype=object)
    labels = np.concatenate([np.empty(0, np.int64), *(one.labels for one in found)])
    columns: dict[str, Any] = {
        "arm": arm,
        "seed": seed,
        "split": split,
        "pipeline": pipeline,
        "image_id": np.repeat(np.asarray(image_ids, dtype=object), counts),
        "rank": np.concatenate([np.empty(0, np.int64), *(np.arange(1, count + 1) for count in counts)]),
        "label": names[labels],
        "score": np.concatenate([np.empty(0), *(one.scores.astype(float) for one in found)]),
        "answer": np.concatenate([np.empty(0, np.bool_), *(one.answers for one in found)]),
        **{name: boxes[:, place] for place, name in enumerate(("xmin", "ymin", "xmax", "ymax"))},
    }
    table = pd.DataFrame(columns, columns=list(DETECTIONS.columns))
    return table.astype(dict.fromkeys(("arm", "split", "pipeline", "image_id", "label"), "str"))
