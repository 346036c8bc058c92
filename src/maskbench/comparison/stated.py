"""What the tests of questions 1 and 2 test and assume, as columns of their tables, so that a report can say it.

The permutation tests and the classical tests of pairs say theirs themselves (`paired`, `paired_tests`).
"""

from __future__ import annotations

Stated = dict[str, str]

_PHOTOGRAPHS = "Photographs are independent of each other; faces within one may depend on each other in any way."
_MODELS = "The trained models are taken as given; a face counts once, with the share of the runs that got it wrong."


def _stated(null: str, assumptions: str) -> Stated:
    return {"null_hypothesis": null, "assumptions": assumptions}


def sign_flip(arm: str, baseline: str, metric: str) -> Stated:
    """Of `convergence.convergence_differences`.

    Args:
        arm: one arm.
        baseline: the other.
        metric: a measurement of the validation curve.
    """
    return _stated(
        f"The sign of each seed's difference of {metric} is a coin toss: {arm} and {baseline} are exchangeable within "
        "a seed.",
        "Seeds are independent runs; where they share validation photographs, the test speaks of these photographs "
        "only. p is two-sided, of the mean difference; p (Holm) is corrected over all measurements of the pair.",
    )


def effect(name: str) -> Stated:
    """Of `error_rates.error_effects`.

    Args:
        name: of the property, for people.
    """
    return _stated(
        f"Wrong faces have neither higher nor lower values of {name} than right ones: the AUC is 0.5, the effect 0.",
        f"{_PHOTOGRAPHS} {_MODELS} Tested by whether the interval contains 0, without correction for the number of "
        "properties; monotone relations only.",
    )


def odds(name: str, together: bool) -> Stated:
    """Of `odds.odds_table`.

    Args:
        name: of the property, for people.
        together: is it one of several properties in the regression.
    """
    beside = "all other properties being equal, " if together else ""
    return _stated(
        f"The odds of an error do not change with {name}: {beside}the odds ratio is 1.",
        f"{_PHOTOGRAPHS} {_MODELS} The log odds of an error are linear in the property as it was transformed. "
        "Generalised estimating equations with an exchangeable working correlation and bias-reduced sandwich errors "
        "(which hold where the correlation is another), Student's t with photographs less coefficients as degrees of "
        "freedom. p (Holm) is corrected over all properties of the arm and the regression.",
    )


_CHANCE = {
    "auc": "rank wrong faces no higher than right ones of the same fold: the AUC is 0.5",
    "average_precision": "find wrong faces no better than the same scores shuffled",
    "brier_skill": "come no closer to the errors than the error rate of the other folds: the Brier skill is 0",
}


def skill(metric: str) -> Stated:
    """Of `error_model.error_model`, its skill.

    Args:
        metric: a metric of `schemas.factors.ERROR_MODEL_SKILL`.
    """
    return _stated(
        f"On photographs that the forest was not fitted on its scores {_CHANCE[metric]}.",
        f"{_PHOTOGRAPHS} {_MODELS} The fitted forests are taken as given too: they are not fitted again on each draw. "
        "Skill is shown where the two-sided interval lies above chance; the three metrics are not corrected for each "
        "other.",
    )


def importance(name: str) -> Stated:
    """Of `error_model.error_model`, its importances.

    Args:
        name: of the property, for people.
    """
    return _stated(
        f"Shuffling {name} among the held-out faces does not lower the forest's AUC.",
        f"{_PHOTOGRAPHS} {_MODELS} The fitted forests are taken as given, and their skill is shown. Shuffling parts a "
        "property from those that go with it, so two that say the same share their importance. Tested by whether the "
        "interval lies above 0, without correction for the number of properties.",
    )
