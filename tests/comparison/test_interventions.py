"""Curves and ranking of interventions: by hand, paired, and with intervals that cover."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from maskbench import schemas
from maskbench.comparison.interventions import intervention_curves, intervention_ranking, interventions_answer
from maskbench.schemas.interventions import INTERVENED, INTERVENTION_CURVES, INTERVENTION_RANKING
from tests.comparison.intervened import plausible, rows_of

COSTS = {"mild": {1.0: 0.0, 2.0: 0.02, 3.0: 0.05}, "strong": {9.0: 0.1, 5.0: 0.3, 1.0: 0.5}}
ARMS = {"first": 0.9, "second": 0.8}
CLASSES = ("ñ 1", "2", "c")
BY_HAND = pd.concat(
    [
        rows_of(list("aaab"), list("aaab"), list("ppqq")),
        rows_of(list("aaab"), list("abab"), list("ppqq"), intervention="blur", level=2, position=2, reference=True,
                changed=[True, True, False, False]),
        rows_of(list("aaab"), list("aaab"), list("ppqq"), intervention="blur", level=1, position=1, changed=False),
    ]
)  # fmt: skip


def at(table: pd.DataFrame, **wanted) -> pd.Series:
    found = table.loc[np.logical_and.reduce([table[name] == value for name, value in wanted.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_curves_by_hand() -> None:
    curves = intervention_curves(BY_HAND, ("a", "b"), resamples=50)
    schemas.validate(curves, INTERVENTION_CURVES)
    assert curves["position"].tolist() == [0, 0, 1, 1, 2, 2]  # untouched first, then by strength
    row = at(curves, position=2, metric="f1_macro")
    # a: 2 right of 3, none wrongly: F1 = 4/5; b: 1 right of 1, once wrongly: F1 = 2/3; mean 11/15
    assert row["value"] == pytest.approx(11 / 15) and row["drop"] == pytest.approx(4 / 15)
    assert (row["changed"], row["faces"], row["images"], row["seeds"]) == (2, 4, 2, 1)
    assert row["distortion"] == pytest.approx(6)
    assert at(curves, position=2, metric="accuracy")["drop"] == pytest.approx(1 / 4)
    for position in (0, 1):
        same = at(curves, position=position, metric="accuracy")
        assert (same["value"], same["drop"], same["drop_low"], same["drop_high"], same["changed"]) == (1, 0, 0, 0, 0)
    assert np.isnan(at(curves, position=0, metric="accuracy")["level"])


def test_values_are_means_over_seeds_of_scikit_learns() -> None:
    table = plausible(CLASSES, COSTS, ARMS, seeds=(0, 3))
    schemas.validate(table, INTERVENED)
    curves = intervention_curves(table, CLASSES, resamples=20)
    schemas.validate(curves, INTERVENTION_CURVES)
    assert curves["arm"].unique().tolist() == list(ARMS) and len(curves) == 2 * 2 * 4 * 2
    for (arm, name, level), part in table[table["level"].notna()].groupby(["arm", "intervention", "level"]):
        runs = [run for _, run in part.groupby("seed")]
        f1 = np.mean([f1_score(run["label"], run["predicted"], average="macro") for run in runs])
        share = np.mean([accuracy_score(run["label"], run["predicted"]) for run in runs])
        key = {"arm": arm, "intervention": name, "level": level}
        assert at(curves, metric="f1_macro", **key)["value"] == pytest.approx(f1)
        assert at(curves, metric="accuracy", **key)["value"] == pytest.approx(share)
    assert (curves["drop_low"] <= curves["drop"]).all() and (curves["drop"] <= curves["drop_high"]).all()
    assert (curves["low"] <= curves["value"]).all() and (curves["value"] <= curves["high"]).all()


def test_seeds_may_have_other_test_faces() -> None:
    parts = [plausible(CLASSES, COSTS, ARMS, seeds=(seed,), source=seed) for seed in (0, 1)]
    parts[1]["image_id"] = parts[1]["image_id"].str.replace("p", "q")
    parts[1]["face_id"] = parts[1]["face_id"].str.replace("p", "q")
    curves = intervention_curves(pd.concat(parts), CLASSES, resamples=30)
    assert set(curves["images"]) == {120} and curves["low"].notna().all()
    assert set(curves["faces"]) == {parts[0]["face_id"].nunique() + parts[1]["face_id"].nunique()}
    alone = [intervention_curves(part, CLASSES, resamples=5) for part in parts]
    np.testing.assert_allclose(curves["value"], (alone[0]["value"] + alone[1]["value"]) / 2)


def test_the_order_of_rows_is_of_no_account_and_nothing_is_altered() -> None:
    table = plausible(CLASSES, COSTS, {"one": 0.8})
    before = table.copy(deep=True)
    curves = intervention_curves(table, CLASSES, resamples=30, seed=7)
    pd.testing.assert_frame_equal(table, before)
    levels = [part for _, part in table.groupby(["intervention", "position"], sort=False)]
    mixed = pd.concat([part.sample(frac=1, random_state=0) for part in levels])
    pd.testing.assert_frame_equal(intervention_curves(mixed, CLASSES, resamples=30, seed=7), curves)
    assert (intervention_curves(table, CLASSES, resamples=30, seed=8)["drop_low"] != curves["drop_low"]).any()


def test_drops_are_paired() -> None:
    """Photographs differ much, each loses the same: the drop is known far better than either value."""
    labels = ["a", "b"] * 200
    images = np.repeat([f"p{i}" for i in range(40)], 10)
    hard = np.repeat(np.arange(40) % 2 == 0, 10)  # every second photograph is all wrong, but for its last two faces
    last, second = np.tile(np.arange(10) >= 8, 40), np.tile(np.arange(10) == 9, 40)
    swapped = np.array(["b", "a"] * 200)
    named = np.where(hard & ~last, swapped, labels)
    worse = np.where((hard & ~last) | second, swapped, labels)
    table = pd.concat(
        [rows_of(labels, named, images), rows_of(labels, worse, images, intervention="x", level=1, position=1)]
    )
    row = at(intervention_curves(table, ("a", "b"), resamples=300), position=1, metric="accuracy")
    assert row["drop"] == pytest.approx(0.1)  # one face of ten in every photograph
    assert row["high"] - row["low"] > 0.2
    # no draw differs, so what is left is what 40 photographs without an event allow: 1 - 0.025^(1/40)
    assert row["drop_high"] - row["drop"] == pytest.approx(1 - 0.025 ** (1 / 40))


def test_intervals_cover_their_photographs() -> None:
    """160 studies of 40 photographs: the nominal 95 % interval of a drop holds the true one."""
    costs = {"x": {1.0: 0.2}}
    covered = {"f1_macro": 0, "accuracy": 0}
    truth = intervention_curves(
        plausible(("a", "b"), costs, {"m": 0.9}, photographs=6000, rarest=0.3), ("a", "b"), resamples=2
    )
    for source in range(160):
        table = plausible(("a", "b"), costs, {"m": 0.9}, photographs=40, source=source + 1, rarest=0.3)
        curves = intervention_curves(table, ("a", "b"), resamples=200, seed=source)
        for metric in covered:
            row = at(curves, position=1, metric=metric)
            wanted = at(truth, position=1, metric=metric)["drop"]
            covered[metric] += row["drop_low"] <= wanted <= row["drop_high"]
    # 0.95 · 160 = 152, standard deviation √(160 · 0.95 · 0.05) = 2.8: fewer than 145 would not be chance
    assert min(covered.values()) >= 145 and max(covered.values()) < 160


def test_ranking_orders_by_the_drop_at_the_reference() -> None:
    curves = intervention_curves(plausible(CLASSES, COSTS, ARMS), CLASSES, resamples=100)
    ranking = intervention_ranking(curves)
    schemas.validate(ranking, INTERVENTION_RANKING)
    assert ranking["arm"].tolist() == ["first", "first", "second", "second"]
    assert ranking["intervention"].tolist() == ["strong", "mild"] * 2 and ranking["rank"].tolist() == [1, 2] * 2
    strong = at(ranking, arm="first", intervention="strong")
    point = at(curves, arm="first", intervention="strong", level=5.0, metric="f1_macro")
    assert (strong["level"], strong["drop"], strong["low"]) == (5.0, point["drop"], point["drop_low"])
    assert strong["worst_level"] == 1.0 and strong["worst_drop"] > strong["drop"] > 0.1
    by_accuracy = intervention_ranking(curves, "accuracy")
    assert (by_accuracy["metric"] == "accuracy").all() and by_accuracy["drop"].tolist() != ranking["drop"].tolist()
    with pytest.raises(ValueError, match="no rows of 'auc'"):
        intervention_ranking(curves, "auc")


def test_the_answer_names_the_costliest_and_what_shows_no_loss() -> None:
    curves = intervention_curves(plausible(CLASSES, COSTS, ARMS), CLASSES, resamples=100)
    answer = interventions_answer(curves, intervention_ranking(curves))
    assert "first loses most with strong at 5 px (0." in answer and "second loses most with strong at 5 px" in answer
    assert "no loss is shown for mild at 2 px" in answer
    assert "60 photographs (1 seed)" in answer and "other training seeds are not covered" in answer
    assert answer.count(". ") == 1 and answer.endswith(".")
    many = pd.concat([BY_HAND.assign(image_id=BY_HAND["image_id"] + f"-{n}", face_id=BY_HAND["face_id"] + f"-{n}")
                      for n in range(8)])  # fmt: skip
    nothing = intervention_curves(many.assign(predicted=many["label"]), ("a", "b"), resamples=20)
    assert "no loss of m is shown under any" in interventions_answer(nothing, intervention_ranking(nothing))
    empty = intervention_ranking(curves).iloc[:0]
    assert "could be ranked" in interventions_answer(curves, empty)


def test_undefined_intervals_say_why() -> None:
    single = BY_HAND.assign(image_id="p")
    curves = intervention_curves(single, ("a", "b"), resamples=20)
    row = at(curves, position=2, metric="accuracy")
    assert np.isnan(row["low"]) and np.isnan(row["drop_low"]) and row["reason"] == "1 photograph: fewer than 10"
    # class b sits in one photograph of two: nothing is known about another
    row = at(intervention_curves(BY_HAND, ("a", "b"), resamples=20), position=2, metric="f1_macro")
    assert np.isnan(row["drop_low"]) and row["reason"] and row["drop"] > 0
    answer = interventions_answer(curves, intervention_ranking(curves))
    assert "no interval" in answer and "nan" not in answer


def test_a_class_absent_from_the_test_side_counts_as_in_the_evaluation() -> None:
    table = plausible(("a", "b"), COSTS, {"m": 0.8})
    both = intervention_curves(table, ("a", "b"), resamples=20)
    three = intervention_curves(table, ("a", "z", "b"), resamples=20)
    np.testing.assert_allclose(both["value"], three["value"])


def test_unfit_tables_are_refused() -> None:
    for table, message in [
        (BY_HAND[BY_HAND["intervention"] != "none"], "no untouched faces"),
        (BY_HAND.iloc[:-1], "not measured on the same faces"),
        (BY_HAND.assign(predicted="q"), "none of the classes"),
    ]:
        with pytest.raises(ValueError, match=message):
            intervention_curves(table, ("a", "b"), resamples=5)
    for options, message in (({"resamples": 1}, "resamples"), ({"confidence": 1.0}, "confidence")):
        with pytest.raises(ValueError, match=message):
            intervention_curves(BY_HAND, ("a", "b"), **options)
    assert intervention_curves(BY_HAND.iloc[:0], ("a", "b")).empty
