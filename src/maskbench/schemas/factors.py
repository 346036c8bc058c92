"""Tables of what drives the errors: properties of faces, and how the errors go with them."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, FLAG, KEY, NONNEGATIVE, POSITIVE, REAL, SHARE, STATED, TEXT, table_schema

_LEVEL = pa.Column(float, pa.Check.in_range(0, 255), nullable=True)
_CORRELATION = pa.Column(float, pa.Check.in_range(-1, 1), nullable=True)

#: Properties of each face that no split changes. Box sizes in px; `view_outside`: share of the box's
#: square context view that lies outside the photograph; `centre_x`/`_y`: share of the photograph's
#: width and height, `centre_distance`: from its centre, 1 at a corner; `neighbour_iou`,
#: `neighbour_distance`: largest overlap with, and distance between centres in sides (√area) of this box
#: to the nearest of, the photograph's other faces. `brightness`, `contrast` (mean and standard deviation
#: of luma) and `saturation` are of the pixels under the box, 0…255. `sharpness`: variance of the
#: Laplacian over the variance of luma, both of the face at 16 × 16 px. `reason` says what is NaN and why.
PROPERTIES = table_schema(
    "properties",
    {
        "face_id": KEY,
        "image_id": KEY,
        "box_width": NONNEGATIVE,
        "box_height": NONNEGATIVE,
        "box_area": NONNEGATIVE,
        "box_share": SHARE,
        "box_aspect": NONNEGATIVE,
        "centre_x": SHARE,
        "centre_y": SHARE,
        "centre_distance": SHARE,
        "at_border": FLAG,
        "view_outside": SHARE,
        "faces_in_image": POSITIVE,
        "neighbour_iou": SHARE,
        "neighbour_distance": NONNEGATIVE,
        "sharpness": NONNEGATIVE,
        "brightness": _LEVEL,
        "contrast": _LEVEL,
        "saturation": _LEVEL,
        "reason": TEXT,
    },
    unique=["face_id"],
)

#: Properties of each face that depend on the split. `class_share`: of its class among the training
#: faces; `train_face_distance`: root-mean-square difference (grey levels) of its 16 × 16 RGB thumbnail
#: to the most similar training face of another photograph; `train_hash_distance`: bits (of 64) between
#: the perceptual hashes of its photograph and of the most similar other training photograph.
TRAINING_PROPERTIES = table_schema(
    "training_properties",
    {
        "face_id": KEY,
        "class_share": SHARE,
        "train_face_distance": _LEVEL,
        "train_hash_distance": pa.Column(float, pa.Check.in_range(0, 64), nullable=True),
        "reason": TEXT,
    },
    unique=["face_id"],
)

#: The same for every run, numbered by `seed`.
RUN_TRAINING_PROPERTIES = table_schema(
    "run_training_properties",
    {"seed": COUNT, **TRAINING_PROPERTIES.columns},
    unique=["seed", "face_id"],
)

_property = {"arm": KEY, "property": KEY}
_basis = {"faces": COUNT, "photographs": COUNT, "errors": NONNEGATIVE}

#: Error rate in bins of a property, each face counted once with the share of the runs that misclassified
#: it (`errors` is their sum). A bin holds `lower` ≤ value ≤ `upper`; `centre` is its median. `low`/`high`:
#: Wilson's interval at the faces' effective number, faces / `design_effect`.
ERROR_RATES = table_schema(
    "error_rates",
    {
        **_property,
        "bin_index": COUNT,
        "bin": KEY,
        "lower": REAL,
        "upper": REAL,
        "centre": REAL,
        **_basis,
        "rate": SHARE,
        "low": SHARE,
        "high": SHARE,
        "design_effect": NONNEGATIVE,
        "confidence": SHARE,
        "reason": TEXT,
    },
    unique=["arm", "property", "bin_index"],
)

#: How far one property by itself tells wrong from right faces: `effect` is the rank-biserial
#: correlation 2·AUC - 1 (positive: higher values, more errors), bootstrap over photographs.
ERROR_EFFECTS = table_schema(
    "error_effects",
    {
        **_property,
        **_basis,
        "effect": _CORRELATION,
        "low": _CORRELATION,
        "high": _CORRELATION,
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
        **STATED,
    },
    unique=["arm", "property"],
)

#: Odds ratios of an error per standard deviation of the (transformed) property, of `model` "together"
#: (all properties in one regression) and "alone" (one at a time). `vif`: variance inflation factor among
#: the properties fitted together; `determined_by` names the ones that determine a property left out.
ODDS = table_schema(
    "odds",
    {
        **_property,
        "model": pa.Column(str, pa.Check.isin(["together", "alone"])),
        "transform": KEY,
        **_basis,
        "events_per_property": NONNEGATIVE,
        "log_odds": REAL,
        "standard_error": NONNEGATIVE,
        "odds_ratio": NONNEGATIVE,
        "low": NONNEGATIVE,
        "high": NONNEGATIVE,
        "p_value": SHARE,
        "p_value_holm": SHARE,
        "vif": NONNEGATIVE,
        "method": TEXT,
        "confidence": SHARE,
        "determined_by": TEXT,
        "note": TEXT,
        "reason": TEXT,
        **STATED,
    },
    unique=["arm", "property", "model"],
)

#: Pearson correlations of the (transformed) properties over the faces analysed, every ordered pair.
PROPERTY_CORRELATIONS = table_schema(
    "property_correlations",
    {"property_a": KEY, "property_b": KEY, "correlation": _CORRELATION, "faces": COUNT, "reason": TEXT},
    unique=["property_a", "property_b"],
)

#: Skill of the non-linear model on faces of photographs it was not fitted on: `auc` (chance 0.5),
#: `average_precision` (chance: the error rate), `brier_skill` (chance 0); bootstrap over photographs.
ERROR_MODEL_SKILL = table_schema(
    "error_model_skill",
    {
        "arm": KEY,
        "metric": pa.Column(str, pa.Check.isin(["auc", "average_precision", "brier_skill"])),
        "value": REAL,
        "low": REAL,
        "high": REAL,
        "chance": REAL,
        "skill": pa.Column(str, pa.Check.isin(["shown", "not shown", "undefined"])),
        **_basis,
        "folds": COUNT,
        "model": KEY,
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
        **STATED,
    },
    unique=["arm", "metric"],
)

#: Permutation importance: fall of the out-of-fold AUC when the property is shuffled among the held-out
#: faces. `sd` is the spread over the shufflings, `low`/`high` a bootstrap interval over photographs.
#: `skill` repeats the model's verdict: importances of a model without skill mean nothing.
IMPORTANCE = table_schema(
    "importance",
    {
        **_property,
        "importance": REAL,
        "sd": NONNEGATIVE,
        "low": REAL,
        "high": REAL,
        "repeats": COUNT,
        "skill": pa.Column(str, pa.Check.isin(["shown", "not shown", "undefined"])),
        "confidence": SHARE,
        "resamples": COUNT,
        "reason": TEXT,
        **STATED,
    },
    unique=["arm", "property"],
)

#: Partial dependence: mean predicted error rate over held-out faces if all had `value` of the property;
#: `low`/`high` are the lowest and highest of the folds' models.
PARTIAL_DEPENDENCE = table_schema(
    "partial_dependence",
    {**_property, "point": COUNT, "value": REAL, "error_rate": REAL, "low": REAL, "high": REAL, "folds": COUNT},
    unique=["arm", "property", "point"],
)

#: The three measures side by side. `supported`: how many of the `measured` ones exclude "no effect" (the
#: intervals of effect and importance, the Holm-corrected p of the odds); `rank` 1 is the strongest: by
#: `supported`, then by the mean of the ranks under each measure. Importances count only if the model's
#: skill is shown. Constant properties and those that others determine have rank NaN.
FACTOR_RANKING = table_schema(
    "factor_ranking",
    {
        **_property,
        "rank": REAL,
        "mean_rank": REAL,
        "supported": COUNT,
        "measured": COUNT,
        "effect": _CORRELATION,
        "effect_rank": REAL,
        "log_odds": REAL,
        "log_odds_rank": REAL,
        "odds_model": pa.Column(str, pa.Check.isin(["together", "alone", ""])),
        "importance": REAL,
        "importance_rank": REAL,
        "skill": pa.Column(str, pa.Check.isin(["shown", "not shown", "undefined"])),
        "direction": pa.Column(str, pa.Check.isin(["higher values, more errors", "lower values, more errors", ""])),
        "reason": TEXT,
    },
    unique=["arm", "property"],
)

#: What an analysis of the errors leaves, by file name.
FACTOR_TABLES: dict[str, pa.DataFrameSchema] = {
    "rates": ERROR_RATES,
    "effects": ERROR_EFFECTS,
    "odds": ODDS,
    "correlations": PROPERTY_CORRELATIONS,
    "skill": ERROR_MODEL_SKILL,
    "importance": IMPORTANCE,
    "dependence": PARTIAL_DEPENDENCE,
    "ranking": FACTOR_RANKING,
}
