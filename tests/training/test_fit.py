import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from maskbench import schemas
from maskbench.inference.predict import predict_logits
from maskbench.models.registry import build_model
from maskbench.storage import read_json
from maskbench.training import fit as module
from maskbench.training.checkpoint import execution_of, load_checkpoint, preprocess_of
from maskbench.training.fit import build_datamodule, fit_arm
from maskbench.training.history import History
from maskbench.training.protocol import compare_protocols
from tests.training.study_in_memory import CLASSES, MANUAL, TORCHVISION, config, inputs

SCRIPT = Path(__file__).with_name("study_in_memory.py")


def quiet(line: str) -> None:
    """Swallow progress lines."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms trained for two epochs."""
    base = tmp_path_factory.mktemp("trained")
    for arm in (MANUAL, TORCHVISION):
        fit_arm(inputs(), config(), arm, 0, None, base / arm.name / "seed0", notify=quiet)
    return base


def test_the_logged_metric_is_that_of_the_reloaded_checkpoint(trained: Path) -> None:
    folder = trained / "manual-random" / "seed0"
    model, record = load_checkpoint(folder / "best.safetensors")
    data = build_datamodule(inputs(), config(), seed=0)
    found = predict_logits(
        model, data.val_dataloader(), preprocess_of(record), execution_of(record),
        flip_average=record["evaluate"]["flip_average"],
    )  # fmt: skip
    epochs = schemas.read_table(folder / "epochs", schemas.EPOCHS)
    logged = epochs[(epochs["epoch"] == record["epoch"]) & (epochs["split"] == "val") & (epochs["class_name"] == "")]
    values = logged.set_index("metric")["value"]
    predicted = found.logits.argmax(axis=1)
    assert values["accuracy"] == accuracy_score(found.targets, predicted)
    assert values["f1_macro"] == pytest.approx(f1_score(found.targets, predicted, average="macro"), abs=1e-12)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(found.logits), torch.from_numpy(found.targets))
    assert values["cross_entropy"] == pytest.approx(loss.item(), rel=1e-6)
    assert values["f1_macro"] == record["val_f1_macro"]


