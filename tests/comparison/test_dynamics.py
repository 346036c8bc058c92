"""Loss statistics, autocorrelation of series whose own is known, and gradient flow by hand."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.dynamics import (
    gradient_flow_table,
    gradient_ratio_table,
    loss_autocorrelation_table,
    loss_statistics_table,
)
from maskbench.schemas import validate
from maskbench.schemas.convergence import GRADIENT_FLOW, GRADIENT_RATIO, LOSS_AUTOCORRELATION, LOSS_STATISTICS
from tests.report.study_on_disk import history_tables


def steps_of(losses, per_epoch, arm="x", seed=0):
    losses = np.asarray(losses, dtype=float)
    return pd.DataFrame(
        {
            "arm": arm, "seed": seed, "epoch": np.arange(len(losses)) // per_epoch, "step": np.arange(len(losses)),
            "loss": losses, "loss_mean": losses, "loss_variance": 0.0, "loss_moving_average": 2 * losses,
            "learning_rate": 0.1,
        }
    )  # fmt: skip


def at(table, method, lag):
    return table[(table["method"] == method) & (table["lag"] == lag)]["value"].item()


def test_statistics_of_each_epoch():
    table = pd.concat([steps_of([1.0, 3, 5, 5], 3), steps_of([1.0, 2], 2, seed=1)])
    found = validate(loss_statistics_table(table.sample(frac=1, random_state=0)), LOSS_STATISTICS)
    found = found.set_index(["seed", "epoch"])
    assert found.loc[(0, 0), ["steps", "mean", "variance", "sd", "moving_average"]].tolist() == [3, 3, 4, 2, 10]
    assert np.isnan(found.loc[(0, 1), "variance"]) and found.loc[(0, 1), "reason"] == "one step has no variance"
    assert found.loc[(1, 0), "mean"] == 1.5


def test_runs_of_a_study_have_as_many_epochs_as_recorded():
    history = history_tables(epochs=4, steps=12, seeds=(0, 1))
    found = validate(loss_statistics_table(history["steps"]), LOSS_STATISTICS)
    assert found[["arm", "seed", "epoch"]].drop_duplicates().shape[0] == len(found) == 16
    last = history["steps"].groupby(["arm", "seed", "epoch"], sort=False).last()
    np.testing.assert_allclose(found["mean"], last["loss_mean"])
    np.testing.assert_allclose(found["variance"], last["loss_variance"])


def test_the_course_of_training_is_no_autocorrelation():
    # Independent noise on a loss that falls within and between epochs: raw lag 1 is near 1.
    rng = np.random.default_rng(0)
    trend = 5 * np.exp(-np.arange(3000) / 600)
    table = steps_of(trend + 0.05 * rng.normal(size=3000), 100)
    assert pd.Series(table["loss"]).autocorr(1) > 0.95
    found = validate(loss_autocorrelation_table(table, lags=5), LOSS_AUTOCORRELATION)
    assert at(found, "within_epoch", 0) == 1
    # 95 % band ± 1.96 / sqrt(3000) = 0.036, less the 2/100 that the lines cost.
    for lag in range(1, 6):
        assert abs(at(found, "within_epoch", lag) + 0.02) < 0.045
    assert found[found["method"] == "within_epoch"]["band"].iloc[0] == pytest.approx(1.96 / np.sqrt(3000), rel=1e-3)
    # Differences of independent noise: −1/2 at lag 1, 0 beyond.
    assert at(found, "first_difference", 1) == pytest.approx(-0.5, abs=0.04)
    assert abs(at(found, "first_difference", 2)) < 0.06


def test_autocorrelated_losses_are_recognised_whatever_their_spread_by_epoch():
    rng = np.random.default_rng(1)
    noise = np.zeros(4000)
    for place in range(1, 4000):
        noise[place] = 0.6 * noise[place - 1] + rng.normal()
    table = steps_of(noise * np.repeat([10.0, 1, 0.1, 1], 1000), 1000)
    found = loss_autocorrelation_table(table, lags=3)
    for lag in (1, 2, 3):
        assert at(found, "within_epoch", lag) == pytest.approx(0.6**lag, abs=0.06)


def test_epochs_count_alike_whatever_their_spread():
    # One epoch of ±100 in turn (lag 1: −1), three that swing slowly between ±1 (lag 1: cos(2π/50) = 0.99):
    # (−1 + 3·0.99) / 4 = 0.49 where epochs count alike, −1 where the loud one drowns the others.
    loud, slow = 100.0 * (-1.0) ** np.arange(500), np.cos(2 * np.pi * np.arange(500) / 50)
    found = loss_autocorrelation_table(steps_of(np.concatenate([loud, slow, slow, slow]), 500), lags=1)
    assert at(found, "within_epoch", 1) == pytest.approx(0.49, abs=0.01)


@pytest.mark.parametrize(
    ("losses", "per_epoch", "reason"),
    [
        ([1.0, 2, 3, 4, 5, 6] * 5, 3, "0 usable steps are too few for 5 lags"),
        ([1.0, 2], 2, "too few"),
        ([1.0, np.nan] * 20, 10, "a loss is not finite"),
        ([0.7] * 40, 10, "too few"),
    ],
)
def test_undefined_autocorrelation_says_why(losses, per_epoch, reason):
    found = validate(loss_autocorrelation_table(steps_of(losses, per_epoch), lags=5), LOSS_AUTOCORRELATION)
    part = found[found["method"] == "within_epoch"]
    assert len(part) == 6 and part["value"].isna().all() and part["reason"].str.contains(reason).all()


def test_a_loss_that_never_changes_has_no_differences_to_correlate():
    found = loss_autocorrelation_table(steps_of([0.7] * 40, 10), lags=5)
    part = found[found["method"] == "first_difference"]
    assert part["value"].isna().all() and (part["reason"] == "the loss does not vary").all()
    with pytest.raises(ValueError, match="lags"):
        loss_autocorrelation_table(steps_of([1.0, 2], 2), lags=0)


def gradients(rows):
    columns = ["epoch", "step", "depth", "layer", "group", "gradient_norm", "weight_norm", "update_ratio"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(arm="x", seed=0)


def test_norms_of_a_group_are_those_of_all_its_tensors_together():
    table = gradients(
        [
            # Step 0: stem √(3² + 4²) = 5 over weights √(6² + 8²) = 10; change √((0.1·6)² + (0.1·8)²) = 1 → 0.1.
            (0, 0, 0, "a.weight", "stem", 3.0, 6.0, 0.1),
            (0, 0, 1, "a.bias", "stem", 4.0, 8.0, 0.1),
            (0, 0, 2, "b.weight", "head", 2.0, 4.0, 0.5),
            # Step 1: stem 1 (its shift has weight 0 and no ratio), head 4.
            (0, 1, 0, "a.weight", "stem", 1.0, 2.0, 0.3),
            (0, 1, 1, "a.bias", "stem", 0.0, 0.0, np.nan),
            (0, 1, 2, "b.weight", "head", 4.0, 4.0, 0.5),
            # Epoch 1: the head alone learned.
            (1, 2, 2, "b.weight", "head", 3.0, 4.0, 0.5),
        ]
    )
    flow = validate(gradient_flow_table(table), GRADIENT_FLOW).set_index(["epoch", "group"])
    stem = flow.loc[(0, "stem")]
    # Medians of (5, 1), (0.5, 0.5) and (0.1, 0.3).
    assert (stem["position"], stem["tensors"], stem["steps"], stem["gradient_norm"]) == (0, 2, 2, 3)
    assert stem["relative_norm"] == 0.5
    assert stem["update_ratio"] == pytest.approx(0.2)
    assert flow.loc[(1, "head"), "position"] == 1
    ratios = validate(gradient_ratio_table(table), GRADIENT_RATIO)
    # Median of 5/2 and 1/4; relative: of 0.5/0.5 and 0.5/1.
    assert ratios.loc[0, ["shallow", "deep"]].tolist() == ["stem", "head"]
    assert ratios.loc[0, "ratio"] == pytest.approx(1.375)
    assert ratios.loc[0, "relative_ratio"] == pytest.approx(0.75)
    assert np.isnan(ratios.loc[1, "ratio"]) and ratios.loc[1, "reason"] == "one depth group only"


def test_a_head_without_gradient_and_no_records_at_all():
    table = gradients([(0, 0, 0, "a", "stem", 1.0, 1.0, 0.1), (0, 0, 1, "b", "head", 0.0, 1.0, 0.0)])
    row = validate(gradient_ratio_table(table), GRADIENT_RATIO).iloc[0]
    assert np.isnan(row["ratio"]) and row["reason"] == "the head has no gradient"
    empty = history_tables(epochs=1, steps=2)["gradients"].iloc[:0]
    assert list(gradient_flow_table(empty).columns) == list(GRADIENT_FLOW.columns)
    assert gradient_ratio_table(empty).empty


def test_groups_of_a_network_are_ordered_from_the_input():
    found = gradient_flow_table(history_tables(epochs=3, steps=8, interval=4)["gradients"])
    order = found.drop_duplicates("group").sort_values("position")["group"].tolist()
    assert order == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert len(found) == 2 * 3 * 6
