"""Command line: arguments, messages, exit codes. 0 ok, 1 a check failed, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskbench import cli_detect
from maskbench.config import PRESETS, Config, ConfigError, make_config, merge, parse_setting
from maskbench.options import choose_config, parse_box

if TYPE_CHECKING:
    from maskbench.rundir import RunDir
    from maskbench.stages.context import Context, Engine

#: Exit code after Ctrl-C, as shells have it (128 + SIGINT).
INTERRUPTED = 130

app = typer.Typer(
    help="An honest, end-to-end study of face-mask detection: photographs in, two ResNet34s compared, results out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    str | None, typer.Option("--data", help="`sample`, `kaggle`, or a folder with images/ and annotations/")
]
Directory = Annotated[
    str | None, typer.Argument(metavar="[DIR]", help="dataset: a folder, `sample` or `kaggle` (as --data)")
]
RunName = Annotated[str | None, typer.Option("--name", help="name of the run: results/NAME, plots/NAME")]
Preset = Annotated[str | None, typer.Option("--preset", help=f"size of the study: {', '.join(PRESETS)}")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file laid over the preset")]
Task = Annotated[str, typer.Option("--task", help="classify given faces, detect faces in whole photographs, or all")]
Weights = Annotated[str | None, typer.Option("--weights", help="auto, imagenet, bundled, none, or a file")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="one field, e.g. --set train.epochs=5 (repeatable)")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="runs of every arm, each with another seed")]
EngineName = Annotated[str, typer.Option("--engine", help="where trainings run: local, or ray (maskbench[ray])")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="trainings side by side; 0: one per GPU, or one at a time")
]
Address = Annotated[str, typer.Option("--address", help="of a running Ray cluster; empty: start one here")]
Base = Annotated[Path, typer.Option("--out", help="folder in which results/ and plots/ are kept")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="delete the run of this name and start again")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def main() -> None:
    """Entry point of the `maskbench` command."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
    except Exception as error:  # the one place where errors become messages
        code = _explain(error, debug)
    code = code if isinstance(code, int) else 0
    if code == INTERRUPTED:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
    sys.exit(code)


def _explain(error: Exception, debug: bool) -> int:
    """Print an error in one line and return the exit code; unknown errors keep their traceback."""
    if type(error).__name__ == "Abort":
        return INTERRUPTED
    # Typer brings its own copy of click: its errors are known by what they offer, not by their class.
    usage, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if usage is not None and isinstance(code, int):
        if message := " ".join(usage().split()):
            print(f"error: {message} (see maskbench --help)", file=sys.stderr)
        return code
    if debug:
        raise error
    if type(error).__name__ == "AuditFailedError":
        print(f"audit: {error}; see {error.table}", file=sys.stderr)  # type: ignore[attr-defined]
        return 1
    if isinstance(error, ConfigError | ValueError | OSError):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    raise error


def _context(config: Config, folders: RunDir, engine: Engine) -> Context:
    from maskbench.stages.context import Context

    interactive = sys.stdout.isatty()
    return Context(config, folders, _say, _progress(interactive), interactive, engine)


def _engine(name: str, workers: int, address: str) -> Engine:
    from maskbench.stages.context import Engine

    if name not in ("local", "ray"):
        raise ConfigError(f"--engine {name}: choose local or ray")
    if address and name != "ray":
        raise ConfigError("--address is for --engine ray")
    return Engine("ray" if name == "ray" else "local", workers, address)


def _say(line: str) -> None:
    print(line, flush=True)


def _progress(interactive: bool) -> Callable[[str], Callable[[int, int], None] | None]:
    """Progress bars with time left for a person, nothing for a pipe."""
    if not interactive:
        return lambda title: None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    def start(title: str) -> Callable[[int, int], None]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, transient=True)
        task = bar.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            if not bar.live.is_started:  # only when there is something to do: crops may come from the cache
                bar.start()
            bar.update(task, completed=done, total=total)
            if done >= total:
                bar.stop()

        return update

    return start


