"""The tables of the comparison: values by hand, schemas, odd studies, and what verdicts are worth."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.answer import comparison_answer, mcnemar_sentences
from maskbench.comparison.arms import compare_arms
from maskbench.comparison.bootstrap import PHOTOGRAPHS, PHOTOGRAPHS_AND_SEEDS, draw_metrics
from maskbench.comparison.paired import NO_DIFFERENCE, NOTHING, difference_table, summary_table, verdict
from maskbench.comparison.paired_tests import (
    ALL_SEEDS,
    BOOTSTRAP,
    DELONG,
    MCNEMAR,
    MCNEMAR_CLUSTERED,
    paired_tests_table,
)
from maskbench.comparison.runs import Runs
from maskbench.eda.associations import holm
from maskbench.evaluation.classification import metrics_table
from maskbench.schemas import validate
from maskbench.schemas.comparison import COMPARISON_TABLES
from tests.comparison.simulated import CLASSES, runs_from, simulated
from tests.evaluation.tables import plausible_predictions, predictions_from

SHARES = [0.6, 0.25, 0.15]
FEW = {"resamples": 60, "permutations": 60}


def pick(table, metric, class_name="", **where):
    rows = table[(table["metric"] == metric) & (table["class_name"] == class_name)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture(scope="module")
def predictions():
    return plausible_predictions(CLASSES, SHARES, faces=300, arms={"x": 1.0, "y": 3.0}, seeds=(0, 1, 4))


@pytest.fixture(scope="module")
def tables(predictions):
    found = compare_arms(predictions, CLASSES, resamples=400, permutations=1999)
    return {name: validate(table, COMPARISON_TABLES[name]) for name, table in found.items()}


def test_values_of_seeds_are_those_of_the_metrics_table(predictions, tables):
    keys = ["arm", "seed", "metric", "class_name"]
    both = tables["seeds"].merge(metrics_table(predictions, CLASSES), on=keys, suffixes=("", "_metric"))
    assert len(both) == len(tables["seeds"]) == 6 * 17
    np.testing.assert_allclose(both["value"], both["value_metric"])


def test_summary_is_mean_and_deviation_over_seeds(tables):
    for metric, name in (("accuracy", ""), ("f1", "c"), ("loss", "")):
        values = tables["seeds"].query("arm == 'y' and metric == @metric and class_name == @name")["value"]
        row = pick(tables["summary"], metric, name, arm="y")
        assert row["value"] == pytest.approx(values.mean())
        assert row["sd"] == pytest.approx(values.std(ddof=1))
        assert row["low"] < row["value"] < row["high"]
        assert (row["seeds"], row["covers"], row["reason"]) == (3, PHOTOGRAPHS_AND_SEEDS, "")


def test_differences_are_paired_by_seed(predictions, tables):
    row = pick(tables["differences"], "f1_macro")
    assert (row["arm"], row["baseline"]) == ("y", "x")  # the first arm is the baseline
    wide = tables["seeds"].query("metric == 'f1_macro'").pivot_table(index="seed", columns="arm", values="value")
    gaps = wide["y"] - wide["x"]
    assert row["value"] == pytest.approx(gaps.mean())
    assert row["d_z"] == pytest.approx(gaps.mean() / gaps.std(ddof=1))
    assert row["verdict"] == "y higher"
    assert row["p_value"] == pytest.approx(1 / 2000)
    assert pick(tables["differences"], "loss")["verdict"] == "x higher"
    assert (row["images"], row["faces"]) == (predictions["image_id"].nunique(), 300)


def test_cohens_h_by_hand(tables):
    row = pick(tables["differences"], "accuracy")
    own, other = (pick(tables["summary"], "accuracy", arm=arm)["value"] for arm in ("y", "x"))
    assert row["h"] == pytest.approx(2 * np.arcsin(np.sqrt(own)) - 2 * np.arcsin(np.sqrt(other)))
    assert np.isnan(pick(tables["differences"], "f1_macro")["h"])
    assert "h: no share of faces" in pick(tables["differences"], "f1_macro")["reason"]


def test_the_family_is_the_table(predictions):
    draws = draw_metrics(Runs.of(predictions, CLASSES), resamples=20)
    one = difference_table(draws, permutations=99, metrics=["f1_macro"])
    assert len(one) == 1
    np.testing.assert_allclose(one["p_holm"], one["p_value"])
    with pytest.raises(ValueError, match="metrics: not measured: nothing"):
        difference_table(draws, metrics=["nothing"])


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "expected"),
    [(0.1, 0.3, 0.01, "y higher"), (-0.1, 0.3, 0.01, NO_DIFFERENCE), (0.1, 0.3, 0.06, NO_DIFFERENCE),
     (np.nan, np.nan, 0.01, NOTHING), (0.1, 0.3, np.nan, NO_DIFFERENCE)],
)  # fmt: skip
def test_a_verdict_needs_test_and_interval(low, high, p_holm, expected):
    row = {"arm": "y", "baseline": "x", "value": 0.2, "low": low, "high": high, "p_holm": p_holm, "alpha": 0.05}
    assert verdict(row) == expected


def test_classical_tests_say_what_they_assume(tables):
    tests = tables["tests"]
    # Per seed: 2 of decisions, 3 of areas for each class; over all seeds 1 of decisions and 1 for each class.
    assert len(tests) == 3 * (2 + 3 * 3) + 1 + 3
    exact = tests[(tests["test"] == MCNEMAR) & (tests["seed"] == "4")].iloc[0]
    values = tables["seeds"].query("seed == 4 and metric == 'accuracy'").set_index("arm")["value"]
    assert (exact["c"] - exact["b"]) / 300 == pytest.approx(values["y"] - values["x"])
    assert exact["value"] == pytest.approx(values["y"] - values["x"])
    area = pick(tests, "roc_auc", "b", test=DELONG, seed="0")
    assert area["value"] == pytest.approx(
        pick(tables["seeds"], "roc_auc", "b", arm="y", seed=0)["value"]
        - pick(tables["seeds"], "roc_auc", "b", arm="x", seed=0)["value"]
    )
    assert tests["null_hypothesis"].str.len().min() > 20
    assert "seeds are independent" in pick(tests, "roc_auc", "b", test=BOOTSTRAP, seed=ALL_SEEDS)["assumptions"]
    assert "Faces are independent" in exact["assumptions"]


def test_classical_tests_are_corrected_within_their_kind(tables):
    for _, part in tables["tests"].groupby(["test", tables["tests"]["seed"] == ALL_SEEDS]):
        np.testing.assert_allclose(part["p_holm"], holm(part["p_value"].to_numpy()))


def test_pooled_decisions_stand_by_photograph(tables):
    tests = tables["tests"]
    pooled = tests[(tests["test"] == MCNEMAR_CLUSTERED) & (tests["seed"] == ALL_SEEDS)].iloc[0]
    single = tests[(tests["test"] == MCNEMAR_CLUSTERED) & (tests["seed"] != ALL_SEEDS)]
    assert (pooled["b"], pooled["c"]) == (single["b"].sum(), single["c"].sum())
    sentence = mcnemar_sentences(tests)[0]
    assert f"Only x was right in {pooled['b']:.0f} decisions, only y in {pooled['c']:.0f}: more than chance" in sentence


def test_the_same_decisions_in_every_seed_are_no_more_evidence():
    table = plausible_predictions(CLASSES, SHARES, faces=80, arms={"x": 1.0, "y": 2.0})
    tests = compare_arms(pd.concat([table, table.assign(seed=1), table.assign(seed=2)]), CLASSES, **FEW)["tests"]
    clustered = tests[tests["test"] == MCNEMAR_CLUSTERED].set_index("seed")
    assert clustered.loc[ALL_SEEDS, "p_value"] == pytest.approx(clustered.loc["0", "p_value"])
    assert clustered.loc[ALL_SEEDS, "b"] == 3 * clustered.loc["0", "b"]


def test_one_seed_has_no_spread_and_says_what_is_covered():
    table = plausible_predictions(CLASSES, SHARES, faces=80, arms={"x": 2.0, "y": 2.5})
    found = compare_arms(table, CLASSES, **FEW)
    row = pick(found["differences"], "accuracy")
    assert np.isnan([row["sd"], row["d_z"]]).all()
    assert row["covers"] == PHOTOGRAPHS
    assert "one seed" in row["reason"]
    assert "The trained model is taken as given" in row["assumptions"]


def test_one_arm_has_a_summary_and_nothing_to_compare():
    found = compare_arms(plausible_predictions(CLASSES, SHARES, faces=60, seeds=(0, 1)), CLASSES, **FEW)
    for name, table in found.items():
        validate(table, COMPARISON_TABLES[name])
    assert found["differences"].empty
    assert found["tests"].empty
    assert len(found["summary"]) == 17
    assert comparison_answer(found["differences"]).startswith("One arm alone")


def test_three_arms_and_an_arm_that_lacks_a_seed():
    table = plausible_predictions(CLASSES, SHARES, faces=60, arms={"x": 1.0, "y": 2.0, "z": 2.0}, seeds=(0, 1))
    table = table[~((table["arm"] == "z") & (table["seed"] == 0))]
    found = compare_arms(table, CLASSES, **FEW)
    rows = found["differences"].query("metric == 'accuracy'")
    assert list(zip(rows["arm"], rows["baseline"], rows["seeds"], strict=True)) == [
        ("y", "x", 2), ("z", "x", 1), ("z", "y", 1),
    ]  # fmt: skip
    assert pick(found["summary"], "accuracy", arm="z")["seeds"] == 1


def test_arms_without_a_common_seed_are_not_compared():
    table = plausible_predictions(CLASSES, SHARES, faces=60, arms={"x": 1.0, "y": 2.0}, seeds=(0, 1))
    apart = table[(table["arm"] == "x") == (table["seed"] == 0)]
    found = compare_arms(apart, CLASSES, **FEW)
    assert found["differences"].empty
    assert found["tests"].empty


def test_a_class_without_test_faces_is_undefined_with_a_reason():
    classes = ["a b", "1", "ü"]
    table = plausible_predictions(classes, SHARES, faces=80, arms={"x": 1.0, "y": 2.0}, seeds=(0, 1))
    kept = table[table["label"] != "ü"]
    found = compare_arms(kept, classes, **FEW)
    for name, part in found.items():
        validate(part, COMPARISON_TABLES[name])
    row = pick(found["differences"], "recall", "ü")
    assert np.isnan([row["value"], row["low"], row["p_value"], row["p_holm"]]).all()
    assert "no face of this class" in row["reason"]
    assert (row["verdict"], row["faces"]) == (NOTHING, 0)
    assert not np.isnan(pick(found["differences"], "f1_macro")["p_holm"])
    assert (found["tests"].query("class_name == 'ü'")["reason"] != "").all()


def test_a_class_missing_in_one_seed_is_measured_in_the_others():
    table = plausible_predictions(CLASSES, SHARES, faces=80, arms={"x": 1.0, "y": 2.0}, seeds=(0, 1, 2))
    kept = table[~((table["seed"] == 1) & (table["label"] == "c"))]
    row = pick(compare_arms(kept, CLASSES, **FEW)["summary"], "recall", "c", arm="y")
    assert row["seeds"] == 2
    assert "undefined in seed 1" in row["reason"]


def test_perfect_arms_have_bounds_and_no_difference():
    logits = np.eye(3)[np.tile([0, 1, 2], 10)] * 5
    labels, images = list("abc") * 10, [f"i{number // 2:02d}" for number in range(30)]
    table = pd.concat(
        [predictions_from(logits, labels, CLASSES, images, arm=arm, seed=seed) for arm in "xy" for seed in (0, 1)]
    )
    found = compare_arms(table, CLASSES, **FEW)
    row = pick(found["summary"], "accuracy", arm="x")
    assert (row["value"], row["high"]) == (1, 1)
    assert row["low"] == pytest.approx(0.025 ** (1 / 15))  # 15 photographs without an error
    row = pick(found["differences"], "accuracy")
    assert (row["value"], row["p_value"], row["verdict"]) == (0, 1, NO_DIFFERENCE)


def test_tables_are_not_changed_and_repeat(predictions):
    before = predictions.copy(deep=True)
    first, second = (compare_arms(predictions, CLASSES, seed=3, **FEW) for _ in range(2))
    pd.testing.assert_frame_equal(predictions, before)
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name])


def test_row_order_does_not_matter(predictions):
    shuffled = predictions.groupby("arm", sort=False)[predictions.columns].sample(frac=1, random_state=0)
    first, second = (compare_arms(table, CLASSES, **FEW) for table in (predictions, shuffled))
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda t: t.iloc[:-1], "same faces"), (lambda t: t.assign(split="val"), "split 'test'"),
     (lambda t: t.assign(label="d"), "not a class")],
)  # fmt: skip
def test_unusable_predictions_are_refused(predictions, change, message):
    with pytest.raises(ValueError, match=message):
        compare_arms(change(predictions), CLASSES, **FEW)


def test_one_class_is_refused(predictions):
    with pytest.raises(ValueError, match="at least two"):
        compare_arms(predictions, CLASSES[:1])


def test_a_lucky_seed_is_no_verdict_for_the_arm():
    # 150 studies of two equal arms whose runs differ by luck of the seed. The permutation test takes the models as
    # given and finds them different too often; the verdict, which also needs the interval over seeds, does not.
    rng, significant, verdicts = np.random.default_rng(6), 0, 0
    for _ in range(150):
        scored = simulated(rng, 40, arms=(2.0, 2.0), seeds=3, seed_effect=0.6)
        draws = draw_metrics(runs_from(scored), resamples=100, seed=int(rng.integers(1 << 30)))
        row = difference_table(draws, permutations=99, seed=int(rng.integers(1 << 30)), metrics=["accuracy"]).iloc[0]
        significant += row["p_value"] <= 0.05
        verdicts += row["verdict"] != NO_DIFFERENCE
    assert significant / 150 > 0.15
    assert verdicts / 150 <= 0.05


def test_the_bootstrap_test_of_the_auc_keeps_its_level_and_has_power():
    # 20 studies of two equal arms: a level of 5 % has a standard error of 5 %. It is on the safe side (of 700 studies
    # of 130 photographs 4.6, 3.3 and, of a class of 3 %, 1.4 % were rejected), and rejects where arms do differ.
    rng = np.random.default_rng(11)

    def rejected(arms, studies):
        found = []
        for _ in range(studies):
            runs = runs_from(simulated(rng, 60, arms=arms))
            table = paired_tests_table(draw_metrics(runs, resamples=100, seed=int(rng.integers(1 << 30))))
            found.append((table[(table["test"] == BOOTSTRAP) & (table["seed"] == "0")]["p_value"] <= 0.05).to_numpy())
        return np.mean(found, axis=0)

    assert (rejected((2.5, 2.5), 20) <= 0.15).all()
    assert rejected((1.0, 4.0), 4)[0] >= 0.75


def test_summary_can_take_the_models_as_given(predictions):
    draws = draw_metrics(Runs.of(predictions, CLASSES), resamples=100)
    given, drawn = summary_table(draws, draw_seeds=False), summary_table(draws)
    assert set(given["covers"]) == {PHOTOGRAPHS}
    assert set(drawn["covers"]) == {PHOTOGRAPHS_AND_SEEDS}
    assert (given["standard_error"] <= drawn["standard_error"]).all()
