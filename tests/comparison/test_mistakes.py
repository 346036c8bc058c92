"""Question 3 where its answer is known: maps that carry information of their own, that carry none, that only copy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from maskbench.comparison import mistakes
from maskbench.comparison.mistakes import (
    MARGIN,
    MistakeTables,
    mistake_models,
    mistakes_answer,
    probability_features,
)
from maskbench.schemas import validate
from maskbench.schemas.mistakes import MISTAKE_TABLES

CLASSES = ("a", "b", "c")


@pytest.fixture(autouse=True, scope="module")
def small_forest() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mistakes, "_TREES", 12)
        patch.setattr(mistakes, "PARTITIONS", 2)
        yield


def faces(seed: int, *, photographs: int = 120, each: int = 4, maps: str = "noise") -> pd.DataFrame:
    """Faces whose mistakes follow from the model's confidence, and, if `maps` is `signal`, from the map as well."""
    rng = np.random.default_rng(seed)
    count = photographs * each
    doubt = rng.normal(size=count)
    other = rng.normal(size=count)
    score = -3 + 1.2 * doubt + (1.5 * other if maps == "signal" else 0)
    wrong = rng.random(count) < 1 / (1 + np.exp(-score))
    top = 1 / (1 + np.exp(doubt - 2))
    top = np.clip(top, 0.4, 0.999)
    values = {"noise": rng.normal(size=count), "signal": other, "copy": top**2}[maps]
    return pd.DataFrame(
        {
            "arm": "one", "seed": 0, "face_id": [f"f{k}" for k in range(count)],
            "image_id": [f"i{k // each}" for k in range(count)], "wrong": wrong, "prob_top": top,
            "entropy": -np.log(top), "margin": 2 * top - 1, "energy_lower": values,
        }
    )  # fmt: skip


def gain(tables: MistakeTables, features: str = "both", baseline: str = "probability") -> pd.Series:
    table = tables.gain
    rows = table[(table["model"] == "logistic") & (table["features"] == features) & (table["metric"] == "auc")]
    return rows[rows["baseline"] == baseline].iloc[0]


@pytest.fixture(scope="module")
def signal() -> MistakeTables:
    return mistake_models(faces(1, maps="signal"), ["energy_lower"], folds=4, resamples=200)


def test_information_of_the_maps_own_is_shown_and_the_verdict_says_so(signal: MistakeTables) -> None:
    for name, schema in MISTAKE_TABLES.items():
        validate(getattr(signal, name), schema)
    found = gain(signal)
    assert found["shown"]
    assert found["gain"] > 0.05
    assert found["low"] < found["gain"] < found["high"]
    answer = mistakes_answer(signal)
    assert "explanations add to the probabilities of one" in answer.answer
    assert f"{found['gain']:+.3f}" in answer.answer
    assert "a forest in place of the regression says the same" in answer.would_change


@pytest.mark.parametrize("maps", ["noise", "copy"])
def test_maps_that_say_nothing_new_show_no_gain(maps: str) -> None:
    tables = mistake_models(faces(2, maps=maps), ["energy_lower"], folds=4, resamples=200)
    found = gain(tables)
    assert not found["shown"]
    assert abs(found["gain"]) < 0.02
    answer = mistakes_answer(tables).answer
    assert "explanations add" not in answer
    if found["high"] <= MARGIN:
        assert "explanations are not needed in one" in answer
    else:
        assert "no gain from explanations is shown in one" in answer


def test_noise_is_rarely_taken_for_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "MODELS", {"logistic": mistakes.MODELS["logistic"]})
    monkeypatch.setattr(mistakes, "PARTITIONS", 1)
    shown = [
        gain(mistake_models(faces(100 + run, photographs=60), ["energy_lower"], folds=3, resamples=100))["shown"]
        for run in range(40)
    ]
    # 2.5 % of intervals should lie above 0; of 40, more than 4 come with a probability below 0.5 %
    assert sum(shown) <= 4


