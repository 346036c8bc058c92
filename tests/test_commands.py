"""Commands one by one, as a user gives them: stages alone, other labels, wrong usage, what is deleted and what not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from maskbench import cli, cli_options
from maskbench.config import PRESETS
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
    options = [*SMOKE, "--set", f"data={json.dumps(settings)}", "--set", "train.epochs=1"]
    # All stages and figures with names that LaTeX, HTML and paths would trip over; as far as the metrics with two.
    commands: dict[int, list[list[str]]] = {
        2: [["split", "--data", "d", *options], ["train"], ["evaluate"]],
        4: [["run", "--data", "d", *options, "--set", "explain.methods=[grad_cam]"]],
    }
    for command in commands[labels]:
        done = maskbench(*command, "--name", "d", cwd=tmp_path, cache=cache)
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
        (["run", "--task", "guess"], "see maskbench run --help"),
        (["train", "--address", "head:1"], "--engine ray"),
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


def of_this_checkout(cache: Path) -> dict[str, str]:
    """Environment in which another process runs the same maskbench as this one, from any folder."""
    return {**os.environ, "MASKBENCH_CACHE": str(cache), "PYTHONPATH": str(Path(cli.__file__).parents[1])}


def test_a_process_of_its_own_ends_with_the_same_words_and_code(tmp_path: Path) -> None:
    environment = of_this_checkout(tmp_path / "cache")
    command = [sys.executable, "-c", "from maskbench.cli import main; main()", "run", "--data", "absent"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not done.stdout
    assert "no such folder" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def commands() -> Iterator[tuple[str, Any]]:
    """All commands, as the command line has them."""
    root: Any = typer.main.get_command(cli.app)
    yield "", root
    yield from root.commands.items()


def test_every_command_has_examples_in_its_help(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name, _ in commands()]
    assert {"run", "audit", "train", "explain", "compare", "detect", "doctor", "sample"} <= set(names)
    for name in names:
        done = maskbench(*([name] if name else []), "-h", cwd=tmp_path, cache=cache)
        text = done.stdout + capsys.readouterr().out
        assert done.returncode == 0 and "Example" in text, name
        assert f"maskbench {name}" in text.partition("Example")[2], name


def test_an_option_has_one_short_form_and_a_short_form_one_meaning() -> None:
    shorts: dict[str, set[str]] = {}
    longs: dict[str, set[str]] = {}
    for _, command in commands():
        for option in command.params:
            if option.param_type_name != "option":
                continue
            long = next(name for name in option.opts if name.startswith("--"))
            for short in [name for name in option.opts if not name.startswith("--")] or [""]:
                shorts.setdefault(long, set()).add(short)
                if short:
                    longs.setdefault(short, set()).add(long)
    assert not {long: found for long, found in shorts.items() if len(found) > 1}
    assert not {short: found for short, found in longs.items() if len(found) > 1}
    assert shorts["--name"] == {"-n"} and shorts["--out"] == {"-o"} and shorts["--set"] == {"-s"}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["run", "--preset", "s"], ["smoke", "standard"]),
        (["evaluate", "--name", "m"], ["mine"]),
        (["compare", "results/"], ["results/mine"]),
        (["run", "--set", "train.epo"], ["train.epochs="]),
        (["ev"], ["evaluate"]),
        (["explain", "--method", "grad_cam"], ["grad_cam", "grad_cam_pp"]),
    ],
)
def test_a_shell_completes_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], offered: list[str],
) -> None:  # fmt: skip
    for name in ("mine", "other"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_MASKBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["maskbench", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    found = capsys.readouterr().out.split()
    assert set(offered) <= set(found) and not {"quick", "other", "results/other2"} & set(found)


def test_the_presets_that_help_names_are_those_there_are() -> None:
    assert tuple(PRESETS) == cli_options.PRESET_NAMES


def test_json_is_all_that_stdout_holds(tmp_path: Path, cache: Path) -> None:
    def run(*arguments: str) -> dict[str, Any]:
        done = maskbench(*arguments, "--json", cwd=tmp_path, cache=cache)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    audit = run("audit", *SMOKE, *FEW, "-n", "j")
    assert audit["stage"] == "audit" and audit["summary"]["audit"]["summary"]["photographs"] == 24
    split = run("split", "-n", "j")
    shares = split["tables"]["proportions"]
    assert {row["split"] for row in shares} == {"train", "val", "test"}
    assert (tmp_path / split["files"]["split"]).is_file()


def test_an_audit_that_fails_prints_its_findings_as_json(tmp_path: Path, cache: Path) -> None:
    for folder in ("images", "annotations"):
        (tmp_path / "d" / folder).mkdir(parents=True)
    (tmp_path / "d" / "images" / "a.png").write_bytes(b"not a picture")
    done = maskbench("audit", "d", "--json", cwd=tmp_path, cache=cache)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()[-1:]) == 1
    assert json.loads(done.stdout)["summary"]["audit"]["summary"]["findings"]["error"] >= 1


class StrangeError(Exception):
    """Nobody expects it."""


@pytest.mark.parametrize("debug", [False, True])
def test_a_defect_is_one_line_unless_debugged(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StrangeError("two\nlines")

    monkeypatch.setattr("maskbench.data.sources.sample_params", fail)
    done = maskbench("sample", "d", *(["--debug"] if debug else []), cwd=tmp_path, cache=cache)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == cli.DEFECT and not done.stdout
    assert lines[-1].startswith("unexpected error: StrangeError: two lines")
    assert ("Traceback" in done.stderr) == debug and (len(lines) == 1) != debug
    assert debug or "--debug" in lines[0]


def test_a_librarys_own_error_is_a_defect_and_not_the_users(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        json.loads("{")  # raises a ValueError outside maskbench

    monkeypatch.setattr("maskbench.data.sources.sample_params", fail)
    done = maskbench("sample", "d", cwd=tmp_path, cache=cache)
    assert done.returncode == cli.DEFECT and "JSONDecodeError" in done.stderr


def test_the_version_is_that_of_the_package(tmp_path: Path, cache: Path) -> None:
    from importlib.metadata import version

    done = maskbench("--version", cwd=tmp_path, cache=cache)
    assert done.returncode == 0 and done.stdout.strip() == f"maskbench {version('maskbench')}"


ONE_ARM = ["--set", "arms=[{name: a, implementation: manual, initialisation: random}]", "--set", "train.epochs=6",
           "--set", "train.resume_seconds=0"]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_is_one_line_and_the_same_command_ends_as_if_never_stopped(tmp_path: Path, cache: Path) -> None:
    for name in ("whole", "stopped"):
        done = maskbench("split", *SMOKE, *FEW, *ONE_ARM, "-n", name, cwd=tmp_path, cache=cache)
        assert done.returncode == 0, done.stderr
    # Shells start what runs in the background with SIGINT ignored, and so would everything that these tests start.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = heed + "from maskbench.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "-n", "stopped"], cwd=tmp_path, env=of_this_checkout(cache), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    deadline = time.monotonic() + 300
    for line in process.stdout:
        assert time.monotonic() < deadline
        if "epoch 2/6" in line:
            process.send_signal(signal.SIGINT)
            break
    process.stdout.read()
    said = process.stderr.read()
    assert process.wait() == cli.INTERRUPTED, said
    assert said.strip() == "interrupted; the same command continues where it stopped"
    folders = {name: tmp_path / "results" / name / "train" / "a" / "seed0" for name in ("whole", "stopped")}
    assert not (folders["stopped"] / "fit.json").exists() and (folders["stopped"] / "resume.ckpt").exists()
    for name in folders:
        assert maskbench("train", "-n", name, cwd=tmp_path, cache=cache).returncode == 0
    for name in ("epochs", "steps"):
        first, second = (pd.read_parquet(folder / f"{name}.parquet") for folder in folders.values())
        pd.testing.assert_frame_equal(first, second)
