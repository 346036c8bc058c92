"""The command that finds faces in whole photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from maskbench.cli_options import AsJson, Debug, complete_result, examples
from maskbench.cli_output import is_watched, messages_to_stderr, print_json
from maskbench.config import ConfigError

Progress = Callable[[str], Callable[[int, int], None] | None]


def register(app: typer.Typer, say: Callable[[str], None], progress: Callable[[bool], Progress]) -> None:
    """Add `maskbench detect` to the command line."""

    @app.command(epilog=examples(
        "maskbench detect results/mine photographs/ -o found --save-json",
        "maskbench detect results/mine street.jpg --json | jq '.annotations[].bbox'",
        "maskbench detect results/mine 0",
    ))  # fmt: skip
    def detect(
        model: Annotated[
            Path,
            typer.Argument(autocompletion=complete_result,
                           help="a detector (.safetensors, or exported), or results/NAME of a run"),
        ],
        paths: Annotated[list[str], typer.Argument(help="photographs, folders, videos, or a camera's number")],
        out: Annotated[Path, typer.Option("--out", "-o", help="folder of what is written")] = Path("detections"),
        min_score: Annotated[float, typer.Option("--min-score", min=0, max=1, help="faces below are left out")] = 0.3,
        save_json: Annotated[bool, typer.Option("--save-json", help="write detections.json (COCO format)")] = False,
        pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="write annotated pictures")] = True,
        recursive: Annotated[bool, typer.Option("--recursive", "-r", help="look into folders of folders")] = False,
        batch: Annotated[int, typer.Option("--batch", min=1, help="photographs or frames looked at together")] = 8,
        frames: Annotated[int, typer.Option("--frames", min=0, help="stop a camera or video after so many")] = 0,
        as_json: AsJson = False,
        debug: Debug = False,
    ) -> int:  # fmt: skip
        """Find faces in photographs, folders, videos or a camera's pictures, and say who wears a mask.

        Annotated pictures and detections.csv go to --out. What cannot be read is reported, and the rest goes on.
        """
        from maskbench.inference.predictor import Predictor
        from maskbench.stages import detect_files as files
        from maskbench.stages.detect_inputs import find_inputs

        wish = files.Wish(out, pictures, save_json, frames)
        with messages_to_stderr(as_json):
            cameras = [text for text in paths if text.isdigit() and not Path(text).exists()]
            if cameras and len(paths) > 1:
                raise ConfigError(f"{cameras[0]}: a camera is watched alone; name no other input beside it")
            inputs = find_inputs([Path(text) for text in paths], recursive) if not cameras else None
            predictor = Predictor(files.find_detector(model), min_score=min_score)
            if inputs is None:
                outcome = files.detect_camera(predictor, int(cameras[0]), wish)
            else:
                bars = progress(is_watched())
                outcome = files.detect_files(predictor, inputs, wish, say, batch=batch, progress=bars)
        if as_json:
            coco = files.as_coco(outcome, predictor.classes)
            print_json({"folder": str(out), **coco, "problems": outcome.problems})
        else:
            say(f"{len(outcome.annotations)} faces in {len(outcome.images)} pictures: {out / 'detections.csv'}")
        return 1 if outcome.problems else 0
