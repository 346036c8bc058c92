"""Tables of interventions: on the faces a model is tested on, and on the faces it is trained with."""

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
    SHARE,
    TEXT,
    table_schema,
)

#: Name of the intervention that changes nothing; it has neither level nor unit.
UNTOUCHED = "none"

_level = {
    "intervention": KEY,
    "description": KEY,
    "level": REAL,
    "unit": TEXT,
    "position": pa.Column(int),
    "reference": FLAG,
}

#: One row per face under each intervention and level, and one untouched (intervention `none`). `position` counts
#: the steps from the untouched face (two-sided interventions go to -1, -2, … too); `reference` marks the moderate
#: level at which interventions are ranked. `changed`: a pixel of what the model sees differs from the untouched
#: face; `distortion`: root mean square of these differences in grey levels. `loss` is cross-entropy in nats.
INTERVENED = table_schema(
    "intervened",
    {
        **RUN,
        **_level,
        "face_id": KEY,
        "image_id": KEY,
        "label": KEY,
        "predicted": KEY,
        "correct": FLAG,
        "loss": NONNEGATIVE,
        "changed": FLAG,
        "distortion": NONNEGATIVE,
    },
    unique=["arm", "seed", "intervention", "level", "face_id"],
)

#: A measurement by arm, intervention and level, the mean over `seeds` runs; the untouched faces stand in each
#: curve at `position` 0. `drop` is untouched minus intervened. `low` to `high` and `drop_low` to `drop_high` are
#: intervals over photographs, on the same draws for all rows; `incomplete` draws missed a class. `images`,
#: `faces`, `changed`: distinct photographs, faces, and faces that the intervention changes.
INTERVENTION_CURVES = table_schema(
    "intervention_curves",
    {
        "arm": KEY,
        **_level,
        "metric": KEY,
        "value": REAL,
        "low": REAL,
        "high": REAL,
        "drop": REAL,
        "drop_low": REAL,
        "drop_high": REAL,
        "confidence": SHARE,
        "resamples": COUNT,
        "incomplete": COUNT,
        "seeds": POSITIVE,
        "images": COUNT,
        "faces": COUNT,
        "changed": COUNT,
        "distortion": NONNEGATIVE,
        "reason": TEXT,
    },
    unique=["arm", "intervention", "position", "metric"],
)

#: Interventions of each arm by their drop at the reference level, largest first; `worst_drop` is the largest at
#: any level, `worst_level` that level. `rank` is NaN, with a reason, where the drop is.
INTERVENTION_RANKING = table_schema(
    "intervention_ranking",
    {
        "arm": KEY,
        "metric": KEY,
        "rank": REAL,
        "intervention": KEY,
        "description": KEY,
        "level": REAL,
        "unit": TEXT,
        "drop": REAL,
        "low": REAL,
        "high": REAL,
        "worst_level": REAL,
        "worst_drop": REAL,
        "faces": COUNT,
        "changed": COUNT,
        "distortion": NONNEGATIVE,
        "reason": TEXT,
    },
    unique=["arm", "metric", "intervention"],
)

#: The faces a model is trained with, one row per use: `row` is the face's place in the split table, `copy` counts
#: repeated uses from 0, `label` is what the model is told, `true_label` what the dataset says.
TRAINING_FACES = table_schema(
    "training_faces",
    {"row": COUNT, "copy": COUNT, "face_id": KEY, "group": COUNT, "label": KEY, "true_label": KEY},
    unique=["row", "copy"],
)
