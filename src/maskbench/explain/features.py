"""What the layers of a model answer: pooled features of faces, statistics, feature maps, filters, favourite inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maskbench.data.transforms import Preprocess
from maskbench.explain.hooks import named_layer, preserved, record_activations
from maskbench.models.execution import Execution
from maskbench.seeding import generator

#: Depths that are compared, from the input to the head, with the layer whose output stands for each. The pooled
#: output of the last is the penultimate layer: what the head reads.
DEPTHS = {"stem": "maxpool", "layer1": "layer1", "layer2": "layer2", "layer3": "layer3", "layer4": "layer4"}
PENULTIMATE = "layer4"
_BATCH = 256
#: Below this share of the largest, singular values are rounding.
_RANK_TOLERANCE = 1e-7

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]


def _activations(
    model: nn.Module, canvases: Tensor, preprocess: Preprocess, execution: Execution
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Faces done, and float32 (B, C, h, w) activations by depth, batch after batch."""
    with preserved(model), record_activations(model, list(DEPTHS.values())) as found:
        for start in range(0, len(canvases), _BATCH):
            batch = canvases[start : start + _BATCH].to(execution.device)
            with torch.no_grad(), execution.autocast():
                model(execution.arrange(preprocess.view(batch)))
            yield start + len(batch), {depth: found[layer] for depth, layer in DEPTHS.items()}


def pooled_features(
    model: nn.Module, canvases: Tensor, preprocess: Preprocess, execution: Execution, progress: Progress | None = None
) -> dict[str, Floats]:
    """Features of faces at every depth, averaged over positions.

    Args:
        model: a ResNet of `models`, on its device; left as it was.
        canvases: uint8 (M, 3, C, C).
        preprocess: view and normalisation.
        execution: precision and layout.
        progress: called with faces done and in all.

    Returns:
        By depth, (M, channels).
    """
    parts: dict[str, list[Tensor]] = {depth: [] for depth in DEPTHS}
    for done, found in _activations(model, canvases, preprocess, execution):
        for depth, values in found.items():
            parts[depth].append(values.mean(dim=(2, 3)).cpu())
        if progress:
            progress(done, len(canvases))
    return {depth: torch.cat(tensors).numpy() for depth, tensors in parts.items()}


