"""A plausible finished study, in tables and on disk, without training anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maskbench import schemas
from maskbench.config import make_config
from maskbench.evaluation import classification, uncertainty
from maskbench.evaluation.confusion import confusion_metrics
from maskbench.report.drawing import Drawing
from maskbench.schemas import write_table
from maskbench.storage import write_json, write_yaml
from tests.evaluation.tables import plausible_predictions

CLASSES = ("alpha", "beta", "gamma")
SHARES = (0.79, 0.18, 0.03)
ARMS = ("manual-random", "torchvision-pretrained")
SEPARATION = {"manual-random": 1.9, "torchvision-pretrained": 3.0}


def history_tables(
    classes: Sequence[str] = CLASSES,
    shares: Sequence[float] = SHARES,
    arms: Sequence[str] = ARMS,
    *,
    epochs: int = 12,
    steps: int = 40,
    seeds: Sequence[int] = (0,),
    interval: int = 20,
) -> dict[str, pd.DataFrame]:
    """Tables `epochs`, `confusion`, `steps`, `gradients` of trainings that went well."""
    rows: dict[str, list[dict[str, Any]]] = {"epochs": [], "confusion": [], "steps": [], "gradients": []}
    support = np.maximum(1, np.round(np.asarray(shares) * 600)).astype(int)
    layers = resnet_tensors()
    for number, arm in enumerate(arms):
        for seed in seeds:
            rng = np.random.default_rng([number, seed])
            run = {"arm": arm, "seed": seed}
            average = 0.0
            for epoch in range(epochs):
                skill = 1 - np.exp(-(epoch + 1 + 3 * number) / (4.5 - number))
                for split, gain in (("train", 1.0), ("val", 0.92)):
                    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
                    for k, total in enumerate(support):
                        right = np.clip(skill * gain * (1 - 0.5 * (shares[k] < 0.1)) + 0.05 * rng.normal(), 0.02, 0.99)
                        others = np.where(np.arange(len(classes)) == k, 0, np.asarray(shares))
                        weights = others / others.sum() * (1 - right)
                        weights[k] = right
                        counts[k] = rng.multinomial(total, weights)
                    level = 1.05 * np.exp(-epoch / (4 - number)) + (0.12 if split == "train" else 0.2 + 0.012 * epoch)
                    loss = level + 0.02 * rng.normal()
                    measured = [("loss", "", loss), ("cross_entropy", "", 0.9 * loss)]
                    measured += confusion_metrics(counts, classes)
                    where = {**run, "epoch": epoch, "split": split}
                    rows["epochs"] += [
                        {**where, "metric": m, "class_name": c, "value": float(v)} for m, c, v in measured
                    ]
                    rows["confusion"] += [
                        {**where, "true": t, "predicted": p, "count": int(counts[i, j])}
                        for i, t in enumerate(classes)
                        for j, p in enumerate(classes)
                    ]
                batch = (1.05 * np.exp(-epoch / (4 - number)) + 0.12) * rng.gamma(9, 1 / 9, size=steps)
                for position, loss in enumerate(batch):
                    step = epoch * steps + position
                    average = 0.95 * average + 0.05 * loss
                    seen = batch[: position + 1]
                    rows["steps"].append(
                        {
                            **run, "epoch": epoch, "step": step, "loss": float(loss), "loss_mean": float(seen.mean()),
                            "loss_variance": float(seen.var(ddof=1)) if position else float("nan"),
                            "loss_moving_average": average / (1 - 0.95 ** (step + 1)),
                            "learning_rate": 1e-3 * (1 - step / (epochs * steps)),
                        }
                    )  # fmt: skip
                    if step % interval == 0:
                        rows["gradients"] += [
                            {
                                **run, "epoch": epoch, "step": step, "depth": depth, "layer": layer, "group": group,
                                "gradient_norm": float(
                                    10 ** (-1.4 - 0.1 * epoch + 0.006 * depth * (1 - number) + 0.15 * rng.normal())
                                ),
                                "weight_norm": float(8 + depth / 10),
                                "update_ratio": float(10 ** (-2.6 - epoch * 0.06 - number * 0.3 + 0.1 * rng.normal())),
                            }
                            for depth, (layer, group) in enumerate(layers)
                        ]  # fmt: skip
    schema = {
        "epochs": schemas.EPOCHS, "confusion": schemas.EPOCH_CONFUSION, "steps": schemas.STEPS,
        "gradients": schemas.GRADIENTS,
    }  # fmt: skip
    return {name: pd.DataFrame(rows[name])[list(schema[name].columns)] for name in rows}


def resnet_tensors() -> list[tuple[str, str]]:
    """(parameter name, group) of a ResNet34, in the model's order."""
    names = [("conv1.weight", "stem"), ("bn1.weight", "stem"), ("bn1.bias", "stem")]
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            here = f"layer{stage}.{block}"
            for part in (1, 2):
                names += [(f"{here}.conv{part}.weight", f"layer{stage}")]
                names += [(f"{here}.bn{part}.{kind}", f"layer{stage}") for kind in ("weight", "bias")]
            if stage > 1 and block == 0:
                names += [(f"{here}.downsample.{kind}", f"layer{stage}") for kind in ("0.weight", "1.weight", "1.bias")]
    return [*names, ("fc.weight", "head"), ("fc.bias", "head")]


