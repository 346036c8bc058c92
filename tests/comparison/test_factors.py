"""The ranking where the answer is known: in a simulation and on the generated sample."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from maskbench.audit.scan import scan_dataset
from maskbench.comparison.factors import explain_errors, factors_answer, named_properties, rank_factors
from maskbench.config import AuditConfig
from maskbench.data.crops import cut_faces
from maskbench.data.properties import face_properties
from maskbench.data.sample import SampleParams, generate_sample
from maskbench.schemas import validate
from maskbench.schemas.factors import FACTOR_RANKING
from tests.comparison.simulated_faces import ABSENT, STRONG, simulated_predictions, simulated_properties

QUICK = {"folds": 4, "repeats": 3, "resamples": 200}


def ranks(tables):
    return tables.ranking.pivot_table(index="property", columns="arm", values="rank")


@pytest.fixture(scope="module")
def tables():
    properties = simulated_properties(120)
    # `copy` says what `size` says: it must not take a rank of its own.
    properties["copy"] = 3 * properties["size"] ** 2
    return explain_errors(simulated_predictions(properties, STRONG, seeds=(0, 1)), properties, **QUICK)


def test_strong_factors_rank_above_absent_ones(tables):
    found = ranks(tables)
    for arm in found:
        assert found.loc[list(STRONG), arm].max() == 2 < found.loc[list(ABSENT), arm].min()
    ranking = validate(tables.ranking, FACTOR_RANKING).set_index("property")
    assert (ranking.loc[list(STRONG), "supported"] == 3).all()
    assert (ranking.loc["size", "direction"] == "lower values, more errors").all()
    assert (ranking.loc["blur", "direction"] == "higher values, more errors").all()
    assert ranking.loc["copy", "rank"].isna().all() and ranking.loc["copy", "reason"].str.contains("by size").all()


def test_every_test_says_what_it_tests_and_assumes(tables):
    for part in (tables.effects, tables.odds, tables.skill, tables.importance):
        assert part[["null_hypothesis", "assumptions"]].apply(lambda column: column.str.endswith(".")).all().all()
    together = tables.odds.query("property == 'size' and model == 'together'")["null_hypothesis"].iloc[0]
    assert (
        together
        == "The odds of an error do not change with size: all other properties being equal, the odds ratio is 1."
    )
    assert "all other" not in tables.odds.query("model == 'alone'")["null_hypothesis"].iloc[0]


def test_one_uncorrected_measure_names_nothing(tables):
    # What effect and importance alone support is not named; nor is it with odds that do not survive Holm's correction.
    found = named_properties(tables, "one")
    assert set(found) == set(STRONG)
    weak = replace(tables, odds=tables.odds.assign(p_value_holm=0.2))
    assert named_properties(weak, "one") == [] and (tables.ranking["supported"] >= 2).any()
    assert "no property is shown" in factors_answer(weak).answer


def test_swapped_roles_swap_the_ranks():
    # The same properties with other effects: the ranking follows the errors and not the names.
    properties = simulated_properties(110)
    other = {"age": 1.2, "place": -1.2}
    found = ranks(explain_errors(simulated_predictions(properties, other, arms=("a",)), properties, **QUICK))
    assert (found.loc[list(other)].max() == 2).all() and (found.loc[["size", "blur", "light", "flag"]].min() > 2).all()


def test_the_answer_is_two_sentences_with_numbers(tables):
    answer = factors_answer(tables)
    assert answer.answer.count(". ") == 1 and answer.answer.endswith("(chance: 0.5).")
    row = tables.odds.query("arm == 'one' and property == 'size' and model == 'together'").iloc[0]
    assert f"odds ratio {row['odds_ratio']:.2f}" in answer.answer
    for arm in ("one", "two words"):
        assert f"{arm} errs on" in answer.answer and f"in {arm}" in answer.answer
    assert "light" not in answer.answer and "place" not in answer.answer
    assert "It would change if" in answer.would_change


def test_nothing_is_named_where_nothing_is_shown():
    properties = simulated_properties(100)
    predictions = simulated_predictions(properties, {}, arms=("only",), between=1.0, source=4)
    tables = explain_errors(predictions, properties, **QUICK)
    answer = factors_answer(tables).answer
    assert "no property is shown to go with its errors" in answer and "shows no skill" in answer
    # Importances of a model without skill do not enter the ranking.
    assert tables.ranking["importance"].isna().all() and (tables.ranking["measured"] <= 2).all()


@pytest.mark.parametrize("correct", [True, False])
def test_one_arm_without_errors_or_without_correct_faces(correct):
    properties = simulated_properties(30)
    predictions = simulated_predictions(properties, {}, arms=("only",)).assign(correct=correct)
    tables = explain_errors(predictions, properties, **QUICK)
    assert tables.ranking["rank"].isna().all()
    assert "undefined in only" in factors_answer(tables).answer


def test_the_ranking_by_hand():
    # Three properties; b is strongest by all measures, c by none; a is supported by one measure only.
    names = ["a", "b", "c"]
    effects = pd.DataFrame({"arm": "x", "property": names, "effect": [0.2, -0.5, 0.1], "low": [0.1, -0.6, -0.1],
                            "high": [0.3, -0.4, 0.3]})  # fmt: skip
    odds = pd.DataFrame({"arm": "x", "property": names, "model": "together", "log_odds": [0.3, -1.0, 0.4],
                         "p_value_holm": [0.2, 0.001, 0.2], "confidence": 0.95, "determined_by": "",
                         "reason": ""})  # fmt: skip
    importance = pd.DataFrame({"arm": "x", "property": names, "importance": [0.02, 0.1, 0.03],
                               "low": [-0.01, 0.05, -0.02], "skill": "shown"})  # fmt: skip
    found = validate(rank_factors(effects, odds, importance), FACTOR_RANKING).set_index("property")
    assert found["rank"].to_dict() == {"b": 1, "a": 2, "c": 3}
    # ranks of a: effect 2, odds 3, importance 3; of c: 3, 2, 2: c has the better mean, a the support
    assert found["mean_rank"].to_dict() == pytest.approx({"b": 1, "a": 8 / 3, "c": 7 / 3})
    assert found["supported"].to_dict() == {"b": 3, "a": 1, "c": 0}


def test_tables_are_not_changed_and_equal_seeds_give_equal_answers():
    properties = simulated_properties(40)
    predictions = simulated_predictions(properties, STRONG, arms=("a",))
    before = predictions.copy(deep=True), properties.copy(deep=True)
    quick = {"folds": 2, "repeats": 1, "resamples": 20}
    one, other = (factors_answer(explain_errors(predictions, properties, **quick)) for _ in range(2))
    assert one == other
    pd.testing.assert_frame_equal(predictions, before[0])
    pd.testing.assert_frame_equal(properties, before[1])


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A small sample with much blur, its faces' true attributes and their measured properties."""
    folder = tmp_path_factory.mktemp("sample") / "drawn"
    params = SampleParams(
        images=45, seed=5, long_side_px=160, short_side_px=(110, 140), large_image_share=0.0, median_face_px=15.0,
        face_px_range=(7.0, 48.0), faces_per_image=4.0, face_blur_rate=0.6, face_blur=(0.01, 0.14),
        face_blur_max_px=5.0, photo_blur_px=(0.2, 0.3),
    )  # fmt: skip
    generate_sample(folder, params, workers=1)
    audit = scan_dataset(folder, AuditConfig(), {}, [], workers=1)
    crops = cut_faces(folder, audit.images, audit.faces, 0.25, max_pixels=10**6)
    truth = pd.read_csv(folder / "attributes.csv").set_index("face_id").loc[audit.faces["face_id"]].reset_index()
    truth["blur_share"] = truth["blur_sigma_px"] / truth["side_px"]
    return truth, face_properties(crops, audit.faces, 0.25)


