"""A model card for every arm of a study, from its saved records.

Source:
    Mitchell et al. (2019): Model Cards for Model Reporting. FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from maskbench.report.abstract import byline, notices, study_limitations
from maskbench.report.content import ReportContext, TrainedRun
from maskbench.report.content_results import MISSING, number
from maskbench.report.data_sections import data_sentence, sides
from maskbench.report.document import Bullets, Document, Facts, Item, Section, Table, Text
from maskbench.report.grids import grid
from maskbench.report.model_sections import initial_weights, protocol_facts
from maskbench.report.questions import said
from maskbench.report.result_sections import headline_table

_OUT_OF_SCOPE = (
    "Any decision about a person: admission, monitoring, sanction, statistics on identified people. The licence rules "
    "it out.",
    "Medical or protective claims: whether a mask protects cannot be seen in a photograph.",
    "Recognising people, or any attribute but the annotated classes.",
    "Photographs unlike those of the training data, without measuring there first.",
)
_ETHICS = (
    "No annotation says anything of age, sex, skin or origin, so differences of error between groups of people were "
    "not measured; that they are absent must not be concluded.",
    "Faces that are small, dark or far away tell little; an error there falls on whoever is photographed so.",
    "Checkpoints and figures of explanations may show or reveal photographs of the training data.",
)
_KINDS = {"classifier": "Names a face that is given", "detector": "Finds faces in a photograph and names them"}


def model_card(context: ReportContext) -> Document:
    """The card; every number in it stands in a table of the run.

    Args:
        context: from `collect_report`.
    """
    arms = ", ".join(arm.name for arm in context.settings.arms)
    return Document(
        title=f"Model card: {arms}",
        byline=byline(context),
        notices=notices(context),
        abstract=(),
        sections=(
            Section("details", "Model details", _details(context)),
            Section("use", "Intended use", _use(context)),
            Section("out-of-scope", "Out-of-scope use", (Bullets(_OUT_OF_SCOPE),)),
            Section("factors", "Factors", _factors(context)),
            Section("metrics", "Metrics", _metrics(context)),
            Section("evaluation-data", "Evaluation data", _data(context, ("val", "test"))),
            Section("training-data", "Training data", _data(context, ("train",))),
            Section("analyses", "Quantitative analyses", _analyses(context)),
            Section("ethics", "Ethical considerations", (Bullets(_ethics(context)),)),
            Section("caveats", "Caveats and recommendations", _caveats(context)),
        ),
    )


def _ethics(context: ReportContext) -> tuple[str, ...]:
    shown = (
        "The photographs are drawn by a program and show nobody; what follows holds for models trained on photographs "
        "of people."
        if context.settings.data.source == "sample"
        else "The data are photographs of people's faces. Nothing in the annotations says whether those shown agreed "
        "to be part of a dataset."
    )
    return (shown, *_ETHICS)


def _details(context: ReportContext) -> tuple[Item, ...]:
    version = (context.run.get("versions") or {}).get("maskbench", MISSING)
    facts = Facts(
        (
            ("Developed with", f"maskbench {version}, commit {context.run.get('git_commit') or MISSING}"),
            ("Date", str(context.run.get("started") or MISSING)),
            ("Type", "ResNet34 (He et al. 2016) with a linear head; detectors: the same network under "
             f"{context.settings.detect.detector.upper()}" if context.detectors
             else "ResNet34 (He et al. 2016) with a linear head"),
            ("Classes", ", ".join(context.classes) or MISSING),
            ("Licence", "academic and non-commercial use, see LICENSE of the software"),
        )
    )  # fmt: skip
    runs = context.training.runs if context.training else ()
    items: list[Item] = [facts, Table("Checkpoints", grid(_checkpoints(context), most=10**4))]
    if started := (*runs, *context.detectors):
        items.append(initial_weights(started))
    return tuple(items)


def _checkpoints(context: ReportContext) -> pd.DataFrame:
    rows = []
    for kind, stage, runs in (
        ("classifier", "train", context.training.runs if context.training else ()),
        ("detector", "detect-train", context.detectors),
    ):
        outputs = context.manifests.get(stage, {}).get("outputs", {})
        rows += [_checkpoint(kind, stage, run, outputs) for run in runs]
    columns = ["arm", "seed", "kind", "parameters", "best epoch", "chosen on validation by", "file", "sha256"]
    return pd.DataFrame(rows, columns=columns)


def _checkpoint(kind: str, stage: str, run: TrainedRun, outputs: dict[str, dict[str, str]]) -> dict[str, str]:
    file, fit = f"{stage}/{run.arm}/seed{run.seed}/best.safetensors", run.fit
    chosen = ("macro-F1", fit.get("best_f1_macro")) if kind == "classifier" else ("AP", fit.get("best_ap"))
    return {
        "arm": run.arm, "seed": str(run.seed), "kind": kind, "parameters": f"{fit.get('parameters', 0):,}",
        "best epoch": str(int(fit["best_epoch"]) + 1) if "best_epoch" in fit else MISSING,
        "chosen on validation by": f"{chosen[0]} {number(chosen[1])}", "file": file,
        "sha256": outputs.get(file, {}).get("sha256", MISSING),
    }  # fmt: skip


def _use(context: ReportContext) -> tuple[Item, ...]:
    kinds = [kind for kind, there in (("classifier", context.training), ("detector", context.detectors)) if there]
    return (
        Text("Research and teaching: comparing initialisations and implementations under one protocol, and studying "
             "what makes such models err."),
        Bullets(tuple(f"{kind.capitalize()}: {_KINDS[kind][0].lower()}{_KINDS[kind][1:]}." for kind in kinds)),
    )  # fmt: skip


def _factors(context: ReportContext) -> tuple[Item, ...]:
    """What may change how well a model does, and what of it was measured."""
    question = context.question("question-2")
    measured: tuple[Item, ...] = (Text("Which properties of faces go with errors was not measured in this run."),)
    if question:
        measured = tuple(Text(said(words)) for words in (*question.answer, *question.more))
    return (*measured, Text("Groups of people are no factor here: nothing in the annotations names them."))


def _metrics(context: ReportContext) -> tuple[Item, ...]:
    config = context.settings
    return (
        Text(
            "Accuracy, balanced accuracy, macro-F1 and each class's F1, macro AUC; for detectors COCO's average "
            "precision. Macro figures weigh every class equally, because the classes are of unequal size. Every figure "
            f"has a {config.evaluate.confidence:.0%} bootstrap interval over whole photographs, where one is defined."
        ),
        Text("A face has the class of the highest probability; epochs, temperatures and the scores of boxes are chosen "
             "on validation."),
    )  # fmt: skip


def _data(context: ReportContext, wanted: Sequence[str]) -> tuple[Item, ...]:
    if context.split is None:
        return (Text("Not split in this run."),)
    shown = sides(context.split, wanted)
    return (
        Text(data_sentence(context) if "train" in wanted else "The sides of the same dataset that training never saw."),
        Table("Faces and class shares", shown),
        *((protocol_facts(context),) if "train" in wanted and context.training else ()),
    )


def _analyses(context: ReportContext) -> tuple[Item, ...]:
    items: list[Item] = []
    if context.evaluation is not None:
        items.append(headline_table(context, context.evaluation))
    if detection := context.question("detection"):
        items += [Table(b.heading, b.table, b.text) for part in detection.parts[:1] for b in part.blocks[:1]]
    return tuple(items) or (Text("Not measured in this run."),)


def _caveats(context: ReportContext) -> tuple[Item, ...]:
    found = [*study_limitations(context), "Read intervals, not points; measure on your own photographs before any use."]
    return (Bullets(tuple(found)),)
