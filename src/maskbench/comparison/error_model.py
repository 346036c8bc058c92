"""A non-linear model of the error: what all properties together explain, and which of them it uses.

A random forest predicts the share of runs that misclassify a face. Everything reported is measured on
faces of photographs that the forest was not fitted on, its own skill first: the importances of a model
that explains nothing mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import StratifiedGroupKFold

from maskbench.comparison import stated
from maskbench.comparison.concordance import Pairs, average_precision, ratio, wrong_right_pairs
from maskbench.comparison.design import Design, make_design
from maskbench.comparison.face_errors import (
    Floats,
    Ints,
    face_errors,
    photographs_behind,
    property_labels,
    too_few_errors,
)
from maskbench.eda.bootstrap import Resamples, draw_resamples
from maskbench.evaluation.intervals import Interval, Kind, interval, no_interval
from maskbench.schemas.factors import ERROR_MODEL_SKILL, IMPORTANCE, PARTIAL_DEPENDENCE

MODEL = "random forest, {trees} trees, at least {leaf} faces per leaf"
TREES = 200
#: Leaves of fewer faces follow single errors (Malley et al. 2012, Methods of Information in Medicine
#: 51:74-81, recommend larger leaves when a regression forest estimates probabilities).
LEAST_LEAF = 5
#: Shufflings of the scores that say what average precision chance reaches.
_CHANCE_DRAWS = 200
SHOWN, NOT_SHOWN, UNDEFINED = "shown", "not shown", "undefined"


@dataclass(frozen=True)
class ErrorModelTables:
    """What the non-linear model says.

    Attributes:
        skill: `schemas.factors.ERROR_MODEL_SKILL`.
        importance: `schemas.factors.IMPORTANCE`.
        dependence: `schemas.factors.PARTIAL_DEPENDENCE`.
    """

    skill: pd.DataFrame
    importance: pd.DataFrame
    dependence: pd.DataFrame


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Forests of one arm, one per fold, with the faces each was not fitted on.

    Attributes:
        design: columns and faces.
        error: (M,) of the used faces.
        photographs: (M,).
        held_out: per fold, positions of its faces.
        forests: per fold.
        scores: (M,) out-of-fold predictions.
        base: (M,) mean error of the faces the fold's forest was fitted on.
        reason: why there is no model; the rest is then empty.
    """

    design: Design
    error: Floats
    photographs: Ints
    held_out: list[Ints]
    forests: list[Any]
    scores: Floats
    base: Floats
    reason: str = ""


