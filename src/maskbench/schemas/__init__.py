"""Every table of the study in one place: columns, dtypes, ranges; validated whenever one is written.

Tables are keyed by `image_id`, `face_id`, `arm`, `seed`. Measurements are kept long (`metric`,
`class_name`, `value`), so the same schema serves any number of classes. A figure that cannot be
computed is NaN with a `reason`, never zero.
"""

from maskbench.schemas.columns import SEVERITIES, SPLITS
from maskbench.schemas.eda import (
    BOXES,
    CLASS_BALANCE,
    CLASS_BANDS,
    CLASS_COOCCURRENCE,
    CLASS_MEASURES,
    EDA_SUMMARY,
    EDA_TESTS,
    FACES_PER_IMAGE,
    HEATMAPS,
    IMAGE_COVERAGE,
    IMAGE_KINDS,
)
from maskbench.schemas.files import TableError, empty_table, read_table, validate, write_table
from maskbench.schemas.study import (
    CONFUSION,
    DIFFERENCES,
    DUPLICATES,
    EPOCH_CONFUSION,
    EPOCHS,
    FACES,
    FINDINGS,
    GRADIENTS,
    IMAGES,
    INTERVALS,
    LAYERS,
    METRICS,
    PRECISION_RECALL,
    PREDICTIONS,
    ROC,
    SPLIT,
    STEPS,
)

__all__ = [
    "BOXES",
    "CLASS_BALANCE",
    "CLASS_BANDS",
    "CLASS_COOCCURRENCE",
    "CLASS_MEASURES",
    "CONFUSION",
    "DIFFERENCES",
    "DUPLICATES",
    "EDA_SUMMARY",
    "EDA_TESTS",
    "EPOCHS",
    "EPOCH_CONFUSION",
    "FACES",
    "FACES_PER_IMAGE",
    "FINDINGS",
    "GRADIENTS",
    "HEATMAPS",
    "IMAGES",
    "IMAGE_COVERAGE",
    "IMAGE_KINDS",
    "INTERVALS",
    "LAYERS",
    "METRICS",
    "PRECISION_RECALL",
    "PREDICTIONS",
    "ROC",
    "SEVERITIES",
    "SPLIT",
    "SPLITS",
    "STEPS",
    "TableError",
    "empty_table",
    "read_table",
    "validate",
    "write_table",
]
