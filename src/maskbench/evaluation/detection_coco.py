"""The figures of detection by COCO's own rules, through an evaluator that is not ours (`faster_coco_eval`).

Headline figures come from here; `detection_weighted` computes the same for weighted photographs, and tests hold both
against each other and against pycocotools.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from faster_coco_eval import COCO, COCOeval_faster

from maskbench.evaluation.detection_boxes import Detected, Floats
from maskbench.evaluation.detection_matching import BANDS, COCO_IOUS
from maskbench.evaluation.detection_weighted import METRICS, RECALLS, metric_names

#: For each metric: the evaluator's array, and which of `COCO_IOUS` are averaged.
_READS = {
    "ap": ("precision", slice(None)),
    "ap50": ("precision", slice(0, 1)),
    "ap75": ("precision", slice(5, 6)),
    "ar_max": ("recall", slice(None)),
    "ar50": ("recall", slice(0, 1)),
    "ar75": ("recall", slice(5, 6)),
}


def coco_metrics(detected: Detected) -> pd.DataFrame:
    """Average precision and recall as `faster_coco_eval` computes them.

    Args:
        detected: faces and boxes; `max_detections` takes the place of COCO's 100.

    Returns:
        Columns `metric`, `class_name`, `band`, `value` (in [0, 1]; NaN without a face of that class and band), in the
        order of `detection_weighted.metric_names`.

    Source:
        Lin et al., Microsoft COCO, ECCV 2014; `COCOeval_faster`, a port of pycocotools.
    """
    by_class = _evaluated(detected, each_class=True)
    any_face = _evaluated(detected, each_class=False)
    values = []
    for name in range(len(detected.classes) + 2):
        for band in range(len(BANDS)):
            source = any_face if name > len(detected.classes) else by_class
            one = slice(None) if name == 0 else slice(name - 1, name) if source is by_class else slice(0, 1)
            values += [_mean(source[side][ious, ..., one, band, 0]) for side, ious in (_READS[m] for m in METRICS)]
    names = pd.DataFrame(metric_names(detected.classes), columns=["metric", "class_name", "band"])
    return names.assign(value=np.array(values, dtype=np.float64))


def _mean(values: Floats) -> float:
    """The mean of what is defined: COCO writes -1 where there are no faces."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


def _evaluated(detected: Detected, *, each_class: bool) -> dict[str, Floats]:
    """`precision` (T, 101, K, B, 1) and `recall` (T, K, B, 1), -1 where undefined; one class if they do not matter."""
    detected = detected if each_class else detected.answered()
    names = detected.classes if each_class else ("",)
    faces = _annotations(detected.face_boxes, detected.face_images, detected.face_classes * each_class)
    found = _annotations(detected.boxes, detected.box_images, detected.box_classes * each_class)
    for annotation, score in zip(found, detected.scores, strict=True):
        annotation["score"] = float(score)
    truth, boxes = (_coco(annotations, len(detected.image_ids), names) for annotations in (faces, found))
    evaluation = COCOeval_faster(truth, boxes, "bbox", ranges={band: list(BANDS[band]) for band in list(BANDS)[1:]})
    evaluation.params.iouThrs, evaluation.params.recThrs = COCO_IOUS, RECALLS
    evaluation.params.maxDets = [detected.max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    return {side: np.asarray(evaluation.eval[side], dtype=np.float64) for side in ("precision", "recall")}


def _annotations(boxes: Floats, images: np.ndarray, classes: np.ndarray) -> list[dict[str, Any]]:
    """COCO's annotations; its numbers count from 1 (0 reads as "not matched")."""
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes_xywh = np.concatenate([boxes[:, :2], sides], axis=1).tolist()
    areas = (sides[:, 0] * sides[:, 1]).tolist()
    return [
        {
            "id": number + 1,
            "image_id": int(images[number]) + 1,
            "category_id": int(classes[number]) + 1,
            "bbox": boxes_xywh[number],
            "area": areas[number],
            "iscrowd": 0,
        }
        for number in range(len(boxes))
    ]


def _coco(annotations: list[dict[str, Any]], images: int, names: tuple[str, ...]) -> COCO:
    result = COCO()
    result.dataset = {
        "images": [{"id": number + 1} for number in range(images)],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(names)],
        "annotations": annotations,
    }
    result.createIndex()
    return result
