"""What is lost to localisation and what to classification, and which properties of faces drive localisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from maskbench.comparison.face_errors import face_errors, join_properties
from maskbench.eda.bootstrap import draw_resamples
from maskbench.evaluation.intervals import interval, no_interval, too_few_photographs
from maskbench.schemas import empty_table
from maskbench.schemas.localisation import DETECTION_LOSSES, OUTCOMES, PLACEMENT_EFFECTS

Floats = NDArray[np.float64]
#: A found face is well placed from this IoU on: COCO's AP75.
WELL_PLACED = 0.75
#: Less overlap is none at all: Bolya et al. 2020 tell badly placed boxes from missed faces here.
_TOUCHES = 0.1
_KEYS = ["arm", "seed", "split", "face_id", "image_id", "label", "predicted"]
_SYSTEM = ["arm", "seed", "split", "pipeline"]


def losses_table(found: pd.DataFrame, *, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """What became of the faces, for every system.

    Args:
        found: `schemas.detection.FOUND_FACES`.
        resamples: of photographs.
        confidence: in (0, 1).
        seed: of the resampling; equal photographs are drawn for systems that saw the same.

    Returns:
        `schemas.localisation.DETECTION_LOSSES`.
    """
    rows: list[dict[str, Any]] = []
    for key, part in found.groupby(_SYSTEM, sort=False):
        outcome = np.select(
            [part["named"], part["found"], part["iou"].fillna(0) >= _TOUCHES], list(OUTCOMES[:3]), OUTCOMES[3]
        )
        draws = draw_resamples(pd.Series(sorted(part["image_id"].unique())), resamples, confidence, seed)
        places = draws.image_ids.get_indexer(pd.Index(part["image_id"]))
        for name in OUTCOMES:
            hits = outcome == name
            spread = draws.interval(draws.means(hits.astype(float), places), len(draws.image_ids))
            rows.append(
                dict(zip(_SYSTEM, key, strict=True))
                | {"outcome": name, "count": int(hits.sum()), "faces": len(part), "share": float(hits.mean())}
                | {"low": spread.low, "high": spread.high, "reason": spread.reason, "confidence": confidence}
            )
    return pd.DataFrame(rows, columns=list(DETECTION_LOSSES.columns))


def missed_faces(found: pd.DataFrame) -> pd.DataFrame:
    """Faces as predictions whose error is not to be found.

    Args:
        found: `schemas.detection.FOUND_FACES`; the detector alone counts, as naming finds no face.

    Returns:
        Columns that `explain_errors` needs: `correct` where a box with IoU ≥ 0.5 was matched to the face.
    """
    part = found[found["pipeline"] == "detector"]
    return part[_KEYS].assign(correct=part["found"]).reset_index(drop=True)


def misplaced_faces(found: pd.DataFrame) -> pd.DataFrame:
    """Found faces as predictions whose error is a box of IoU below `WELL_PLACED`.

    Args:
        found: as in `missed_faces`.

    Returns:
        As in `missed_faces`, with `iou` beside.
    """
    part = found[(found["pipeline"] == "detector") & found["found"]]
    return part[[*_KEYS, "iou"]].assign(correct=part["iou"] >= WELL_PLACED).reset_index(drop=True)


def placement_effects(
    found: pd.DataFrame,
    properties: pd.DataFrame,
    training: Mapping[int, pd.DataFrame] | None,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Rank correlation of each property with the IoU of found faces, for every arm.

    Args:
        found: `schemas.detection.FOUND_FACES`.
        properties: see `join_properties`.
        training: see `join_properties`.
        resamples: of photographs; ranks are those of all faces.
        confidence: in (0, 1).
        seed: of the resampling.

    Returns:
        `schemas.localisation.PLACEMENT_EFFECTS`: Spearman's coefficient over faces, each once with the mean IoU of
        the runs that found it; a missing neighbour counts as infinitely far. Intervals are those of
        `evaluation.intervals.interval`.

    Source:
        Spearman 1904, American Journal of Psychology 15:72-101; cluster bootstrap: Davison & Hinkley 1997, sec. 3.8.
    """
    placed = misplaced_faces(found)
    if placed.empty:
        return empty_table(PLACEMENT_EFFECTS)
    rows: list[dict[str, Any]] = []
    for data in face_errors(join_properties(placed, properties, training)):
        overlap = placed[placed["arm"] == data.arm].groupby("face_id", sort=True)["iou"].mean().to_numpy()
        draws = draw_resamples(pd.Series(sorted(data.image_ids.unique())), resamples, confidence, seed)
        for known in data.properties:
            sign = -1.0 if known.transform == "reciprocal" else 1.0  # about the property itself
            values = sign * known.apply(data.table[known.name].to_numpy())
            used = np.isfinite(values)
            row: dict[str, Any] = {"arm": data.arm, "property": known.name, "faces": int(used.sum())}
            row |= {"photographs": len(np.unique(data.photographs[used])), "mean_iou": float(overlap.mean())}
            row |= {"correlation": np.nan, "low": np.nan, "high": np.nan, "confidence": confidence}
            row["reason"] = _undefined(values[used], overlap[used])
            if not row["reason"]:
                plain, drawn = _rank_correlations(values[used], overlap[used], data.photographs[used], draws.weights)
                few = too_few_photographs(row["photographs"])
                limits = (
                    no_interval(few)
                    if few
                    else interval(
                        np.array([plain]), drawn[None], row["photographs"], "share difference", confidence=confidence
                    )
                )
                row |= {"correlation": plain, "low": limits.low, "high": limits.high, "reason": limits.reason}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(PLACEMENT_EFFECTS.columns))


def _undefined(values: Floats, overlap: Floats) -> str:
    if len(values) < 3:
        return f"{len(values)} faces have it"
    return "the same for every face" if np.ptp(values) == 0 or np.ptp(overlap) == 0 else ""


def _rank_correlations(
    first: Floats, second: Floats, photographs: NDArray[np.int64], weights: NDArray[np.unsignedinteger]
) -> tuple[float, Floats]:
    """Pearson's coefficient of the ranks, of all faces and of every draw of photographs (R,)."""
    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    size = weights.shape[1]
    sums = np.stack([np.bincount(photographs, part, size) for part in (np.ones_like(x), x, y, x * x, y * y, x * y)])

    def coefficient(totals: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = totals
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = (n * sxy - sx * sy) / np.sqrt((n * sxx - sx**2) * (n * syy - sy**2))
        return found

    return float(coefficient(sums.sum(axis=1))), coefficient(np.asarray(sums @ weights.T, dtype=np.float64))
