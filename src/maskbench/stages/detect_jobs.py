"""Trainings of detectors as jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskbench import schemas
from maskbench.rundir import versions
from maskbench.stages.context import Context, dataset_root, longest_side, photographs_cache
from maskbench.stages.jobs import TRAINING_PACKAGES, Job, initial_weights, split_of_run
from maskbench.storage import content_key

if TYPE_CHECKING:
    from maskbench.data.photographs import Photographs
    from maskbench.training.processes import Processes

#: Fields of the configuration that change no training.
_ASKED_LATER = frozenset({"eval_batch_size", "workers", "resume_seconds"})


def study_photographs(context: Context) -> Photographs:
    """All usable photographs with their faces, from the cache when they are there."""
    from maskbench.data.photographs import cached_photographs

    return cached_photographs(
        photographs_cache(),
        lambda: dataset_root(context),
        usable_photographs(context),
        context.table("audit", "faces", schemas.FACES),
        context.classes(),
        longest_side(context.config),
        max_pixels=context.config.audit.max_pixels,
        progress=context.progress("photographs"),
    )


def usable_photographs(context: Context) -> pd.DataFrame:
    """`schemas.IMAGES` of the photographs that have faces."""
    from maskbench.data.photographs import usable_images

    return usable_images(
        context.table("audit", "images", schemas.IMAGES), context.table("audit", "faces", schemas.FACES)
    )


def sides_of_run(context: Context, seed: int) -> pd.Series:
    """Side of every usable photograph in run number `seed`, by `image_id`: that of its faces.

    Raises:
        RunError: the saved split is of other faces.
        ValueError: a photograph has faces on two sides, as under `split.strategy=random`.
    """
    split = split_of_run(context, seed)
    sides = split.groupby("image_id")["split"].agg(["first", "nunique"])
    torn = sides.index[sides["nunique"] > 1]
    if len(torn):
        raise ValueError(
            f"split: {len(torn)} photographs have faces on two sides ({torn[0]!r} for one), so whole photographs "
            "cannot be dealt: use split.strategy=grouped or kfold"
        )
    found: pd.Series = sides["first"].loc[usable_photographs(context)["image_id"]]
    return found


def detector_key(job: Job, context: Context) -> str:
    """What the training of a detector depends on."""
    from maskbench.models.execution import resolve_execution

    faces, found = context.table("audit", "faces", schemas.FACES), versions()
    detect = job.config.detect
    return content_key(
        {
            "task": job.task,
            "arm": job.arm.model_dump(),
            "seed": job.seed,
            "init_seed": job.config.seeds.init_seed(job.seed),
            "config": detect.model_dump(mode="json", exclude=set(_ASKED_LATER)),
            "normalisation": [job.config.faces.mean, job.config.faces.std],
            "sides": sides_of_run(context, job.seed).to_dict(),
            "photographs": usable_photographs(context)["sha256"].tolist(),
            "faces": faces[["image_id", "label", "xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist(),
            "pretrained": job.weights_sha256,
            "versions": {name: found[name] for name in TRAINING_PACKAGES},
            "execution": resolve_execution(detect, max(detect.crop_sizes)).to_dict(),
        }
    )


def train_detector(job: Job, notify: Callable[[str], None], progress: bool, processes: Processes) -> None:
    """Train, or continue, the detector of a job."""
    from maskbench.training.fit_detector import DetectorInputs, fit_detector

    context, found = job.context(notify), versions()
    sides = sides_of_run(context, job.seed).to_numpy()
    inputs = DetectorInputs(
        study_photographs(context),
        np.flatnonzero(sides == "train"),
        np.flatnonzero(sides == "val"),
        context.classes(),
        {name: found[name] for name in TRAINING_PACKAGES},
    )
    fit_detector(
        inputs, job.config, job.arm, job.seed, initial_weights(job), job.folder, notify=notify, progress=progress,
        processes=processes,
    )  # fmt: skip
