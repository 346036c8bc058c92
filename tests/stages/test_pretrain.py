"""Pretraining on drawn shapes: it learns, resumes exactly, and leaves a file that both implementations read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from maskbench import schemas
from maskbench.config import ConfigError
from maskbench.config.pretraining import PretrainConfig, make_pretraining
from maskbench.data.transforms import WholeImage, augment
from maskbench.models.pretrained import backbone_tensors, load_into, resolve_weights
from maskbench.models.registry import build_model, head_of
from maskbench.models.weight_files import COUNTER
from maskbench.rundir import RunError
from maskbench.seeding import generator
from maskbench.stages.pretrain import Wish, pretrain
from maskbench.storage import read_json, sha256_file
from maskbench.training.checkpoint import BACKBONE, CheckpointError, load_checkpoint
from tests.labelled_shapes import make_shapes

IMPLEMENTATIONS = ("manual", "torchvision")


def recipe(**changes: Any) -> PretrainConfig:
    """A few seconds' worth; views nearly whole, since shapes are small."""
    small = {"batch_size": 12, "resume_seconds": 0, "augment": {"translate": 0.05, "scale": 0.1, "erase": 0.0}}
    train = {**small, **changes.pop("train", {})}
    return make_pretraining({"sizes": "24:5,32:2", "crop": 0.95, "average_decay": 0.9, "train": train, **changes})


def run(wish: Wish, chosen: PretrainConfig, said: list[str] | None = None) -> dict[str, Any]:
    notify = (said if said is not None else []).append
    return pretrain(wish, chosen, notify=notify, progress=lambda title: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Wish:
    """A finished pretraining."""
    base = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKBENCH_CACHE", str(base / "cache"))
        wish = Wish(make_shapes(base / "shapes", train=16, val=10), base / "shapes.int8.safetensors", "2")
        run(wish, recipe())
    return wish


def test_it_learns_above_chance_and_says_what_it_did(trained: Wish) -> None:
    found = read_json(trained.record)
    assert found["top1"] > 0.6  # chance: 1/3 of 30 images; 0.6 of them by chance alone has p < 0.002
    assert found["data"] | {"fingerprint": ""} == {
        "folder": "shapes", "layout": "train and val", "fingerprint": "", "classes": 3, "train_images": 48,
        "val_images": 30, "native_px": 24, "unreadable": {},
    }  # fmt: skip
    assert found["recipe"]["sizes"] == [{"size": 24, "epochs": 5}, {"size": 32, "epochs": 2}]
    assert found["epochs"] == found["training"]["epochs_run"] == 7 and len(found["commands"]) == 1
    assert found["sha256"] == sha256_file(trained.out)
    assert str(trained.out.parent) not in trained.record.read_text().replace(found["commands"][0], "")
    assert not list(trained.folder.glob("*.ckpt")) and not (trained.folder / "draft.safetensors").exists()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_file_fits_both_implementations_and_travels_with_its_record(trained: Wish, implementation: str) -> None:
    loaded = resolve_weights(str(trained.out))
    record = loaded.record
    assert (record.name, record.version, record.top1) == (
        "shapes.int8.safetensors", "2", round(read_json(trained.record)["top1"], 4),
    )  # fmt: skip
    assert record.pretraining == "shapes, 48 images of 3 classes, 5 epochs at 24 px, 2 epochs at 32 px"
    assert record.mean == (0.485, 0.456, 0.406) and record.std == (0.229, 0.224, 0.225)
    model, _ = build_model(implementation, 5, seed=0, loaded=None)
    found = load_into(model, loaded)
    backbone = [name for name in model.state_dict() if not name.startswith("fc.") and not name.endswith(COUNTER)]
    assert found.matched == len(backbone) == read_json(trained.record)["matched"][implementation]
    assert found.not_matched == ("fc.weight", "fc.bias") and found.dropped == ()


def test_its_tensors_are_those_of_the_bundled_file(trained: Wish) -> None:
    """Same names, kinds and shapes: one may take the other's place."""
    ours, bundled = (resolve_weights(choice).tensors for choice in (str(trained.out), "bundled"))
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in bundled.items()}
    assert abs(trained.out.stat().st_size - 21_456_816) < 1000


def test_rounding_is_bounded_by_half_a_step(trained: Wish) -> None:
    model, _ = load_checkpoint(trained.folder / "last.safetensors", BACKBONE)
    exact, rounded = backbone_tensors(model), resolve_weights(str(trained.out)).tensors
    for name, tensor in exact.items():
        step = tensor.abs().amax(dim=(1, 2, 3), keepdim=True) / 127 if tensor.ndim == 4 else torch.zeros(1)
        assert ((rounded[name] - tensor).abs() <= step * 0.5001).all(), name
    assert 0 < read_json(trained.record)["relative_rounding_error"] < 0.02


