import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from maskbench.config import TrainConfig
from maskbench.training.losses import WeightedCrossEntropy, build_loss, effective_number_weights


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    return torch.randn(50, 4, generator=source) * 3, torch.randint(0, 4, (50,), generator=source)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unweighted_it_is_torchs_cross_entropy(batch, smoothing: float) -> None:
    ours = WeightedCrossEntropy(torch.ones(4), smoothing)(*batch)
    torch.testing.assert_close(ours, F.cross_entropy(*batch, label_smoothing=smoothing))


def test_weighted_it_is_torchs_weighted_mean(batch) -> None:
    weights = torch.tensor([0.5, 1.0, 2.0, 0.5])
    torch.testing.assert_close(WeightedCrossEntropy(weights)(*batch), F.cross_entropy(*batch, weight=weights))


def test_focusing_agrees_with_torchvision_for_two_classes(batch) -> None:
    # Softmax over (0, x) is the sigmoid of x, so the focal losses of both must agree.
    x, y = batch[0][:, 0], (batch[1] > 1).long()
    ours = WeightedCrossEntropy(torch.ones(2), gamma=2.0)(torch.stack([torch.zeros_like(x), x], dim=1), y)
    theirs = sigmoid_focal_loss(x, y.float(), alpha=-1, gamma=2.0, reduction="mean")
    torch.testing.assert_close(ours, theirs)


def test_effective_numbers_by_hand() -> None:
    # β = 0.5: E(1) = 1, E(2) = 1.5, E(0) absent. 1/E = 1, 2/3; mean 1 over two classes: × 2 / (5/3)
    weights = effective_number_weights(torch.tensor([1, 2, 0]), 0.5)
    torch.testing.assert_close(weights, torch.tensor([1.2, 0.8, 0.0]))
    torch.testing.assert_close(effective_number_weights(torch.tensor([900, 10]), 0.0), torch.ones(2))


def test_the_configuration_chooses(batch) -> None:
    counts = torch.tensor([900, 90, 9, 1])
    plain = build_loss(TrainConfig(loss="cross_entropy", label_smoothing=0), counts)
    torch.testing.assert_close(plain(*batch), F.cross_entropy(*batch))
    balanced = build_loss(TrainConfig(loss="class_balanced", class_balance_beta=0.99), counts)
    torch.testing.assert_close(balanced.weights, effective_number_weights(counts, 0.99))
    assert build_loss(TrainConfig(loss="focal", focal_gamma=1.5), counts).gamma == 1.5
