"""Levels of an experiment, held against its reference."""

import numpy as np
import pandas as pd
import pytest

from maskbench import schemas
from maskbench.comparison.efficiency import learning_curves_table, regimes_table
from maskbench.comparison.variants import (
    efficiency_runs,
    leakage_answer,
    regime_runs,
    run_figures,
    variant_summary,
    with_variant_intervals,
)
from maskbench.schemas.convergence import EFFICIENCY_RUNS, LEARNING_CURVES, REGIME_RUNS, REGIMES
from maskbench.schemas.experiments import VARIANT_SUMMARY

CLASSES = ("a", "b")


def predictions(skill: float, *, seed: int, faces: range = range(240)) -> pd.DataFrame:
    """Predictions that are right with probability `skill`; three faces a photograph."""
    numbers = np.array(list(faces))
    rng = np.random.default_rng([seed, int(skill * 1000)])
    label = np.where(numbers % 2, "a", "b")
    right = rng.random(len(numbers)) < skill
    prob_a = np.where((label == "a") == right, 0.8, 0.2)
    return pd.DataFrame(
        {
            "seed": seed,
            "split": "test",
            "face_id": [f"f{n:04d}" for n in numbers],
            "image_id": [f"p{n // 3:03d}" for n in numbers],
            "label": label,
            "predicted": np.where(prob_a > 0.5, "a", "b"),
            "prob_a": prob_a,
            "prob_b": 1 - prob_a,
            "loss": -np.log(np.where(label == "a", prob_a, 1 - prob_a)),
        }
    )


