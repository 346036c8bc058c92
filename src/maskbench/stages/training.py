"""The stage that trains: every arm, as often as the study says, under one protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from maskbench import schemas
from maskbench.config import ArmConfig, Config
from maskbench.rundir import RunError
from maskbench.schemas import write_table
from maskbench.stages.context import Context, face_crops
from maskbench.stages.engines import run_jobs
from maskbench.stages.jobs import Job, outputs, prepare
from maskbench.storage import read_json, write_json


def train(context: Context) -> list[Path]:
    """Train every arm with every seed; finished trainings are kept, interrupted ones continued."""
    written = _write_layers(context)
    jobs = make_jobs(context, context.folders.stage("train"), context.config, resolve_pretrained(context))
    wanted = [job for job in jobs if prepare(job)]
    if wanted:  # cut here, under a bar, and not by every job
        images = context.table("audit", "images", schemas.IMAGES)
        face_crops(context, images, context.table("audit", "faces", schemas.FACES))
    run_jobs(wanted, context.engine, context.notify, context.bars())
    written += [path for job in jobs for path in outputs(job)]
    written.append(_write_protocol(context, jobs))
    return written


@dataclass(frozen=True)
class Pretrained:
    """The pretrained weights of a study, by reference.

    Attributes:
        choice: name or file that gives them.
        sha256: their hash.
    """

    choice: str
    sha256: str


def make_jobs(context: Context, folder: Path, config: Config, pretrained: Pretrained | None) -> list[Job]:
    """A job for every run of every arm, pairs of equal number side by side.

    Args:
        context: of the study.
        folder: jobs work in `folder/ARM/seedN`.
        config: what they are trained under.
        pretrained: for arms that start from pretrained weights.
    """

    def job(arm: ArmConfig, seed: int) -> Job:
        start = pretrained if arm.initialisation == "pretrained" else None
        return Job(
            results=context.folders.results,
            plots=context.folders.plots,
            folder=folder / arm.name / f"seed{seed}",
            config=config,
            arm=arm,
            seed=seed,
            weights=start.choice if start else "",
            weights_sha256=start.sha256 if start else "",
        )

    return [job(arm, seed) for seed in config.seeds.numbers() for arm in config.arms]


def resolve_pretrained(context: Context, stage: str = "train") -> Pretrained | None:
    """The pretrained weights; once a run has begun with some, it goes on with the same. None: no arm needs any.

    Raises:
        RunError: what the configuration names is no longer what the run began with.
    """
    from maskbench.models.pretrained import resolve_weights

    if not any(arm.initialisation == "pretrained" for arm in context.config.arms):
        return None
    path = context.folders.stage(stage) / "pretrained.json"
    choice = context.config.weights
    saved = read_json(path) if path.is_file() else None
    if saved and choice == "auto":
        choice = saved["source"]
    loaded = resolve_weights(choice, context.notify)
    if saved and saved["sha256"] != loaded.sha256:
        raise RunError(
            f"{path}: this run began with weights {saved['sha256'][:12]}…, {choice} now gives {loaded.sha256[:12]}…: "
            "choose another --name"
        )
    record = replace(loaded.record, requested=context.config.weights) if saved else loaded.record
    if not saved:
        write_json(path, record.to_dict() | {"sha256": loaded.sha256})
    if record.notice:
        context.notify(f"NOTICE: {record.notice}")
    context.notify(f"pretrained weights: {record.name} ({record.source}), sha256 {loaded.sha256[:12]}…")
    return Pretrained(record.source if choice == "auto" else choice, loaded.sha256)


def _write_layers(context: Context) -> list[Path]:
    """The table of layers of every implementation in the study."""
    from maskbench.models.layers import layer_table
    from maskbench.models.registry import build_model

    path = context.folders.stage("train") / "layers.parquet"
    tables = []
    for name in sorted({arm.implementation for arm in context.config.arms}):
        model, _ = build_model(name, len(context.classes()), seed=0, loaded=None)
        table = layer_table(model, context.config.faces.input_size)
        table.insert(0, "implementation", name)
        tables.append(table)
    write_table(path, pd.concat(tables, ignore_index=True), schemas.LAYERS, csv=True)
    return [path, path.with_suffix(".csv")]


def _write_protocol(context: Context, jobs: list[Job]) -> Path:
    """Check from the saved files that arms differed in nothing but model and initial weights."""
    from maskbench.training.protocol import compare_protocols

    path = context.folders.stage("train") / "protocol.json"
    checked = compare_protocols([job.folder for job in jobs])
    write_json(path, checked)
    if not checked["equal"]:
        raise RunError(f"{path}: arms were not trained alike ({'; '.join(checked['differences'])})")
    return path
