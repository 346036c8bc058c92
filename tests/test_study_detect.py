"""Detection as a user runs it: through the command line, on the sample."""

import html
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from maskbench.report.questions import said
from maskbench.schemas.detection import DETECTION_TABLES, DETECTIONS
from maskbench.schemas.factors import FACTOR_RANKING
from maskbench.schemas.files import read_table
from maskbench.schemas.localisation import DETECTION_LOSSES
from maskbench.storage import read_json
from tests.commands import FEW, maskbench

ARMS = ["manual-random", "torchvision-pretrained"]
#: Detectors that learned next to nothing still say what they think, however little.
LONGER = ["--set", "detect.epochs=8", "--set", "detect.batch_size=4", "--set", "detect.learning_rate=1e-3",
          "--set", "detect.average_decay=0.9", "--set", "detect.validate_every=8",
          "--set", "detect.score_threshold=0.001"]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all commands of this module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A complete smoke run of detection: its folder."""
    base = tmp_path_factory.mktemp("run")
    done = maskbench(
        "run", "--task", "detect", "--preset", "smoke", "--weights", "bundled", "--name", "found", "--set",
        "report.dpi=50", *FEW, *LONGER, cwd=base, cache=cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return base


def test_a_run_leaves_tables_figures_and_a_section(finished: Path) -> None:
    results, plots = finished / "results" / "found", finished / "plots" / "found"
    assert not (results / "train").exists()  # no classifier was asked for
    folder = results / "detect-evaluate"
    detections = read_table(folder / "detections", DETECTIONS)
    assert list(dict.fromkeys(detections["arm"])) == ARMS
    assert set(detections["pipeline"]) == {"detector"} and set(detections["split"]) == {"val", "test"}
    tables = {name: read_table(folder / name, schema) for name, schema in DETECTION_TABLES.items()}
    split = pd.read_csv(results / "split" / "split.csv")
    tested = set(split.loc[split["split"] == "test", "face_id"])
    for arm in ARMS:
        found = tables["found_faces"]
        assert set(found.loc[found["arm"] == arm, "face_id"]) == tested
    assert (tables["detection_metrics"]["faces"] <= len(tested)).all()
    text = html.unescape((results / "report.html").read_text(encoding="utf-8"))
    assert 'id="detection"' in text and "torchvision-pretrained, detector: AP50" in text
    assert "Not run" not in text and "maskbench run --task detect --config" in text
    for name in ("detection-ap-seed0", "detector-training"):
        assert (plots / f"{name}.png").is_file(), name
    assert read_json(results / "detect-train" / "protocol.json")["equal"]


def test_what_is_lost_is_told_and_set_against_properties(finished: Path) -> None:
    results, plots = finished / "results" / "found", finished / "plots" / "found"
    losses = read_table(results / "detect-factors" / "losses", DETECTION_LOSSES)
    found = pd.read_parquet(results / "detect-evaluate" / "found_faces.parquet")
    right = losses[losses["outcome"] == "right"].set_index("arm")["count"]
    assert right.to_dict() == found.groupby("arm")["named"].sum().to_dict()
    assert set(found["arm"]) == set(ARMS)
    ranking = read_table(results / "detect-factors" / "missed" / "ranking", FACTOR_RANKING)
    assert set(ranking["arm"]) == set(ARMS) and "box_area" in set(ranking["property"])
    for name in ("detection-losses-seed0", "missed-error-rates", "missed-error-odds"):
        assert (plots / f"{name}.png").is_file(), name
    assert (plots / "misplaced-error-rates.png").is_file() or not found["found"].any()
    placed = pd.read_parquet(results / "detect-evaluate" / "placed_faces.parquet")
    for number, arm in enumerate(ARMS, start=1):  # the worst placed boxes are shown of every arm that placed any
        assert (plots / f"badly-placed-{number}.png").is_file() == bool((placed["arm"] == arm).any())
    text = html.unescape((results / "report.html").read_text(encoding="utf-8"))
    assert said(read_json(results / "detect-factors" / "missed" / "answers.json")["answer"]) in text


def test_the_same_photographs_are_tested_as_by_the_classifiers(finished: Path) -> None:
    results = finished / "results" / "found"
    split = pd.read_csv(results / "split" / "split.csv")
    sides = split.groupby("image_id")["split"].first()
    detections = pd.read_parquet(results / "detect-evaluate" / "detections.parquet")
    pairs = detections[["image_id", "split"]].drop_duplicates()
    assert len(pairs) and (sides.loc[pairs["image_id"]].to_numpy() == pairs["split"].to_numpy()).all()


def test_a_second_run_does_nothing_again(finished: Path, cache: Path) -> None:
    done = maskbench("run", "--task", "detect", "--name", "found", cwd=finished, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "running" not in done.stdout


def test_the_trained_detector_is_of_use(finished: Path, cache: Path) -> None:
    Image.new("RGB", (64, 48), "grey").save(finished / "empty.png")
    command = ["detect", "results/found", "empty.png", "--min-score", "0", "--out", "seen"]
    done = maskbench(*command, cwd=finished, cache=cache)
    assert done.returncode == 0, done.stderr
    assert (finished / "seen" / "empty.detected.png").is_file()
    assert list(pd.read_csv(finished / "seen" / "detections.csv"))[:3] == ["image", "label", "score"]


def test_classifiers_name_what_detectors_find(finished: Path, cache: Path) -> None:
    """Trained afterwards, they make the two-stage pipeline of the same boxes."""
    results = finished / "results" / "found"
    alone = pd.read_parquet(results / "detect-evaluate" / "detections.parquet")
    for stage in ("train", "detect-evaluate", "detect-factors"):
        done = maskbench(stage, "--name", "found", cwd=finished, cache=cache)
        assert done.returncode == 0, done.stderr
    detections = read_table(results / "detect-evaluate" / "detections", DETECTIONS)
    assert set(detections["pipeline"]) == {"detector", "two-stage"}
    pd.testing.assert_frame_equal(detections[detections["pipeline"] == "detector"].reset_index(drop=True), alone)
    place = ["arm", "image_id", "split", "xmin", "ymin", "xmax", "ymax"]
    boxes = {name: set(part[place].itertuples(index=False, name=None)) for name, part in detections.groupby("pipeline")}
    assert boxes["two-stage"] and boxes["two-stage"] <= boxes["detector"]
    losses = read_table(results / "detect-factors" / "losses", DETECTION_LOSSES)
    assert set(losses["pipeline"]) == {"detector", "two-stage"}
    assert (losses.groupby(["arm", "pipeline"])["count"].sum() == losses["faces"].iloc[0]).all()
