"""What each stage does: read the tables of those before, compute, write its own.

Each function reads and writes files and calls the library for everything else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.config import WEIGHTS_NAMES, ArmConfig, Config, ConfigError
from maskbench.rundir import RunDir, RunError, cache_folder, versions
from maskbench.schemas import read_table, write_table
from maskbench.storage import content_key, describe_files, files_match, read_json, sha256_file, write_json


@dataclass(frozen=True)
class Context:
    """What a stage needs to know.

    Attributes:
        config: the study's configuration.
        folders: where its files are.
        notify: receives lines for the user.
        progress: given a title, returns a callback for (done, total); None hides progress.
        interactive: a person watches the terminal: show progress bars.
    """

    config: Config
    folders: RunDir
    notify: Callable[[str], None]
    progress: Callable[[str], Callable[[int, int], None] | None]
    interactive: bool = False

    def table(self, stage: str, name: str, schema: Any) -> pd.DataFrame:
        """A table that an earlier stage wrote."""
        return read_table(self.folders.stage(stage) / name, schema)

    def classes(self) -> tuple[str, ...]:
        """The class order, decided by the audit."""
        return tuple(read_json(self.folders.stage("audit") / "classes.json"))


def dataset_root(context: Context) -> Path:
    """The dataset's folder; downloads or draws it when it is not there yet."""
    from maskbench.data.sources import locate_dataset

    return locate_dataset(
        context.config.data.source,
        sample_params=context.config.data.sample,
        cache=cache_folder(),
        notify=context.notify,
    )


def check_inputs(context: Context) -> None:
    """Refuse, before anything runs, what training would refuse an hour later.

    Raises:
        ConfigError: an arm's implementation is unknown, or the weights are neither a name nor a file.
    """
    from maskbench.models.registry import IMPLEMENTATIONS

    config = context.config
    for arm in config.arms:
        if arm.implementation not in IMPLEMENTATIONS:
            raise ConfigError(
                f"arms: {arm.name}: implementation {arm.implementation!r} is not one of {', '.join(IMPLEMENTATIONS)}"
            )
    pretrained = any(arm.initialisation == "pretrained" for arm in config.arms)
    if pretrained and config.weights not in WEIGHTS_NAMES and not Path(config.weights).is_file():
        raise ConfigError(f"weights: {config.weights} is not a file, nor one of {', '.join(WEIGHTS_NAMES)}")


def weights_state(context: Context) -> str:
    """Hash of the weights file that was named; empty for weights that go by a name."""
    path = Path(context.config.weights)
    return sha256_file(path) if path.is_file() else ""


def dataset_state(context: Context) -> str:
    """Hash of names, sizes and modification times of the dataset's files."""
    root = dataset_root(context)
    facts: list[list[Any]] = [[str(root.resolve()), 0, 0]]
    facts += [
        [path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns]
        for folder in ("images", "annotations")
        for path in sorted((root / folder).iterdir())
        if path.is_file()  # a dangling link is the audit's to report
    ]
    return content_key(facts)


def audit(context: Context) -> list[Path]:
    """Check the dataset, and decide the class order."""
    from maskbench.audit.scan import scan_dataset
    from maskbench.audit.summary import write_audit

    config, folder = context.config, context.folders.stage("audit")
    result = scan_dataset(
        dataset_root(context),
        config.audit,
        config.data.label_map,
        config.data.classes,
        progress=context.progress("audit"),
    )
    written = write_audit(result, folder)
    if result.has_errors:
        errors = result.findings[result.findings["severity"] == "error"]
        raise AuditFailedError("; ".join(errors["detail"]), folder / "audit.csv")
    classes = list(config.data.classes) or sorted(result.faces["label"].unique())
    write_json(folder / "classes.json", classes)
    return [*written, folder / "classes.json"]


class AuditFailedError(Exception):
    """The dataset has an error that stops a study.

    Attributes:
        table: the findings.
    """

    def __init__(self, message: str, table: Path) -> None:
        super().__init__(message)
        self.table = table


def eda(context: Context) -> list[Path]:
    """Describe the dataset: tables and figures."""
    from maskbench.eda.compute import compute_eda, write_eda
    from maskbench.report.sections import draw_eda

    folder, classes = context.folders.stage("eda"), context.classes()
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    tables = compute_eda(images, faces, classes, context.config.eda, seed=context.config.split.seed)
    written: list[Path] = write_eda(tables, folder)
    crops = face_crops(context, images, faces)
    position = {face_id: index for index, face_id in enumerate(crops.face_ids)}
    written += draw_eda(
        context.folders.results,
        context.folders.plots,
        classes,
        lambda face_id: crops.crop(position[face_id]),
        dpi=context.config.report.dpi,
        progress=context.progress("figures"),
    )
    return written


