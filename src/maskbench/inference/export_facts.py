"""What an exported file says of itself: its checkpoint's record, and the same in plain texts for other languages."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from maskbench.inference.runtime import RECORD, Format
from maskbench.training.checkpoint import CLASSIFIER

_FACE_INPUT = "faces: uint8 RGB (batch, {size}, {size}, 3), any batch size"
_FACE_OUTPUT = "probs, logits: float32 (batch, {count}), in the order of `classes`"
_CUTTING = (
    "Around the box's centre take a square whose side is (1 + 2 * {margin}) times the box's longer side; beyond the "
    "photograph repeat its edge. Resize it to {size} x {size} px, bilinear with antialiasing (Pillow's BILINEAR, whose "
    "support grows with the scale), and round to uint8. Scaling, normalisation{mirror} and softmax are in the graph."
)
_PHOTOGRAPH_INPUT = (
    "images: float32 RGB (batch, 3, height, width) in 0...1, sides multiples of 32 px, padding in the mean colour"
)
_PHOTOGRAPH_OUTPUT = "the raw answers of torchvision's {detector} head; maskbench detect settles them to boxes"


def facts_of(
    record: dict[str, Any], kind: str, form: Format, precision: str, sha256: str, **more: Any
) -> dict[str, str]:
    """Named texts to be kept in a file; `maskbench` is the whole record as JSON, the others are for people.

    Args:
        record: a checkpoint's.
        kind: `classifier` or `detector`.
        form: of the file.
        precision: `fp32` or `int8`.
        sha256: of the checkpoint's file; empty: not known.
        more: further entries of the record's part `export`.
    """
    own = {"format": form, "precision": precision, "checkpoint_sha256": sha256, "maskbench": version("maskbench")}
    whole = record | {"kind": kind, "export": own | more}
    weights = record.get("weights", {})
    shown: dict[str, Any] = {
        "kind": kind,
        "classes": record["classes"],
        **record["preprocess"],
        **{name: record[name] for name in ("arm", "implementation", "seed") if name in record},
        "precision": precision,
        "version": own["maskbench"],
        "checkpoint_sha256": sha256,
        "weights_origin": f"{weights.get('name', '')} ({weights.get('source', 'unknown')})",
        **(_of_faces(record) if kind == CLASSIFIER else _of_photographs(record)),
    }
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in shown.items()}
    return texts | {RECORD: json.dumps(whole, allow_nan=False)}


def _of_faces(record: dict[str, Any]) -> dict[str, str]:
    size, margin = record["preprocess"]["input_size"], record["preprocess"]["margin"]
    mirror = ", the mean with the mirror image" if record["evaluate"]["flip_average"] else ""
    return {
        "input": _FACE_INPUT.format(size=size),
        "output": _FACE_OUTPUT.format(count=len(record["classes"])),
        "cutting": _CUTTING.format(margin=margin, size=size, mirror=mirror),
    }


def _of_photographs(record: dict[str, Any]) -> dict[str, str]:
    return {
        "input": _PHOTOGRAPH_INPUT,
        "output": _PHOTOGRAPH_OUTPUT.format(detector=record["protocol"]["detector"]),
        "longer_side": str(record["protocol"]["input_size"]),
    }
