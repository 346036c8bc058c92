"""Commands one by one, as a user gives them: stages alone, other labels, wrong usage, what is deleted and what not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.commands import FEW, SHARES, SMOKE, maskbench


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all commands of this module."""
    return tmp_path_factory.mktemp("cache")


def test_stages_run_alone_in_order(tmp_path: Path, cache: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return maskbench(*arguments, cwd=tmp_path, cache=cache)

    refused = run("train", *SMOKE, "--name", "steps")
    assert refused.returncode == 2 and "maskbench audit --name steps" in refused.stderr
    assert run("split", "sample", *SMOKE, *FEW, "--name", "steps").returncode == 0
    folder = tmp_path / "results" / "steps"
    assert (folder / "split" / "manifest.json").is_file() and not (folder / "eda").exists()
    assert run("evaluate", "--name", "steps").returncode == 2  # nothing trained yet
    # Nothing rests on the training's settings yet, so they may still be chosen; afterwards not.
    assert run("train", "--name", "steps", "--set", "train.epochs=1").returncode == 0
    assert run("train", "--name", "steps", "--set", "train.epochs=2").returncode == 2


@pytest.mark.parametrize("labels", [2, 4])
def test_any_labels_and_number_of_classes(tmp_path: Path, cache: Path, labels: int) -> None:
    """A dataset with Spanish labels works through the configuration alone."""
    assert maskbench("sample", "d", "--set", "images=30", "--set", SHARES, cwd=tmp_path, cache=cache).returncode == 0
    names = {"with_mask": "con mascarilla", "without_mask": "sin mascarilla", "mask_weared_incorrect": "mal puesta"}
    for number, path in enumerate(sorted((tmp_path / "d" / "annotations").iterdir())):
        text = path.read_text()
        for old, new in names.items():
            text = text.replace(f"<name>{old}</name>", f"<name>{new}</name>")
        if number % 2 and labels == 4:
            text = text.replace("<name>sin mascarilla</name>", "<name>pañuelo &amp; bufanda</name>", 1)
        path.write_text(text)
    renamed = {
        2: {"con mascarilla": "sí", "sin mascarilla": "no", "mal puesta": "no"},
        4: {"mal puesta": "mal/peor = [100 %] $x_1$"},
    }
    settings = {"label_map": renamed[labels]}
    done = maskbench(
        "run", "--data", "d", *SMOKE, "--set", f"data={json.dumps(settings)}", "--set", "train.epochs=1",
        "--set", f"explain.methods={'[grad_cam]' if labels == 4 else '[]'}",
        cwd=tmp_path, cache=cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = pd.read_csv(tmp_path / "results" / "d" / "evaluate" / "metrics.csv")
    found = set(metrics.loc[metrics["metric"] == "f1", "class_name"])
    assert found == (
        {"sí", "no"}
        if labels == 2
        else {"con mascarilla", "sin mascarilla", "mal/peor = [100 %] $x_1$", "pañuelo & bufanda"}
    )


def test_an_unusable_dataset_stops_with_exit_code_1_and_a_table(tmp_path: Path, cache: Path) -> None:
    assert maskbench("sample", "d", "--set", "images=6", cwd=tmp_path, cache=cache).returncode == 0
    for path in (tmp_path / "d" / "images").iterdir():
        path.write_bytes(b"not a picture")
    done = maskbench("run", "--data", "d", *SMOKE, cwd=tmp_path, cache=cache)
    assert done.returncode == 1 and "audit" in done.stderr and "Traceback" not in done.stderr
    assert len(pd.read_csv(tmp_path / "results" / "d" / "audit" / "audit.csv")) >= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--data", "absent"], "no such folder"),
        (["run", "--set", "train.epoch=3"], "train.epoch: no such field"),
        (["run", "--preset", "huge"], "preset"),
        (["run", "--weights", "absent.pth", "--preset", "smoke"], "absent.pth"),
        (["sample", "d", "--set", "images=-1"], "images"),
        (["run", "--name", "a/b"], "name"),
        (["run", "--name", "../r", "--overwrite"], "name"),
        (["nosuch"], "nosuch"),
        (["run", "--nosuch"], "--nosuch"),
        (["sample"], "directory"),
        (["evaluate", "--name", "typo"], "no such run"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    tmp_path: Path, cache: Path, arguments: list[str], message: str
) -> None:
    done = maskbench(*arguments, cwd=tmp_path, cache=cache)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_overwrite_deletes_the_run_it_is_about_and_no_other(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: mine\npreset: smoke\n")
    for name in ("mine", "sample"):
        assert maskbench("audit", *SMOKE, "--name", name, cwd=tmp_path, cache=cache).returncode == 0
        (tmp_path / "results" / name / "kept").touch()
    wrong = maskbench("audit", "--config", "c.yaml", "--set", "train.x=1", "--overwrite", cwd=tmp_path, cache=cache)
    assert wrong.returncode == 2 and (tmp_path / "results" / "mine" / "kept").exists()
    assert maskbench("audit", "--config", "c.yaml", "--overwrite", cwd=tmp_path, cache=cache).returncode == 0
    assert not (tmp_path / "results" / "mine" / "kept").exists()
    assert (tmp_path / "results" / "sample" / "kept").exists()


def test_a_lost_checkpoint_is_trained_again(tmp_path: Path, cache: Path) -> None:
    one = ["--set", "arms=[{name: a, implementation: manual, initialisation: random}]", "--set", "train.epochs=1"]
    assert maskbench("split", *SMOKE, *FEW, *one, "--name", "r", cwd=tmp_path, cache=cache).returncode == 0
    assert maskbench("train", "--name", "r", cwd=tmp_path, cache=cache).returncode == 0
    best = tmp_path / "results" / "r" / "train" / "a" / "seed0" / "best.safetensors"
    content = best.read_bytes()
    best.write_bytes(content[:-8] + b"damaged!")
    again = maskbench("train", "--name", "r", cwd=tmp_path, cache=cache)
    assert again.returncode == 0 and "epoch 1/1" in again.stdout
    assert best.read_bytes() == content


def test_a_folder_that_is_no_run_is_not_deleted(tmp_path: Path, cache: Path) -> None:
    precious = tmp_path / "results" / "mine" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("x")
    done = maskbench("run", *SMOKE, "--name", "mine", "--overwrite", cwd=tmp_path, cache=cache)
    assert done.returncode == 2 and "nothing was deleted" in done.stderr
    assert precious.is_file()
    shutil.rmtree(precious.parent)


def test_a_process_of_its_own_ends_with_the_same_words_and_code(tmp_path: Path) -> None:
    environment = {**os.environ, "MASKBENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "from maskbench.cli import main; main()", "run", "--data", "absent"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not done.stdout
    assert "no such folder" in done.stderr and len(done.stderr.strip().splitlines()) == 1
