"""AdamW's implementations on ResNet34's parameters: the fused one against the default.

Usage: python benchmarks/optimiser.py
"""

from __future__ import annotations

import statistics

import torch
from torch.optim import AdamW

from maskbench.models.registry import build_model
from training import seconds_per_call


def main() -> None:
    """Measure and print milliseconds per step, medians of five alternating rounds."""
    variants = {"fused": {"fused": True}, "foreach": {"foreach": True}, "default": {}}
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(5):
        for name, options in variants.items():
            model, _ = build_model("torchvision", 3, seed=0, loaded=None)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            found[name].append(1000 * seconds_per_call(AdamW(model.parameters(), lr=1e-3, **options).step, 5, 1))  # type: ignore[arg-type]
    base = statistics.median(found["default"])
    for name, values in found.items():
        median = statistics.median(values)
        print(f"{name:8s} {median:7.1f} ms/step  default ÷ this {base / median:5.1f}")


if __name__ == "__main__":
    main()