def layer_statistics(model: nn.Module, canvases: Tensor, preprocess: Preprocess, execution: Execution) -> pd.DataFrame:
    """How the layers are used by these faces.

    Args:
        model: a ResNet of `models`, on its device; left as it was.
        canvases: uint8 (M, 3, C, C), M ≥ 1.
        preprocess: view and normalisation.
        execution: precision and layout.

    Returns:
        By depth: `channels`, `positions` (h × w), `sparsity` (share of activations that are 0), `dead_channels` (0 at
        every position of every face), `mean_activation`, `effective_rank` of the pooled features.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    highest: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, int]] = {}
    pooled: dict[str, list[Tensor]] = {depth: [] for depth in DEPTHS}
    for _, found in _activations(model, canvases, preprocess, execution):
        for depth, values in found.items():
            facts = np.array([float((values == 0).sum()), float(values.double().sum()), float(values.numel())])
            sums[depth] = sums.get(depth, np.zeros(3)) + facts
            top = values.amax(dim=(0, 2, 3))
            highest[depth] = torch.maximum(highest[depth], top) if depth in highest else top
            shapes[depth] = (values.shape[1], values.shape[2] * values.shape[3])
            pooled[depth].append(values.mean(dim=(2, 3)).cpu())
    rows = [
        {
            "depth": depth,
            "channels": shapes[depth][0],
            "positions": shapes[depth][1],
            "sparsity": sums[depth][0] / sums[depth][2],
            "dead_channels": int((highest[depth] <= 0).sum()),
            "mean_activation": sums[depth][1] / sums[depth][2],
            "effective_rank": effective_rank(torch.cat(pooled[depth]).numpy()),
        }
        for depth in DEPTHS
    ]
    return pd.DataFrame(rows)


def effective_rank(features: Floats) -> float:
    """How many directions features spread over: the exponential of the entropy of their singular values.

    Args:
        features: (M, D); centred here.

    Returns:
        1 to min(M, D); NaN for features without spread.

    Source:
        Roy & Vetterli, The effective rank, EUSIPCO 2007, definition 1.

    Example:
        >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)), 6)
        2.0
    """
    values = np.linalg.svd(features.astype(np.float64) - features.mean(axis=0), compute_uv=False)
    values = values[values > _RANK_TOLERANCE * max(float(values.max(initial=0)), 1e-12)]
    if not len(values):
        return float("nan")
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def layer_named(name: str) -> str:
    """The module that stands for a depth; any other name is a module's own.

    Example:
        >>> layer_named("stem"), layer_named("layer2.0.conv1")
        ('maxpool', 'layer2.0.conv1')
    """
    return DEPTHS.get(name, name)


def feature_maps(model: nn.Module, image: Tensor, layer: str, count: int) -> tuple[NDArray[np.int64], Floats]:
    """The strongest channels of a layer for one face.

    Args:
        model: any; left as it was.
        image: float (3, S, S), normalised, on the model's device.
        layer: its name.
        count: channels.

    Returns:
        Their numbers (K,), strongest mean activation first, and their activations (K, h, w).
    """
    with preserved(model), record_activations(model, [layer]) as found, torch.no_grad():
        model(image[None])
    maps = found[layer][0].cpu().numpy()
    order = np.argsort(-maps.mean(axis=(1, 2)), kind="stable")[:count]
    return np.asarray(order, dtype=np.int64), maps[order]


def first_filters(model: nn.Module) -> Floats:
    """(64, 3, 7, 7) weights of the first convolution."""
    weights: Tensor = named_layer(model, "conv1").weight  # type: ignore[assignment]
    return np.asarray(weights.detach().float().cpu().numpy())


def maximise_channel(
    model: nn.Module, layer: str, channel: int, input_size: int, *, steps: int = 64, rate: float = 0.05, seed: int = 0
) -> Floats:
    """An input that a channel answers strongly to, found by gradient ascent.

    Small shifts before every step and a blur after it keep out patterns that exist only in single pixels.

    Args:
        model: left as it was.
        layer: name of a layer with (B, C, h, w) output.
        channel: 0 … C - 1.
        input_size: side S, px.
        steps: of ascent.
        rate: of Adam.
        seed: of the start and the shifts.

    Returns:
        (3, S, S) in [0, 1], scaled to use the whole range.

    Raises:
        ValueError: no such layer or channel.

    Source:
        Erhan et al., Visualizing higher-layer features of a deep network, 2009; jitter and blur: Olah, Mordvintsev &
        Schubert, Feature visualization, Distill 2017.
    """
    source, kept = generator(seed, "maximise"), list[Tensor]()
    device = next(model.parameters()).device
    image = (0.1 * torch.randn(1, 3, input_size, input_size, generator=source)).to(device).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=rate)
    handle = named_layer(model, layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        with preserved(model):
            for _ in range(steps):
                kept.clear()
                shift = torch.randint(-2, 3, (2,), generator=source).tolist()
                model(image.roll(shift, dims=(2, 3)))
                if channel not in range(kept[0].shape[1]):
                    raise ValueError(f"channel {channel}: {layer} has {kept[0].shape[1]}")
                optimiser.zero_grad()
                torch.autograd.backward(-kept[0][:, channel].mean())
                optimiser.step()
                with torch.no_grad():
                    image.copy_(0.8 * image + 0.2 * F.avg_pool2d(image, 3, 1, padding=1, count_include_pad=False))
    finally:
        handle.remove()
    found = image.detach()[0]
    low, high = found.min(), found.max()
    return np.asarray(((found - low) / (high - low).clamp_min(1e-8)).cpu().numpy(), dtype=np.float32)
