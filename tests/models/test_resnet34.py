"""The hand-written ResNet34 against torchvision's."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

from maskbench.models.resnet34 import BasicBlock, ResNet34, zero_residual_gains


def reference(num_classes: int, seed: int = 0) -> nn.Module:
    """torchvision's network with seeded weights, and batch-norm statistics unlike the initial ones."""
    torch.manual_seed(seed)
    model = torchvision.models.resnet34(weights=None, num_classes=num_classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, ResNet34]:
    theirs = reference(3).double()
    ours = ResNet34(3).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 33, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_same_weights_same_logits_in_evaluation(pair: tuple[nn.Module, ResNet34], images: Tensor) -> None:
    theirs, ours = (model.eval() for model in pair)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)


def test_same_weights_same_logits_gradients_and_statistics_in_training(images: Tensor) -> None:
    theirs = reference(3, seed=2).double().train()
    ours = ResNet34(3).double().train()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    targets = torch.tensor([0, 2, 1])
    outputs = []
    for model in (theirs, ours):
        logits = model(images)
        nn.functional.cross_entropy(logits, targets).backward()
        outputs.append(logits)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert len(gradients) == 110  # 36 convolutions + 2 · 36 batch-norm tensors + 2 of the last layer
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-10, atol=1e-12, msg=name)
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, dict(theirs.named_buffers())[name], msg=name)


def test_names_are_torchvisions() -> None:
    theirs, ours = torchvision.models.resnet34(weights=None), ResNet34()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert {n: t.shape for n, t in ours.state_dict().items()} == {n: t.shape for n, t in theirs.state_dict().items()}


@pytest.mark.parametrize(("classes", "count"), [(1000, 21_797_672), (3, 21_286_211)])
def test_parameter_count(classes: int, count: int) -> None:
    assert sum(parameter.numel() for parameter in ResNet34(classes).parameters()) == count


def test_seeded_initialisation_is_repeatable_and_torchvisions() -> None:
    states = []
    for build in (ResNet34, ResNet34, lambda k: torchvision.models.resnet34(weights=None, num_classes=k)):
        torch.manual_seed(7)
        states.append(build(3).state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
        assert torch.equal(tensor, states[2][name]), name  # the same draws in the same order


def test_initialisation_follows_he_2015() -> None:
    torch.manual_seed(0)
    for name, module in ResNet34(3).named_modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            expected = math.sqrt(2 / (height * width * module.out_channels))
            # The standard error of a standard deviation is σ/√(2n); six of them.
            tolerance = 6 / math.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx(expected, rel=tolerance), name
            assert abs(module.weight.mean().item()) < 6 * expected / math.sqrt(module.weight.numel()), name
            assert module.bias is None
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
            assert torch.equal(module.bias, torch.zeros_like(module.bias)), name


def test_zero_init_residual_makes_every_block_its_shortcut() -> None:
    torch.manual_seed(0)
    model = ResNet34(3, zero_init_residual=True).eval()
    blocks = [module for module in model.modules() if isinstance(module, BasicBlock)]
    assert len(blocks) == 16 and all(not block.bn2.weight.any() and block.bn1.weight.all() for block in blocks)
    x = torch.randn(2, 64, 5, 5).relu()
    with torch.no_grad():
        torch.testing.assert_close(model.layer1(x), x)  # ReLU(0 + x) = x for x ≥ 0


def test_zero_gains_need_residual_blocks() -> None:
    with pytest.raises(ValueError, match="Linear has no residual blocks"):
        zero_residual_gains(nn.Linear(2, 2))


def test_block_by_hand() -> None:
    block = BasicBlock(1, 1).eval()
    with torch.no_grad():
        block.conv1.weight.zero_()[0, 0, 1, 1] = 2.0
        block.conv2.weight.zero_()[0, 0, 1, 1] = -0.5
        for norm in (block.bn1, block.bn2):
            norm.eps = 1e-30  # 0 is refused by older torch; in float32 1 + 1e-30 is 1
        x = torch.tensor([3.0, -4.0, 1.0]).view(1, 1, 1, 3)
        # F(x) = -0.5 · ReLU(2x) = (-3, 0, -1); y = ReLU(F(x) + x) = ReLU(0, -4, 0) = 0
        assert block(x).flatten().tolist() == [0.0, 0.0, 0.0]
        block.conv2.weight[0, 0, 1, 1] = 0.5
        # F(x) = (3, 0, 1); y = ReLU(6, -4, 2)
        assert block(x).flatten().tolist() == [6.0, 0.0, 2.0]
    assert x.flatten().tolist() == [3.0, -4.0, 1.0]  # the input is not changed in place


@pytest.mark.parametrize(("size", "grid"), [(32, 1), (100, 4)])
def test_features_then_head_is_the_forward_pass(size: int, grid: int) -> None:
    model = ResNet34(5).eval()
    with torch.no_grad():
        images = torch.randn(1, 3, size, size)
        features = model.forward_features(images)
        assert features.shape == (1, 512, grid, grid) and features.min() >= 0
        assert torch.equal(model.forward_head(features), model(images))
        torch.testing.assert_close(model.forward_head(features), model.fc(features.mean((2, 3))))
