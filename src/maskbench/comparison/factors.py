"""Question 2, the observational part: which properties of the faces go with the errors, and how surely.

Observation is not cause: a property that goes with the errors may stand for another that was not
measured. Interventions on the same faces are the test of what is found here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from maskbench.comparison.design import property_correlations
from maskbench.comparison.error_model import SHOWN, UNDEFINED, error_model
from maskbench.comparison.error_rates import error_effects, error_rates
from maskbench.comparison.face_errors import join_properties, property_labels
from maskbench.comparison.odds import odds_table
from maskbench.comparison.wording import NO_INTERVAL, NOTHING, interval_text, why
from maskbench.schemas.factors import FACTOR_RANKING
from maskbench.steps import Progress, in_steps

_MEASURES = ("effect", "log_odds", "importance")
_NAMED = 2
#: Of some twenty properties one or two pass a single uncorrected interval by luck; two measures seldom agree by it,
#: and one of them has to be the odds, whose p-values are corrected for the number of properties.
_ENOUGH = 2


@dataclass(frozen=True, eq=False)
class FactorTables:
    """Everything the observational part finds.

    Attributes:
        rates: `schemas.factors.ERROR_RATES`.
        effects: `schemas.factors.ERROR_EFFECTS`.
        odds: `schemas.factors.ODDS`.
        correlations: `schemas.factors.PROPERTY_CORRELATIONS`.
        skill: `schemas.factors.ERROR_MODEL_SKILL`.
        importance: `schemas.factors.IMPORTANCE`.
        dependence: `schemas.factors.PARTIAL_DEPENDENCE`.
        ranking: `schemas.factors.FACTOR_RANKING`.
    """

    rates: pd.DataFrame
    effects: pd.DataFrame
    odds: pd.DataFrame
    correlations: pd.DataFrame
    skill: pd.DataFrame
    importance: pd.DataFrame
    dependence: pd.DataFrame
    ranking: pd.DataFrame


@dataclass(frozen=True)
class FactorsAnswer:
    """The answer to question 2 in words.

    Attributes:
        answer: two sentences with numbers.
        would_change: what would change the verdict.
    """

    answer: str
    would_change: str


def explain_errors(
    predictions: pd.DataFrame,
    properties: pd.DataFrame,
    training: pd.DataFrame | Mapping[int, pd.DataFrame] | None = None,
    *,
    split: str = "test",
    names: Sequence[str] | None = None,
    bins: int = 5,
    folds: int = 5,
    repeats: int = 10,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> FactorTables:
    """All tables of the observational part, for every arm.

    Args:
        predictions: `schemas.PREDICTIONS`.
        properties: see `join_properties`.
        training: see `join_properties`.
        split: the side.
        names: properties to analyse, see `face_errors`.
        bins: of error rates, see `error_rates`.
        folds: see `error_model`.
        repeats: see `error_model`.
        resamples: of photographs, for every bootstrap interval.
        confidence: of every interval, in (0, 1).
        seed: of all random draws.
        progress: called with steps done and in all.

    Raises:
        ValueError: see `join_properties`, `face_errors`, and the functions that make the tables.
    """
    joined = join_properties(predictions, properties, training, split=split)
    drawn: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    found: dict[str, Any] = in_steps(
        progress,
        {
            "rates": lambda: error_rates(joined, names, bins=bins, confidence=confidence),
            "effects": lambda: error_effects(joined, names, **drawn),
            "odds": lambda: odds_table(joined, names, confidence=confidence),
            "correlations": lambda: property_correlations(joined, names),
            "model": lambda: error_model(joined, names, folds=folds, repeats=repeats, **drawn),
        },
    )
    model = found.pop("model")
    return FactorTables(
        **found,
        skill=model.skill,
        importance=model.importance,
        dependence=model.dependence,
        ranking=rank_factors(found["effects"], found["odds"], model.importance),
    )


def rank_factors(effects: pd.DataFrame, odds: pd.DataFrame, importance: pd.DataFrame) -> pd.DataFrame:
    """Properties by how strongly and how surely they go with the errors, for each arm.

    Args:
        effects: `schemas.factors.ERROR_EFFECTS`.
        odds: `schemas.factors.ODDS`; those "together" count, or "alone" where no joint model was fitted.
        importance: `schemas.factors.IMPORTANCE`; counts where the model's skill is shown.

    Returns:
        `schemas.factors.FACTOR_RANKING`, by arm and rank, the unranked last.
    """
    parts = [
        _rank_arm(
            arm,
            effects[effects["arm"] == arm].set_index("property"),
            odds[odds["arm"] == arm],
            importance[importance["arm"] == arm].set_index("property"),
        )
        for arm in effects["arm"].unique()
    ]
    return pd.concat(parts, ignore_index=True)[list(FACTOR_RANKING.columns)]


def _rank_arm(arm: str, effects: pd.DataFrame, odds: pd.DataFrame, importance: pd.DataFrame) -> pd.DataFrame:
    names = list(effects.index)
    joint = odds[odds["model"] == "together"].set_index("property")
    model = "together" if joint["log_odds"].notna().any() else "alone"
    chosen = odds[odds["model"] == model].set_index("property")
    skill = str(importance["skill"].iloc[0])
    table = pd.DataFrame({"arm": arm, "property": names}, index=names)
    table["effect"] = effects["effect"]
    table["log_odds"] = chosen["log_odds"]
    table["importance"] = importance["importance"].where(importance["skill"] == SHOWN)
    table["odds_model"] = np.where(table["log_odds"].notna(), model, "")
    table["skill"] = skill
    table["reason"] = joint["reason"].where((joint["determined_by"] != "") | effects["effect"].isna(), "")
    constant = effects["effect"].isna() & table["log_odds"].isna()
    ranked = (joint["determined_by"] == "") & ~constant
    confidence = chosen["confidence"]
    supports = {
        "effect": (effects["low"] > 0) | (effects["high"] < 0),
        "log_odds": chosen["p_value_holm"] < 1 - confidence,
        "importance": (importance["low"] > 0) & table["importance"].notna(),
    }
    table["supported"] = sum(supports[name].reindex(names).astype(int) for name in _MEASURES)
    table["measured"] = table[list(_MEASURES)].notna().sum(axis=1).astype(int)
    for name in _MEASURES:
        strength = table[name] if name == "importance" else table[name].abs()
        table[f"{name}_rank"] = strength.where(ranked).rank(ascending=False, method="average")
    table["mean_rank"] = table[[f"{name}_rank" for name in _MEASURES]].mean(axis=1)
    order = table[ranked].sort_values(["supported", "mean_rank"], ascending=[False, True], kind="stable").index
    table["rank"] = pd.Series(np.arange(1, len(order) + 1, dtype=float), index=order)
    table["direction"] = np.where(
        table["effect"] > 0,
        "higher values, more errors",
        np.where(table["effect"] < 0, "lower values, more errors", ""),
    )
    return table.sort_values("rank", kind="stable", na_position="last")


def factors_answer(tables: FactorTables) -> FactorsAnswer:
    """Question 2 answered in two sentences, and what would change the verdict.

    Args:
        tables: of `explain_errors`.

    Returns:
        The first sentence names each arm's properties that at least two measures support, the odds after Holm's
        correction among them, strongest first, with odds ratio and error rates; the second says how much all of them
        together explain.
    """
    arms = list(tables.ranking["arm"].unique())
    first = "; ".join(_arm_finding(tables, arm) for arm in arms)
    second = "; ".join(_arm_skill(tables.skill, arm) for arm in arms)
    answer = f"On these faces, {first}. All properties together tell wrong from right faces of unseen photographs "
    return FactorsAnswer(f"{answer}{second} (chance: 0.5).", _would_change(tables, arms))


def _arm_finding(tables: FactorTables, arm: str) -> str:
    basis = tables.skill[tables.skill["arm"] == arm].iloc[0]
    where = f"{arm} errs on {basis['errors']:.3g} of {basis['faces']} faces in {basis['photographs']} photographs"
    found = named_properties(tables, arm)
    if not found:
        few = _few(tables, arm)
        return f"{where}, and no property is shown to go with its errors" + (f" ({few})" if few else "")
    labels = property_labels(found)
    named = [f"{labels[name]} ({_numbers(tables, arm, name)})" for name in found[:_NAMED]]
    return f"{where}, most with {' and '.join(named)}"


def named_properties(tables: FactorTables, arm: str) -> list[str]:
    """Properties that are shown to go with an arm's errors, strongest first.

    Args:
        tables: of `explain_errors`.
        arm: name of the arm.

    Returns:
        Those with `_ENOUGH` supporting measures, one of which survives Holm's correction over all properties.
    """
    ranking = tables.ranking[(tables.ranking["arm"] == arm) & tables.ranking["rank"].notna()]
    odds = tables.odds[(tables.odds["arm"] == arm) & (tables.odds["p_value_holm"] < 1 - tables.odds["confidence"])]
    corrected = set(zip(odds["property"], odds["model"], strict=True))
    return [
        str(row["property"])
        for row in ranking.to_dict("records")
        if row["supported"] >= _ENOUGH and (row["property"], row["odds_model"]) in corrected
    ]


def _few(tables: FactorTables, arm: str) -> str:
    """Why no property can be: too few errors for any interval."""
    effects = tables.effects[tables.effects["arm"] == arm]
    reasons = [str(reason) for reason in effects["reason"] if str(reason).startswith(NO_INTERVAL)]
    return why(reasons[0]) if reasons and effects["low"].isna().all() else ""


def _numbers(tables: FactorTables, arm: str, name: str) -> str:
    """Odds ratio with interval, and the error rates of the property's worst and best bin."""
    row = tables.ranking[(tables.ranking["arm"] == arm) & (tables.ranking["property"] == name)].iloc[0]
    found = []
    odds = tables.odds
    one = odds[(odds["arm"] == arm) & (odds["property"] == name) & (odds["model"] == row["odds_model"])]
    if len(one):
        fit = one.iloc[0]
        what = (
            "of its reciprocal"
            if fit["transform"] == "reciprocal"
            else "of its log"
            if fit["transform"] == "log"
            else ""
        )
        found.append(
            f"odds ratio {fit['odds_ratio']:.2f} per standard deviation{f' {what}' if what else ''}, "
            + interval_text(fit["low"], fit["high"], confidence=fit["confidence"], digits=2, signed=False)
        )
    rates = tables.rates[(tables.rates["arm"] == arm) & (tables.rates["property"] == name)].dropna(subset="rate")
    if len(rates) > 1:
        ordered = rates.sort_values("rate", kind="stable")
        worst, best = ordered.iloc[-1], ordered.iloc[0]
        found.append(f"error rate {worst['rate']:.1%} at {worst['bin']}, {best['rate']:.1%} at {best['bin']}")
    return "; ".join(found).replace("; ", ", ")


