"""The stage that trains detectors: every arm, as often as the study says, under one protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from maskbench.rundir import RunError
from maskbench.stages.context import Context
from maskbench.stages.detect_jobs import study_photographs
from maskbench.stages.engines import run_jobs
from maskbench.stages.jobs import Job, outputs, prepare
from maskbench.stages.training import Pretrained, make_jobs, resolve_pretrained
from maskbench.storage import read_json, write_json

#: What the two arms of a run must have in common.
_SHARED = ("classes", "preprocess", "execution", "protocol", "split_id", "init_seed", "versions")


def detect_train(context: Context) -> list[Path]:
    """Train the detector of every arm with every seed; finished ones are kept, interrupted ones continued."""
    jobs = detector_jobs(context, resolve_pretrained(context, "detect-train"))
    wanted = [job for job in jobs if prepare(job)]
    if wanted:  # decoded here, under a bar, and not by every job
        study_photographs(context)
    run_jobs(wanted, context.engine, context.notify, context.bars())
    return [*(path for job in jobs for path in outputs(job)), _write_protocol(context, jobs)]


def detector_jobs(context: Context, pretrained: Pretrained | None) -> list[Job]:
    """A job for every run of every arm."""
    folder = context.folders.stage("detect-train")
    return [replace(job, task="detect") for job in make_jobs(context, folder, context.config, pretrained)]


def _write_protocol(context: Context, jobs: list[Job]) -> Path:
    """Check from the saved files that arms differed in nothing but backbone and initial weights.

    Raises:
        RunError: they did.
    """
    path, found = context.folders.stage("detect-train") / "protocol.json", []
    records = {(job.arm.name, job.seed): read_json(job.folder / "best.json") for job in jobs}
    fits = {(job.arm.name, job.seed): read_json(job.folder / "fit.json") for job in jobs}
    for arm, seed in records:
        first = next(other for other, number in records if number == seed)
        found += [
            f"seed {seed}: {name} of {arm} and {first}"
            for name in _SHARED
            if records[arm, seed][name] != records[first, seed][name]
        ]
        if fits[arm, seed]["batches_sha256"] != fits[first, seed]["batches_sha256"]:
            found.append(f"seed {seed}: order of photographs of {arm} and {first}")
    write_json(path, {"equal": not found, "differences": found, "checked": [*_SHARED, "batches_sha256"]})
    if found:
        raise RunError(f"{path}: detectors were not trained alike ({'; '.join(found)})")
    return path
