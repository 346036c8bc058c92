"""Attribution maps: which parts of a face a model's answer rests on. A new method is one entry of `METHODS`.

Maps are never scaled per face: their magnitudes stay comparable between faces, classes and arms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maskbench.explain.hooks import named_layer, preserved, require_maps
from maskbench.models.execution import Execution
from maskbench.seeding import generator

#: Faces that Score-CAM asks the model about at once.
_SCORE_BATCH = 128
#: Points on the path of integrated gradients, in Gauss and Legendre's places, of which few are enough.
PATH_STEPS = 12
#: The occluding square takes a quarter of the side, and stands in this many places along it.
OCCLUDER, PLACES = 4, 5
#: Occluded faces that the model is asked about at once.
_OCCLUDED = 256
#: Noisy baselines of GradientSHAP per face, and the noise's standard deviation in normalised values.
SHAP_SAMPLES, SHAP_NOISE = 8, 0.1


@dataclass(frozen=True, eq=False)
class Batch:
    """What a method is given.

    Attributes:
        model: in evaluation mode, its parameters without gradients.
        images: float32 (B, 3, S, S), normalised.
        targets: int64 (B,), the class explained.
        layer: whose activations are weighed.
        seed: of what a method draws.
        start: faces of the call before this batch.
    """

    model: nn.Module
    images: Tensor
    targets: Tensor
    layer: nn.Module
    seed: int
    start: int

    @functools.cached_property
    def evidence(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Activations of the layer and their gradients, (B, C, h, w) each: one pass serves all methods that weigh."""
        return _activations_and_gradients(self)


@dataclass(frozen=True)
class Method:
    """One way to explain.

    Attributes:
        name: key.
        label: for people.
        source: paper.
        uses_layer: weighs a layer's activations; False: works on the input.
        uses_class: the map depends on the class that is explained.
        run: (B, h, w) of any size; negative evidence is clipped afterwards.
    """

    name: str
    label: str
    source: str
    uses_layer: bool
    uses_class: bool
    run: Callable[[Batch], Tensor]


def attribution_maps(model: nn.Module, images: Tensor, targets: Tensor, method: str, **options: Any) -> Tensor:
    """Maps of many faces by one method: see `maps_by_method`.

    Returns:
        float32 (M, S, S) on the CPU, ≥ 0.
    """
    return maps_by_method(model, images, targets, [method], **options)[method]


