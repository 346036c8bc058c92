"""The research questions in the report: each opens with its answer and gives the evidence under it."""

from __future__ import annotations

from dataclasses import dataclass

from maskbench.report.grids import Grid
from maskbench.report.scatter import Scatter


@dataclass(frozen=True)
class Block:
    """A table of a question's section.

    Attributes:
        heading: above it.
        text: under the heading, may be empty.
        table: as printed.
        folded: shown only when asked for.
    """

    heading: str
    text: str
    table: Grid
    folded: bool = False


@dataclass(frozen=True)
class Question:
    """A question's section.

    Attributes:
        anchor: its id in the document.
        title: its heading.
        nav: its name in the list of sections.
        answer: sentences that answer it.
        more: further sentences.
        blocks: the evidence.
        figures: sections of figures shown under it.
        scatter: an interactive figure above them, if there is one.
    """

    anchor: str
    title: str
    nav: str
    answer: tuple[str, ...]
    more: tuple[str, ...]
    blocks: tuple[Block, ...]
    figures: tuple[str, ...]
    scatter: Scatter | None = None
