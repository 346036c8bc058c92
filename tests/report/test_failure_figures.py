"""Galleries of what goes wrong, from tables and pictures as the explain stage leaves them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from maskbench import schemas
from maskbench.comparison.failures import confusion_pairs, failures_table, neighbours_table, prototypes_table
from maskbench.comparison.representations import RunFeatures
from maskbench.report.drawing import Drawing
from maskbench.report.failures import Faces, failure_drawings
from maskbench.report.inside import portrait_drawings
from maskbench.schemas import write_table
from maskbench.schemas.failures import FAILURE_TABLES, LABEL_ISSUES, PORTRAITS
from maskbench.stages.inside import Look
from maskbench.stages.pictures import _named, said_of
from maskbench.storage import write_arrays

CLASSES = ("bare", "masked")
#: Names that once broke tables or figures.
IDS = [f"{stem}#00{k % 2}" for k, stem in enumerate(("a,b", "$x$", 'c"d', "e f", "g$", "h", "i", "j"))]
TRAIN = ["t,1#000", "t,2#000"]


def predictions(arm: str, seed: int, probs: list[float]) -> pd.DataFrame:
    """`probs` are of bare; faces are bare and masked in turn."""
    table = pd.DataFrame({"face_id": IDS, "prob_bare": probs}).assign(arm=arm, seed=seed, split="test")
    table["prob_masked"] = 1 - table["prob_bare"]
    table["image_id"] = table["face_id"].str.rpartition("#")[0]
    table["label"] = np.resize(np.array(CLASSES, dtype=object), len(IDS))
    table["predicted"] = np.where(table["prob_bare"] > 0.5, "bare", "masked")
    own = np.where(table["label"] == "bare", table["prob_bare"], table["prob_masked"])
    return table.assign(correct=table["label"] == table["predicted"], loss=-np.log(own))


#: Bare faces at even places: wrong are 2 (0.3) and 3 (0.9) in run 0, 0 (0.05) in run 1.
FIRST, SECOND = [0.9, 0.1, 0.3, 0.9, 0.8, 0.2, 0.7, 0.1], [0.05, 0.1, 0.8, 0.2, 0.8, 0.2, 0.7, 0.1]
RIGHT = [0.9, 0.1] * 4


def stage(folder: Path, runs: list[pd.DataFrame], gallery: int = 3) -> list[Drawing]:
    """Write what the stage writes of failures, and draw it."""
    test, rng = pd.concat(runs, ignore_index=True), np.random.default_rng(0)
    near, typical = [], []
    for run in runs:
        features = rng.normal(size=(len(IDS), 4)).astype(np.float32)
        one = RunFeatures(str(run["arm"].iloc[0]), int(run["seed"].iloc[0]), {"late": features[:2]},
                          np.array(CLASSES, object), {"late": features}, run)  # fmt: skip
        confidence = dict(zip(run["face_id"], run[["prob_bare", "prob_masked"]].max(axis=1), strict=True))
        near.append(neighbours_table(one, "late", TRAIN, confidence, 2))
        typical.append(prototypes_table(one, "late", CLASSES, gallery))
    tables = {
        "failures": failures_table(test, CLASSES, gallery), "confusion_pairs": confusion_pairs(test, CLASSES),
        "prototypes": pd.concat(typical, ignore_index=True), "neighbours": schemas.concat_tables(near),
    }  # fmt: skip
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table, FAILURE_TABLES[name])
    write_table(folder / "label_issues.parquet", schemas.empty_table(LABEL_ISSUES), LABEL_ISSUES)
    shown = sorted(_named({name: (table, None) for name, table in tables.items()} | {
        "label_issues": (schemas.empty_table(LABEL_ISSUES), None)
    }, gallery))  # fmt: skip
    arms = list(dict.fromkeys(test["arm"]))
    pixels = rng.integers(0, 255, (len(shown), 8, 8, 3), dtype=np.uint8)
    write_arrays(folder / "views.safetensors", {"views": pixels}, shown)
    maps = {arm: rng.random((len(IDS), 8, 8)).astype(np.float16) for arm in arms}
    write_arrays(folder / "maps.safetensors", maps, IDS)
    drawn = failure_drawings(folder, Faces.read(folder), arms)
    for drawing in drawn:
        drawing.figure.draw_without_rendering()
    return drawn


def texts(drawing: Drawing) -> list[str]:
    return [text.get_text() for ax in drawing.figure.axes for text in ax.texts]


def test_one_arm_with_several_runs_and_names_of_all_kinds(tmp_path: Path) -> None:
    runs = [predictions("one", 0, FIRST), predictions("one", 1, SECOND)]
    drawn = {drawing.name: drawing for drawing in stage(tmp_path, runs)}
    assert list(drawn) == [
        "hard-loss-1", "confident-1", "mistakes-beside-neighbours-1", "confusions-1", "prototypes-1",
    ]  # fmt: skip
    for kind in ("hard-loss-1", "confident-1"):
        assert "means over the runs that tested a face (at most 2)" in drawn[kind].caption
        assert "of the class that this run predicted" in drawn[kind].caption
    near = drawn["mistakes-beside-neighbours-1"]
    # of run 0 alone, the most confident mistake first though it stands below in the table
    assert near.caption.startswith("The 2 most confident of 2 mistakes in run 0.")
    assert [text for text in texts(near) if "says" in text] == [
        "true: masked\nsays: bare\np = 0.90", "true: bare\nsays: masked\np = 0.70",
    ]  # fmt: skip


@pytest.mark.parametrize("others", [RIGHT, [0.9, 0.2, 0.6, 0.1] * 2])
def test_an_arm_without_a_mistake_has_hard_and_typical_faces(tmp_path: Path, others: list[float]) -> None:
    runs = [predictions("clean", 0, others), predictions("one", 0, FIRST)]
    names = [drawing.name for drawing in stage(tmp_path, runs)]
    assert [name for name in names if name.endswith("-1")] == ["hard-loss-1", "prototypes-1"]
    assert {"confident-2", "confusions-2", "mistakes-beside-neighbours-2"} <= set(names)


def test_nobody_makes_a_mistake(tmp_path: Path) -> None:
    drawn = stage(tmp_path, [predictions("clean", 0, RIGHT)])
    assert [drawing.name for drawing in drawn] == ["hard-loss-1", "prototypes-1"]
    assert "in the one run that tested the face" in drawn[0].caption
    assert "The faces of the smallest margins are the same." in drawn[0].caption


def test_faces_that_only_the_margin_finds_hard_have_a_gallery(tmp_path: Path) -> None:
    # Bare, three runs. Face 2, once very wrong: probabilities 0.55, 0.55, 0.01, so loss (0.60 + 0.60 + 4.61) / 3 = 1.93
    # and margin 0.37 - 0.63 = -0.26. Face 4, always a little wrong: 0.35, so loss 1.05 and margin -0.30.
    runs = [
        predictions("one", k, [0.9, 0.1, odd, 0.1, 0.35, 0.1, 0.9, 0.1]) for k, odd in enumerate((0.55, 0.55, 0.01))
    ]
    drawn = {drawing.name: drawing for drawing in stage(tmp_path, runs, gallery=1)}
    assert "p = 0.63" in texts(drawn["hard-loss-1"])[0]
    assert "p = 0.65, m = -0.30" in texts(drawn["hard-margin-1"])[0]
    assert "margins are the same" not in drawn["hard-loss-1"].caption


def test_a_map_without_evidence_is_told_from_a_map_that_was_forgotten() -> None:
    faces = Faces({"a": np.zeros((8, 8, 3), np.uint8)}, {"one": {"a": np.zeros((8, 8))}, "two": {"a": np.eye(8)}})
    cells = [faces.heat(arm, "a", title="Grad-CAM") for arm in ("one", "two")]
    assert [cell.lines for cell in cells if cell] == [("no evidence for it",), ()]


def test_portraits_say_what_is_predicted_and_how_surely(tmp_path: Path) -> None:
    runs = [predictions("one", 0, FIRST), predictions("two", 0, RIGHT)]
    test = pd.concat([*runs, predictions("one", 1, SECOND)], ignore_index=True)
    looks = [cast(Look, SimpleNamespace(arm=arm, seed=0)) for arm in ("one", "two")]
    table = said_of(test, looks, [IDS[2], IDS[0]], {"one": (2, 3), "two": (2, 3)})
    assert len(table) == 4
    write_table(tmp_path / "portraits.parquet", table, PORTRAITS)
    maps = {f"{arm}/grad_cam": np.ones((2, 8, 8), np.float16) for arm in ("one", "two")}
    maps["two/grad_cam"][1] = 0
    write_arrays(tmp_path / "portraits.safetensors", maps, [IDS[2], IDS[0]])
    faces = Faces(dict.fromkeys(IDS, np.zeros((8, 8, 3), np.uint8)), {})
    (drawing,) = portrait_drawings(tmp_path, faces, {"grad_cam": "Grad-CAM"}, ["one", "two"])
    assert [text for text in texts(drawing) if "says" in text] == [
        "true: bare\nsays: masked\np = 0.70", "true: bare\nsays: bare\np = 0.90",
        "true: bare\nsays: bare\np = 0.90", "true: bare\nsays: bare\np = 0.90",
    ]  # fmt: skip
    assert "Maps of the class that is predicted in run 0" in drawing.caption
    assert "are enlarged from 2 × 3 places" in drawing.caption
    assert texts(drawing).count("no evidence for it") == 1


def test_a_class_that_an_arm_never_gets_right_has_no_blank_cells(tmp_path: Path) -> None:
    # Every masked face is taken for a bare one, so no right face of that class lies near.
    drawn = {drawing.name: drawing for drawing in stage(tmp_path, [predictions("one", 0, [0.9] * 8)])}
    said = [text for text in texts(drawn["mistakes-beside-neighbours-1"]) if text.startswith("none")]
    assert said == ["none: no test face\nof masked\nis right"] * 4
