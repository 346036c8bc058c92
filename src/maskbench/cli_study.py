"""The commands that run a study: all of it, or stage by stage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from maskbench.cli_options import (
    Address,
    AsJson,
    Base,
    ConfigFile,
    Data,
    Debug,
    Devices,
    Directory,
    EngineName,
    Nodes,
    Overwrite,
    Preset,
    RunName,
    Seeds,
    Settings,
    Task,
    Weights,
    Workers,
    examples,
)
from maskbench.cli_output import is_watched, messages_to_stderr, print_json, progress, say, study_json

if TYPE_CHECKING:
    from maskbench.handles import Study
    from maskbench.stages.context import Engine

_PANEL = "Stages of a study"


def open_study(
    *, out: Path, config_file: Path | None = None, settings: list[str] | None = None, **options: Any
) -> Study:
    """The study that a command's options stand for."""
    from maskbench import api
    from maskbench.options import parse_settings
    from maskbench.rundir import command_line

    return api.load_dataset(
        config=config_file, settings=parse_settings(settings), out=out, notify=say,
        progress=progress(True) if is_watched() else None, command=command_line(), **options,
    )  # fmt: skip


def bring(study: Study, stage: str, as_json: bool, *, needs: bool) -> None:
    """Bring a stage up to date, and say what came out."""
    from maskbench import api
    from maskbench.stages.describe import AuditFailedError

    try:
        with messages_to_stderr(as_json):
            api.run_stage(study, stage, needs=needs)
    except AuditFailedError:
        if as_json:
            _print_stage(study, "audit")  # the findings are the answer
        raise
    if study.context.engine.follows:
        return
    if as_json:
        _print_stage(study, stage)
    else:
        _show_stage(study, stage)


def _print_stage(study: Study, stage: str) -> None:
    found = study_json(study, [stage])
    print_json({"stage": stage} | {name: value for name, value in found.items() if name != "stages"}
               | found["stages"].get(stage, {}))  # fmt: skip


def _show_stage(study: Study, stage: str) -> None:
    """What a person wants to see after one stage."""
    folder = study.result(stage).folder
    if stage == "audit":
        from maskbench.audit.summary import terminal_summary

        say(terminal_summary(folder))
    if stage in {"evaluate", "report"}:
        _show_results(study)
    else:
        say(f"{stage}: files in {folder}" + (f", figures in {study.plots}" if stage == "eda" else ""))


def _show_results(study: Study) -> None:
    """The small table of results, and where the report is."""
    from maskbench.report.terminal import print_results

    print_results(study.results)


def register(app: typer.Typer) -> None:
    """Add `run` and a command per stage."""
    _register_run(app)
    _on_dataset(app, "audit", "Check a dataset's integrity; exit code 1 when an error stops a study.",
                "maskbench audit photographs/", "maskbench audit kaggle --json > audit.json")  # fmt: skip
    _on_dataset(app, "eda", "Describe a dataset: tables and figures.", "maskbench eda photographs/ -n mine")
    _on_dataset(app, "split", "Divide faces into train, val and test without leakage.",
                "maskbench split photographs/ -n mine", "maskbench split -n mine -s split.strategy=kfold")  # fmt: skip
    _on_run(app, "train", "Train every arm of a run whose split is there.",
            "maskbench train -n mine", "maskbench train -n mine --workers 2",
            "maskbench train -n mine --devices 4")  # fmt: skip
    _on_run(app, "evaluate", "Measure a run's trained arms on the test split.",
            "maskbench evaluate -n mine", "maskbench evaluate -n mine --json | jq '.tables.intervals'")  # fmt: skip
    _on_run(app, "factors", "Set a run's errors against the properties of the test faces.",
            "maskbench factors -n mine")  # fmt: skip
    _on_run(app, "intervene", "Predict a run's test faces changed in one way at a time (interventions.run).",
            "maskbench intervene -n mine -s 'interventions.run=[darken, blur]'")  # fmt: skip
    _on_run(app, "experiments", "Train variants of a run with one thing changed each (experiments.run).",
            "maskbench experiments -n mine -s 'experiments.run=[leakage]'")  # fmt: skip
    _on_run(app, "detect-train", "Train the detector of every arm of a run whose split is there.",
            "maskbench detect-train -n mine")  # fmt: skip
    _on_run(app, "detect-evaluate", "Measure a run's detectors on whole photographs of the test split.",
            "maskbench detect-evaluate -n mine")  # fmt: skip
    _on_run(app, "detect-factors", "Set missed and badly placed faces against the properties of faces.",
            "maskbench detect-factors -n mine")  # fmt: skip
    _on_run(app, "report", "Draw a run's figures and write its report.", "maskbench report -n mine")


