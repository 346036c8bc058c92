"""The study: its stages in order, what each needs, and when one has to run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench import stages
from maskbench.rundir import RunError
from maskbench.stages import Context
from maskbench.storage import content_key


@dataclass(frozen=True)
class Stage:
    """One step of the study.

    Attributes:
        name: also its folder and its subcommand.
        needs: stages whose files it reads.
        sections: parts of the configuration it depends on.
        run: does the work, returns the files it leaves.
        outside: the state of files outside the run's folder that it reads, as primitives.
    """

    name: str
    needs: tuple[str, ...]
    sections: tuple[str, ...]
    run: Callable[[Context], list[Path]]
    outside: Callable[[Context], Any] | None = None


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("audit", (), ("data", "audit"), stages.audit, stages.dataset_state),
        Stage("eda", ("audit",), ("eda", "faces", "report"), stages.eda),
        Stage("split", ("audit",), ("split",), stages.split),
        Stage(
            "train",
            ("audit", "split"),
            ("faces", "arms", "weights", "seeds", "train", "evaluate"),
            stages.train,
            stages.weights_state,
        ),
        Stage("evaluate", ("audit", "split", "train"), ("faces", "arms", "seeds", "evaluate"), stages.evaluate),
        Stage("report", ("audit", "eda", "split", "train", "evaluate"), ("report",), stages.report),
    )
}


def stage_key(stage: Stage, context: Context) -> str:
    """What a stage's result depends on: its configuration and the content of the files it reads."""
    config = context.config.model_dump(mode="json")
    value: dict[str, Any] = {
        "stage": stage.name,
        "config": {section: config[section] for section in stage.sections},
        "inputs": {
            name: {file: facts["sha256"] for file, facts in context.folders.manifest(name)["outputs"].items()}
            for name in stage.needs
        },
    }
    if stage.outside:
        value["outside"] = stage.outside(context)
    return content_key(value)


def is_current(name: str, context: Context) -> bool:
    """Whether a stage and all it needs are complete and unchanged."""
    stage = STAGES[name]
    if not all(is_current(need, context) for need in stage.needs):
        return False
    return context.folders.is_complete(name, stage_key(stage, context))


def run_stages(names: Sequence[str], context: Context) -> None:
    """Run stages in the study's order, skipping what is complete and unchanged.

    Args:
        names: stages to bring up to date; what they need must be complete or among them.
        context: configuration and folders.

    Raises:
        RunError: a stage that is needed has not run.
        stages.AuditFailedError: the dataset has an error that stops a study.
    """
    done: set[str] = set()
    for name, stage in STAGES.items():
        if name not in names:
            continue
        for need in stage.needs:
            if need not in done and not is_current(need, context):
                raise RunError(
                    f"{name} needs {need}, which has not run in {context.folders.results} or is out of date: "
                    f"run `maskbench {need} --name {context.folders.results.name}` first"
                )
            done.add(need)
        key = stage_key(stage, context)
        if context.folders.is_complete(name, key):
            context.notify(f"{name}: complete, unchanged")
        else:
            _run_stage(stage, key, context)
        done.add(name)


def _run_stage(stage: Stage, key: str, context: Context) -> None:
    context.notify(f"{stage.name}: running")
    (context.folders.stage(stage.name) / "manifest.json").unlink(missing_ok=True)
    started = time.perf_counter()
    outputs = stage.run(context)
    seconds = time.perf_counter() - started
    context.folders.complete(stage.name, key, outputs, seconds)
    context.notify(f"{stage.name}: done in {seconds:.1f} s")


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
