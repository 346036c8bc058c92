"""Convergence by hand, the sign-flip test against its definition, and answers that say no more than the numbers."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.convergence import (
    best_epochs_table,
    convergence_answer,
    convergence_differences,
    convergence_summary,
    convergence_table,
    epoch_times_table,
    sign_flip_p,
)
from maskbench.schemas import validate
from maskbench.schemas.convergence import (
    BEST_EPOCHS,
    CONVERGENCE,
    CONVERGENCE_DIFFERENCES,
    CONVERGENCE_SUMMARY,
    EPOCH_TIMES,
)


def epochs_of(curves):
    """A table of validation macro-F1 from {(arm, seed): values}, with other rows that must not matter."""
    rows = []
    for (arm, seed), values in curves.items():
        for epoch, value in enumerate(values):
            for split, metric, class_name, shown in (
                ("val", "f1_macro", "", value),
                ("train", "f1_macro", "", 1.0),
                ("val", "f1_macro", "a", 1.0),
                ("val", "loss", "", 9.0),
            ):
                row = {"arm": arm, "seed": seed, "epoch": epoch, "split": split, "metric": metric}
                rows.append(row | {"class_name": class_name, "value": shown})
    return pd.DataFrame(rows)


def times_of(curves, seconds):
    return epoch_times_table(
        {"arm": arm, "seed": seed, "epoch_seconds": [seconds[arm]] * len(values)}
        for (arm, seed), values in curves.items()
    )


def value(table, metric, arm="x", seed=0):
    rows = table[(table["metric"] == metric) & (table["arm"] == arm) & (table["seed"] == seed)]
    assert len(rows) == 1
    return rows["value"].item(), rows["reason"].item()


CURVES = {("x", 0): [0.2, 0.74, 0.6, 0.8, 0.77], ("y", 0): [0.5, 0.9, 1.0, 0.9, 1.0]}


@pytest.fixture(scope="module")
def table():
    times = times_of(CURVES, {"x": 2.0, "y": 3.0})
    assert validate(times, EPOCH_TIMES)["elapsed"].tolist() == [2, 4, 6, 8, 10, 3, 6, 9, 12, 15]
    return validate(convergence_table(epochs_of(CURVES), times), CONVERGENCE)


def test_first_epochs_at_or_above_a_share_of_the_best(table):
    # x: best 0.8 in epoch 4; 90 % is 0.72, first in epoch 2 (0.74), left in 3, held from 4 on.
    assert value(table, "best") == (0.8, "")
    assert value(table, "best_epoch") == (4, "")
    assert value(table, "last") == (0.77, "")
    assert value(table, "epochs_to_90") == (2, "")
    assert value(table, "seconds_to_90") == (4, "")
    assert value(table, "epochs_to_90_held") == (4, "")
    # 95 % is 0.76 and 0.77 stays above; 99 % is 0.792 and the curve ends below it.
    assert value(table, "epochs_to_95_held") == (4, "")
    assert np.isnan(value(table, "epochs_to_99_held")[0])
    assert value(table, "epochs_to_99_held")[1] == "below it at the end"
    # y: at 90 % exactly in epoch 2, and from then on.
    assert value(table, "epochs_to_90", "y") == (2, "")
    assert value(table, "epochs_to_90_held", "y") == (2, "")
    assert value(table, "best_epoch", "y") == (3, "")


def test_shares_of_the_final_score_are_measured_beside_those_of_the_best(table):
    # x ends at 0.77: 90 % is 0.693, first reached in epoch 2; 99 % is 0.7623, reached in epoch 4. Its best is 0.8:
    # 90 % is 0.72 (epoch 2), 99 % is 0.792 (epoch 4); 95 % of 0.77 is 0.7315 (epoch 2), of 0.8 it is 0.76 (epoch 4).
    found = {target: value(table, f"epochs_to_{target}_final")[0] for target in (90, 95, 99)}
    assert found == {90: 2, 95: 2, 99: 4}
    assert value(table, "epochs_to_95")[0] == 4
    assert value(table, "seconds_to_95_final")[0] == value(table, "seconds_to_90")[0]


def test_the_common_level_is_the_lowest_best_of_the_seed(table):
    # 0.8: x in epoch 4, y (0.9) in epoch 2, that is after 6 s.
    assert value(table, "epochs_to_common") == (4, "")
    assert value(table, "epochs_to_common", "y") == (2, "")
    assert value(table, "seconds_to_common", "y") == (6, "")


def test_areas_are_mean_heights_over_what_all_runs_have(table):
    # x over epochs 1…5: (0.47 + 0.67 + 0.7 + 0.785) / 4.
    assert value(table, "area_by_epoch")[0] == pytest.approx(2.625 / 4)
    # By time both have 3 s…10 s. x: at 3 s 0.47, then 0.74 (4), 0.6 (6), 0.8 (8), 0.77 (10):
    # 0.605 + 2·0.67 + 2·0.7 + 2·0.785 = 4.915 over 7 s.
    assert value(table, "area_by_time")[0] == pytest.approx(4.915 / 7)
    # y: 0.5 (3), 0.9 (6), 1.0 (9), 0.9667 (10): 2.1 + 2.85 + 0.98333 = 5.93333.
    assert value(table, "area_by_time", "y")[0] == pytest.approx((2.1 + 2.85 + 0.98333333) / 7)


def test_runs_of_different_length_are_compared_over_the_shorter():
    curves = {("x", 0): [0.0, 1.0, 0.0, 0.0], ("y", 0): [0.0, 1.0]}
    table = convergence_table(epochs_of(curves), epoch_times_table([]))
    assert value(table, "area_by_epoch") == value(table, "area_by_epoch", "y") == (0.5, "")
    for metric in ("seconds_to_90", "seconds_run", "seconds_to_common", "area_by_time"):
        assert np.isnan(value(table, metric)[0]) and value(table, metric)[1] == "no epoch times recorded"


def test_one_arm_one_epoch_and_unmeasured_epochs():
    table = validate(convergence_table(epochs_of({("x", 0): [0.5]}), epoch_times_table([])), CONVERGENCE)
    assert value(table, "epochs_to_99") == (1, "")
    assert value(table, "epochs_to_common")[1] == "one arm only"
    assert "two epochs" in value(table, "area_by_epoch")[1]
    curves = {("x", 0): [np.nan, 0.5, np.nan, 0.4], ("x", 1): [np.nan, np.nan]}
    table = validate(convergence_table(epochs_of(curves), times_of(curves, {"x": 1.0})), CONVERGENCE)
    assert value(table, "epochs_to_90") == (2, "")
    assert value(table, "epochs_run") == (4, "")
    nothing = table[table["seed"] == 1]
    assert nothing["value"].isna().all() and (nothing["reason"] == "never measured").all()
    summary = validate(convergence_summary(table), CONVERGENCE_SUMMARY).set_index("metric")
    assert summary.loc["best", ["runs", "defined", "mean"]].tolist() == [2, 1, 0.5]
    assert "1 of 2 runs undefined: never measured" in summary.loc["best", "reason"]


def test_recording_and_targets_are_checked():
    epochs = epochs_of({("x", 0): [0.5, 0.6]})
    with pytest.raises(ValueError, match="no rows of accuracy on val"):
        convergence_table(epochs, epoch_times_table([]), metric="accuracy")
    for targets in ((), (0.0,), (1.5,)):
        with pytest.raises(ValueError, match="targets"):
            convergence_table(epochs, epoch_times_table([]), targets=targets)


def test_the_sign_flip_p_is_the_share_of_flips_as_extreme():
    values = np.array([1.0, 2.0, -0.5, 3.0, 1.5, 0.0])
    means = [abs(np.mean(values * signs)) for signs in product((-1, 1), repeat=6)]
    p_value, exact = sign_flip_p(values)
    assert exact
    assert p_value == pytest.approx(np.mean(np.array(means) >= abs(values.mean()) - 1e-12))
    # Five differences of one sign: two of 32 flips are as extreme.
    assert sign_flip_p(np.ones(5))[0] == 2 / 32
    assert sign_flip_p(np.zeros(5))[0] == 1
    many, exact = sign_flip_p(np.random.default_rng(0).normal(size=20))
    assert not exact and 0 < many <= 1


def test_the_sign_flip_test_keeps_its_level():
    # 400 samples of 6 symmetric differences at level 0.1: rejections 400·(6/64) = 37.5 ± 5.8 (the largest
    # attainable level below 0.1 is 6/64).
    rng = np.random.default_rng(3)
    rejected = sum(sign_flip_p(rng.standard_t(3, size=6))[0] <= 0.1 for _ in range(400))
    assert 20 <= rejected <= 55


def seeds(count, gap):
    """Curves of two arms; y is best `gap(seed)` epochs before x's epoch 9."""
    curves = {}
    for seed in range(count):
        curves["x", seed] = np.minimum(1, np.arange(1, 13) / 9) * 0.8
        curves["y", seed] = np.minimum(1, np.arange(1, 13) / (9 - gap(seed))) * 0.8
    return convergence_table(epochs_of(curves), times_of(curves, {"x": 1.0, "y": 1.0}))


