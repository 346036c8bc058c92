"""A training as a job: it meets the study through files only, so any process on any machine can do it."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from maskbench import schemas
from maskbench.config import ArmConfig, Config
from maskbench.rundir import RunDir, RunError, versions
from maskbench.schemas import read_table
from maskbench.stages.context import Context, face_crops
from maskbench.storage import content_key, describe_files, files_match, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.models.pretrained import LoadedWeights
    from maskbench.training.processes import Processes

#: Packages whose version can change what a training computes.
TRAINING_PACKAGES = ("maskbench", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "python")
#: Files that a finished training leaves, by task.
JOB_FILES = {
    "classify": ("best.safetensors", "best.json", "last.safetensors", "last.json", "epochs.parquet", "epochs.csv",
                 "confusion.parquet", "steps.parquet", "gradients.parquet", "weights.json", "fit.json"),
    "detect": ("best.safetensors", "best.json", "last.safetensors", "last.json", "epochs.parquet", "epochs.csv",
               "steps.parquet", "weights.json", "fit.json"),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        results: `results/NAME` of the study it belongs to.
        plots: `plots/NAME`.
        folder: where it leaves its files.
        config: what it is trained under: the study's configuration, or a variant of it.
        arm: implementation and initialisation.
        seed: number of the run.
        weights: the pretrained weights' name or file; empty for a random start.
        weights_sha256: their hash, checked when they are loaded.
        task: what is trained: to name faces, or to find them in photographs.
    """

    results: Path
    plots: Path
    folder: Path
    config: Config
    arm: ArmConfig
    seed: int
    weights: str
    weights_sha256: str
    task: Literal["classify", "detect"] = "classify"

    def __str__(self) -> str:
        """As messages name it."""
        return f"{self.folder.relative_to(self.results).as_posix()}"

    def to_json(self) -> str:
        """For another process, with absolute paths."""
        models = {"config": self.config.model_dump(mode="json"), "arm": self.arm.model_dump()}
        return json.dumps(asdict(self) | models, default=lambda path: str(Path(path).resolve()))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        values = json.loads(text)
        paths = {name: Path(values[name]) for name in ("results", "plots", "folder")}
        models = {"config": Config.model_validate(values["config"]), "arm": ArmConfig(**values["arm"])}
        return cls(**{**values, **paths, **models})

    def context(self, notify: Callable[[str], None]) -> Context:
        """What functions of the study need to know."""
        return Context(self.config, RunDir(self.results, self.plots), notify, lambda title: None)


def split_of_run(context: Context, seed: int) -> pd.DataFrame:
    """The sides of the faces in run number `seed`: dealt anew where a variant splits differently.

    Raises:
        RunError: the saved split is of other faces than the audit found.
    """
    from maskbench.splits.grouped import split_faces

    faces = context.table("audit", "faces", schemas.FACES)
    split_id, saved = context.config.seeds.split_id(seed), context.folders.saved_config()
    if saved is not None and saved.split != context.config.split:
        duplicates = context.table("audit", "duplicates", schemas.DUPLICATES)
        return split_faces(faces, duplicates, context.config.split, split_id)
    table = context.table("split", "split", schemas.SPLIT)
    part = table[table["split_id"] == split_id].reset_index(drop=True)
    if list(part["face_id"]) != list(faces["face_id"]):
        raise RunError(f"{context.folders.results}: split and audit name different faces; run the split stage again")
    return part


def study_canvases(context: Context) -> Tensor:
    """Canvases of all faces, uint8 (N, 3, C, C), made once a process."""
    from maskbench.data.crops import cache_key

    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    margin, size = context.config.faces.margin, context.config.faces.input_size
    key = cache_key(images, faces, margin)
    return _Canvases.get((key, size), lambda: (face_crops(context, images, faces), faces, margin, size))


class _Canvases:
    """The last canvases made: a study's jobs run one after another on the same ones."""

    key: tuple[str, int] | None = None
    tensor: Any = None

    @classmethod
    def get(cls, key: tuple[str, int], inputs: Callable[[], tuple[Any, ...]]) -> Tensor:
        from maskbench.data.faces import make_canvases

        if cls.key != key:
            cls.key, cls.tensor = None, None  # frees the old ones before the new are made
            cls.tensor = make_canvases(*inputs())
            cls.key = key
        tensor: Tensor = cls.tensor
        return tensor


