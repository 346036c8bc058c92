"""Recorded passes on a GPU: the same numbers as kernel by kernel."""

from types import SimpleNamespace

import pytest
import torch

from maskbench.config import EvaluateConfig, make_config
from maskbench.data.transforms import Preprocess
from maskbench.models.execution import Execution
from maskbench.models.registry import build_model
from maskbench.training.graphs import Replayed
from maskbench.training.losses import WeightedCrossEntropy
from maskbench.training.module import ArmModule
from maskbench.training.optim import build_optimiser

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Learner:
    """A network with its optimiser, learning from random images."""

    def __init__(self, implementation, precision, replay):
        self.execution = Execution("cuda", precision, "channels_last")
        model, _ = build_model(implementation, 3, seed=0, loaded=None)
        self.model = self.execution.place(model).train()
        self.optimiser, _ = build_optimiser(self.model, make_config("quick").train, 10)
        self.passes = Replayed(self.model, self.execution, 8) if replay else self.model

    def step(self, images, targets):
        self.optimiser.zero_grad()
        with self.execution.autocast():
            logits = self.passes(self.execution.arrange(images))
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        self.optimiser.step()
        return logits.detach().float().cpu()


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("implementation", ["manual", "torchvision"])
def test_replayed_trainings_are_bit_equal(implementation, precision, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    one, other = (Learner(implementation, precision, replay) for replay in (False, True))
    source = torch.Generator().manual_seed(0)
    for step, (count, size) in enumerate([(8, 32), (8, 32), (3, 32), (8, 64), (8, 32), (8, 64)]):
        images = torch.randn(count, 3, size, size, generator=source).cuda()
        targets = torch.randint(0, 3, (count,), generator=source).cuda()
        assert torch.equal(one.step(images, targets), other.step(images, targets)), f"step {step}"
    for (name, plain), replayed in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert torch.equal(plain, replayed), name
    assert other.passes.shape == (8, 3, 64, 64)  # the last whole batch's; that of 3 ran by itself


@needs_gpu
def test_the_network_itself_goes_on_as_it_was():
    learner = Learner("torchvision", "bf16", replay=True)
    images = torch.randn(8, 3, 32, 32).cuda()
    with torch.no_grad():
        predicted = learner.model.eval()(images)
    learner.model.train()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.passes._record(images)
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    assert "forward" not in vars(learner.model)
    with torch.no_grad():
        assert torch.equal(learner.model.eval()(images), predicted)


def arm_module(implementation="manual", regime="full", device="cuda", processes=1):
    """A classifier's training as far as it decides how to run."""
    train = make_config("quick", {"train": {"regime": regime}}).train
    module = ArmModule(
        build_model("manual", 2, seed=0, loaded=None)[0], implementation=implementation, arm="a", run=0, seed=0,
        classes=("x", "y"), criterion=WeightedCrossEntropy(torch.ones(2)),
        preprocess=Preprocess(32, (0.5,) * 3, (0.5,) * 3), execution=Execution(device, "fp32", "contiguous"),
        train=train, evaluate=EvaluateConfig(),
    )  # fmt: skip
    module.trainer = SimpleNamespace(world_size=processes)
    return module


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"implementation": "torchvision", "regime": "discriminative"}, True),
        ({"implementation": "another"}, False),  # nobody said that its kernels are always the same
        ({"regime": "frozen"}, False),
        ({"regime": "gradual"}, False),
        ({"processes": 2}, False),
        ({"device": "cpu"}, False),
    ],
)
def test_passes_are_recorded_where_that_can_be_done(changed, expected, monkeypatch):
    monkeypatch.setattr("maskbench.training.graphs.gc.collect", lambda: None)
    module, seen = arm_module(**changed), []
    monkeypatch.setattr(Replayed, "__call__", lambda self, images: seen.append(len(images)) or torch.zeros(2, 2))
    module.on_train_start()
    module.train()
    images = torch.zeros(2, 3, 32, 32)
    module.learn(images)
    assert seen == ([2] if expected else [])
    module.release()
    module.learn(images)  # by itself again
    assert seen == ([2] if expected else [])
