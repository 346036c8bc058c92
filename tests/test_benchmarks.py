"""What benchmarks count and work out, against counts by hand."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import pytest
import torch
from torch import nn

from maskbench.cli_bench import folder_of_benchmarks
from maskbench.config import make_config


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the benchmarks, which are scripts and no package."""
    monkeypatch.syspath_prepend(folder_of_benchmarks())
    return importlib.import_module(name)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("counting", monkeypatch)


def layers() -> nn.Sequential:
    """Two convolutions: 3 to 4 channels at stride 2, 4 to 5 channels."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.Conv2d(4, 5, 3, bias=False))


def test_operations_of_convolutions(counting: ModuleType) -> None:
    model, images = layers(), torch.randn(2, 3, 8, 8)
    found = counting.convolutions(model, lambda: model(images))
    first, second = found
    assert (first.output_size(), second.output_size()) == ((4, 4), (2, 2))
    # 2 · B · C_out · C_in · k² · h · w; the first layer's input needs no gradient
    one, two = 2 * 2 * 4 * 3 * 9 * 16, 2 * 2 * 5 * 4 * 9 * 4
    assert (first.forward_flops(), first.backward_flops()) == (one, one)
    assert (second.forward_flops(), second.backward_flops()) == (two, 2 * two)
    assert counting.count_flops(lambda: model(images)) == one + two
    assert counting.count_flops(lambda: model(images).sum().backward()) == 2 * one + 3 * two


def test_a_layer_that_runs_twice_counts_twice(counting: ModuleType) -> None:
    layer = nn.Conv2d(3, 3, 1)
    found = counting.convolutions(layer, lambda: layer(layer(torch.randn(1, 3, 4, 4))))
    assert sorted(found.values()) == [1, 1] and {conv.input_gradient for conv in found} == {False, True}
    grouped = nn.Conv2d(4, 4, 1, groups=2)
    with pytest.raises(ValueError, match="grouped"):
        counting.convolutions(grouped, lambda: grouped(torch.zeros(1, 4, 2, 2)))


def test_bytes_of_kernels(counting: ModuleType) -> None:
    x, y = torch.ones(100), torch.ones(100)  # 400 bytes each
    cases = [
        (lambda: x + y, 1200),  # two read, one written
        (lambda: x.add_(y), 1200),  # two read, one written back
        (lambda: x.copy_(y), 800),
        (x.zero_, 400),
        (lambda: x.view(10, 10).t()[2:], 0),
        (lambda: x + torch.ones(()).expand(100), 4 + 804),  # one made; what is expanded is one number
    ]
    for call, expected in cases:
        with counting.Traffic() as traffic:
            call()
        assert traffic.bytes() == expected


@pytest.mark.parametrize("inference", [False, True])
def test_bytes_of_a_convolution(counting: ModuleType, inference: bool) -> None:
    layer, images = layers()[1], torch.randn(2, 4, 8, 8)
    traffic = counting.Traffic()
    traffic.name(layer.parameters(), counting.WEIGHTS)
    with torch.inference_mode(inference), torch.autocast("cpu", dtype=torch.bfloat16), traffic:
        layer(images)
    weights, seen, made = 5 * 4 * 9, 2 * 4 * 64, 2 * 5 * 36
    # both are read in float32 and written in bfloat16; then read by the convolution
    assert traffic.bytes(counting.WEIGHTS) == (4 + 2 + 2) * weights
    assert traffic.bytes(counting.ACTIVATIONS) == (4 + 2 + 2) * seen + 2 * made
    assert traffic.bytes(convolutions=False) == (4 + 2) * (weights + seen)


def test_bytes_of_a_step(counting: ModuleType) -> None:
    layer, images = layers()[0], torch.randn(2, 3, 8, 8)
    optimiser = torch.optim.AdamW(layer.parameters(), fused=True)
    output = layer(images)
    output.backward(torch.ones_like(output))
    optimiser.step()
    output = layer(images)
    output_gradient, traffic = torch.ones_like(output), counting.Traffic()
    optimiser.zero_grad()
    traffic.name(layer.parameters(), counting.WEIGHTS)
    traffic.name((own for state in optimiser.state.values() for own in state.values()), counting.STATE)
    weights, seen, made = 4 * 4 * 3 * 9, 4 * 2 * 3 * 64, 4 * 2 * 4 * 16
    with traffic:
        output.backward(output_gradient)
    assert traffic.bytes(counting.GRADIENTS) == weights  # written
    assert traffic.bytes(counting.WEIGHTS) == weights  # read
    assert traffic.bytes(counting.ACTIVATIONS) == seen + made  # of the output the gradient
    with traffic:
        optimiser.step()
    assert traffic.bytes(counting.GRADIENTS) == 2 * weights  # read
    assert traffic.bytes(counting.WEIGHTS) == 3 * weights  # read and written
    assert traffic.bytes(counting.STATE) - 4 * weights in range(13)  # two moments, and a number of steps


def test_bounds(counting: ModuleType) -> None:
    traffic = counting.Traffic()
    traffic.moved[counting.WEIGHTS, False] = 40
    traffic.moved[counting.GRADIENTS, True] = 60
    traffic.moved[counting.ACTIVATIONS, False] = 100
    traffic.moved[counting.ACTIVATIONS, True] = 200
    rates = counting.Rates(flops=1000, memory=10, caches=100)
    found = counting.bounds(5000, traffic, rates, alone=7)
    assert (found.arithmetic, found.bytes, found.floor) == (5, (40 + 60) / 10 + 300 / 100, 7 + 40 / 10 + 100 / 100)
    assert found.tighter() == "bytes"
    assert counting.bounds(20_000, traffic, rates, alone=7).tighter() == "operations"


def test_when_compiling_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    compiling = script("compiling", monkeypatch)
    assert compiling.pays_after(30.0, eager=0.5, compiled=0.25) == 120  # 30 s, a quarter of a second at a time
    assert compiling.pays_after(30.0, eager=0.5, compiled=0.5) == math.inf
    assert compiling.pays_after(30.0, eager=0.5, compiled=0.75) == math.inf
    assert compiling.saved(30.0, eager=0.5, compiled=0.25, calls=120) == 0
    assert compiling.saved(30.0, eager=0.5, compiled=0.25, calls=200) == 20
    assert compiling.saved(30.0, eager=0.5, compiled=0.75, calls=40) == -40
    (two,) = compiling.differences([torch.tensor([3.0, 6.0])], [torch.tensor([0.0, 2.0])])
    assert two == 2.5  # (3, 4) has length 5


def test_what_is_measured_follows_from_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    bare, compiling = script("bare", monkeypatch), script("compiling", monkeypatch)
    config = make_config("quick", {"train": {"batch_size": 4}, "evaluate": {"batch_size": 2}})
    execution = compiling.execution_at("fp32", 32)
    for build in (lambda: bare.Step(execution, 32, config.train), lambda: bare.Prediction(execution, 32, config)):
        one, other = compiling.answer(build()), compiling.answer(build())
        assert one[0].shape == (build().batch, bare.CLASSES)
        assert compiling.differences(one, other) == [0.0] * len(one)


def test_calls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    clock = script("measuring", monkeypatch).Clock("cpu")
    calls = {"a": (lambda: done.append("a"), 2), "b": (lambda: done.append("b"), 1)}
    times = clock.alternate(calls, rounds=2)
    assert "".join(done) == "ab" + 2 * "aab"  # the first round warms up
    assert [len(found) for found in times.values()] == [2, 2]


def test_imports_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    log = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   numpy.core
import time:      2000 |       2100 | numpy
a warning
import time:       300 |       2400 | maskbench.cli
"""
    startup = script("startup", monkeypatch)
    found = startup.imported(log)
    assert [module.name for module in found] == ["numpy.core", "numpy", "maskbench.cli"]
    assert startup.by_package(found) == [("numpy", 0.0021, 2), ("maskbench", 0.0003, 1)]
