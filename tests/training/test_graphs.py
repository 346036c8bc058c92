"""Recorded passes on a GPU: the same numbers as kernel by kernel."""

import pytest
import torch

from maskbench.config import make_config
from maskbench.models.execution import Execution
from maskbench.models.registry import build_model
from maskbench.training.graphs import Replayed
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
    assert set(other.passes._recorded) == {(8, 3, 32, 32), (8, 3, 64, 64)}  # the batch of 3 ran by itself


@needs_gpu
def test_the_network_itself_goes_on_as_it_was():
    learner = Learner("torchvision", "bf16", replay=True)
    images = torch.randn(8, 3, 32, 32).cuda()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.passes._record(images)
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    assert "forward" not in vars(learner.model)
    assert torch.equal(learner.model.eval()(images), learner.model(images))