def error_model(
    joined: pd.DataFrame,
    properties: Sequence[str] | None = None,
    *,
    folds: int = 5,
    repeats: int = 10,
    resamples: int = 400,
    confidence: float = 0.95,
    top: int = 6,
    points: int = 15,
    seed: int = 0,
) -> ErrorModelTables:
    """Fit, cross-validate by photograph, and look inside, for each arm.

    Args:
        joined: of `join_properties`.
        properties: see `face_errors`; those that others determine are left out, as in the regression, so
            that no property's importance hides in its copy.
        folds: of whole photographs, with errors spread evenly; at least 2.
        repeats: shufflings per property.
        resamples: of photographs, for the intervals; the forests are not fitted again, so these cover the
            choice of test photographs.
        confidence: in (0, 1).
        top: partial dependence for as many properties, the same for all arms.
        points: of a partial dependence curve.
        seed: of folds, forests, shufflings, resampling.

    Returns:
        The tables. The AUC compares faces within folds; skill is "shown" where the interval lies above
        chance. Importance is the fall of that AUC, over all folds, when one column is shuffled among the
        held-out faces. With `too_few_errors` there are values and no intervals, and skill is "undefined"; with wrong
        or right faces in fewer photographs than folds, no values either: NaN with a reason.

    Raises:
        ValueError: `folds` below 2, or `confidence` outside (0, 1).

    Source:
        Breiman 2001, Machine Learning 45:5-32 (forest; permutation importance, sec. 10); Friedman 2001,
        Annals of Statistics 29:1189-1232, sec. 8.2 (partial dependence); Brier 1950; Roberts et al. 2017,
        Ecography 40:913-929 (folds of whole clusters).
    """
    if folds < 2:
        raise ValueError(f"folds: at least 2, not {folds}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1, not {confidence}")
    fitted = [_fit(make_design(data), folds, seed) for data in face_errors(joined, properties)]
    skill: list[dict[str, Any]] = []
    importance: list[dict[str, Any]] = []
    for model in fitted:
        ids = pd.Series(sorted(model.design.data.image_ids.unique()))
        draws = draw_resamples(ids, resamples, confidence, seed)
        common = {"arm": model.design.data.arm, "confidence": confidence, "resamples": resamples}
        rows = [common | row | stated.skill(str(row["metric"])) for row in _skill_rows(model, draws, seed)]
        labels = property_labels([known.name for known in model.design.data.properties])
        skill += rows
        verdict = str(rows[0]["skill"])
        importance += [
            common | row | {"repeats": repeats, "skill": verdict} | stated.importance(labels[row["property"]])
            for row in _importance_rows(model, draws, repeats, seed, verdict)
        ]
    skill_table = pd.DataFrame(skill, columns=list(ERROR_MODEL_SKILL.columns))
    importance_table = pd.DataFrame(importance, columns=list(IMPORTANCE.columns))
    names = _strongest(importance_table, top)
    curves = [row for model in fitted for row in _dependence_rows(model, names, points)]
    return ErrorModelTables(
        skill_table, importance_table, pd.DataFrame(curves, columns=list(PARTIAL_DEPENDENCE.columns))
    )


def _fit(design: Design, folds: int, seed: int) -> _Fitted:
    error, photographs = design.data.error[design.used], design.data.photographs[design.used]
    nothing = np.full(len(error), np.nan)
    with_errors = len(np.unique(photographs[error > 0]))
    with_correct = len(np.unique(photographs[error < 1]))
    reason = ""
    if not design.kept:
        reason = "no property to fit"
    elif min(with_errors, with_correct) < folds:
        reason = f"wrong or right faces in {min(with_errors, with_correct)} photographs: fewer than {folds} folds"
    if reason:
        return _Fitted(design, error, photographs, [], [], nothing, nothing, reason)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    scores, base = np.empty(len(error)), np.empty(len(error))
    held_out, forests = [], []
    for number, (inside, outside) in enumerate(splitter.split(design.columns, error > 0, photographs)):
        forest = RandomForestRegressor(
            TREES, min_samples_leaf=LEAST_LEAF, max_features=1 / 3, random_state=seed + number, n_jobs=1
        )
        forest.fit(design.columns[inside], error[inside])
        scores[outside], base[outside] = forest.predict(design.columns[outside]), error[inside].mean()
        held_out.append(np.asarray(outside, dtype=np.int64))
        forests.append(forest)
    return _Fitted(design, error, photographs, held_out, forests, scores, base)


def _pairs(model: _Fitted, scores: Floats) -> Pairs:
    """Pairs of held-out faces of one fold, summed over folds.

    Pairs across folds are left out: a fold with more errors leaves fewer to its forest, whose scores are
    then lower, which would make an AUC below chance out of nothing.
    """
    count = model.design.data.photograph_count
    parts = [
        wrong_right_pairs(scores[rows], model.error[rows], model.photographs[rows], count) for rows in model.held_out
    ]
    return reduce(add, parts)


def _brier_skill(model: _Fitted, weights: Floats) -> Floats:
    """1 - Brier score / that of the base rate, under weights (R, M): (R,)."""
    error = model.error

    def brier(forecast: Floats) -> Floats:
        return error * (1 - forecast) ** 2 + (1 - error) * forecast**2

    return 1 - ratio(weights @ brier(model.scores), weights @ brier(model.base))


