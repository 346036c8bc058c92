"""Trainings as jobs: equal results wherever they run, and one that dies takes no other with it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from maskbench import schemas, study
from maskbench.config import Config, ExperimentsConfig, TrainingSetConfig, make_config
from maskbench.rundir import RunDir, RunError
from maskbench.stages import side_by_side
from maskbench.stages.context import Context, Engine
from maskbench.stages.engines import run_jobs
from maskbench.stages.experiments import experiments
from maskbench.stages.jobs import Job, job_key, prepare, read_runs, split_of_run
from maskbench.stages.training import make_jobs
from maskbench.storage import read_json

ARM = {"name": "a", "implementation": "manual", "initialisation": "random"}


def config() -> Config:
    layer = {
        "data": {"sample": {"images": 16, "class_shares": {"with_mask": 0.5, "without_mask": 0.3,
                                                         "mask_weared_incorrect": 0.2}}},
        "arms": [ARM], "seeds": {"count": 2, "vary": "split"}, "train": {"epochs": 1},
    }  # fmt: skip
    return make_config("smoke", layer)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A study whose faces are split, nothing trained."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MASKBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    found = RunDir.named("s", tmp_path_factory.mktemp("engines"))
    found.claim(config(), set())
    study.run_stages(["audit", "split"], context_of(found))
    patch.undo()
    return found


def context_of(folders: RunDir) -> Context:
    return Context(config(), folders, lambda line: None, lambda title: None)


def jobs_in(folders: RunDir, name: str) -> list[Job]:
    jobs = make_jobs(context_of(folders), folders.results / name, config(), None)
    assert [job.seed for job in jobs if prepare(job)] == [0, 1]
    return jobs


@pytest.fixture(scope="module")
def in_sequence(folders: RunDir, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Both runs, trained in this process."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MASKBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    jobs = jobs_in(folders, "sequence")
    run_jobs(jobs, Engine(), lambda line: None)
    patch.undo()
    return jobs


def test_altered_training_faces_are_another_training(folders: RunDir) -> None:
    def key(**options: float) -> str:
        changed = config().model_copy(update={"training_set": TrainingSetConfig(**options)})
        job = make_jobs(context_of(folders), folders.results / "keys", changed, None)[0]
        return job_key(job, context_of(folders))

    assert key() == key(fraction=1.0, label_noise=0.0)
    assert len({key(), key(fraction=0.5), key(label_noise=0.1), key(balance=0.0), key(balance=1.0)}) == 5


def test_runs_take_their_own_split(folders: RunDir, in_sequence: list[Job]) -> None:
    sides = [split_of_run(context_of(folders), seed)["split"].tolist() for seed in (0, 1)]
    assert sides[0] != sides[1]
    records = [read_json(job.folder / "best.json") for job in in_sequence]
    assert [(r["seed"], r["init_seed"], r["split_id"]) for r in records] == [(0, 0, 0), (1, 0, 1)]
    fitted = [read_json(job.folder / "fit.json") for job in in_sequence]
    assert [f["train_faces"] for f in fitted] == [side.count("train") for side in sides]
    assert not any(prepare(job) for job in in_sequence)  # complete and unchanged


def test_a_killed_process_is_replaced_and_results_are_those_of_one_process(
    folders: RunDir, in_sequence: list[Job]
) -> None:
    jobs, lines, shown = jobs_in(folders, "side"), list[str](), list[tuple[int, ...]]()
    started: list[side_by_side._Process] = []
    original = side_by_side._start

    def watched(*arguments: object) -> object:
        process = original(*arguments)  # type: ignore[arg-type]
        started.append(process)
        if len(started) == 1:
            threading.Thread(target=lambda: (time.sleep(1), process.handle.kill())).start()
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "_start", watched)
        run_jobs(jobs, Engine(workers=2, retries=1), lines.append, lambda title: lambda *done: shown.append(done))
    assert len(started) == 3
    assert any("killed by signal 9" in line and "trying again" in line for line in lines)
    assert sum("epoch 1/1: train loss" in line for line in lines) == len(jobs)  # live statistics come through
    assert shown[0] == (0, 2) and shown[-1] == (2, 2)
    for name, schema in (("epochs", schemas.EPOCHS), ("steps", schemas.STEPS)):
        pd.testing.assert_frame_equal(read_runs(jobs, name, schema), read_runs(in_sequence, name, schema), rtol=1e-4)


@pytest.mark.parametrize(
    ("gpus", "threads", "tasks", "devices", "size", "expected"),
    [
        (1, 16, "cccccccccc", 1, 96, 4),  # classifiers share a GPU,
        (1, 2, "cccc", 1, 96, 2),  # a thread each,
        (2, 16, "cccccccccc", 1, 96, 8),
        (1, 16, "cccccccccc", 1, 160, 3),  # as far as its 16 GiB go,
        (1, 16, "cccccccccc", 1, 512, 1),
        (2, 16, "ccc", 1, 96, 3),  # but not more than there are;
        (2, 16, "dddd", 1, 96, 2),  # a detector has one for itself,
        (4, 64, "cccc", 2, 96, 2),  # and so has a training that takes several
        (0, 16, "cccccccccc", 1, 96, 4),  # a CPU's threads
        (0, 2, "cccc", 1, 96, 2),
        (0, 2, "cccc", 2, 96, 1),
    ],
)
def test_jobs_at_a_time_where_nobody_says_it(
    gpus: int, threads: int, tasks: str, devices: int, size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "gpus", lambda: [str(number) for number in range(gpus)])
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: SimpleNamespace(total_memory=16 * 2**30))
    small = make_config("quick", {"faces": {"input_size": size}})
    jobs = [SimpleNamespace(task={"c": "classify", "d": "detect"}[task], config=small) for task in tasks]
    assert side_by_side.places(jobs, devices) == expected  # type: ignore[arg-type]


def test_devices_train_one_model_together(folders: RunDir, in_sequence: list[Job]) -> None:
    """A job of two processes on a CPU; how close results are is tested in tests/training/test_together.py."""
    jobs, lines = jobs_in(folders, "together")[:1], list[str]()
    run_jobs(jobs, Engine(devices=2), lines.append)
    assert sum("epoch 1/1: train loss" in line for line in lines) == 1
    assert not prepare(jobs[0])  # complete
    fitted, alone = (read_json(found.folder / "fit.json") for found in (jobs[0], in_sequence[0]))
    assert fitted["processes"] == 2 and fitted["batches_sha256"] == alone["batches_sha256"]
    first, second = (read_runs([found], "steps", schemas.STEPS) for found in (in_sequence[0], jobs[0]))
    assert first["loss"][0] == pytest.approx(second["loss"][0], rel=1e-2)  # bfloat16 where the machine has it


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds Ray's workers in /proc")
def test_ray_gives_the_same_results_when_a_worker_is_killed(folders: RunDir, in_sequence: list[Job]) -> None:
    """A cluster of two workers on this machine; the first that trains is killed."""
    pytest.importorskip("ray", reason="Ray is not built for this system")
    jobs, lines, killed = jobs_in(folders, "ray"), list[str](), list[int]()
    ended = threading.Event()

    def kill_the_first_worker() -> None:
        while not killed and not ended.wait(0.05):
            killed.extend(_ray_tasks()[:1])
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first_worker)
    killer.start()
    try:
        run_jobs(jobs, Engine(name="ray", workers=2, retries=1), lines.append)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert sorted(line.split(":")[0] for line in lines if "finished" in line) == [str(job) for job in jobs]
    assert not any(prepare(job) for job in jobs)
    for name, schema in (("epochs", schemas.EPOCHS), ("steps", schemas.STEPS)):
        pd.testing.assert_frame_equal(read_runs(jobs, name, schema), read_runs(in_sequence, name, schema), rtol=1e-4)


def _ray_tasks() -> list[int]:
    """Processes that train for Ray at this moment: it names a worker after its task."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if (folder / "cmdline").read_bytes().startswith(b"ray::_ray_task"):
                found.append(int(folder.name))
    return found


