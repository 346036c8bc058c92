"""Training time against macro-F1 of protocols, with the Pareto front: how little work gives the same answer.

    python benchmarks/frontier.py --data DIR --out FOLDER [--weights FILE] [--only NAME ...] [--folds 3] [--fold 0]

Every protocol is the quick preset with a few settings changed. It trains both arms of the study side by side, on a
share of the processor's cores each, and predicts faces of photographs that were held out. The test side of the
study's split 0 is dropped before anything else, so nothing here is chosen on test faces: of its training and
validation sides one of `--folds` stratified folds, grouped by photograph and near-duplicate, is held out. The last
epoch is what counts. Time is processor time of the training with its validations, of both arms together: with a
core for each, elapsed time is half of it, and what else the machine does is not in it.

Takes about an hour and a half on 2 cores with the real data. Results stay in FOLDER, so an interrupted run goes on,
and a finished one prints its table again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from maskbench import schemas, study
from maskbench.config import STUDY_ARMS, ArmConfig, Config, SplitConfig, merge
from maskbench.config.study import make_config
from maskbench.data.crops import FaceCrops
from maskbench.data.faces import make_canvases
from maskbench.evaluation.classification import Scored
from maskbench.evaluation.intervals import drawn_weights
from maskbench.evaluation.weighted import WeightedMetrics, metric_names
from maskbench.inference.predict import predict_logits, prediction_table
from maskbench.models.pretrained import resolve_weights
from maskbench.options import choose_config
from maskbench.splits.grouped import split_faces
from maskbench.stages.context import Context, face_crops
from maskbench.storage import read_json, write_json
from maskbench.training.checkpoint import LAST, execution_of, load_checkpoint, preprocess_of
from maskbench.training.fit import FitInputs, build_datamodule, fit_arm

#: Settings laid over the quick preset, by name; the first is what the others are compared with.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "64 px, 14 epochs (quick)": {},
    "64 px, 7 epochs": {"train": {"epochs": 7}},
    "48 px, 14 epochs": {"faces": {"input_size": 48}},
    "32 px × 6, 48 px × 4, 64 px × 4": {"train": {"small_inputs": "32:6,48:4"}},
    "32 px, 14 epochs": {"faces": {"input_size": 32}},
    "48 px × 7, 64 px × 7": {"train": {"small_inputs": "48:7"}},
    "64 px, 10 epochs": {"train": {"epochs": 10}},
    "48 px, 7 epochs": {"faces": {"input_size": 48}, "train": {"epochs": 7}},
    "32 px × 4, 64 px × 3": {"train": {"epochs": 7, "small_inputs": "32:4"}},
    "64 px, 7 epochs, twice the rate": {"train": {"epochs": 7, "learning_rate": 8e-4}},
    "64 px, 4 epochs": {"train": {"epochs": 4}},
    "80 px, 10 epochs": {"faces": {"input_size": 80}, "train": {"epochs": 10}},
}
DRAWS = 2000


@dataclass(frozen=True)
class Pool:
    """Faces that may be looked at.

    Attributes:
        faces: `schemas.FACES` of training and validation photographs.
        images: `schemas.IMAGES`.
        split: `schemas.SPLIT` of `faces`, sides `train` and `val`.
        classes: class order.
        everyone: `schemas.FACES` of the whole dataset.
        crops: of `everyone`.
        rows: int64, where `faces` stand among them.
    """

    faces: pd.DataFrame
    images: pd.DataFrame
    split: pd.DataFrame
    classes: tuple[str, ...]
    everyone: pd.DataFrame
    crops: FaceCrops
    rows: NDArray[np.int64]


def prepare(data: str, folds: int, fold: int, folder: Path) -> Pool:
    """Audit and split a dataset, drop the test side, hold out one fold of the rest."""
    config, folders = choose_config(
        folder, data=data, name=None, preset="quick", config_file=None, weights="none", settings=None
    )
    context = Context(config, folders, print, lambda title: None)
    folders.claim(config, study.used_sections(folders))
    study.run_stages(["audit", "split"], context)
    images, faces, duplicates = (
        context.table("audit", name, schema)
        for name, schema in (
            ("images", schemas.IMAGES), ("faces", schemas.FACES), ("duplicates", schemas.DUPLICATES)
        )
    )  # fmt: skip
    crops = face_crops(context, images, faces)
    rows = np.flatnonzero(context.table("split", "split", schemas.SPLIT)["split"] != "test")
    pool = faces.iloc[rows].reset_index(drop=True)
    split = split_faces(pool, duplicates, SplitConfig(strategy="kfold", k=folds), fold)
    split["split"] = np.where(split["split"] == "test", "val", "train")
    return Pool(pool, images, split, context.classes(), faces, crops, rows)


def configuration(name: str, weights: str) -> Config:
    """The protocol `name`."""
    return make_config("quick", merge({"weights": weights}, PROTOCOLS[name]))


def train(pool: Pool, config: Config, arm: ArmConfig, threads: int, results: Path) -> None:
    """Train one arm, predict the held-out faces, leave predictions and times in `results`."""
    torch.set_num_threads(threads)
    loaded = resolve_weights(config.weights) if arm.initialisation == "pretrained" else None
    canvases = make_canvases(pool.crops, pool.everyone, config.faces.margin, config.faces.input_size)
    inputs = FitInputs(canvases[torch.from_numpy(pool.rows)], pool.split, pool.classes, {})
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        fit_arm(inputs, config, arm, 0, loaded, Path(folder), notify=lambda line: print(line, flush=True))
        seconds = time.process_time() - started
        model, record = load_checkpoint(Path(folder) / LAST)
    execution = execution_of(record)
    found = predict_logits(
        execution.place(model).eval(), build_datamodule(inputs, config, 0).ordered_dataloader("val"),
        preprocess_of(record), execution, flip_average=config.evaluate.flip_average,
    )  # fmt: skip
    table = prediction_table(found, pool.faces, pool.images, pool.classes, arm=arm.name, seed=0, split="val")
    results.mkdir(parents=True, exist_ok=True)
    table.to_parquet(results / f"{arm.name}.parquet")
    write_json(results / f"{arm.name}.json", {"seconds": seconds, "threads": threads})


def macro_f1(tables: list[pd.DataFrame], classes: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Macro-F1 and accuracy, means over arms, on the photographs as they are and on draws of them.

    Returns:
        (2,) values and (2, DRAWS) draws; the same draws for every protocol.
    """
    columns = [metric_names(classes).index((metric, "")) for metric in ("f1_macro", "accuracy")]
    values, drawn = [], []
    for table in tables:
        metrics = WeightedMetrics(Scored.of(table.sort_values("face_id"), classes))
        weights = drawn_weights(np.random.default_rng(0), metrics.images, DRAWS)
        values.append(metrics.measure(np.ones((1, metrics.images)))[0, columns])
        drawn.append(metrics.measure(weights)[:, columns].T)
    return np.mean(values, axis=0), np.mean(drawn, axis=0)


