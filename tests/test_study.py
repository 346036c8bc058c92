"""The study as a user runs it: through the command line, on the sample."""

import html
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from maskbench import schemas
from maskbench.report.questions import said
from maskbench.storage import read_arrays, read_json, read_yaml
from maskbench.study import stages_of
from tests.commands import SMOKE, maskbench

WHOLE = [
    *SMOKE, "--set", "interventions.run=[darken]", "--set", "explain.methods=[grad_cam, layer_cam, occlusion]",
    "--set", "explain.maximised_channels=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all runs of this module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str]:
    """A complete smoke run: its folder and what it printed."""
    base = tmp_path_factory.mktemp("run")
    done = maskbench("run", *WHOLE, "--name", "smoke", cwd=base, cache=cache)
    assert done.returncode == 0, done.stderr
    return base, done.stdout


def test_a_run_leaves_what_it_promises(finished: tuple[Path, str]) -> None:
    base, printed = finished
    results, plots = base / "results" / "smoke", base / "plots" / "smoke"
    for name in ("config.yaml", "run.json", "report.html", "audit/audit.csv", "audit/audit.json",
                 "eda/manifest.json", "split/split.csv", "train/layers.csv", "train/protocol.json",
                 "evaluate/predictions.csv", "evaluate/metrics.csv", "evaluate/confusion.csv"):  # fmt: skip
        assert (results / name).is_file(), name
    for arm in ("manual-random", "torchvision-pretrained"):
        for name in ("best.safetensors", "best.json", "last.safetensors", "epochs.csv", "weights.json", "fit.json"):
            assert (results / "train" / arm / "seed0" / name).is_file(), name
    assert len(list(plots.glob("*.png"))) == len(list(plots.glob("*.svg"))) > 15
    assert "report.html" in printed and "Macro-F1" in printed
    reports = {"report.html", "report.md", "model_card.md", "datasheet.md"}
    assert set(read_json(results / "report" / "manifest.json")["outputs"]) == reports
    left = [path for path in base.rglob(".*") if path.name != ".lock"]
    assert not left  # temporary files begin with a dot


def test_the_report_stands_alone(finished: tuple[Path, str]) -> None:
    text = (finished[0] / "results" / "smoke" / "report.html").read_text(encoding="utf-8")
    assert 'src="http' not in text and 'href="http' not in text and "url(http" not in text
    assert "manual-random" in text and "torchvision-pretrained" in text


def test_both_questions_are_answered_with_their_evidence(finished: tuple[Path, str]) -> None:
    results = finished[0] / "results" / "smoke"
    text = (results / "report.html").read_text(encoding="utf-8")
    answer = read_json(results / "compare" / "answers.json")
    assert 'id="question-1"' in text and 'id="question-2"' in text
    assert said(answer["comparison"]).partition(" What would change")[0] in html.unescape(text)
    assert "shrinks 30% of the views to 8 to 32 px" in text
    metrics = pd.read_parquet(results / "evaluate" / "metrics.parquet").query("split == 'test' and class_name == ''")
    own = metrics[metrics["metric"] == "accuracy"].set_index("arm")["value"]
    curves = pd.read_parquet(results / "intervene" / "curves.parquet").query("metric == 'accuracy'")
    untouched = curves[curves["position"] == 0].set_index("arm")["value"]
    for arm, value in own.items():
        assert untouched[arm] == pytest.approx(value)
    assert len(pd.read_parquet(results / "factors" / "properties.parquet")) == len(
        pd.read_parquet(results / "audit" / "faces.parquet")
    )


def test_question_3_is_answered_and_what_it_rests_on_is_there(finished: tuple[Path, str]) -> None:
    base, _ = finished
    results, plots = base / "results" / "smoke", base / "plots" / "smoke"
    folder = results / "explain"
    answers = read_json(folder / "answers.json")
    text = html.unescape((results / "report.html").read_text(encoding="utf-8"))
    assert answers["question3"]["answer"] in text and answers["decisions"] in text
    for anchor in ("question-3", "explanations", "representations", "failures"):
        assert f'id="{anchor}"' in text
    summary = pd.read_parquet(folder / "faithfulness_summary.parquet")
    assert set(summary["method"]) == {"grad_cam", "layer_cam", "occlusion", "random", "centre"}
    assert (summary.groupby(["arm", "method"]).size() == 11).all()  # the sample knows the true masks
    centre = summary[(summary["method"] == "centre") & (summary["measure"] == "similarity_random")]
    assert centre["value"].tolist() == pytest.approx([1, 1])  # the blob knows no network
    assert (centre["check"] == "undecided").all()  # six photographs are too few for an interval
    assert centre["reason"].str.startswith("no interval from").all()
    predictions = pd.read_parquet(results / "evaluate" / "predictions.parquet").query("split == 'test'")
    features = pd.read_csv(folder / "map_features.csv")
    assert set(zip(features["arm"], features["face_id"], strict=True)) == set(
        zip(predictions["arm"], predictions["face_id"], strict=True)
    )
    skill = pd.read_parquet(folder / "mistake_skill.parquet")
    assert (
        skill.groupby("arm")["mistakes"].first() == (~predictions["correct"]).groupby(predictions["arm"]).sum()
    ).all()
    maps, ids = read_arrays(folder / "maps.safetensors")
    assert set(maps) == {"manual-random", "torchvision-pretrained"}
    assert all(part.shape == (len(ids), 32, 32) for part in maps.values())
    for name in ("explained-faces", "faithfulness", "embedding-tsne", "cka", "first-filters", "hard-loss-1",
                 "favourite-inputs", "feature-maps-1"):  # fmt: skip
        assert (plots / f"{name}.png").is_file(), name
    assert text.count('class="point') == 2 * predictions["face_id"].nunique()  # the interactive figure


def test_a_run_and_somebody_elses_predictions_are_compared(finished: tuple[Path, str], cache: Path) -> None:
    base, _ = finished
    theirs = pd.read_csv(base / "results" / "smoke" / "evaluate" / "predictions.csv").query("arm == 'manual-random'")
    theirs = theirs[
        [c for c in theirs if c.startswith("prob_") or c in ("seed", "split", "face_id", "image_id", "label")]
    ]
    theirs.assign(arm="net").to_csv(base / "theirs.csv", index=False)
    few = [f"--set={name}=50" for name in ("compare.resamples", "factors.resamples")]
    few += ["--set=compare.permutations=99", "--set=factors.folds=2", "--set=factors.repeats=1", "--set=report.dpi=50"]
    done = maskbench("compare", "results/smoke", "theirs.csv", *few, cwd=base, cache=cache)
    assert done.returncode == 0, done.stderr
    found = base / "results" / "comparison"
    assert "nothing can be said of" in done.stdout and "theirs/net" in done.stdout  # of nine test photographs
    summary = pd.read_parquet(found / "compare" / "summary.parquet").set_index(["arm", "metric", "class_name"])["value"]
    assert summary["theirs/net", "accuracy", ""] == summary["smoke/manual-random", "accuracy", ""]
    rates = pd.read_parquet(found / "factors" / "rates.parquet")  # the run's properties, for the same faces
    assert set(rates["arm"]) == {"smoke/manual-random", "smoke/torchvision-pretrained", "theirs/net"}
    trained = {"smoke/manual-random", "smoke/torchvision-pretrained"}
    for table in ("compare/convergence", "intervene/curves"):
        assert set(pd.read_parquet(found / f"{table}.parquet")["arm"]) == trained
    text = (found / "report.html").read_text(encoding="utf-8")
    assert 'id="question-1"' in text and 'id="question-2"' in text and "box shifted" not in text


def test_reported_metrics_are_those_of_the_saved_predictions(finished: tuple[Path, str]) -> None:
    folder = finished[0] / "results" / "smoke" / "evaluate"
    predictions = schemas.read_table(folder / "predictions", schemas.PREDICTIONS)
    metrics = schemas.read_table(folder / "metrics", schemas.METRICS)
    for arm, part in predictions[predictions["split"] == "test"].groupby("arm"):
        own = metrics[(metrics["arm"] == arm) & (metrics["split"] == "test")].set_index(["metric", "class_name"])[
            "value"
        ]
        assert own["accuracy", ""] == pytest.approx((part["label"] == part["predicted"]).mean())
        f1 = f1_score(part["label"], part["predicted"], average="macro", labels=sorted(part["label"].unique()))
        if set(part["label"]) == set(predictions["label"]):
            assert own["f1_macro", ""] == pytest.approx(f1)
        truth = part["label"] == "with_mask"
        assert own["roc_auc", "with_mask"] == pytest.approx(roc_auc_score(truth, part["prob_with_mask"]))
        probs = part[[c for c in part if c.startswith("prob_")]].to_numpy()
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-9)