def test_differences_are_paired_by_seed_and_corrected():
    table = seeds(6, lambda seed: 3 + seed % 2)
    found = validate(convergence_differences(table), CONVERGENCE_DIFFERENCES).set_index("metric")
    row = found.loc["best_epoch"]
    assert (row["arm"], row["baseline"], row["pairs"], row["exact"]) == ("y", "x", 6, True)
    assert (row["mean"], row["minimum"], row["maximum"]) == (-3.5, -4, -3)
    assert row["sd"] == pytest.approx(np.std([3, 4] * 3, ddof=1))
    assert row["p_value"] == row["smallest_p"] == 2 / 64
    tested = found[found["p_value_holm"].notna()]
    assert not {"epochs_run", "seconds_run"} & set(tested.index)
    # Holm: the smallest p is multiplied by the number of tests.
    assert row["p_value_holm"] == pytest.approx(min(1, 2 / 64 * len(tested)))
    assert found.loc["best", "p_value"] == 1


def test_what_is_tested_and_assumed_is_in_the_table(table):
    found = validate(convergence_differences(table), CONVERGENCE_DIFFERENCES)
    assert found["null_hypothesis"].str.contains("coin toss: y and x are exchangeable").all()
    assert found["assumptions"].str.contains("independent runs").all()
    # A table from before it was kept is still one.
    validate(found.drop(columns=["null_hypothesis", "assumptions"]), CONVERGENCE_DIFFERENCES)