def _study(names: list[str], base: Path, overwrite: bool, engine: Engine | None = None, **options: Any) -> Context:
    """Run the named stages of a run."""
    from maskbench import study
    from maskbench.rundir import RunError, command_line
    from maskbench.stages.context import Engine, check_explanations, check_inputs, dataset_root

    config, folders = choose_config(base, **options, fresh=overwrite)
    if "audit" not in names and not folders.config_file.is_file():
        raise RunError(
            f"{folders.results}: no such run; begin it with maskbench run or maskbench audit --name {config.name}"
        )
    context = _context(config, folders, engine or Engine())
    if "audit" in names:
        dataset_root(context)  # a dataset that is not there must not leave a run's folder behind
    device = ""
    if {"train", "detect-train"} & set(names):
        check_inputs(context)
        device = _device(config, names)
    if "explain" in names:
        check_explanations(context)
    if overwrite and folders.results.exists():
        _delete_run(folders)
    with folders.lock():
        folders.claim(config, study.used_sections(folders))
        folders.record_command(command_line(), device)
        study.run_stages(names, context)
    return context


def _device(config: Config, names: list[str]) -> str:
    from maskbench.models.execution import resolve_execution

    return resolve_execution(config.train if "train" in names else config.detect, config.faces.input_size).device


def _delete_run(folders: RunDir) -> None:
    """Remove a run's folders, if they hold a run."""
    from maskbench.rundir import RunError

    if not folders.config_file.is_file():
        raise RunError(f"{folders.results}: not a run of maskbench (no config.yaml); nothing was deleted")
    with folders.lock():
        shutil.rmtree(folders.plots, ignore_errors=True)
        shutil.rmtree(folders.results)


@app.command()
def run(
    data: Data = None, name: RunName = None, preset: Preset = None, config: ConfigFile = None,
    weights: Weights = None, seeds: Seeds = None, setting: Settings = None, task: Task = "classify",
    engine: EngineName = "local", workers: Workers = 0, address: Address = "", out: Base = Path(),
    overwrite: Overwrite = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Run the whole study; skips what is complete, continues what was interrupted.

    Example: maskbench run --data kaggle --preset quick
    """
    from maskbench.study import stages_of

    if task not in ("classify", "detect", "all"):
        raise ConfigError(f"--task {task}: choose classify, detect or all")
    where = _engine(engine, workers, address)
    context = _study(stages_of(task), out, overwrite, where, data=data, name=name, preset=preset,
                     config_file=config, weights=weights, seeds=seeds, settings=setting)  # fmt: skip
    _show_results(context)


def _stage_command(stage: str, summary: str, takes_directory: bool) -> None:
    """Register one subcommand for a stage."""

    def with_directory(
        directory: Directory = None, data: Data = None, name: RunName = None, preset: Preset = None,
        config: ConfigFile = None, weights: Weights = None, seeds: Seeds = None, setting: Settings = None,
        out: Base = Path(), overwrite: Overwrite = False, debug: Debug = False,
    ) -> None:  # fmt: skip
        from maskbench.study import needed_for

        context = _study(needed_for(stage), out, overwrite, data=directory or data, name=name, preset=preset,
                         config_file=config, weights=weights, seeds=seeds, settings=setting)  # fmt: skip
        _show_stage(stage, context)

    def on_run(
        name: RunName = None, data: Data = None, preset: Preset = None, config: ConfigFile = None,
        weights: Weights = None, setting: Settings = None, engine: EngineName = "local", workers: Workers = 0,
        address: Address = "", out: Base = Path(), debug: Debug = False,
    ) -> None:  # fmt: skip
        context = _study([stage], out, False, _engine(engine, workers, address), data=data, name=name, preset=preset,
                         config_file=config, weights=weights, settings=setting)  # fmt: skip
        _show_stage(stage, context)

    command = with_directory if takes_directory else on_run
    command.__doc__ = summary
    app.command(stage)(command)


_stage_command("audit", "Check a dataset's integrity; exit code 1 when an error stops a study.", True)
_stage_command("eda", "Describe a dataset: tables and figures.", True)
_stage_command("split", "Divide faces into train, val and test without leakage.", True)
_stage_command("train", "Train every arm of a run whose split is there.", False)
_stage_command("evaluate", "Measure a run's trained arms on the test split.", False)
_stage_command("factors", "Set a run's errors against the properties of the test faces.", False)
_stage_command("intervene", "Predict a run's test faces changed in one way at a time (interventions.run).", False)
_stage_command("experiments", "Train variants of a run with one thing changed each (experiments.run).", False)
_stage_command("detect-train", "Train the detector of every arm of a run whose split is there.", False)
_stage_command("detect-evaluate", "Measure a run's detectors on whole photographs of the test split.", False)
_stage_command("detect-factors", "Set missed and badly placed faces against the properties of faces.", False)
_stage_command("report", "Draw a run's figures and write its report.", False)


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="folder to create")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="one parameter, e.g. --set images=40 (repeatable)")
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw the built-in sample: photographs of synthetic people with annotations and true attributes.

    Example: maskbench sample my-sample --set images=40 --set seed=7
    """
    from maskbench.data.sample import generate_sample
    from maskbench.data.sources import sample_params

    values: dict[str, Any] = {}
    for text in setting or []:
        values = merge(values, parse_setting(text))
    generate_sample(directory, sample_params(values), progress=_progress(sys.stdout.isatty())("sample"))
    _say(f"sample written to {directory}")


@app.command()
def explain(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="a checkpoint (.safetensors), or results/NAME for both arms of a run")
    ] = None,
    images: Annotated[list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="photographs of faces")] = None,
    also: Annotated[list[Path] | None, typer.Option("--with", help="another checkpoint, side by side")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="grad_cam, layer_cam, … (repeatable)")] = None,
    layer: Annotated[str, typer.Option("--layer", help="whose activations are weighed: any module's name")] = "layer3",
    class_name: Annotated[str, typer.Option("--class", help="explained: predicted, true, or a name")] = "predicted",
    box: Annotated[list[str] | None, typer.Option("--box", help="a face: xmin,ymin,xmax,ymax in px")] = None,
    annotations: Annotated[Path | None, typer.Option("--annotations", help="folder of VOC files with boxes")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="where files go; of a run: what holds results/")] = None,
    name: RunName = None,
    setting: Settings = None,
    debug: Debug = False,
) -> int:
    """Look inside: at any photographs with any checkpoint, or, without them, at a run's test faces (--name).

    Photographs: overlays and explanations.csv go to --out (default: explanations/). Without --box or --annotations a
    whole photograph is taken for one face, so hand in what is cut around it.

    Example: maskbench explain results/mine face.png --method grad_cam --method integrated_gradients
    """
    if checkpoint is None:
        _show_stage("explain", _study(["explain"], out or Path(), False, name=name, data=None, preset=None,
                                      config_file=None, weights=None, settings=setting))  # fmt: skip
        return 0
    from maskbench.stages.explain_files import Wish, explain_files, find_checkpoints

    if not images:
        raise ConfigError(f"{checkpoint}: name photographs to explain; to look inside a run: --name NAME")
    wish = Wish(tuple(method or ("grad_cam",)), layer, class_name, tuple(map(parse_box, box or [])), annotations)
    checkpoints = [file for path in (checkpoint, *(also or [])) for file in find_checkpoints(path)]
    folder = out or Path("explanations")
    table, problems = explain_files(checkpoints, images, wish, folder, _say, _progress(sys.stdout.isatty())("faces"))
    if len(table):
        _say(f"explanations: {folder / 'explanations.csv'}")
    return 1 if problems else 0


