"""The processes that do one job together on this machine: one, or one a device."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds between looks at running processes.
POLL = 0.2
_EPOCH = re.compile(r" epoch (\d+)/\d+: ")


@dataclass(frozen=True)
class Place:
    """Where processes that train together meet.

    Attributes:
        devices: of each machine; a process drives one.
        nodes: machines.
        node: number of this machine.
        address: of the first machine.
        port: on it.
    """

    devices: int = 1
    nodes: int = 1
    node: int = 0
    address: str = "127.0.0.1"
    port: int = 0

    def environment(self, local_rank: int) -> dict[str, str]:
        """What a process is told, in the variables that torch's own launcher sets; nothing where it is alone."""
        if self.devices * self.nodes == 1:
            return {}
        return {
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "WORLD_SIZE": str(self.devices * self.nodes),
            "LOCAL_WORLD_SIZE": str(self.devices),
            "NODE_RANK": str(self.node),
            "RANK": str(self.node * self.devices + local_rank),
            "LOCAL_RANK": str(local_rank),
        }


def command_of(request: Path) -> list[str]:
    """What does the job that a file holds."""
    return [sys.executable, "-m", "maskbench.stages.jobs", str(request)]


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
        return port


class Log:
    """What a job's first process says, from now on.

    Args:
        path: of its log; need not be there yet.
        about: lines that hold this are passed on; what Python and libraries say stays there.
    """

    def __init__(self, path: Path, about: str) -> None:
        self.path, self.about = path, about
        self._heard = path.stat().st_size if path.exists() else 0

    def news(self) -> list[str]:
        """Whole lines about the training that came since."""
        with self.path.open("rb") as log:
            log.seek(self._heard)
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]
        self._heard += len(text)
        return [line for line in text.decode(errors="replace").splitlines() if self.about in line]


def epoch_of(line: str) -> int | None:
    """The epoch that a line of a training tells of, counted from 1."""
    found = _EPOCH.search(line)
    return int(found[1]) if found else None


class Group:
    """Processes of one job; when one of them fails, all are ended: the others would wait for it.

    Their stdin is a pipe that this process holds open and writes nothing to; see `end_with_parent`.

    Args:
        command: of each process.
        logs: of each process, appended to; there are as many processes.
        place: where they meet.
        environment: of all.
    """

    def __init__(
        self, command: Sequence[str], logs: Sequence[Path], place: Place, environment: Mapping[str, str]
    ) -> None:
        self.logs = list(logs)
        self._members: list[subprocess.Popen[bytes]] = []
        self._failed: int | None = None
        for local_rank, path in enumerate(self.logs):
            with path.open("ab") as log:
                own = {**environment, **place.environment(local_rank)}
                self._members.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=own)
                )

    def poll(self) -> int | None:
        """Exit code once all have ended, that of the first that failed; None while they work."""
        codes = [member.poll() for member in self._members]
        bad = [number for number, code in enumerate(codes) if code]
        if bad and self._failed is None:
            # A process that was killed takes others with it, which then tell of the broken connection.
            self._failed = min(bad, key=lambda number: codes[number] or 0)
            self.kill()
        if any(member.poll() is None for member in self._members):
            return None
        self.wait()
        return self.returncode

    @property
    def returncode(self) -> int:
        """Of the process that failed first; 0 where none did."""
        return 0 if self._failed is None else self._members[self._failed].returncode

    def kill(self) -> None:
        """End all that still work."""
        for member in self._members:
            if member.poll() is None:
                member.kill()
        self.wait()

    def wait(self) -> None:
        """Until all have ended."""
        for member in self._members:
            member.wait()
            if member.stdin is not None:
                member.stdin.close()

    def reason(self) -> str:
        """Why it failed, in a line: a signal, or the last line that the process wrote."""
        if self.returncode < 0:
            return f"killed by signal {-self.returncode}"
        log = self.logs[self._failed or 0]
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.returncode}"


def environment_of(threads: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """What a job's processes are told, whatever their place.

    Args:
        threads: of each process.
        gpus: that the job may use, as `CUDA_VISIBLE_DEVICES` names them; none: whatever this process may.
    """
    told = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return {**inherited(), **told, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})}


def end_with_parent() -> None:
    """From now on, end this process when the one that began its `Group` is gone, however that came about.

    Killed, a study cannot end its trainings itself; they would go on writing where the next one begins.
    """

    def watch() -> None:
        try:
            os.read(0, 1)  # not `sys.stdin`, whose lock must be free when Python ends
            os.write(2, b"ended: the process that began this one is gone\n")
        finally:
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def inherited() -> dict[str, str]:
    """This process's environment, without what another launcher told it of its own processes."""
    told = {"MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "RANK",
            "LOCAL_RANK"}  # fmt: skip
    return {name: value for name, value in os.environ.items() if name not in told}
