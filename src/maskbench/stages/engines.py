"""Where jobs run: in this process, in processes side by side, or on a Ray cluster. Results are the same files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.rundir import RunError
from maskbench.stages.context import Engine
from maskbench.stages.jobs import Job, run_job
from maskbench.storage import write_text

Notify = Callable[[str], None]
#: Seconds between looks at running processes.
POLL = 0.2


def run_jobs(jobs: Sequence[Job], engine: Engine, notify: Notify, progress: bool = False) -> None:
    """Run independent jobs; one that dies is retried, and the others go on.

    Args:
        jobs: prepared (`jobs.prepare`), each with a folder of its own.
        engine: where.
        notify: receives lines of progress.
        progress: show bars (where jobs run in this process).

    Raises:
        RunError: jobs failed for good; names them, after all others have finished.
        KeyboardInterrupt: Ctrl-C; running jobs are ended, and continue when the study is run again.
    """
    if not jobs:
        return
    if engine.name == "ray":
        failed = _on_ray(jobs, engine, notify)
    elif (workers := engine.workers or max(1, len(_gpus()))) > 1:
        failed = _side_by_side(jobs, workers, engine.retries, notify)
    else:
        failed = _in_sequence(jobs, engine.retries, notify, progress)
    if failed:
        reasons = "; ".join(f"{job}: {reason}" for job, reason in failed)
        raise RunError(
            f"{len(failed)} of {len(jobs)} trainings failed ({reasons}); the others are complete, and the same "
            "command tries these again"
        )


Failures = list[tuple[Job, str]]


def _in_sequence(jobs: Iterable[Job], retries: int, notify: Notify, progress: bool) -> Failures:
    failed: Failures = []
    for job in jobs:
        for attempt in range(retries + 1):
            try:
                run_job(job, notify, progress)
                break
            except (OSError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                if attempt == retries:
                    failed.append((job, reason))
                else:
                    notify(f"{job} failed ({reason}); trying again")
    return failed


def _gpus() -> list[str]:
    """GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


@dataclass
class _Process:
    job: Job
    slot: int
    attempt: int
    handle: subprocess.Popen[bytes]


def _side_by_side(jobs: Sequence[Job], workers: int, retries: int, notify: Notify) -> Failures:
    """One process a job, at most `workers` at a time, each with its GPU and its share of the cores."""
    waiting, running, failed = [(job, 0) for job in jobs], list[_Process](), Failures()
    gpus, slots, done = _gpus(), list(range(workers)), 0
    try:
        while waiting or running:
            while waiting and slots:
                job, attempt = waiting.pop(0)
                slot = slots.pop(0)
                running.append(_Process(job, slot, attempt, _start(job, slot, workers, gpus)))
                notify(f"{job}: started")
            time.sleep(POLL)
            for process in [p for p in running if p.handle.poll() is not None]:
                running.remove(process)
                slots.append(process.slot)
                if process.handle.returncode == 0:
                    done += 1
                    notify(f"{process.job}: finished, {done} of {len(jobs)}")
                    continue
                reason = _reason(process)
                if process.attempt < retries:
                    notify(f"{process.job} failed ({reason}); trying again")
                    waiting.insert(0, (process.job, process.attempt + 1))
                else:
                    failed.append((process.job, reason))
    finally:
        for process in running:
            process.handle.kill()
            process.handle.wait()
    return failed


def _log(job: Job) -> Path:
    return job.folder / "job.log"


def _start(job: Job, slot: int, workers: int, gpus: Sequence[str]) -> subprocess.Popen[bytes]:
    request = job.folder / "request.json"
    write_text(request, job.to_json())
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **os.environ}
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    with _log(job).open("ab") as log:
        command = [sys.executable, "-m", "maskbench.stages.jobs", str(request)]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _reason(process: _Process) -> str:
    """Why a process ended, in a line: a signal, or the last line it wrote."""
    if process.handle.returncode < 0:
        return f"killed by signal {-process.handle.returncode}"
    lines = _log(process.job).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {process.handle.returncode}"


def _on_ray(jobs: Sequence[Job], engine: Engine, notify: Notify) -> Failures:
    """One Ray task a job; a task whose worker dies is run again on another.

    Every machine of the cluster needs maskbench, and the run's folder and the cache under the same paths.
    """
    try:
        import ray
    except ImportError as error:
        raise RunError("--engine ray needs Ray: install maskbench with its extra, maskbench[ray]") from error

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers otherwise
    begun = not ray.is_initialized()
    if begun:
        ray.init(address=engine.address or None, log_to_driver=False, include_dashboard=False)
    try:
        gpus = ray.cluster_resources().get("GPU", 0)
        options: dict[str, Any] = {"max_retries": engine.retries, "retry_exceptions": True, "num_cpus": 1}
        if gpus:
            options["num_gpus"] = 1
        elif engine.workers:
            options["num_cpus"] = max(1, int(ray.cluster_resources()["CPU"]) // engine.workers)
        task = ray.remote(**options)(_ray_task)
        running = {task.remote(job.to_json(), options["num_cpus"]): job for job in jobs}
        return _collect(ray, running, len(jobs), notify)
    finally:
        if begun:
            ray.shutdown()


def _ray_task(request: str, threads: int) -> None:
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    run_job(Job.from_json(request), lambda line: print(line, flush=True))


def _collect(ray: Any, running: dict[Any, Job], count: int, notify: Notify) -> Failures:
    failed: Failures = []
    while running:
        ready, _ = ray.wait(list(running), num_returns=1)
        for reference in ready:
            job = running.pop(reference)
            try:
                ray.get(reference)
                notify(f"{job}: finished, {count - len(running) - len(failed)} of {count}")
            except ray.exceptions.RayError as error:
                failed.append((job, str(error).strip().splitlines()[-1]))
    return failed