def face_crops(context: Context, images: pd.DataFrame, faces: pd.DataFrame) -> Any:
    """The faces' crops, from the cache when they are there."""
    from maskbench.data.faces import cached_faces

    return cached_faces(
        cache_folder() / "faces",
        lambda: dataset_root(context),
        images,
        faces,
        context.config.faces.margin,
        max_pixels=context.config.audit.max_pixels,
        progress=context.progress("face crops"),
    )


def split(context: Context) -> list[Path]:
    """Divide the faces, and measure what the sides share."""
    from maskbench.splits.grouped import split_faces, split_proportions
    from maskbench.splits.leakage import is_leak_free, measure_leakage
    from maskbench.storage import atomic_path

    folder, config = context.folders.stage("split"), context.config.split
    faces = context.table("audit", "faces", schemas.FACES)
    duplicates = context.table("audit", "duplicates", schemas.DUPLICATES)
    table = split_faces(faces, duplicates, config)
    if config.strategy == "grouped" and not is_leak_free(table):
        raise RunError("split: a group of photographs sits on two sides; this is a defect of maskbench, please report")
    write_table(folder / "split.parquet", table, schemas.SPLIT, csv=True)
    small = {
        "proportions.csv": split_proportions(table, context.classes()),
        "leakage.csv": measure_leakage(table),
    }
    for name, frame in small.items():
        with atomic_path(folder / name) as temporary:
            frame.to_csv(temporary, index=False)
    if config.strategy == "random":
        context.notify(
            "split.strategy is random: faces of one photograph sit on several sides; figures will be too good"
        )
    return [folder / "split.parquet", folder / "split.csv", *(folder / name for name in small)]


def train(context: Context) -> list[Path]:
    """Train every arm with every seed; finished ones are kept, interrupted ones continued."""
    from maskbench.data.faces import cache_key, make_canvases
    from maskbench.models.execution import resolve_execution
    from maskbench.training.fit import FitInputs, fit_arm

    folder, config = context.folders.stage("train"), context.config
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    table = context.table("split", "split", schemas.SPLIT)
    if list(table["face_id"]) != list(faces["face_id"]):
        raise RunError(f"{folder.parent}: split and audit name different faces; run the split stage again")
    crops = face_crops(context, images, faces)
    canvases = make_canvases(crops, faces, config.faces.margin, config.faces.input_size)
    found = versions()
    inputs = FitInputs(canvases, table, context.classes(), {name: found[name] for name in TRAINING_PACKAGES})
    outputs = _write_layers(context)
    loaded = _pretrained(context) if any(arm.initialisation == "pretrained" for arm in config.arms) else None
    job_key = content_key(
        {
            "split": schemas_key(table),
            "crops": cache_key(images, faces, config.faces.margin),
            "pretrained": loaded.sha256 if loaded else "",
            "versions": inputs.versions,
            "execution": resolve_execution(config.train, config.faces.input_size).to_dict(),
        }
    )
    for seed in config.seeds:
        for arm in config.arms:
            run = folder / arm.name / f"seed{seed}"
            if _prepare_job(run, job_key):
                pretrained = loaded if arm.initialisation == "pretrained" else None
                fit_arm(
                    inputs, config, arm, seed, pretrained, run,
                    notify=context.notify, progress=context.interactive,
                )  # fmt: skip
                write_json(run / "job.json", {"key": job_key, "outputs": describe_files(run, list(JOB_FILES))})
            outputs += job_outputs(run)
    outputs.append(_write_protocol(context))
    return outputs


#: Packages whose version can change what a training computes.
TRAINING_PACKAGES = ("maskbench", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "python")
JOB_FILES = ("best.safetensors", "best.json", "last.safetensors", "last.json", "epochs.parquet", "epochs.csv",
             "confusion.parquet", "steps.parquet", "gradients.parquet", "weights.json", "fit.json")  # fmt: skip


def job_outputs(run: Path) -> list[Path]:
    """Files that a finished training leaves."""
    return [run / name for name in JOB_FILES]


def schemas_key(table: pd.DataFrame) -> str:
    """Key of a table's content."""
    return content_key(table.to_csv(index=False))


def _prepare_job(run: Path, key: str) -> bool:
    """Whether the training in `run` still has to run.

    Remains made from other inputs, and finished trainings that lost a file or were altered, are removed.
    """
    path = run / "job.json"
    saved = read_json(path) if path.is_file() else {}
    if saved.get("key") == key:
        if "outputs" not in saved:
            return True  # begun, not finished: fit_arm continues it
        if files_match(run, saved["outputs"]):
            return False
    if run.exists():
        shutil.rmtree(run)
    write_json(path, {"key": key})
    return True


