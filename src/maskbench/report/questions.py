"""The research questions in the report: each opens with its answer and gives the evidence under it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from maskbench.report.document import FOLD_ROWS, Bullets, Interactive, Item, Section, Table, Text, illustrations
from maskbench.report.grids import Grid
from maskbench.report.pictures import Picture
from maskbench.report.scatter import Scatter

_UNDEFINED = re.compile(r"[+−-]?nan(, | to )[+−-]?nan")


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
class Part:
    """Evidence of one kind.

    Attributes:
        anchor: its id in the document.
        title: its heading.
        texts: sentences that open it.
        blocks: tables.
        figures: sections of figures shown under them.
        scatter: an interactive figure above these, if there is one.
    """

    anchor: str
    title: str
    texts: tuple[str, ...]
    blocks: tuple[Block, ...]
    figures: tuple[str, ...]
    scatter: Scatter | None = None


@dataclass(frozen=True)
class Question:
    """A question with its answer and evidence.

    Attributes:
        anchor: its id in the document.
        title: its heading.
        answer: sentences that answer it.
        more: further sentences.
        would_change: what would change the answer; empty where that is not known.
        parts: the evidence.
        basis: how many faces and seeds its figures rest on, where that is other than for the study.
    """

    anchor: str
    title: str
    answer: tuple[str, ...]
    more: tuple[str, ...]
    would_change: str
    parts: tuple[Part, ...]
    basis: str = ""

    def part(self, anchor: str) -> Part | None:
        """The evidence of that name, if there is any."""
        return next((part for part in self.parts if part.anchor == anchor), None)


def said(sentence: str) -> str:
    """A saved sentence as it is printed: intervals that are undefined are dashes.

    Example:
        >>> said("AUC 0.61 (nan to nan, which shows no skill), [nan, nan]")
        'AUC 0.61 (– to –, which shows no skill), [–, –]'
    """
    return _UNDEFINED.sub(r"–\1–", sentence)


def part_items(part: Part, pictures: Iterable[Picture], basis: Mapping[str, str]) -> tuple[Item, ...]:
    """What stands in a part's section.

    Args:
        part: evidence.
        pictures: all figures there are.
        basis: what each section's figures rest on.
    """
    tables = tuple(
        Table(block.heading, block.table, block.text, block.folded or len(block.table.rows) > FOLD_ROWS)
        for block in part.blocks
    )
    scatter = (Interactive(part.scatter, basis.get(part.figures[0], "")),) if part.scatter else ()
    texts = tuple(Text(said(words)) for words in part.texts)
    return (*texts, *tables, *scatter, *illustrations(pictures, part.figures, basis))


def question_section(question: Question, pictures: Iterable[Picture], basis: Mapping[str, str]) -> Section:
    """A question as a section of its own, a section below for each kind of evidence.

    Args:
        question: with its answer.
        pictures: all figures there are.
        basis: what each section's figures rest on.
    """
    known = list(pictures)
    return Section(
        question.anchor,
        question.title,
        opening(question),
        tuple(Section(part.anchor, part.title, part_items(part, known, basis)) for part in question.parts),
    )


def opening(question: Question) -> tuple[Item, ...]:
    """The answer, and what is said beside it."""
    answer = tuple(map(said, question.answer))
    first: Item = Text(answer[0], "answer") if len(answer) == 1 else Bullets(answer)
    return (first, *(Text(said(words)) for words in question.more))


def stated(table: pd.DataFrame) -> str:
    """What a table's tests test and assume, in the words of its first row; empty where the table does not say.

    Args:
        table: with `null_hypothesis` and `assumptions`; older results lack them.
    """
    if table.empty or "null_hypothesis" not in table:
        return ""
    first = table.iloc[0]
    return (
        f"Null hypothesis, here for the first row and likewise for the others: {first['null_hypothesis']} "
        f"Assumptions: {first['assumptions']}"
    )
