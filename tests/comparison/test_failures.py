"""What goes wrong, worked out by hand; planted label errors are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.failures import (
    confusion_pairs,
    failures_table,
    neighbours_sentence,
    neighbours_table,
    prototypes_table,
)
from maskbench.comparison.label_errors import held_out_probabilities, label_sentence, suspected_labels
from maskbench.comparison.representations import RunFeatures
from maskbench.schemas import validate
from maskbench.schemas.failures import CONFUSION_PAIRS, FAILURES, LABEL_ISSUES, NEIGHBOURS, PROTOTYPES, example_ids

CLASSES = ("bare", "masked", "wrong")


def predictions() -> pd.DataFrame:
    """f0 is tested in two runs: right in one, wrong in the other, and on the mean wrong."""
    probs = {
        ("f0", 0): ("bare", [0.6, 0.3, 0.1]),
        ("f0", 1): ("bare", [0.2, 0.8, 0.0]),
        ("f1", 0): ("masked", [0.05, 0.05, 0.9]),
        ("f2", 0): ("masked", [0.1, 0.5, 0.4]),
        ("f3", 0): ("wrong", [0.0, 0.4, 0.6]),
    }
    rows = []
    for (face, seed), (label, values) in probs.items():
        facts = {f"prob_{name}": value for name, value in zip(CLASSES, values, strict=True)}
        predicted = CLASSES[int(np.argmax(values))]
        loss = -np.log(values[CLASSES.index(label)])
        rows.append(
            {
                "arm": "one",
                "seed": seed,
                "split": "test",
                "face_id": face,
                "image_id": "i" + face[1],
                "label": label,
                "predicted": predicted,
                "correct": label == predicted,
                "loss": loss,
                **facts,
            }
        )
    return pd.DataFrame(rows)


def test_hard_faces_are_ranked_by_their_means_over_runs() -> None:
    table = validate(failures_table(predictions(), CLASSES, 3), FAILURES).set_index(["kind", "rank"])
    # mean probabilities of f0: 0.4, 0.55, 0.05; margins: f0 0.4 - 0.55, f1 0.05 - 0.9, f2 0.5 - 0.4, f3 0.6 - 0.4
    assert list(table.loc["hard_margin", "face_id"]) == ["f1", "f0", "f2"]
    assert list(table.loc["hard_margin", "margin"]) == pytest.approx([-0.85, -0.15, 0.1])
    assert list(table.loc["hard_loss", "face_id"]) == ["f1", "f0", "f2"]
    assert table.loc[("hard_loss", 2), "loss"] == pytest.approx(-(np.log(0.6) + np.log(0.2)) / 2)
    assert list(table.loc["confident", "face_id"]) == ["f1", "f0"]  # f2 and f3 are right
    assert table.loc[("confident", 2), ["predicted", "seeds"]].tolist() == ["masked", 2]
    assert table.loc[("confident", 1), ["prob_predicted", "prob_label"]].tolist() == pytest.approx([0.9, 0.05])


def test_confusions_are_counted_over_runs_with_the_most_confident_examples() -> None:
    table = validate(confusion_pairs(predictions(), CLASSES), CONFUSION_PAIRS)
    rows = table.set_index(["label", "predicted"])
    assert rows.loc[("bare", "masked"), ["mistakes", "share_of_class"]].tolist() == [1, 0.5]
    assert rows.loc[("masked", "wrong"), ["mistakes", "share_of_class"]].tolist() == [1, 0.5]
    assert example_ids(rows.loc[("masked", "wrong"), "examples"]) == ["f1"]
    assert len(rows) == 2
    right = predictions().query("correct")
    assert validate(confusion_pairs(right, CLASSES), CONFUSION_PAIRS).empty


def test_examples_keep_whatever_the_photographs_are_called() -> None:
    names = {"f1": 'a, "b"\nü#000', "f2": "a#000", "f0": "b,c#001"}
    predicted = predictions().assign(predicted="bare", correct=lambda table: table["label"] == "bare")
    table = confusion_pairs(predicted.replace({"face_id": names}), CLASSES).set_index("label")
    # the largest probability of any class: f1 0.9, f2 0.5
    assert example_ids(table.loc["masked", "examples"]) == [names["f1"], names["f2"]]


def test_an_arm_without_mistakes_has_hard_faces_and_nothing_else() -> None:
    right = predictions().query("correct")
    both = pd.concat([predictions(), right.assign(arm="two")], ignore_index=True)
    table = validate(failures_table(both, CLASSES, 3), FAILURES)
    assert table[table["arm"] == "two"]["kind"].value_counts().to_dict() == {"hard_loss": 3, "hard_margin": 3}
    assert set(validate(confusion_pairs(both, CLASSES), CONFUSION_PAIRS)["arm"]) == {"one"}
    run = features()
    clean = replace(run, faces=run.faces.assign(predicted=run.faces["label"], correct=True))
    assert validate(neighbours_table(clean, "late", ["n0", "n1", "n2"], {}, 2), NEIGHBOURS).empty


def features() -> RunFeatures:
    """Two classes along two axes; t2 is masked but looks bare."""
    test = np.array([[1.0, 0.1], [0.2, 1], [1, 0.2], [0, 3]], dtype=np.float32)
    faces = pd.DataFrame(
        {"face_id": ["t0", "t1", "t2", "t3"], "image_id": ["i0", "i1", "i2", "i3"],
         "label": ["bare", "masked", "masked", "masked"], "predicted": ["bare", "masked", "bare", "masked"],
         "correct": [True, True, False, True], "box_side_px": 20.0}
    )  # fmt: skip
    train = np.array([[2.0, 0.4], [0, 1], [1, 1]], dtype=np.float32)
    return RunFeatures("one", 0, {"late": train}, np.array(["bare", "masked", "bare"], object), {"late": test}, faces)


def test_what_lies_near_a_mistake() -> None:
    table = validate(neighbours_table(features(), "late", ["n0", "n1", "n2"], {"t2": 0.7}, 2), NEIGHBOURS)
    assert set(table["face_id"]) == {"t2"}
    assert set(table["prob_predicted"]) == {0.7}
    near = table[table["kind"] == "train"]
    assert list(near["neighbour_id"]) == ["n0", "n2"]  # by direction: n0 is t2 twice as long
    assert near["similarity"].tolist() == pytest.approx([1.0, 1.2 / np.sqrt(1.04 * 2)])
    right = table[table["kind"] == "right"].iloc[0]
    assert (right["neighbour_id"], right["neighbour_label"]) == ("t1", "masked")  # nearer in direction than t3
    assert neighbours_sentence(table, "one") == (
        "Of the training faces nearest to the 1 mistakes of one, 100% have the class that was predicted and 0% the "
        "true one."
    )
    assert neighbours_sentence(table, "two") == ""


def test_prototypes_lie_nearest_to_the_mean_direction_of_their_class() -> None:
    table = validate(prototypes_table(features(), "late", CLASSES, 2), PROTOTYPES)
    masked = table[table["label"] == "masked"]
    # the mean of masked, (1.2, 4.2) / 3, points between t1 and t3, and nearest to t1
    assert list(masked["face_id"]) == ["t1", "t3"]
    assert "wrong" not in set(table["label"])  # no such face


def planted(count: int = 240) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Features that tell the classes apart, and twelve labels that were swapped."""
    rng = np.random.default_rng(0)
    truth = np.arange(count) % 2
    values = np.hstack([truth[:, None] * 3.0 + rng.normal(size=(count, 1)) * 0.5, rng.normal(size=(count, 2))])
    swapped = rng.choice(count, 12, replace=False)
    given = truth.copy()
    given[swapped] = 1 - given[swapped]
    faces = pd.DataFrame(
        {"face_id": [f"f{k}" for k in range(count)], "image_id": [f"i{k // 4}" for k in range(count)],
         "label": np.where(given == 1, "masked", "bare"), "xmin": 1.0, "ymin": 2.0, "xmax": 9.0, "ymax": 9.0}
    )  # fmt: skip
    return values, faces, swapped


