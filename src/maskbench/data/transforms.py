"""Preprocessing and augmentation of whole batches, on the device that trains.

Every random parameter is drawn on the CPU from an explicit generator, so two arms given the same
generator see the same pixels, on any device.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maskbench.config import AugmentConfig
from maskbench.data.shares import WHOLE, Share

#: Rec. 601 luma, the grey of "contrast" and "saturation".
LUMA = (0.299, 0.587, 0.114)


@functools.lru_cache(maxsize=64)
def channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """One number per RGB channel, (1, 3, 1, 1) float32; made once, since a GPU waits for what it is sent."""
    with torch.inference_mode(False):  # whoever asks first may be predicting, whoever asks next may need gradients
        return torch.tensor(values, device=device).view(1, 3, 1, 1)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A small tensor of the CPU's on `device`, without waiting for what the device does."""
    return tensor.to(device, non_blocking=True)


@dataclass(frozen=True)
class Preprocess:
    """From uint8 canvases to what a model reads; the same for every arm, saved in every checkpoint.

    Attributes:
        input_size: side of the view, px.
        mean, std: per RGB channel, of values in [0, 1].
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def view(self, canvases: Tensor) -> Tensor:
        """The central view of uint8 canvases (B, 3, C, C), normalised: float32 (B, 3, S, S)."""
        border = (canvases.shape[-1] - self.input_size) // 2
        inside = slice(border, border + self.input_size)
        return self.normalise(canvases[:, :, inside, inside].float() / 255)

    def shown(self, side: int) -> float:
        """Share of a canvas's side (`side` px) that a view shows before it is zoomed."""
        return self.input_size / side

    def normalise(self, rgb: Tensor) -> Tensor:
        """(value - mean) / std per channel, of (B, 3, H, W) float in [0, 1]."""
        return (rgb - channels(self.mean, rgb.device)) / channels(self.std, rgb.device)


@dataclass(frozen=True)
class WholeImage(Preprocess):
    """The same for labelled images, whose canvases are whole: they are resized, not cut.

    Attributes:
        crop: share of the side that augmented views show before they are zoomed.
    """

    crop: float = 0.8

    def view(self, canvases: Tensor) -> Tensor:
        """All of uint8 canvases (B, 3, C, C), resized and normalised: float32 (B, 3, S, S)."""
        rgb = canvases.float() / 255
        if canvases.shape[-1] != self.input_size:
            size = (self.input_size, self.input_size)
            rgb = F.interpolate(rgb, size=size, mode="bilinear", antialias=True, align_corners=False)
        return self.normalise(rgb)

    def shown(self, side: int) -> float:
        """`crop`, whatever the canvas's side: a canvas may be smaller than what the model reads."""
        return self.crop


@dataclass(frozen=True)
class Draws:
    """Random numbers for the images of a batch, of which a process may hold a share.

    They are drawn for the whole batch, so that what happens to an image does not depend on how many train together.

    Attributes:
        generator: CPU generator.
        whole: images in the whole batch.
        share: which of them are at hand.
    """

    generator: torch.Generator
    whole: int
    share: Share = WHOLE

    def uniform(self, low: float, high: float) -> Tensor:
        """A number in [low, high) for each image at hand: (B,)."""
        return _uniform(self.whole, low, high, self.generator)[self.share.places]

    def below(self, chance: float) -> Tensor:
        """Which images at hand something with this chance happens to: (B,) bool."""
        return (torch.rand(self.whole, generator=self.generator) < chance)[self.share.places]

    def pairs(self, low: float, high: float) -> Tensor:
        """Two numbers in [low, high) for each image at hand: (B, 2)."""
        return _uniform(2 * self.whole, low, high, self.generator).view(self.whole, 2)[self.share.places]


