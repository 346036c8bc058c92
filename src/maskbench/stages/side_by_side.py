"""Jobs in processes of this machine, side by side; what they say is passed on while they run."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskbench.stages.groups import POLL, Group, Log, Place, command_of, environment_of, epoch_of, free_port
from maskbench.stages.jobs import Job
from maskbench.storage import write_text

Notify = Callable[[str], None]
Bar = Callable[[int, int], None]
Failures = list[tuple[Job, str]]
#: Jobs at a time on a CPU, and on each GPU, where nobody says how many: each holds the faces and torch in memory.
MOST = 4
#: What a training takes of a GPU whatever its size, bytes; and for each pixel of a batch: a ResNet34 in bf16 keeps
#: about a thousand bytes for each, and a recording holds them beside what validation takes.
_FIXED, _PER_PIXEL = 2 * 2**30, 4096


def places(jobs: Sequence[Job], devices: int = 1) -> int:
    """How many jobs to run at a time where nobody says it.

    A network of small faces does not fill a GPU: up to `MOST` trainings of classifiers share one, a thread of this
    process's each (`OMP_NUM_THREADS`) and as far as its memory goes; one of a detector has it for itself. Without a
    GPU, a job for each thread, at most `MOST`: trainings of small faces do more work with a thread each than one after
    another with all of them.

    Args:
        jobs: to be done.
        devices: that each of them takes.

    Returns:
        At least 1, at most as many as there are jobs.
    """
    import torch

    threads = torch.get_num_threads()
    if not (found := len(gpus())):
        return max(1, min(len(jobs), threads // devices, MOST))
    each = 1
    if devices == 1 and all(job.task == "classify" for job in jobs):
        memory = min(torch.cuda.get_device_properties(index).total_memory for index in range(found))
        each = max(1, min(MOST, threads // found, *(int(memory // _gpu_memory(job)) for job in jobs)))
    return max(1, min(len(jobs), found * each // devices))


def _gpu_memory(job: Job) -> int:
    """What a classifier's training may take, bytes: a rough bound."""
    return _FIXED + _PER_PIXEL * job.config.train.batch_size * job.config.faces.input_size**2


def gpus() -> list[str]:
    """GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


@dataclass
class _Process:
    """A job at work.

    Attributes:
        job: what is done.
        slot: its place among those side by side.
        attempt: how often it was tried before.
        handle: of its processes.
        log: what they say.
    """

    job: Job
    slot: int
    attempt: int
    handle: Group
    log: Log


def run_side_by_side(
    jobs: Sequence[Job], workers: int, retries: int, notify: Notify, bar: Bar | None = None, devices: int = 1
) -> Failures:
    """One process a job and device, at most `workers` jobs at a time, each with its GPUs and its share of the threads.

    Args:
        jobs: prepared.
        workers: at a time.
        retries: how often a job that died is tried again.
        notify: receives what the jobs say, and which have begun and finished.
        bar: called with epochs done and in all.
        devices: that each job takes.

    Returns:
        Jobs that failed for good, with the reason.
    """
    waiting, running, failed = [(job, 0) for job in jobs], list[_Process](), Failures()
    slots, done, epochs = list(range(workers)), 0, Epochs(jobs, bar)
    try:
        while waiting or running:
            while waiting and slots:
                job, attempt = waiting.pop(0)
                running.append(_start(job, slots.pop(0), attempt, workers, devices))
                notify(f"{job}: started")
            time.sleep(POLL)
            ended = [process for process in running if process.handle.poll() is not None]
            for process in running:
                for line in process.log.news():
                    notify(line)
                    epochs.hear(process.job, line)
            for process in ended:
                running.remove(process)
                slots.append(process.slot)
                if process.handle.returncode == 0:
                    done += 1
                    notify(f"{process.job}: finished, {done} of {len(jobs)}")
                    epochs.finish(process.job)
                    continue
                reason = process.handle.reason()
                if process.attempt < retries:
                    notify(f"{process.job} failed ({reason}); trying again")
                    waiting.insert(0, (process.job, process.attempt + 1))
                else:
                    failed.append((process.job, reason))
                    epochs.finish(process.job)
    finally:
        for process in running:
            process.handle.kill()
    return failed


class Epochs:
    """Counts epochs of all jobs for a bar; a job that stops early has done all of its own."""

    def __init__(self, jobs: Sequence[Job], bar: Bar | None) -> None:
        self.length = {
            str(job): (job.config.train if job.task == "classify" else job.config.detect).epochs for job in jobs
        }
        self.done, self.bar = Counter[str](), bar
        self._show()

    def hear(self, job: Job, line: str) -> None:
        """Note the epoch that a line tells of."""
        if number := epoch_of(line):
            self.done[str(job)] = number
            self._show()

    def finish(self, job: Job) -> None:
        """Nothing more is to come of a job."""
        self.done[str(job)] = self.length[str(job)]
        self._show()

    def _show(self) -> None:
        if self.bar:
            self.bar(self.done.total(), sum(self.length.values()))


def _start(job: Job, slot: int, attempt: int, workers: int, devices: int) -> _Process:
    """Begin a job; its first process is the one whose log is passed on."""
    import torch

    request, visible = job.folder / "request.json", gpus()
    write_text(request, job.to_json())
    own = [visible[(slot * devices + number) % len(visible)] for number in range(devices)] if visible else []
    environment = environment_of(max(1, torch.get_num_threads() // (workers * devices)), own)
    log, others = log_of(job), [job.folder / f"job-{number}.log" for number in range(1, devices)]
    place = Place(devices, port=free_port() if devices > 1 else 0)
    return _Process(job, slot, attempt, Group(command_of(request), [log.path, *others], place, environment), log)


def log_of(job: Job) -> Log:
    """What a job's first process says of its training."""
    return Log(job.folder / "job.log", f"{job.arm.name} seed {job.seed}")
