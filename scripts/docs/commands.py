"""Build step of the site: the page of commands, from the command line itself, so that it never lags behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

PLACE = "<!-- generated: commands -->"
#: Begins what is to be typed, up to the end of the help.
_EXAMPLES = re.compile(r"^\s*Examples?:", re.MULTILINE)
#: What is written for a value.
_KINDS = {str: "TEXT", Path: "PATH", int: "N", float: "X"}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the commands where the page asks for them."""
    return markdown.replace(PLACE, "\n".join(_pages())) if PLACE in markdown else markdown


def _pages() -> list[str]:
    import typer

    from maskbench.cli import app

    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines: list[str] = []
    for name, command in commands.items():
        lines += [f"## maskbench {name}", "", *_help(command)]
        lines += _table("Argument", [one for one in command.params if one.param_type_name == "argument"])
        lines += _table("Option", [one for one in command.params if one.param_type_name == "option"])
    return lines


def _help(command: Any) -> Iterator[str]:
    """Paragraphs of the help as they are, its examples as code."""
    text = f"{command.help or ''}\n\n{command.epilog or ''}".replace("\b\n", "")
    words, *examples = _EXAMPLES.split(text, maxsplit=1)
    for paragraph in re.split(r"\n\s*\n", words.strip()):
        yield from (" ".join(paragraph.split()), "")
    shown = [line.strip() for line in "".join(examples).splitlines() if line.strip()]
    if not shown:
        raise LookupError(f"maskbench {command.name}: its help has no example")
    yield from ("```sh", *shown, "```", "")


def _table(title: str, parameters: list[Any]) -> list[str]:
    rows = [f"| {_names(one)} | {_cell(one.help or '')}{_default(one)} |" for one in parameters]
    return [f"| {title} | |", "| --- | --- |", *rows, ""] if rows else []


def _names(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{one.metavar or one.name.upper()}`" + ("" if one.required else " (may be left out)")
    value = "" if one.is_flag else f" {_value(one)}"
    names = [*one.opts, *one.secondary_opts]
    names[-1] += value.replace("|", "\\|")  # a bar would end the table's cell even inside code
    repeatable = one.multiple and "repeatable" not in (one.help or "")
    return ", ".join(f"`{name}`" for name in names) + (", repeatable" if repeatable else "")


def _value(one: Any) -> str:
    """What stands behind an option: its choices, or the kind of value."""
    kind = one.type_descriptor.annotation
    kind = (get_args(kind) or (kind,))[0] if get_origin(kind) is list else kind
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return str(one.metavar or _KINDS.get(kind, "VALUE"))


def _default(one: Any) -> str:
    value = one.default
    if one.required or getattr(one, "is_flag", False) or callable(value) or value in (None, "", [], ()):
        return ""
    return f"; default `{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
