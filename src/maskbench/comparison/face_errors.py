"""Errors joined with the properties of the faces: what all analyses of question 2 start from.

Each face counts once, with the share of the runs (seeds) that misclassified it: runs of one arm on one
face are no independent evidence about faces. Faces of one photograph are not independent either, so
every interval works on photographs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.comparison.wording import NO_INTERVAL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Transform = Literal["none", "log", "reciprocal", "flag"]

#: With fewer wrong (or right) faces, or these in fewer photographs, a bootstrap draws the same few again and again and
#: its intervals exclude "no effect" too often: nothing that rests on it is said (`tests/comparison/test_null.py`).
LEAST_FACES = 10
LEAST_PHOTOGRAPHS = 10

#: Columns of the joined table that are not properties.
_KEYS = ("arm", "seed", "split", "face_id", "image_id", "label", "predicted", "correct")
#: A property not in `KNOWN_PROPERTIES` is taken in logs when it is positive and more skewed than this
#: (an exponential distribution has skewness 2, a normal one 0).
_SKEWED = 1.0


@dataclass(frozen=True)
class Property:
    """How a property is named and enters a model.

    Attributes:
        name: its column.
        label: for people, with the unit.
        transform: `log` (zeros count as half the smallest positive value), `reciprocal` (1 / value; a
            missing value is 0: no neighbour is infinitely far), `flag` (0 or 1), or `none`.
    """

    name: str
    label: str
    transform: Transform = "none"

    def apply(self, values: Floats) -> Floats:
        """The values as models see them; a new array.

        Example:
            >>> Property("d", "distance", "reciprocal").apply(np.array([2.0, np.nan])).tolist()
            [0.5, 0.0]
        """
        if self.transform == "log":
            positive = values[values > 0]
            floor = positive.min() / 2 if len(positive) else 1.0
            return np.asarray(np.log(np.where(values > 0, values, np.where(np.isnan(values), np.nan, floor))))
        if self.transform == "reciprocal":
            inverse = np.divide(1.0, values, out=np.full(len(values), np.nan), where=values > 0)
            return np.where(np.isnan(values), 0.0, inverse)
        return np.array(values, dtype=np.float64)

    @property
    def model_label(self) -> str:
        """The label of the transformed property."""
        if self.transform == "reciprocal":
            return f"1 / {self.label}"
        return f"log {self.label}" if self.transform == "log" else self.label


#: Properties in the order in which they claim what they share: where two say the same, the earlier one
#: stays in the models. Area and aspect come before width and height, which they determine.
KNOWN_PROPERTIES = (
    Property("box_area", "box area, px²", "log"),
    Property("box_aspect", "box width / height", "log"),
    Property("sharpness", "sharpness of the face", "log"),
    Property("brightness", "brightness of the face"),
    Property("contrast", "contrast of the face"),
    Property("saturation", "saturation of the face"),
    Property("faces_in_image", "faces in the photograph", "log"),
    Property("neighbour_iou", "overlap with the next face, IoU"),
    Property("neighbour_distance", "distance to the next face, sides", "reciprocal"),
    Property("centre_x", "centre x, share of width"),
    Property("centre_y", "centre y, share of height"),
    Property("centre_distance", "distance from the centre"),
    Property("view_outside", "view outside the photograph"),
    Property("at_border", "touches the border", "flag"),
    Property("class_share", "share of its class in training"),
    Property("train_face_distance", "distance to the nearest training face"),
    Property("train_hash_distance", "bits to the nearest training photograph"),
    Property("box_share", "box, share of the photograph", "log"),
    Property("box_width", "box width, px", "log"),
    Property("box_height", "box height, px", "log"),
)
_KNOWN = {known.name: known for known in KNOWN_PROPERTIES}


def photographs_behind(error: Floats, photographs: Ints) -> int:
    """Photographs with a wrong face or with a right one, whichever are fewer; a face may be both, in other runs.

    Args:
        error: (N,) in [0, 1], the share of runs that misclassified the face.
        photographs: (N,) a number per photograph.
    """
    return min(len(np.unique(photographs[error > 0])), len(np.unique(photographs[error < 1])))


def too_few_errors(error: Floats, photographs: Ints) -> str:
    """Why wrong or right faces are too few for an interval; empty where there are enough.

    Args:
        error: (N,) in [0, 1].
        photographs: (N,) a number per photograph.

    Example:
        >>> too_few_errors(np.array([1.0, 0, 0]), np.array([0, 1, 2]))
        'no interval: 1 wrong face in 1 photograph, at least 10 in 10 are needed'
    """
    for kind, chosen in (("wrong", error > 0), ("right", error < 1)):
        faces, count = int(chosen.sum()), len(np.unique(photographs[chosen]))
        if faces < LEAST_FACES or count < LEAST_PHOTOGRAPHS:
            return (
                f"{NO_INTERVAL}{faces} {kind} face{'' if faces == 1 else 's'} in {count} "
                f"photograph{'' if count == 1 else 's'}, at least {LEAST_FACES} in {LEAST_PHOTOGRAPHS} are needed"
            )
    return ""


def property_labels(names: Sequence[str]) -> dict[str, str]:
    """Labels for people; a property not in `KNOWN_PROPERTIES` keeps its column's name."""
    return {name: _KNOWN[name].label if name in _KNOWN else name.replace("_", " ") for name in names}