def study(levels: dict[str, tuple[float, float, range]], experiment: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One arm, two seeds; by level: amount, skill, test faces."""
    tables, runs = [], []
    for level, (amount, skill, faces) in levels.items():
        for seed in (0, 1):
            key = {"experiment": experiment, "level": level, "amount": amount, "arm": "m"}
            tables.append(predictions(skill, seed=seed, faces=faces).assign(**key))
            runs.append({**key, "seed": seed, "train_faces": 100, "trained_parameters": 7, "epochs_run": 2,
                         "best_epoch": 1, "seconds": 3.0})  # fmt: skip
    return pd.concat(tables, ignore_index=True), pd.DataFrame(runs)


def test_levels_on_the_same_faces_are_paired_and_the_reference_lies_at_zero() -> None:
    table, runs = study({"0% wrong": (0.0, 0.9, range(240)), "40% wrong": (0.4, 0.7, range(240))}, "label_noise")
    summary = variant_summary(table, runs, CLASSES, resamples=300)
    schemas.validate(summary, VARIANT_SUMMARY)
    rows = summary[(summary["metric"] == "accuracy")].set_index("level")
    assert rows["paired"].all() and set(rows["reference"]) == {"0% wrong"}
    assert not rows.loc["0% wrong", ["gap", "gap_low", "gap_high"]].any()
    right = table["label"] == table["predicted"]
    by_level = right.groupby(table["level"]).mean()  # both seeds have as many faces, so the mean of means
    assert rows.loc["40% wrong", "value"] == pytest.approx(by_level["40% wrong"])
    assert rows.loc["40% wrong", "gap"] == pytest.approx(by_level["40% wrong"] - by_level["0% wrong"])
    assert rows.loc["40% wrong", "gap_low"] < rows.loc["40% wrong", "gap"] < rows.loc["40% wrong", "gap_high"] < 0


def test_levels_on_other_faces_are_not_paired_and_the_answer_says_what_is_shown() -> None:
    table, runs = study({"grouped": (np.nan, 0.8, range(240)), "random": (np.nan, 0.97, range(120, 360))}, "leakage")
    summary = variant_summary(table, runs, CLASSES, resamples=300)
    row = summary[(summary["metric"] == "f1_macro") & (summary["level"] == "random")].iloc[0]
    assert not row["paired"] and row["gap_low"] > 0
    answer = leakage_answer(summary)
    assert f"{row['gap']:+.3f}" in answer and "no difference shown" not in answer
    table, runs = study({"grouped": (np.nan, 0.8, range(240)), "random": (np.nan, 0.8, range(120, 360))}, "leakage")
    assert "no difference shown" in leakage_answer(variant_summary(table, runs, CLASSES, resamples=300))
    other, runs = study({"full": (np.nan, 0.8, range(240))}, "regimes")
    assert leakage_answer(variant_summary(other, runs, CLASSES, resamples=50)) == ""


def test_single_trainings_become_inputs_of_curves_and_regimes() -> None:
    shares = {"25%": (0.25, 0.7, range(240)), "100%": (1.0, 0.9, range(240))}
    table, runs = study(shares, "data_efficiency")
    figures = run_figures(table, CLASSES, resamples=100)
    found = efficiency_runs(figures, runs)
    schemas.validate(found, EFFICIENCY_RUNS)
    part = table[(table["level"] == "25%") & (table["seed"] == 1)]
    row = found[(found["fraction"] == 0.25) & (found["seed"] == 1) & (found["metric"] == "accuracy")].iloc[0]
    assert row["value"] == pytest.approx((part["label"] == part["predicted"]).mean())
    assert row["low"] < row["value"] < row["high"]
    summary = variant_summary(table, runs, CLASSES, resamples=100)
    curves = with_variant_intervals(learning_curves_table(found), summary, "data_efficiency")
    schemas.validate(curves, LEARNING_CURVES)
    assert len(curves) == len(found) / 2 and set(curves["basis"]) == {"photographs and seeds"}
    shared = curves[curves["metric"] == "accuracy"]
    assert (shared["low"] > 0).all() and (shared["high"] < 1).all()  # two runs alone would reach beyond both ends
    same = summary[(summary["metric"] == "accuracy") & (summary["level"] == "25%")].iloc[0]
    assert shared.loc[shared["fraction"] == 0.25, ["mean", "low", "high"]].to_numpy().tolist() == [
        [pytest.approx(same[name]) for name in ("value", "low", "high")]
    ]
    table, runs = study({"full": (np.nan, 0.9, range(240)), "frozen": (np.nan, 0.6, range(240))}, "regimes")
    regimes = regime_runs(run_figures(table, CLASSES, resamples=100), runs)
    schemas.validate(regimes, REGIME_RUNS)
    summary = variant_summary(table, runs, CLASSES, resamples=100)
    wide = with_variant_intervals(regimes_table(regimes), summary, "regimes")
    schemas.validate(wide, REGIMES)
    assert wide["low"].notna().all()
    assert set(regimes["regime"]) == {"full", "frozen"} and set(regimes["trained_parameters"]) == {7}


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_distance_between_unpaired_levels_is_covered_as_promised(seeds: int) -> None:
    from maskbench.comparison.variants import _apart

    rng, inside, rounds = np.random.default_rng(seeds), 0, 1500
    for _ in range(rounds):
        runs = rng.normal(0.8, 0.04, (2, seeds))  # only seeds differ: as few degrees of freedom as there can be
        sides = [
            {"seeds": seeds, "sd": run.std(ddof=1), "standard_error": run.std(ddof=1) / np.sqrt(seeds),
             "photographs_behind": 100}
            for run in runs
        ]  # fmt: skip
        low, high = _apart(float(runs[0].mean() - runs[1].mean()), *sides, "share difference", 0.95)
        inside += low <= 0 <= high
    assert inside / rounds >= 0.93


def test_the_distance_of_shares_stays_a_distance_of_shares() -> None:
    from maskbench.comparison.variants import _apart

    side = {"seeds": 1, "sd": float("nan"), "standard_error": 0.4, "photographs_behind": 3}
    assert _apart(0.5, side, side, "share difference", 0.95) == (-1.0, 1.0)
    low, high = _apart(0.5, side, side, "loss difference", 0.95)
    assert low < -1 and high > 1