def augment(
    canvases: Tensor,
    preprocess: Preprocess,
    config: AugmentConfig,
    generator: torch.Generator,
    share: Share = WHOLE,
    whole: int | None = None,
    size: int | None = None,
) -> Tensor:
    """Random views of a batch: affine, down-up-scaling, blur, colour, erasing; then normalised.

    Args:
        canvases: uint8 (B, 3, C, C).
        preprocess: size of the view and normalisation.
        config: strengths and probabilities.
        generator: CPU generator; the same state gives the same result.
        share: what part of a batch the canvases are.
        whole: size of that batch; None: the canvases are all of it.
        size: side of the views, px, which show the same as at `preprocess.input_size`; None: that size.

    Returns:
        float32 (B, 3, S, S), contiguous.
    """
    count, device, size = len(canvases), canvases.device, size or preprocess.input_size
    draws = Draws(generator, count if whole is None else whole, share)
    rgb = canvases.float() / 255
    theta = affine_matrices(draws.whole, config, preprocess.shown(canvases.shape[-1]), generator)[share.places]
    grid = F.affine_grid(sent(theta, device), [count, 3, size, size], align_corners=False)
    rgb = F.grid_sample(rgb, grid, mode="bilinear", padding_mode="border", align_corners=False)  # (B, 3, S, S)
    rgb = _rescale(rgb, config, draws)
    rgb = _blur(rgb, config, draws)
    rgb = _jitter_colour(rgb, config, draws)
    rgb = _erase(rgb, config, draws)
    return preprocess.normalise(rgb)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def affine_matrices(count: int, config: AugmentConfig, view: float, generator: torch.Generator) -> Tensor:
    """Matrices for `affine_grid`: rotation, zoom, shift and flip of a view inside its canvas.

    Args:
        count: B.
        config: strengths.
        view: the view's side as a share of the canvas's.
        generator: CPU generator.

    Returns:
        (B, 2, 3) float; they map output to canvas coordinates, both in [-1, 1].
    """
    angle = _uniform(count, -1, 1, generator) * math.radians(config.rotate_degrees)
    zoom = view * (1 + _uniform(count, -config.scale, config.scale, generator))
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * 2 * config.translate * view
    mirror = torch.where(torch.rand(count, generator=generator) < config.flip, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = torch.stack(
        [torch.stack([cosine * mirror, -sine], dim=1), torch.stack([sine * mirror, cosine], dim=1)], dim=1
    )  # (B, 2, 2)
    return torch.cat([rows, shift[:, :, None]], dim=2)


def _rescale(rgb: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Shrink some images to 8…32 px and back: what a tiny face looks like. One size per batch."""
    chosen = draws.below(config.rescale)
    small = int(torch.randint(8, 33, (1,), generator=draws.generator))
    if not chosen.any() or small >= rgb.shape[-1]:
        return rgb
    rows = sent(chosen.nonzero().squeeze(1), rgb.device)
    shrunk = F.interpolate(rgb[rows], size=(small, small), mode="bilinear", antialias=True, align_corners=False)
    back = F.interpolate(shrunk, size=rgb.shape[-2:], mode="bilinear", align_corners=False)
    return rgb.index_copy(0, rows, back)


def _blur(rgb: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Gaussian blur of some images, σ in [0.5, 1.5] px drawn once per batch."""
    chosen = draws.below(config.blur)
    sigma = float(_uniform(1, 0.5, 1.5, draws.generator))
    if not chosen.any():
        return rgb
    offsets = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = sent(kernel / kernel.sum(), rgb.device)
    rows = sent(chosen.nonzero().squeeze(1), rgb.device)
    part = F.pad(rgb[rows], (4, 4, 4, 4), mode="replicate")
    part = F.conv2d(part, kernel.view(1, 1, 1, 9).expand(3, 1, 1, 9), groups=3)
    part = F.conv2d(part, kernel.view(1, 1, 9, 1).expand(3, 1, 9, 1), groups=3)
    return rgb.index_copy(0, rows, part)


def _jitter_colour(rgb: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Brightness, contrast and saturation by factors in [1 - s, 1 + s], clamped to [0, 1].

    All three are linear in the pixels, so they are applied as one blend of image, grey and mean:
    the order brightness, contrast, saturation of torchvision's ColorJitter, without clamping between.
    """
    drawn = torch.stack([1 + draws.uniform(-s, s) for s in (config.brightness, config.contrast, config.saturation)])
    brightness, contrast, saturation = sent(drawn, rgb.device).view(3, -1, 1, 1, 1)
    grey = (rgb * channels(LUMA, rgb.device)).sum(dim=1, keepdim=True)  # (B, 1, S, S)
    mean = grey.mean(dim=(2, 3), keepdim=True) * brightness  # (B, 1, 1, 1)
    slope = brightness * contrast
    out: Tensor = rgb * (slope * saturation) + grey * (slope * (1 - saturation)) + mean * (1 - contrast)
    return out.clamp_(0, 1)


def _erase(rgb: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Replace a rectangle of up to 40 % of each side by the image's mean (Zhong et al. 2020)."""
    if config.erase == 0:
        return rgb
    size = rgb.shape[-1]
    chosen = draws.below(config.erase)
    sides = draws.pairs(0.1, 0.4) * chosen[:, None]
    corner = draws.pairs(0, 1) * (1 - sides)
    line = (torch.arange(size) + 0.5) / size
    inside = (line >= corner[..., None]) & (line < (corner + sides)[..., None])  # (B, 2, S)
    mask = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]  # (B, 1, S, S)
    return torch.where(sent(mask, rgb.device), rgb.mean(dim=(2, 3), keepdim=True), rgb)