def test_both_arms_see_the_same_pixels_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[bytes]] = {}
    original = module.ArmModule.views

    def record(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        images = original(self, batch, batch_idx)
        seen.setdefault(self.history.arm, []).append(images.numpy().tobytes() + batch.targets.numpy().tobytes())
        return images

    monkeypatch.setattr(module.ArmModule, "views", record)
    for arm in (MANUAL, TORCHVISION):
        fit_arm(inputs(), config(), arm, 0, None, tmp_path / arm.name, notify=quiet)
    assert len(seen["manual-random"]) == 2 * 5
    assert seen["manual-random"] == seen["torchvision-random"]
    assert len(set(seen["manual-random"])) == 10  # and no two batches are alike


def test_equal_initial_weights_give_equal_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol leaves no other difference between implementations: same weights in, same curves out."""
    start, _ = build_model("manual", 3, seed=5, loaded=None)

    def same_start(implementation: str, *args: Any, **kwargs: Any) -> Any:
        model, record = build_model(implementation, *args, **kwargs)
        model.load_state_dict(start.state_dict())
        return model, record

    monkeypatch.setattr(module, "build_model", same_start)
    for arm in (MANUAL, TORCHVISION):
        fit_arm(inputs(), config(precision="fp32"), arm, 0, None, tmp_path / arm.name, notify=quiet)
    steps = [schemas.read_table(tmp_path / arm.name / "steps", schemas.STEPS) for arm in (MANUAL, TORCHVISION)]
    np.testing.assert_allclose(steps[0]["loss"], steps[1]["loss"], rtol=1e-4)


def test_the_saved_files_prove_an_equal_protocol_and_show_an_unequal_one(trained: Path, tmp_path: Path) -> None:
    runs = [trained / arm.name / "seed0" for arm in (MANUAL, TORCHVISION)]
    checked = compare_protocols(runs)
    assert checked["equal"] and checked["epochs_compared"] == {"0": 2}
    other = tmp_path / "torchvision-random" / "seed0"
    fit_arm(inputs(54), config(learning_rate=0.01), TORCHVISION, 0, None, other, notify=quiet)
    checked = compare_protocols([runs[0], other])
    assert not checked["equal"]
    assert checked["differences"] == [
        "protocol of torchvision-random/seed0", "order of faces of torchvision-random, seed 0",
    ]  # fmt: skip


def test_a_run_leaves_complete_tables(trained: Path) -> None:
    folder = trained / "torchvision-random" / "seed0"
    tables = {name: schemas.read_table(folder / name, schema) for name, schema in module.TABLES.items()}
    assert len(tables["steps"]) == 10
    assert sorted(tables["gradients"]["step"].unique()) == [0, 3, 6, 9]
    counts = tables["confusion"].groupby(["epoch", "split"])["count"].sum()
    assert (counts.xs("train", level="split") == 40).all() and (counts.xs("val", level="split") == 10).all()
    metrics = set(tables["epochs"]["metric"])
    assert {"loss", "cross_entropy", "accuracy", "precision_macro", "recall_weighted", "f1", "f1_macro"} <= metrics
    assert set(tables["epochs"].loc[tables["epochs"]["metric"] == "f1", "class_name"]) == set(CLASSES)
    fitted = read_json(folder / "fit.json")
    assert fitted["epochs_run"] == 2 and fitted["best_epoch"] in (0, 1)
    assert not (folder / "resume.ckpt").exists()
    assert len(pd.read_csv(folder / "epochs.csv")) == 2


def test_pixels_do_not_depend_on_the_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[torch.Tensor]] = {"fp32": [], "bf16": []}
    original = module.ArmModule.views
    for precision, images in seen.items():
        monkeypatch.setattr(
            module.ArmModule, "views", lambda *a, keep=images: keep.append(original(*a).clone()) or keep[-1]
        )
        settings = config(1, precision=precision, augment={"blur": 1.0})
        fit_arm(inputs(), settings, MANUAL, 0, None, tmp_path / precision, notify=quiet)
    assert len(seen["fp32"]) == 5
    for a, b in zip(seen["fp32"], seen["bf16"], strict=True):
        assert a.dtype == b.dtype == torch.float32 and torch.equal(a, b)


def test_inputs_grow_and_validation_sees_whole_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    original = module.ArmModule.views

    def views(*arguments: Any) -> torch.Tensor:
        images = original(*arguments)
        seen.append(("train", images.shape[-1]))
        return images

    monkeypatch.setattr(module.ArmModule, "views", views)
    monkeypatch.setattr(
        "maskbench.data.transforms.Preprocess.normalise",
        lambda self, rgb: seen.append(("val", rgb.shape[-1])) or rgb if not torch.is_grad_enabled() else rgb,
    )
    fit_arm(inputs(), config(3, small_inputs="24:2"), MANUAL, 0, None, tmp_path, notify=quiet)
    assert [size for side, size in seen if side == "train"] == [24] * 10 + [32] * 5
    assert {size for side, size in seen if side == "val"} == {32}


def test_one_lucky_epoch_does_not_decide_which_weights_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [0.1, 0.9, 0.2, 0.6, 0.7, 0.6]  # means of up to three: 0.1, 0.5, 0.4, 0.57, 0.5, 0.63
    original = History.value

    def scripted(self: Any, epoch: int, split: str, metric: str, *rest: Any) -> float:
        if (split, metric) == ("val", "f1_macro"):
            return scores[epoch]
        return original(self, epoch, split, metric, *rest)

    monkeypatch.setattr(History, "value", scripted)
    fitted = fit_arm(inputs(), config(6), MANUAL, 0, None, tmp_path / "smoothed", notify=quiet)
    assert (fitted["best_epoch"], fitted["best_f1_macro"]) == (5, 0.6)
    assert read_json(tmp_path / "smoothed" / "best.json")["epoch"] == 5
    fitted = fit_arm(inputs(), config(6, selection_window=1), MANUAL, 0, None, tmp_path / "single", notify=quiet)
    assert (fitted["best_epoch"], fitted["best_f1_macro"]) == (1, 0.9)


def test_early_stopping_stops(tmp_path: Path) -> None:
    # a rate of zero learns nothing, so the second epoch is not better and patience 1 is spent
    fitted = fit_arm(
        inputs(), config(6, patience=1, learning_rate=1e-30), MANUAL, 0, None, tmp_path / "run", notify=quiet
    )
    assert fitted["stopped_early"] and fitted["epochs_run"] < 6


def test_one_batch_can_be_learnt_by_heart(tmp_path: Path) -> None:
    effects = (
        "flip",
        "rotate_degrees",
        "scale",
        "translate",
        "brightness",
        "contrast",
        "saturation",
        "blur",
        "rescale",
    )
    plain = dict.fromkeys(effects, 0)
    settings = config(25, batch_size=8, loss="cross_entropy", label_smoothing=0, augment=plain, weight_decay=0)
    fit_arm(inputs(12), settings, MANUAL, 0, None, tmp_path, notify=quiet)
    steps = schemas.read_table(tmp_path / "steps", schemas.STEPS)
    assert steps["loss"].iloc[-1] < 0.05 * steps["loss"].iloc[0]


def test_a_killed_run_ends_as_one_never_killed(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, str(SCRIPT)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    process = subprocess.Popen([*command, str(killed), "4"], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "epochs.csv").is_file() or len(pd.read_csv(killed / "epochs.csv")) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "fit.json").exists() and (killed / "resume.ckpt").exists()
    for folder in (whole, killed):
        subprocess.run([*command, str(folder), "4"], env=environment, check=True, stdout=subprocess.DEVNULL)
    for name, schema in module.TABLES.items():
        pd.testing.assert_frame_equal(
            schemas.read_table(killed / name, schema), schemas.read_table(whole / name, schema)
        )
    for name in ("best", "last"):
        first, second = (load_checkpoint(folder / f"{name}.safetensors")[0] for folder in (whole, killed))
        for (key, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
            assert torch.equal(a, b), key
    ends = [read_json(folder / "fit.json") for folder in (whole, killed)]
    assert ends[0]["batches_sha256"] == ends[1]["batches_sha256"]
    assert (ends[0]["best_epoch"], ends[0]["best_f1_macro"]) == (ends[1]["best_epoch"], ends[1]["best_f1_macro"])