def test_top1_is_that_of_the_reloaded_file_and_the_float_one_that_of_the_last_epoch(trained: Wish) -> None:
    found = read_json(trained.record)
    epochs = schemas.read_table(trained.folder / "epochs", schemas.EPOCHS)
    last = epochs[(epochs["epoch"] == 6) & (epochs["split"] == "val") & (epochs["metric"] == "top1")]
    assert found["top1_float"] == last["value"].item()
    # From the files alone, image by image with Pillow's pixels, in float32: an answer may lie elsewhere than in bf16.
    exact, record = load_checkpoint(trained.folder / "last.safetensors", BACKBONE)
    model, _ = build_model("torchvision", 3, seed=0, loaded=resolve_weights(str(trained.out)))
    head_of(model).load_state_dict(head_of(exact).state_dict())
    view = WholeImage(32, tuple(record["preprocess"]["mean"]), tuple(record["preprocess"]["std"]))
    right, of = 0, 0
    for position, name in enumerate(record["classes"]):
        for path in sorted((trained.data / "val" / name).iterdir()):
            pixels = torch.from_numpy(_pixels(path)).permute(2, 0, 1)[None]
            with torch.no_grad():
                right += int(model.eval()(view.view(pixels)).argmax()) == position
            of += 1
    assert of == 30 and abs(right / of - found["top1"]) <= 1.5 / of


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


class StoppedError(Exception):
    """The process dies."""


def test_an_interrupted_run_ends_with_the_same_file(tmp_path: Path) -> None:
    shapes = make_shapes(tmp_path / "shapes", train=6, val=2)
    chosen = recipe(sizes="24:1,32:1")
    whole, stopped = (Wish(shapes, tmp_path / name / "w.safetensors", "1") for name in ("whole", "stopped"))
    run(whole, chosen)

    def die(line: str) -> None:
        if "epoch 2/2" in line:  # it goes on after the first epoch, at the second size
            raise StoppedError

    with pytest.raises(StoppedError):
        pretrain(stopped, chosen, notify=die, progress=lambda title: None)
    assert (stopped.folder / "resume.ckpt").is_file() and not stopped.out.exists()
    said: list[str] = []
    run(stopped, chosen, said)
    assert [line.split(":")[0] for line in said if "epoch" in line] == ["manual seed 0 epoch 2/2"]
    assert stopped.out.read_bytes() == whole.out.read_bytes()
    for name in ("epochs", "steps"):
        first, second = (pd.read_parquet(wish.folder / f"{name}.parquet") for wish in (whole, stopped))
        pd.testing.assert_frame_equal(first, second)
    assert len(read_json(stopped.record)["commands"]) == 2


def test_two_processes_see_what_one_sees_and_one_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKBENCH_CACHE", str(tmp_path / "cache"))
    shapes, said = make_shapes(tmp_path / "shapes", train=6, val=2), list[str]()
    chosen = recipe(sizes="24:1", train={"precision": "fp32"})
    alone, two = (Wish(shapes, tmp_path / name / "w.safetensors", "1") for name in ("alone", "two"))
    one = run(alone, chosen)["training"]
    together = pretrain(two, chosen, notify=said.append, progress=lambda title: None, devices=2)["training"]
    assert (one["processes"], together["processes"]) == (1, 2)
    assert [line.split(":")[0] for line in said if " epoch " in line] == ["manual seed 0 epoch 1/1"]
    assert one["batches_sha256"] == together["batches_sha256"]  # the same images in the same order
    first, second = (pd.read_parquet(wish.folder / "steps.parquet") for wish in (alone, two))
    # Of the first step nothing but rounding; later ones of a network with kinks drift.
    assert second["loss"].iloc[0] == pytest.approx(first["loss"].iloc[0], rel=1e-5)
    assert read_json(two.record)["data"] == read_json(alone.record)["data"]
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RunError, match=r"pretraining failed \(exit code 1\); the same command goes on"):
        pretrain(Wish(shapes, tmp_path / "x" / "w.safetensors", "1"), chosen, notify=said.append,
                 progress=lambda title: None, devices=2)  # fmt: skip
    with pytest.raises(ConfigError, match=r"^train.batch_size: 13 devices cannot share batches of 12"):
        pretrain(two, chosen, notify=said.append, progress=lambda title: None, devices=13)


