"""How far maps can be trusted: what happens to the answer, the map and its place when something is changed.

Nothing here looks at a map and finds it plausible. Every measure is also taken for maps that know nothing of the
model (`cam.BASELINES`): what a method says has to be more than they say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from maskbench.data.boxes import BOX_COLUMNS
from maskbench.data.transforms import Preprocess
from maskbench.explain.cam import BASELINES, maps_by_method
from maskbench.explain.map_features import correlation, energy_share, peaks
from maskbench.explain.regions import box_masks, boxes_in_view, lower_half_masks, polygon_masks
from maskbench.models.execution import Execution
from maskbench.models.registry import build_model
from maskbench.schemas.faithfulness import FAITHFULNESS, FAITHFULNESS_CURVES
from maskbench.seeding import derive_seed, generator
from maskbench.training.checkpoint import execution_of, preprocess_of

#: Views shifted by this share of the side test whether a map moves with the face: 4 px of 64.
SHIFT = 1 / 16
#: Standard deviation of the blur that insertion starts from, in sides (Petsiuk 2018 blur until nothing is recognised).
BLUR = 1 / 4
_BATCH = 256

Floats = NDArray[np.float64]
Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Faithfulness:
    """What was measured in one model.

    Attributes:
        table: `schemas.faithfulness.FAITHFULNESS`, a row per face, method and measure.
        curves: `schemas.faithfulness.FAITHFULNESS_CURVES`.
    """

    table: pd.DataFrame
    curves: pd.DataFrame


def measure_faithfulness(
    model: nn.Module,
    record: dict[str, Any],
    canvases: Tensor,
    faces: pd.DataFrame,
    methods: Sequence[str],
    *,
    polygons: Sequence[Sequence[Sequence[float]]] | None = None,
    layer: str,
    steps: int = 10,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Measure methods, and maps that know nothing, on the same faces.

    Args:
        model: from `load_checkpoint`, on its device; left as it was.
        record: the checkpoint's.
        canvases: uint8 (M, 3, C, C).
        faces: `schemas.FACES`, their M rows.
        methods: keys of `cam.METHODS`.
        polygons: the true mask of each face, px of the photograph, where it is known; empty: no mask.
        layer: whose activations class activation maps weigh.
        steps: of deletion and insertion.
        seed: of ties, randomised weights, and what methods draw.
        progress: called with sets of maps done and in all.

    Returns:
        Measures of the predicted class's maps: `deletion`, `insertion` (areas under the probability); `pointing_…`
        (1 where the peak lies inside), `energy_…`, `iou_…` for the region `lower` (half of the face) and `mask` (true
        outline); `stability_shift`, `stability_mirror` (correlation of the map with that of the moved face, moved
        back); `similarity_random` (rank correlation with the map after all weights were drawn anew; 0 where
        that one is empty).

    Source:
        Petsiuk, Das & Saenko 2018 (RISE, deletion and insertion); Zhang et al. 2018 (pointing game); Wang et al. 2020
        (energy); Adebayo et al. 2018 (parameter randomisation).
    """
    probe = _Probe.of(model, record, canvases, layer, seed)
    regions = _regions(faces, record, polygons)
    flat = {"arm": record["arm"], "seed": int(record["seed"])}
    rows, curves = [], []
    names = [*methods, *BASELINES]
    views = probe.views(names, progress)
    for method in names:
        maps, blurred = views[method]["face"], probe.blurred()
        curve = deletion_insertion(
            probe.predict, probe.images, blurred, torch.from_numpy(maps), probe.targets, steps=steps, seed=seed
        )
        areas = np.asarray(np.trapezoid(curve, dx=1 / steps, axis=2))  # (M, 2)
        measured = {
            "deletion": areas[:, 0],
            "insertion": areas[:, 1],
            **{
                f"{kind}_{name}": value
                for name, region in regions.items()
                for kind, value in _place(maps, region, seed)
            },
            **probe.changes(views[method]),
        }
        rows += [_rows(faces, values, {**flat, "method": method, "measure": name}) for name, values in measured.items()]
        curves.append(_curve_rows(curve, {**flat, "method": method}, steps))
    table = pd.concat(rows, ignore_index=True)[list(FAITHFULNESS.columns)]
    return Faithfulness(table, pd.concat(curves, ignore_index=True)[list(FAITHFULNESS_CURVES.columns)])