def _skill_rows(model: _Fitted, draws: Resamples, seed: int) -> Iterator[dict[str, Any]]:
    photographs = len(np.unique(model.photographs))
    basis = {
        "faces": len(model.error),
        "photographs": photographs,
        "errors": float(model.error.sum()),
        "folds": len(model.forests),
        "model": MODEL.format(trees=TREES, leaf=LEAST_LEAF),
    }
    chance = {"auc": 0.5, "average_precision": np.nan, "brier_skill": 0.0}
    if model.reason:
        for metric, by_chance in chance.items():
            empty = dict.fromkeys(("value", "low", "high"), np.nan)
            yield basis | empty | {"metric": metric, "chance": by_chance, "skill": UNDEFINED, "reason": model.reason}
        return
    chance["average_precision"] = _chance_precision(model, seed)
    by_photograph = _with_plain(draws)
    kinds: dict[str, Kind] = {"auc": "area", "average_precision": "share", "brier_skill": "loss difference"}
    by_face = by_photograph[:, model.photographs]
    measured = {
        "auc": _pairs(model, model.scores).auc(by_photograph),
        "average_precision": average_precision(model.scores, model.error, by_face),
        "brier_skill": _brier_skill(model, by_face),
    }
    for metric, values in measured.items():
        limits = _limits(model, values, kinds[metric], draws)
        verdict, reason = UNDEFINED, limits.reason
        if not reason:
            verdict = SHOWN if limits.low > chance[metric] else NOT_SHOWN
            reason = "" if verdict == SHOWN else "the interval does not lie above chance"
        yield basis | {
            "metric": metric, "value": float(values[0]), "low": limits.low, "high": limits.high,
            "chance": chance[metric], "skill": verdict, "reason": reason,
        }  # fmt: skip


def _limits(model: _Fitted, values: Floats, kind: Kind, draws: Resamples) -> Interval:
    """The interval of a measurement of all faces and of every draw: (1 + R,)."""
    few = too_few_errors(model.error, model.photographs)
    if few or np.isnan(values[0]):
        return no_interval(few or "undefined on these faces")
    behind = photographs_behind(model.error, model.photographs)
    return interval(values[:1], values[None, 1:], behind, kind, confidence=draws.confidence)


def _with_plain(draws: Resamples) -> Floats:
    """Weights of photographs (1 + R, P): all once, then the resamples."""
    return np.concatenate([np.ones((1, len(draws.image_ids))), draws.weights.astype(np.float64)])


def _chance_precision(model: _Fitted, seed: int) -> float:
    """Mean average precision of shuffled scores: above the error rate when errors are few."""
    rng = np.random.default_rng(seed)
    one = np.ones((1, len(model.error)))
    drawn = [average_precision(rng.permutation(model.scores), model.error, one)[0] for _ in range(_CHANCE_DRAWS)]
    return float(np.mean(drawn))


def _importance_rows(
    model: _Fitted, draws: Resamples, repeats: int, seed: int, verdict: str
) -> Iterator[dict[str, Any]]:
    for name, why in model.design.left_out.items():
        yield _no_importance(name, why.reason)
    if model.reason:
        for known in model.design.kept:
            yield _no_importance(known.name, model.reason)
        return
    weights = _with_plain(draws)
    plain = _pairs(model, model.scores)
    shuffled = _shuffled_scores(model, repeats, seed)  # (p, repeats, M)
    for known, scores in zip(model.design.kept, shuffled, strict=True):
        shuffles = [_pairs(model, each) for each in scores]
        # The pairs are the same in every shuffle, so the mean AUC is that of the mean sums.
        mean = Pairs(np.mean([each.agree for each in shuffles], axis=0), plain.total)
        fall = plain.auc(weights) - mean.auc(weights)  # (1 + R,)
        each = np.concatenate([plain.auc(weights[:1]) - one.auc(weights[:1]) for one in shuffles])
        limits = _limits(model, fall, "share difference", draws)
        yield {
            "property": known.name,
            "importance": float(fall[0]),
            "sd": float(each.std(ddof=1)) if repeats > 1 else np.nan,
            "low": limits.low,
            "high": limits.high,
            "reason": limits.reason or ("" if verdict == SHOWN else "the model shows no skill"),
        }


