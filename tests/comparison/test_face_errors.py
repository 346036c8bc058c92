"""Predictions meet the properties of their own faces, and each face counts once."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.design import make_design, property_correlations
from maskbench.comparison.face_errors import Property, face_errors, join_properties
from maskbench.schemas import validate
from maskbench.schemas.factors import PROPERTY_CORRELATIONS
from tests.comparison.simulated_faces import STRONG, simulated_predictions, simulated_properties


@pytest.fixture(scope="module")
def properties():
    return simulated_properties(40)


@pytest.fixture(scope="module")
def predictions(properties):
    return simulated_predictions(properties, STRONG, seeds=(0, 3))


def test_rows_are_joined_by_face_and_not_by_place(properties, predictions):
    shuffled = properties.sample(frac=1, random_state=0)
    joined = join_properties(predictions, shuffled)
    expected = properties.set_index("face_id").loc[predictions["face_id"], "size"].to_numpy()
    np.testing.assert_array_equal(joined["size"], expected)
    assert list(joined["correct"]) == list(predictions["correct"])


def test_training_properties_may_differ_between_runs(properties, predictions):
    tables = {seed: properties[["face_id"]].assign(class_share=0.1 * (seed + 1)) for seed in (0, 3)}
    joined = join_properties(predictions, properties, tables)
    np.testing.assert_allclose(joined["class_share"], 0.1 * (joined["seed"] + 1))
    with pytest.raises(ValueError, match="seed 3"):
        join_properties(predictions, properties, {0: tables[0]})


def test_a_face_counts_once_with_the_share_of_its_wrong_runs(properties, predictions):
    data = next(face_errors(join_properties(predictions, properties)))
    arm = predictions[predictions["arm"] == data.arm]
    expected = 1 - arm.groupby("face_id")["correct"].mean()
    assert data.runs == 2 and len(data.error) == len(properties)
    np.testing.assert_allclose(data.error, expected.to_numpy())
    assert set(np.unique(data.error)) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.iloc[1:], "missing, e.g. 'p0000#000'"),
        (lambda p: pd.concat([p, p.iloc[:1]]), "there twice"),
        (lambda p: p.assign(image_id="elsewhere"), "another photograph"),
    ],
)
def test_tables_that_do_not_match_are_refused(properties, predictions, change, message):
    with pytest.raises(ValueError, match=message):
        join_properties(predictions, change(properties))


def test_other_wrong_arguments_are_refused(properties, predictions):
    with pytest.raises(ValueError, match="no rows of split 'val'; there are: test"):
        join_properties(predictions, properties, split="val")
    with pytest.raises(ValueError, match="'size' is in both tables"):
        join_properties(predictions, properties, properties[["face_id", "size"]])
    with pytest.raises(ValueError, match="'smell' is not a numeric column"):
        next(face_errors(join_properties(predictions, properties), ["smell"]))


def test_transforms_by_hand():
    log = Property("x", "x", "log").apply(np.array([0.0, 2.0, 8.0, np.nan]))
    np.testing.assert_allclose(log[:3], np.log([1, 2, 8]))  # 0 counts as half of the smallest, 2
    assert np.isnan(log[3])
    near = Property("x", "x", "reciprocal").apply(np.array([0.5, np.nan, np.inf]))
    np.testing.assert_allclose(near, [2, 0, 0])


def test_unknown_properties_find_their_transform(properties, predictions):
    data = next(face_errors(join_properties(predictions, properties)))
    assert {one.name: one.transform for one in data.properties} == {
        "size": "log", "blur": "none", "light": "none", "place": "none", "age": "none", "flag": "flag",
    }  # fmt: skip


def test_what_others_determine_is_left_out_with_the_reason(properties, predictions):
    more = properties.assign(
        box_area=properties["size"] ** 2,
        box_aspect=np.exp(properties["blur"] / 4),
        # log width = (log area + log aspect) / 2: exactly determined
        box_width=np.sqrt(properties["size"] ** 2 * np.exp(properties["blur"] / 4)),
        nearly=properties["place"] + 0.02 * np.random.default_rng(0).normal(size=len(properties)),
        constant=3.0,
        hollow=properties["age"].where(properties["age"] > 0),
    ).drop(columns=["size", "blur"])
    design = make_design(next(face_errors(join_properties(predictions, more))))
    left = design.left_out
    assert set(left) == {"box_width", "nearly", "constant", "hollow"}
    assert left["box_width"].determined_by == ("box_area", "box_aspect") and "exactly" in left["box_width"].reason
    assert left["nearly"].determined_by == ("place",) and "R² 0.99" in left["nearly"].reason
    assert left["constant"].reason == "the same for every face" and "undefined for" in left["hollow"].reason
    np.testing.assert_allclose(design.columns.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(design.columns.std(axis=0), 1)


def test_vif_is_that_of_the_regressions(properties, predictions):
    # Definition: 1 / (1 - R²) of each column regressed on the others.
    design = make_design(next(face_errors(join_properties(predictions, properties))))
    for place, vif in enumerate(design.vif()):
        others = np.delete(design.columns, place, axis=1)
        fitted = others @ np.linalg.lstsq(others, design.columns[:, place], rcond=None)[0]
        assert vif == pytest.approx(1 / ((design.columns[:, place] - fitted) ** 2).mean())


def test_correlations_are_of_transformed_values(properties, predictions):
    joined = join_properties(predictions, properties.assign(constant=1.0))
    table = validate(property_correlations(joined), PROPERTY_CORRELATIONS).set_index(["property_a", "property_b"])
    expected = np.corrcoef(np.log(properties["size"]), properties["light"])[0, 1]
    assert table.loc[("size", "light"), "correlation"] == pytest.approx(expected)
    assert table.loc[("light", "size"), "correlation"] == pytest.approx(expected)
    assert np.isnan(table.loc[("size", "constant"), "correlation"])
    assert "constant" in table.loc[("size", "constant"), "reason"]
