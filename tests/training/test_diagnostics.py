import math

import numpy as np
import pytest
import torch

from maskbench.models.registry import build_model
from maskbench.training.diagnostics import GradientFlow, LossStatistics


def test_running_statistics_equal_numpys(rng: np.random.Generator) -> None:
    losses = rng.normal(5, 2, 40)
    statistics = LossStatistics(decay=0.9)
    assert math.isnan(statistics.moving_average) and math.isnan(statistics.variance)
    for loss in losses:
        statistics.update(float(loss))
    weights = 0.9 ** np.arange(len(losses))[::-1]
    assert statistics.mean == pytest.approx(losses.mean())
    assert statistics.variance == pytest.approx(losses.var(ddof=1))
    assert statistics.moving_average == pytest.approx(np.average(losses, weights=weights))


def test_a_restored_average_goes_on_as_if_never_stopped() -> None:
    whole, first, second = (LossStatistics(decay=0.8) for _ in range(3))
    for loss in (3.0, 1.0, 2.0):
        whole.update(loss)
        first.update(loss)
    second.restore(first.state())
    for statistics in (whole, second):
        statistics.start_epoch()
        statistics.update(0.5)
    assert second.moving_average == whole.moving_average
    assert second.mean == 0.5


def test_flow_rows_equal_norms_computed_one_by_one() -> None:
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = model(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))).square().sum()
    loss.backward()
    flow = GradientFlow(model)
    flow.record_gradients()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    flow.before_step()
    optimiser.step()
    rows = {row["layer"]: row for row in flow.after_step()}
    assert len(rows) == len(before)
    for name, parameter in model.named_parameters():
        row, old = rows[name], before[name].norm().item()
        assert row["gradient_norm"] == pytest.approx(parameter.grad.norm().item(), rel=1e-5)
        assert row["weight_norm"] == pytest.approx(old, rel=1e-5)
        if old == 0:
            assert math.isnan(row["update_ratio"])
        else:  # plain SGD: Δw = -0.1 · gradient
            assert row["update_ratio"] == pytest.approx(0.1 * parameter.grad.norm().item() / old, rel=1e-2, abs=1e-7)
    assert rows["conv1.weight"]["group"] == "stem" and rows["fc.bias"]["group"] == "head"