def _pretrained(context: Context) -> Any:
    """The pretrained weights; once a run has begun with some, it goes on with the same."""
    from maskbench.models.pretrained import resolve_weights

    path = context.folders.stage("train") / "pretrained.json"
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
    return loaded


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


def _write_protocol(context: Context) -> Path:
    """Check from the saved files that arms differed in nothing but model and initial weights."""
    from maskbench.training.protocol import compare_protocols

    folder = context.folders.stage("train")
    path = folder / "protocol.json"
    checked = compare_protocols([folder / arm.name / f"seed{seed}" for seed in context.config.seeds
                                 for arm in context.config.arms])  # fmt: skip
    write_json(path, checked)
    if not checked["equal"]:
        raise RunError(f"{path}: arms were not trained alike ({'; '.join(checked['differences'])})")
    return path


def evaluate(context: Context) -> list[Path]:
    """Predict validation and test faces with every best checkpoint, and measure."""
    from maskbench.data.faces import make_canvases
    from maskbench.evaluation import classification, uncertainty
    from maskbench.training.fit import BEST

    folder, config, classes = context.folders.stage("evaluate"), context.config, context.classes()
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    table = context.table("split", "split", schemas.SPLIT)
    crops = face_crops(context, images, faces)
    canvases = make_canvases(crops, faces, config.faces.margin, config.faces.input_size)
    parts = []
    for seed in config.seeds:
        for arm in config.arms:
            path = context.folders.stage("train") / arm.name / f"seed{seed}" / BEST
            parts += _predict(path, arm, seed, canvases, table, faces, images, config)
            context.notify(f"predicted with {arm.name}, seed {seed}")
    predictions = pd.concat(parts, ignore_index=True)
    written: list[Path] = []

    def write(name: str, frame: pd.DataFrame, schema: Any, csv: bool = True) -> None:
        write_table(folder / f"{name}.parquet", frame, schema, csv=csv)
        written.append(folder / f"{name}.parquet")
        if csv:
            written.append(folder / f"{name}.csv")

    write("predictions", predictions, schemas.PREDICTIONS)
    write("metrics", classification.metrics_table(predictions, classes), schemas.METRICS)
    write("confusion", classification.confusion_table(predictions, classes), schemas.CONFUSION)
    test = predictions[predictions["split"] == "test"]
    write("roc", classification.roc_table(test, classes), schemas.ROC, csv=False)
    write("precision_recall", classification.precision_recall_table(test, classes), schemas.PRECISION_RECALL, csv=False)
    bootstrap: dict[str, Any] = {
        "seed": config.split.seed,
        "resamples": config.evaluate.resamples,
        "confidence": config.evaluate.confidence,
    }
    write("intervals", uncertainty.intervals_table(test, classes, **bootstrap), schemas.INTERVALS)
    write("differences", uncertainty.differences_table(test, classes, **bootstrap), schemas.DIFFERENCES)
    return written


def _predict(
    path: Path, arm: ArmConfig, seed: int, canvases: Any, table: pd.DataFrame, faces: pd.DataFrame,
    images: pd.DataFrame, config: Config,
) -> list[pd.DataFrame]:  # fmt: skip
    """Prediction tables of one checkpoint on validation and test."""
    from maskbench.data.datamodule import FaceDataModule
    from maskbench.inference.predict import predict_logits, prediction_table
    from maskbench.training.checkpoint import execution_of, load_checkpoint, preprocess_of

    model, record = load_checkpoint(path)
    classes, execution = tuple(record["classes"]), execution_of(record)
    execution.place(model)
    data = FaceDataModule(
        canvases, table, classes, seed=seed,
        batch_size=config.train.batch_size, eval_batch_size=config.evaluate.batch_size,
    )  # fmt: skip
    result = []
    for side in ("val", "test"):
        found = predict_logits(
            model, data.ordered_dataloader(side), preprocess_of(record), execution,
            flip_average=config.evaluate.flip_average,
        )  # fmt: skip
        result.append(prediction_table(found, faces, images, classes, arm=arm.name, seed=seed, split=side))
    return result


def report(context: Context) -> list[Path]:
    """Draw the figures of training and evaluation, and write the report."""
    from maskbench.report.build import build_report
    from maskbench.report.content import collect_report
    from maskbench.report.sections import draw_results
    from maskbench.storage import write_text

    drawn = draw_results(
        context.folders.results,
        context.folders.plots,
        context.classes(),
        [arm.name for arm in context.config.arms],
        context.config.seeds,
        dpi=context.config.report.dpi,
        progress=context.progress("figures"),
    )
    path = context.folders.results / "report.html"
    write_text(path, build_report(collect_report(context.folders.results, context.folders.plots)))
    return [path, *drawn]
