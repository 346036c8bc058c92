"""The Python interface: what `import maskbench as mb` offers, and what the command line itself calls.

Stages meet through files, so every function returns what lies on disk (`StageResult`), runs what it needs first, and
skips what is complete and unchanged.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import pandas as pd

from maskbench.config import make_config
from maskbench.handles import StageResult, Study
from maskbench.options import choose_config, nested
from maskbench.rundir import RunDir, RunError
from maskbench.stages.context import Context, Engine, check_inputs, dataset_root
from maskbench.study import STAGES, needed_for, stages_of

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "StageResult", "Study", "audit", "build_model", "compare", "detect_evaluate", "detect_factors", "detect_train",
    "eda", "evaluate", "experiments", "explain", "factors", "intervene", "load_dataset", "report", "run", "run_stage",
    "split", "train",
]  # fmt: skip

Notify = Callable[[str], None]
#: Given a title, returns a callback for (done, total); None hides progress.
Progress = Callable[[str], Callable[[int, int], None] | None]
PathLike = str | Path
Task = Literal["classify", "detect", "all"]


def load_dataset(
    data: PathLike | None = None,
    *,
    name: str | None = None,
    preset: str | None = None,
    config: PathLike | None = None,
    weights: PathLike | None = None,
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: PathLike = ".",
    overwrite: bool = False,
    existing: bool = False,
    notify: Notify | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
    command: str = "",
) -> Study:
    """Open a dataset, and the run's folder in which what is learned of it is kept.

    A run that exists keeps the configuration it has, where the arguments say nothing else; a preset, a configuration
    file or `overwrite` stands for the whole.

    Args:
        data: `sample`, `kaggle`, or a folder with images/ and annotations/; None: the run's, or the sample.
        name: of the run; files go to `out/results/NAME` and `out/plots/NAME`. None: after the data.
        preset: size of the study: `smoke`, `quick`, `standard` or `paper`; None: the run's, or `quick`.
        config: YAML file laid over the preset.
        weights: `auto`, `imagenet`, `bundled`, `none`, or a file.
        seeds: runs of every arm.
        settings: fields laid over all of it, with dotted names or nested: `{"train.epochs": 2}`.
        out: folder that holds results/ and plots/.
        overwrite: delete the run of this name first.
        existing: only open a run that is there.
        notify: receives lines of progress, e.g. `print`; None: they go nowhere.
        progress: makes bars; None: there are none.
        engine: where trainings run; None: in this process.
        command: what `run.json` notes; empty: the function that is called.

    Raises:
        ConfigError: an unknown preset or field, or a value out of range; names it.
        DatasetError: there is no such dataset.
        RunError: the folder cannot be used as asked.

    Example:
        >>> import tempfile, maskbench as mb
        >>> from maskbench.data.sample import SampleParams, generate_sample
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     shares = {"with_mask": 0.6, "without_mask": 0.4, "mask_weared_incorrect": 0.0}
        ...     _ = generate_sample(Path(folder) / "photographs", SampleParams(images=10, class_shares=shares))
        ...     study = mb.load_dataset(f"{folder}/photographs", preset="smoke", out=folder)
        ...     study.name, len(study.images), study.classes, list(mb.split(study).tables)
        ('photographs', 10, ('with_mask', 'without_mask'), ['leakage', 'proportions', 'split'])
    """
    chosen, folders = choose_config(
        Path(out), data=_text(data), name=name, preset=preset, config_file=None if config is None else Path(config),
        weights=_text(weights), settings=settings, seeds=seeds, fresh=overwrite,
    )  # fmt: skip
    if existing and not folders.config_file.is_file():
        raise RunError(
            f"{folders.results}: no such run; begin it with maskbench run or maskbench audit --name {chosen.name}"
        )
    context = Context(
        chosen, folders, notify or _silent, progress or _no_bars, progress is not None, engine or Engine()
    )
    if context.engine.follows:
        return Study(context, command)  # the machine that does the study looks after its files
    if overwrite or not folders.manifest("audit"):
        dataset_root(context)  # a dataset that is not there must not leave a run's folder behind
    if overwrite and folders.results.exists():
        check_inputs(context)
        _delete_run(folders)
    return Study(context, command)


def run_stage(study: Study, stage: str, *, needs: bool = True) -> StageResult:
    """Bring a stage up to date.

    Args:
        study: of `load_dataset`.
        stage: its name, as the command line has it: `audit`, …, `detect-train`, …, `report`.
        needs: run what it needs first; otherwise that must be complete.

    Raises:
        ValueError: there is no such stage.
        RunError: the run's folder cannot be used, or what the stage needs has not run.
        AuditFailedError: the dataset has an error that stops a study.
    """
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r}: choose among {', '.join(STAGES)}")
    study.bring_up_to_date(needed_for(stage) if needs else [stage], f"maskbench.{stage.replace('-', '_')}")
    return study.result(stage)


def audit(study: Study) -> StageResult:
    """Check the dataset's integrity; tables `images`, `faces`, `duplicates`, `audit` (the findings).

    Raises:
        AuditFailedError: it has an error that stops a study.
    """
    return run_stage(study, "audit")


def eda(study: Study) -> StageResult:
    """Describe the dataset: tables and figures."""
    return run_stage(study, "eda")


def split(study: Study) -> StageResult:
    """Divide faces into train, val and test so that no photograph, nor its duplicate, sits on two sides."""
    return run_stage(study, "split")


def train(study: Study) -> StageResult:
    """Train every arm, as often as the study says; an interrupted training goes on where it stopped."""
    return run_stage(study, "train")


def evaluate(study: Study) -> StageResult:
    """Measure trained arms on the test split: `predictions`, `metrics` with `intervals`, `confusion`, `differences`."""
    return run_stage(study, "evaluate")


def factors(study: Study) -> StageResult:
    """Set errors against the properties of test faces: size, sharpness, light, place."""
    return run_stage(study, "factors")


def intervene(study: Study) -> StageResult:
    """Predict test faces changed in one way at a time (`interventions.run`)."""
    return run_stage(study, "intervene")


def experiments(study: Study) -> StageResult:
    """Train variants of the study with one thing changed each (`experiments.run`)."""
    return run_stage(study, "experiments")


@overload
def explain(source: Study) -> StageResult: ...
@overload
def explain(
    source: PathLike | Sequence[PathLike],
    images: Sequence[PathLike],
    *,
    method: str | Sequence[str] = ...,
    layer: str = ...,
    class_name: str = ...,
    boxes: Sequence[tuple[float, float, float, float]] = ...,
    annotations: PathLike | None = ...,
    out: PathLike = ...,
    notify: Notify | None = ...,
    progress: Progress | None = ...,
) -> pd.DataFrame: ...
def explain(
    source: Study | PathLike | Sequence[PathLike],
    images: Sequence[PathLike] = (),
    *,
    method: str | Sequence[str] = "grad_cam",
    layer: str = "layer3",
    class_name: str = "predicted",
    boxes: Sequence[tuple[float, float, float, float]] = (),
    annotations: PathLike | None = None,
    out: PathLike = "explanations",
    notify: Notify | None = None,
    progress: Progress | None = None,
) -> StageResult | pd.DataFrame:
    """Look inside: a study's test faces with its arms, or any photographs with any checkpoints.

    Args:
        source: a study; or checkpoints (`.safetensors`), or `results/NAME` for all arms of a run, and then:
        images: photographs.
        method: keys of `explain.cam.METHODS`: `grad_cam`, `layer_cam`, `integrated_gradients`, …
        layer: whose activations class activation maps weigh.
        class_name: the class explained: `predicted`, `true` (of the annotation), or a name.
        boxes: faces, `xmin, ymin, xmax, ymax` in px of the photograph; none: the whole photograph is one face.
        annotations: folder of Pascal VOC files that hold the boxes.
        out: receives the overlays and `explanations.csv`.
        notify: receives a line per photograph.
        progress: makes bars.

    Returns:
        Of a study the stage's result; of photographs one row per face and checkpoint, and in `attrs["problems"]` a line
        for each photograph that could not be read.

    Raises:
        ConfigError: no photographs, no such checkpoint, method or class.
        CheckpointError: a checkpoint cannot be used.
        ValueError: there is no such layer, or it has no maps.
    """
    if isinstance(source, Study):
        return run_stage(source, "explain")
    from maskbench.config import ConfigError
    from maskbench.stages.explain_files import Wish, explain_files, find_checkpoints

    sources = [source] if isinstance(source, str | Path) else list(source)
    if not images:
        raise ConfigError(f"{sources[0]}: name photographs to explain; to look inside a run: --name NAME")
    methods = (method,) if isinstance(method, str) else tuple(method)
    wish = Wish(methods, layer, class_name, tuple(boxes), None if annotations is None else Path(annotations))
    table, problems = explain_files(
        [file for path in sources for file in find_checkpoints(Path(path))], [Path(image) for image in images], wish,
        Path(out), notify or _silent, (progress or _no_bars)("faces"),
    )  # fmt: skip
    table.attrs["problems"] = problems
    return table


@overload
def compare(sources: Study) -> StageResult: ...
@overload
def compare(
    sources: Sequence[PathLike],
    *,
    name: str = ...,
    out: PathLike = ...,
    settings: Mapping[str, Any] | None = ...,
    notify: Notify | None = ...,
    progress: Progress | None = ...,
) -> StageResult: ...
def compare(
    sources: Study | Sequence[PathLike],
    *,
    name: str = "comparison",
    out: PathLike = ".",
    settings: Mapping[str, Any] | None = None,
    notify: Notify | None = None,
    progress: Progress | None = None,
) -> StageResult:
    """Compare arms: those of a study, or those of saved runs and files of predictions; no model is run.

    Args:
        sources: a study; or `results/NAME` folders and files of predictions (`.parquet`, `.csv`) with the columns arm,
            seed, split, face_id, image_id, label and one `prob_CLASS` per class, and then:
        name: of the comparison, kept in `out/results/NAME`; an earlier comparison there is replaced.
        out: folder that holds results/ and plots/.
        settings: fields of the configuration, e.g. `{"compare.resamples": 2000}`.
        notify: receives the answer.
        progress: makes bars.

    Raises:
        RunError: a source has no predictions, sources differ in their classes, or a run stands where this would go.
    """
    if isinstance(sources, Study):
        return run_stage(sources, "compare")
    from maskbench.stages.combine import compare_sources

    config = make_config("quick", nested(settings), {"name": name})
    folders = RunDir.named(config.name, Path(out))
    paths = [Path(source) for source in sources]
    compare_sources(paths, folders, config, notify or _silent, progress or _no_bars)
    return StageResult("comparison", folders.results, folders.plots, None, lambda: True)


def detect_train(study: Study) -> StageResult:
    """Train the detector of every arm."""
    return run_stage(study, "detect-train")


def detect_evaluate(study: Study) -> StageResult:
    """Measure detectors on whole photographs of the test split."""
    return run_stage(study, "detect-evaluate")


def detect_factors(study: Study) -> StageResult:
    """Set missed and badly placed faces against the properties of faces."""
    return run_stage(study, "detect-factors")


def report(study: Study) -> StageResult:
    """Draw the figures of all that has run, and write the report."""
    return run_stage(study, "report")


def run(study: Study, task: Task = "classify") -> StageResult:
    """Run a whole study; what is complete is skipped.

    Args:
        study: of `load_dataset`.
        task: `classify` given faces, `detect` faces in whole photographs, or `all`.

    Raises:
        ValueError: there is no such task.
    """
    if task not in ("classify", "detect", "all"):
        raise ValueError(f"task {task!r}: choose classify, detect or all")
    study.bring_up_to_date(stages_of(task), "maskbench.run")
    return study.result("run")


def build_model(
    implementation: str = "manual", num_classes: int = 3, *, weights: PathLike | None = None, seed: int = 0
) -> nn.Module:
    """A ResNet34 as the study builds it, on the CPU.

    Args:
        implementation: `manual` (written out in this project) or `torchvision`.
        num_classes: K.
        weights: of all but the last layer: `bundled`, `imagenet`, `auto` or a file; None: random.
        seed: of the random initialisation; the last layer is the same in both implementations.

    Returns:
        A model from images (B, 3, H, W), normalised, to logits (B, K).

    Raises:
        ValueError: unknown implementation.
        WeightsError: the weights cannot be had.

    Example:
        >>> import torch, maskbench as mb
        >>> mb.build_model("manual", num_classes=3)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 3])
    """
    from maskbench.models import registry
    from maskbench.models.pretrained import resolve_weights

    loaded = None if weights is None else resolve_weights(str(weights))
    model, _ = registry.build_model(implementation, num_classes, seed=seed, loaded=loaded)
    return model


def _delete_run(folders: RunDir) -> None:
    """Remove a run's folders, if they hold a run."""
    if not folders.config_file.is_file():
        raise RunError(f"{folders.results}: not a run of maskbench (no config.yaml); nothing was deleted")
    with folders.lock():
        shutil.rmtree(folders.plots, ignore_errors=True)
        shutil.rmtree(folders.results)


def _text(value: PathLike | None) -> str | None:
    return None if value is None else str(value)


def _silent(line: str) -> None:
    """Nobody wants to be told."""


def _no_bars(title: str) -> None:
    """Nobody watches."""
