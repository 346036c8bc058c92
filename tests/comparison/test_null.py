"""Studies in which no property plays a part: how often something is named all the same."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison import error_model
from maskbench.comparison.factors import explain_errors, factors_answer, named_properties

PROPERTIES, PHOTOGRAPHS = 10, 60


def null_study(number: int, errors: int):
    """Faces with properties that photographs share in part, and errors that follow none, each in its own photograph."""
    rng = np.random.default_rng([errors, number])
    images = np.repeat(np.arange(PHOTOGRAPHS), np.minimum(rng.geometric(0.25, size=PHOTOGRAPHS), 20))
    faces = pd.DataFrame({"face_id": [f"f{k}" for k in range(len(images))], "image_id": [f"i{k:03d}" for k in images]})
    for name in range(PROPERTIES):
        shared = rng.normal(size=PHOTOGRAPHS)[images]
        faces[f"p{name}"] = 0.6 * shared + 0.8 * rng.normal(size=len(images))
    chosen = rng.choice(PHOTOGRAPHS, errors, replace=False)
    wrong = [rng.choice(np.flatnonzero(images == image)) for image in chosen]
    keys = faces[["face_id", "image_id"]]
    predictions = keys.assign(arm="a", seed=0, split="test", label="x", predicted="y", correct=True)
    predictions.loc[wrong, "correct"] = False
    return explain_errors(predictions, faces, folds=5, repeats=1, resamples=200)


@pytest.mark.parametrize("errors", [2, 4, 9])
def test_from_few_errors_nothing_is_named_and_it_is_said_why(errors, monkeypatch):
    monkeypatch.setattr(error_model, "TREES", 2)
    tables = null_study(0, errors)
    assert tables.effects["effect"].notna().all() and tables.effects[["low", "high"]].isna().all().all()
    told = f"{errors} wrong faces in {errors} photographs, at least 10 in 10 are needed"
    assert tables.effects["reason"].str.endswith(told).all()
    assert (tables.skill["skill"] == "undefined").all() and tables.ranking["importance"].isna().all()
    answer = factors_answer(tables).answer
    assert f"no property is shown to go with its errors ({told})" in answer
    assert "nan" not in answer and "shows no skill" not in answer


def test_of_null_studies_with_ten_errors_few_name_a_property_or_show_skill(monkeypatch):
    """At most one study of ten: while a single uncorrected interval sufficed, two errors named one in 20 of 20."""
    monkeypatch.setattr(error_model, "TREES", 20)
    studies = [null_study(number, 10) for number in range(10)]
    for tables in studies:  # there are enough errors for intervals, which are what can go wrong
        assert tables.effects["low"].notna().all() and tables.skill["low"].notna().all()
    named = sum(bool(named_properties(tables, "a")) for tables in studies)
    shown = sum(tables.skill.set_index("metric").loc["auc", "skill"] == "shown" for tables in studies)
    assert named <= 1 and shown <= 1
