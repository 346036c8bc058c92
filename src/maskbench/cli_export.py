"""The command that writes trained models for other runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from maskbench.cli_options import AsJson, Debug, complete_result, examples
from maskbench.cli_output import is_watched, messages_to_stderr, print_json
from maskbench.config import ConfigError

Format = Literal["onnx", "openvino", "torch-export"]
Progress = Callable[[str], Callable[[int, int], None] | None]


def register(app: typer.Typer, say: Callable[[str], None], progress: Callable[[bool], Progress]) -> None:
    """Add `maskbench export` to the command line."""

    @app.command(epilog=examples(
        "maskbench export results/mine --task classify --format openvino --int8",
        "maskbench export results/mine/train/torchvision-pretrained/seed0/best.safetensors --benchmark",
    ))  # fmt: skip
    def export(
        model: Annotated[
            Path,
            typer.Argument(autocompletion=complete_result,
                           help="a checkpoint (.safetensors), or results/NAME of a run"),
        ],
        form: Annotated[
            Format | None, typer.Option("--format", "-f", help="onnx if not said")
        ] = None,
        int8: Annotated[bool, typer.Option("--int8", help="eight bits, with the loss measured on validation")] = False,
        task: Annotated[
            Literal["classify", "detect"] | None, typer.Option("--task", "-t", help="of a run that has both kinds")
        ] = None,
        out: Annotated[
            Path | None, typer.Option("--out", "-o", help="the file; beside the checkpoint if not said")
        ] = None,
        data: Annotated[
            Path | None, typer.Option("--data", "-d", help="images/ and annotations/, for a checkpoint outside a run")
        ] = None,
        benchmark: Annotated[
            bool, typer.Option("--benchmark", help="write nothing; compare all formats of a classifier")
        ] = False,
        threads: Annotated[int, typer.Option("--threads", min=0, help="--benchmark: of each; 0: PyTorch's")] = 0,
        rounds: Annotated[int, typer.Option("--rounds", min=1, help="--benchmark: rounds that take turns")] = 7,
        as_json: AsJson = False,
        debug: Debug = False,
    ) -> None:  # fmt: skip
        """Write a model for a runtime that needs no PyTorch model, checked against it when written.

        Preprocessing lies in the graph, batches may have any size, class names and all else that is needed travel in
        the file. Of a run's models the last arm's first run is taken. `maskbench detect` takes a detector's file in
        the place of the detector; maskbench.inference.runtime_classifier.ExportedClassifier names faces.
        """
        from maskbench.stages.export_data import find_model

        with messages_to_stderr(as_json):
            checkpoint, kind = find_model(model, task)
            if checkpoint != model:
                say(f"exporting {checkpoint}")
            show = progress(is_watched())
            if benchmark:
                _refuse({"--format": form, "--int8": int8, "--out": out}, "--benchmark", "it compares all formats")
                facts, lines = _benchmark(checkpoint, kind, data, {"threads": threads, "rounds": rounds}, say, show)
            else:
                _refuse({"--threads": threads}, "export", "it is for --benchmark")
                if data is not None and not int8:
                    raise ConfigError("--data is for --int8 and --benchmark: a float32 file needs no data")
                facts, lines = _export(checkpoint, kind, form or "onnx", int8, out, data, say, show)
        if as_json:
            print_json(facts)
        else:
            for line in lines:
                say(line)


def _export(
    checkpoint: Path, kind: str, form: Format, int8: bool, out: Path | None, data: Path | None,
    say: Callable[[str], None], progress: Progress,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """Write the file; what is said of it to scripts and to people."""
    from maskbench.stages.export_files import Wish, export_file

    written = export_file(checkpoint, kind, Wish(form, int8, out, data), say, progress)
    files = [part for part in (written.path, written.path.with_suffix(".bin")) if part.is_file()]
    size, of = sum(part.stat().st_size for part in files) / 1e6, "its float32 graph's " if int8 else ""
    facts = {
        "checkpoint": str(checkpoint), "kind": kind, "format": form, "int8": int8, "files": [str(p) for p in files],
        "megabytes": size, "largest_difference": written.difference, "largest_difference_as_run": written.as_run,
        "measured": written.measured,
    }  # fmt: skip
    lines = [f"{written.path}: {size:.1f} MB; {of}largest difference from PyTorch {written.difference:.1e}"]
    if written.as_run is not None:
        lines.append(f"in the precision that OpenVINO chooses on this machine: {written.as_run:.1e}")
    return facts, lines + ([] if written.measured is None else [_loss(written.measured)])


def _refuse(given: dict[str, Any], command: str, why: str) -> None:
    """One line for an option that means nothing here."""
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} does not go with {command}: {why}")


def _loss(measured: dict[str, Any]) -> str:
    """What an int8 file loses, in one line."""
    names = {"f1_macro": "macro-F1", "ap": "AP", "ap50": "AP50"}
    parts = [
        f"{title} {measured[f'{name}_fp32']:.4f} in float32, {measured[f'{name}_int8']:.4f} in int8 "
        f"(loss {measured[f'{name}_loss']:+.4f})"
        for name, title in names.items()
        if f"{name}_fp32" in measured
    ]
    changed = f"; {measured['answers_changed']} answers changed" if "answers_changed" in measured else ""
    return f"{'; '.join(parts)}{changed}, on {measured['measured_on']}"


def _benchmark(
    checkpoint: Path, kind: str, data: Path | None, options: dict[str, int],
    say: Callable[[str], None], progress: Progress,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """Compare the formats; the table for scripts and for people."""
    from maskbench.stages.export_benchmark import benchmark, rows_of, shown
    from maskbench.training.checkpoint import CLASSIFIER

    if kind != CLASSIFIER:
        raise ConfigError(f"{checkpoint}: --benchmark compares classifiers; for detectors: benchmarks/detecting.py")
    table = benchmark(checkpoint, data, say, progress, **options)
    return {"checkpoint": str(checkpoint), "formats": rows_of(table)}, [shown(table)]