def deletion_insertion(
    predict: Predict, images: Tensor, blurred: Tensor, maps: Tensor, targets: Tensor, *, steps: int, seed: int = 0
) -> Floats:
    """Probability of the explained class while pixels are taken away, or given, in the order of the map.

    Deletion sets pixels to the mean colour, 0 after normalisation; insertion starts from the blurred face. Pixels of
    equal importance come in a random order: in reading order, a map's zeros would be taken away from above.

    Args:
        predict: float (B, 3, S, S) -> probabilities (B, K).
        images: float (M, 3, S, S).
        blurred: what insertion starts from, likewise.
        maps: (M, S, S).
        targets: int64 (M,).
        steps: equal shares of the pixels; at least 1.
        seed: of the order of equals.

    Returns:
        (M, 2, steps + 1): deletion and insertion, from nothing changed to everything.

    Source:
        Petsiuk, Das & Saenko, RISE, BMVC 2018, section 4.
    """
    count, pixels = len(maps), maps.shape[-1] ** 2
    shuffled = torch.randperm(pixels, generator=generator(seed, "ties"))
    order = shuffled[maps.flatten(1)[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels).expand(count, pixels))
    rank = rank.view(count, 1, *maps.shape[1:]).to(images.device)
    found = np.empty((count, 2 * (steps + 1)))
    changed: list[Tensor] = []
    for step in range(steps + 1):
        reached = rank < round(pixels * step / steps)  # (M, 1, S, S)
        changed += [images * ~reached, torch.where(reached, images, blurred)]
    for start in range(0, len(changed), width := max(1, _BATCH // max(count, 1))):
        # Several steps at once: small batches leave the machine idle.
        part = changed[start : start + width]
        probs = predict(torch.cat(part)).gather(1, targets.repeat(len(part))[:, None])
        found[:, start : start + len(part)] = probs.view(len(part), count).T.double().cpu().numpy()
    return found.reshape(count, steps + 1, 2).transpose(0, 2, 1)


def randomised(record: dict[str, Any], seed: int) -> nn.Module:
    """The checkpoint's network with all weights drawn anew, in evaluation mode, on the checkpoint's device.

    Source:
        Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, section 3.
    """
    drawn = derive_seed(seed, "sanity")
    fresh, _ = build_model(record["implementation"], len(record["classes"]), seed=drawn, loaded=None)
    return execution_of(record).place(fresh).eval()


def rank_correlation(one: Floats, other: Floats) -> Floats:
    """(M,) Spearman's correlation over pixels of each pair of maps; NaN where one of them is constant."""
    ranks = [stats.rankdata(part.reshape(len(part), -1), axis=1)[:, None, :] for part in (one, other)]
    return correlation(*ranks)


def unchanged(trained: Floats, untrained: Floats) -> Floats:
    """(M,) rank correlation of maps with those of an untrained network; a map that this one lacks altogether is 0.

    NaN where the trained network's map is constant.
    """
    vanished = np.ptp(untrained, axis=(1, 2)) == 0
    return np.where(vanished & (np.ptp(trained, axis=(1, 2)) > 0), 0.0, rank_correlation(trained, untrained))


def top_iou(maps: Floats, regions: NDArray[np.bool_], seed: int = 0) -> Floats:
    """(M,) intersection over union of a region with as many of the map's largest pixels; NaN where nothing is.

    Pixels of equal importance come in a random order: in reading order, the zeros of a map would fill the upper half.
    """
    shuffled = np.random.default_rng(seed).permutation(maps[0].size) if len(maps) else np.empty(0, dtype=int)
    found = np.full(len(maps), np.nan)
    for row, (heat, region) in enumerate(zip(maps, regions, strict=True)):
        wanted = int(region.sum())
        if wanted and heat.max() > 0:
            top = shuffled[np.argsort(-heat.ravel()[shuffled], kind="stable")[:wanted]]
            inside = int(region.ravel()[top].sum())
            found[row] = inside / (2 * wanted - inside)
    return found


@dataclass(frozen=True, eq=False)
class _Probe:
    """A model with the faces it is probed on."""

    model: nn.Module
    record: dict[str, Any]
    canvases: Tensor
    images: Tensor
    targets: Tensor
    layer: str
    seed: int
    preprocess: Preprocess
    execution: Execution

    @classmethod
    def of(cls, model: nn.Module, record: dict[str, Any], canvases: Tensor, layer: str, seed: int) -> _Probe:
        preprocess, execution = preprocess_of(record), execution_of(record)
        placed = canvases.to(execution.device)
        images = execution.arrange(preprocess.view(placed))
        probe = cls(model, record, placed, images, torch.empty(0), layer, seed, preprocess, execution)
        targets = torch.cat([probe.predict(part).argmax(dim=1) for part in torch.split(images, _BATCH)])
        return cls(model, record, placed, images, targets, layer, seed, preprocess, execution)

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (B, K), of the face as it is, without its mirror image."""
        with torch.no_grad(), self.execution.autocast():
            logits: Tensor = self.model(self.execution.arrange(images))
            return logits.float().softmax(dim=1)

    def views(
        self, methods: Sequence[str], progress: Callable[[int, int], None] | None
    ) -> dict[str, dict[str, Floats]]:
        """Maps (M, S, S) of the faces, of the faces moved, and by a network that has learned nothing: by method."""
        border, step = (self.canvases.shape[-1] - self.images.shape[-1]) // 2, self.step()
        place = slice(border + step, border + step + self.images.shape[-1])
        moved = self.preprocess.normalise(self.canvases[:, :, place, place].float() / 255)
        wanted = {
            "face": (self.model, self.images),
            "shifted": (self.model, moved),
            "mirrored": (self.model, self.images.flip(-1)),
            "untrained": (randomised(self.record, self.seed), self.images),
        }
        found: dict[str, dict[str, Floats]] = {method: {} for method in methods}
        for done, (name, (model, images)) in enumerate(wanted.items(), start=1):
            maps = maps_by_method(
                model, images, self.targets, methods, layer=self.layer, execution=self.execution, seed=self.seed
            )
            for method, part in maps.items():
                found[method][name] = np.asarray(part.numpy(), dtype=float)
            if progress:
                progress(done, len(wanted))
        return found

    def step(self) -> int:
        """By how much faces are shifted, px: no further than their canvases reach."""
        side = self.images.shape[-1]
        return min((self.canvases.shape[-1] - side) // 2, max(1, round(side * SHIFT)))

    def blurred(self) -> Tensor:
        """The faces, blurred until only colours are left."""
        sigma = BLUR * self.images.shape[-1]
        along = torch.arange(-int(2 * sigma), int(2 * sigma) + 1, device=self.images.device)
        kernel = torch.exp(-0.5 * (along / sigma) ** 2)
        kernel = (kernel / kernel.sum()).expand(3, 1, -1)
        padded = F.pad(self.images, (len(along) // 2,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, kernel[:, :, None, :], groups=3), kernel[:, :, :, None], groups=3)

    def changes(self, views: dict[str, Floats]) -> dict[str, Floats]:
        """Likeness of a method's maps with those of moved faces, moved back, and of an untrained network."""
        maps, step = views["face"], self.step()
        side = maps.shape[-1]
        return {
            "stability_shift": correlation(maps[:, step:, step:], views["shifted"][:, : side - step, : side - step]),
            "stability_mirror": correlation(maps, views["mirrored"][..., ::-1]),
            "similarity_random": unchanged(maps, views["untrained"]),
        }


def _regions(
    faces: pd.DataFrame, record: dict[str, Any], polygons: Sequence[Sequence[Sequence[float]]] | None
) -> dict[str, NDArray[np.bool_]]:
    size, margin = int(record["preprocess"]["input_size"]), float(record["preprocess"]["margin"])
    boxes = faces[BOX_COLUMNS].to_numpy(dtype=float)
    found = {"lower": lower_half_masks(boxes_in_view(boxes, margin, size), size)}
    if polygons is not None:
        found["mask"] = polygon_masks(polygons, boxes, margin, size)
    return found


def face_regions(faces: pd.DataFrame, record: dict[str, Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N, S, S) each: the lower half of each face's box in the model's view, and the whole box."""
    size, margin = int(record["preprocess"]["input_size"]), float(record["preprocess"]["margin"])
    view = boxes_in_view(faces[BOX_COLUMNS].to_numpy(dtype=float), margin, size)
    return lower_half_masks(view, size), box_masks(view, size)


def _place(maps: Floats, regions: NDArray[np.bool_], seed: int) -> Iterator[tuple[str, Floats]]:
    yield "pointing", pointing(maps, regions)
    yield "energy", energy_share(maps, regions)
    yield "iou", top_iou(maps, regions, seed)


def pointing(maps: Floats, regions: NDArray[np.bool_]) -> Floats:
    """(M,) 1 where the map's peak lies in the region, 0 where not; between pixels, the mean of those around it.

    Between: the plateau of an even number of pixels, as in the middle of a view, lies on neither side of a border
    that runs there. NaN where the map is zero or the region empty.
    """
    side = maps.shape[-1]
    x, y = peaks(maps)
    around = []
    for nudge in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        column, row = (
            np.clip(np.floor(np.nan_to_num(part) * side + 1e-6 * sign), 0, side - 1).astype(int)
            for part, sign in zip((x, y), nudge, strict=True)
        )
        around.append(regions[np.arange(len(maps)), row, column])
    defined = np.isfinite(x) & regions.any(axis=(1, 2))
    return np.where(defined, np.mean(around, axis=0), np.nan)


def _rows(faces: pd.DataFrame, values: Floats, facts: dict[str, Any]) -> pd.DataFrame:
    """Rows of one method and measure; a measure that nothing can be said of has its reason."""
    reason = "the region is empty" if facts["measure"].endswith(("_lower", "_mask")) else "a map is constant"
    reasons = np.where(np.isfinite(values), "", f"{reason} or the map is zero" if "region" in reason else reason)
    ids = {"face_id": faces["face_id"].to_numpy(), "image_id": faces["image_id"].to_numpy()}
    return pd.DataFrame({**facts, **ids, "value": values, "reason": reasons})


def _curve_rows(curve: Floats, facts: dict[str, Any], steps: int) -> pd.DataFrame:
    parts = [
        pd.DataFrame({**facts, "kind": kind, "share": np.arange(steps + 1) / steps, "prob": curve[:, k].mean(axis=0)})
        for k, kind in enumerate(("deletion", "insertion"))
    ]
    return pd.concat(parts, ignore_index=True).assign(faces=len(curve))