def test_the_auc_without_fitting_is_scikit_learns_when_there_is_one_fold_to_compare_in() -> None:
    # Within folds only: with three folds, the pairs of each fold, weighed by their number.
    table = faces(3, photographs=40)
    found = mistake_models(table, ["energy_lower"], folds=3, resamples=20)
    row = found.skill[(found.skill["features"] == "confidence") & (found.skill["metric"] == "auc")].iloc[0]
    whole = roc_auc_score(table["wrong"], 1 - table["prob_top"])
    assert row["value"] == pytest.approx(whole, abs=0.03)
    alone = found.features.set_index("feature").loc["prob_top"]
    assert alone["auc"] == pytest.approx(1 - whole)  # surer, less often wrong
    assert alone["log_odds"] < 0


def test_no_photograph_is_scored_by_a_model_that_saw_it() -> None:
    # The map names the photograph: a model that saw its faces would find all mistakes, one that did not, cannot.
    rng = np.random.default_rng(0)
    table = faces(4, photographs=80, each=6)
    table["wrong"] = np.repeat(rng.random(80) < 0.2, 6)
    table["energy_lower"] = np.repeat(rng.permutation(80), 6) / 80
    tables = mistake_models(table, ["energy_lower"], folds=4, resamples=50)
    forest = tables.skill[(tables.skill["model"] == "forest") & (tables.skill["features"] == "maps")]
    assert forest.set_index("metric").loc["auc", "value"] < 0.8


def test_equal_calls_give_equal_tables() -> None:
    table = faces(5, photographs=30)
    one, other = (mistake_models(table, ["energy_lower"], folds=3, resamples=20) for _ in range(2))
    pd.testing.assert_frame_equal(one.skill, other.skill)
    pd.testing.assert_frame_equal(one.gain, other.gain)


def test_missing_values_are_told_apart_and_do_not_stop_the_models() -> None:
    table = faces(6, photographs=40)
    table.loc[::3, "energy_lower"] = np.nan
    tables = mistake_models(table, ["energy_lower"], folds=3, resamples=20)
    assert tables.features.set_index("feature").loc["energy_lower", "missing"] == len(table.loc[::3])
    assert tables.skill["value"].notna().all()
    table["energy_lower"] = np.nan
    alone = mistake_models(table, ["energy_lower"], folds=3, resamples=20).features.set_index("feature")
    assert alone.loc["energy_lower", "reason"] == "the feature has one value"


def test_too_few_mistakes_give_a_reason_and_no_number() -> None:
    table = faces(7, photographs=30)
    table["wrong"] = table["face_id"].isin(["f0", "f9"])
    tables = mistake_models(table, ["energy_lower"], folds=5, resamples=20)
    assert tables.skill["value"].isna().all()
    assert not tables.gain["shown"].any()
    assert set(tables.skill["reason"]) == {"wrong or right faces in 2 photographs: at least 3"}
    for name, schema in MISTAKE_TABLES.items():
        validate(getattr(tables, name), schema)
    assert "nothing can be said" in mistakes_answer(tables).answer


def test_probabilities_are_described_as_worked_out_by_hand() -> None:
    rows = {"arm": "one", "seed": 0, "face_id": ["f0", "f1"], "image_id": "i0", "correct": [True, False]}
    table = pd.DataFrame({**rows, "prob_a": [0.5, 1.0], "prob_b": [0.25, 0.0], "prob_c": [0.25, 0.0]})
    found = probability_features(table, CLASSES)
    assert found["wrong"].tolist() == [False, True]
    assert found["prob_top"].tolist() == [0.5, 1.0]
    assert found["margin"].tolist() == [0.25, 1.0]
    assert found["entropy"].tolist() == pytest.approx([1.5 * np.log(2), 0.0])  # ½ ln 2 + 2 · ¼ ln 4
    with pytest.raises(ValueError, match="columns missing: prob_d"):
        probability_features(table, (*CLASSES, "d"))