def _arm_skill(skill: pd.DataFrame, arm: str) -> str:
    row = skill[(skill["arm"] == arm) & (skill["metric"] == "auc")].iloc[0]
    if np.isnan(row["value"]):
        return f"with an AUC that is undefined in {arm} ({row['reason']})"
    limits = interval_text(row["low"], row["high"], str(row["reason"]), digits=2, signed=False)
    if row["skill"] == UNDEFINED:
        return f"with an AUC of {row['value']:.2f} in {arm}, of which {NOTHING}: {limits}"
    shown = "" if row["skill"] == SHOWN else ", which shows no skill"
    return f"with an AUC of {row['value']:.2f} ({limits}{shown}) in {arm}"


def _would_change(tables: FactorTables, arms: Sequence[str]) -> str:
    parts: list[str] = []
    for arm in arms:
        ranking = tables.ranking[(tables.ranking["arm"] == arm) & tables.ranking["rank"].notna()]
        weak = ranking[(ranking["supported"] > 0) & (ranking["supported"] < ranking["measured"])]
        if len(weak):
            row = weak.iloc[0]
            label = property_labels([row["property"]])[row["property"]]
            parts.append(f"in {arm}, {label} rests on {row['supported']} of {row['measured']} measures")
    few: list[Any] = sorted({round(value) for value in tables.skill["errors"]})
    basis = f"The verdict rests on {' and '.join(map(str, few))} errors per arm"
    doubt = f"; {'; '.join(parts)}" if parts else ""
    return (
        f"{basis}{doubt}. It would change if more photographs moved an interval across no effect, or if changing a "
        "property on the same faces, all else equal, left the error rate where it is: what goes with the errors need "
        "not cause them."
    )
