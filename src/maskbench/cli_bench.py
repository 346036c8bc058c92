"""`maskbench bench`: the benchmarks, with the machine and the versions that their figures hold for."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from maskbench.cli_options import AsJson, Debug, examples
from maskbench.cli_output import print_json

#: Benchmarks of something that the user has to name, or that take hours.
NEED_ARGUMENTS = {"exporting": "CHECKPOINT", "frontier": "--data DIR --out FOLDER"}


def register(app: typer.Typer, say: Callable[[str], None]) -> None:
    """Add `maskbench bench`."""

    @app.command(epilog=examples(
        "maskbench bench --list", "maskbench bench bootstrap optimiser", "maskbench bench training -- --data DIR"
    ))  # fmt: skip
    def bench(
        names: Annotated[
            list[str] | None,
            typer.Argument(metavar="[NAME]...", help="which; none: all that need no argument. After --: for one NAME"),
        ] = None,
        listing: Annotated[bool, typer.Option("--list", help="say which there are and what they measure")] = False,
        as_json: AsJson = False,
        debug: Debug = False,
    ) -> int:
        """Run benchmarks on this machine: ratios inside one process each. For figures of record it must be idle."""
        from maskbench.rundir import versions

        folder = folder_of_benchmarks()
        known = {path.stem: path for path in sorted(folder.glob("*.py")) if title_of(path)}
        if listing:
            for name, path in known.items():
                say(f"{name:<16} {title_of(path)}")
            return 0
        chosen, arguments = _chosen(names or [], known)
        facts = {"machine": _machine(), "versions": versions()}
        if not as_json:
            for title, values in facts.items():
                say(f"{title}: {', '.join(f'{key} {value}' for key, value in values.items())}")
        results = [_run(name, known[name], arguments, None if as_json else say) for name in chosen]
        if as_json:
            print_json({**facts, "benchmarks": results})
        return 1 if any(result["exit_code"] for result in results) else 0


def folder_of_benchmarks() -> Path:
    """Where the scripts lie: in the installed package, or beside the source tree.

    Raises:
        FileNotFoundError: in neither.
    """
    package = Path(__file__).parent
    for folder in (package / "benchmarks", package.parents[1] / "benchmarks"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError("benchmarks: not part of this installation; run the command in a clone of the project")


def title_of(path: Path) -> str:
    """First line of a script's docstring; empty for a module that is no script."""
    source = path.read_text(encoding="utf-8")
    if '__name__ == "__main__"' not in source:
        return ""
    return (ast.get_docstring(ast.parse(source)) or path.stem).splitlines()[0]


def _chosen(names: list[str], known: dict[str, Path]) -> tuple[list[str], list[str]]:
    """Benchmarks to run, and what follows the name of a single one."""
    if not names:
        return [name for name in known if name not in NEED_ARGUMENTS], []
    if names[0] not in known:
        raise typer.BadParameter(f"{names[0]} is none of {', '.join(known)}")
    arguments = [] if all(name in known for name in names) else names[1:]
    chosen = names[:1] if arguments else names
    for name in chosen:
        if name in NEED_ARGUMENTS and not arguments:
            raise typer.BadParameter(f"{name} needs an argument: maskbench bench {name} -- {NEED_ARGUMENTS[name]}")
    return chosen, arguments


def _run(name: str, path: Path, arguments: list[str], say: Callable[[str], None] | None) -> dict[str, Any]:
    """Run a script in a process of its own and pass its lines on; what it said is in the result too."""
    if say:
        say(f"\n{name}: {title_of(path)}")
    started, lines = time.perf_counter(), []
    command = [sys.executable, str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip("\n"))
            if say:
                say(lines[-1])
    seconds = round(time.perf_counter() - started, 1)
    if say:
        say(f"{name}: {'done' if process.returncode == 0 else f'failed ({process.returncode})'} in {seconds} s")
    return {"name": name, "arguments": arguments, "exit_code": process.returncode, "seconds": seconds, "output": lines}


def _machine() -> dict[str, str]:
    from maskbench.cli_doctor import devices

    return {finding.name: finding.detail for finding in devices() if finding.state == "ok"}
