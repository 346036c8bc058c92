"""Building arms: what must be equal between them, and what follows from the seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from maskbench.models import registry
from maskbench.models.pretrained import LoadedWeights, WeightsError, resolve_weights
from maskbench.models.registry import IMPLEMENTATIONS, build_model, depth_groups, head_of


@pytest.fixture(scope="module")
def loaded() -> LoadedWeights:
    return resolve_weights("bundled")


def test_head_is_bit_identical_in_all_arms_of_a_seed(loaded: LoadedWeights) -> None:
    heads = [
        head_of(build_model(name, 3, seed=5, loaded=weights)[0])
        for name in IMPLEMENTATIONS
        for weights in (None, loaded)
    ]
    for head in heads[1:]:
        assert torch.equal(head.weight, heads[0].weight) and torch.equal(head.bias, heads[0].bias)
    assert not heads[0].bias.any()
    assert heads[0].weight.std().item() == pytest.approx(0.01, rel=0.08)  # 1536 values: six standard errors ≈ 11 %
    other = head_of(build_model("manual", 3, seed=6, loaded=None)[0])
    assert not torch.equal(other.weight, heads[0].weight)


def test_random_start_follows_from_the_seed_in_both_implementations() -> None:
    first, record = build_model("manual", 3, seed=1, loaded=None)
    torch.rand(17)  # the global generator's state does not matter
    again, _ = build_model("manual", 3, seed=1, loaded=None)
    theirs, _ = build_model("torchvision", 3, seed=1, loaded=None)
    other, _ = build_model("manual", 3, seed=2, loaded=None)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
        assert torch.equal(tensor, theirs.state_dict()[name]), name
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert (record.source, record.matched, record.sha256) == ("none", 0, "")


def test_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    build_model("manual", 3, seed=1, loaded=None)
    assert torch.equal(state, torch.get_rng_state())


def test_same_weights_same_logits_through_the_registry(loaded: LoadedWeights) -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    logits = []
    for name in IMPLEMENTATIONS:
        model, record = build_model(name, 3, seed=0, loaded=loaded, zero_init_residual=True)
        assert record.matched == 180
        with torch.no_grad():
            logits.append(model.eval()(images))
    assert torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
def test_zero_init_residual_in_both_implementations(name: str) -> None:
    model, _ = build_model(name, 3, seed=0, loaded=None, zero_init_residual=True)
    gains = {key: value for key, value in model.named_parameters() if key.endswith("bn2.weight")}
    assert len(gains) == 16 and not any(gain.any() for gain in gains.values())


def test_unknown_implementation_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'resnet50'; known are manual, torchvision"):
        build_model("resnet50", 3, seed=0, loaded=None)


def test_adding_a_model_is_one_entry(loaded: LoadedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tiny(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 4, 3)
            self.fc = nn.Linear(4, num_classes)

    monkeypatch.setitem(registry.IMPLEMENTATIONS, "tiny", Tiny)
    model, record = build_model("tiny", 2, seed=0, loaded=None)
    assert record.source == "none"
    assert depth_groups(model) == {"stem": ["conv1.weight", "conv1.bias"], "head": ["fc.weight", "fc.bias"]}
    with pytest.raises(WeightsError, match=r"does not fit Tiny: 1 missing .conv1.bias.; 179 unexpected"):
        build_model("tiny", 2, seed=0, loaded=loaded)


@pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
def test_depth_groups_partition_the_parameters(name: str) -> None:
    model, _ = build_model(name, 3, seed=0, loaded=None)
    groups = depth_groups(model)
    assert list(groups) == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    flat = [parameter for names in groups.values() for parameter in names]
    assert flat == [parameter for parameter, _ in model.named_parameters()]
    # three tensors per convolution and batch norm; the first block of layer2 … layer4 has a projection
    assert [len(names) for names in groups.values()] == [3, 18, 27, 39, 21, 2]


def test_stray_parameters_are_named() -> None:
    with pytest.raises(ValueError, match=r"Sequential: not in exactly one of stem, .*: 0\.weight, 0\.bias"):
        depth_groups(nn.Sequential(nn.Linear(2, 2)))


def test_head_must_be_a_linear_layer() -> None:
    with pytest.raises(TypeError, match="has no linear layer fc"):
        head_of(nn.Identity())
