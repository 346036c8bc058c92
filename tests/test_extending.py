"""How little it takes to add a model or an explanation method; docs/extending.md shows this code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskbench.config import ArmConfig, make_config
from maskbench.explain.cam import METHODS, Batch, Method, attribution_maps, check_methods, scores_of
from maskbench.explain.faithfulness import measure_faithfulness
from maskbench.models.registry import IMPLEMENTATIONS
from maskbench.training.checkpoint import load_checkpoint
from maskbench.training.fit import fit_arm
from tests.conftest import faces_table
from tests.training.study_in_memory import config, inputs


# --8<-- [start:model]
class Pooled(nn.Module):
    """One convolution, its mean over the face, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=5, stride=4)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Faces (B, 3, S, S) to logits (B, K)."""
        logits: Tensor = self.fc(self.conv1(x).relu().mean(dim=(2, 3)))
        return logits


# --8<-- [end:model]
# --8<-- [start:train]
@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The new model, trained on three colours by the study's own protocol."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(IMPLEMENTATIONS, "pooled", Pooled)  # the entry in models/registry.py
        arm = ArmConfig(name="pooled-random", implementation="pooled", initialisation="random")
        folder = tmp_path_factory.mktemp("pooled")
        fit_arm(inputs(), config(8, learning_rate=0.03), arm, 0, None, folder, notify=print)
        yield folder / "best.safetensors"


def test_a_model_is_one_builder(pooled: Path) -> None:
    model, record = load_checkpoint(pooled)
    assert isinstance(model, Pooled)
    assert record["val_f1_macro"] > 0.8  # naming one colour everywhere gives 0.17


# --8<-- [end:train]
# --8<-- [start:method]
def squared_gradient(batch: Batch) -> Tensor:
    """(B, S, S): how strongly small changes of each pixel change the explained class's logit."""
    images = batch.images.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(scores_of(batch.model(images), batch.targets).sum(), images)
    return gradient.square().sum(dim=1)


SQUARED_GRADIENT = Method(
    "squared_gradient", "Squared gradient", "Simonyan et al. 2014", uses_layer=False, uses_class=True,
    run=squared_gradient,
)  # fmt: skip


# --8<-- [end:method]
# --8<-- [start:explain]
def test_an_explanation_method_is_one_function(pooled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, SQUARED_GRADIENT.name, SQUARED_GRADIENT)  # the entry in explain/cam.py
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    found = attribution_maps(linear, torch.rand(3, 3, 4, 4), torch.tensor([0, 1, 1]), "squared_gradient")
    weights = linear[1].weight.detach().view(2, 3, 4, 4)  # the gradients of a linear model
    assert torch.allclose(found, weights.square().sum(dim=1)[[0, 1, 1]])

    faces, canvases = faces_table(["red"] * 6, list("aabbcc")), inputs().canvases[:6]
    measured = measure_faithfulness(*load_checkpoint(pooled), canvases, faces, ["squared_gradient"], layer="conv1")
    deletion = measured.table.query("measure == 'deletion'").groupby("method")["value"]
    assert deletion.count().to_dict() == {"squared_gradient": 6, "random": 6, "centre": 6}
    assert deletion.mean().between(0, 1, inclusive="neither").all()


def test_a_study_can_ask_for_a_new_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, SQUARED_GRADIENT.name, SQUARED_GRADIENT)
    chosen = make_config("smoke", {"explain": {"methods": ["squared_gradient"]}}).explain.methods
    check_methods(chosen)
    monkeypatch.delitem(METHODS, SQUARED_GRADIENT.name)
    with pytest.raises(ValueError, match="'squared_gradient'"):
        check_methods(chosen)


# --8<-- [end:explain]