def _register_run(app: typer.Typer) -> None:

    @app.command(epilog=examples(
        "maskbench run -p smoke", "maskbench run -d photographs/ -n mine -p quick --task all",
        "maskbench run -n mine --json > mine.json",
    ))  # fmt: skip
    def run(
        data: Data = None, name: RunName = None, preset: Preset = None, config: ConfigFile = None,
        weights: Weights = None, seeds: Seeds = None, setting: Settings = None, task: Task = "classify",
        engine: EngineName = "local", workers: Workers = 0, devices: Devices = 1, num_nodes: Nodes = 1,
        address: Address = "", out: Base = Path(), overwrite: Overwrite = False, as_json: AsJson = False,
        debug: Debug = False,
    ) -> None:  # fmt: skip
        """Run the whole study; skips what is complete, continues what was interrupted."""
        from maskbench import api
        from maskbench.study import stages_of

        with messages_to_stderr(as_json):
            study = open_study(
                data=data, name=name, preset=preset, config_file=config, weights=weights, seeds=seeds,
                settings=setting, out=out, overwrite=overwrite,
                engine=_engine(engine, workers, address, devices, num_nodes),
            )  # fmt: skip
            api.run(study, task)
        if study.context.engine.follows:
            return
        if as_json:
            print_json(study_json(study, stages_of(task)))
        else:
            _show_results(study)


def _on_dataset(app: typer.Typer, stage: str, summary: str, *shown: str) -> None:
    """Add a stage that may begin a run."""

    @app.command(stage, help=summary, epilog=examples(*shown), rich_help_panel=_PANEL)
    def command(
        directory: Directory = None, data: Data = None, name: RunName = None, preset: Preset = None,
        config: ConfigFile = None, weights: Weights = None, seeds: Seeds = None, setting: Settings = None,
        out: Base = Path(), overwrite: Overwrite = False, as_json: AsJson = False, debug: Debug = False,
    ) -> None:  # fmt: skip
        with messages_to_stderr(as_json):
            study = open_study(data=directory or data, name=name, preset=preset, config_file=config, weights=weights,
                               seeds=seeds, settings=setting, out=out, overwrite=overwrite)  # fmt: skip
        bring(study, stage, as_json, needs=True)


def _on_run(app: typer.Typer, stage: str, summary: str, *shown: str) -> None:
    """Add a stage that continues a run."""

    @app.command(stage, help=summary, epilog=examples(*shown), rich_help_panel=_PANEL)
    def command(
        name: RunName = None, data: Data = None, preset: Preset = None, config: ConfigFile = None,
        weights: Weights = None, setting: Settings = None, engine: EngineName = "local", workers: Workers = 0,
        devices: Devices = 1, num_nodes: Nodes = 1, address: Address = "", out: Base = Path(),
        as_json: AsJson = False, debug: Debug = False,
    ) -> None:  # fmt: skip
        with messages_to_stderr(as_json):
            study = open_study(data=data, name=name, preset=preset, config_file=config, weights=weights,
                               settings=setting, out=out, existing=True,
                               engine=_engine(engine, workers, address, devices, num_nodes))  # fmt: skip
        bring(study, stage, as_json, needs=False)


def _engine(name: Literal["local", "ray"], workers: int, address: str, devices: int, nodes: int) -> Engine:
    from maskbench.config import ConfigError
    from maskbench.stages.context import Engine

    if address and name != "ray":
        raise ConfigError("--address is for --engine ray")
    if nodes == 1:
        return Engine(name, workers, address, devices=devices)
    number, host, port = (os.environ.get(key, "") for key in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT"))
    if not (number.isdigit() and host and port):
        return Engine(name, workers, address, devices=devices, nodes=nodes)  # refused, with what is missing
    return Engine(name, workers, address, devices=devices, nodes=nodes, node=int(number), meeting=f"{host}:{port}")