def test_a_metric_undefined_in_one_run_loses_the_pair():
    table = seeds(5, lambda seed: 2)
    table.loc[(table["arm"] == "y") & (table["seed"] == 3), ["value", "reason"]] = [np.nan, "lost"]
    row = convergence_differences(table).set_index("metric").loc["best"]
    assert row["pairs"] == 4
    assert "1 of 5 pairs left out" in row["reason"] and "no test of 4 pairs" in row["reason"]
    assert np.isnan([row["p_value"], row["p_value_holm"], row["smallest_p"]]).all()


def test_one_arm_has_no_differences_but_the_columns():
    table = convergence_table(epochs_of({("x", 0): [0.5, 0.6]}), epoch_times_table([]))
    found = convergence_differences(table)
    assert found.empty and list(found.columns) == list(CONVERGENCE_DIFFERENCES.columns)


def test_best_epochs_are_counted():
    table = seeds(4, lambda seed: 3 if seed else 5)
    found = validate(best_epochs_table(table), BEST_EPOCHS)
    assert found.to_dict("records") == [
        {"arm": "x", "epoch": 9, "runs": 4, "share": 1.0, "length": 12},
        {"arm": "y", "epoch": 4, "runs": 1, "share": 0.25, "length": 12},
        {"arm": "y", "epoch": 6, "runs": 3, "share": 0.75, "length": 12},
    ]


def answer(table, *arms, **options):
    return convergence_answer(convergence_summary(table), convergence_differences(table), *arms, **options)


def test_one_epoch_is_no_plural():
    curves = epochs_of({("x", 0): [0.9, 0.5], ("y", 0): [0.8, 0.5]})
    text = answer(convergence_table(curves, epoch_times_table([])), "y", "x")
    assert "after 1 epoch (" in text and "1 epochs" not in text


def test_the_answer_gives_no_verdict_on_one_seed(table):
    text = answer(table, "y", "x")
    assert text.startswith("With one seed, y came to 95% of its own best validation macro-F1 (1.000) after 3 epochs")
    assert "to the level that both reached it took 2 epochs against 4 epochs." in text
    assert "−2 epochs to the common level (one pair: an observation and no verdict" in text
    # The other way round the sign turns.
    assert "+2 epochs to the common level" in answer(table, "x", "y")


def test_the_answer_says_what_the_test_shows():
    # 10 seeds: p = 2/1024, times at most 16 tests 0.03: shown. 5 seeds cannot: 2/32 > 0.05.
    assert "a difference is shown)" in answer(seeds(10, lambda seed: 4 + seed % 2), "y", "x")
    few = answer(seeds(5, lambda seed: 4 + seed % 2), "y", "x")
    assert "no difference shown, nor could it be by 5 pairs" in few and "p = 0.0625" in few
    none = answer(seeds(10, lambda seed: 2 * (-1) ** seed), "y", "x")
    assert "no difference shown)" in none and "0 epochs to 95% of its own best" in none


def test_the_answer_needs_what_was_measured(table):
    with pytest.raises(ValueError, match="epochs_to_50 of y"):
        answer(table, "y", "x", target=0.5)
    with pytest.raises(ValueError, match="of z was not measured"):
        answer(table, "z", "x")
