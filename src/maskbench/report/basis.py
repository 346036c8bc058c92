"""On how many faces and runs each section's figures rest, in a sentence; and how often arms were trained."""

from __future__ import annotations

import pandas as pd

from maskbench.config import SeedsConfig
from maskbench.report.content import ReportContext
from maskbench.report.content_results import counted

#: Sections of figures that rest on the test faces.
_TESTED = ("evaluation", "comparison", "calibration", "factors", "interventions", "question 3", "explanations",
           "representations", "failures")  # fmt: skip
#: Sections of figures that show how arms learned.
_LEARNED = ("training", "convergence")
#: Sections of figures on variants of the study.
_VARIED = ("label experiments", "data experiments")


def figure_basis(context: ReportContext) -> dict[str, str]:
    """What stands under the figures of each section, where it is known.

    Args:
        context: of the report.

    Returns:
        A sentence by section of figures.
    """
    found = {}
    if context.audit is not None:
        summary = context.audit.summary
        found["eda"] = (
            f"Rests on {summary['faces']:,} faces in {summary['photographs']:,} photographs; no model is involved."
        )
    runs = runs_of_each_arm(context.settings.seeds)
    if learned := _learned(context):
        found |= dict.fromkeys(_LEARNED, f"Rests on {learned} and {runs}.")
    if context.evaluation is not None:
        part = context.evaluation.intervals
        part = part[part["class_name"] == ""]  # figures of a class count its faces only
        tested = f"{counted(part['faces'])} test faces in {counted(part['images'])} photographs"
        each = " in each run" if context.settings.seeds.splits() > 1 else ""
        found |= dict.fromkeys(_TESTED, f"Rests on {tested}{each}, and on {runs}.")
        found |= dict.fromkeys(_VARIED, f"Rests on {tested}{each}, and on {runs} for every variant.")
    if detection := context.question("detection"):
        found |= dict.fromkeys(("detection", "detection factors"), detection.basis)
        photographs = counted(pd.Series([run.fit["train_photographs"] for run in context.detectors]))
        found["detector training"] = (
            f"Rests on {photographs} training photographs and {runs}; AP is measured on the validation photographs."
        )
    return found


def _learned(context: ReportContext) -> str:
    """Faces that arms learn from and are chosen on; those of the first split where there are several."""
    if context.training is None or context.split is None:
        return ""
    table = context.split.proportions
    several = "split_id" in table and table["split_id"].nunique() > 1
    if several:
        table = table[table["split_id"] == table["split_id"].min()]
    faces = table.groupby("split")["faces"].sum()
    where = " (first of the splits)" if several else ""
    return f"{faces['train']:,} training and {faces['val']:,} validation faces{where}"


def runs_of_each_arm(seeds: SeedsConfig) -> str:
    """How often each arm was trained, and what differed.

    Example:
        >>> runs_of_each_arm(SeedsConfig(count=3, first=1, vary="both"))
        '3 runs of each arm (seeds 1 to 3), which differ in initial weights, order and split'
    """
    varied = {"init": "initial weights and order", "split": "the split", "both": "initial weights, order and split"}
    numbers = seeds.numbers()
    if len(numbers) == 1:
        return f"one run of each arm (seed {numbers[0]})"
    return (
        f"{len(numbers)} runs of each arm (seeds {numbers[0]} to {numbers[-1]}), which differ in {varied[seeds.vary]}"
    )
