"""Looking inside the models of one run: what every later table of the explain stage is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench import schemas
from maskbench.stages.context import Context
from maskbench.stages.jobs import Job, split_of_run, study_canvases
from maskbench.stages.training import make_jobs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from maskbench.comparison.representations import RunFeatures
    from maskbench.explain.faithfulness import Faithfulness

Floats = NDArray[np.floating]
Outlines = Mapping[str, list[list[float]]]
#: The method whose maps are described and shown first.
FIRST = "grad_cam"


@dataclass(frozen=True, eq=False)
class Study:
    """What looks share.

    Attributes:
        context: of the study.
        faces: `schemas.FACES`.
        predictions: `schemas.PREDICTIONS`.
        canvases: uint8 (N, 3, C, C) of all faces.
        jobs: finished trainings.
    """

    context: Context
    faces: pd.DataFrame
    predictions: pd.DataFrame
    canvases: Tensor
    jobs: tuple[Job, ...]

    @classmethod
    def read(cls, context: Context) -> Study:
        """From the files of earlier stages."""
        return cls(
            context,
            context.table("audit", "faces", schemas.FACES),
            context.table("evaluate", "predictions", schemas.PREDICTIONS),
            study_canvases(context),
            tuple(make_jobs(context, context.folders.stage("train"), context.config, None)),
        )

    def predicted(self, job: Job) -> pd.DataFrame:
        """Predictions of a job's test faces, in the order of the faces table."""
        table = self.predictions
        part = table[(table["arm"] == job.arm.name) & (table["seed"] == job.seed) & (table["split"] == "test")]
        order = pd.Series(range(len(self.faces)), index=self.faces["face_id"])
        return part.iloc[np.argsort(part["face_id"].map(order).to_numpy())].reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen inside one model.

    Attributes:
        arm: its arm.
        seed: its run.
        faces: its test faces: rows of `schemas.FACES`.
        maps: (M, S, S) Grad-CAM of the predicted class.
        map_features: `schemas.faithfulness.MAP_FEATURE_TABLE`.
        faithfulness: of all methods, on some faces.
        features: pooled, of training and test faces.
        train_ids: of the training faces.
        statistics: `schemas.representations.LAYER_STATISTICS`, on the test faces.
    """

    arm: str
    seed: int
    faces: pd.DataFrame
    maps: Floats
    map_features: pd.DataFrame
    faithfulness: Faithfulness
    features: RunFeatures
    train_ids: tuple[str, ...]
    statistics: pd.DataFrame


def look_inside(study: Study, seed: int, outlines: Outlines | None) -> list[Look]:
    """All arms of one run, on the same test faces.

    Args:
        study: what is shared.
        seed: number of the run.
        outlines: true masks by face, where they are known.
    """
    looks = [_look(study, job, outlines) for job in study.jobs if job.seed == seed]
    return [replace(look, map_features=_with_agreement(look, looks)) for look in looks]


def _look(study: Study, job: Job, outlines: Outlines | None) -> Look:
    from maskbench.training.checkpoint import BEST, execution_of, load_checkpoint

    model, record = load_checkpoint(job.folder / BEST)
    execution_of(record).place(model)
    sides = split_of_run(study.context, job.seed)["split"].to_numpy()
    rows, train = np.flatnonzero(sides == "test"), np.flatnonzero(sides == "train")
    faces = study.faces.iloc[rows].reset_index(drop=True)
    maps = _maps(study, job, model, record, rows)
    features, statistics = _features(study, job, model, record, rows, train)
    return Look(
        arm=job.arm.name,
        seed=job.seed,
        faces=faces,
        maps=maps[FIRST],
        map_features=_described(maps, faces, record),
        faithfulness=_faithfulness(study, job, model, record, rows, outlines),
        features=features,
        train_ids=tuple(study.faces["face_id"].iloc[train]),
        statistics=statistics,
    )


def _maps(
    study: Study, job: Job, model: nn.Module, record: dict[str, Any], rows: NDArray[np.int64]
) -> dict[str, Floats]:
    """Maps of the predicted class by every method that weighs activations: cheap enough for all test faces."""
    import torch

    from maskbench.explain.cam import METHODS, maps_by_method
    from maskbench.training.checkpoint import execution_of, preprocess_of

    config, execution = study.context.config.explain, execution_of(record)
    classes = {name: index for index, name in enumerate(record["classes"])}
    targets = torch.tensor([classes[name] for name in study.predicted(job)["predicted"]], device=execution.device)
    images = preprocess_of(record).view(study.canvases[rows].to(execution.device))
    cheap = [name for name in config.methods if METHODS[name].uses_layer and name not in {FIRST, "score_cam"}]
    found = maps_by_method(
        model, images, targets, [FIRST, *cheap], layer=config.layer, execution=execution, seed=job.seed,
        progress=study.context.progress(f"maps, {job.arm.name}"),
    )  # fmt: skip
    return {name: maps.numpy() for name, maps in found.items()}


def _described(maps: dict[str, Floats], faces: pd.DataFrame, record: dict[str, Any]) -> pd.DataFrame:
    from maskbench.explain.faithfulness import face_regions
    from maskbench.explain.map_features import map_features

    lower, box = face_regions(faces, record)
    table = map_features(maps, lower, box)
    keys = {
        "arm": record["arm"],
        "seed": int(record["seed"]),
        "face_id": faces["face_id"],
        "image_id": faces["image_id"],
    }
    return pd.concat([pd.DataFrame(keys), table], axis=1).assign(arm_agreement=np.nan)


def _with_agreement(look: Look, looks: list[Look]) -> pd.DataFrame:
    """The look's features of maps, with how its maps agree with those of the other arms."""
    from maskbench.explain.map_features import correlation

    others = [correlation(look.maps, other.maps) for other in looks if other.arm != look.arm]
    agreement = np.mean(others, axis=0) if others else np.full(len(look.faces), np.nan)
    return look.map_features.assign(arm_agreement=agreement)