def maps_by_method(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    methods: Sequence[str],
    *,
    layer: str = "layer3",
    execution: Execution | None = None,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Maps of many faces.

    Args:
        model: on the device of `images`; left exactly as it was.
        images: float32 (M, 3, S, S), normalised.
        targets: int64 (M,), the class explained for each face.
        methods: keys of `METHODS` or `BASELINES`.
        layer: name of the layer whose activations class activation maps weigh.
        execution: precision and layout; None: float32. A model that predicts in bfloat16 is explained in it.
        batch_size: faces at once.
        seed: of what a method draws.
        progress: called with faces done and in all.

    Returns:
        By method, float32 (M, S, S) on the CPU, ≥ 0: evidence for the class, in the method's own unit; coarse maps
        are enlarged bilinearly. Evidence against it is clipped, as Grad-CAM does (Selvaraju 2017, eq. 2).

    Raises:
        ValueError: unknown method or layer, a layer without maps, or not a target for each face.
    """
    known = METHODS | BASELINES
    check_methods(methods, known)
    if len(images) != len(targets):
        raise ValueError(f"{len(images)} faces and {len(targets)} targets: one for each")
    module = named_layer(model, layer) if any(known[name].uses_layer for name in methods) else model
    side, parts = images.shape[-1], {name: [torch.zeros(0, images.shape[-1], images.shape[-1])] for name in methods}
    if execution is not None:
        images = execution.arrange(images)
    with preserved(model), execution.autocast() if execution else nullcontext():
        if module is not model and len(images):
            require_maps(model, layer, images[:1])
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            batch = Batch(model, images[part], targets[part], module, seed, start)
            for name in methods:
                maps = known[name].run(batch).detach().float().clamp_min(0)
                parts[name].append(F.interpolate(maps[:, None], (side, side), mode="bilinear")[:, 0].cpu())
            if progress:
                progress(min(start + batch_size, len(images)), len(images))
    return {name: torch.cat(found) for name, found in parts.items()}


def check_methods(methods: Sequence[str], known: Mapping[str, Method] | None = None) -> None:
    """Refuse a method that is none of `known` (default: `METHODS`).

    Raises:
        ValueError: names the unknown one and those that are known.
    """
    known = METHODS if known is None else known
    for method in methods:
        if method not in known:
            raise ValueError(f"method {method!r}: choose among {', '.join(known)}")


def scores_of(logits: Tensor, targets: Tensor) -> Tensor:
    """(B,) logits of the explained classes: gradients of logits do not vanish where a model is sure."""
    return logits.gather(1, targets[:, None])[:, 0]


def _activations_and_gradients(batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(B, C, h, w) each, of the layer; of all faces in one pass, for faces do not depend on each other here."""
    kept: list[Tensor] = []

    def begin_here(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        # The graph starts at the layer, so nothing before it is differentiated. The copy that goes on may be
        # changed in place by what follows.
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()

    handle = batch.layer.register_forward_hook(begin_here)
    try:
        with torch.enable_grad():
            scores = scores_of(batch.model(batch.images), batch.targets)
            (gradient,) = torch.autograd.grad(scores.sum(), kept)
    finally:
        handle.remove()
    return kept[0].detach().float().cpu().numpy(), gradient.float().cpu().numpy()


def _weighed(name: str) -> Callable[[Batch], Tensor]:
    """A method of the package `grad-cam`: its weighing of activations, without its scaling of every map to [0, 1]."""

    def run(batch: Batch) -> Tensor:
        import pytorch_grad_cam

        activations, gradients = batch.evidence
        # Only the weighing is wanted: the package's own passes and hooks are left out.
        weigher = object.__new__(getattr(pytorch_grad_cam, name))
        weigher.activations_and_grads = _NoHooks()
        found = weigher.get_cam_image(None, batch.layer, None, activations, gradients, False)
        return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))

    return run


class _NoHooks:
    """Stands where the package keeps hooks; there are none to release."""

    def release(self) -> None:
        """Nothing to do."""


def _eigen_cam(batch: Batch) -> Tensor:
    """The package's projection on the first principal component, whose sign is arbitrary: turned to where activity is.

    Without that a map may show the background of what it should show.
    """
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    activations = batch.evidence[0]
    maps = np.asarray(get_2d_projection(activations.copy()), dtype=np.float32)  # it centres its argument in place
    activity = activations.mean(axis=1)
    sign = np.array([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(maps, activity, strict=True)])
    return torch.from_numpy(maps * np.where(np.nan_to_num(sign) < 0, -1, 1)[:, None, None].astype(np.float32))


@torch.no_grad()
def _score_cam(batch: Batch) -> Tensor:
    """Channels weighed by the softmax of the class's score when only what they mark is shown; in batches.

    The package does the same face by face with a progress bar of its own; the test compares them.
    """
    activations, size = torch.from_numpy(batch.evidence[0]).to(batch.images.device), batch.images.shape[-2:]
    maps = []
    for image, target, channels in zip(batch.images, batch.targets, activations, strict=True):
        masks = F.interpolate(channels[None], size, mode="bilinear", align_corners=True)[0]
        low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
        masks = (masks - low) / (high - low + 1e-8)
        scores = [batch.model(image * part[:, None])[:, target] for part in torch.split(masks, _SCORE_BATCH)]
        weights = torch.cat(scores).float().softmax(dim=0)
        maps.append((weights[:, None, None] * channels).sum(dim=0))
    return torch.stack(maps)


