"""The study: its stages in order, what each needs, and when one has to run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from maskbench.data.sources import DatasetError
from maskbench.rundir import RunDir, RunError
from maskbench.stages.context import Context, dataset_state, weights_state
from maskbench.storage import content_key


@dataclass(frozen=True)
class Stage:
    """One step of the study.

    Attributes:
        name: also its folder and its subcommand.
        needs: stages whose files it reads.
        sections: parts of the configuration it depends on.
        run: does the work, returns the files it leaves.
        outside: hash of the state of files outside the run's folder that it reads.
        uses: stages whose files it reads where they have run; it does without them where not.
        task: part of which study it is: naming given faces, finding faces in photographs, or both.
    """

    name: str
    needs: tuple[str, ...]
    sections: tuple[str, ...]
    run: Callable[[Context], list[Path]]
    outside: Callable[[Context], str] | None = None
    uses: tuple[str, ...] = ()
    task: Literal["both", "classify", "detect"] = "classify"


def _in(module: str, function: str) -> Callable[[Context], list[Path]]:
    """A stage's function, imported when it runs: a command that needs no statistics does not wait for them."""

    def run(context: Context) -> list[Path]:
        found: list[Path] = getattr(import_module(f"maskbench.stages.{module}"), function)(context)
        return found

    return run


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("audit", (), ("data", "audit"), _in("describe", "audit"), dataset_state, task="both"),
        Stage("eda", ("audit",), ("eda", "faces", "report"), _in("describe", "eda"), task="both"),
        Stage("split", ("audit",), ("split", "seeds"), _in("describe", "split"), task="both"),
        Stage(
            "train",
            ("audit", "split"),
            ("faces", "arms", "weights", "seeds", "training_set", "train", "evaluate"),
            _in("training", "train"),
            weights_state,
        ),
        Stage(
            "evaluate", ("audit", "split", "train"), ("faces", "arms", "seeds", "evaluate"), _in("results", "evaluate")
        ),
        Stage(
            "factors", ("audit", "split", "evaluate"), ("faces", "seeds", "split", "factors"), _in("factors", "factors")
        ),
        Stage(
            "intervene",
            ("audit", "split", "train"),
            ("faces", "arms", "seeds", "interventions"),
            _in("intervene", "intervene"),
        ),
        Stage(
            "experiments",
            ("audit", "split", "train"),
            ("faces", "arms", "weights", "seeds", "split", "training_set", "train", "evaluate", "experiments"),
            _in("experiments", "experiments"),
            weights_state,
        ),
        Stage(
            "explain",
            ("audit", "split", "train", "evaluate"),
            ("faces", "arms", "seeds", "split", "explain"),
            _in("explain", "explain"),
        ),
        Stage(
            "compare", ("audit", "train", "evaluate"), ("arms", "seeds", "split", "compare"), _in("compare", "compare")
        ),
        Stage(
            "detect-train",
            ("audit", "split"),
            ("faces", "arms", "weights", "seeds", "detect"),
            _in("detect_train", "detect_train"),
            weights_state,
            task="detect",
        ),
        Stage(
            "detect-evaluate",
            ("audit", "split", "detect-train"),
            ("faces", "arms", "seeds", "split", "detect", "detections"),
            _in("detect_evaluate", "detect_evaluate"),
            uses=("train",),
            task="detect",
        ),
        Stage(
            "detect-factors",
            ("audit", "split", "detect-evaluate"),
            ("faces", "arms", "seeds", "split", "factors", "detections"),
            _in("detect_factors", "detect_factors"),
            task="detect",
        ),
        Stage(
            "report",
            ("audit", "eda", "split"),
            ("report",),
            _in("results", "report"),
            uses=(
                "train",
                "evaluate",
                "factors",
                "intervene",
                "experiments",
                "explain",
                "compare",
                "detect-train",
                "detect-evaluate",
                "detect-factors",
            ),
            task="both",
        ),
    )
}


def stage_key(stage: Stage, context: Context, outside: str) -> str:
    """What a stage's result depends on: version, configuration, and content of the files it reads."""
    config = context.config.model_dump(mode="json")
    value: dict[str, Any] = {
        "stage": stage.name,
        "maskbench": version("maskbench"),
        "config": {section: config[section] for section in stage.sections},
        "inputs": {name: _content(context.folders.manifest(name)) for name in inputs_of(stage, context)},
        "outside": outside,
    }
    return content_key(value)


