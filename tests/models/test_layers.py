"""The table of layers, against published totals and by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from maskbench import schemas
from maskbench.models.layers import layer_table, layer_totals
from maskbench.models.registry import IMPLEMENTATIONS
from maskbench.models.resnet34 import ResNet34


def _evaluate(formula: str) -> int:
    """`a·b + c` as a number."""
    if formula == "–":
        return 0
    return sum(math.prod(map(int, part.split("·"))) for part in formula.split(" + "))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return layer_table(ResNet34(1000), 224)


def test_totals_are_the_published_ones_in_both_implementations(table: pd.DataFrame) -> None:
    meta = torchvision.models.ResNet34_Weights.IMAGENET1K_V1.meta
    totals = layer_totals(table)
    assert totals["parameters"] == meta["num_params"] == 21_797_672
    assert round(totals["multiply_adds"] / 1e9, 3) == meta["_ops"] == 3.664
    theirs = layer_table(IMPLEMENTATIONS["torchvision"](1000), 224)
    pd.testing.assert_frame_equal(theirs, table)


def test_total_agrees_with_torchs_counter() -> None:
    model = ResNet34(3)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 64, 64))
    assert layer_totals(layer_table(model, 64))["multiply_adds"] == counter.get_total_flops() // 2


def test_formulas_give_the_numbers(table: pd.DataFrame) -> None:
    assert table["formula"].map(_evaluate).tolist() == table["multiply_adds"].tolist()
    assert table["parameters_formula"].map(_evaluate).tolist() == table["parameters"].tolist()


def test_rows_by_hand() -> None:
    rows = layer_table(ResNet34(3), 64).set_index("layer")
    conv1 = rows.loc["conv1"]
    # (64 + 2 · 3 - 7) // 2 + 1 = 32; 3 · 64 · 7 · 7 = 9408 weights at 32 · 32 positions
    assert conv1[["kind", "kernel", "stride", "padding", "output_size"]].tolist() == [
        "Conv2d", "7×7", "2×2", "3×3", "64×32×32",
    ]  # fmt: skip
    assert (conv1["parameters"], conv1["multiply_adds"]) == (9408, 9_633_792)
    assert conv1["formula"] == "3·64·7·7·32·32"
    second = rows.loc["layer1.0.conv2"]
    assert (second["formula"], second["multiply_adds"]) == ("64·64·3·3·16·16", 9_437_184)
    norm = rows.loc["bn1"]
    assert (norm["parameters"], norm["parameters_formula"], norm["multiply_adds"], norm["formula"]) == (
        128, "2·64", 0, "–",
    )  # fmt: skip
    pooled = rows.loc["avgpool"]
    assert (pooled["output_size"], pooled["kernel"], pooled["parameters_formula"]) == ("512×1×1", "–", "–")
    last = rows.loc["fc"]
    assert (last["parameters_formula"], last["parameters"], last["formula"]) == ("512·3 + 3", 1539, "512·3")
    assert rows.loc["maxpool", ["kernel", "stride", "padding"]].tolist() == ["3×3", "2×2", "1×1"]


def test_table_is_in_forward_order_and_fits_its_schema(table: pd.DataFrame) -> None:
    assert table["layer"].tolist()[:5] == ["conv1", "bn1", "relu", "maxpool", "layer1.0.conv1"]
    assert table["layer"].tolist()[-2:] == ["avgpool", "fc"]
    # 36 convolutions, 36 batch norms, 17 ReLUs, 2 poolings, 1 linear layer
    assert len(table) == layer_totals(table)["layers"] == 92
    schemas.validate(table.assign(implementation="manual"), schemas.LAYERS)


def test_model_is_left_as_it_was() -> None:
    model = ResNet34(3).train()
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer_table(model, 32)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_released_after_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3)).train()
    with pytest.raises(RuntimeError):
        layer_table(model, 8)  # takes one channel, not three
    assert model[0].training and not model[0]._forward_hooks


def test_groups_and_bias_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, (3, 1), groups=3))
    row = layer_table(model, 5).iloc[0]
    # each of the 6 outputs sees 3/3 = 1 channel: 1 · 6 · 3 · 1 weights, 6 biases, at 3 · 5 positions
    assert (row["parameters_formula"], row["parameters"]) == ("1·6·3·1 + 6", 24)
    assert (row["formula"], row["multiply_adds"], row["kernel"]) == ("1·6·3·1·3·5", 270, "3×1")


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="0: how to count the multiply-adds of a ConvTranspose2d"):
        layer_table(nn.Sequential(nn.ConvTranspose2d(3, 2, 2)), 4)
    shared = nn.Conv2d(3, 3, 1)
    with pytest.raises(ValueError, match="called more than once"):
        layer_table(nn.Sequential(shared, nn.ReLU(), shared), 4)
