import multiprocessing
from pathlib import Path

import pytest

from maskbench.config import make_config
from maskbench.rundir import RunDir, RunError, differences
from maskbench.stages import Context
from maskbench.storage import read_json, write_json
from maskbench.study import STAGES, needed_for, stage_key


@pytest.fixture
def folders(tmp_path: Path) -> RunDir:
    return RunDir.named("r", tmp_path)


def context_of(folders: RunDir, **config: object) -> Context:
    return Context(make_config("smoke", config), folders, lambda line: None, lambda title: None)


def test_a_folder_keeps_its_configuration(folders: RunDir) -> None:
    assert folders.saved_config() is None
    config = make_config("smoke", {"train": {"epochs": 7}})
    folders.claim(config)
    folders.claim(config)
    assert folders.saved_config() == config
    with pytest.raises(RunError, match=r"train\.epochs: 7 there, 2 here.*--overwrite"):
        folders.claim(make_config("smoke"))


def test_a_damaged_configuration_is_named(folders: RunDir) -> None:
    folders.results.mkdir(parents=True)
    folders.config_file.write_text("preset: smoke\nno_such_field: 1\n")
    with pytest.raises(RunError, match=r"config\.yaml.*no_such_field"):
        folders.saved_config()


def test_differences_reach_into_sections() -> None:
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}) == [
        "a.c: 2 there, 4 here", "d: 3 there, None here", "e: None there, 5 here",
    ]  # fmt: skip


def test_a_stage_is_complete_until_its_key_or_files_change(folders: RunDir) -> None:
    output = folders.stage("split") / "split.csv"
    assert not folders.is_complete("split", "k")
    write_json(output, [1])
    folders.complete("split", "k", [output], 1.0)
    assert folders.is_complete("split", "k") and not folders.is_complete("split", "other")
    write_json(output, [2])
    assert not folders.is_complete("split", "k")


def test_keys_follow_configuration_inputs_and_outside_files(folders: RunDir, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"one")
    for name in ("audit", "split"):
        write_json(folders.stage(name) / "t.json", [name])
        folders.complete(name, "k", [folders.stage(name) / "t.json"], 1.0)
    stage, config = STAGES["train"], {"weights": str(weights)}
    first = stage_key(stage, context_of(folders, **config))
    assert first == stage_key(stage, context_of(folders, **config, eda={"bootstrap": 9}))  # not its business
    assert first != stage_key(stage, context_of(folders, **config, train={"epochs": 9}))
    weights.write_bytes(b"two")
    second = stage_key(stage, context_of(folders, **config))
    assert second != first
    write_json(folders.stage("split") / "t.json", ["another split"])
    folders.complete("split", "k", [folders.stage("split") / "t.json"], 1.0)
    assert stage_key(stage, context_of(folders, **config)) != second


def test_stages_need_what_comes_before() -> None:
    seen: list[str] = []
    for name, stage in STAGES.items():
        assert set(stage.needs) <= set(seen)
        seen.append(name)
    assert needed_for("eda") == ["audit", "eda"]
    assert needed_for("report") == list(STAGES)


def _try_lock(base: Path) -> str:
    try:
        with RunDir.named("r", base).lock():
            return "free"
    except RunError as error:
        return str(error)


def test_two_processes_do_not_work_in_one_folder(folders: RunDir, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with folders.lock():
            assert "another process is working there" in pool.apply(_try_lock, (tmp_path,))
        assert pool.apply(_try_lock, (tmp_path,)) == "free"


def test_commands_are_kept(folders: RunDir) -> None:
    folders.record_command("maskbench audit d", "cpu")
    folders.record_command("maskbench run", "cpu")
    record = read_json(folders.results / "run.json")
    assert record["commands"] == ["maskbench audit d", "maskbench run"]
    assert record["versions"]["torch"] and record["machine"]["cores"] >= 1
