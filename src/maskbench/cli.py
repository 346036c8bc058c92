"""Command line: what commands there are, messages, exit codes.

0 ok, 1 a check failed, 2 wrong usage, 70 a defect of maskbench or of a library, 130 interrupted (128 + SIGINT), 141
nobody reads the output any more (128 + SIGPIPE).
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from maskbench import cli_app, cli_bench, cli_detect, cli_doctor, cli_export, cli_files, cli_pretrain, cli_study
from maskbench.cli_options import examples
from maskbench.cli_output import progress, say, stop_bars

FAILED, WRONG_USAGE, DEFECT, INTERRUPTED, NOT_READ = 1, 2, 70, 130, 141

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"maskbench {version('maskbench')}")
        raise typer.Exit


@app.callback(epilog=examples("maskbench run --preset smoke", "maskbench run --data photographs/ --task all"))
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="show it and exit")] = (
        False
    ),
) -> None:
    """An honest, end-to-end study of face-mask detection: photographs in, two ResNet34s compared, results out."""


cli_study.register(app)
cli_files.register(app)
cli_detect.register(app, say, progress)
cli_export.register(app, say, progress)
cli_pretrain.register(app, say, progress)
cli_app.register(app, say)
cli_doctor.register(app)
cli_bench.register(app, say)


def main() -> None:
    """Entry point of the `maskbench` command."""
    debug = "--debug" in sys.argv
    try:
        code = app(prog_name="maskbench", standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # the one place where errors become messages
        stop_bars()
        code = _explain(error, debug)
    stop_bars()
    code = code if isinstance(code, int) else 0
    if code == INTERRUPTED:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
    sys.exit(code)


def _explain(error: Exception, debug: bool) -> int:
    """Print an error in one line and return the exit code; with `debug` the traceback as well."""
    # Typer brings its own copy of click: its errors are known by name and by what they offer, not by their class.
    kind = type(error).__name__
    if kind == "Abort":
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout when it ends
        return NOT_READ
    usage, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if usage is not None and isinstance(code, int):
        if kind == "NoArgsIsHelpError":
            print(usage())
        else:
            print(f"error: {_line(usage())} (see {_help_of(error)})", file=sys.stderr)
        return code
    if debug:
        traceback.print_exception(error)
    code, line = _worded(error, kind)
    print(line if code != DEFECT or debug else f"{line}; run again with --debug for the traceback", file=sys.stderr)
    return code


def _worded(error: Exception, kind: str) -> tuple[int, str]:
    """Exit code and line of an error that is not about how the command was typed."""
    message = _line(str(error))
    if kind == "AuditFailedError":
        return FAILED, f"audit: {message}; see {error.table}"  # type: ignore[attr-defined]
    if isinstance(error, OSError) or (isinstance(error, ValueError | ImportError) and _is_ours(error)):
        return WRONG_USAGE, f"error: {message or kind}"
    return DEFECT, f"unexpected error: {kind}: {message}" if message else f"unexpected error: {kind}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _help_of(error: Exception) -> str:
    """Where the help is that says how to do it right."""
    context = getattr(error, "ctx", None)
    return f"{getattr(context, 'command_path', 'maskbench')} --help"


def _is_ours(error: Exception) -> bool:
    """Whether maskbench itself raised the error, with a message for its user, and not a library inside it."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and str(frames[-1][0].f_globals.get("__name__", "")).startswith("maskbench.")
