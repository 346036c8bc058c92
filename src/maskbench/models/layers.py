"""The table of a model's layers: sizes, parameters, multiply-adds and the formulas behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

#: Stands where a figure does not apply.
NONE = "–"


def layer_table(model: nn.Module, input_size: int) -> pd.DataFrame:
    """One row per leaf module, in the order of the forward pass.

    One multiply-add is one multiplication with one addition (what some tables call a FLOP, others
    two). They are counted for convolutions and linear layers, K · K · C_in · C_out · H_out · W_out;
    batch norms, ReLUs, poolings, biases and the sums at the shortcuts count 0: together they are
    below 1 %. A module that is called more than once (a block's ReLU) stands where it is called first.

    Args:
        model: takes (1, 3, S, S); its train/eval modes and batch-norm statistics are left as they are.
        input_size: S in px.

    Returns:
        Columns `layer`, `kind`, `kernel`, `stride`, `padding`, `in_channels`, `out_channels`,
        `output_size` (C×H×W), `out_height`, `out_width`, `parameters`, `parameters_formula`,
        `multiply_adds`, `formula`; "–" where something does not apply.

    Raises:
        ValueError: a layer whose multiply-adds this does not know how to count.

    Source:
        Counting as in He et al. 2016, table 1 (3.6 · 10⁹ for ResNet34 at 224 px).

    Example:
        >>> table = layer_table(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False)), 4)
        >>> table["formula"][0], int(table["multiply_adds"][0])
        ('3·8·3·3·4·4', 3456)
    """
    rows: dict[str, dict[str, Any]] = {}
    like = next(model.parameters())
    with _observed(model, rows), torch.no_grad():
        model(torch.zeros(1, 3, input_size, input_size, device=like.device, dtype=like.dtype))
    return pd.DataFrame(list(rows.values()))


def layer_totals(table: pd.DataFrame) -> dict[str, int]:
    """Sums of a layer table: `layers`, `parameters`, `multiply_adds`."""
    return {
        "layers": len(table),
        "parameters": int(table["parameters"].sum()),
        "multiply_adds": int(table["multiply_adds"].sum()),
    }


@contextmanager
def _observed(model: nn.Module, rows: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Let leaf modules write their rows while the model is in evaluation mode; undo both afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(partial(_add_row, rows, name)) for name, module in leaves]
    try:
        model.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode


def _add_row(
    rows: dict[str, dict[str, Any]], name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    """The row of `module`; a forward hook once `rows` and `name` are given."""
    height, width = (int(side) for side in output.shape[2:]) if output.ndim == 4 else (1, 1)
    parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    parameters_factors, multiply_add_factors, has_bias = _factors(name, module, height, width)
    if name in rows:
        if multiply_add_factors:
            raise ValueError(f"{name}: called more than once, which the table cannot show")
        return
    formula = _product(parameters_factors)
    rows[name] = {
        "layer": name,
        "kind": type(module).__name__,
        "kernel": _sides(module, "kernel_size"),
        "stride": _sides(module, "stride"),
        "padding": _sides(module, "padding"),
        "in_channels": int(inputs[0].shape[1]),
        "out_channels": int(output.shape[1]),
        "output_size": f"{output.shape[1]}×{height}×{width}",
        "out_height": height,
        "out_width": width,
        "parameters": parameters,
        "parameters_formula": f"{formula} + {output.shape[1]}" if has_bias else formula,
        "multiply_adds": int(torch.tensor(multiply_add_factors).prod()) if multiply_add_factors else 0,
        "formula": _product(multiply_add_factors),
    }


def _factors(name: str, module: nn.Module, height: int, width: int) -> tuple[list[int], list[int], bool]:
    """Factors of the parameter count and of the multiply-adds, and whether a bias is added to the former."""
    if isinstance(module, nn.Conv2d):
        weights = [module.in_channels // module.groups, module.out_channels, *module.kernel_size]
        return weights, [*weights, height, width], module.bias is not None
    if isinstance(module, nn.Linear):
        weights = [module.in_features, module.out_features]
        return weights, weights, module.bias is not None
    if isinstance(module, nn.BatchNorm2d):
        return ([2, module.num_features] if module.affine else []), [], False
    if any(True for _ in module.parameters(recurse=False)):
        raise ValueError(f"{name}: how to count the multiply-adds of a {type(module).__name__} is not known here")
    return [], [], False


def _product(factors: list[int]) -> str:
    return "·".join(map(str, factors)) or NONE


def _sides(module: nn.Module, attribute: str) -> str:
    """`3×3` from an attribute that is one number or two; "–" where there is none."""
    value = getattr(module, attribute, None)
    if value is None:
        return NONE
    height, width = (value, value) if isinstance(value, int) else value
    return f"{height}×{width}"