def on_front(minutes: list[float], scores: list[float]) -> list[bool]:
    """Which are better than everything that takes no longer."""
    return [
        all(other < score for time, other in zip(minutes, scores, strict=True) if time < minute)
        for minute, score in zip(minutes, scores, strict=True)
    ]


def report(folder: Path, classes: tuple[str, ...]) -> None:
    """Print the table of what is finished."""
    names = [
        name for name in PROTOCOLS if all((folder / slug(name) / f"{arm.name}.json").is_file() for arm in STUDY_ARMS)
    ]
    minutes, tables = [], []
    for name in names:
        parts = [folder / slug(name) / arm.name for arm in STUDY_ARMS]
        minutes.append(sum(read_json(part.with_suffix(".json"))["seconds"] for part in parts) / 60)
        tables.append([pd.read_parquet(part.with_suffix(".parquet")) for part in parts])
    measured = [macro_f1(table, classes) for table in tables]
    front = on_front(minutes, [float(value[0]) for value, _ in measured])
    first = tables[0][0]
    rare = first["label"].value_counts().min()
    print(f"\n{len(first)} held-out faces of {first['image_id'].nunique()} photographs, {rare} of the rarest class")
    print("| protocol | processor minutes | macro-F1 by arm | mean | to quick | accuracy | front |\n|" + " --- |" * 7)
    reference = dict(zip(names, measured, strict=True)).get(next(iter(PROTOCOLS)))
    for name, minute, table, (value, drawn), best in zip(names, minutes, tables, measured, front, strict=True):
        arms = " / ".join(f"{macro_f1([part], classes)[0][0]:.3f}" for part in table)
        gap = ""
        if reference and value is not reference[0]:
            low, high = np.nanquantile(drawn[0] - reference[1][0], [0.025, 0.975])
            gap = f"{value[0] - reference[0][0]:+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"| {name} | {minute:.1f} | {arms} | {value[0]:.3f} | {gap} | {value[1]:.3f} | {'•' if best else ''} |")


def slug(name: str) -> str:
    """A protocol's name as that of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def main() -> None:
    """Train what is not there yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--out", type=Path, default=Path("frontier"))
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--only", nargs="*", default=list(PROTOCOLS), choices=list(PROTOCOLS), metavar="NAME")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--fold", type=int, default=0)
    options = parser.parse_args()
    results = options.out / f"fold-{options.fold}-of-{options.folds}"
    with tempfile.TemporaryDirectory() as folder:
        pool = prepare(options.data, options.folds, options.fold, Path(folder))
    threads = max(1, (os.cpu_count() or 2) // len(STUDY_ARMS))
    with ProcessPoolExecutor(len(STUDY_ARMS), multiprocessing.get_context("spawn")) as processes:
        for name in options.only:
            waiting = [
                processes.submit(train, pool, configuration(name, options.weights), arm, threads, results / slug(name))
                for arm in STUDY_ARMS
                if not (results / slug(name) / f"{arm.name}.json").is_file()
            ]
            if waiting:
                print(f"{name}:", flush=True)
            for work in waiting:
                work.result()
            report(results, pool.classes)


if __name__ == "__main__":
    main()