def test_a_finished_pretraining_is_kept_and_another_needs_another_name(trained: Wish) -> None:
    before, said = trained.out.read_bytes(), []
    assert run(trained, recipe(), said)["version"] == "2" and "finished already" in said[-1]
    assert trained.out.read_bytes() == before
    with pytest.raises(RunError, match=r"recipe.train.learning_rate: 0.002 there, 0.1 here.*another --out"):
        run(trained, recipe(train={"learning_rate": 0.1}))
    # A new version of the same training: nothing is trained again.
    newer = Wish(trained.data, trained.out, "3")
    said.clear()
    assert run(newer, recipe(), said)["version"] == "3" and not any("epoch" in line for line in said)
    run(trained, recipe())


def test_what_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    shapes = make_shapes(tmp_path / "shapes", train=2, val=1)
    taken = tmp_path / "w.safetensors"
    taken.write_bytes(b"precious")
    with pytest.raises(RunError, match="exists already"):
        run(Wish(shapes, taken, "1"), recipe())
    (tmp_path / "x.training").mkdir()
    (tmp_path / "x.training" / "thesis.txt").touch()
    with pytest.raises(RunError, match="nothing was deleted"):
        run(Wish(shapes, tmp_path / "x.safetensors", "1", overwrite=True), recipe())
    with pytest.raises(ConfigError, match=r"ends with .safetensors"):
        run(Wish(shapes, tmp_path / "w.pth", "1"), recipe())
    assert taken.read_bytes() == b"precious" and (tmp_path / "x.training" / "thesis.txt").exists()


@pytest.mark.parametrize("layout", ["tiny", "plain"])
def test_other_layouts_and_a_broken_image(tmp_path: Path, layout: str) -> None:
    shapes = make_shapes(tmp_path / "shapes", layout, train=6, val=2)
    broken = "train/bar/images/bar_0.png" if layout == "tiny" else "bar/bar_0.png"
    (shapes / broken).write_bytes(b"\x89PNG\r\n\x1a\nno more")
    said: list[str] = []
    found = run(Wish(shapes, tmp_path / "w.safetensors", "1"), recipe(sizes="24:1", implementation="torchvision"), said)
    assert any(line.startswith(f"left out: {shapes / broken}: bar_0.png: damaged") for line in said)
    assert list(found["data"]["unreadable"]) == [broken]
    assert found["data"]["train_images"] + found["data"]["val_images"] == (23 if layout == "tiny" else 17)


def test_a_pretraining_is_no_classifier_of_faces(trained: Wish) -> None:
    with pytest.raises(CheckpointError, match="a backbone that other trainings start from"):
        load_checkpoint(trained.folder / "last.safetensors")


def test_whole_images_are_resized_and_views_are_crops() -> None:
    canvases = torch.arange(20 * 20).view(1, 1, 20, 20).remainder(256).to(torch.uint8).repeat(2, 3, 1, 1)
    whole = WholeImage(20, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), crop=0.5)
    assert torch.equal(whole.view(canvases), canvases.float() / 255)
    still = recipe().train.augment.model_copy(
        update={"flip": 0.0, "rotate_degrees": 0.0, "scale": 0.0, "translate": 0.0, "brightness": 0.0, "contrast": 0.0,
                "saturation": 0.0, "rescale": 0.0}
    )  # fmt: skip
    # Without any chance left, the view is the central half, whatever size is asked for.
    found = augment(canvases, WholeImage(10, whole.mean, whole.std, crop=0.5), still, generator(0, "a"))
    assert torch.allclose(found, canvases[:, :, 5:15, 5:15].float() / 255, atol=1e-4)
    assert augment(canvases, WholeImage(48, whole.mean, whole.std, crop=0.5), still, generator(0, "a")).shape[-1] == 48


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"sizes": "64"}, "sizes: write it as size:epochs"),
        ({"sizes": "8:1"}, "sizes.0.size"),
        ({"sizes": "64:0"}, "sizes.0.epochs"),
        ({"train": {"epochs": 3}}, "train.epochs: epochs follow from sizes"),
        ({"train": {"patience": 3}}, "train.patience"),
        ({"nosuch": 1}, "nosuch: no such field"),
    ],
)
def test_wrong_recipes_name_the_field(layer: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_pretraining(layer)


def test_recipes_sizes() -> None:
    found = make_pretraining({"sizes": "64:2, 96:1"})
    assert [found.size_in(epoch) for epoch in range(3)] == [64, 64, 96] and found.train.epochs == 3
    assert found.longest_size == 96  # 1 · 96² > 2 · 64²
    assert found.train.learning_rate == 2e-3 and found.train.augment.erase == 0.1
    assert make_pretraining({"train": {"augment": {"erase": 0.0}}}).train.augment.scale == 0.25
