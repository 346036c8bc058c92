"""The stage that looks inside: maps and how far they can be trusted, representations, errors, question 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from maskbench import schemas
from maskbench.config import ConfigError
from maskbench.schemas import write_table
from maskbench.schemas.failures import FAILURE_TABLES, LABEL_ISSUES
from maskbench.schemas.faithfulness import (
    FAITHFULNESS,
    FAITHFULNESS_CURVES,
    FAITHFULNESS_SUMMARY,
    MAP_FEATURE_TABLE,
)
from maskbench.schemas.mistakes import MISTAKE_TABLES
from maskbench.schemas.representations import LAYER_STATISTICS, REPRESENTATION_TABLES
from maskbench.stages.context import Context, check_layers, dataset_root
from maskbench.stages.inside import Look, Study, initial_features, look_inside
from maskbench.stages.jobs import split_of_run
from maskbench.stages.pictures import write_pictures
from maskbench.steps import in_steps
from maskbench.storage import read_json, write_json

#: Tables without a CSV beside them: a row per face, method and measure.
LONG = frozenset({"faithfulness"})
Tables = dict[str, tuple[pd.DataFrame, Any]]


def explain(context: Context) -> list[Path]:
    """Look inside every best checkpoint, on the test faces of its run; with no method, at nothing."""
    if not context.config.explain.methods:
        return []
    check_layers(context.config)
    folder, study = context.folders.stage("explain"), Study.read(context)
    looks: list[Look] = []
    for seed in context.config.seeds.numbers():
        looks += look_inside(study, seed, true_masks(context))
        context.notify(f"looked inside the models of run {seed}")
    answers: dict[str, Any] = {}
    steps: dict[str, Callable[[], Tables]] = {
        "trust": lambda: _trust(context, looks, answers),
        "mistakes": lambda: _mistakes(context, study, looks, answers),
        "representations": lambda: _representations(context, looks, answers),
        "failures": lambda: _failures(context, study, looks, answers),
    }
    parts = in_steps(context.progress("what was seen"), steps)
    tables: Tables = {name: table for part in parts.values() for name, table in part.items()}
    written = []
    for name, (table, schema) in tables.items():
        path, csv = folder / f"{name}.parquet", name not in LONG
        write_table(path, table, schema, csv=csv)
        written += [path, *([path.with_suffix(".csv")] if csv else [])]
    write_json(folder / "answers.json", answers)
    pictures = write_pictures(folder, study, looks, tables)
    return [*written, *pictures, folder / "answers.json"]


def true_masks(context: Context) -> dict[str, list[list[float]]] | None:
    """Outline of every face's mask, px of the photograph, where the dataset knows them (the generated sample does)."""
    path = dataset_root(context) / "masks.json"
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds a {type(found).__name__}, not an outline per face")
    return found


def _trust(context: Context, looks: Sequence[Look], answers: dict[str, Any]) -> Tables:
    """How far maps can be trusted."""
    from maskbench.comparison.faithfulness import decisions_sentence, faithfulness_sentences, faithfulness_summary
    from maskbench.explain.cam import BASELINES, METHODS

    table = pd.concat([look.faithfulness.table for look in looks], ignore_index=True)
    curves = pd.concat([look.faithfulness.curves for look in looks], ignore_index=True)
    labels = {name: method.label for name, method in (METHODS | BASELINES).items()}
    summary = faithfulness_summary(
        table, labels, list(BASELINES), resamples=context.config.explain.resamples, seed=context.config.split.seed
    )
    answers["faithfulness"] = list(faithfulness_sentences(summary))
    answers["decisions"] = decisions_sentence(summary)
    return {
        "faithfulness": (table, FAITHFULNESS),
        "faithfulness_curves": (curves, FAITHFULNESS_CURVES),
        "faithfulness_summary": (summary, FAITHFULNESS_SUMMARY),
    }


def _mistakes(context: Context, study: Study, looks: Sequence[Look], answers: dict[str, Any]) -> Tables:
    """Question 3."""
    from maskbench.comparison.mistake_verdict import mistakes_answer
    from maskbench.comparison.mistakes import mistake_models, probability_features
    from maskbench.explain.map_features import MAP_FEATURES

    features = pd.concat([look.map_features for look in looks], ignore_index=True)
    test = study.predictions[study.predictions["split"] == "test"]
    table = probability_features(test, context.classes()).merge(
        features.drop(columns="image_id"), on=["arm", "seed", "face_id"], validate="one_to_one"
    )
    names = list(MAP_FEATURES)
    if features["arm_agreement"].notna().any():
        names.append("arm_agreement")
    config = context.config.explain
    found = mistake_models(table, names, folds=config.folds, resamples=config.resamples, seed=context.config.split.seed)
    answers["question3"] = asdict(mistakes_answer(found))
    parts = {f"mistake_{name}": (getattr(found, name), schema) for name, schema in MISTAKE_TABLES.items()}
    return {"map_features": (features, MAP_FEATURE_TABLE), **parts}


