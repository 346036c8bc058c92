"""Pretrained weights: sources, records, errors. The network is always a stand-in."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from maskbench.models import pretrained
from maskbench.models.pretrained import RANDOM, LoadedWeights, WeightsError, load_into, resolve_weights
from maskbench.models.resnet34 import ResNet34

BUNDLED = Path(str(resources.files("maskbench"))) / "weights" / pretrained.BUNDLED
URL = torchvision.models.ResNet34_Weights.IMAGENET1K_V1.url
FILE = URL.rsplit("/", 1)[-1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no network, whatever this machine has."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(pretrained, "urlopen", _no_network)
    return tmp_path / "hub" / "checkpoints"


def _no_network(*_: object, **__: object) -> None:
    raise URLError("Name or service not known")


def _serve(content: bytes, calls: list[tuple[str, float]]) -> Callable[..., io.BytesIO]:
    def answer(request: Any, timeout: float) -> io.BytesIO:
        method = request if isinstance(request, str) else request.get_method()
        calls.append((method, timeout))
        return io.BytesIO(b"" if method == "HEAD" else content)

    return answer


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return torchvision.models.resnet34(weights=None).state_dict()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small stand-in for the published file, whose hash is taken for the published one."""
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(1000, 512)}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    monkeypatch.setattr(pretrained, "_hash_prefix", lambda name: digest[:8])
    return buffer.getvalue()


def test_bundled_record_is_the_files_metadata() -> None:
    loaded = resolve_weights("bundled")
    with safe_open(BUNDLED, framework="pt") as file:
        metadata = file.metadata()
    record = loaded.record
    assert (record.requested, record.source, record.name) == ("bundled", "bundled", BUNDLED.name)
    assert record.version == metadata["version"] and record.pretraining == metadata["pretraining"]
    assert record.top1 == float(metadata["top1"])
    assert record.mean == tuple(map(float, metadata["mean"].split(",")))
    assert record.std == tuple(map(float, metadata["std"].split(",")))
    assert record.sha256 == loaded.sha256 == hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    assert record.notice == ""


def test_bundled_tensors_fill_both_implementations_but_their_heads() -> None:
    loaded, stored = resolve_weights("bundled"), load_file(BUNDLED)
    for model in (ResNet34(3), torchvision.models.resnet34(weights=None, num_classes=3)):
        head = model.fc.weight.clone()
        record = load_into(model, loaded)
        # 36 convolutions and 36 batch norms of 4 tensors: gain, shift, mean, variance
        assert (record.matched, record.not_matched, record.dropped) == (36 * 5, ("fc.weight", "fc.bias"), ())
        assert torch.equal(model.fc.weight, head)
        expected = stored["conv1.weight"].double() * stored["conv1.weight.scale"].double()[:, None, None, None]
        torch.testing.assert_close(model.conv1.weight.double(), expected, rtol=1e-6, atol=0)
        assert torch.equal(model.layer3[0].bn1.running_var, stored["layer3.0.bn1.running_var"])


def test_none_is_random() -> None:
    loaded = resolve_weights("none")
    model = nn.Linear(2, 2)
    assert load_into(model, loaded) is RANDOM
    assert (loaded.sha256, RANDOM.source, RANDOM.matched, dict(loaded.tensors)) == ("", "none", 0, {})


def test_record_is_json() -> None:
    record = replace(resolve_weights("bundled").record, not_matched=("fc.weight", "fc.bias"))
    again = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert again == record.to_dict()
    assert again["not_matched"] == ["fc.weight", "fc.bias"] and len(again) == 13


def test_imagenet_without_network_says_what_was_tried_and_what_to_do(cache: Path) -> None:
    with pytest.raises(WeightsError, match="Name or service not known") as caught:
        resolve_weights("imagenet")
    message = str(caught.value)
    assert URL in message and str(cache) in message and "--weights bundled" in message and "\n" not in message


def test_auto_without_network_falls_back_with_a_notice() -> None:
    loaded = resolve_weights("auto")
    assert (loaded.record.requested, loaded.record.source) == ("auto", "bundled")
    notice = loaded.record.notice
    assert "Name or service not known" in notice and loaded.record.pretraining in notice
    assert str(Path.home()) not in notice  # notices are saved with results


