"""Processes that do one job together, on one machine and on several; here they are small scripts."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from maskbench.config import ConfigError, make_config
from maskbench.rundir import RunDir, RunError
from maskbench.stages import nodes
from maskbench.stages.context import Context, Engine, check_engine
from maskbench.stages.groups import Group, Place, free_port, inherited
from maskbench.stages.jobs import Job

TELL = "import os; print(*(os.environ[n] for n in ('RANK', 'LOCAL_RANK', 'NODE_RANK', 'WORLD_SIZE', 'MASTER_PORT')))"


def group(folder: Path, code: str, devices: int = 2) -> Group:
    logs = [folder / f"{number}.log" for number in range(devices)]
    return Group([sys.executable, "-c", code], logs, Place(devices, 2, 1, "host", 7), inherited())


def ended(running: Group) -> int:
    while (code := running.poll()) is None:
        time.sleep(0.01)
    return code


def test_every_process_is_told_its_place(tmp_path: Path) -> None:
    assert ended(group(tmp_path, TELL)) == 0
    assert [(tmp_path / f"{n}.log").read_text().split() for n in (0, 1)] == [
        ["2", "0", "1", "4", "7"], ["3", "1", "1", "4", "7"],
    ]  # fmt: skip
    assert Place().environment(0) == {}  # alone: as if nobody had started it


def test_when_one_process_fails_the_others_are_ended_and_its_words_are_the_reason(tmp_path: Path) -> None:
    code = "import os, sys, time; time.sleep(60) if os.environ['LOCAL_RANK'] == '0' else sys.exit('no more room')"
    started = time.monotonic()
    failed = group(tmp_path, code)
    assert ended(failed) == 1 and failed.reason() == "no more room"
    assert time.monotonic() - started < 30
    killed = group(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ended(killed) == -9 and killed.reason() == "killed by signal 9"


def context(engine: Engine, **settings: Any) -> Context:
    config = make_config("smoke", settings)
    return Context(config, RunDir.named("x", Path()), lambda line: None, lambda title: None, engine=engine)


@pytest.mark.parametrize(
    ("engine", "settings", "message"),
    [
        (Engine("ray", devices=2), {}, "--devices and --num-nodes are for --engine local"),
        (Engine(nodes=2), {}, "--num-nodes 2: set MASTER_ADDR, MASTER_PORT and NODE_RANK"),
        (Engine(nodes=2, node=2, meeting="h:1"), {}, "NODE_RANK is 0 to 1, not 2"),
        (Engine(devices=4), {"train": {"batch_size": 3}}, "train.batch_size: 4 devices cannot share batches of 3"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_runs(
    engine: Engine, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_engine(context(engine, **settings), ["train"])


def test_more_devices_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from maskbench.models import execution

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    found = execution.Execution("cuda", "fp32", "contiguous")
    monkeypatch.setattr(execution, "resolve_execution", lambda *arguments: found)
    with pytest.raises(ConfigError, match=r"--devices 2: this machine has 1 GPU$"):
        check_engine(context(Engine(devices=2)), ["train"])
    check_engine(context(Engine(devices=2)), ["evaluate"])  # trains nothing


def test_machines_take_part_in_one_training_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first fails once on the second machine and is tried again; both hear when all is done."""
    code = (
        "import os, pathlib, sys\n"
        "folder, node = pathlib.Path(sys.argv[1]).parent, os.environ['NODE_RANK']\n"
        "(folder / f'ran-{node}-{os.environ[\"RANK\"]}').touch()\n"
        "first = folder / 'tried'\n"
        "if node == '0' and folder.name == 'seed0' and not first.exists():\n"
        "    first.touch(); sys.exit('broken connection')\n"
        "print('a seed', folder.name[-1], 'epoch 1/1: done')\n"
    )
    monkeypatch.setattr(nodes, "command_of", lambda request: [sys.executable, "-c", code, str(request)])
    monkeypatch.setattr(nodes, "_GRACE", 1.0)
    layer = {"arms": [{"name": "a", "implementation": "manual", "initialisation": "random"}]}
    config, place = make_config("smoke", layer), f"127.0.0.1:{free_port()}"
    jobs = [Job(tmp_path, tmp_path, tmp_path / f"seed{n}", config, config.arms[0], n, "", "") for n in (0, 1)]
    for job in jobs:
        job.folder.mkdir()
    engines = [Engine(nodes=2, node=node, meeting=place) for node in (0, 1)]
    said: dict[int, list[str]] = {0: [], 1: []}
    second = threading.Thread(target=nodes.follow, args=(engines[1], said[1].append))
    with nodes.leading(engines[0]):
        second.start()
        assert nodes.run_across(jobs, engines[0], said[0].append) == []
    second.join(timeout=30)
    assert not second.is_alive()
    assert [line for line in said[0] if "failed" in line] == ["seed0 failed (broken connection); trying again"]
    assert [line for line in said[0] if "finished" in line] == ["seed0: finished, 1 of 2", "seed1: finished, 2 of 2"]
    assert "a seed 1 epoch 1/1: done" in said[0]
    assert [line for line in said[1] if "started" in line] == ["seed0: started"] * 2 + ["seed1: started"]
    assert all((job.folder / f"ran-{n}-{n}").exists() for job in jobs for n in (0, 1))


def test_a_machine_without_the_first_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_ANSWER", 1.0)
    with pytest.raises(RunError, match="does not answer"):
        nodes.follow(Engine(nodes=2, node=1, meeting=f"127.0.0.1:{free_port()}"), print)
