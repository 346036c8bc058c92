"""The command that shows trained models in a browser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from maskbench.cli_options import Debug, complete_result, examples
from maskbench.config import ConfigError


def register(app: typer.Typer, say: Callable[[str], None]) -> None:
    """Add `maskbench app` to the command line."""

    @app.command("app", epilog=examples("maskbench app results/mine", "maskbench app results/mine --port 8000"))
    def show(
        model: Annotated[
            Path,
            typer.Argument(autocompletion=complete_result,
                           help="results/NAME of a run, a checkpoint, or an exported detector"),
        ],
        also: Annotated[list[Path] | None, typer.Option("--with", help="a further model, side by side")] = None,
        host: Annotated[str, typer.Option("--host", help="address to listen at; others may reach it")] = "127.0.0.1",
        port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free")] = 7860,
        min_score: Annotated[float, typer.Option("--min-score", min=0, max=1, help="faces below are left out")] = 0.3,
        max_mb: Annotated[int, typer.Option("--max-mb", min=1, max=500, help="largest file of a photograph")] = 20,
        debug: Debug = False,
    ) -> None:  # fmt: skip
        """Show trained models in a browser: faces, classes, probabilities, and what an answer rests on.

        The page and a JSON API (described at /openapi.json) listen on this machine alone, unless --host says otherwise.
        Photographs are not stored, and nothing is sent elsewhere.
        """
        for package in ("gradio", "fastapi", "uvicorn", "multipart"):
            if find_spec(package) is None:
                raise ConfigError(f"{package} is not installed: pip install 'maskbench[app]'")
        from maskbench.app import serve
        from maskbench.app.examples import example_photographs
        from maskbench.app.models import find_arms, load_arms
        from maskbench.app.service import Service
        from maskbench.app.uploads import upload_folder
        from maskbench.rundir import cache_folder

        files = find_arms([model, *(also or [])])
        with closing(serve.open_socket(host, port)) as bound, upload_folder():
            if not serve.is_local(host):
                say(f"warning: {host} can be reached from other machines; whoever does can use the models")
            service = Service(load_arms(files), max_bytes=max_mb * 1024**2)
            examples = example_photographs(cache_folder(), say)
            serve.serve(serve.make_app(service, examples, min_score=min_score), bound, say)