def _features(
    study: Study, job: Job, model: nn.Module, record: dict[str, Any], rows: NDArray[np.int64], train: NDArray[np.int64]
) -> tuple[RunFeatures, pd.DataFrame]:
    """Pooled features of the run's training and test faces, and how the layers are used by the test faces."""
    from maskbench.comparison.representations import RunFeatures
    from maskbench.explain.features import layer_statistics, pooled_features
    from maskbench.training.checkpoint import execution_of, preprocess_of

    inputs = preprocess_of(record), execution_of(record)
    progress = study.context.progress(f"features, {job.arm.name}")
    known = pooled_features(model, study.canvases[np.concatenate([train, rows])], *inputs, progress)
    predicted, faces = study.predicted(job), study.faces.iloc[rows].reset_index(drop=True)
    table = faces[["face_id", "image_id", "label"]].assign(
        predicted=predicted["predicted"],
        correct=predicted["correct"],
        box_side_px=np.maximum(faces["xmax"] - faces["xmin"], faces["ymax"] - faces["ymin"]),
    )
    features = RunFeatures(
        arm=job.arm.name,
        seed=job.seed,
        train={depth: part[: len(train)] for depth, part in known.items()},
        train_labels=study.faces["label"].to_numpy(dtype=object)[train],
        test={depth: part[len(train) :] for depth, part in known.items()},
        faces=table,
    )
    statistics = layer_statistics(model, study.canvases[rows], *inputs)
    return features, statistics.assign(arm=job.arm.name, seed=job.seed)


def initial_features(study: Study) -> Floats | None:
    """(N, D) of all faces, by the pretrained network before it saw them: it cannot have learned their labels by heart.

    None where no arm starts from pretrained weights.
    """
    from maskbench.explain.features import PENULTIMATE, pooled_features
    from maskbench.models.registry import build_model
    from maskbench.stages.jobs import initial_weights
    from maskbench.stages.training import resolve_pretrained
    from maskbench.training.checkpoint import BEST, execution_of, preprocess_of, read_record

    jobs = make_jobs(
        study.context, study.context.folders.stage("train"), study.context.config, resolve_pretrained(study.context)
    )
    job = next((job for job in jobs if job.weights), None)
    if job is None:
        return None
    record = read_record(job.folder / BEST)
    model, _ = build_model(job.arm.implementation, len(record["classes"]), seed=0, loaded=initial_weights(job))
    execution = execution_of(record)
    execution.place(model)
    progress = study.context.progress("features before training")
    return pooled_features(model, study.canvases, preprocess_of(record), execution, progress)[PENULTIMATE]


def _faithfulness(
    study: Study, job: Job, model: nn.Module, record: dict[str, Any], rows: NDArray[np.int64], outlines: Outlines | None
) -> Faithfulness:
    from maskbench.explain.faithfulness import measure_faithfulness

    config = study.context.config.explain
    faces = study.faces.iloc[rows]
    chosen = rows[class_balanced(faces["label"].reset_index(drop=True), config.faithfulness_faces, job.seed)]
    part = study.faces.iloc[chosen].reset_index(drop=True)
    polygons = None if outlines is None else [outlines.get(face_id, []) for face_id in part["face_id"]]
    return measure_faithfulness(
        model, record, study.canvases[chosen], part, config.methods, polygons=polygons, layer=config.layer,
        steps=config.steps, seed=job.seed, progress=study.context.progress(f"faithfulness, {job.arm.name}"),
    )  # fmt: skip


def class_balanced(labels: pd.Series, count: int, seed: int) -> list[int]:
    """Positions of `count` faces, drawn evenly over classes; a class with fewer gives its share to the others.

    Args:
        labels: of all faces.
        count: wanted; all where there are no more.
        seed: of the draw.

    Example:
        >>> class_balanced(pd.Series(list("aaaab")), 3, seed=0)
        [1, 3, 4]
    """
    rng = np.random.default_rng(seed)
    queues = [list(rng.permutation(np.flatnonzero(labels == name))) for name in sorted(labels.unique())]
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(int(queue.pop()))
    return sorted(chosen)
