"""Numbers that describe photographs and boxes: tables in, tables out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from maskbench.data.boxes import box_properties
from maskbench.eda.bootstrap import Floats, Ints, Resamples

#: Columns of the images table that are summarised, with their units.
IMAGE_QUANTITIES = {
    "width": "px",
    "height": "px",
    "aspect": "width / height",
    "bytes": "bytes",
    "transparent_share": "share of pixels",
    "brightness": "grey levels, 0-255",
    "contrast": "grey levels, 0-255",
    "saturation": "0-255",
    "sharpness": "variance of the Laplacian",
    "faces": "faces per photograph",
}
#: Properties of a box that are summarised and tested, with their units.
BOX_QUANTITIES = {
    "box_width": "px",
    "box_height": "px",
    "box_area": "px²",
    "box_aspect": "width / height",
    "box_share": "share of the photograph",
}


def describe(values: Floats, positions: Ints, resamples: Resamples) -> dict[str, Any]:
    """One summary row (`schemas.EDA_SUMMARY` without its names).

    Args:
        values: (N,); values that are not finite are left out and counted in `reason`.
        positions: (N,) columns of their photographs in `resamples`.
        resamples: for the intervals of mean and median.

    Returns:
        Moments and quartiles; `sd` has the divisor n - 1, quartiles are linearly interpolated
        (Hyndman & Fan 1996, type 7). NaN with a reason where undefined.
    """
    finite = np.isfinite(values)
    reasons = [f"{int((~finite).sum())} undefined value(s) left out"] if not finite.all() else []
    values, positions = values[finite], positions[finite]
    photographs = len(np.unique(positions))
    row: dict[str, Any] = {"n": len(values), "photographs": photographs}
    if not len(values):
        names = ("mean", "mean_low", "mean_high", "sd", "minimum", "q1", "median", "median_low", "median_high", "q3",
                 "maximum")  # fmt: skip
        row |= dict.fromkeys(names, np.nan)
        reasons.append("nothing to describe")
    else:
        mean = resamples.interval(resamples.means(values, positions), photographs)
        median = resamples.interval(resamples.medians(values, positions), photographs)
        minimum, q1, middle, q3, maximum = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        row |= {"mean": values.mean(), "mean_low": mean.low, "mean_high": mean.high}
        row |= {"sd": values.std(ddof=1) if len(values) > 1 else np.nan}
        row |= {"minimum": minimum, "q1": q1, "median": middle, "median_low": median.low, "median_high": median.high}
        row |= {"q3": q3, "maximum": maximum}
        reasons += ["no sd of one value"] if len(values) == 1 else []
        reasons += list(dict.fromkeys(reason for reason in (mean.reason, median.reason) if reason))
    row |= {"confidence": resamples.confidence, "resamples": resamples.count, "reason": "; ".join(reasons)}
    return row


def image_summary(images: pd.DataFrame, coverage: pd.DataFrame, resamples: Resamples) -> pd.DataFrame:
    """Size, light, sharpness, faces and box coverage of the photographs.

    Args:
        images: `schemas.IMAGES`.
        coverage: `schemas.IMAGE_COVERAGE` of the same photographs.
        resamples: of the same photographs.

    Returns:
        `schemas.EDA_SUMMARY`, one row per quantity, `class_name` empty.
    """
    positions = resamples.positions(images["image_id"])
    rows = [
        {"class_name": "", "quantity": quantity, "unit": unit}
        | describe(images[quantity].to_numpy(dtype=float), positions, resamples)
        for quantity, unit in IMAGE_QUANTITIES.items()
    ]
    covered = describe(coverage["coverage"].to_numpy(dtype=float), resamples.positions(coverage["image_id"]), resamples)
    rows.append({"class_name": "", "quantity": "coverage", "unit": "share of the photograph"} | covered)
    return pd.DataFrame(rows)


def image_kinds(images: pd.DataFrame) -> pd.DataFrame:
    """File formats, colour modes, bit depths (per channel) and transparency, most frequent first.

    Args:
        images: `schemas.IMAGES`.

    Returns:
        `schemas.IMAGE_KINDS`; shares sum to 1 within a property.
    """
    kinds = {
        "format": images["format"],
        "mode": images["mode"],
        "bit_depth": images["bit_depth"].astype(str) + " bit",
        "transparency": images["transparent_share"].map(_transparency),
    }
    rows = []
    for name, values in kinds.items():
        counts = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        rows += [
            {"property": name, "value": str(value), "photographs": int(count), "share": count / len(images)}
            for value, count in counts.items()
        ]
    return pd.DataFrame(rows)


def _transparency(share: float) -> str:
    if np.isnan(share):
        return "unknown"
    return "partly transparent" if share > 0 else "opaque"


def faces_per_image(images: pd.DataFrame) -> pd.DataFrame:
    """How many photographs hold how many faces.

    Args:
        images: `schemas.IMAGES`.

    Returns:
        `schemas.FACES_PER_IMAGE`, by rising number of faces; `face_share` is NaN if there are no faces.
    """
    counts = images["faces"].value_counts().sort_index()
    faces = counts.index.to_numpy(dtype=np.int64)
    photographs = counts.to_numpy(dtype=np.int64)
    held = faces * photographs
    return pd.DataFrame(
        {
            "faces": faces,
            "photographs": photographs,
            "photograph_share": photographs / photographs.sum(),
            "face_share": held / held.sum() if held.sum() else np.nan,
        }
    )


def box_table(faces: pd.DataFrame) -> pd.DataFrame:
    """Geometry of every box.

    Args:
        faces: `schemas.FACES`.

    Returns:
        `schemas.BOXES`, one row per face in the same order. An empty box (side 0) has aspect NaN.
    """
    properties = box_properties(faces)
    empty = properties["box_area"] <= 0
    return pd.DataFrame(
        {
            "face_id": faces["face_id"],
            "image_id": faces["image_id"],
            "class_name": faces["label"],
            "box_width": properties["box_width"],
            "box_height": properties["box_height"],
            "box_area": properties["box_area"],
            "box_side": np.sqrt(properties["box_area"]),
            "box_aspect": properties["box_aspect"].mask(empty),
            "box_share": properties["box_share"].clip(upper=1),
            "centre_x": properties["centre_x"].clip(0, 1),
            "centre_y": properties["centre_y"].clip(0, 1),
            "at_border": properties["at_border"],
            "faces_in_image": properties["faces_in_image"],
        }
    ).reset_index(drop=True)


def box_summary(boxes: pd.DataFrame, classes: Sequence[str], resamples: Resamples) -> pd.DataFrame:
    """Width, height, area, aspect and share of the boxes, over all classes and for each.

    Args:
        boxes: `schemas.BOXES`.
        classes: in class order.
        resamples: of all photographs.

    Returns:
        `schemas.EDA_SUMMARY`: rows for `class_name` "" (all faces), then each class.
    """
    positions = resamples.positions(boxes["image_id"])
    labels = boxes["class_name"].to_numpy()
    rows = []
    for name in ("", *classes):
        chosen = np.ones(len(boxes), dtype=bool) if name == "" else np.asarray(labels == name)
        for quantity, unit in BOX_QUANTITIES.items():
            values = boxes[quantity].to_numpy(dtype=float)[chosen]
            row = describe(values, positions[chosen], resamples)
            rows.append({"class_name": name, "quantity": quantity, "unit": unit} | row)
    return pd.DataFrame(rows)