def test_planted_label_errors_are_found_and_little_else() -> None:
    values, faces, swapped = planted()
    classes = ("bare", "masked")
    held_out = held_out_probabilities(values, faces["label"], faces["image_id"], classes, folds=4, seed=0)
    assert held_out.probs.sum(axis=1) == pytest.approx(np.ones(len(faces)))
    # every photograph lies in one fold
    assert faces.assign(fold=held_out.folds).groupby("image_id")["fold"].nunique().max() == 1
    sides = pd.Series(["train"] * len(faces))
    issues = validate(suspected_labels(held_out, faces, faces["image_id"] + ".png", sides, classes), LABEL_ISSUES)
    found = {int(name[1:]) for name in issues["face_id"]}
    assert len(found & set(swapped)) >= 10
    assert len(found - set(swapped)) <= 3
    assert (issues["label"] != issues["suggested"]).all()
    assert issues["quality"].is_monotonic_increasing
    sentence = label_sentence(held_out, issues, 240)
    assert sentence.startswith(f"A weak classifier doubts {len(issues)} of 240 labels")
    assert f"accuracy of {held_out.accuracy:.3f} and a macro-F1 of {held_out.f1_macro:.3f}" in sentence
    assert sentence.endswith("look at a face before changing its label.")


def test_a_face_is_never_judged_by_a_model_that_knew_its_label() -> None:
    # Features that name the photograph tell nothing of others: a model that knew the face would be right.
    rng = np.random.default_rng(1)
    codes = np.eye(40)[np.repeat(np.arange(40), 3)]
    labels = pd.Series(np.where(np.repeat(rng.random(40) < 0.5, 3), "masked", "bare"))
    groups = pd.Series([f"i{k // 3}" for k in range(120)])
    held_out = held_out_probabilities(codes, labels, groups, ("bare", "masked"), folds=4, seed=0)
    assert held_out.accuracy < 0.75


def test_a_class_in_few_photographs_is_judged_in_fewer_folds() -> None:
    values, faces, _ = planted(80)
    faces.loc[[0, 4, 41], "label"] = "wrong"  # in three photographs
    held_out = held_out_probabilities(values, faces["label"], faces["image_id"], CLASSES, folds=5, seed=0)
    assert not held_out.reason
    assert set(held_out.folds) == {0, 1, 2}
    # every fold's classifier knows the class, so nobody doubts its labels for not knowing it
    assert (held_out.probs[:, CLASSES.index("wrong")] > 0).all()


def test_a_class_in_too_few_photographs_is_not_judged() -> None:
    values, faces, _ = planted(40)
    faces.loc[0, "label"] = "wrong"
    held_out = held_out_probabilities(values, faces["label"], faces["image_id"], CLASSES, folds=4, seed=0)
    assert held_out.reason == "a class lies in 1 group of photographs: too few to hold some of them out"
    assert np.isnan(held_out.probs).all()
    issues = suspected_labels(held_out, faces, faces["image_id"], faces["image_id"], CLASSES)
    assert validate(issues, LABEL_ISSUES).empty
    assert label_sentence(held_out, issues, 40) == f"Labels were not checked: {held_out.reason}."