def _no_importance(name: str, reason: str) -> dict[str, Any]:
    return {"property": name, **dict.fromkeys(("importance", "sd", "low", "high"), np.nan), "reason": reason}


def _shuffled_scores(model: _Fitted, repeats: int, seed: int) -> Floats:
    """Out-of-fold predictions (p, repeats, M) with one column shuffled among the faces of each fold."""
    rng = np.random.default_rng([seed, 1])
    p = model.design.columns.shape[1]
    scores = np.empty((p, repeats, len(model.error)))
    for rows, forest in zip(model.held_out, model.forests, strict=True):
        held = model.design.columns[rows]
        # One prediction for all: a forest takes long to start and little for more rows.
        copies = np.tile(held, (p, repeats, 1, 1))  # (p, repeats, faces, p)
        for column in range(p):
            for repeat in range(repeats):
                copies[column, repeat, :, column] = rng.permutation(held[:, column])
        scores[:, :, rows] = forest.predict(copies.reshape(-1, p)).reshape(p, repeats, len(rows))
    return scores


def _strongest(importance: pd.DataFrame, top: int) -> list[str]:
    """Properties by their mean importance over the arms."""
    means = importance.groupby("property", sort=False)["importance"].mean().dropna()
    return [str(name) for name in means.sort_values(ascending=False, kind="stable").index[:top]]


def _dependence_rows(model: _Fitted, names: Sequence[str], points: int) -> Iterator[dict[str, Any]]:
    kept = [known.name for known in model.design.kept]
    places = [kept.index(name) for name in names if name in kept]
    if model.reason or not places:
        return
    columns = model.design.columns
    grids = [_grid(columns[:, place], points) for place in places]
    lengths = [len(grid) for grid in grids]
    curves = []
    for rows, forest in zip(model.held_out, model.forests, strict=True):
        copies = np.tile(columns[rows], (sum(lengths), 1, 1))  # (all points, faces, p)
        for place, grid, part in zip(places, grids, np.split(copies, np.cumsum(lengths)[:-1]), strict=True):
            part[:, :, place] = grid[:, None]
        predicted = forest.predict(copies.reshape(-1, columns.shape[1]))
        curves.append(predicted.reshape(sum(lengths), len(rows)).mean(axis=1))
    sizes = np.array([len(rows) for rows in model.held_out])
    parts = np.split(np.stack(curves), np.cumsum(lengths)[:-1], axis=1)  # (folds, points) per property
    for place, grid, part in zip(places, grids, parts, strict=True):
        for point, value in enumerate(_raw(model.design, place, grid)):
            yield {
                "arm": model.design.data.arm, "property": kept[place], "point": point, "value": float(value),
                "error_rate": float(sizes @ part[:, point] / sizes.sum()), "low": float(part[:, point].min()),
                "high": float(part[:, point].max()), "folds": len(curves),
            }  # fmt: skip


def _grid(column: Floats, points: int) -> Floats:
    """All values if few, else quantiles from 2.5 to 97.5 %: beyond, few faces are behind the curve."""
    distinct = np.unique(column)
    if len(distinct) <= points:
        return distinct
    return np.unique(np.quantile(column, np.linspace(0.025, 0.975, points)))


def _raw(design: Design, place: int, grid: Floats) -> NDArray[np.float64]:
    """Standardised values of a column in the property's own unit; infinite for a missing neighbour."""
    values = grid * design.scales[place] + design.means[place]
    transform = design.kept[place].transform
    if transform == "log":
        return np.asarray(np.exp(values))
    if transform == "reciprocal":
        return np.asarray(np.divide(1.0, values, out=np.full(len(values), np.inf), where=values > 1e-9))
    return np.asarray(values)
