"""A document as GitHub-flavoured Markdown: the words, tables and figures of the page, figures as files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from maskbench.report.document import (
    Bullets,
    Code,
    Document,
    Facts,
    Illustration,
    Interactive,
    Item,
    Section,
    Table,
    Text,
)
from maskbench.report.grids import Grid, Result

#: Tables are cut here: Markdown cannot fold them.
MOST_ROWS = 40
_SPECIAL = re.compile(r"([\\*\[\]|~])|(?<![^\W_])(_)|(_)(?![^\W_])")
_START = re.compile(r"^(?=#|[-+] |>)|(?<=^\d)(?=[.)] )")


def render_markdown(document: Document, figures: str = "") -> str:
    """The document as Markdown.

    Args:
        document: numbered, or one whose sections carry no numbers.
        figures: folder of the figures' files as seen from the Markdown file, such as `../../plots/NAME`.

    Returns:
        Text that ends with a newline.
    """
    blocks = [f"# {escaped(document.title)}", escaped(document.byline)]
    blocks += [f"> **Notice:** {escaped(notice)}" for notice in document.notices]
    if document.abstract:
        blocks.append("## Abstract")
        blocks += [f"**{escaped(label)}.** {escaped(words)}" for label, words in document.abstract]
    for section in document.sections:
        blocks += _section(section, 2, figures)
    return "\n\n".join(filter(None, blocks)) + "\n"


def escaped(words: str) -> str:
    r"""Text that Markdown shows as it is; `parts between backticks` stay code.

    Example:
        >>> escaped("with_mask *a* <b> `c_*`")
        'with_mask \\*a\\* &lt;b> `c_*`'
    """
    pieces = re.split(r"(`[^`\n]+`)", words)
    shown = "".join(
        piece if place % 2 else _SPECIAL.sub(r"\\\g<0>", piece.replace("&", "&amp;").replace("<", "&lt;"))
        for place, piece in enumerate(pieces)
    )
    return _START.sub(r"\\", " ".join(shown.split()))


def _section(section: Section, level: int, figures: str) -> Iterator[str]:
    yield f"{'#' * level} {section.number} {escaped(section.title)}".replace("  ", " ")
    for item in section.items:
        yield from _item(item, figures)
    for part in section.parts:
        yield from _section(part, level + 1, figures)


def _item(item: Item, figures: str) -> Iterator[str]:
    match item:
        case Text(words, kind):
            yield {"answer": "**{}**", "alert": "> **{}**"}.get(kind, "{}").format(escaped(words))
        case Bullets(lines):
            yield "\n".join(f"- {escaped(line)}" for line in lines)
        case Facts(rows):
            yield "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in rows)
        case Code(text, language, summary):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            yield f"{escaped(summary)}:" if summary else ""
            yield f"{fence}{language}\n{text.rstrip()}\n{fence}"
        case Table():
            yield from _table(item)
        case Illustration(picture, basis, number):
            address = f"{figures}/{quote(picture.name)}.png".lstrip("/")
            yield f"![{escaped(picture.title)}]({address})"
            yield f"**Figure {number}: {escaped(picture.title)}.** {escaped(f'{picture.caption} {basis}')}"
        case Interactive(scatter, basis, number):
            yield f"**Figure {number}, interactive: in report.html.** {escaped(f'{scatter.caption} {basis}')}"


def _table(table: Table) -> Iterator[str]:
    number = f"Table {table.number}: " if table.number else ""
    yield f"**{number}{escaped(table.caption)}.** {escaped(table.note)}".rstrip()
    yield markdown_grid(table.grid)
    if table.grid.total > min(MOST_ROWS, len(table.grid.rows)):
        shown = min(MOST_ROWS, len(table.grid.rows))
        yield f"The first {shown} of {table.grid.total} rows; the complete table is in the run's folder."


def markdown_grid(grid: Grid) -> str:
    """A table in pipes, numbers flush right."""
    if not grid.columns:
        return ""
    rule = ["---:" if numeric else "---" for numeric in grid.numeric]
    rows = [[_cell(value) for value in row] for row in grid.rows[:MOST_ROWS]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([escaped(name) for name in grid.columns], rule, *rows))


def _cell(value: str | Result) -> str:
    if isinstance(value, str):
        return escaped(value)
    shown = f"{value.value} ({value.span})" if value.span else value.value
    return f"**{shown}**" if value.shown else shown