def inputs_of(stage: Stage, context: Context) -> list[str]:
    """Stages whose files a stage reads: those it needs, and of those it uses the ones that have run."""
    return [*stage.needs, *(name for name in stage.uses if context.folders.manifest(name))]


def _content(manifest: dict[str, Any]) -> dict[str, str]:
    """Hashes of the files a stage left, figures among them."""
    return {file: facts["sha256"] for kind in ("outputs", "figures") for file, facts in manifest[kind].items()}


def outside_state(stage: Stage, context: Context) -> str:
    """State of the files outside the run that a stage reads; once it has run, it may outlive them."""
    if stage.outside is None:
        return ""
    try:
        return stage.outside(context)
    except DatasetError as error:
        saved = context.folders.manifest(stage.name)
        if not saved:
            raise
        context.notify(f"NOTICE: {stage.name} cannot be checked against its files ({error}); its results are kept")
        return str(saved["outside"])


#: Sections that say what is asked of trained models and how it is shown: a finished study takes more questions.
OPEN_SECTIONS = frozenset({"factors", "interventions", "experiments", "explain", "compare", "detections", "report"})


def used_sections(folders: RunDir) -> set[str]:
    """Sections of the configuration that results in a run's folder depend on and that may not change under them."""
    begun = [stage for stage in STAGES.values() if folders.stage(stage.name).is_dir()]
    return {section for stage in begun for section in stage.sections} - OPEN_SECTIONS


def is_current(name: str, context: Context) -> bool:
    """Whether a stage and all it needs are complete and unchanged."""
    stage = STAGES[name]
    if not all(is_current(need, context) for need in inputs_of(stage, context)):
        return False
    return context.folders.is_complete(name, stage_key(stage, context, outside_state(stage, context)))


def run_stages(names: Sequence[str], context: Context) -> None:
    """Run stages in the study's order, skipping what is complete and unchanged.

    Args:
        names: stages to bring up to date; what they need must be complete or among them.
        context: configuration and folders.

    Raises:
        RunError: a stage that is needed has not run.
        AuditFailedError: the dataset has an error that stops a study.
    """
    context, done = replace(context, planned=frozenset(names)), set[str]()
    for name, stage in STAGES.items():
        if name not in names:
            continue
        for need in inputs_of(stage, context):
            if need not in done and not is_current(need, context):
                how = "run" if need == "compare" else need  # `maskbench compare` is for several runs
                raise RunError(
                    f"{name} needs {need}, which has not run in {context.folders.results} or is out of date: "
                    f"run `maskbench {how} --name {context.folders.results.name}` first"
                )
            done.add(need)
        outside = outside_state(stage, context)
        key = stage_key(stage, context, outside)
        if context.folders.is_complete(name, key):
            context.notify(f"{name}: complete, unchanged")
        else:
            _run_stage(stage, key, outside, context)
        done.add(name)


def _run_stage(stage: Stage, key: str, outside: str, context: Context) -> None:
    context.notify(f"{stage.name}: running")
    context.folders.reopen(stage.name)
    started = time.perf_counter()
    outputs = stage.run(context)
    seconds = time.perf_counter() - started
    context.folders.complete(stage.name, key, outputs, seconds, outside)
    context.notify(f"{stage.name}: done in {seconds:.1f} s")


def stages_of(task: str) -> list[str]:
    """The stages of a task: `classify`, `detect` or `all`, in the study's order.

    Example:
        >>> stages_of("detect")
        ['audit', 'eda', 'split', 'detect-train', 'detect-evaluate', 'detect-factors', 'report']
    """
    return [name for name, stage in STAGES.items() if task == "all" or stage.task in ("both", task)]


def needed_for(name: str) -> list[str]:
    """A stage and all that it needs, in the study's order.

    Example:
        >>> needed_for("split")
        ['audit', 'split']
    """
    wanted = {name}
    for stage in reversed(STAGES.values()):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in STAGES if stage in wanted]