def _integrated_gradients(batch: Batch) -> Tensor:
    """From the mean colour, which is 0 after normalisation; channels added up."""
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(batch.model).attribute(
        batch.images, target=batch.targets, n_steps=PATH_STEPS, internal_batch_size=max(64, len(batch.images))
    )
    return torch.as_tensor(found.sum(dim=1))


def _occlusion(batch: Batch) -> Tensor:
    """What a grey square costs the class, averaged over the squares that cover a pixel."""
    from captum.attr import Occlusion

    side = batch.images.shape[-1]
    window = max(1, side // OCCLUDER)
    stride = max(1, -(-(side - window) // (PLACES - 1)))
    with torch.no_grad():
        found = Occlusion(batch.model).attribute(
            batch.images, target=batch.targets, sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride), baselines=0, perturbations_per_eval=max(1, _OCCLUDED // len(batch.images)),
        )  # fmt: skip
    return torch.as_tensor(found.sum(dim=1))


def _gradient_shap(batch: Batch) -> Tensor:
    """Expected gradients between noisy faces and grey ones, which are 0 after normalisation; channels added up.

    Written out, for the package draws for the whole batch at once from global generators: a face's map would follow
    from its neighbours in the batch. All faces are given the same draws, from a generator of their own, so maps of
    faces, of moved faces and of arms differ by what the model sees alone. The test compares with the package.
    """
    random, total = generator(batch.seed, "gradient shap"), torch.zeros_like(batch.images)
    for _ in range(SHAP_SAMPLES):
        noise = SHAP_NOISE * torch.randn(batch.images.shape[1:], generator=random)
        share = float(torch.rand((), generator=random))
        noisy = batch.images + noise.to(batch.images)
        point = (share * noisy).detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(scores_of(batch.model(point), batch.targets).sum(), point)
        total += gradient * noisy
    return total.sum(dim=1) / SHAP_SAMPLES


def _random(batch: Batch) -> Tensor:
    """Noise as coarse as the layer's maps."""
    shape = batch.evidence[0].shape
    return torch.rand(shape[0], *shape[2:], generator=generator(batch.seed + batch.start, "random map"))


def _centre(batch: Batch) -> Tensor:
    """A Gaussian at the middle: where a face is cut out, the middle is a good guess."""
    side = batch.images.shape[-1]
    along = torch.exp(-0.5 * ((torch.arange(side) - (side - 1) / 2) / (side / 4)) ** 2)
    return torch.outer(along, along).expand(len(batch.images), side, side)


def _table(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


METHODS: dict[str, Method] = _table(
    Method("grad_cam", "Grad-CAM", "Selvaraju et al. 2017", True, True, _weighed("GradCAM")),
    Method("grad_cam_pp", "Grad-CAM++", "Chattopadhay et al. 2018", True, True, _weighed("GradCAMPlusPlus")),
    Method("layer_cam", "LayerCAM", "Jiang et al. 2021", True, True, _weighed("LayerCAM")),
    Method("hires_cam", "HiResCAM", "Draelos & Carin 2020", True, True, _weighed("HiResCAM")),
    Method("eigen_cam", "EigenCAM", "Muhammad & Yeasin 2020", True, False, _eigen_cam),
    Method("score_cam", "Score-CAM", "Wang et al. 2020", True, True, _score_cam),
    Method(
        "integrated_gradients", "Integrated Gradients", "Sundararajan et al. 2017", False, True, _integrated_gradients
    ),
    Method("occlusion", "Occlusion", "Zeiler & Fergus 2014", False, True, _occlusion),
    Method("gradient_shap", "GradientSHAP", "Lundberg & Lee 2017; Erion et al. 2021", False, True, _gradient_shap),
)
#: Maps that know nothing of the model: what any method has to beat.
BASELINES: dict[str, Method] = _table(
    Method("random", "random map", "", True, False, _random),
    Method("centre", "centre of the face", "", False, False, _centre),
)
