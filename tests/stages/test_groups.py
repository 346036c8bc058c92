"""Processes that do one job together, on one machine and on several; here they are small scripts."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
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


def test_processes_end_with_the_one_that_started_them_even_when_it_is_killed(tmp_path: Path) -> None:
    child = (
        "import time; from maskbench.stages.groups import end_with_parent; end_with_parent(); print(flush=True); "
        "time.sleep(60)"
    )
    parent = (
        "import sys, time\nfrom pathlib import Path\nfrom maskbench.stages.groups import Group, Place, inherited\n"
        "logs = [Path(sys.argv[1], str(number)) for number in range(2)]\n"
        "group = Group([sys.executable, '-c', sys.argv[2]], logs, Place(2), inherited())\n"
        "while not all(log.stat().st_size for log in logs): time.sleep(0.05)\n"
        "print(*(member.pid for member in group._members), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent, tmp_path, child], stdout=subprocess.PIPE, text=True) as began:
        assert began.stdout is not None
        members = [int(number) for number in began.stdout.readline().split()]
        assert len(members) == 2 and all(map(alive, members))
        began.kill()
    until = time.monotonic() + 20
    while any(map(alive, members)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, members))


def alive(process: int) -> bool:
    """Whether a process is at work; one that ended counts as ended even while nobody has asked for its exit code."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def context(engine: Engine, **settings: Any) -> Context:
    config = make_config("smoke", settings)
    return Context(config, RunDir.named("x", Path()), lambda line: None, lambda title: None, engine=engine)


@pytest.mark.parametrize(
    ("engine", "settings", "message"),
    [
        (Engine("ray", devices=2), {}, "--devices and --num-nodes are for --engine local"),
        (Engine(nodes=2), {}, "--num-nodes 2: set MASTER_ADDR, MASTER_PORT and NODE_RANK"),
        (Engine(nodes=2, node=2, meeting="h:1"), {}, "NODE_RANK is 0 to 1, not 2"),
        (Engine(nodes=2, meeting="h:65536"), {}, "--num-nodes 2: MASTER_PORT is 1 to 65535, not 65536"),
        (Engine(nodes=2, workers=2, meeting="h:1"), {}, r"--workers 2: several machines \(--num-nodes\) train one"),
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
    monkeypatch.setattr(execution, "resolve_execution", lambda *arguments: dataclasses.replace(found, device="cpu"))
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    with pytest.raises(ConfigError, match=r"--devices 4: this machine has 3 CPU cores$"):
        check_engine(context(Engine(devices=4)), ["train"])


def two_machines(folder: Path, patch: pytest.MonkeyPatch, code: str) -> tuple[list[Job], list[Engine]]:
    """Two jobs that run `code`, and the engines of two machines that meet on this one."""
    patch.setattr(nodes, "command_of", lambda request: [sys.executable, "-c", code, str(request)])
    patch.setattr(nodes, "_GRACE", 1.0)
    layer = {"arms": [{"name": "a", "implementation": "manual", "initialisation": "random"}]}
    config, place = make_config("smoke", layer), f"127.0.0.1:{free_port()}"
    jobs = [Job(folder, folder, folder / f"seed{n}", config, config.arms[0], n, "", "") for n in (0, 1)]
    for job in jobs:
        job.folder.mkdir()
    return jobs, [Engine(nodes=2, node=node, meeting=place) for node in (0, 1)]


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
    jobs, engines = two_machines(tmp_path, monkeypatch, code)
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


def test_the_first_machine_does_not_wait_for_one_that_cannot_take_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, sys, time; time.sleep(120) if os.environ['NODE_RANK'] == '0' else sys.exit('no such weights')"
    jobs, engines = two_machines(tmp_path, monkeypatch, code)
    second = threading.Thread(target=nodes.follow, args=(engines[1], lambda line: None))
    with nodes.leading(engines[0]):
        second.start()
        assert nodes.run_across(jobs[:1], engines[0], print) == [(jobs[0], "machine 2: no such weights")]
    second.join(timeout=30)
    assert not second.is_alive()


def test_a_machine_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, engines = two_machines(tmp_path, monkeypatch, "import time; time.sleep(120)")
    monkeypatch.setattr(nodes, "_SILENCE", 1.0)
    monkeypatch.setattr(nodes, "_FAREWELL", 1.0)
    with nodes.leading(engines[0]):
        nodes.meeting(engines[1])  # comes, and is never heard of again
        assert nodes.run_across(jobs[:1], engines[0], print) == [(jobs[0], "machine 2 answers no more")]


def test_a_machine_that_is_left_alone_ends_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, engines = two_machines(tmp_path, monkeypatch, "import time; time.sleep(60)")
    first, began = nodes.meeting(engines[0]), list[Group]()
    first.tell(json.dumps({"job": "a", "request": str(jobs[0].folder / "request.json"), "port": 1}))
    start = nodes._start
    monkeypatch.setattr(nodes, "_start", lambda *arguments: began.append(start(*arguments)) or began[0])
    heard = nodes.Meeting.waits
    monkeypatch.setattr(nodes.Meeting, "waits", lambda self: _gone() if began else heard(self))
    with pytest.raises(RunError, match="answers no more"):
        nodes.follow(engines[1], print)
    assert began[0].poll() == -signal.SIGKILL


def _gone() -> bool:
    raise RunError("answers no more")


def test_machines_that_count_differently_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, engines = two_machines(tmp_path, monkeypatch, "")
    nodes.meeting(engines[0])
    other = dataclasses.replace(engines[1], devices=2)
    with pytest.raises(RunError, match=r"--devices 2 .*the first machine was started with --devices 1 --num-nodes 2"):
        nodes.follow(other, print)


def test_a_machine_without_the_first_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_ANSWER", 1.0)
    with pytest.raises(RunError, match="does not answer"):
        nodes.follow(Engine(nodes=2, node=1, meeting=f"127.0.0.1:{free_port()}"), print)
