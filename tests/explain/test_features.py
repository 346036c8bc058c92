"""Features, statistics and favourite inputs of layers, on networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskbench.data.transforms import Preprocess
from maskbench.explain import features
from maskbench.explain.features import (
    effective_rank,
    feature_maps,
    first_filters,
    layer_statistics,
    maximise_channel,
    pooled_features,
)
from maskbench.models.execution import Execution
from maskbench.models.registry import build_model

PLAIN = Execution("cpu", "fp32", "contiguous")
HALF = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def canvases(count: int) -> Tensor:
    return torch.randint(0, 255, (count, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("implementation", ["manual", "torchvision"])
def test_features_are_those_of_a_plain_forward_pass(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_BATCH", 2)
    model, _ = build_model(implementation, 3, seed=0, loaded=None)
    model.train()
    found = pooled_features(model, canvases(5), HALF, PLAIN)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert {depth: part.shape for depth, part in found.items()} == {
        "stem": (5, 64), "layer1": (5, 64), "layer2": (5, 128), "layer3": (5, 256), "layer4": (5, 512),
    }  # fmt: skip
    model.eval()
    with torch.no_grad():
        logits = model(HALF.view(canvases(5)))
        again = model.fc(torch.from_numpy(found["layer4"]))  # what the head reads
    assert torch.allclose(again, logits, atol=1e-4)


class Known(nn.Module):
    """Every depth passes on what it is given; the third channel is always 0."""

    def __init__(self) -> None:
        super().__init__()
        self.maxpool = nn.ReLU()
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Identity() for _ in range(4))
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(
            self.layer3(self.layer2(self.layer1(self.maxpool(x * torch.tensor([1.0, 1, 0]).view(3, 1, 1)))))
        )
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def test_sparsity_and_dead_channels_are_counted_over_all_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_BATCH", 1)
    pictures = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)  # -1 after normalisation: 0 after the ReLU
    pictures[0, 0] = 255  # the first face is red everywhere, the second green in its upper half
    pictures[1, 1, :20] = 255
    table = layer_statistics(Known(), pictures, HALF, PLAIN).set_index("depth")
    row = table.loc["stem"]
    # 6 planes of 32 · 32: one full, one half full
    assert row["sparsity"] == pytest.approx(1 - 1.5 / 6)
    assert row["mean_activation"] == pytest.approx(1.5 / 6)
    assert row[["channels", "positions", "dead_channels"]].tolist() == [3, 1024, 1]
    assert row["effective_rank"] == pytest.approx(1.0)  # two faces lie on one line


def test_the_effective_rank_of_a_known_spectrum() -> None:
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.normal(size=(40, 3)) - 0)
    left = left - left.mean(axis=0)
    left, _ = np.linalg.qr(left)
    right, _ = np.linalg.qr(rng.normal(size=(6, 3)))
    values = np.array([4.0, 2.0, 2.0])
    share = values / values.sum()  # ½, ¼, ¼: entropy 1.5 ln 2, so 2^1.5 directions
    assert effective_rank((left * values @ right.T).astype(np.float32)) == pytest.approx(2**1.5, rel=1e-4)
    assert np.exp(-(share * np.log(share)).sum()) == pytest.approx(2**1.5)
    assert np.isnan(effective_rank(np.ones((4, 2), np.float32)))


def test_the_strongest_channels_come_first() -> None:
    image = torch.stack([torch.full((8, 8), 0.2), torch.full((8, 8), 0.9), torch.full((8, 8), 5.0)])
    channels, maps = feature_maps(Known(), image, "layer2", 2)
    assert channels.tolist() == [1, 0]
    assert np.allclose(maps[0], 0.9)


def test_first_filters_are_the_weights_of_the_first_convolution() -> None:
    model, _ = build_model("torchvision", 3, seed=0, loaded=None)
    assert np.array_equal(first_filters(model), model.conv1.weight.detach().numpy())


def test_a_favourite_input_excites_its_channel_and_the_model_stays_as_it_was() -> None:
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = maximise_channel(model, "layer1", 5, 32, steps=12)
    assert found.shape == (3, 32, 32)
    assert (found.min(), found.max()) == (0.0, 1.0)
    assert np.array_equal(found, maximise_channel(model, "layer1", 5, 32, steps=12))
    start = maximise_channel(model, "layer1", 5, 32, steps=0)

    def answer(image: np.ndarray) -> float:
        model.eval()
        shown = torch.from_numpy((image - image.mean()) / image.std())[None]
        return float(feature_maps(model, shown[0], "layer1", 64)[1][
            list(feature_maps(model, shown[0], "layer1", 64)[0]).index(5)].mean())  # fmt: skip

    assert answer(found) > answer(start)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="channel 64: layer1 has 64"):
        maximise_channel(model, "layer1", 64, 32, steps=1)
    assert not any(module._forward_hooks for module in model.modules())