def best_epochs(epochs: pd.DataFrame) -> dict[tuple[str, int], int]:
    """Epoch of the highest validation macro-F1 by (arm, seed)."""
    table = epochs[(epochs["metric"] == "f1_macro") & (epochs["split"] == "val")]
    rows = table.loc[table.groupby(["arm", "seed"])["value"].idxmax()]
    return {(row.arm, int(row.seed)): int(row.epoch) for row in rows.itertuples()}


def evaluation_tables(
    classes: Sequence[str] = CLASSES,
    shares: Sequence[float] = SHARES,
    arms: Sequence[str] = ARMS,
    *,
    faces: int = 620,
    seeds: Sequence[int] = (0,),
    resamples: int = 200,
) -> dict[str, pd.DataFrame]:
    """The tables of the evaluate stage."""
    separation = {arm: SEPARATION.get(arm, 1.5 + number) for number, arm in enumerate(arms)}
    predictions = plausible_predictions(classes, shares, faces=faces, arms=separation, seeds=seeds)
    return {
        "predictions": predictions,
        "metrics": classification.metrics_table(predictions, classes),
        "confusion": classification.confusion_table(predictions, classes),
        "roc": classification.roc_table(predictions, classes),
        "precision_recall": classification.precision_recall_table(predictions, classes),
        "intervals": uncertainty.intervals_table(predictions, classes, resamples=resamples),
        "differences": uncertainty.differences_table(predictions, classes, resamples=resamples),
    }


