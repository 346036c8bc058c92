"""Several machines, one training at a time: the first decides what is trained, the others take part.

The first machine does the study; every other one runs the same command, writes nothing but its processes' logs, and
starts those whenever the first begins a training. All of them see the run's folder and the cache under the same paths.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from maskbench.rundir import RunError
from maskbench.stages.context import Engine
from maskbench.stages.groups import POLL, Group, Place, command_of, environment_of, free_port
from maskbench.stages.jobs import Job
from maskbench.stages.side_by_side import Bar, Epochs, Failures, Notify, gpus, log_of
from maskbench.storage import write_text

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

#: Seconds that the first machine waits for the others to hear that all is done.
_FAREWELL = 60.0
#: Seconds that a machine's processes are given to end by themselves once the first has gone on.
_GRACE = 10.0
#: Seconds after which a machine that gives no sign of life is given up.
_SILENCE = 60.0
#: Seconds that the others wait for the first machine to come.
_ANSWER = 600.0
_END = "end"


class Meeting:
    """What the first machine tells the others: messages by number, kept where all can read them.

    Args:
        engine: names the machines and where they meet.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.count = engine, 0
        self._signs: dict[int, tuple[int, float]] = {}
        host, _, port = engine.meeting.rpartition(":")
        self.place = Place(engine.devices, engine.nodes, engine.node, host)
        self.store = _store(host, int(port), engine.node == 0)
        self._agree(f"--devices {engine.devices} --num-nodes {engine.nodes}")
        self.store.set(f"joined/{engine.node}", "")

    def _agree(self, machines: str) -> None:
        """Every machine must count processes as the first does, or they would wait for some that never come."""
        if self.engine.node == 0:
            self.store.set("machines", machines)
        elif (said := self.store.get("machines").decode()) != machines:
            raise RunError(f"{machines}: the first machine was started with {said}; say the same on all")

    def tell(self, message: str) -> None:
        """Leave the next message."""
        self.store.set(str(self.count), message)
        self.count += 1

    def waits(self) -> bool:
        """Whether the next message is there; asking is this machine's sign of life.

        Raises:
            RunError: the first machine has gone.
        """
        with self._answering():
            self.store.add(f"alive/{self.engine.node}", 1)
            return bool(self.store.check([str(self.count)]))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RunError(
                f"--num-nodes: {self.engine.meeting} answers no more; the first machine has ended"
            ) from error

    def hear(self) -> str:
        """The next message, when it comes."""
        while not self.waits():
            time.sleep(POLL)
        message = self.store.get(str(self.count)).decode()
        self.count += 1
        return message

    def fail(self, reason: str) -> None:
        """Tell the first machine that this one cannot do what the last message asks for.

        Raises:
            RunError: the first machine has gone.
        """
        with self._answering():
            self.store.set(f"failed/{self.count - 1}", f"machine {self.engine.node + 1}: {reason}")

    def failure(self) -> str:
        """Why the others cannot do what the last message asks for: one says so, or has fallen silent; or empty."""
        key = f"failed/{self.count - 1}"
        if self.store.check([key]):
            return self.store.get(key).decode()
        silent = [node + 1 for node in range(1, self.engine.nodes) if self._silence(node) > _SILENCE]
        return f"machine {silent[0]} answers no more" if silent else ""

    def _silence(self, node: int) -> float:
        """Seconds since a machine's last sign of life."""
        now, sign = time.monotonic(), self.store.add(f"alive/{node}", 0)
        if self._signs.get(node, (-1, now))[0] != sign:
            self._signs[node] = sign, now
        return now - self._signs[node][1]

    def gather(self, notify: Notify) -> None:
        """Wait until all machines are there."""
        everyone = [f"joined/{node}" for node in range(self.engine.nodes)]
        if not self.store.check(everyone):
            notify(f"waiting at {self.engine.meeting} for {self.engine.nodes} machines")
        while not self.store.check(everyone):
            time.sleep(POLL)

    def close(self) -> None:
        """Tell that all is done, and wait for those who came to hear it."""
        self.tell(_END)
        came = [node for node in range(1, self.engine.nodes) if self.store.check([f"joined/{node}"])]
        until = time.monotonic() + _FAREWELL
        heard = [f"left/{node}/{self.count}" for node in came]
        while heard and time.monotonic() < until and not self.store.check(heard):
            time.sleep(POLL)