def artificial_model(truth):
    """Eight runs of a model that errs on small and on blurred faces, whatever else they show."""
    rng = np.random.default_rng(0)
    size, blur = np.log(truth["side_px"]), np.log(truth["blur_share"])
    linear = -1.2 - 1.5 * (size - size.mean()) / size.std() + 1.5 * (blur - blur.mean()) / blur.std()
    wrong = rng.random((8, len(truth))) < 1 / (1 + np.exp(-linear.to_numpy()))
    rows = truth[["face_id", "image_id", "label"]].assign(arm="artificial", split="test", predicted="?")
    return pd.concat([rows.assign(seed=run, correct=~wrong[run]) for run in range(8)], ignore_index=True)


def test_on_the_sample_true_size_and_blur_rank_above_what_plays_no_part(sample):
    truth, _ = sample
    absent = ["yaw_degrees", "pitch_degrees", "roll_degrees", "light", "mouth_open", "occlusion_fraction"]
    tables = explain_errors(artificial_model(truth), truth, names=["side_px", "blur_share", *absent], **QUICK)
    found = ranks(tables)["artificial"]
    assert found[["side_px", "blur_share"]].max() == 2 < found[absent].min()
    assert "side px" in factors_answer(tables).answer and "blur share" in factors_answer(tables).answer


def test_on_the_sample_measured_size_and_sharpness_find_the_same(sample):
    truth, properties = sample
    names = ["box_area", "sharpness", "box_aspect", "brightness", "saturation", "centre_x", "centre_y"]
    found = ranks(explain_errors(artificial_model(truth), properties, names=names, **QUICK))["artificial"]
    assert found[["box_area", "sharpness"]].max() == 2


def test_on_the_sample_sharpness_measures_blur_and_not_size(sample):
    truth, properties = sample
    rank = pd.DataFrame(
        {"sharp": properties["sharpness"], "blur": truth["blur_share"], "size": truth["side_px"]}
    ).rank()
    # Partial rank correlation of sharpness and blur, size held fixed.
    left = {name: rank[name] - np.polyval(np.polyfit(rank["size"], rank[name], 1), rank["size"]) for name in rank}
    assert np.corrcoef(left["sharp"], left["blur"])[0, 1] < -0.5
    assert abs(rank["sharp"].corr(rank["size"])) < abs(rank["sharp"].corr(rank["blur"]))
