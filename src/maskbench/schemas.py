"""Every table of the study in one place: columns, dtypes, ranges; validated whenever one is written.

Tables are keyed by `image_id`, `face_id`, `arm`, `seed`. Measurements are kept long (`metric`,
`class_name`, `value`), so the same schema serves any number of classes. A figure that cannot be
computed is NaN with a `reason`, never zero.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaError, SchemaErrors

from maskbench.storage import atomic_path

SPLITS = ("train", "val", "test")
SEVERITIES = ("error", "warning", "info")

_text = pa.Column(str)
_key = pa.Column(str, pa.Check.str_length(min_value=1))
_share = pa.Column(float, pa.Check.in_range(0, 1), nullable=True)
_flag = pa.Column(bool)
_count = pa.Column(int, pa.Check.ge(0))
_positive = pa.Column(int, pa.Check.ge(1))
_real = pa.Column(float, nullable=True)
_nonnegative = pa.Column(float, pa.Check.ge(0), nullable=True)
_split = pa.Column(str, pa.Check.isin(SPLITS))
_run = {"arm": _key, "seed": _count}


def _schema(name: str, columns: dict[str, pa.Column], unique: list[str] | None = None) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, name=name, strict=True, unique=unique)


#: One row per readable photograph. `file` is relative to the dataset's folder; `brightness` (mean
#: luma) and `contrast` (its standard deviation) are on 0…255; `sharpness` is the variance of the
#: Laplacian; `phash` is a 64-bit perceptual hash as 16 hexadecimal digits.
IMAGES = _schema(
    "images",
    {
        "image_id": _key,
        "file": _key,
        "sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "bytes": _positive,
        "format": _key,
        "mode": _key,
        "bit_depth": pa.Column(int, pa.Check.isin([1, 2, 4, 8, 16, 32])),
        "transparent_share": _share,
        "width": _positive,
        "height": _positive,
        "aspect": pa.Column(float, pa.Check.gt(0)),
        "brightness": pa.Column(float, pa.Check.in_range(0, 255)),
        "contrast": pa.Column(float, pa.Check.in_range(0, 255)),
        "saturation": pa.Column(float, pa.Check.in_range(0, 255)),
        "sharpness": pa.Column(float, pa.Check.ge(0)),
        "phash": pa.Column(str, pa.Check.str_length(16, 16)),
        "faces": _count,
    },
    unique=["image_id"],
)

#: One row per usable face. Boxes are `xmin ymin xmax ymax` in pixels as the annotation gives them,
#: clipped to the image (`clipped` says where that changed something). `source_label` is the name in
#: the XML, `label` the one after the configuration's label map.
FACES = _schema(
    "faces",
    {
        "face_id": _key,
        "image_id": _key,
        "label": _key,
        "source_label": _key,
        "xmin": pa.Column(float, pa.Check.ge(0)),
        "ymin": pa.Column(float, pa.Check.ge(0)),
        "xmax": pa.Column(float, pa.Check.gt(0)),
        "ymax": pa.Column(float, pa.Check.gt(0)),
        "image_width": _positive,
        "image_height": _positive,
        "clipped": _flag,
        "pose": _text,
        "truncated": _flag,
        "occluded": _flag,
        "difficult": _flag,
    },
    unique=["face_id"],
)

#: What the audit found: `check` is a stable code, `action` what the pipeline does about it.
FINDINGS = _schema(
    "findings",
    {
        "severity": pa.Column(str, pa.Check.isin(SEVERITIES)),
        "check": _key,
        "file": _text,
        "detail": _key,
        "action": _key,
    },
)

#: Pairs of photographs with equal bytes or pixels (`exact`) or nearly equal content (`near`);
#: `distance` is the Hamming distance of their perceptual hashes in bits (0…64).
DUPLICATES = _schema(
    "duplicates",
    {
        "image_id_a": _key,
        "image_id_b": _key,
        "kind": pa.Column(str, pa.Check.isin(["exact", "near"])),
        "distance": pa.Column(int, pa.Check.in_range(0, 64)),
        "labels_agree": _flag,
    },
    unique=["image_id_a", "image_id_b"],
)

#: Where each face goes. Faces of one `group` (a photograph and its near-duplicates) share a side
#: under the grouped strategy.
SPLIT = _schema(
    "split",
    {
        "face_id": _key,
        "image_id": _key,
        "group": _count,
        "label": _key,
        "split": _split,
        "strategy": pa.Column(str, pa.Check.isin(["grouped", "random"])),
        "seed": _count,
    },
    unique=["face_id"],
)

#: Long measurements per epoch; `class_name` is empty for metrics over all classes.
EPOCHS = _schema(
    "epochs",
    {
        **_run,
        "epoch": _count,
        "split": _split,
        "metric": _key,
        "class_name": _text,
        "value": _real,
    },
    unique=["arm", "seed", "epoch", "split", "metric", "class_name"],
)

#: Confusion matrix per epoch, counts of faces.
EPOCH_CONFUSION = _schema(
    "epoch_confusion",
    {**_run, "epoch": _count, "split": _split, "true": _key, "predicted": _key, "count": _count},
    unique=["arm", "seed", "epoch", "split", "true", "predicted"],
)

#: Live statistics per optimiser step: batch loss, its running mean and variance within the epoch,
#: exponential moving average over the run, learning rate (of the head's group).
STEPS = _schema(
    "steps",
    {
        **_run,
        "epoch": _count,
        "step": _count,
        "loss": _real,
        "loss_mean": _real,
        "loss_variance": _nonnegative,
        "loss_moving_average": _real,
        "learning_rate": _nonnegative,
    },
    unique=["arm", "seed", "step"],
)

#: Gradient flow: Euclidean norms per parameter tensor at an optimiser step. `depth` counts the
#: tensors from the input; `update_ratio` = ‖Δw‖ / ‖w‖ of that step.
GRADIENTS = _schema(
    "gradients",
    {
        **_run,
        "epoch": _count,
        "step": _count,
        "depth": _count,
        "layer": _key,
        "group": _key,
        "gradient_norm": _nonnegative,
        "weight_norm": _nonnegative,
        "update_ratio": _nonnegative,
    },
    unique=["arm", "seed", "step", "layer"],
)

#: One row per face, arm and seed: truth, decision, probabilities (one `prob_CLASS` column per class,
#: in class order), loss (plain cross-entropy, nats), and the face's properties.
PREDICTIONS = pa.DataFrameSchema(
    {
        **_run,
        "split": _split,
        "face_id": _key,
        "image_id": _key,
        "label": _key,
        "predicted": _key,
        "correct": _flag,
        "loss": _nonnegative,
        "^prob_.+$": pa.Column(float, pa.Check.in_range(0, 1), regex=True),
        "^logit_.+$": pa.Column(float, regex=True),
        "box_width": _nonnegative,
        "box_height": _nonnegative,
        "box_area": _nonnegative,
        "box_aspect": _nonnegative,
        "box_share": _share,
        "centre_x": _share,
        "centre_y": _share,
        "at_border": _flag,
        "faces_in_image": _positive,
        "image_brightness": _nonnegative,
        "image_contrast": _nonnegative,
        "image_sharpness": _nonnegative,
    },
    name="predictions",
    strict=True,
    unique=["arm", "seed", "split", "face_id"],
)

#: Long test measurements; NaN `value` comes with a `reason`.
METRICS = _schema(
    "metrics",
    {**_run, "split": _split, "metric": _key, "class_name": _text, "value": _real, "reason": _text},
    unique=["arm", "seed", "split", "metric", "class_name"],
)

#: Confusion matrix: `count` faces of class `true` called `predicted`; `share` of the row.
CONFUSION = _schema(
    "confusion",
    {**_run, "split": _split, "true": _key, "predicted": _key, "count": _count, "share": _share},
    unique=["arm", "seed", "split", "true", "predicted"],
)

#: Points of the one-against-rest ROC curve per class, from (0, 0) (threshold infinite) to (1, 1).
ROC = _schema(
    "roc", {**_run, "class_name": _key, "false_positive_rate": _share, "true_positive_rate": _share,
            "threshold": _real},
)  # fmt: skip

#: Points of the one-against-rest precision–recall curve per class, from recall 0 (threshold infinite).
PRECISION_RECALL = _schema(
    "precision_recall", {**_run, "class_name": _key, "recall": _share, "precision": _share,
                         "threshold": _real},
)  # fmt: skip

_interval = {
    "metric": _key,
    "class_name": _text,
    "value": _real,
    "low": _real,
    "high": _real,
    "confidence": _share,
    "resamples": _count,
    "incomplete": _count,
    "images": _count,
    "faces": _count,
}

#: Bootstrap intervals over photographs beside each headline number; `faces` counts the true faces of
#: `class_name`, or all; in `incomplete` of the resamples a class was not drawn at all.
INTERVALS = _schema(
    "intervals",
    {**_run, "split": _split, **_interval},
    unique=["arm", "seed", "split", "metric", "class_name"],
)

#: The same for `arm` minus `baseline`, paired by photograph.
DIFFERENCES = _schema(
    "differences",
    {"arm": _key, "baseline": _key, "seed": _count, "split": _split, **_interval},
    unique=["arm", "baseline", "seed", "split", "metric", "class_name"],
)

#: Layers in forward order, with the formulas behind the counts.
LAYERS = _schema(
    "layers",
    {
        "implementation": _key,
        "layer": _key,
        "kind": _key,
        "kernel": _text,
        "stride": _text,
        "padding": _text,
        "in_channels": _count,
        "out_channels": _count,
        "output_size": _key,
        "out_height": _count,
        "out_width": _count,
        "parameters": _count,
        "parameters_formula": _text,
        "multiply_adds": _count,
        "formula": _text,
    },
    unique=["implementation", "layer"],
)


#: Summary rows: one quantity over all photographs or faces (`class_name` empty) or over those of one
#: class. `low`/`high` bound percentile bootstrap intervals in which whole photographs are drawn.
EDA_SUMMARY = _schema(
    "eda_summary",
    {
        "class_name": _text,
        "quantity": _key,
        "unit": _key,
        "n": _count,
        "photographs": _count,
        "mean": _real,
        "mean_low": _real,
        "mean_high": _real,
        "sd": _nonnegative,
        "minimum": _real,
        "q1": _real,
        "median": _real,
        "median_low": _real,
        "median_high": _real,
        "q3": _real,
        "maximum": _real,
        "confidence": _share,
        "resamples": _count,
        "reason": _text,
    },
    unique=["class_name", "quantity"],
)

#: How many photographs have each file format, colour mode, bit depth, transparency.
IMAGE_KINDS = _schema(
    "image_kinds",
    {
        "property": pa.Column(str, pa.Check.isin(["format", "mode", "bit_depth", "transparency"])),
        "value": _key,
        "photographs": _count,
        "share": _share,
    },
    unique=["property", "value"],
)

#: How many photographs hold `faces` faces (values that occur), and the share of all faces they hold.
FACES_PER_IMAGE = _schema(
    "faces_per_image",
    {"faces": _count, "photographs": _positive, "photograph_share": _share, "face_share": _share},
    unique=["faces"],
)

#: Share of each photograph inside at least one box (`coverage`, the union) and the sum of the boxes'
#: shares (`share_sum`, larger where boxes overlap).
IMAGE_COVERAGE = _schema(
    "image_coverage",
    {"image_id": _key, "faces": _count, "coverage": _share, "share_sum": _nonnegative},
    unique=["image_id"],
)

#: Geometry of every box, in px, px² and shares of the photograph; `box_side` = √area.
BOXES = _schema(
    "boxes",
    {
        "face_id": _key,
        "image_id": _key,
        "class_name": _key,
        "box_width": _nonnegative,
        "box_height": _nonnegative,
        "box_area": _nonnegative,
        "box_side": _nonnegative,
        "box_aspect": _nonnegative,
        "box_share": _share,
        "centre_x": _share,
        "centre_y": _share,
        "at_border": _flag,
        "faces_in_image": _positive,
    },
    unique=["face_id"],
)

#: Faces and photographs per class. `wilson_*` takes faces as independent, `cluster_*` draws whole
#: photographs.
CLASS_BALANCE = _schema(
    "class_balance",
    {
        "class_name": _key,
        "faces": _count,
        "share": _share,
        "wilson_low": _share,
        "wilson_high": _share,
        "cluster_low": _share,
        "cluster_high": _share,
        "photographs": _count,
        "photograph_share": _share,
        "confidence": _share,
        "resamples": _count,
        "reason": _text,
    },
    unique=["class_name"],
)

#: Measures of imbalance over all classes, each with its definition.
CLASS_MEASURES = _schema(
    "class_measures",
    {
        "measure": _key,
        "value": _real,
        "low": _real,
        "high": _real,
        "unit": _key,
        "definition": _key,
        "confidence": _share,
        "resamples": _count,
        "reason": _text,
    },
    unique=["measure"],
)

#: Photographs in which two classes stand together, against independence. `scope`: `all` photographs
#: with a face, or those with `several` faces, where two classes can meet at all.
CLASS_COOCCURRENCE = _schema(
    "class_cooccurrence",
    {
        "scope": pa.Column(str, pa.Check.isin(["all", "several"])),
        "class_a": _key,
        "class_b": _key,
        "photographs": _count,
        "together": _count,
        "expected": _nonnegative,
        "lift": _nonnegative,
        "phi": pa.Column(float, pa.Check.in_range(-1, 1), nullable=True),
        "reason": _text,
    },
    unique=["scope", "class_a", "class_b"],
)

#: Class shares within bands of box size (√area, px) and of faces in the photograph; a band holds
#: `lower` ≤ value < `upper` (0 and infinity at open ends).
CLASS_BANDS = _schema(
    "class_bands",
    {
        "factor": pa.Column(str, pa.Check.isin(["box_side", "faces_in_image"])),
        "unit": _key,
        "band_index": _count,
        "band": _key,
        "lower": _nonnegative,
        "upper": _nonnegative,
        "class_name": _key,
        "faces": _count,
        "band_faces": _count,
        "band_photographs": _count,
        "share": _share,
        "low": _share,
        "high": _share,
        "confidence": _share,
        "resamples": _count,
        "reason": _text,
    },
    unique=["factor", "band_index", "class_name"],
)

#: Tests of association between class and a property of the box or photograph. `effect_low`/`_high`
#: bound basic bootstrap intervals in which whole photographs are drawn.
EDA_TESTS = _schema(
    "eda_tests",
    {
        "test": _key,
        "quantity": _key,
        "null_hypothesis": _key,
        "n": _count,
        "groups": _count,
        "statistic_name": _key,
        "statistic": _nonnegative,
        "degrees_of_freedom": _count,
        "p_value": _share,
        "p_value_holm": _share,
        "effect_name": _key,
        "effect": _share,
        "effect_low": _share,
        "effect_high": _share,
        "corrected_name": _key,
        "effect_corrected": _real,
        "confidence": _share,
        "resamples": _count,
        "reason": _text,
        "note": _key,
    },
    unique=["test", "quantity"],
)

#: Where boxes lie, on a grid over the photograph; row 0 is the top, column 0 the left. `class_name`
#: is empty for all classes. `centres`: share of the faces whose box centre is in the cell (sums to
#: 1); `coverage`: mean share of the cell inside a box, over photographs with such a face.
HEATMAPS = _schema(
    "heatmaps",
    {
        "quantity": pa.Column(str, pa.Check.isin(["centres", "coverage"])),
        "class_name": _text,
        "row": _count,
        "column": _count,
        "value": _share,
        "faces": _count,
        "photographs": _count,
        "reason": _text,
    },
    unique=["quantity", "class_name", "row", "column"],
)


class TableError(ValueError):
    """A table does not fit its schema; the message names table, column and what is wrong."""


def validate(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Return `table` if it fits `schema`.

    An empty table (no rows) is checked for its columns only: pandas cannot know the dtypes.

    Raises:
        TableError: a column is missing, unknown, of the wrong dtype or out of range.
    """
    if table.empty:
        missing = [name for name, column in schema.columns.items() if name not in table and not column.regex]
        if missing:
            raise TableError(f"table {schema.name}: columns missing: {', '.join(missing)}")
        return table
    try:
        return schema.validate(table, lazy=True)
    except (SchemaError, SchemaErrors) as error:
        cases = getattr(error, "failure_cases", None)
        if cases is None or not len(cases):
            raise TableError(f"table {schema.name}: {error}") from error
        first = cases.iloc[0].to_dict()
        raise TableError(f"table {schema.name}: {len(cases)} failure(s); first: {first}") from error


def empty_table(schema: pa.DataFrameSchema) -> pd.DataFrame:
    """A table without rows that has the schema's columns."""
    return pd.DataFrame({name: pd.Series(dtype=object) for name in schema.columns})


def write_table(path: Path, table: pd.DataFrame, schema: pa.DataFrameSchema, *, csv: bool = False) -> None:
    """Validate `table` and write it as Parquet, with a CSV of the same stem beside it if asked.

    Raises:
        TableError: the table does not fit.
        OSError: it cannot be written; existing files stay as they were.
    """
    validate(table, schema)
    with atomic_path(path.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)
    if csv:
        with atomic_path(path.with_suffix(".csv")) as temporary:
            table.to_csv(temporary, index=False)


def read_table(path: Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Read a table that `write_table` wrote and validate it.

    Raises:
        FileNotFoundError: there is none; the message says which stage writes it.
        TableError: the file is not this table.
    """
    path = path.with_suffix(".parquet")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; run the stage that writes it first")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: not a readable Parquet file ({error})") from error
    return validate(table, schema)
