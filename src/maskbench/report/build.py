"""A study as a document, and the document as a self-contained page or as Markdown.

Everything that is shown comes from a `ReportContext`, which comes from a run's files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from maskbench.report.abstract import abstract, byline, discussion_section, limitations_section, notices, title
from maskbench.report.basis import figure_basis
from maskbench.report.content import ReportContext
from maskbench.report.data_sections import data_section
from maskbench.report.datasheet import datasheet
from maskbench.report.document import Document, Illustration, Item, Section, Text, all_items, not_run, numbered
from maskbench.report.markdown import render_markdown
from maskbench.report.model_card import model_card
from maskbench.report.model_sections import models_section, protocol_section
from maskbench.report.page import render_page
from maskbench.report.pictures import Picture
from maskbench.report.questions import Question, question_section
from maskbench.report.reproducing import reproduce_section
from maskbench.report.result_sections import results_section
from maskbench.steps import Progress, in_steps
from maskbench.storage import write_text


def build_document(context: ReportContext) -> Document:
    """The study as a short paper.

    Args:
        context: from `collect_report`.

    Returns:
        A numbered document; what has not run says so, and detection is there only where it has run.
    """
    basis = figure_basis(context)
    detection = context.question("detection")
    sections = [data_section(context, basis)]
    if context.training or context.evaluation or not detection:
        sections += [models_section(context, basis), protocol_section(context), results_section(context, basis)]
        sections += [
            _answered(context, "question-2", "What drives the errors", "factors", basis),
            _answered(context, "question-3", "Looking inside", "explain", basis),
        ]
    if detection:
        sections.append(question_section(detection, context.pictures, basis))
    shown = {item.picture.name for item in all_items(sections) if isinstance(item, Illustration)}
    further: tuple[Item, ...] = tuple(Illustration(p) for p in context.pictures if p.name not in shown)
    if further:
        sections.append(Section("further", "Further figures", further))
    sections += [discussion_section(context), limitations_section(context), reproduce_section(context)]
    return numbered(
        Document(title(context), byline(context), notices(context), abstract(context), tuple(sections))
    )  # fmt: skip


def _answered(context: ReportContext, anchor: str, heading: str, stage: str, basis: dict[str, str]) -> Section:
    """The section of a question, under a heading of the report's own."""
    question = context.question(anchor)
    if question is None:
        return Section(anchor, heading, (not_run(stage),))
    section = question_section(question, context.pictures, basis)
    number, _, asked = question.title.partition(": ")
    items = (Text(f"{asked[:1].upper()}{asked[1:]}", "soft"), *section.items)
    return Section(anchor, f"{heading} ({number[0].lower()}{number[1:]})", items, section.parts)


def build_report(context: ReportContext) -> str:
    """The report as HTML, self-contained.

    Args:
        context: from `collect_report`.

    Returns:
        A complete HTML document: styles, figures and the script that sorts tables are inline; no other file and no
        address is referred to.
    """
    return render_page(build_document(context))


def write_reports(context: ReportContext, results: Path, plots: Path, progress: Progress | None = None) -> list[Path]:
    """Write the report as HTML and Markdown, the model card and the datasheet; each file whole or not at all.

    Args:
        context: from `collect_report`.
        results: `results/NAME`, where the files go.
        plots: `plots/NAME`, which the Markdown refers to.
        progress: called with files rendered and in all.

    Returns:
        The files, the HTML first.
    """
    document = build_document(context)
    texts = in_steps(progress, {
        "report.html": lambda: render_page(document),
        "report.md": lambda: render_markdown(document, Path(os.path.relpath(plots, results)).as_posix()),
        "model_card.md": lambda: render_markdown(model_card(context)),
        "datasheet.md": lambda: render_markdown(datasheet(context)),
    })  # fmt: skip
    for name, text in texts.items():
        write_text(results / name, text)
    return [results / name for name in texts]


def build_comparison(
    name: str, sources: Sequence[str], questions: Sequence[Question], pictures: Sequence[Picture]
) -> str:
    """A comparison outside a study as HTML, self-contained.

    Args:
        name: of the comparison.
        sources: what was compared.
        questions: the sections that show it.
        pictures: their figures.
    """
    answers = tuple((question.title, " ".join(question.answer)) for question in questions)
    document = Document(
        title=f"A comparison of arms: {name}",
        byline=f"From saved predictions, no model was run: {', '.join(sources)}.",
        notices=(),
        abstract=answers,
        sections=tuple(question_section(question, pictures, {}) for question in questions),
    )
    return render_page(numbered(document))
