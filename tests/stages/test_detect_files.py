"""The command that detects, as users call it; the detector finds bright squares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from maskbench.cli import app
from maskbench.inference import predictor
from tests.inference.test_detections import BrightSquares, square


@pytest.fixture(autouse=True)
def bright_squares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predictor, "load_detector", lambda path: BrightSquares())
    Path("model.safetensors").touch()


def detect(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["detect", "model.safetensors", *arguments], standalone_mode=False)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 2, str(done.exception)
    return int(done.return_value or 0), done.output


def save(path: Path, side: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(square(side)).save(path)


def test_a_folder_gives_pictures_a_table_and_coco() -> None:
    save(Path("photos/a.png"))
    save(Path("photos/b.jpg"), 30)
    Path("photos/notes.txt").write_text("no photograph")
    code, said = detect("photos", "--out", "found", "--save-json")
    assert code == 0
    assert "2 faces in 2 pictures: found/detections.csv" in said
    table = pd.read_csv("found/detections.csv")
    assert table[["image", "label", "xmin", "ymin"]].to_numpy().tolist() == [
        ["a.png", "light", 5, 10], ["b.jpg", "light", 5, 10],
    ]  # fmt: skip
    coco = json.loads(Path("found/detections.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "dark"}, {"id": 2, "name": "light"}]
    assert coco["images"][1] == {"id": 2, "file_name": "b.jpg", "width": 60, "height": 40}
    face = coco["annotations"][0]
    assert (face["image_id"], face["category_id"], face["bbox"], face["area"]) == (1, 2, [5, 10, 20, 20], 400)
    assert Image.open("found/a.detected.png").size == (800, 533)
    assert Image.open("found/b.detected.png").size == (800, 533)


def test_a_bad_file_is_told_and_the_rest_goes_on() -> None:
    save(Path("good.png"))
    Path("bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    code, said = detect("bad.png", "good.png", "--no-pictures")
    assert code == 1
    assert said.count("error:") == 1 and "bad.png" in said
    assert pd.read_csv("detections/detections.csv")["image"].tolist() == ["good.png"]
    assert [path.name for path in Path("detections").iterdir()] == ["detections.csv"]


def test_a_path_that_is_not_there_is_told_and_the_rest_goes_on() -> None:
    save(Path("good.png"))
    Path("empty").mkdir()
    code, said = detect("nowhere.png", "good.png", "empty", "--no-pictures")
    assert code == 1 and said.count("error:") == 2
    assert "nowhere.png: no such file or folder" in said and "empty: no photograph or video in it" in said
    assert pd.read_csv("detections/detections.csv")["image"].tolist() == ["good.png"]


def test_photographs_of_one_name_are_told_apart() -> None:
    for folder in ("one", "two", "one/inner"):
        save(Path(folder) / "face.png")
    assert detect("one", "two", "--recursive", "--no-pictures")[0] == 0
    assert pd.read_csv("detections/detections.csv")["image"].tolist() == [
        "one/face.png", "inner/face.png", "two/face.png",
    ]  # fmt: skip


def test_nothing_is_written_over() -> None:
    save(Path("a/face.png"))
    save(Path("b/face.png"), 10)
    before = Path("a/face.png").read_bytes()
    code, _ = detect("a", "b", "--out", "a")
    assert code == 0
    assert Path("a/face.png").read_bytes() == before
    assert {path.name for path in Path("a").iterdir()} == {
        "face.png", "face.detected.png", "face-2.detected.png", "detections.csv",
    }  # fmt: skip


def test_photographs_without_faces_leave_an_empty_table_with_columns() -> None:
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save("dark.png")
    code, said = detect("dark.png", "--save-json")
    assert code == 0 and "0 faces in 1 pictures" in said
    table = pd.read_csv("detections/detections.csv")
    assert table.empty and list(table) == ["image", "label", "score", "xmin", "ymin", "xmax", "ymax"]


def test_only_sure_faces_count_where_asked() -> None:
    save(Path("small.png"), 10)  # a score of 0.1
    assert "0 faces" in detect("small.png")[1]
    assert "1 faces" in detect("small.png", "--min-score", "0.05")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["empty"], "empty: no photograph or video in it"),
        (["0", "good.png"], "a camera is watched alone"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    code, said = detect(*arguments)
    assert code == 2
    assert message in said and "\n" not in said


def test_folders_of_folders_are_looked_into_when_asked() -> None:
    save(Path("photos/a.png"))
    save(Path("photos/deep/b.png"))
    assert "1 pictures" in detect("photos")[1]
    assert "2 pictures" in detect("photos", "--recursive")[1]


def test_a_video_is_watched_frame_by_frame() -> None:
    import cv2

    writer = cv2.VideoWriter("walk.avi", cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (60, 40))
    for step in range(4):
        frame = np.full((40, 60, 3), 30, dtype=np.uint8)
        frame[8:32, 4 + 6 * step : 28 + 6 * step] = 255
        writer.write(frame)
    writer.release()
    code, said = detect("walk.avi", "--out", "found")
    assert code == 0 and "walk.avi: 4 frames" in said
    table = pd.read_csv("found/detections.csv")
    assert table["image"].tolist() == [f"walk.avi#{k:06d}" for k in (1, 2, 3, 4)]
    assert table["xmin"].to_numpy() == pytest.approx([4, 10, 16, 22], abs=2)
    capture = cv2.VideoCapture("found/walk.detected.mp4")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    capture.release()
    assert sorted(path.name for path in Path("found").iterdir()) == ["detections.csv", "walk.detected.mp4"]
    assert "2 pictures" in detect("walk.avi", "--frames", "2")[1]
    detect("walk.avi", "--batch", "3", "--out", "together")
    pd.testing.assert_frame_equal(pd.read_csv("together/detections.csv"), table)


def test_a_video_that_is_none_is_told() -> None:
    Path("broken.mp4").write_bytes(b"nothing")
    code, said = detect("broken.mp4")
    assert code == 1 and "broken.mp4" in said


def test_a_run_is_as_good_as_its_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path("results/mine")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("arms: [{name: a}, {name: b}]")
    asked: list[Path] = []

    def load(path: Path) -> BrightSquares:
        asked.append(path)
        return BrightSquares()

    monkeypatch.setattr(predictor, "load_detector", load)
    save(Path("face.png"))
    app_arguments = ["detect", "results/mine", "face.png"]
    done = CliRunner().invoke(app, app_arguments, standalone_mode=False)
    assert "no trained detector of b" in str(done.exception)
    for seed in (2, 10):
        folder = run / "detect-train" / "b" / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "best.safetensors").touch()
    assert CliRunner().invoke(app, app_arguments, standalone_mode=False).exception is None
    assert asked[-1].parent.name == "seed2"