def job_key(job: Job, context: Context) -> str:
    """What a training's result depends on."""
    if job.task == "detect":
        from maskbench.stages.detect_jobs import detector_key

        return detector_key(job, context)
    from maskbench.data.crops import cache_key
    from maskbench.models.execution import resolve_execution

    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    found, config = versions(), job.config.model_dump(mode="json")
    return content_key(
        {
            "arm": job.arm.model_dump(),
            "seed": job.seed,
            "init_seed": job.config.seeds.init_seed(job.seed),
            "config": {name: config[name] for name in ("faces", "training_set", "train", "evaluate")},
            "split": split_of_run(context, job.seed).to_csv(index=False),
            "crops": cache_key(images, faces, job.config.faces.margin),
            "pretrained": job.weights_sha256,
            "versions": {name: found[name] for name in TRAINING_PACKAGES},
            "execution": resolve_execution(job.config.train, job.config.faces.input_size).to_dict(),
        }
    )


def prepare(job: Job) -> bool:
    """Whether the training still has to run.

    Remains made from other inputs, and finished trainings that lost a file or were altered, are removed.
    """
    key = job_key(job, job.context(_silent))
    path = job.folder / "job.json"
    saved = read_json(path) if path.is_file() else {}
    if saved.get("key") == key:
        if "outputs" not in saved:
            return True  # begun, not finished: fit_arm continues it
        if files_match(job.folder, saved["outputs"]):
            return False
    if job.folder.exists():
        shutil.rmtree(job.folder)
    write_json(path, {"key": key})
    return True


def run_job(
    job: Job, notify: Callable[[str], None], progress: bool = False, processes: Processes | None = None
) -> None:
    """Train, and mark the job as finished.

    Args:
        job: prepared.
        notify: receives lines of progress.
        progress: show a progress bar.
        processes: that do it together, each calling this; None: this one alone.

    Raises:
        RunError: the pretrained weights are not those that the study began with.
    """
    from maskbench.training.processes import Processes

    together = processes or Processes()
    if job.task == "detect":
        from maskbench.stages.detect_jobs import train_detector

        train_detector(job, notify, progress, together)
    else:
        _train_classifier(job, notify, progress, together)
    if not together.first:
        return
    record = read_json(job.folder / "job.json")
    write_json(job.folder / "job.json", record | {"outputs": describe_files(job.folder, list(JOB_FILES[job.task]))})


def _train_classifier(job: Job, notify: Callable[[str], None], progress: bool, processes: Processes) -> None:
    from maskbench.training.fit import FitInputs, fit_arm

    context, found = job.context(notify), versions()
    inputs = FitInputs(
        study_canvases(context),
        split_of_run(context, job.seed),
        context.classes(),
        {name: found[name] for name in TRAINING_PACKAGES},
    )
    fit_arm(
        inputs, job.config, job.arm, job.seed, initial_weights(job), job.folder, notify=notify, progress=progress,
        processes=processes,
    )  # fmt: skip


def initial_weights(job: Job) -> LoadedWeights | None:
    """What an arm starts from; None: a random start.

    Raises:
        RunError: they are not those that the study began with.
    """
    if not job.weights:
        return None
    loaded = _load_weights(job.weights)
    if loaded.sha256 != job.weights_sha256:
        raise RunError(
            f"{job}: the study began with weights {job.weights_sha256[:12]}…, {job.weights} now gives "
            f"{loaded.sha256[:12]}…: choose another --name"
        )
    return loaded


@functools.lru_cache(maxsize=1)
def _load_weights(choice: str) -> LoadedWeights:
    from maskbench.models.pretrained import resolve_weights

    return resolve_weights(choice, _silent)


def _silent(line: str) -> None:
    """The study has said it already."""


def outputs(job: Job) -> list[Path]:
    """Files that a finished training leaves."""
    return [job.folder / name for name in JOB_FILES[job.task]]


def read_runs(jobs: list[Job], name: str, schema: Any) -> pd.DataFrame:
    """One table of several finished trainings, stacked."""
    return schemas.concat_tables([read_table(job.folder / name, schema) for job in jobs])


def _main(request: Path) -> None:
    """Do a job as one of the processes that its environment tells of; the first speaks for all."""
    from maskbench.stages.groups import end_with_parent
    from maskbench.training.processes import Processes

    end_with_parent()
    processes = Processes.from_environment()
    job = Job.from_json(request.read_text(encoding="utf-8"))
    run_job(job, (lambda line: print(line, flush=True)) if processes.first else _silent, processes=processes)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
