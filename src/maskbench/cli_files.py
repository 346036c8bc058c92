"""The commands that work on files at hand: draw the sample, explain photographs, compare saved runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskbench.cli_options import (
    AsJson,
    Base,
    Debug,
    RunName,
    SampleSettings,
    Settings,
    complete_method,
    complete_result,
    examples,
)
from maskbench.cli_output import is_watched, messages_to_stderr, print_json, progress, records, say, stage_json
from maskbench.cli_study import bring, open_study


def register(app: typer.Typer) -> None:
    """Add `sample`, `explain` and `compare`."""
    _register_sample(app)
    _register_explain(app)
    _register_compare(app)


def _register_sample(app: typer.Typer) -> None:

    @app.command(epilog=examples("maskbench sample my-sample -s images=40 -s seed=7"))
    def sample(
        directory: Annotated[Path, typer.Argument(help="folder to create")],
        setting: SampleSettings = None,
        debug: Debug = False,
    ) -> None:
        """Draw the built-in sample: photographs of synthetic people with annotations and true attributes."""
        from maskbench.data.sample import generate_sample
        from maskbench.data.sources import sample_params
        from maskbench.options import parse_settings

        params = sample_params(parse_settings(setting))
        generate_sample(directory, params, progress=progress(is_watched())("sample"))
        say(f"sample written to {directory}")


def _register_explain(app: typer.Typer) -> None:

    @app.command(epilog=examples(
        "maskbench explain results/mine face.png -m grad_cam -m integrated_gradients",
        "maskbench explain best.safetensors street.jpg --box 40,30,90,95 -o overlays",
        "maskbench explain -n mine",
    ))  # fmt: skip
    def explain(
        checkpoint: Annotated[
            Path | None,
            typer.Argument(autocompletion=complete_result,
                           help="a checkpoint (.safetensors), or results/NAME for both arms of a run"),
        ] = None,
        images: Annotated[list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="photographs of faces")] = None,
        also: Annotated[list[Path] | None, typer.Option("--with", help="another checkpoint, side by side")] = None,
        method: Annotated[
            list[str] | None,
            typer.Option("--method", "-m", autocompletion=complete_method, help="grad_cam, layer_cam, … (repeatable)"),
        ] = None,
        layer: Annotated[
            str, typer.Option("--layer", "-l", help="whose activations are weighed: any module's name")
        ] = "layer3",
        class_name: Annotated[
            str, typer.Option("--class", help="explained: predicted, true, or a name")
        ] = "predicted",
        box: Annotated[list[str] | None, typer.Option("--box", "-b", help="a face: xmin,ymin,xmax,ymax in px")] = None,
        annotations: Annotated[
            Path | None, typer.Option("--annotations", "-a", help="folder of VOC files with boxes")
        ] = None,
        out: Annotated[
            Path | None, typer.Option("--out", "-o", help="where files go; of a run: what holds results/")
        ] = None,
        name: RunName = None,
        setting: Settings = None,
        as_json: AsJson = False,
        debug: Debug = False,
    ) -> int:  # fmt: skip
        """Look inside: at any photographs with any checkpoint, or, without them, at a run's test faces (--name).

        Photographs: overlays and explanations.csv go to --out (default: explanations/). Without --box or --annotations
        a whole photograph is taken for one face, so hand in what is cut around it.
        """
        from maskbench import api
        from maskbench.options import parse_box

        if checkpoint is None:
            with messages_to_stderr(as_json):
                study = open_study(name=name, settings=setting, out=out or Path(), existing=True)
            bring(study, "explain", as_json, needs=False)
            return 0
        folder = out or Path("explanations")
        with messages_to_stderr(as_json):
            table = api.explain(
                [checkpoint, *(also or [])], images or [], method=method or "grad_cam", layer=layer,
                class_name=class_name, boxes=[parse_box(text) for text in box or []], annotations=annotations,
                out=folder, notify=say, progress=progress(is_watched()),
            )  # fmt: skip
        problems = table.attrs["problems"]
        if as_json:
            print_json({"folder": str(folder), "explanations": records(table), "problems": problems})
        elif len(table):
            say(f"explanations: {folder / 'explanations.csv'}")
        return 1 if problems else 0


def _register_compare(app: typer.Typer) -> None:

    @app.command(epilog=examples(
        "maskbench compare results/mine results/theirs", "maskbench compare results/mine theirs.csv -n both --json",
    ))  # fmt: skip
    def compare(
        results: Annotated[
            list[str],
            typer.Argument(autocompletion=complete_result,
                           help="runs (results/NAME), or files of predictions (.parquet, .csv)"),
        ],
        name: Annotated[str, typer.Option("--name", "-n", help="the comparison's name: results/NAME")] = "comparison",
        setting: Settings = None,
        out: Base = Path(),
        as_json: AsJson = False,
        debug: Debug = False,
    ) -> None:  # fmt: skip
        """Compare arms from saved predictions: of one run, of several, or somebody else's; no model is run.

        A file of predictions needs the columns arm, seed, split, face_id, image_id, label and one prob_CLASS per class.
        Runs add what they saved on trainings, properties of faces, interventions and variants. Arms of several sources
        are named SOURCE/ARM. The first arm is the baseline.
        """
        from maskbench import api
        from maskbench.options import parse_settings

        with messages_to_stderr(as_json):
            found = api.compare(results, name=name, out=out, settings=parse_settings(setting), notify=say)
        if as_json:
            print_json({"name": name, "report": str(found.report), **stage_json(found)})
        else:
            say(f"comparison: {found.report}")
