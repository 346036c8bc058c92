"""Comparisons from saved predictions: of runs, or of somebody else's models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maskbench.config import make_config
from maskbench.rundir import RunDir, RunError
from maskbench.stages.combine import compare_sources
from maskbench.stages.sources import read_predictions, read_sources

CONFIG = make_config("smoke", {"name": "both", "report": {"dpi": 50}})


def predictions(skill: float, arm: str = "m") -> pd.DataFrame:
    rng = np.random.default_rng(int(skill * 100))
    numbers = np.arange(120)
    label = np.where(numbers % 3, "yes", "no")
    right = rng.random(120) < skill
    prob = np.where((label == "yes") == right, 0.7, 0.3) + rng.uniform(-0.2, 0.2, 120)
    return pd.DataFrame(
        {"arm": arm, "seed": 0, "split": np.where(numbers < 20, "val", "test"), "face_id": [f"f{n}" for n in numbers],
         "image_id": [f"p{n // 2}" for n in numbers], "label": label, "prob_no": 1 - prob, "prob_yes": prob}
    )  # fmt: skip


def test_two_files_become_a_report_with_a_verdict(tmp_path: Path) -> None:
    predictions(0.6).to_csv(tmp_path / "mine.csv", index=False)
    predictions(0.99).to_parquet(tmp_path / "theirs.parquet")
    lines: list[str] = []
    folders = RunDir.named("both", tmp_path)
    report = compare_sources([tmp_path / "mine.csv", tmp_path / "theirs.parquet"], folders, CONFIG, lines.append)
    differences = pd.read_parquet(folders.results / "compare" / "differences.parquet")
    row = differences[(differences["metric"] == "accuracy") & (differences["class_name"] == "")].iloc[0]
    assert (row["arm"], row["baseline"]) == ("theirs/m", "mine/m") and row["verdict"] == "theirs/m higher"
    test = [t[t["split"] == "test"] for t in (predictions(0.6), predictions(0.99))]
    means = [((t["prob_yes"] > 0.5) == (t["label"] == "yes")).mean() for t in test]
    assert row["value"] == pytest.approx(means[1] - means[0])
    text = report.read_text(encoding="utf-8")
    assert "theirs/m" in text and 'src="http' not in text and 'href="http' not in text
    assert lines and "theirs/m" in lines[-1]


def test_what_a_file_lacks_is_worked_out_from_the_probabilities(tmp_path: Path) -> None:
    predictions(0.8).to_csv(tmp_path / "p.csv", index=False)
    found = read_predictions(tmp_path / "p.csv")
    chance = found["prob_yes"].where(found["label"] == "yes", found["prob_no"])
    np.testing.assert_allclose(found["loss"], -np.log(chance))
    assert (found["predicted"] == np.where(found["prob_yes"] > 0.5, "yes", "no")).all()
    np.testing.assert_allclose(found["logit_yes"] - found["logit_no"], np.log(found["prob_yes"] / found["prob_no"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="image_id"), "columns missing: image_id"),
        (lambda t: t.drop(columns=["prob_no"]), "columns missing: prob_CLASS"),
        (lambda t: t.assign(prob_no=2.0), "sum to 1"),
        (lambda t: t.assign(label="perhaps"), "no column prob_perhaps"),
        (lambda t: t.assign(arm=""), "arm is empty in row 1"),
        (lambda t: t.assign(seed="a"), "seed 'a' in row 1 is not a whole number"),
        (lambda t: t.assign(seed=0.5), "is not a whole number"),
        (lambda t: t.assign(seed=""), "is not a whole number"),
        (lambda t: t.assign(prob_no="high"), "a probability is not a number"),
        (lambda t: t.assign(split="val"), "no row with split `test`; there are: val"),
        (lambda t: t.head(0), "no row with split `test`; there are: none"),
        (lambda t: pd.concat([t, t.tail(1)]), "face f119 stands there twice for m, seed 0"),
        (lambda t: pd.concat([t, t.tail(1).assign(arm="n", label="no")]), "face f119 has several values of label"),
    ],
)
def test_a_table_in_another_format_is_refused_in_one_line(tmp_path: Path, change, message: str) -> None:
    change(predictions(0.8)).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(RunError, match=message) as found:
        read_predictions(tmp_path / "p.csv")
    assert "p.csv" in str(found.value)


def test_sources_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no predictions there"):
        read_predictions(tmp_path)
    predictions(0.8).to_csv(tmp_path / "a.csv", index=False)
    renamed = predictions(0.8).rename(columns={"prob_no": "prob_maybe"}).replace({"label": {"no": "maybe"}})
    renamed.to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(RunError, match=r"b\.csv: classes maybe, yes"):
        read_sources([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    folders = RunDir.named("both", tmp_path)
    folders.claim(CONFIG, set())
    with pytest.raises(RunError, match="holds a run"):
        compare_sources([tmp_path], folders, CONFIG, print)


def test_ids_are_names_whatever_they_look_like(tmp_path: Path) -> None:
    table = predictions(0.8).assign(face_id=[f"{n:05d}" for n in range(120)], image_id=range(120))
    table = table.rename(columns={"prob_no": "prob_None", "prob_yes": "prob_1"}).replace(
        {"label": {"no": "None", "yes": "1"}}
    )
    table.to_csv(tmp_path / "p.csv", index=False)
    table.to_parquet(tmp_path / "p.parquet")
    for path in (tmp_path / "p.csv", tmp_path / "p.parquet"):
        found = read_predictions(path)
        assert found["face_id"].iloc[7] == "00007"
        assert found["image_id"].iloc[7] == "7"
        assert set(found["label"]) == {"None", "1"}
        assert found["correct"].mean() == pytest.approx(0.8, abs=0.1)


def test_a_comparison_that_fails_leaves_the_earlier_one_as_it_was(tmp_path: Path) -> None:
    predictions(0.6).to_csv(tmp_path / "mine.csv", index=False)
    predictions(0.99).to_csv(tmp_path / "theirs.csv", index=False)
    folders = RunDir.named("both", tmp_path)
    compare_sources([tmp_path / "mine.csv", tmp_path / "theirs.csv"], folders, CONFIG, lambda line: None)

    def state() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for top in (folders.results, folders.plots) for path in top.rglob("*.*")}

    before = state()
    predictions(0.99).iloc[:-1].to_csv(tmp_path / "theirs.csv", index=False)  # a face is missing
    with pytest.raises(ValueError, match="not measured on the same faces"):
        compare_sources([tmp_path / "mine.csv", tmp_path / "theirs.csv"], folders, CONFIG, lambda line: None)
    assert state() == before
    assert not [path for top in (folders.results, folders.plots) for path in top.parent.glob(".*new*")]


def test_numbers_never_make_the_name_of_another_source(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        predictions(0.8).to_csv(tmp_path / folder / "a.csv", index=False)
    predictions(0.8).to_csv(tmp_path / "a-1.csv", index=False)
    sources = read_sources([tmp_path / "x/a.csv", tmp_path / "y/a.csv", tmp_path / "a-1.csv"])
    assert len({source.prefix for source in sources}) == 3
