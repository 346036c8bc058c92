import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from maskbench.config import TrainConfig
from maskbench.models.registry import build_model, depth_groups
from maskbench.training.optim import build_optimiser, largest_rate, parameter_groups, warmup_cosine
from maskbench.training.regimes import apply_regime, rate_scales, trainable_groups


def test_the_schedule_equals_torchs_linear_and_cosine() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rise = LinearLR(optimiser, start_factor=1 / 20, end_factor=1.0, total_iters=19)
    reference = SequentialLR(optimiser, [rise, CosineAnnealingLR(optimiser, 80, eta_min=0.1)], milestones=[20])
    for step in range(100):
        assert warmup_cosine(step, 100, 0.2, 0.1) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-6)
        optimiser.step()
        reference.step()


def test_biases_and_gains_are_not_decayed_and_nothing_is_lost() -> None:
    model, _ = build_model("torchvision", 3, seed=0, loaded=None)
    groups = parameter_groups(model, TrainConfig(weight_decay=0.1))
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for group in groups:
        assert all((p.ndim > 1) == (group["weight_decay"] == 0.1) for p in group["params"])


def test_discriminative_rates_fall_from_the_head_to_the_stem() -> None:
    names = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
    scales = rate_scales(names, TrainConfig(regime="discriminative", layer_decay=0.5))
    assert [scales[name] for name in names] == [0.5**5, 0.5**4, 0.5**3, 0.25, 0.5, 1.0]
    assert set(rate_scales(names, TrainConfig()).values()) == {1.0}


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_both_optimisers_follow_the_schedule(optimiser: str) -> None:
    model, _ = build_model("manual", 2, seed=0, loaded=None)
    built, schedule = build_optimiser(model, TrainConfig(optimiser=optimiser, learning_rate=0.01, warmup_share=0.5), 4)
    rates = []
    for _ in range(4):
        rates.append(largest_rate(built))
        built.step()
        schedule.step()
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.00505])


@pytest.mark.parametrize(
    ("regime", "epoch", "expected"),
    [
        ("full", 0, 6), ("discriminative", 0, 6), ("frozen", 9, 1),
        ("gradual", 0, 1), ("gradual", 1, 1), ("gradual", 2, 2), ("gradual", 99, 6),
    ],
)  # fmt: skip
def test_regimes_choose_groups(regime: str, epoch: int, expected: int) -> None:
    names = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
    learning = trainable_groups(names, TrainConfig(regime=regime, unfreeze_every=2), epoch)
    assert learning == set(names[-expected:])


@pytest.mark.parametrize("implementation", ["manual", "torchvision"])
def test_a_frozen_backbone_keeps_weights_and_statistics(implementation: str) -> None:
    model, _ = build_model(implementation, 3, seed=0, loaded=None)
    model.train()
    apply_regime(model, TrainConfig(regime="frozen"), 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    with_gradient = [name for name, p in model.named_parameters() if p.grad is not None]
    assert changed == []
    assert with_gradient == depth_groups(model)["head"]
    apply_regime(model, TrainConfig(), 1)
    assert all(p.requires_grad for p in model.parameters()) and all(m.training for m in model.modules())
