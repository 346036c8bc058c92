"""Question 3 in words: what the tables of `comparison.mistakes` allow to be said, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from maskbench.comparison.mistakes import CONFIDENCE, MARGIN, MODELS, MistakeTables
from maskbench.comparison.wording import interval_text

#: What is said of maps: they add; gains that matter do not fit the data; neither; there are too few mistakes.
Verdict = Literal["adds", "not needed", "not shown", "unknown"]
_BASELINES = {"probability": "over the probabilities", CONFIDENCE: "over the largest probability alone"}


@dataclass(frozen=True)
class Answer:
    """Question 3 answered.

    Attributes:
        answer: the verdict.
        evidence: its numbers, a sentence for each arm.
        would_change: what would change it.
    """

    answer: str
    evidence: tuple[str, ...]
    would_change: str


def mistakes_answer(tables: MistakeTables) -> Answer:
    """Question 3 in two sentences, and what would change the verdict.

    A verdict is given only where the regression and the forest come to it, and both against the probabilities as
    they are and as they were fitted: a weak fit must pass neither for a gain of maps nor for their lack of one.

    Args:
        tables: of `mistake_models`.
    """
    arms = list(dict.fromkeys(tables.skill["arm"]))
    answer = "To find mistakes: " + "; ".join(_told(tables, arm) for arm in arms) + "."
    evidence = tuple(text for arm in arms if (text := _evidence(tables, arm)))
    return Answer(answer, evidence, _would_change(tables.gain, arms))


def verdict_of(gain: pd.DataFrame, arm: str, model: str) -> Verdict:
    """What one model says of an arm.

    Args:
        gain: `schemas.mistakes.MISTAKE_GAIN`.
        arm: name of the arm.
        model: a key of `comparison.mistakes.MODELS`.
    """
    rows = _gains(gain, arm, model)
    if rows[["gain", "low", "high"]].isna().to_numpy().any():
        return "unknown"
    if rows["shown"].all():
        return "adds"
    return "not shown" if rows["beyond_margin"].any() else "not needed"


def _gains(gain: pd.DataFrame, arm: str, model: str) -> pd.DataFrame:
    """Rows of what maps add to the probabilities by AUC, over both baselines."""
    asked = (gain["metric"] == "auc") & (gain["features"] == "both") & gain["baseline"].isin(list(_BASELINES))
    return gain[asked & (gain["arm"] == arm) & (gain["model"] == model)]


def _told(tables: MistakeTables, arm: str) -> str:
    known = tables.skill[(tables.skill["arm"] == arm) & (tables.skill["metric"] == "auc")]
    first = known.iloc[0]
    if first["reason"]:
        return f"in {arm} nothing can be said ({first['reason']})"
    verdicts = {model: verdict_of(tables.gain, arm, model) for model in MODELS}
    if "unknown" in verdicts.values():
        return f"in {arm} nothing can be said (wrong or right faces in {first['mistaken_images']} photographs only)"
    agreed = next(iter(verdicts.values())) if len(set(verdicts.values())) == 1 else "not shown"
    return {
        "adds": f"explanations add to the probabilities of {arm}",
        "not needed": f"explanations are not needed in {arm}: gains above {MARGIN:g} do not fit the data",
        "not shown": f"no gain from explanations is shown in {arm}",
    }[agreed]


def _evidence(tables: MistakeTables, arm: str) -> str:
    """The numbers under a verdict; empty where there is none."""
    known = tables.skill[(tables.skill["arm"] == arm) & (tables.skill["metric"] == "auc")]
    first = known.iloc[0]
    if first["reason"] or verdict_of(tables.gain, arm, "logistic") == "unknown":
        return ""
    values = {name: _value(known, name) for name in (CONFIDENCE, "probability", "maps", "both")}
    return (
        f"{arm}: AUC of finding {_basis(first)}: largest probability {values[CONFIDENCE]:.2f}, probabilities "
        f"{values['probability']:.2f}, maps alone {values['maps']:.2f}, both {values['both']:.2f}; "
        f"{'; '.join(_gain_told(tables.gain, arm, model, first['confidence']) for model in MODELS)}"
        f"{_second_opinion(tables.gain, arm)}."
    )


def _basis(row: Any) -> str:
    runs = f" in {row['seeds']} runs" if row["seeds"] > 1 else ""
    return (
        f"{row['mistakes']} mistakes in {row['predictions']} predictions{runs}, {row['mistaken_faces']} of "
        f"{row['faces']} faces"
    )


def _value(known: pd.DataFrame, features: str) -> float:
    """AUC of the regression, or of the plain probability."""
    part = known[(known["features"] == features) & known["model"].isin(["none", "logistic"])]
    return float(part["value"].iloc[0])


def _gain_told(gain: pd.DataFrame, arm: str, model: str, confidence: float) -> str:
    """The gain over the baseline that leaves least of it: what a gain has to beat."""
    rows = _gains(gain, arm, model)
    row = rows.sort_values("low").iloc[0]
    return f"gain by {_NAMES.get(model, model)} {_BASELINES[row['baseline']]} {row['gain']:+.3f}, " + interval_text(
        row["low"], row["high"], confidence=confidence
    )


_NAMES = {"logistic": "a regression", "forest": "a forest"}


def _second_opinion(gain: pd.DataFrame, arm: str) -> str:
    """What the agreement with other arms' maps adds to all that."""
    rows = gain[(gain["arm"] == arm) & (gain["features"] == "arms") & (gain["metric"] == "auc")]
    rows = rows[rows["model"] == "logistic"]
    if rows.empty or np.isnan(rows["gain"].iloc[0]):
        return ""
    return f"; agreement with the other arms' maps, a second model's opinion, adds {rows['gain'].iloc[0]:+.3f}"


def _would_change(gain: pd.DataFrame, arms: Sequence[str]) -> str:
    known = [arm for arm in arms if verdict_of(gain, arm, "logistic") != "unknown"]
    if not known:
        return "More test photographs with mistakes would make an answer possible."
    rows = pd.concat([_gains(gain, arm, model) for arm in known for model in MODELS])
    agree = [len({verdict_of(gain, arm, model) for model in MODELS}) == 1 for arm in known]
    mistakes = [str(_gains(gain, arm, "logistic")["mistakes"].iloc[0]) for arm in known]
    forest = "says the same" if all(agree) else "says otherwise" if not any(agree) else "says otherwise of one arm"
    return (
        f"It rests on {' and '.join(mistakes)} mistakes: true gains of up to {rows['high'].max():.3f} fit these data "
        "(the widest interval of both models and baselines), so more photographs could change it; a forest in place of "
        f"the regression {forest}. It is an answer for these features of maps and for finding mistakes; what a person "
        "learns from a map that shows a mistake's cause is not measured by it."
    )
