"""What a pretraining leaves: the compact file of weights, measured as it is read back, and its record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from maskbench.config.pretraining import PretrainConfig
from maskbench.data.image_store import stored_side
from maskbench.inference.predict import predict_logits
from maskbench.models.execution import Execution
from maskbench.models.pretrained import backbone_tensors, resolve_weights
from maskbench.models.registry import IMPLEMENTATIONS, build_model, head_of
from maskbench.models.weight_files import write_compact_file
from maskbench.rundir import git_commit
from maskbench.storage import sha256_file, write_json
from maskbench.training.checkpoint import BACKBONE, LAST, execution_of, load_checkpoint
from maskbench.training.fit_pretraining import PretrainInputs, build_pretraining_data
from maskbench.training.pretraining import preprocess_at

if TYPE_CHECKING:
    from maskbench.stages.pretrain import Wish


def release(wish: Wish, inputs: PretrainInputs, recipe: PretrainConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the file of weights and its record.

    The file is written, read back and measured before it appears under its name: the backbone's eight bits, with the
    head in float32, which the file does not hold.

    Args:
        wish: where to.
        inputs: images to measure on.
        recipe: how it was trained.
        facts: commands, recipe, data and training, for the record.

    Returns:
        The record.

    Raises:
        WeightsError: the file does not fit an implementation; it has not appeared then.
    """
    model, record = load_checkpoint(wish.folder / LAST, BACKBONE)
    execution = execution_of(record)
    tensors = backbone_tensors(model)
    metadata = {
        "name": wish.out.stem,
        "version": wish.release,
        "architecture": "resnet34",
        "pretraining": pretraining_text(facts["data"], recipe),
        "mean": ",".join(map(str, recipe.mean)),
        "std": ",".join(map(str, recipe.std)),
    }
    draft = wish.folder / "draft.safetensors"
    write_compact_file(draft, tensors, metadata)
    reloaded, matched = _reloaded(draft, model, recipe)
    top1 = {
        name: measure_top1(execution.place(one), inputs, recipe, execution)
        for name, one in (("top1", reloaded), ("top1_float", model))
    }
    write_compact_file(wish.out, tensors, metadata | {"top1": f"{top1['top1']:.4f}"})
    draft.unlink()
    result = {
        "file": wish.out.name,
        "sha256": sha256_file(wish.out),
        "bytes": wish.out.stat().st_size,
        **metadata,
        "mean": list(recipe.mean),
        "std": list(recipe.std),
        **top1,
        "top1_of": "validation images of this folder, whole squares at the last input size, the last epoch's averaged "
        "weights; top1 with the file's eight bits read back and the head in float32, top1_float without rounding",
        "relative_rounding_error": _rounding_error(tensors, backbone_tensors(reloaded)),
        "matched": matched,
        "epochs": recipe.epochs,
        **facts,
        "execution": record["execution"],
        "versions": record["versions"],
        "git_commit": git_commit(Path(__file__).parent),
    }
    write_json(wish.record, result)
    return result


def pretraining_text(data: dict[str, Any], recipe: PretrainConfig) -> str:
    """What the file's metadata say of data and duration, in one line."""
    phases = ", ".join(f"{phase.epochs} epochs at {phase.size} px" for phase in recipe.sizes)
    return f"{data['folder']}, {data['train_images']} images of {data['classes']} classes, {phases}"


def _reloaded(path: Path, model: nn.Module, recipe: PretrainConfig) -> tuple[nn.Module, dict[str, int]]:
    """The model with the file's backbone, and how many tensors each implementation takes from it."""
    loaded = resolve_weights(str(path))
    classes = head_of(model).out_features
    built = {name: build_model(name, classes, seed=0, loaded=loaded) for name in IMPLEMENTATIONS}
    found, _ = built[recipe.implementation]
    head_of(found).load_state_dict(head_of(model).state_dict())
    return found.eval(), {name: record.matched for name, (_, record) in built.items()}


def measure_top1(model: nn.Module, inputs: PretrainInputs, recipe: PretrainConfig, execution: Execution) -> float:
    """Share of the validation images whose class has the largest logit, at the last input size."""
    size = recipe.sizes[-1].size
    inputs.images.side = stored_side(size, inputs.native)
    batches = build_pretraining_data(inputs, recipe).val_dataloader()
    found = predict_logits(model, batches, preprocess_at(recipe, size), execution, flip_average=False)
    return float(np.mean(found.logits.argmax(axis=1) == found.targets))


def _rounding_error(exact: dict[str, torch.Tensor], rounded: dict[str, torch.Tensor]) -> float:
    """Root of the summed squared differences over that of the squared weights."""
    off = sum(float((exact[name].cpu() - rounded[name].cpu()).double().square().sum()) for name in exact)
    size = sum(float(tensor.cpu().double().square().sum()) for tensor in exact.values())
    return float(np.sqrt(off / size))
