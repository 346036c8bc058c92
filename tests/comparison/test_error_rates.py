"""Error rates, effects and their intervals."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from maskbench.comparison.concordance import average_precision, wrong_right_pairs
from maskbench.comparison.error_rates import design_effect, error_effects, error_rates, quantile_bins
from maskbench.comparison.face_errors import Property, join_properties
from maskbench.schemas import validate
from maskbench.schemas.factors import ERROR_EFFECTS, ERROR_RATES
from tests.comparison.simulated_faces import STRONG, clustered_faces, simulated_predictions, simulated_properties

X = Property("x", "x")


def duplicated(scores, error, weights):
    """A face wrong in a share e of the runs as two: a wrong one of weight e, a right one of weight 1 - e."""
    truth = np.repeat([1, 0], len(scores))
    return truth, np.tile(scores, 2), np.concatenate([weights * error, weights * (1 - error)])


def test_auc_and_average_precision_equal_scikit_learn_under_weights(rng):
    photographs = np.sort(rng.integers(0, 12, 60))
    order = rng.permutation(60)
    photographs, scores, error = photographs[order], rng.integers(0, 8, 60) / 8, rng.integers(0, 4, 60) / 3
    weights = rng.integers(0, 3, (5, 12)).astype(float)
    areas = wrong_right_pairs(scores, error, photographs, 12).auc(weights)
    precisions = average_precision(scores, error, weights[:, photographs])
    for row, area, precision in zip(weights, areas, precisions, strict=True):
        truth, twice, weight = duplicated(scores, error, row[photographs])
        assert area == pytest.approx(roc_auc_score(truth, twice, sample_weight=weight))
        assert precision == pytest.approx(average_precision_score(truth, twice, sample_weight=weight))


def test_no_pairs_have_no_area():
    pairs = wrong_right_pairs(np.array([0.3, 0.4]), np.array([1.0, 1.0]), np.array([0, 1]), 2)
    assert np.isnan(pairs.auc(np.ones((1, 2)))).all()
    assert np.isnan(average_precision(np.array([0.1]), np.array([0.0]), np.ones((1, 1)))).all()


def test_design_effect_by_hand():
    # Photograph 0: 2 wrong of 2; photograph 1: 0 of 2. Rate 1/2, residual totals +1 and -1.
    # Between: 2/1 · (1 + 1) / 4² = 1/4; independent faces: 1/2 · 1/2 / 4 = 1/16; their ratio is 4.
    assert design_effect(np.array([1.0, 1, 0, 0]), np.array([5, 5, 9, 9])) == pytest.approx(4)
    assert np.isnan(design_effect(np.zeros(4), np.array([0, 0, 1, 1])))
    assert np.isnan(design_effect(np.array([1.0, 0]), np.array([0, 0])))


def test_bins_hold_equal_values_together_and_missing_ones_apart():
    found = quantile_bins(np.array([3.0, 1, 1, 1, np.nan, 2, 9]), 3, X)
    # A third of 1, 1, 1, 2, 3, 9 lies at 1, two thirds between 2 and 3.
    assert found.codes.tolist() == [2, 0, 0, 0, 3, 1, 2]
    assert found.labels == ["1", "2", "3–9", "undefined"]
    assert found.lower[:3] == [1, 2, 3] and np.isnan(found.lower[3])
    assert quantile_bins(np.array([1.0, 0, 1]), 5, Property("b", "b", "flag")).labels == ["no", "yes"]
    assert quantile_bins(np.full(4, np.nan), 5, Property("neighbour_distance", "d")).labels == ["no other face"]
    thousand = quantile_bins(np.random.default_rng(0).normal(size=1000), 5, X)
    assert np.bincount(thousand.codes).tolist() == [200] * 5


def test_independent_faces_have_wilsons_interval():
    # One face per photograph: the design effect is n/(n - 1), counted as such; with 100 faces and 20
    # errors in the only bin the interval is Wilson's at 99 faces.
    n = 100
    ids = [f"p{i:03d}" for i in range(n)]
    table = pd.DataFrame({"face_id": ids, "image_id": ids, "x": np.arange(n) % 2})
    wrong = np.arange(n) < 20
    rows = pd.DataFrame({"arm": "a", "seed": 0, "split": "test", "face_id": ids, "image_id": ids, "label": "k",
                         "predicted": "k", "correct": ~wrong})  # fmt: skip
    found = validate(error_rates(join_properties(rows, table.assign(x=1.0)), ["x"]), ERROR_RATES).iloc[0]
    low, high = proportion_confint(20 * 0.99, 99, method="wilson")
    assert (found["rate"], found["faces"], found["errors"]) == (0.2, 100, 20)
    assert (found["low"], found["high"]) == pytest.approx((low, high))


def test_the_interval_covers_the_rate_of_clustered_faces():
    # 400 tables of 60 photographs whose error rates vary between photographs (design effect about 3);
    # standard error of a coverage of 0.95 over 400 tables: 0.011, so 0.92 is 2.7 of them below nominal.
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    for _ in range(400):
        photo = clustered_faces(60, rng)
        rate = rng.beta(0.8, 3.2, 60)  # mean 0.2
        error = (rng.random(len(photo)) < rate[photo]).astype(float)
        effect = max(1.0, design_effect(error, photo))
        low, high = proportion_confint(error.sum() / effect, len(error) / effect, method="wilson")
        covered += low <= 0.2 <= high
        low, high = proportion_confint(error.sum(), len(error), method="wilson")
        naive += low <= 0.2 <= high
    assert covered / 400 >= 0.92
    assert naive < covered - 20  # what ignoring photographs would give


def test_effects_have_the_sign_of_the_simulation_and_know_none():
    properties = simulated_properties()
    joined = join_properties(simulated_predictions(properties, STRONG), properties.assign(constant=1.0))
    table = validate(error_effects(joined, resamples=200), ERROR_EFFECTS)
    for _, part in table.groupby("arm"):
        rows = part.set_index("property")
        assert rows.loc["size", "high"] < 0 < rows.loc["blur", "low"]
        assert rows.loc["place", "low"] < 0 < rows.loc["place", "high"]
        assert np.isnan(rows.loc["constant", "effect"]) and rows.loc["constant", "reason"]


def test_a_rare_flag_without_errors_gets_no_interval():
    # 5 of 600 faces are flagged, none of them wrong: no resample could ever show an error there.
    properties = simulated_properties(150).assign(rare=False)
    properties.loc[:4, "rare"] = True
    predictions = simulated_predictions(properties, {}, arms=("one",))
    predictions.loc[:4, "correct"] = True
    row = error_effects(join_properties(predictions, properties), ["rare"], resamples=50).iloc[0]
    assert row["effect"] < 0 and np.isnan(row["low"]) and "expected" in row["reason"]


def test_distance_to_the_next_face_counts_missing_as_far():
    properties = simulated_properties(60)
    distance = np.exp(properties["blur"]).where(properties["blur"] < 1)
    table = properties[["face_id", "image_id"]].assign(neighbour_distance=distance)
    joined = join_properties(simulated_predictions(properties, {"blur": 2.0}, arms=("one",)), table)
    effect = error_effects(joined, resamples=20).iloc[0]
    assert effect["effect"] > 0.3 and effect["faces"] == len(properties)
    rates = error_rates(joined)
    assert rates["bin"].iloc[-1] == "no other face" and rates["rate"].iloc[-1] > rates["rate"].iloc[0]


def test_wrong_arguments_are_refused():
    properties = simulated_properties(10)
    joined = join_properties(simulated_predictions(properties, {}), properties)
    with pytest.raises(ValueError, match="bins"):
        error_rates(joined, bins=0)
    with pytest.raises(ValueError, match="confidence"):
        error_effects(joined, confidence=1.0)
