"""Options that commands share: one name, one letter and one meaning everywhere; what a shell may complete them with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

#: Names of `config.PRESETS`, which is not imported for help.
PRESET_NAMES = ("smoke", "quick", "standard", "paper")


def examples(*commands: str) -> str:
    """Examples for the end of a command's help, one a line."""
    title = "Example:" if len(commands) == 1 else "Examples:"
    return "\n\n".join([title, *commands])


def beginning_with(incomplete: str, names: list[str]) -> list[str]:
    """Those names that what is typed may become."""
    return [name for name in names if name.startswith(incomplete)]


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the runs under `--out`."""
    results = Path(ctx.params.get("out") or ".") / "results"
    return beginning_with(incomplete, sorted(path.parent.name for path in results.glob("*/config.yaml")))


def complete_result(incomplete: str) -> list[str]:
    """Runs as `results/NAME`, and files."""
    runs = sorted(str(path.parent) for path in Path("results").glob("*/config.yaml"))
    return [*beginning_with(incomplete, runs), *_paths(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    """Sizes of a study."""
    return beginning_with(incomplete, list(PRESET_NAMES))


def complete_data(incomplete: str) -> list[str]:
    """Datasets that go by a name, and folders."""
    return [*beginning_with(incomplete, ["sample", "kaggle"]), *(p for p in _paths(incomplete) if p.endswith("/"))]


def complete_weights(incomplete: str) -> list[str]:
    """Weights that go by a name, and files."""
    from maskbench.config import WEIGHTS_NAMES

    return [*beginning_with(incomplete, list(WEIGHTS_NAMES)), *_paths(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    """Fields of the configuration, as `section.field=`."""
    from maskbench.config import Config

    names = []
    for section, field in Config.model_fields.items():
        inside = getattr(field.annotation, "model_fields", None)
        names += [f"{section}.{name}=" for name in inside] if inside else [f"{section}="]
    return beginning_with(incomplete, names)


def complete_sample_setting(incomplete: str) -> list[str]:
    """Parameters of the sample."""
    from maskbench.data.sample import SampleParams

    return beginning_with(incomplete, [f"{name}=" for name in SampleParams.model_fields])


def complete_method(incomplete: str) -> list[str]:
    """Attribution methods."""
    from maskbench.config import EXPLAIN_METHODS

    return beginning_with(incomplete, list(EXPLAIN_METHODS))


def _paths(incomplete: str) -> list[str]:
    """Files and folders that what is typed may become; folders end with a slash."""
    typed = Path(incomplete)
    folder = typed if not incomplete or incomplete.endswith("/") else typed.parent
    if not folder.is_dir():
        return []
    start = "" if folder == typed else typed.name
    found = [path for path in folder.iterdir() if path.name.startswith(start or "") and not path.name.startswith(".")]
    return sorted(f"{path}/" if path.is_dir() else str(path) for path in found)


Data = Annotated[
    str | None,
    typer.Option("--data", "-d", autocompletion=complete_data,
                 help="`sample`, `kaggle`, or a folder with images/ and annotations/"),
]  # fmt: skip
Directory = Annotated[
    str | None,
    typer.Argument(metavar="[DIR]", autocompletion=complete_data,
                   help="dataset: a folder, `sample` or `kaggle` (as --data)"),
]  # fmt: skip
RunName = Annotated[
    str | None,
    typer.Option("--name", "-n", autocompletion=complete_run, help="name of the run: results/NAME, plots/NAME"),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", "-p", autocompletion=complete_preset,
                 help=f"size of the study: {', '.join(PRESET_NAMES)}"),
]  # fmt: skip
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file laid over the preset")]
Task = Annotated[
    Literal["classify", "detect", "all"],
    typer.Option("--task", "-t", help="classify given faces, detect faces in whole photographs, or all"),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", "-w", autocompletion=complete_weights, help="auto, imagenet, bundled, none, or a file"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", autocompletion=complete_setting,
                 help="one field, e.g. --set train.epochs=5 (repeatable)"),
]  # fmt: skip
SampleSettings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", autocompletion=complete_sample_setting,
                 help="one parameter, e.g. --set images=40 (repeatable)"),
]  # fmt: skip
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="runs of every arm, each with another seed")]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", "-e", help="trainings run here, or on Ray (the extra `ray`)"),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        "-j",
        min=0,
        help="trainings side by side; 0: up to 4 classifiers or a detector per GPU, or one per CPU thread (up to 4)",
    ),
]
Devices = Annotated[
    int,
    typer.Option(
        "--devices", min=1, help="GPUs of each machine that train one model together (without a GPU: processes)"
    ),
]
Nodes = Annotated[
    int,
    typer.Option("--num-nodes", min=1, help="machines that train one model together; run the same command on each, "
                                            "with MASTER_ADDR, MASTER_PORT, NODE_RANK set"),
]  # fmt: skip
Address = Annotated[str, typer.Option("--address", help="of a running Ray cluster; empty: start one here")]
Base = Annotated[Path, typer.Option("--out", "-o", help="folder in which results/ and plots/ are kept")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="delete the run of this name and start again")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object; messages go to stderr")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
