"""Question 1 in two sentences: the numbers of the table, and what would change the verdict."""

import re

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.answer import comparison_answer, comparison_verdict, mcnemar_sentences
from maskbench.comparison.bootstrap import PHOTOGRAPHS, PHOTOGRAPHS_AND_SEEDS
from maskbench.comparison.paired import verdict
from maskbench.comparison.paired_tests import ALL_SEEDS, MCNEMAR_CLUSTERED


def row(**changes):
    found = {
        "arm": "new", "baseline": "old", "metric": "f1_macro", "class_name": "", "value": 0.05, "low": 0.02,
        "high": 0.08, "standard_error": 0.015, "alpha": 0.05, "p_value": 0.0004, "p_holm": 0.012,
        "covers": PHOTOGRAPHS_AND_SEEDS, "seeds": 5, "images": 130, "faces": 608, "reason": "",
    } | changes  # fmt: skip
    return found | {"verdict": verdict(found)}


def answer(*rows, **options):
    return comparison_answer(pd.DataFrame(rows), **options)


def test_a_difference_that_is_shown():
    found = answer(row())
    assert found.startswith(
        "On 130 test photographs with 608 faces and 5 seeds: new is better than old (macro-F1 of new"
    )
    for part in ("0.050 above that of old", "95% interval +0.020 to +0.080", "p < 0.001", "after Holm p = 0.012"):
        assert part in found
    assert "What would change the verdict: " in found
    assert "worth 0.020, the distance of the interval from 0 (other seeds are covered)" in found


def test_no_difference_says_what_would_fit_and_how_much_more_data_it_takes():
    # p_holm is twice p: what has to be passed is 0.025, 2.2414 standard errors of 0.03, of which the difference is
    # 0.02: (2.2414 · 0.03 / 0.02)² = 11.3 times the data.
    found = answer(
        row(value=0.02, low=-0.04, high=0.08, standard_error=0.03, p_value=0.4, p_holm=0.8, covers=PHOTOGRAPHS, seeds=1)
    )
    assert "and 1 seed: no difference shown between new and old" in found
    assert "about 11.3 times as many for an even chance" in found
    assert "up to 0.080 fit these data (other seeds are not covered)" in found


def test_significant_but_not_after_correction():
    found = answer(row(p_value=0.02, p_holm=0.2))
    assert "no difference shown" in found
    assert "fewer measurements tested at once: the interval alone does not contain 0" in found


def test_the_baseline_may_be_better_and_a_loss_is_better_when_lower():
    assert "old is better than new" in answer(row(value=-0.05, low=-0.08, high=-0.02))
    assert "new is better than old (cross-entropy of new 0.050 below" in answer(
        row(metric="loss", value=-0.05, low=-0.08, high=-0.02), metric="loss"
    )


def test_several_pairs_are_named():
    found = answer(row(), row(arm="other", value=0.0, low=-0.1, high=0.1, p_value=1.0, p_holm=1.0))
    assert "new is better than old" in found
    assert "no difference shown between other and old" in found
    assert "of other against old fit these data" in found


def test_two_sentences():
    for changes in ({}, {"value": 0.02, "low": -0.04, "p_holm": 1.0}, {"p_holm": 0.2}):
        assert len(re.findall(r"\.(?!\d)", answer(row(**changes)))) == 2  # full stops, not decimal points


def test_what_is_undefined_is_not_compared():
    undefined = {"value": np.nan, "low": np.nan, "high": np.nan, "p_value": np.nan, "p_holm": np.nan}
    found = answer(row(**undefined, reason="no face of this class"))
    assert "cannot be compared (no face of this class)" in found
    assert "test faces of every class in two photographs or more" in found


def test_another_metric_must_be_there():
    with pytest.raises(ValueError, match="accuracy"):
        answer(row(), metric="accuracy")


def test_other_measurements_that_differ_are_named():
    even = row(value=0.0, low=-0.1, high=0.1, p_value=1.0, p_holm=1.0)
    loss = row(metric="loss", value=-0.04, low=-0.07, high=-0.01, p_holm=0.003)
    recall = row(metric="recall", class_name="rare", value=0.0, low=-0.1, high=0.1, p_value=1.0, p_holm=1.0)
    found = answer(even, loss, recall)
    assert "no difference shown between new and old" in found
    assert (
        "of the 2 other measurements a difference is shown in cross-entropy (-0.040, interval -0.070 to -0.010, after "
        "Holm p = 0.003)" in found
    )
    assert "other measurements" not in answer(even, recall)


