"""Detectors of faces in whole photographs, on the same two ResNet34s that name single faces.

A feature pyramid joins what layer1 … layer4 see, at strides 4, 8, 16, 32 and 64 px: half of the faces here are
smaller than 21 px, less than three steps of the usual finest stride of 8.

Source:
    Lin et al., Feature Pyramid Networks, CVPR 2017; Tian et al., FCOS, ICCV 2019; Lin et al., Focal Loss for Dense
    Object Detection (RetinaNet), ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from maskbench.config.detection import DetectConfig
from maskbench.models.pretrained import LoadedWeights, WeightsRecord
from maskbench.models.registry import build_model
from maskbench.models.resnet34 import CHANNELS
from maskbench.models.together import process_count, rescale
from maskbench.seeding import derive_seed

#: Steps of the pyramid's levels, px.
STRIDES = (4, 8, 16, 32, 64)
#: FCOS gives a level the faces whose farthest side lies 4 to 8 of these away: 32 to 64 px at stride 8.
_FCOS_SIZES = tuple((stride,) for stride in STRIDES)
#: RetinaNet's anchors: three sizes an octave from twice the stride on, squares; faces are nearly that.
_ANCHOR_SIZES = tuple(tuple(round(2 * stride * 2 ** (step / 3), 1) for step in range(3)) for stride in STRIDES)
_GROUPS = 32


class FullPrecisionFCOSHead(FCOSHead):  # type: ignore[misc]  # torchvision is not typed
    """FCOS's head, whose answers are float32 whatever its layers compute in: in bfloat16, 400 px are steps of 2 px."""

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """Feature maps to `cls_logits`, `bbox_regression`, `bbox_ctrness`."""
        return {name: part.float() for name, part in super().forward(x).items()}

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Torchvision's losses, divided by the matched places of the whole batch where processes share it."""
        losses: dict[str, Tensor] = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        if process_count() > 1:
            matched = sum(int((own >= 0).sum()) for own in matched_idxs)
            factor = rescale(matched, matched_idxs[0].device)
            losses = {name: loss * factor for name, loss in losses.items()}
        return losses


class FullPrecisionRetinaNetHead(RetinaNetHead):  # type: ignore[misc]
    """RetinaNet's head, in the same way; its losses are means over photographs."""

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """Feature maps to `cls_logits`, `bbox_regression`."""
        return {name: part.float() for name, part in super().forward(x).items()}

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Torchvision's losses, over the photographs of the whole batch where processes share it."""
        losses: dict[str, Tensor] = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        factor = rescale(len(targets), matched_idxs[0].device)
        return losses if factor == 1 else {name: loss * factor for name, loss in losses.items()}


class FixedStrides(AnchorGenerator):  # type: ignore[misc]
    """Anchors at multiples of `STRIDES`.

    torchvision's own divides the image by the number of steps, which is less than a stride where the padded image is
    no multiple of it: steps of 57 px instead of 64 in an image of 288 px.
    """

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        """(A, 4) boxes of every level; of the strides only the device is looked at."""
        fixed = [[torch.tensor(step, device=own[0].device)] * 2 for step, own in zip(STRIDES, strides, strict=True)]
        levels: list[Tensor] = super().grid_anchors(grid_sizes, fixed)
        return levels


class Unresized(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalises and pads to multiples of 32 px; photographs come at their final size.

    torchvision's own `_skip_resize` holds in training only: in evaluation it would enlarge them to 800 px.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, Any]:
        """As they are."""
        return image, target


def _fcos(backbone: nn.Module, num_classes: int, config: DetectConfig, options: dict[str, object]) -> nn.Module:
    head = FullPrecisionFCOSHead(config.channels, 1, num_classes, config.convolutions)
    anchors = FixedStrides(_FCOS_SIZES, ((1.0,),) * len(STRIDES))
    model: nn.Module = FCOS(backbone, num_classes, anchor_generator=anchors, head=head, **options)
    return model


def _retinanet(backbone: nn.Module, num_classes: int, config: DetectConfig, options: dict[str, object]) -> nn.Module:
    norm = partial(nn.GroupNorm, _GROUPS)
    head = FullPrecisionRetinaNetHead(config.channels, len(_ANCHOR_SIZES[0]), num_classes, norm_layer=norm)
    anchors = FixedStrides(_ANCHOR_SIZES, ((1.0,),) * len(STRIDES))
    model: nn.Module = RetinaNet(backbone, num_classes, anchor_generator=anchors, head=head, **options)
    return model


#: Backbone, K, configuration and torchvision's options -> detector. A new detector is one more entry.
DETECTORS: dict[str, Callable[[nn.Module, int, DetectConfig, dict[str, object]], nn.Module]] = {
    "fcos": _fcos,
    "retinanet": _retinanet,
}


def build_detector(
    implementation: str,
    num_classes: int,
    config: DetectConfig,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
    loaded: LoadedWeights | None,
) -> tuple[nn.Module, WeightsRecord]:
    """A detector, on the CPU, that follows from its arguments alone.

    The backbone starts as the classifier of the same arm and seed does; pyramid and head are bit-identical in all
    arms of a seed.

    Args:
        implementation: of the ResNet34, a key of `models.registry.IMPLEMENTATIONS`.
        num_classes: K; labels are 0 … K-1, there is no class of the background.
        config: kind and size.
        mean: RGB mean on 0…1, subtracted by the model itself.
        std: RGB standard deviation.
        seed: of the random initialisation.
        loaded: pretrained weights of the backbone; None for a random start.

    Returns:
        A module in torchvision's conventions (training: images float (3, H, W) in 0…1 and targets to losses;
        evaluation: images to boxes, labels, scores), and the record of what its backbone starts from.

    Raises:
        ValueError: unknown implementation.
        WeightsError: `loaded` does not fit.
    """
    classifier, record = build_model(implementation, num_classes, seed=seed, loaded=loaded)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "detector"))
        backbone = BackboneWithFPN(
            classifier,
            return_layers={f"layer{depth}": str(depth - 1) for depth in range(1, 5)},
            in_channels_list=list(CHANNELS),
            out_channels=config.channels,
            norm_layer=nn.BatchNorm2d,
        )
        model = detector_around(backbone, num_classes, config)
    model.transform = Unresized(1, 1, list(mean), list(std))
    return model, record


def detector_around(backbone: nn.Module, num_classes: int, config: DetectConfig) -> nn.Module:
    """A detector whose features come from `backbone`, with a new head; its `transform` is torchvision's.

    Args:
        backbone: (B, 3, H, W) to features at `STRIDES` by name, of `config.channels` as its `out_channels` says.
        num_classes: K.
        config: kind, size and limits.
    """
    options: dict[str, object] = {
        "score_thresh": config.score_threshold,
        # Which of the overlapping boxes are kept is settled afterwards (`models.detecting`).
        "nms_thresh": max(config.nms_iou, 0.6),
        "detections_per_img": 2 * num_classes * config.max_detections,
    }
    return DETECTORS[config.detector](backbone, num_classes, config, options)
