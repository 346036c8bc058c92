import errno
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from maskbench.models.registry import build_model
from maskbench.training import checkpoint
from maskbench.training.checkpoint import CheckpointError, load_checkpoint, read_record, save_checkpoint
from maskbench.training.trainer import AtomicCheckpointIO

RECORD = {"implementation": "manual", "classes": ["no", "yes"], "arm": "manual-random"}


@pytest.fixture
def model() -> torch.nn.Module:
    return build_model("manual", 2, seed=0, loaded=None)[0].eval()


def test_a_model_comes_back_bit_for_bit_with_its_record(tmp_path: Path, model: torch.nn.Module) -> None:
    save_checkpoint(tmp_path / "best.safetensors", model, RECORD)
    loaded, record = load_checkpoint(tmp_path / "best.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), model(images))
    assert {key: record[key] for key in RECORD} == RECORD
    assert json.loads((tmp_path / "best.json").read_text()) == record


def test_disk_full_keeps_the_previous_checkpoint(
    tmp_path: Path, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, model, RECORD)
    before = path.read_bytes()

    def full(tensors: object, target: Path, **options: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, model, {**RECORD, "arm": "other"})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.json", "best.safetensors"]
    assert read_record(path)["arm"] == "manual-random"


def test_disk_full_keeps_the_previous_resume_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resume.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"epoch": 1}, path)

    def full(value: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"resume\.ckpt: could not be written"):
        writer.save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["resume.ckpt"]


def test_files_that_are_no_checkpoints_are_named(tmp_path: Path, model: torch.nn.Module) -> None:
    absent, damaged, foreign, unfit = (
        tmp_path / f"{name}.safetensors" for name in ("absent", "damaged", "foreign", "unfit")
    )
    damaged.write_bytes(pickle.dumps({"a": 1}))
    save_file({"a": torch.zeros(1)}, foreign)
    save_checkpoint(unfit, torch.nn.Linear(2, 2), RECORD)
    for path, message in [
        (absent, "not a readable checkpoint"), (damaged, "not a readable checkpoint"),
        (foreign, "not a maskbench checkpoint"), (unfit, "tensors do not fit manual"),
    ]:  # fmt: skip
        with pytest.raises(CheckpointError, match=rf"{path.name}.*{message}"):
            load_checkpoint(path)
