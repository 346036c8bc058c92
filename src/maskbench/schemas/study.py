"""Tables of audit, split, training and evaluation."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import (
    COUNT,
    FLAG,
    KEY,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    RUN,
    SEVERITIES,
    SHARE,
    SPLIT_NAME,
    STR,
    TEXT,
    table_schema,
)

#: One row per readable photograph. `file` is relative to the dataset's folder; `brightness` (mean
#: luma) and `contrast` (its standard deviation) are on 0…255; `sharpness` is the variance of the
#: Laplacian; `phash` is a 64-bit perceptual hash as 16 hexadecimal digits.
IMAGES = table_schema(
    "images",
    {
        "image_id": KEY,
        "file": KEY,
        "sha256": pa.Column(STR, pa.Check.str_length(64, 64)),
        "bytes": POSITIVE,
        "format": KEY,
        "mode": KEY,
        "bit_depth": pa.Column(int, pa.Check.isin([1, 2, 4, 8, 16, 32])),
        "transparent_share": SHARE,
        "width": POSITIVE,
        "height": POSITIVE,
        "aspect": pa.Column(float, pa.Check.gt(0)),
        "brightness": pa.Column(float, pa.Check.in_range(0, 255)),
        "contrast": pa.Column(float, pa.Check.in_range(0, 255)),
        "saturation": pa.Column(float, pa.Check.in_range(0, 255)),
        "sharpness": pa.Column(float, pa.Check.ge(0)),
        "phash": pa.Column(STR, pa.Check.str_length(16, 16)),
        "faces": COUNT,
    },
    unique=["image_id"],
)

#: One row per usable face. Boxes are `xmin ymin xmax ymax` in pixels as the annotation gives them,
#: clipped to the image (`clipped` says where that changed something). `source_label` is the name in
#: the XML, `label` the one after the configuration's label map.
FACES = table_schema(
    "faces",
    {
        "face_id": KEY,
        "image_id": KEY,
        "label": KEY,
        "source_label": KEY,
        "xmin": pa.Column(float, pa.Check.ge(0)),
        "ymin": pa.Column(float, pa.Check.ge(0)),
        "xmax": pa.Column(float, pa.Check.gt(0)),
        "ymax": pa.Column(float, pa.Check.gt(0)),
        "image_width": POSITIVE,
        "image_height": POSITIVE,
        "clipped": FLAG,
        "pose": TEXT,
        "truncated": FLAG,
        "occluded": FLAG,
        "difficult": FLAG,
    },
    unique=["face_id"],
)

#: What the audit found: `check` is a stable code, `action` what the pipeline does about it.
FINDINGS = table_schema(
    "findings",
    {
        "severity": pa.Column(STR, pa.Check.isin(SEVERITIES)),
        "check": KEY,
        "file": TEXT,
        "detail": KEY,
        "action": KEY,
    },
)

#: Pairs of photographs with equal bytes or pixels (`exact`) or nearly equal content (`near`);
#: `distance` is the Hamming distance of their perceptual hashes in bits (0…64).
DUPLICATES = table_schema(
    "duplicates",
    {
        "image_id_a": KEY,
        "image_id_b": KEY,
        "kind": pa.Column(STR, pa.Check.isin(["exact", "near"])),
        "distance": pa.Column(int, pa.Check.in_range(0, 64)),
        "labels_agree": FLAG,
    },
    unique=["image_id_a", "image_id_b"],
)

#: Where each face goes in each of the study's splits. Faces of one `group` (a photograph and its
#: near-duplicates) share a side under the strategies `grouped` and `kfold`.
SPLIT = table_schema(
    "split",
    {
        "split_id": COUNT,
        "face_id": KEY,
        "image_id": KEY,
        "group": COUNT,
        "label": KEY,
        "split": SPLIT_NAME,
        "strategy": pa.Column(STR, pa.Check.isin(["grouped", "kfold", "random"])),
        "seed": COUNT,
    },
    unique=["split_id", "face_id"],
)

#: Long measurements per epoch; `class_name` is empty for metrics over all classes.
EPOCHS = table_schema(
    "epochs",
    {
        **RUN,
        "epoch": COUNT,
        "split": SPLIT_NAME,
        "metric": KEY,
        "class_name": TEXT,
        "value": REAL,
    },
    unique=["arm", "seed", "epoch", "split", "metric", "class_name"],
)

#: Confusion matrix per epoch, counts of faces.
EPOCH_CONFUSION = table_schema(
    "epoch_confusion",
    {**RUN, "epoch": COUNT, "split": SPLIT_NAME, "true": KEY, "predicted": KEY, "count": COUNT},
    unique=["arm", "seed", "epoch", "split", "true", "predicted"],
)

#: Live statistics per optimiser step: batch loss, its running mean and variance within the epoch,
#: exponential moving average over the run, learning rate (of the head's group).
STEPS = table_schema(
    "steps",
    {
        **RUN,
        "epoch": COUNT,
        "step": COUNT,
        "loss": REAL,
        "loss_mean": REAL,
        "loss_variance": NONNEGATIVE,
        "loss_moving_average": REAL,
        "learning_rate": NONNEGATIVE,
    },
    unique=["arm", "seed", "step"],
)

#: Gradient flow: Euclidean norms per parameter tensor at an optimiser step. `depth` counts the
#: tensors from the input; `update_ratio` = ‖Δw‖ / ‖w‖ of that step.
GRADIENTS = table_schema(
    "gradients",
    {
        **RUN,
        "epoch": COUNT,
        "step": COUNT,
        "depth": COUNT,
        "layer": KEY,
        "group": KEY,
        "gradient_norm": NONNEGATIVE,
        "weight_norm": NONNEGATIVE,
        "update_ratio": NONNEGATIVE,
    },
    unique=["arm", "seed", "step", "layer"],
)

#: One row per face, arm and seed: truth, decision, probabilities (one `prob_CLASS` column per class,
#: in class order), loss (plain cross-entropy, nats), and the face's properties.
PREDICTIONS = pa.DataFrameSchema(
    {
        **RUN,
        "split": SPLIT_NAME,
        "face_id": KEY,
        "image_id": KEY,
        "label": KEY,
        "predicted": KEY,
        "correct": FLAG,
        "loss": NONNEGATIVE,
        "^prob_.+$": pa.Column(float, pa.Check.in_range(0, 1), regex=True),
        "^logit_.+$": pa.Column(float, regex=True),
        "box_width": NONNEGATIVE,
        "box_height": NONNEGATIVE,
        "box_area": NONNEGATIVE,
        "box_aspect": NONNEGATIVE,
        "box_share": SHARE,
        "centre_x": SHARE,
        "centre_y": SHARE,
        "at_border": FLAG,
        "faces_in_image": POSITIVE,
        "image_brightness": NONNEGATIVE,
        "image_contrast": NONNEGATIVE,
        "image_sharpness": NONNEGATIVE,
    },
    name="predictions",
    strict=True,
    unique=["arm", "seed", "split", "face_id"],
)

#: Long test measurements; NaN `value` comes with a `reason`.
METRICS = table_schema(
    "metrics",
    {**RUN, "split": SPLIT_NAME, "metric": KEY, "class_name": TEXT, "value": REAL, "reason": TEXT},
    unique=["arm", "seed", "split", "metric", "class_name"],
)

#: Confusion matrix: `count` faces of class `true` called `predicted`; `share` of the row.
CONFUSION = table_schema(
    "confusion",
    {**RUN, "split": SPLIT_NAME, "true": KEY, "predicted": KEY, "count": COUNT, "share": SHARE},
    unique=["arm", "seed", "split", "true", "predicted"],
)

#: Points of the one-against-rest ROC curve per class, from (0, 0) (threshold infinite) to (1, 1).
ROC = table_schema(
    "roc", {**RUN, "class_name": KEY, "false_positive_rate": SHARE, "true_positive_rate": SHARE,
            "threshold": REAL},
)  # fmt: skip

#: Points of the one-against-rest precision–recall curve per class, from recall 0 (threshold infinite).
PRECISION_RECALL = table_schema(
    "precision_recall", {**RUN, "class_name": KEY, "recall": SHARE, "precision": SHARE,
                         "threshold": REAL},
)  # fmt: skip

_interval = {
    "metric": KEY,
    "class_name": TEXT,
    "value": REAL,
    "low": REAL,
    "high": REAL,
    "confidence": SHARE,
    "resamples": COUNT,
    "incomplete": COUNT,
    "images": COUNT,
    "faces": COUNT,
    # Not in tables that were written before it.
    "reason": pa.Column(STR, required=False),
}

#: Bootstrap intervals over photographs beside each headline number; `faces` counts the true faces of
#: `class_name`, or all; in `incomplete` of the resamples a class was not drawn at all. `reason` says why there is no
#: interval.
INTERVALS = table_schema(
    "intervals",
    {**RUN, "split": SPLIT_NAME, **_interval},
    unique=["arm", "seed", "split", "metric", "class_name"],
)

#: The same for `arm` minus `baseline`, paired by photograph.
DIFFERENCES = table_schema(
    "differences",
    {"arm": KEY, "baseline": KEY, "seed": COUNT, "split": SPLIT_NAME, **_interval},
    unique=["arm", "baseline", "seed", "split", "metric", "class_name"],
)

#: Layers in forward order, with the formulas behind the counts.
LAYERS = table_schema(
    "layers",
    {
        "implementation": KEY,
        "layer": KEY,
        "kind": KEY,
        "kernel": TEXT,
        "stride": TEXT,
        "padding": TEXT,
        "in_channels": COUNT,
        "out_channels": COUNT,
        "output_size": KEY,
        "out_height": COUNT,
        "out_width": COUNT,
        "parameters": COUNT,
        "parameters_formula": TEXT,
        "multiply_adds": COUNT,
        "formula": TEXT,
    },
    unique=["implementation", "layer"],
)
