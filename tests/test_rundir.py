import multiprocessing
from pathlib import Path

import pytest

from maskbench.config import ConfigError, make_config
from maskbench.data.sources import DatasetError
from maskbench.rundir import RunDir, RunError, differences
from maskbench.stages.context import Context, check_inputs
from maskbench.storage import read_json, write_json
from maskbench.study import STAGES, needed_for, outside_state, stage_key, used_sections


@pytest.fixture
def folders(tmp_path: Path) -> RunDir:
    return RunDir.named("r", tmp_path)


def context_of(folders: RunDir, **config: object) -> Context:
    return Context(make_config("smoke", config), folders, lambda line: None, lambda title: None)


def test_a_folder_keeps_its_configuration(folders: RunDir) -> None:
    assert folders.saved_config() is None
    config = make_config("smoke", {"train": {"epochs": 7}})
    folders.claim(config, set())
    folders.claim(config, {"train"})
    assert folders.saved_config() == config
    with pytest.raises(RunError, match=r"train\.epochs: 7 there, 2 here.*--overwrite"):
        folders.claim(make_config("smoke"), {"train", "data"})
    assert folders.saved_config() == config


def test_sections_without_results_may_still_change(folders: RunDir) -> None:
    folders.claim(make_config("quick"), set())
    folders.stage("audit").mkdir()
    assert used_sections(folders) == {"data", "audit"}
    later = make_config("quick", {"train": {"epochs": 3}})
    folders.claim(later, used_sections(folders))
    assert folders.saved_config() == later
    with pytest.raises(RunError, match=r"audit\.tiny_px"):
        folders.claim(make_config("quick", {"audit": {"tiny_px": 9}}), used_sections(folders))


def test_a_finished_study_takes_more_questions(folders: RunDir) -> None:
    folders.claim(make_config("quick"), set())
    for stage in STAGES:
        folders.stage(stage).mkdir()
    more = make_config(
        "quick",
        {
            "experiments": {"run": ["leakage"]},
            "interventions": {"run": ["blur"]},
            "compare": {"alpha": 0.01},
            "factors": {"bins": 4},
            "report": {"dpi": 90},
        },
    )
    folders.claim(more, used_sections(folders))
    assert folders.saved_config() == more
    with pytest.raises(RunError, match=r"seeds\.count"):
        folders.claim(make_config("quick", {"seeds": {"count": 2}}), used_sections(folders))


def test_results_that_a_stage_does_not_make_again_go(folders: RunDir) -> None:
    table, other, figure = folders.stage("eda") / "t.json", folders.stage("eda") / "u.json", folders.plots / "f.png"
    for path in (table, other, figure):
        write_json(path, [1])
    folders.complete("eda", "k", [table, other, figure], 1.0)
    folders.reopen("eda")
    assert folders.manifest("eda") == {} and table.is_file() and figure.is_file()
    folders.reopen("eda")  # the first try did not come to an end
    folders.complete("eda", "l", [other], 1.0)
    assert [path.exists() for path in (table, other, figure)] == [False, True, False]
    assert folders.is_complete("eda", "l") and not (folders.stage("eda") / "earlier.json").exists()


def test_a_lost_figure_makes_its_stage_incomplete(folders: RunDir) -> None:
    table, figure = folders.stage("eda") / "t.json", folders.plots / "f.png"
    write_json(table, [1])
    figure.parent.mkdir(parents=True)
    figure.write_bytes(b"png")
    folders.complete("eda", "k", [table, figure], 1.0)
    assert folders.is_complete("eda", "k")
    assert set(folders.manifest("eda")["figures"]) == {"f.png"}
    figure.unlink()
    assert not folders.is_complete("eda", "k")


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

    def key(**changes: object) -> str:
        context = context_of(folders, **config, **changes)
        return stage_key(stage, context, outside_state(stage, context))

    first = key()
    assert first == key(eda={"bootstrap": 9})  # not its business
    assert first != key(train={"epochs": 9})
    weights.write_bytes(b"two")
    second = key()
    assert second != first
    write_json(folders.stage("split") / "t.json", ["another split"])
    folders.complete("split", "k", [folders.stage("split") / "t.json"], 1.0)
    assert key() != second


def test_an_audit_outlives_its_dataset(folders: RunDir, tmp_path: Path) -> None:
    audit, context = STAGES["audit"], context_of(folders, data={"source": str(tmp_path / "gone")})
    with pytest.raises(DatasetError, match="no such folder"):
        outside_state(audit, context)
    folders.complete("audit", "k", [], 1.0, "state when it ran")
    assert outside_state(audit, context) == "state when it ran"


def test_what_training_would_refuse_is_refused_before(folders: RunDir) -> None:
    with pytest.raises(ConfigError, match=r"weights: absent\.pth is not a file"):
        check_inputs(context_of(folders, weights="absent.pth"))
    arm = {"name": "a", "implementation": "resnet99", "initialisation": "random"}
    with pytest.raises(ConfigError, match="a: implementation 'resnet99' is not one of manual, torchvision"):
        check_inputs(context_of(folders, arms=[arm], weights="absent.pth"))
    check_inputs(context_of(folders, arms=[arm | {"implementation": "manual"}], weights="absent.pth"))


def test_stages_need_what_comes_before() -> None:
    seen: list[str] = []
    for name, stage in STAGES.items():
        assert set(stage.needs) <= set(seen)
        seen.append(name)
    assert needed_for("eda") == ["audit", "eda"]
    assert needed_for("report") == ["audit", "eda", "split", "report"]


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
