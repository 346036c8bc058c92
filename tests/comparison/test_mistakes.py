"""Question 3 where its answer is known: maps that carry information of their own, that carry none, that only copy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from maskbench.comparison import mistakes
from maskbench.comparison.mistake_verdict import mistakes_answer, verdict_of
from maskbench.comparison.mistakes import ARMS, MistakeTables, deal_folds, mistake_models, probability_features
from maskbench.schemas import validate
from maskbench.schemas.mistakes import MISTAKE_TABLES

CLASSES = ("a", "b", "c")


@pytest.fixture(autouse=True, scope="module")
def small_forest() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mistakes, "_TREES", 20)
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
    return mistake_models(faces(1, photographs=240, maps="signal"), ["energy_lower"], folds=4, resamples=200)


def test_information_of_the_maps_own_is_shown_and_the_verdict_says_so(signal: MistakeTables) -> None:
    for name, schema in MISTAKE_TABLES.items():
        validate(getattr(signal, name), schema)
    found = gain(signal)
    assert found["shown"]
    assert found["gain"] > 0.05
    assert found["low"] < found["gain"] < found["high"]
    answer = mistakes_answer(signal)
    assert "explanations add to the probabilities of one" in answer.answer
    assert f"{found['mistakes']} mistakes in 960 predictions, {found['mistakes']} of 960 faces" in answer.evidence[0]
    deciding = min(gain(signal, baseline=name)["low"] for name in ("probability", "confidence"))
    assert f"{deciding:+.3f} to" in answer.evidence[0]  # the weaker of both gains is told
    assert "a forest in place of the regression says the same" in answer.would_change


@pytest.mark.parametrize("maps", ["noise", "copy"])
def test_maps_that_say_nothing_new_show_no_gain(maps: str) -> None:
    tables = mistake_models(faces(2, maps=maps), ["energy_lower"], folds=4, resamples=200)
    found = gain(tables)
    assert not found["shown"]
    assert abs(found["gain"]) < 0.02
    answer = mistakes_answer(tables).answer
    told = {
        "not needed": "explanations are not needed in one",
        "not shown": "no gain from explanations is shown in one",
    }
    verdicts = {verdict_of(tables.gain, "one", model) for model in ("logistic", "forest")}
    assert "adds" not in verdicts
    assert told["not needed" if verdicts == {"not needed"} else "not shown"] in answer


def gains(**limits: tuple[float, float]) -> pd.DataFrame:
    """Gains with these limits, by MODEL_BASELINE, as far as verdicts read them."""
    rows = []
    for name, (low, high) in limits.items():
        model, _, baseline = name.partition("_")
        rows.append({
            "arm": "one", "model": model, "features": "both", "baseline": baseline, "metric": "auc", "mistakes": 20,
            "gain": (low + high) / 2, "low": low, "high": high, "shown": low > 0, "beyond_margin": high > 0.02,
        })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_verdict_needs_both_baselines() -> None:
    fitted_badly = gains(logistic_probability=(0.01, 0.09), logistic_confidence=(-0.02, 0.03))
    assert verdict_of(fitted_badly, "one", "logistic") == "not shown"
    small = gains(logistic_probability=(-0.06, 0.01), logistic_confidence=(-0.06, 0.03))
    assert verdict_of(small, "one", "logistic") == "not shown"
    assert verdict_of(small.assign(beyond_margin=False), "one", "logistic") == "not needed"
    assert verdict_of(small.assign(shown=True), "one", "logistic") == "adds"
    assert verdict_of(small.assign(low=np.nan), "one", "logistic") == "unknown"


def test_models_that_disagree_give_no_verdict(signal: MistakeTables) -> None:
    forest = signal.gain["model"] == "forest"
    torn = MistakeTables(signal.skill, signal.gain.assign(shown=signal.gain["shown"] & ~forest), signal.features)
    answer = mistakes_answer(torn)
    assert "no gain from explanations is shown in one" in answer.answer
    assert "a forest in place of the regression says otherwise" in answer.would_change
    assert f"true gains of up to {gains_high(signal):.3f} fit" in answer.would_change


def gains_high(tables: MistakeTables) -> float:
    table = tables.gain
    return float(table[(table["metric"] == "auc") & (table["features"] == "both")]["high"].max())


def test_the_verdict_does_not_hang_on_the_draws() -> None:
    table = faces(2, maps="copy")
    found = {
        verdict_of(mistake_models(table, ["energy_lower"], folds=4, resamples=300, seed=seed).gain, "one", "logistic")
        for seed in range(4)
    }
    assert len(found) == 1


@pytest.mark.parametrize("mistaken", [{0: 19, 1: 2, 2: 1}, {0: 1, 1: 2, 2: 26}])
def test_folds_always_leave_mistakes_to_learn_from(mistaken: dict[int, int]) -> None:
    photographs = np.repeat(np.arange(7), 30)
    wrong = np.zeros(len(photographs))
    for photograph, count in mistaken.items():
        wrong[30 * photograph : 30 * photograph + count] = 1
    dealt = deal_folds(wrong, photographs, 3, 0)
    assert len(dealt) == mistakes.PARTITIONS
    for parts in dealt:
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(wrong)))
        for outside in parts:
            assert 0 < np.delete(wrong, outside).sum() < len(wrong) - len(outside)


def test_folds_that_cannot_be_dealt_are_a_reason_and_no_crash() -> None:
    table = faces(8, photographs=12)
    table["wrong"] = False
    assert mistake_models(table, ["energy_lower"], folds=3, resamples=20).skill["reason"].str.len().gt(0).all()
    assert deal_folds(np.array([1.0, 0, 0, 0]), np.arange(4), 3, 0) == []


def test_few_mistaken_photographs_give_values_without_intervals() -> None:
    table = faces(9, photographs=60)
    table["wrong"] = table["image_id"].isin([f"i{k}" for k in range(0, 36, 6)]) & (table.index % 4 == 0)
    tables = mistake_models(table, ["energy_lower"], folds=3, resamples=50)
    assert tables.skill["value"].notna().all()
    assert tables.skill[["low", "high"]].isna().all(axis=None)
    assert not tables.gain["shown"].any()
    assert tables.gain["beyond_margin"].all()
    assert "wrong or right faces in 6 photographs only" in mistakes_answer(tables).answer


def test_a_second_models_opinion_is_told_apart_from_what_maps_say() -> None:
    table = faces(10, maps="noise")
    table[ARMS] = np.where(table["wrong"], 0.0, 1.0) + np.random.default_rng(0).normal(0, 0.3, len(table))
    tables = mistake_models(table, ["energy_lower", ARMS], folds=4, resamples=100)
    assert verdict_of(tables.gain, "one", "logistic") != "adds"  # only the other arm knows
    row = tables.gain[(tables.gain["features"] == "arms") & (tables.gain["metric"] == "auc")].iloc[0]
    assert row["shown"]
    assert f"a second model's opinion, adds {row['gain']:+.3f}" in mistakes_answer(tables).evidence[0]
    assert ARMS in set(tables.features["feature"])


def test_a_face_of_several_runs_is_several_predictions_and_one_face() -> None:
    runs = pd.concat([faces(11).assign(seed=seed) for seed in (0, 1)], ignore_index=True)
    row = mistake_models(runs, ["energy_lower"], folds=3, resamples=50).skill.iloc[0]
    assert (row["predictions"], row["faces"], row["seeds"]) == (960, 480, 2)
    assert row["mistakes"] == 2 * row["mistaken_faces"]


def test_noise_is_rarely_taken_for_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "MODELS", {"logistic": mistakes.MODELS["logistic"]})
    monkeypatch.setattr(mistakes, "PARTITIONS", 1)
    shown = [
        gain(mistake_models(faces(100 + run, photographs=60), ["energy_lower"], folds=3, resamples=100))["shown"]
        for run in range(40)
    ]
    # 2.5 % of intervals should lie above 0; of 40, more than 4 come with a probability below 0.5 %
    assert sum(shown) <= 4


def test_auc_is_that_of_the_pairs_within_folds() -> None:
    table = faces(3, photographs=40)
    found = mistake_models(table, ["energy_lower"], folds=3, resamples=20)
    row = found.skill[(found.skill["features"] == "confidence") & (found.skill["metric"] == "auc")].iloc[0]
    wrong, doubt = table["wrong"].to_numpy(), 1 - table["prob_top"].to_numpy()
    photographs = table["image_id"].astype("category").cat.codes.to_numpy()
    ordered, pairs = 0.0, 0.0
    for parts in deal_folds(wrong.astype(float), photographs, 3, 0):
        for outside in parts:
            count = wrong[outside].sum() * (~wrong[outside]).sum()
            ordered += count * roc_auc_score(wrong[outside], doubt[outside])
            pairs += count
    assert row["value"] == pytest.approx(ordered / pairs)
    whole = roc_auc_score(wrong, doubt)
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
    assert mistakes_answer(tables).evidence == ()


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
