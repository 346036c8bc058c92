"""What opens and closes the report: title, abstract, discussion, limitations; all from saved answers and tables."""

from __future__ import annotations

from datetime import datetime

from maskbench.report.basis import runs_of_each_arm
from maskbench.report.content import ReportContext
from maskbench.report.content_results import MISSING, cell, interval, limitations, number, verdict_sentences
from maskbench.report.data_sections import data_sentence
from maskbench.report.document import Bullets, Item, Section, Text
from maskbench.report.questions import Question, said

#: Anchor of each question -> what it asks, in a few words.
ASKED = {
    "question-1": "Question 1, the arms",
    "question-2": "Question 2, what drives the errors",
    "question-3": "Question 3, explanations",
    "detection": "Detection",
}


def title(context: ReportContext) -> str:
    """Heading of the report."""
    arms = [arm.name for arm in context.settings.arms]
    return f"A study of face-mask detection: {' against '.join(arms) if len(arms) < 4 else f'{len(arms)} arms'}"


def byline(context: ReportContext) -> str:
    """What was run, in a line."""
    run = context.run
    version = (run.get("versions") or {}).get("maskbench", MISSING)
    parts = [
        f"Run {context.name}",
        f"preset {context.settings.preset}, {runs_of_each_arm(context.settings.seeds)}",
        _day(str(run.get("started") or "")),
        f"maskbench {version}, commit {(run.get('git_commit') or MISSING)[:12]}",
    ]
    return " · ".join(filter(None, parts))


def _day(started: str) -> str:
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return ""
    return f"{moment.day} {moment:%B %Y}"


def notices(context: ReportContext) -> tuple[str, ...]:
    """What a reader must know before any number."""
    runs = (*(context.training.runs if context.training else ()), *context.detectors)
    return tuple(dict.fromkeys(r.weights["notice"] for r in runs if r.weights.get("notice")))


def abstract(context: ReportContext) -> tuple[tuple[str, str], ...]:
    """What was asked, the data, the answers with their numbers, the main limitation.

    Args:
        context: of the report.

    Returns:
        Labels with sentences.
    """
    found = [("Asked", _asked(context)), ("Data", data_sentence(context)), ("Measured", _measured(context))]
    for anchor, label in ASKED.items():
        if question := context.question(anchor):
            found.append((label, said(" ".join(question.answer))))
        elif anchor == "question-1" and context.evaluation is not None:
            found.append((label, " ".join(verdict_sentences(context.evaluation.differences))))
    if limits := study_limitations(context):
        found.append(("Main limitation", limits[0]))
    return tuple((label, words) for label, words in found if words)


def _asked(context: ReportContext) -> str:
    arms = [f"{arm.name} ({arm.implementation}, {arm.initialisation} start)" for arm in context.settings.arms]
    classes = f"faces as {', '.join(context.classes)}" if context.classes else "faces"
    task = f"naming {classes}"
    if context.question("detection"):
        task += ", and in finding them in whole photographs" if context.training else " found in whole photographs"
    return (
        f"How do {' and '.join(arms)} compare under one protocol in {task}? Which properties of the data drive their "
        "errors? Are explanations needed to understand these?"
    )


def _measured(context: ReportContext) -> str:
    """Macro-F1 of every arm."""
    if context.evaluation is None:
        return ""
    part = context.evaluation.over_runs()
    told = []
    for arm in dict.fromkeys(part.intervals["arm"]):
        found = cell(part.intervals, "f1_macro", "", split="test", arm=arm)
        if found:
            span = interval(found["low"], found["high"])
            told.append(f"{number(found['value'])} ({span or 'no interval'}) for {arm}")
    if not told:
        return ""
    first = part.intervals.iloc[0]
    runs = f", means over {context.evaluation.headline.runs} runs" if context.evaluation.headline else ""
    return (
        f"On {first['faces']:,} test faces in {first['images']:,} photographs the macro-F1 is {' and '.join(told)} "
        f"(in brackets {first['confidence']:.0%} intervals{runs})."
    )


def discussion_section(context: ReportContext) -> Section:
    """The answers again, each with what would change it: sentences that the stages saved, and no others."""
    parts = tuple(
        Section(f"discussion-{question.anchor}", ASKED[question.anchor], _discussed(question))
        for question in context.questions
    )
    items: tuple[Item, ...] = ()
    if not parts:
        items = (Text("No question has been answered in this run.", "soft"),)
    return Section("discussion", "Discussion", items, parts)


def _discussed(question: Question) -> tuple[Item, ...]:
    answer = tuple(map(said, question.answer))
    items: list[Item] = [Text(answer[0]) if len(answer) == 1 else Bullets(answer)]
    evidence = [said(words) for words in question.more] if question.anchor != "detection" else []
    for anchor in ("convergence", "detection-factors"):
        if part := question.part(anchor):
            evidence += [said(words) for words in part.texts]
    if evidence:
        items.append(Bullets(tuple(evidence)))
    if change := question.would_change:
        items.append(Text(f"What would change this: {change[0].lower()}{change[1:]}"))
    return tuple(items)


def study_limitations(context: ReportContext) -> list[str]:
    """What stands against reading too much into the numbers."""
    weights = {r.arm: r.weights for r in context.training.runs} if context.training else {}
    part = context.evaluation
    if part is None:
        return []
    return limitations(context.classes, context.config, part.metrics, part.intervals, weights)


def limitations_section(context: ReportContext) -> Section:
    """The limitations that follow from the run's own files."""
    found = study_limitations(context)
    none = Text("None follow from the saved files.", "soft")
    return Section("limitations", "Limitations", (Bullets(tuple(found)) if found else none,))