def property_transforms(names: Sequence[str]) -> dict[str, Transform | None]:
    """How models see properties; None for one not in `KNOWN_PROPERTIES`, whose values decide."""
    return {name: _KNOWN[name].transform if name in _KNOWN else None for name in names}


def join_properties(
    predictions: pd.DataFrame,
    properties: pd.DataFrame,
    training: pd.DataFrame | Mapping[int, pd.DataFrame] | None = None,
    *,
    split: str = "test",
) -> pd.DataFrame:
    """Predictions of one split with the properties of their faces.

    Args:
        predictions: `schemas.PREDICTIONS`.
        properties: `schemas.factors.PROPERTIES`, or any table with `face_id`, `image_id` and numeric
            columns, each face once.
        training: `schemas.factors.TRAINING_PROPERTIES`; with runs on different splits one table per `seed`.
        split: the side.

    Returns:
        `arm`, `seed`, `split`, `face_id`, `image_id`, `label`, `predicted`, `correct`, then the numeric
        properties, one row per prediction in the order of `predictions`.

    Raises:
        ValueError: no predictions of this split; a face that `properties` or `training` lacks or names
            twice, or places in another photograph; a seed without a table of training properties.
    """
    missing = [name for name in _KEYS if name not in predictions]
    if missing:
        raise ValueError(f"predictions: columns missing: {', '.join(missing)}")
    rows = predictions.loc[predictions["split"] == split, list(_KEYS)].reset_index(drop=True)
    if rows.empty:
        found = ", ".join(sorted(predictions["split"].unique())) or "none"
        raise ValueError(f"predictions: no rows of split {split!r}; there are: {found}")
    matched = _lookup(properties, rows["face_id"], "properties")
    moved = rows["face_id"][matched["image_id"].to_numpy() != rows["image_id"].to_numpy()]
    if len(moved):
        raise ValueError(f"properties: face {moved.iloc[0]!r} is in another photograph than in predictions")
    parts = [rows, _numeric(matched)]
    if training is not None:
        parts.append(_numeric(_training_rows(training, rows)))
    joined = pd.concat(parts, axis=1)
    twice = joined.columns[joined.columns.duplicated()]
    if len(twice):
        raise ValueError(f"properties: column {twice[0]!r} is in both tables; rename or drop one")
    return joined


def _training_rows(training: pd.DataFrame | Mapping[int, pd.DataFrame], rows: pd.DataFrame) -> pd.DataFrame:
    if isinstance(training, pd.DataFrame):
        return _lookup(training, rows["face_id"], "training")
    lacking = sorted(set(rows["seed"]) - set(training))
    if lacking:
        raise ValueError(f"training: no table of training properties for seed {lacking[0]}")
    parts = [
        _lookup(training[seed], rows["face_id"][rows["seed"] == seed], f"training, seed {seed}").set_index(
            rows.index[rows["seed"] == seed]
        )
        for seed in rows["seed"].unique()
    ]
    return pd.concat(parts).loc[rows.index]