def layer_rows(implementations: Sequence[str] = ("manual", "torchvision")) -> pd.DataFrame:
    """A short layer table, the same for every implementation."""
    rows = []
    for implementation in implementations:
        size = 32
        for number, (layer, group) in enumerate(resnet_tensors()):
            if not layer.endswith("weight") or "bn" in layer:
                continue
            size = max(2, size // (2 if number % 30 == 29 else 1))
            width = {"stem": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512, "head": 512}[group]
            rows.append(
                {
                    "implementation": implementation, "layer": layer.removesuffix(".weight"),
                    "kind": "Linear" if group == "head" else "Conv2d", "kernel": "–" if group == "head" else "3×3",
                    "stride": "–" if group == "head" else "1×1", "padding": "–" if group == "head" else "1×1",
                    "in_channels": width, "out_channels": width, "output_size": f"{width}×{size}×{size}",
                    "out_height": size, "out_width": size, "parameters": 9 * width * width,
                    "parameters_formula": f"3·3·{width}·{width}", "multiply_adds": 9 * width * width * size * size,
                    "formula": f"3·3·{width}·{width}·{size}·{size}",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


WEIGHTS = {
    "manual-random": {
        "requested": "none", "source": "none", "name": "random initialisation", "sha256": "", "version": "",
        "pretraining": "none", "top1": None, "mean": [], "std": [], "matched": 0, "not_matched": [], "dropped": [],
        "notice": "",
    },
    "torchvision-pretrained": {
        "requested": "auto", "source": "bundled", "name": "small.safetensors", "sha256": "ab" * 32, "version": "1",
        "pretraining": "a small data set, 40 epochs", "top1": 0.412, "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225], "matched": 216, "not_matched": ["fc.weight", "fc.bias"],
        "dropped": ["fc.weight", "fc.bias"],
        "notice": "the ImageNet weights cannot be had (no network); the bundled ones are used instead: weaker, "
        "pretrained on a small data set, top-1 41.2% there",
    },
}  # fmt: skip


def write_study(base: Path, classes: Sequence[str] = CLASSES, shares: Sequence[float] = SHARES) -> tuple[Path, Path]:
    """Write a finished run: `results/NAME` and `plots/NAME` (without pictures); returns both folders."""
    run, plots = base / "results" / "study", base / "plots" / "study"
    write_yaml(run / "config.yaml", make_config("quick").model_dump(mode="json"))
    write_json(
        run / "run.json",
        {
            "name": "study", "started": "2026-01-02T03:04:05+00:00", "last_command_at": "2026-01-02T04:04:05+00:00",
            "commands": ["maskbench run --data sample --name study"], "git_commit": "0123456789abcdef" * 2 + "01234567",
            "versions": {"python": "3.11.9", "maskbench": "0.1.0", "torch": "2.11.0", "torchvision": "0.26.0"},
            "machine": {"system": "Linux x86_64", "cores": 8, "device": "cpu"},
        },
    )  # fmt: skip
    _write_audit(run / "audit", classes, shares)
    balance = pd.DataFrame({"label": list(classes), "faces": [int(4000 * share) for share in shares], "share": shares})
    (run / "eda").mkdir(parents=True)
    balance.to_parquet(run / "eda" / "class_balance.parquet")
    pd.DataFrame({"cell": range(1600), "share": 1 / 1600}).to_parquet(run / "eda" / "heatmaps.parquet")
    _write_split(run / "split", classes, shares)
    history = history_tables(classes, shares)
    best = best_epochs(history["epochs"])
    for arm in ARMS:
        folder = run / "train" / arm / "seed0"
        write_json(folder / "weights.json", WEIGHTS[arm])
        write_json(
            folder / "fit.json",
            {
                "arm": arm, "seed": 0, "epochs_run": 12, "best_epoch": best[arm, 0], "best_f1_macro": 0.812,
                "stopped_early": False, "seconds": 731.2, "train_faces": 2850, "faces_per_second": 46.8,
                "parameters": 21_286_211, "device": "cpu", "precision": "fp32", "memory_format": "channels_last",
                "batches_sha256": [f"{epoch:064x}" for epoch in range(12)],
            },
        )  # fmt: skip
    write_table(run / "train" / "layers.parquet", layer_rows(), schemas.LAYERS)
    write_json(
        run / "train" / "protocol.json",
        {"equal": True, "compared": ["classes", "preprocess"], "epochs_compared": {"0": 12}, "differences": []},
    )
    _write_manifests(run)
    tables = evaluation_tables(classes, shares)
    for name in ("metrics", "intervals", "differences"):
        write_table(run / "evaluate" / name, tables[name], getattr(schemas, name.upper()))
    return run, plots


def _write_manifests(run: Path) -> None:
    """What stages leave when they are complete, of those whose hashes the report prints."""
    best = [f"train/{arm}/seed0/best.safetensors" for arm in ARMS]
    for stage, outside, files in (
        ("audit", "0a" * 32, []),
        ("split", "", ["split/split.parquet"]),
        ("train", "", best),
    ):
        described = {file: {"bytes": 9, "sha256": file_hash(file)} for file in files}
        write_json(
            run / stage / "manifest.json",
            {"stage": stage, "key": "k", "outside": outside, "seconds": 61.2, "outputs": described, "figures": {}},
        )


def file_hash(file: str) -> str:
    """What stands for the hash of a file that this study does not have."""
    return hashlib.sha256(file.encode()).hexdigest()


def _write_audit(folder: Path, classes: Sequence[str], shares: Sequence[float]) -> None:
    findings = pd.DataFrame(
        [
            {"severity": "warning", "check": "box_clipped", "file": f"img{number:03d}.xml",
             "detail": "box (−2, 4, 31, 40) reaches outside 400×300", "action": "clipped to the photograph"}
            for number in range(14)
        ]
        + [{"severity": "info", "check": "tiny_face", "file": "img200.xml", "detail": "3 × 4 px", "action": "kept"}]
    )  # fmt: skip
    counts = {name: {"faces": int(4000 * share), "photographs": int(700 * share) + 3}
              for name, share in zip(classes, shares, strict=True)}  # fmt: skip
    quantiles = {"min": 3.0, "q25": 14.0, "median": 22.0, "q75": 38.0, "max": 291.0}
    summary = {
        "photographs": 853, "faces": 4000, "findings": {"error": 0, "warning": 14, "info": 1},
        "checks": {
            "box_clipped": {"severity": "warning", "count": 14, "action": "clipped to the photograph"},
            "tiny_face": {"severity": "info", "count": 1, "action": "kept"},
        },
        "classes": counts, "formats": {"PNG RGBA, 8 bit": 853},
        "sizes": {"image_width_px": {**quantiles, "max": 400.0}, "box_width_px": quantiles},
        "duplicates": {"exact": 0, "near": 3, "labels_disagree": 1},
    }  # fmt: skip
    write_table(folder / "audit", findings, schemas.FINDINGS)
    write_json(folder / "audit.json", {"summary": summary, "findings": findings.to_dict("records")})
    write_json(folder / "classes.json", list(classes))


def _write_split(folder: Path, classes: Sequence[str], shares: Sequence[float]) -> None:
    folder.mkdir(parents=True)
    rows = [
        {"split": side, "label": name, "faces": int(4000 * part * share), "share": share, "share_overall": part,
         "photographs": int(853 * part)}
        for side, part in (("train", 0.7), ("val", 0.15), ("test", 0.15))
        for name, share in zip(classes, shares, strict=True)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "proportions.csv", index=False)
    pairs = [("train", "val"), ("train", "test"), ("val", "test")]
    zero = {"shared_faces": 0, "shared_photographs": 0, "shared_groups": 0, "exposed_faces": 0}
    pd.DataFrame([{"side_a": a, "side_b": b, **zero} for a, b in pairs]).to_csv(folder / "leakage.csv", index=False)


def line_drawing(name: str) -> Drawing:
    """A small figure with a line and words."""
    figure = Figure(figsize=(5, 3))
    axes = figure.subplots()
    axes.plot([0, 1, 4])
    axes.set_title(name)
    return Drawing(figure, name, f"The line {name}", "Look where it rises.")


def write_pictures(plots: Path, drawings: Sequence[tuple[str, Drawing]], dpi: int = 50) -> None:
    """Save drawings, given with their sections, and list them."""
    for _, drawing in drawings:
        drawing.save(plots, dpi=dpi)
    listing = [
        {"name": drawing.name, "title": drawing.title, "caption": drawing.caption, "section": section}
        for section, drawing in drawings
    ]
    write_json(plots / "figures.json", listing)


def rows_where(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Rows in which columns have the given values."""
    for column, value in where.items():
        table = table[table[column] == value]
    return table