@pytest.mark.parametrize("choice", ["auto", "imagenet"])
def test_imagenet_is_downloaded_once_and_recorded(
    choice: str, cache: Path, published: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, float]] = []
    said: list[str] = []
    monkeypatch.setattr(pretrained, "urlopen", _serve(published, calls))
    loaded = resolve_weights(choice, said.append)
    assert calls == [("HEAD", pretrained.PROBE_SECONDS), (URL, pretrained.STALL_SECONDS)]
    assert said == [f"downloading {URL}"]
    assert (cache / FILE).read_bytes() == published
    record = loaded.record
    assert (record.requested, record.source, record.notice) == (choice, "imagenet", "")
    assert record.sha256 == hashlib.sha256(published).hexdigest()
    assert (record.name, record.version) == ("ResNet34_Weights.IMAGENET1K_V1", "IMAGENET1K_V1")
    assert record.top1 == 0.73314 and record.mean == (0.485, 0.456, 0.406) and record.std == (0.229, 0.224, 0.225)
    assert sorted(loaded.tensors) == ["conv1.weight", "fc.weight"]
    monkeypatch.setattr(pretrained, "urlopen", _no_network)
    assert resolve_weights(choice).sha256 == loaded.sha256  # now from the cache


def test_a_download_of_another_file_is_refused_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "urlopen", _serve(b"<html>log in first</html>", []))
    with pytest.raises(WeightsError, match="another file than the published one"):
        resolve_weights("imagenet")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_reported_without_its_path(
    cache: Path, published: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.write_text("a file where the folder should be")
    monkeypatch.setattr(pretrained, "urlopen", _serve(published, []))
    notice = resolve_weights("auto").record.notice
    assert "could not be downloaded: " in notice and str(cache.parent) not in notice


def test_a_damaged_cache_is_reported(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(b"half")
    with pytest.raises(WeightsError, match="damaged"):
        resolve_weights("imagenet")
    assert "damaged" in resolve_weights("auto").record.notice


def test_published_hash_is_read_from_the_name() -> None:
    assert pretrained._hash_prefix(FILE) == "b627a593"
    with pytest.raises(WeightsError, match="no hash"):
        pretrained._hash_prefix("resnet34.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_file_with_another_head(tmp_path: Path, state: dict[str, torch.Tensor], suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    model = ResNet34(3)
    record = load_into(model, resolve_weights(str(path)))
    assert (record.source, record.name, record.requested) == ("file", path.name, str(path))
    assert sorted(record.dropped) == ["fc.bias", "fc.weight"]
    assert record.matched == 180
    assert (record.top1, record.mean, record.pretraining) == (None, (), "unknown")
    assert torch.equal(model.layer4[2].conv2.weight, state["layer4.2.conv2.weight"])


@pytest.mark.parametrize(("key", "value"), [("top1", "27 %"), ("top1", "27.2"), ("mean", "a,b,c")])
def test_wrong_metadata_is_named(tmp_path: Path, key: str, value: str) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", {key: value})
    with pytest.raises(WeightsError, match=f"metadata {key}="):
        resolve_weights(str(tmp_path / "w.safetensors"))


def test_what_does_not_fit_is_named_and_changes_nothing(state: dict[str, torch.Tensor]) -> None:
    tensors = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    for block in range(6):
        del tensors[f"layer3.{block}.conv1.weight"]
    tensors["layer5.weight"] = torch.ones(1)
    tensors["conv1.weight"] = torch.ones(64, 1, 7, 7)
    model = ResNet34(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_into(model, LoadedWeights(tensors, resolve_weights("bundled").record))
    message = str(caught.value)
    assert "does not fit ResNet34" in message
    assert "6 missing (layer3.0.conv1.weight, layer3.1.conv1.weight, " in message and "and 2 more" in message
    assert "1 unexpected (layer5.weight)" in message
    assert "1 of another shape (conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7))" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_unknown_choice_names_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="imagnet: neither a weights file nor one of auto, imagenet"):
        resolve_weights("imagnet")