@cache
def _store(host: str, port: int, first: bool) -> TCPStore:
    from torch.distributed import DistNetworkError, TCPStore  # type: ignore[attr-defined]

    try:
        return TCPStore(host, port, is_master=first, wait_for_workers=False, timeout=timedelta(seconds=_ANSWER))
    except (DistNetworkError, RuntimeError) as error:
        what = "cannot be listened at" if first else "does not answer"
        raise RunError(f"--num-nodes: {host}:{port} {what} (MASTER_ADDR, MASTER_PORT)") from error


@cache
def meeting(engine: Engine) -> Meeting:
    """The meeting of these machines, one a process."""
    return Meeting(engine)


@contextmanager
def leading(engine: Engine) -> Iterator[None]:
    """The first machine at work; when it has ended, well or not, the others are told."""
    if engine.nodes == 1:
        yield
        return
    joined = meeting(engine)
    try:
        yield
    finally:
        joined.close()


def follow(engine: Engine, notify: Notify) -> None:
    """Take part in trainings of the first machine until it has ended.

    Raises:
        RunError: it cannot be reached, or has gone.
    """
    joined = meeting(engine)
    notify(f"machine {engine.node + 1} of {engine.nodes}: follows {engine.meeting}")
    while (message := joined.hear()) != _END:
        work = json.loads(message)
        notify(f"{work['job']}: started")
        if reason := _take_part(joined, Path(work["request"]), int(work["port"])):
            joined.fail(reason)
        notify(f"{work['job']}: " + (f"ended ({reason})" if reason else "finished"))
    joined.store.set(f"left/{engine.node}/{joined.count}", "")


def _take_part(joined: Meeting, request: Path, port: int) -> str:
    """Train as the first machine asks; the reason why it failed, or empty."""
    try:
        group = _start(joined, request, port)
    except OSError as error:  # its log: the folder is not there
        return str(error)
    gone = None
    try:
        while (code := group.poll()) is None:
            time.sleep(POLL)
            if joined.waits():  # the first machine has given this one up
                gone = gone or time.monotonic()
                if time.monotonic() - gone > _GRACE:
                    group.kill()
    finally:
        group.kill()
    return group.reason() if code else ""


def run_across(jobs: Sequence[Job], engine: Engine, notify: Notify, bar: Bar | None = None) -> Failures:
    """One job after another on all machines together.

    Args:
        jobs: prepared.
        engine: the machines; this is the first.
        notify: receives what the jobs say, and which have begun and finished.
        bar: called with epochs done and in all.

    Returns:
        Jobs that failed for good, with the reason.
    """
    joined, failed, epochs = meeting(engine), Failures(), Epochs(jobs, bar)
    joined.gather(notify)
    for done, job in enumerate(jobs, start=1):
        for attempt in range(engine.retries + 1):
            reason = _run(joined, job, notify, epochs)
            if not reason:
                notify(f"{job}: finished, {done - len(failed)} of {len(jobs)}")
                break
            if attempt == engine.retries:
                failed.append((job, reason))
            else:
                notify(f"{job} failed ({reason}); trying again")
        epochs.finish(job)
    return failed


def _run(joined: Meeting, job: Job, notify: Notify, epochs: Epochs) -> str:
    """Train once; the reason why it failed, or empty."""
    request, log, port = job.folder / "request.json", log_of(job), free_port()
    write_text(request, job.to_json())
    joined.tell(json.dumps({"job": str(job), "request": str(request.resolve()), "port": port}))
    group = _start(joined, request, port)
    notify(f"{job}: started")
    failed = None
    try:
        while True:
            code = group.poll()
            for line in log.news():
                notify(line)
                epochs.hear(job, line)
            if code is not None:
                return "; ".join(filter(None, (group.reason(), joined.failure()))) if code else ""
            if reason := joined.failure():  # processes here may wait long for one that never comes
                failed = failed or time.monotonic()
                if time.monotonic() - failed > _GRACE:
                    return reason
            time.sleep(POLL)
    finally:
        group.kill()


def _start(joined: Meeting, request: Path, port: int) -> Group:
    import torch

    node, devices = joined.engine.node, joined.engine.devices
    environment = environment_of(max(1, torch.get_num_threads() // devices), gpus()[:devices])
    logs = [request.parent / f"job-{node}-{number}.log" for number in range(devices)]
    if node == 0:
        logs[0] = request.parent / "job.log"
    return Group(command_of(request), logs, replace(joined.place, port=port), environment)