def _lookup(table: pd.DataFrame, face_ids: pd.Series, name: str) -> pd.DataFrame:
    """The row of each face, with a plain index."""
    twice = table["face_id"][table["face_id"].duplicated()]
    if len(twice):
        raise ValueError(f"{name}: face {twice.iloc[0]!r} is there twice; each face has one row")
    places = pd.Index(table["face_id"]).get_indexer(pd.Index(face_ids))
    lacking = face_ids[places < 0]
    if len(lacking):
        raise ValueError(f"{name}: {lacking.nunique()} face(s) of predictions are missing, e.g. {lacking.iloc[0]!r}")
    found: pd.DataFrame = table.iloc[places].reset_index(drop=True)
    return found


def _numeric(table: pd.DataFrame) -> pd.DataFrame:
    keep = [name for name in table if name not in _KEYS and pd.api.types.is_numeric_dtype(table[name].dtype)]
    return table[keep]


@dataclass(frozen=True, eq=False)
class FaceErrors:
    """The faces of one arm, each once.

    Attributes:
        arm: its name.
        image_ids: (N,) photograph of each face.
        photographs: (N,) a number per photograph, 0…P-1, by sorted id.
        error: (N,) share of the arm's runs on this face that misclassified it, 0…1.
        table: (N × properties) float, untransformed.
        properties: how the columns of `table` enter models, in order.
        runs: number of runs.
    """

    arm: str
    image_ids: pd.Series
    photographs: Ints
    error: Floats
    table: pd.DataFrame
    properties: tuple[Property, ...]
    runs: int

    @property
    def photograph_count(self) -> int:
        """P."""
        return int(self.photographs.max()) + 1

    @property
    def wrong_faces(self) -> int:
        """Faces misclassified by at least one run."""
        return int((self.error > 0).sum())

    def basis(self) -> dict[str, float]:
        """`faces`, `photographs`, `errors` of the tables."""
        return {
            "faces": len(self.error),
            "photographs": self.photograph_count,
            "errors": float(self.error.sum()),
        }


def face_errors(joined: pd.DataFrame, properties: Sequence[str] | None = None) -> Iterator[FaceErrors]:
    """The faces of each arm, in the order of the arms in `joined`.

    Args:
        joined: of `join_properties`.
        properties: columns to analyse, in order of precedence; None: all of `KNOWN_PROPERTIES` that are
            there, then the table's other columns.

    Raises:
        ValueError: a property is not a numeric column of `joined`.
    """
    chosen = _chosen(joined, properties)
    for arm, part in joined.groupby("arm", sort=False):
        grouped = part.assign(wrong=~part["correct"].astype(bool)).groupby("face_id", sort=True)
        image_ids = grouped["image_id"].first()
        values = grouped[[known.name for known in chosen]].mean().astype(float)
        yield FaceErrors(
            arm=str(arm),
            image_ids=image_ids.reset_index(drop=True),
            photographs=pd.factorize(image_ids, sort=True)[0].astype(np.int64),
            error=grouped["wrong"].mean().to_numpy(dtype=np.float64),
            table=values.reset_index(drop=True),
            properties=chosen,
            runs=int(part["seed"].nunique()),
        )


def _chosen(joined: pd.DataFrame, names: Sequence[str] | None) -> tuple[Property, ...]:
    available = list(_numeric(joined).columns)
    if names is None:
        names = [*(name for name in _KNOWN if name in available), *(name for name in available if name not in _KNOWN)]
    unknown = [name for name in names if name not in available]
    if unknown:
        raise ValueError(f"properties: {unknown[0]!r} is not a numeric column; there are: {', '.join(available)}")
    if not names:
        raise ValueError("properties: none to analyse; join the properties table first")
    return tuple(_KNOWN[name] if name in _KNOWN else _guessed(name, joined[name]) for name in names)


def _guessed(name: str, column: pd.Series) -> Property:
    """A property that is not known: flag, logs when positive and skewed, or as it is."""
    values = column.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    label = property_labels([name])[name]
    if len(values) and np.isin(values, (0.0, 1.0)).all():
        return Property(name, label, "flag")
    spread = values.std() if len(values) else 0.0
    skewness = float(((values - values.mean()) ** 3).mean() / spread**3) if spread > 0 else 0.0
    return Property(name, label, "log" if len(values) and values.min() > 0 and skewness > _SKEWED else "none")
