"""`maskbench pretrain` as a user gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskbench.models.pretrained import resolve_weights
from tests.commands import maskbench
from tests.labelled_shapes import make_shapes

TINY = ["--sizes", "24:1", "--set", "train.batch_size=12", "--set", "crop=0.95"]


def test_the_command_says_what_it_wrote_and_json_is_all_that_stdout_holds(tmp_path: Path) -> None:
    make_shapes(tmp_path / "My shapes", "plain", train=5)
    command = ["pretrain", "My shapes", *TINY, "--implementation", "torchvision", "--release", "r1"]
    done = maskbench(*command, cwd=tmp_path, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.strip().splitlines()
    assert first == "My shapes (class folders): 3 classes, 12 training and 3 validation images of 24 px"
    assert last.startswith("resnet34-My-shapes.int8.safetensors: 21.5 MB, top-1 ")
    assert resolve_weights(str(tmp_path / "resnet34-My-shapes.int8.safetensors")).record.version == "r1"
    again = maskbench(*command, "--json", cwd=tmp_path, cache=tmp_path / "cache")
    found = json.loads(again.stdout)
    assert again.returncode == 0 and "finished already" in again.stderr
    assert found == json.loads((tmp_path / "resnet34-My-shapes.int8.json").read_text())
    assert found["recipe"]["crop"] == 0.95 and found["recipe"]["implementation"] == "torchvision"
    other = maskbench(*command, "--set", "seed=1", cwd=tmp_path, cache=tmp_path / "cache")
    assert other.returncode == 2 and "holds another pretraining" in other.stderr
    over = maskbench(*command, "--set", "seed=1", "--overwrite", cwd=tmp_path, cache=tmp_path / "cache")
    assert over.returncode == 0 and "epoch 1/1" in over.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent: no such folder"),
        (["d"], "0 class folders"),
        (["d", "--sizes", "big"], "sizes: write it as size:epochs"),
        (["d", "--set", "train.epochs=3"], "train.epochs: epochs follow from sizes"),
        (["d", "--set", "train.nosuch=3"], "train.nosuch: no such field"),
        (["d", "--out", "w.pth"], "ends with .safetensors"),
        (["d", "--implementation", "other"], "--implementation"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "d").mkdir()
    done = maskbench("pretrain", *arguments, cwd=tmp_path, cache=tmp_path / "cache")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["d"]