def _representations(context: Context, looks: Sequence[Look], answers: dict[str, Any]) -> Tables:
    """What the layers see; embeddings of the first run, everything else of all."""
    from maskbench.comparison.representations import (
        cka_table,
        embedding_tables,
        probe_table,
        representation_sentences,
        separation_table,
    )
    from maskbench.explain.features import DEPTHS, PENULTIMATE

    config, seed = context.config.explain, context.config.split.seed
    runs = [look.features for look in looks]
    shown = [
        embedding_tables(run, PENULTIMATE, perplexity=config.perplexity, seed=seed)
        for run in runs
        if run.seed == runs[0].seed
    ]
    tables = {name: pd.concat([part[name] for part in shown], ignore_index=True) for name in shown[0]}
    probes = [probe_table(run, neighbours=config.neighbours, resamples=config.resamples, seed=seed) for run in runs]
    tables |= {
        "cka": cka_table(runs),
        "probes": pd.concat(probes, ignore_index=True),
        "separation": pd.concat([separation_table(run) for run in runs], ignore_index=True),
    }
    arms = [arm.name for arm in context.config.arms]
    answers["representations"] = list(representation_sentences(tables["cka"], tables["probes"], arms, list(DEPTHS)))
    statistics = pd.concat([look.statistics for look in looks], ignore_index=True)[list(LAYER_STATISTICS.columns)]
    found: Tables = {name: (table, REPRESENTATION_TABLES[name]) for name, table in tables.items()}
    return {**found, "layer_statistics": (statistics, LAYER_STATISTICS)}


def _failures(context: Context, study: Study, looks: Sequence[Look], answers: dict[str, Any]) -> Tables:
    """What goes wrong, what lies near it, and which labels to look at again."""
    from maskbench.comparison.failures import (
        confusion_pairs,
        failures_table,
        neighbours_sentence,
        neighbours_table,
        prototypes_table,
    )
    from maskbench.explain.features import PENULTIMATE

    classes, config = context.classes(), context.config.explain
    test = study.predictions[study.predictions["split"] == "test"]
    near = [
        neighbours_table(
            look.features, PENULTIMATE, look.train_ids, _confidence(test, look, classes), config.neighbours
        )
        for look in looks
    ]
    tables = {
        "failures": failures_table(test, classes, config.gallery),
        "confusion_pairs": confusion_pairs(test, classes),
        "prototypes": pd.concat(
            [prototypes_table(look.features, PENULTIMATE, classes, config.gallery) for look in looks],
            ignore_index=True,
        ),
        "neighbours": schemas.concat_tables(near),
    }
    arms = [arm.name for arm in context.config.arms]
    answers["failures"] = [text for arm in arms if (text := neighbours_sentence(tables["neighbours"], arm))]
    issues, answers["labels"] = _labels(context, study)
    found: Tables = {name: (table, FAILURE_TABLES[name]) for name, table in tables.items()}
    return {**found, "label_issues": (issues, LABEL_ISSUES)}


def _confidence(test: pd.DataFrame, look: Look, classes: Sequence[str]) -> dict[str, float]:
    """Probability of the predicted class by test face of a run."""
    part = test[(test["arm"] == look.arm) & (test["seed"] == look.seed)]
    probs = part[[f"prob_{name}" for name in classes]].max(axis=1).clip(0, 1)
    return dict(zip(part["face_id"], probs.astype(float), strict=True))


def _labels(context: Context, study: Study) -> tuple[pd.DataFrame, str]:
    """Labels that a classifier doubts which has seen neither their photograph nor a copy of it."""
    from maskbench.comparison.label_errors import held_out_probabilities, label_sentence, suspected_labels
    from maskbench.splits.grouped import photo_groups

    features, faces = initial_features(study), study.faces
    if features is None:
        return schemas.empty_table(LABEL_ISSUES), "Labels were not checked: no arm starts from pretrained weights."
    # A copy of a photograph has the same faces with the same labels: who saw it has seen the photograph.
    duplicates = context.table("audit", "duplicates", schemas.DUPLICATES)
    groups = faces["image_id"].map(photo_groups(faces["image_id"], duplicates))
    held_out = held_out_probabilities(
        features, faces["label"], groups, context.classes(), folds=context.config.explain.folds,
        seed=context.config.split.seed,
    )  # fmt: skip
    images = context.table("audit", "images", schemas.IMAGES).set_index("image_id")["file"]
    sides = split_of_run(context, context.config.seeds.numbers()[0])["split"]
    issues = suspected_labels(
        held_out, faces, images.loc[faces["image_id"]].reset_index(drop=True), sides, context.classes()
    )
    return issues, label_sentence(held_out, issues, len(faces))
