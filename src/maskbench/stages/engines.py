"""Where jobs run: here, in processes side by side, on several machines, or on Ray. Results are the same files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from maskbench.rundir import RunError
from maskbench.stages.context import Engine
from maskbench.stages.jobs import Job, run_job
from maskbench.stages.nodes import run_across
from maskbench.stages.side_by_side import Bar, Failures, Notify, places, run_side_by_side

#: Title of the bar of trainings in other processes.
_EPOCHS = "epochs of all trainings"


def run_jobs(
    jobs: Sequence[Job], engine: Engine, notify: Notify, progress: Callable[[str], Bar | None] | None = None
) -> None:
    """Run independent jobs; one that dies is retried, and the others go on.

    Args:
        jobs: prepared (`jobs.prepare`), each with a folder of its own.
        engine: where.
        notify: receives lines of progress.
        progress: given a title, returns a callback for (done, total) epochs; None where nobody watches.

    Raises:
        RunError: jobs failed for good; names them, after all others have finished.
        KeyboardInterrupt: Ctrl-C; running jobs are ended, and continue when the study is run again.
    """
    if not jobs:
        return
    if engine.name == "ray":
        failed = _on_ray(jobs, engine, notify)
    elif engine.nodes > 1:
        failed = run_across(jobs, engine, notify, progress(_EPOCHS) if progress else None)
    elif (workers := engine.workers or places(jobs, engine.devices)) > 1 or engine.devices > 1:
        bar = progress(_EPOCHS) if progress else None
        failed = run_side_by_side(jobs, workers, engine.retries, notify, bar, engine.devices)
    else:
        failed = _in_sequence(jobs, engine.retries, notify, progress is not None)
    if failed:
        reasons = "; ".join(f"{job}: {reason}" for job, reason in failed)
        raise RunError(
            f"{len(failed)} of {len(jobs)} trainings failed ({reasons}); the others are complete, and the same "
            "command tries these again"
        )


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
