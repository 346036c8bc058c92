"""Interventions on the training faces reach batches, loss and record, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from maskbench.config import ConfigError, TrainingSetConfig, make_config
from maskbench.data.datamodule import FaceDataModule
from maskbench.splits.subsets import training_faces
from maskbench.storage import read_json
from maskbench.training.fit import FitInputs, build_datamodule, fit_arm, training_set
from maskbench.training.losses import build_loss
from maskbench.training.protocol import compare_protocols
from tests.training.study_in_memory import CLASSES, MANUAL, TORCHVISION, config, inputs


def study(split_id: int = 0) -> FitInputs:
    """Sixty faces, two to a photograph; the class `blue` is rare among those trained with."""
    found = inputs()
    split = found.split.assign(group=np.arange(60) // 2, seed=0, split_id=split_id)
    rare = (split["split"] == "train") & (np.arange(60) > 20) & (split["label"] == "blue")
    return replace(found, split=split.assign(label=split["label"].mask(rare, "red")))


def settings(**training: Any) -> Any:
    return config(1).model_copy(update={"training_set": TrainingSetConfig(**training)})


def batches(data: FaceDataModule, epoch: int = 0) -> list[tuple[torch.Tensor, ...]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [(batch.rows, batch.targets, batch.canvases) for batch in loader]


@pytest.mark.parametrize("balanced", [False, True])
def test_by_default_batches_are_what_they_were(balanced: bool) -> None:
    found = study()
    options: dict[str, Any] = {"seed": 3, "batch_size": 8, "eval_batch_size": 8, "balanced": balanced}
    plain = FaceDataModule(found.canvases, found.split, CLASSES, **options)
    whole = training_faces(found.split, CLASSES, TrainingSetConfig(), 0)
    named = FaceDataModule(found.canvases, found.split, CLASSES, **options, training=whole)
    assert training_set(found, config()) is None
    assert torch.equal(plain.class_counts(), named.class_counts())
    for epoch in (0, 1):
        for one, other in zip(batches(plain, epoch), batches(named, epoch), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_wrong_labels_are_trained_with_and_never_evaluated_with() -> None:
    found = study()
    data, usual = (build_datamodule(found, settings(label_noise=noise), 0) for noise in (0.5, 0.0))
    table = training_set(found, settings(label_noise=0.5))
    assert table is not None and (table["label"] != table["true_label"]).sum() == 20
    told = dict(zip(table["row"], table["label"], strict=True))
    rows, targets = (torch.cat(part).tolist() for part in list(zip(*batches(data), strict=True))[:2])
    assert sorted(rows) == sorted(told) and [CLASSES[t] for t in targets] == [told[row] for row in rows]
    for side in ("val", "test"):
        for one, other in zip(data.ordered_dataloader(side), usual.ordered_dataloader(side), strict=True):
            assert torch.equal(one.targets, other.targets) and torch.equal(one.rows, other.rows)
    assert torch.equal(data.targets, usual.targets)


def test_the_loss_weighs_the_faces_that_are_used() -> None:
    found, train = study(), config().train
    counts = [build_datamodule(found, settings(**options), 0).class_counts() for options in ({}, {"balance": 1.0})]
    rarest = int(counts[0].min())
    assert counts[1].tolist() == [rarest] * 3 and counts[0].max() > 2 * rarest
    weights = [build_loss(train, count).weights for count in counts]
    assert torch.equal(weights[1], torch.ones(3)) and weights[0].max() > 1.5 * weights[0].min()


def test_repeated_faces_fill_an_epoch() -> None:
    data = build_datamodule(study(), settings(balance=1.0, repeat=True), 0)
    rows = torch.cat([part[0] for part in batches(data)])
    assert len(rows) == 40 and len(rows.unique()) < 40
    assert data.class_counts().max() - data.class_counts().min() <= 1


def test_runs_on_one_split_share_their_faces() -> None:
    chosen = settings(fraction=0.5)
    first, again, other = (training_set(study(split_id), chosen) for split_id in (0, 0, 1))
    assert first is not None and again is not None and other is not None
    pd.testing.assert_frame_equal(first, again)
    assert set(first["face_id"]) != set(other["face_id"])


def test_trainings_on_part_of_the_faces_say_so_and_stay_comparable(tmp_path: Path) -> None:
    chosen = settings(fraction=0.5, label_noise=0.1)
    runs = [tmp_path / arm.name / "seed0" for arm in (MANUAL, TORCHVISION)]
    for arm, run in zip((MANUAL, TORCHVISION), runs, strict=True):
        fit_arm(study(), chosen, arm, 0, None, run, notify=lambda line: None)
    table = training_set(study(), chosen)
    assert table is not None
    fitted = read_json(runs[0] / "fit.json")
    assert fitted["train_faces"] == fitted["training_set"]["uses"] == len(table) == 20
    assert fitted["training_set"]["relabelled"] == 2
    assert sum(fitted["training_set"]["uses_by_class"].values()) == 20
    assert read_json(runs[0] / "best.json")["training_set"]["fraction"] == 0.5
    assert compare_protocols(runs)["equal"]
    fit_arm(study(), settings(), TORCHVISION, 0, None, tmp_path / "whole", notify=lambda line: None)
    checked = compare_protocols([runs[0], tmp_path / "whole"])
    assert "training_set" in checked["compared"] and not checked["equal"]
    assert "training_set" not in read_json(tmp_path / "whole" / "fit.json")


def test_faces_of_other_sides_are_refused() -> None:
    found = study()
    table = training_faces(found.split, CLASSES, TrainingSetConfig(), 0)
    moved = found.split.assign(split="test")
    with pytest.raises(ValueError, match="not on the side `train`"):
        FaceDataModule(found.canvases, moved, CLASSES, seed=0, batch_size=8, eval_batch_size=8, training=table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fraction": 0}, r"training_set\.fraction: .*greater than 0"),
        ({"fraction": 1.5}, r"training_set\.fraction"),
        ({"balance": 2}, r"training_set\.balance"),
        ({"label_noise": -0.1}, r"training_set\.label_noise"),
        ({"repeat": True}, r"training_set: repeat: .* set training_set\.fraction or training_set\.balance too"),
        ({"noise": 0.1}, r"training_set\.noise: no such field"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config("quick", {"training_set": values})