def test_the_test_split_is_what_the_split_table_says(finished: tuple[Path, str]) -> None:
    results = finished[0] / "results" / "smoke"
    split = schemas.read_table(results / "split" / "split", schemas.SPLIT)
    predictions = schemas.read_table(results / "evaluate" / "predictions", schemas.PREDICTIONS)
    for (_, side), part in predictions.groupby(["arm", "split"]):
        assert set(part["face_id"]) == set(split.loc[split["split"] == side, "face_id"])


def test_weights_and_configuration_are_on_record(finished: tuple[Path, str]) -> None:
    results = finished[0] / "results" / "smoke"
    record = read_json(results / "train" / "torchvision-pretrained" / "seed0" / "best.json")
    assert record["weights"]["source"] == "bundled" and record["weights"]["matched"] == 180
    assert len(record["weights"]["sha256"]) == 64
    assert record["classes"] == ["mask_weared_incorrect", "with_mask", "without_mask"]
    assert read_json(results / "train" / "protocol.json")["equal"]
    assert read_yaml(results / "config.yaml")["train"]["learning_rate"] > 0
    assert {"torch", "python", "maskbench"} <= set(read_json(results / "run.json")["versions"])


def test_a_second_run_does_nothing_again(finished: tuple[Path, str], cache: Path) -> None:
    base, _ = finished
    weights = base / "results" / "smoke" / "train" / "manual-random" / "seed0" / "best.safetensors"
    before = weights.stat().st_mtime_ns
    done = maskbench("run", *WHOLE, "--name", "smoke", cwd=base, cache=cache)
    assert done.returncode == 0
    assert done.stdout.count("complete, unchanged") == len(stages_of("classify")) and "running" not in done.stdout
    assert weights.stat().st_mtime_ns == before


def test_a_lost_file_is_made_again_and_nothing_else(finished: tuple[Path, str], cache: Path) -> None:
    base, _ = finished
    (base / "results" / "smoke" / "evaluate" / "metrics.parquet").unlink()
    done = maskbench("run", "--name", "smoke", cwd=base, cache=cache)
    assert done.returncode == 0, done.stderr
    ran = [line for line in done.stdout.splitlines() if line.endswith(": running")]
    assert ran == ["evaluate: running"]  # the same numbers come out, so the report stays
    figure = base / "plots" / "smoke" / "class_balance.png"
    figure.unlink()
    done = maskbench("run", "--name", "smoke", cwd=base, cache=cache)
    assert done.returncode == 0, done.stderr
    ran = [line for line in done.stdout.splitlines() if line.endswith(": running")]
    assert ran == ["eda: running"] and figure.is_file()


def test_another_configuration_is_refused_by_name(finished: tuple[Path, str], cache: Path) -> None:
    done = maskbench("run", *WHOLE, "--name", "smoke", "--set", "train.epochs=3", cwd=finished[0], cache=cache)
    assert done.returncode == 2
    assert "train.epochs: 2 there, 3 here" in done.stderr and len(done.stderr.strip().splitlines()) == 1