def test_a_job_that_fails_for_good_is_named_after_the_others_have_finished(
    folders: RunDir, in_sequence: list[Job], tmp_path: Path
) -> None:
    jobs = jobs_in(folders, "failing")
    jobs[0] = dataclasses.replace(jobs[0], weights=str(tmp_path / "gone.safetensors"), weights_sha256="0" * 64)
    reason = r"1 of {} trainings failed \(failing/a/seed0: .*gone\.safetensors"
    with pytest.raises(RunError, match=reason.format(2)):
        run_jobs(jobs, Engine(workers=1, retries=0), lambda line: None)
    assert "outputs" not in read_json(jobs[0].folder / "job.json")
    assert "outputs" in read_json(jobs[1].folder / "job.json")
    with pytest.raises(RunError, match=reason.format(1)):  # the words of a process of its own
        run_jobs(jobs[:1], Engine(workers=2, retries=0), lambda line: None)


def test_variants_are_trained_and_held_against_the_study(folders: RunDir) -> None:
    asked = config().model_copy(update={"experiments": ExperimentsConfig(run=("leakage",), resamples=50)})
    context = dataclasses.replace(context_of(folders), config=asked)
    run_jobs([job for job in make_jobs(context, folders.stage("train"), asked, None) if prepare(job)],
             Engine(), context.notify)  # fmt: skip
    stamp = (folders.stage("train") / "a" / "seed0" / "best.safetensors").stat().st_mtime_ns
    written = experiments(context)
    assert all(path.is_file() for path in written)
    summary = pd.read_parquet(folders.stage("experiments") / "summary.parquet")
    rows = summary[summary["metric"] == "accuracy"].set_index("level")
    assert rows.loc["grouped", "gap"] == 0 and not rows.loc["random", "paired"]
    predictions = pd.read_parquet(folders.stage("experiments") / "predictions.parquet").query("split == 'test'")
    means = predictions.groupby(["level", "seed"])["correct"].mean().groupby("level").mean()
    for level in ("grouped", "random"):
        assert rows.loc[level, "value"] == pytest.approx(means[level])
    shared = [set(part["image_id"]) for _, part in predictions.groupby("level")]
    assert shared[0] != shared[1]
    # the study's own trainings are one of the levels, and are not repeated
    assert (folders.stage("train") / "a" / "seed0" / "best.safetensors").stat().st_mtime_ns == stamp
    assert not (folders.stage("experiments") / "leakage" / "grouped").exists()


def test_a_job_survives_the_way_to_another_process(folders: RunDir) -> None:
    job = make_jobs(context_of(folders), folders.results / "x", config(), None)[1]
    assert Job.from_json(job.to_json()) == job
