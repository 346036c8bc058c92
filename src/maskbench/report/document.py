"""What a report is made of: numbered sections of texts, tables and figures, of which HTML and Markdown are two prints.

All content is decided here and in what builds it; a printer decides how it looks and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from maskbench.report.grids import Grid
from maskbench.report.pictures import Picture
from maskbench.report.scatter import Scatter

#: Longer tables start folded.
FOLD_ROWS = 24


@dataclass(frozen=True)
class Text:
    """A paragraph; `words between backticks` are code.

    Attributes:
        words: plain text.
        kind: `plain`, `soft` for what is said beside the matter, `answer` for what a section opens with,
            `alert` for what must not be missed.
    """

    words: str
    kind: Literal["plain", "soft", "answer", "alert"] = "plain"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is.

    Attributes:
        text: may have several lines.
        language: for Markdown: `sh`, `yaml`, `text`.
        summary: above it; it is folded where there is one.
    """

    text: str
    language: str = "text"
    summary: str = ""


@dataclass(frozen=True)
class Table:
    """A numbered table.

    Attributes:
        caption: says what is shown.
        grid: cells.
        note: further words under the caption, may be empty.
        folded: shown only when asked for.
        number: set by `numbered`.
    """

    caption: str
    grid: Grid
    note: str = ""
    folded: bool = False
    number: int = 0


@dataclass(frozen=True)
class Illustration:
    """A numbered figure.

    Attributes:
        picture: with title and caption.
        basis: how many faces and seeds it rests on.
        number: set by `numbered`.
    """

    picture: Picture
    basis: str = ""
    number: int = 0


@dataclass(frozen=True)
class Interactive:
    """A numbered figure that answers the pointer.

    Attributes:
        scatter: panels of faces.
        basis: how many faces and seeds it rests on.
        number: set by `numbered`.
    """

    scatter: Scatter
    basis: str = ""
    number: int = 0


Item: TypeAlias = Text | Bullets | Facts | Code | Table | Illustration | Interactive


@dataclass(frozen=True)
class Section:
    """A section with what stands in it and the sections below it.

    Attributes:
        anchor: its id.
        title: its heading.
        items: in order.
        parts: sections below.
        number: such as `4.2`, set by `numbered`.
    """

    anchor: str
    title: str
    items: tuple[Item, ...] = ()
    parts: tuple[Section, ...] = ()
    number: str = ""


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: heading of the page.
        byline: what was run, in a line.
        notices: what must be known before any number.
        abstract: label and sentences; labels may be empty.
        sections: in order.
    """

    title: str
    byline: str
    notices: tuple[str, ...]
    abstract: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def not_run(stage: str) -> Text:
    """The line that stands for a section whose stage has not run."""
    return Text(f"Not run: the {stage} stage has left no files in this run.", "soft")


def illustrations(
    pictures: Iterable[Picture], sections: Sequence[str], basis: Mapping[str, str]
) -> tuple[Illustration, ...]:
    """The figures of some sections of figures, in the order of the sections.

    Args:
        pictures: all there are.
        sections: whose figures are wanted.
        basis: what the figures of each section rest on.
    """
    known = list(pictures)
    return tuple(
        Illustration(picture, basis.get(name, "")) for name in sections for picture in known if picture.section == name
    )


def numbered(document: Document) -> Document:
    """The document with its sections, tables and figures numbered through in reading order."""
    counts = {"table": 0, "figure": 0}

    def item(one: Item) -> Item:
        kind = "table" if isinstance(one, Table) else "figure"
        if not isinstance(one, Table | Illustration | Interactive):
            return one
        counts[kind] += 1
        return replace(one, number=counts[kind])

    def section(one: Section, number: str) -> Section:
        items = tuple(map(item, one.items))  # before the parts: numbers follow the page
        parts = tuple(section(part, f"{number}.{place}") for place, part in enumerate(one.parts, start=1))
        return replace(one, items=items, parts=parts, number=number)

    sections = tuple(section(one, str(place)) for place, one in enumerate(document.sections, start=1))
    return replace(document, sections=sections)


def all_items(sections: Iterable[Section]) -> Iterator[Item]:
    """Everything that stands in sections and below them, in reading order."""
    for section in sections:
        yield from section.items
        yield from all_items(section.parts)
