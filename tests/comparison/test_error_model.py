"""The non-linear model finds what is there and says when there is nothing."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from maskbench.comparison.error_model import LEAST_LEAF, TREES, error_model
from maskbench.comparison.face_errors import join_properties
from maskbench.schemas import validate
from maskbench.schemas.factors import ERROR_MODEL_SKILL, IMPORTANCE, PARTIAL_DEPENDENCE
from tests.comparison.simulated_faces import STRONG, simulated_predictions, simulated_properties

QUICK = {"repeats": 3, "resamples": 100, "folds": 4}


@pytest.fixture(scope="module")
def properties():
    return simulated_properties(140)


@pytest.fixture(scope="module")
def found(properties):
    return error_model(join_properties(simulated_predictions(properties, STRONG), properties), **QUICK)


def test_skill_is_shown_where_errors_follow_properties(found):
    skill = validate(found.skill, ERROR_MODEL_SKILL)
    assert (skill["skill"] == "shown").all() and (skill["reason"] == "").all()
    auc = skill[skill["metric"] == "auc"]
    assert auc["value"].between(0.7, 0.95).all() and (auc["low"] < auc["value"]).all()
    rate = auc["errors"] / auc["faces"]
    precision = skill[skill["metric"] == "average_precision"]
    assert (np.abs(precision["chance"].to_numpy() - rate.to_numpy()) < 0.05).all()


def test_importances_put_strong_above_absent(found):
    importance = validate(found.importance, IMPORTANCE)
    for _, rows in importance.groupby("arm"):
        best = rows.sort_values("importance", ascending=False)["property"].head(2)
        assert set(best) == set(STRONG)
        strong = rows[rows["property"].isin(STRONG)]
        assert (strong["low"] > 0).all() and (strong["sd"] > 0).all()


def test_dependence_follows_the_simulation_in_the_propertys_own_unit(found, properties):
    table = validate(found.dependence, PARTIAL_DEPENDENCE)
    for _, rows in table.groupby("arm"):
        size = rows[rows["property"] == "size"]
        assert size["error_rate"].iloc[0] > 1.5 * size["error_rate"].iloc[-1]
        assert size["value"].is_monotonic_increasing
        assert properties["size"].min() <= size["value"].min() and size["value"].max() <= properties["size"].max()
        assert ((rows["low"] <= rows["error_rate"]) & (rows["error_rate"] <= rows["high"])).all()
        assert set(rows.loc[rows["property"] == "flag", "value"].round(9)) <= {0.0, 1.0}


def test_no_skill_is_reported_where_there_is_none(properties):
    # Errors that differ between photographs and follow no property.
    predictions = simulated_predictions(properties, {}, arms=("a",), between=1.0, source=4)
    found = error_model(join_properties(predictions, properties), **QUICK)
    auc = found.skill[found.skill["metric"] == "auc"].iloc[0]
    assert auc["skill"] == "not shown" and "above chance" in auc["reason"]
    assert (found.importance["reason"] == "the model shows no skill").all()


def test_scores_come_from_photographs_the_model_has_not_seen(properties):
    # A property that names the photograph explains errors that are decided by photograph, but only to a
    # model that has seen it: across photographs it is noise.
    codes = properties["image_id"].factorize()[0]
    noise = np.random.default_rng(0).permutation(codes.max() + 1)[codes].astype(float)
    table = properties[["face_id", "image_id"]].assign(photograph=noise)
    predictions = simulated_predictions(properties, {}, arms=("a",))
    wrong = (np.random.default_rng(1).random(codes.max() + 1) < 0.3)[codes]
    joined = join_properties(predictions.assign(correct=~wrong), table)
    auc = error_model(joined, **QUICK).skill.set_index("metric").loc["auc"]
    from sklearn.ensemble import RandomForestRegressor

    seen = RandomForestRegressor(TREES, min_samples_leaf=LEAST_LEAF, random_state=0).fit(noise[:, None], wrong)
    assert roc_auc_score(wrong, seen.predict(noise[:, None])) > 0.8
    assert auc["value"] < 0.65


def test_equal_seeds_give_equal_tables(properties):
    joined = join_properties(simulated_predictions(properties, STRONG, arms=("a",)), properties)
    quick = {"repeats": 2, "resamples": 20, "folds": 2}
    one, other = error_model(joined, seed=3, **quick), error_model(joined, seed=3, **quick)
    for name in ("skill", "importance", "dependence"):
        assert getattr(one, name).equals(getattr(other, name))


def test_too_few_errors_are_undefined_with_a_reason(properties):
    predictions = simulated_predictions(properties, {}, arms=("a",)).assign(correct=True)
    predictions.loc[:2, "correct"] = False
    found = error_model(join_properties(predictions, properties), **QUICK)
    validate(found.importance, IMPORTANCE)
    assert (validate(found.skill, ERROR_MODEL_SKILL)["skill"] == "undefined").all()
    assert found.skill["reason"].str.contains("folds").all() and found.dependence.empty
    validate(found.dependence, PARTIAL_DEPENDENCE)


def test_wrong_arguments_are_refused(properties):
    joined = join_properties(simulated_predictions(properties, {}), properties)
    with pytest.raises(ValueError, match="folds"):
        error_model(joined, folds=1)
    with pytest.raises(ValueError, match="confidence"):
        error_model(joined, confidence=0.0)
