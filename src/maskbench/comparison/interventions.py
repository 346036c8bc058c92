"""What each intervention costs: curves of macro-F1 and accuracy over its levels, and a ranking of interventions.

The same faces stand at every level, and one draw of photographs counts for every level, arm and seed: a drop
is measured on the pairs (untouched, intervened), and its interval is that of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.comparison.wording import NOTHING, interval_text
from maskbench.evaluation.confusion import accuracy, class_ratios, macro_mean
from maskbench.evaluation.intervals import drawn_weights, interval, no_interval, too_few_photographs
from maskbench.schemas import empty_table
from maskbench.schemas.interventions import INTERVENTION_CURVES, INTERVENTION_RANKING, UNTOUCHED

Floats = NDArray[np.float64]
Row = dict[str, Any]

#: Measurements of the curves, and how sentences call them.
METRICS = {"f1_macro": "macro-F1", "accuracy": "accuracy"}
#: Numbers held at a time: 4 million float64 are 32 MB.
_CHUNK = 4_000_000
_KEY = ["intervention", "position"]


def intervention_curves(
    intervened: pd.DataFrame,
    classes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Macro-F1 and accuracy of each arm at every level of every intervention, and the drop against untouched.

    Values are means over the arm's seeds. Intervals are those of `evaluation.intervals.interval`, with
    `too_few_photographs` none, and cover the choice of test photographs, the trained models being what they are; the
    photographs behind macro-F1 are those with the rarest class. A draw that misses a class is left out for macro-F1.
    Where a level changes no face, its drop is 0 for certain; where it changes faces but no decision, the interval is
    that of photographs without an event.

    Args:
        intervened: `schemas.INTERVENED` of one or more arms and seeds; seeds may have different test faces.
        classes: class order, at least two.
        seed: of the draws.
        resamples: draws of as many photographs as there are.
        confidence: nominal coverage.

    Returns:
        `schemas.INTERVENTION_CURVES`.

    Raises:
        ValueError: senseless settings, a label outside `classes`, a run without untouched faces, or levels of one
            arm that were not measured on the same faces.

    Source:
        Field & Welsh, J. R. Stat. Soc. B 69 (2007) (drawing whole clusters); for the interval see there.
    """
    if resamples < 2:
        raise ValueError(f"resamples: at least 2, not {resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
    images = pd.Index(np.sort(intervened["image_id"].unique()))
    tables: list[pd.DataFrame] = []
    for arm, table in intervened.groupby("arm", sort=False):
        levels = _levels(table)
        runs = [_Run.of(part, levels, classes, images) for _, part in table.groupby("seed")]
        values = np.stack([run.measure(np.ones((1, len(images))))[0] for run in runs]).mean(axis=0)  # (L, M)
        drawn = _draw(runs, len(images), seed, resamples)  # (R, L, M)
        behind = _photographs_behind(runs)
        tables.append(_curve_rows(str(arm), table, levels, values, drawn, behind, confidence))
    if not tables:
        return empty_table(INTERVENTION_CURVES)
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Run:
    """One arm and seed.

    Attributes:
        counts: (I, L, K, K) faces by photograph (of all runs), level, true class, decision.
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, part: pd.DataFrame, levels: Sequence[Row], classes: Sequence[str], images: pd.Index) -> _Run:
        known = pd.MultiIndex.from_tuples([(level["intervention"], level["position"]) for level in levels])
        place = known.get_indexer(pd.MultiIndex.from_frame(part[_KEY]))
        order = pd.Index(list(classes))
        true, predicted = (order.get_indexer(pd.Index(part[column])) for column in ("label", "predicted"))
        if min(true.min(), predicted.min()) < 0:
            raise ValueError("intervened: a label or decision is none of the classes")
        counts = np.zeros((len(images), len(levels), len(order), len(order)), dtype=np.int64)
        np.add.at(counts, (images.get_indexer(pd.Index(part["image_id"])), place, true, predicted), 1)
        support = counts.sum(axis=3)  # (I, L, K)
        if (support != support[:, :1]).any():
            where = f"arm {part['arm'].iloc[0]}, seed {part['seed'].iloc[0]}"
            raise ValueError(f"intervened: {where}: levels were not measured on the same faces, or some are missing")
        return cls(counts)

    def measure(self, weights: Floats) -> Floats:
        """`METRICS` at every level under weights of photographs: (R, I) -> (R, L, M); NaN where a class is missing."""
        shape = self.counts.shape[1:]
        flat = self.counts.reshape(len(self.counts), -1).astype(np.float64)
        counts = np.rint(weights @ flat).astype(np.int64).reshape(-1, *shape)  # (R, L, K, K)
        support = self.counts[:, 0].sum(axis=(0, 2)) > 0  # (K,)
        complete = (counts[:, 0].sum(axis=2)[:, support] > 0).all(axis=1)  # (R,)
        f1 = np.where(complete[:, None], macro_mean(class_ratios(counts)["f1"], counts), np.nan)
        return np.stack([f1, accuracy(counts)], axis=2)


def _levels(table: pd.DataFrame) -> list[Row]:
    """The levels of an arm: the untouched one first, then as they come."""
    columns = [*_KEY, "description", "level", "unit", "reference"]
    levels = _records(table[columns].drop_duplicates(_KEY))
    levels.sort(key=lambda level: level["intervention"] != UNTOUCHED)
    if levels[0]["intervention"] != UNTOUCHED:
        raise ValueError(f"intervened: arm {table['arm'].iloc[0]}: no untouched faces (intervention {UNTOUCHED!r})")
    return levels


def _records(table: pd.DataFrame) -> list[Row]:
    """Rows as dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _draw(runs: Sequence[_Run], images: int, seed: int, resamples: int) -> Floats:
    """Means over runs of their measurements on draws of photographs: (R, L, M)."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(images, runs[0].counts[0].size))
    parts = []
    for start in range(0, resamples, step):
        weights = drawn_weights(rng, images, min(step, resamples - start))
        parts.append(np.mean([run.measure(weights) for run in runs], axis=0))
    return np.concatenate(parts)


def _photographs_behind(runs: Sequence[_Run]) -> dict[str, int]:
    """Distinct photographs that say something about each measurement."""
    holding = np.any([run.counts[:, 0].sum(axis=2) > 0 for run in runs], axis=0)  # (I, K)
    by_class = holding.sum(axis=0)
    return {"f1_macro": int(by_class[by_class > 0].min()), "accuracy": int(holding.any(axis=1).sum())}


def _curve_rows(
    arm: str, table: pd.DataFrame, levels: Sequence[Row], values: Floats, drawn: Floats, behind: dict[str, int],
    confidence: float,
) -> pd.DataFrame:  # fmt: skip
    """The rows of one arm."""
    facts: Row = {
        "confidence": confidence, "resamples": len(drawn), "seeds": table["seed"].nunique(),
        "images": table["image_id"].nunique(), "faces": table["face_id"].nunique(),
    }  # fmt: skip
    touched = table[table["changed"]].groupby(_KEY)["face_id"].nunique().to_dict()
    distortion = table.groupby(_KEY)["distortion"].mean().to_dict()
    rows = []
    for name in dict.fromkeys(level["intervention"] for level in levels[1:]):
        own = [(place, level) for place, level in enumerate(levels) if level["intervention"] == name]
        like_others = {key: own[0][1][key] for key in ("intervention", "description", "unit")}
        own.append((0, levels[0] | like_others))
        for place, level in sorted(own, key=lambda item: item[1]["position"]):
            key = (name, level["position"])
            spread = {"changed": int(touched.get(key, 0)), "distortion": float(distortion.get(key, 0.0))}
            for number, metric in enumerate(METRICS):
                row = {"arm": arm, **level, "metric": metric, **facts, **spread}
                pair = drawn[:, [0, place], number]
                basis = behind[metric], facts["images"], confidence
                rows.append(row | _measured(values[[0, place], number], pair, *basis, spread))
    return pd.DataFrame(rows, columns=list(INTERVENTION_CURVES.columns))


def _measured(values: Floats, drawn: Floats, photographs: int, images: int, confidence: float, spread: Row) -> Row:
    """Value and drop with their intervals, from (2,) and (R, 2): untouched and intervened."""
    value, drop = values[1:], values[:1] - values[1:]  # (1,): means over seeds already
    few = too_few_photographs(images)
    level = no_interval(few) if few else interval(value, drawn[:, 1][None], photographs, "share", confidence=confidence)
    gaps = (drawn[:, 0] - drawn[:, 1])[None]
    lost = no_interval(few) if few else interval(drop, gaps, photographs, "share difference", confidence=confidence)
    drop_low, drop_high = lost.low, lost.high
    if not spread["changed"]:  # nothing happened, so nothing is uncertain
        drop_low = drop_high = float(drop[0])
    limits = {"low": level.low, "high": level.high, "drop_low": drop_low, "drop_high": drop_high}
    found = {"value": float(value[0]), "drop": float(drop[0]), **limits}
    return found | {"incomplete": lost.incomplete, "reason": lost.reason}


def intervention_ranking(curves: pd.DataFrame, metric: str = "f1_macro") -> pd.DataFrame:
    """Interventions by what they cost at their reference level, for each arm.

    Levels of different interventions have no common unit. They are compared at one moderate level each, fixed
    before any model was measured (`data.interventions`), as the severities of Hendrycks & Dietterich are;
    `distortion` says how much of the picture each changes there, which for shifted boxes is not the same thing
    as for noise.

    Args:
        curves: `schemas.INTERVENTION_CURVES`.
        metric: the measurement that ranks.

    Returns:
        `schemas.INTERVENTION_RANKING`; interventions without their reference level are left out.

    Raises:
        ValueError: no rows of the metric.

    Source:
        Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions, ICLR 2019.
    """
    table = curves[(curves["metric"] == metric) & (curves["position"] != 0)]
    if table.empty:
        raise ValueError(f"curves: no rows of {metric!r}; name one of {', '.join(METRICS)}")
    rows = []
    for (arm, _), part in table.groupby(["arm", "intervention"], sort=False):
        known = part[part["drop"].notna()]
        worst = _records(known.nlargest(1, "drop"))
        farthest = worst[0] if worst else {"level": math.nan, "drop": math.nan}
        for row in _records(part[part["reference"]]):
            rows.append(
                {
                    "arm": arm, "metric": metric, "rank": math.nan,
                    **{name: row[name] for name in ("intervention", "description", "level", "unit", "drop")},
                    "low": row["drop_low"], "high": row["drop_high"],
                    "worst_level": farthest["level"], "worst_drop": farthest["drop"],
                    **{name: row[name] for name in ("faces", "changed", "distortion", "reason")},
                }
            )  # fmt: skip
    ranking = pd.DataFrame(rows, columns=list(INTERVENTION_RANKING.columns))
    ranking["rank"] = ranking.groupby("arm", sort=False)["drop"].rank(ascending=False, method="min").astype(float)
    order = {arm: number for number, arm in enumerate(ranking["arm"].unique())}
    ranking = ranking.assign(place=ranking["arm"].map(order)).sort_values(["place", "rank"], kind="stable")
    return ranking.drop(columns="place").reset_index(drop=True)


def interventions_answer(curves: pd.DataFrame, ranking: pd.DataFrame) -> str:
    """Which interventions cost the arms most, in two sentences.

    Args:
        curves: `schemas.INTERVENTION_CURVES`.
        ranking: `schemas.INTERVENTION_RANKING` of it.

    Returns:
        Plain text: the costliest intervention of each arm with its interval and those without a loss shown, and
        what would change this. One sentence that says so where nothing could be ranked.
    """
    ranked = ranking[ranking["drop"].notna()]
    if ranked.empty:
        return "No intervention could be ranked: predict test faces at the reference levels first."
    metric, facts = str(ranked["metric"].iloc[0]), curves.iloc[0]
    basis = (
        f"{_counted(int(facts['faces']), 'test face')} in {_counted(int(facts['images']), 'photograph')} "
        f"({_counted(int(facts['seeds']), 'seed')})"
    )
    costs = [_costliest(str(arm), part, METRICS.get(metric, metric), float(facts["confidence"]))
             for arm, part in ranked.groupby("arm", sort=False)]  # fmt: skip
    worst = ranked.loc[ranked.groupby("arm", sort=False)["worst_drop"].idxmax()]
    far = "; ".join(f"{row['arm']} with {_level(row, 'worst_level')} ({row['worst_drop']:.3f})"
                    for row in _records(worst))  # fmt: skip
    return (
        f"With one moderate level of each intervention on {basis}, {'; '.join(costs)}. "
        f"Other levels would change the order (at any level the most is lost by {far}), and other photographs may, "
        "within the intervals; other training seeds are not covered by them."
    )


def _costliest(arm: str, part: pd.DataFrame, metric: str, confidence: float) -> str:
    """What costs an arm most, and what shows no loss."""
    first, *others = _records(part)
    limits = interval_text(first["low"], first["high"], str(first["reason"]), confidence=confidence, signed=False)
    size = f"{first['drop']:.3f} of {metric}, {limits}"
    text = f"{arm} loses most with {_level(first, 'level')} ({size})"
    if math.isnan(first["low"]):
        return f"{NOTHING} of {arm} (the largest loss with {_level(first, 'level')}: {size})"
    if not first["low"] > 0:
        return f"no loss of {arm} is shown under any (the largest with {_level(first, 'level')}: {size})"
    unclear = [_level(row, "level") for row in others if not row["low"] > 0]
    return f"{text}; no loss is shown for {', '.join(unclear)}" if unclear else f"{text}; every other one costs too"


def _level(row: Row, column: str) -> str:
    """An intervention and its level, as a sentence names them."""
    return f"{row['description']} {row[column]:g} {row['unit']}".strip()


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
