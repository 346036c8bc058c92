"""Detectors on both ResNet34s."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms

from maskbench.config import DetectConfig
from maskbench.models.detecting import DetectSettings, detect_batch, settle
from maskbench.models.detectors import DETECTORS, STRIDES, build_detector
from maskbench.models.execution import Execution
from maskbench.models.pretrained import resolve_weights
from maskbench.models.registry import build_model

SMALL = DetectConfig(channels=64, convolutions=1)
CPU = Execution("cpu", "fp32", "contiguous")


def detector(
    implementation: str = "manual", *, seed: int = 0, kind: str = "fcos", pretrained: bool = False
) -> nn.Module:
    config = SMALL.model_copy(update={"detector": kind})
    loaded = resolve_weights("bundled") if pretrained else None
    model, _ = build_detector(
        implementation, 3, config, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), seed=seed, loaded=loaded
    )
    return model


def test_the_backbone_starts_as_the_classifier_does_and_the_rest_is_equal_in_all_arms() -> None:
    manual, pretrained = detector("manual").state_dict(), detector("torchvision", pretrained=True).state_dict()
    assert list(manual) == list(pretrained)
    classifier = build_model("manual", 3, seed=0, loaded=None)[0].state_dict()
    weights = resolve_weights("bundled").tensors
    for name in manual:
        if name.startswith("backbone.body."):
            own = name.removeprefix("backbone.body.")
            assert torch.equal(manual[name], classifier[own])
            if not own.endswith("num_batches_tracked"):
                assert torch.equal(pretrained[name], weights[own])
        else:
            assert torch.equal(manual[name], pretrained[name])
    assert not torch.equal(manual["head.classification_head.cls_logits.weight"],
                           detector(seed=1).state_dict()["head.classification_head.cls_logits.weight"])  # fmt: skip


def test_both_implementations_detect_the_same_with_the_same_weights() -> None:
    one, other = detector("manual", pretrained=True).eval(), detector("torchvision", pretrained=True).eval()
    image = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))
    for model in (one, other):
        model.score_thresh = 0.0
    with torch.inference_mode():
        a, b = one([image])[0], other([image])[0]
    assert len(a["scores"]) > 10
    assert torch.equal(a["boxes"], b["boxes"]) and torch.equal(a["scores"], b["scores"])


@pytest.mark.parametrize("kind", sorted(DETECTORS))
def test_losses_have_gradients_everywhere_and_empty_photographs_are_no_error(kind: str) -> None:
    model = detector(kind=kind).train()
    images = list(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    targets = [
        {"boxes": torch.tensor([[8.0, 8, 24, 28]]), "labels": torch.tensor([2])},
        {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)},
    ]
    loss = torch.stack(list(model(images, targets).values())).sum()
    loss.backward()
    assert torch.isfinite(loss)
    still = [name for name, p in model.named_parameters() if p.grad is None]
    assert not still, still


@pytest.mark.parametrize("kind", sorted(DETECTORS))
def test_boxes_are_exact_whatever_layers_compute_in(kind: str) -> None:
    model = detector(kind=kind).eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = list(model.backbone(torch.rand(1, 3, 64, 64)).values())
        assert features[0].dtype == torch.bfloat16
        assert {part.dtype for part in model.head(features).values()} == {torch.float32}


class Fixed(nn.Module):
    """Finds the same boxes in every view, in shares of its size."""

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        answers = []
        for image in images:
            height, width = image.shape[1:]
            boxes = torch.tensor(
                [[0.1, 0.2, 0.5, 0.6], [0.11, 0.2, 0.5, 0.6], [0.8, 0.8, 1.3, 1.2], [0.5, 0.5, 0.5, 0.9]]
            )
            boxes = boxes * torch.tensor([width, height, width, height])
            answers.append(
                {"boxes": boxes, "labels": torch.tensor([0, 1, 2, 1]), "scores": torch.tensor([0.8, 0.9, 0.3, 0.2])}
            )
        return answers


def test_boxes_come_back_in_pixels_of_the_photograph_one_for_each_face() -> None:
    images = [np.zeros((100, 200, 3), np.uint8), np.zeros((301, 77, 3), np.uint8)]
    found = detect_batch(Fixed(), images, DetectSettings(64, 0.5, 10), CPU)
    for one, (height, width) in zip(found, [(100, 200), (301, 77)], strict=True):
        # of two boxes on one face the better is the answer, whatever its class, and the other stays as its class's;
        # beyond the edge is cut off; no area: no box
        answer = one.answered()
        assert one.labels.tolist() == [1, 0, 2] and one.answers.tolist() == [True, False, True]
        assert answer.labels.tolist() == [1, 2]
        assert answer.scores.tolist() == pytest.approx([0.9, 0.3])
        expected = [[0.11 * width, 0.2 * height, 0.5 * width, 0.6 * height], [0.8 * width, 0.8 * height, width, height]]
        assert answer.boxes == pytest.approx(np.array(expected), rel=1e-4)


def test_steps_of_the_pyramid_are_its_strides_in_views_of_any_size() -> None:
    model, levels = detector(), [torch.zeros(1, 1, -(-96 // stride), -(-288 // stride)) for stride in STRIDES]
    anchors = model.anchor_generator(ImageList(torch.zeros(1, 3, 96, 288), [(96, 288)]), levels)[0]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    start = 0
    for stride, level in zip(STRIDES, levels, strict=True):
        height, width = level.shape[2:]
        own = centres[start : start + height * width].reshape(height, width, 2)
        assert own[0, :, 0].tolist() == [stride * step for step in range(width)]  # 288 / 64 is no whole number
        assert own[:, 0, 1].tolist() == [stride * step for step in range(height)]
        start += height * width
    assert start == len(anchors)


def test_of_every_class_the_best_of_overlapping_boxes_stay() -> None:
    rng = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=rng) * 60
    boxes = torch.cat([corners, corners + 20], dim=1)
    labels, scores = torch.randint(3, (60,), generator=rng), torch.rand(60, generator=rng)
    found = settle(boxes, labels, scores, (1, 1), (100, 100), DetectSettings(64, 0.5, 60))
    for label in range(3):
        own = labels == label
        expected = scores[own][nms(boxes[own], scores[own], 0.5)]
        kept = found.scores[(found.labels == label)]
        assert set(expected.tolist()) <= set(kept.tolist())  # and answers that a box of their class suppresses
    expected = scores[nms(boxes, scores, 0.5)]
    assert found.answered().scores.tolist() == pytest.approx(expected.tolist())
    assert (np.diff(found.scores) <= 0).all() and len(found.scores) > len(expected)


def test_no_more_boxes_than_asked_for() -> None:
    boxes = torch.arange(20.0)[:, None] * 10 + torch.tensor([0.0, 0, 8, 8])
    found = settle(boxes, torch.zeros(20, dtype=torch.int64), torch.linspace(0, 1, 20), (1, 1), (500, 500),
                   DetectSettings(64, 0.5, 7))  # fmt: skip
    assert len(found.scores) == 7 and found.scores[0] == 1


def test_the_model_sees_photographs_at_the_size_that_is_asked_for_and_no_neighbour_changes_an_answer() -> None:
    model, seen = detector(pretrained=True).eval(), []
    model.score_thresh = 0.0
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*shape, 3)).astype(np.uint8) for shape in ((60, 80), (120, 90), (61, 80))]
    settings = DetectSettings(160, 0.5, 20)
    together = detect_batch(model, images, settings, CPU)
    assert seen == [(2, 3, 128, 160), (1, 3, 160, 128)]
    for image, one in zip(images, together, strict=True):
        alone = detect_batch(model, [image], settings, CPU)[0]
        assert len(alone.scores) == len(one.scores) > 5
        assert alone.boxes == pytest.approx(one.boxes, abs=1e-2) and alone.scores == pytest.approx(one.scores, abs=1e-4)