def test_many_pairs_are_summed_up():
    even = {"value": 0.0, "low": -0.1, "high": 0.2, "p_value": 1.0, "p_holm": 1.0}
    others = [row(arm=name, baseline=base, **even) for name, base in (("b", "a"), ("c", "a"), ("c", "b"))]
    found = answer(row(), *others)
    assert "of 4 pairs of arms, 1 differs in macro-F1: new is better than old (macro-F1 of new 0.050 above" in found
    assert "no difference shown between b and a, c and a, c and b" in found
    assert "true differences of up to 0.200 fit these data where none is shown; " in found
    assert "worth 0.020, the least distance of an interval of the others from 0" in found
    none = answer(*others, row(arm="d", **even))
    assert "of 4 pairs of arms, none differs in macro-F1; no difference" in none and "least distance" not in none


def mcnemar(**changes):
    facts = {"test": MCNEMAR_CLUSTERED, "seed": ALL_SEEDS, "arm": "new", "baseline": "old", "b": 0.0, "c": 12.0,
             "p_value": 0.03, "p_holm": 0.03, "reason": ""}  # fmt: skip
    return pd.DataFrame([facts | changes])


def test_a_test_that_cannot_be_made_is_no_sign_of_chance():
    reason = "the arms differ in one photograph"
    (found,) = mcnemar_sentences(mcnemar(p_value=float("nan"), p_holm=float("nan"), reason=reason))
    assert found == f"Only old was right in 0 decisions, only new in 12: that cannot be tested ({reason})."


def test_the_level_is_the_configured_one_and_what_is_covered_is_said():
    (at_five,), (at_one,) = mcnemar_sentences(mcnemar()), mcnemar_sentences(mcnemar(), alpha=0.01)
    assert ": more than chance explains of these trained models" in at_five
    assert ": no more than chance explains of these trained models" in at_one
    assert "other seeds are not covered" in at_five


def test_without_an_interval_nothing_can_be_said_whatever_the_test_says():
    why = "one seed: no spread between seeds; no interval: 9 photographs: fewer than 10"
    nothing = {"low": np.nan, "high": np.nan, "standard_error": np.nan, "images": 9, "seeds": 1, "reason": why}
    found = answer(row(value=0.118, p_value=0.001, p_holm=0.01, **nothing))
    assert "nothing can be said of new against old: macro-F1 of new 0.118 above that of old, no interval (9 " in found
    assert "(9 photographs: fewer than 10)" in found and "10 test photographs or more" in found
    assert "nan" not in found and "no difference shown" not in found and "is better" not in found
    # Nor of another measurement: it is not among those that differ.
    even = row(value=0.0, low=-0.1, high=0.1, p_value=1.0, p_holm=1.0)
    assert "other measurements" not in answer(even, row(metric="accuracy", **nothing))


def test_the_verdict_is_the_first_sentence_of_the_answer():
    for rows in ([row()], [row(low=np.nan, high=np.nan)], [row(arm=f"a{k}") for k in range(5)]):
        table = pd.DataFrame(rows)
        assert comparison_answer(table).startswith(f"{comparison_verdict(table)} What would change the verdict: ")
    nobody = pd.DataFrame(columns=["metric"])
    assert comparison_answer(nobody).startswith(comparison_verdict(nobody))


def test_pairs_that_rest_on_different_faces_say_so_and_missing_intervals_are_no_verdict():
    nothing = {"low": float("nan"), "high": float("nan"), "images": 9, "faces": 46, "seeds": 1, "reason": "too few"}
    found = answer(row(), *(row(arm=f"other{k}", p_value=1.0, p_holm=1.0, **nothing) for k in range(3)))
    assert found.startswith("On 9 to 130 test photographs with 46 to 608 faces and 1 to 5 seeds")
    assert "nothing can be said of other0 and old (too few), other1" in found
    assert "no difference shown" not in found