cli_detect.register(app, _say, _progress)


@app.command()
def compare(
    results: Annotated[list[str], typer.Argument(help="runs (results/NAME), or files of predictions (.parquet, .csv)")],
    name: Annotated[str, typer.Option("--name", help="the comparison's name: results/NAME")] = "comparison",
    setting: Settings = None,
    out: Base = Path(),
    debug: Debug = False,
) -> None:
    """Compare arms from saved predictions: of one run, of several, or somebody else's; no model is run.

    A file of predictions needs the columns arm, seed, split, face_id, image_id, label and one prob_CLASS per class.
    Runs add what they saved on trainings, properties of faces, interventions and variants. Arms of several sources are
    named SOURCE/ARM. The first arm is the baseline.

    Example: maskbench compare results/mine results/theirs
    """
    from maskbench.rundir import RunDir
    from maskbench.stages.combine import compare_sources

    chosen: dict[str, Any] = {"name": name}
    for text in setting or []:
        chosen = merge(chosen, parse_setting(text))
    config = make_config("quick", chosen)
    folders = RunDir.named(config.name, out)
    written = compare_sources([Path(source) for source in results], folders, config, _say)
    _say(f"comparison: {written}")


def _show_stage(stage: str, context: Context) -> None:
    """What a person wants to see after one stage."""
    folder = context.folders.stage(stage)
    if stage == "audit":
        from maskbench.audit.summary import terminal_summary

        _say(terminal_summary(folder))
    if stage in {"evaluate", "report"}:
        _show_results(context)
    else:
        _say(f"{stage}: files in {folder}" + (f", figures in {context.folders.plots}" if stage == "eda" else ""))


def _show_results(context: Context) -> None:
    """The small table of results, and where the report is."""
    from maskbench.report.terminal import print_results

    print_results(context.folders.results)
