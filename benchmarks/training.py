"""Training speed as ratios taken inside one process run.

1. The real training loop (batches, augmentation, forward, backward, optimiser, statistics, logging)
   against the same optimiser step on random tensors held in memory.
2. The same loop against the usual notebook's way: float32, NCHW, 226 px, every face decoded into a
   list of float tensors, default AdamW.

Blocks of the variants alternate, so a machine that slows down slows all of them; each figure is the
median over the rounds. On a GPU the bare step is measured twice: kernel by kernel, and with its passes
replayed as the loop replays them. Usage: python benchmarks/training.py [--data DIR] [--preset quick] [--rounds 5]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from bare import Step
from maskbench import schemas, study
from maskbench.config import STUDY_ARMS, Config
from maskbench.data.faces import make_canvases
from maskbench.models.execution import resolve_execution
from maskbench.models.registry import build_model
from maskbench.options import choose_config
from maskbench.stages.context import Context, face_crops
from maskbench.training.fit import FitInputs, build_datamodule, preprocess_from
from maskbench.training.graphs import Replayed
from maskbench.training.losses import build_loss
from maskbench.training.module import ArmModule
from maskbench.training.trainer import build_trainer, fit_module

NOTEBOOK_PX = 226


def prepare(data: str, folder: Path, preset: str = "quick") -> tuple[Config, FitInputs, Any, Any]:
    """Audit and split a dataset; canvases as training gets them."""
    config, folders = choose_config(
        folder, data=data, name=None, preset=preset, config_file=None, weights="none", settings=None
    )
    context = Context(config, folders, lambda line: None, lambda title: None)
    folders.claim(config, study.used_sections(folders))
    study.run_stages(["audit", "split"], context)
    images, faces = (
        context.table("audit", name, schema) for name, schema in (("images", schemas.IMAGES), ("faces", schemas.FACES))
    )
    crops = face_crops(context, images, faces)
    canvases = make_canvases(crops, faces, config.faces.margin, config.faces.input_size)
    split = context.table("split", "split", schemas.SPLIT)
    return config, FitInputs(canvases, split, context.classes(), {}), crops, faces


class StepClock(L.Callback):
    """Wall time between the first and the last optimiser step of a fit, beginning after `skip` steps."""

    def __init__(self, skip: int) -> None:
        self.skip, self.started, self.steps = skip, 0.0, 0
        self.ended = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock after the warm-up."""
        if batch_idx == self.skip:
            wait_for_gpu()
            self.started = time.perf_counter()
        self.steps += batch_idx >= self.skip  # fewer than asked for where the epoch is shorter

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop it."""
        wait_for_gpu()
        self.ended = time.perf_counter()


def loop_rate(config: Config, inputs: FitInputs, steps: int, skip: int = 3) -> float:
    """Faces per second of the real loop, with its logger, statistics and gradient flow."""
    execution = resolve_execution(config.train, config.faces.input_size)
    model, _ = build_model(STUDY_ARMS[1].implementation, len(inputs.classes), seed=0, loaded=None)
    execution.place(model)
    data = build_datamodule(inputs, config, 0)
    module = ArmModule(
        model, implementation=STUDY_ARMS[1].implementation, arm="bench", run=0, seed=0, classes=inputs.classes,
        criterion=build_loss(config.train, data.class_counts()),
        preprocess=preprocess_from(config), execution=execution, train=config.train, evaluate=config.evaluate,
    )  # fmt: skip
    clock = StepClock(skip)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(execution, Path(folder), [clock], epochs=1, resume_seconds=0, progress=False)
        trainer.limit_train_batches, trainer.limit_val_batches = steps + skip, 0
        fit_module(trainer, module, Path(folder), datamodule=data)
    return clock.steps * config.train.batch_size / (clock.ended - clock.started)


def bare_rate(config: Config, classes: int, steps: int, replayed: bool = False, skip: int = 3) -> float:
    """Faces per second of the same optimiser step on random tensors; `replayed`: its passes recorded on a GPU."""
    execution, size = resolve_execution(config.train, config.faces.input_size), config.train.batch_size

    def wrap(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        return Replayed(model, execution, size) if replayed else model

    step = Step(execution, config.faces.input_size, config.train, wrap, classes)
    return step.batch / seconds_per_call(step, steps, skip)


def notebook_rate(faces: list[tuple[torch.Tensor, int]], device: str, classes: int, steps: int, frozen: bool) -> float:
    """Faces per second of the notebook's way; `frozen`: all but the head."""
    model, _ = build_model("torchvision", classes, seed=0, loaded=None)
    model.to(device).train()
    if frozen:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("fc."))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    batches = iter(DataLoader(faces, batch_size=32, shuffle=True, collate_fn=default_collate))  # type: ignore[arg-type]

    def step() -> None:
        images, targets = (tensor.to(device) for tensor in next(batches))
        optimiser.zero_grad()
        loss: torch.Tensor = nn.functional.cross_entropy(model(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return 32 / seconds_per_call(step, steps, 1)


def seconds_per_call(call: Callable[[], None], count: int, skip: int) -> float:
    """Mean wall time of `count` calls after `skip` warm-up calls; a GPU is waited for."""
    for _ in range(skip):
        call()
    wait_for_gpu()
    started = time.perf_counter()
    for _ in range(count):
        call()
    wait_for_gpu()
    return (time.perf_counter() - started) / count


def wait_for_gpu() -> None:
    """Until all that was asked of a GPU is done, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, inputs, crops, faces = prepare(options.data, Path(folder), options.preset)
        large = make_canvases(crops, faces, config.faces.margin, NOTEBOOK_PX)[:160, :, 28:-28, 28:-28]
    decoded = [(face.float() / 255, 0) for face in large[:, :, :NOTEBOOK_PX, :NOTEBOOK_PX]]
    execution = resolve_execution(config.train, config.faces.input_size)
    on_gpu = execution.device == "cuda"
    steps = max(2, min(60 if on_gpu else 20, len(inputs.canvases) // config.train.batch_size - 6))
    rates: dict[str, list[float]] = {"loop": [], "bare": [], "notebook": [], "notebook frozen": []}
    if on_gpu:
        rates["bare replayed"] = []
    for round_ in range(options.rounds):
        rates["loop"].append(loop_rate(config, inputs, steps))
        rates["bare"].append(bare_rate(config, len(inputs.classes), steps))
        rates["notebook"].append(notebook_rate(decoded, execution.device, len(inputs.classes), 2, frozen=False))
        rates["notebook frozen"].append(notebook_rate(decoded, execution.device, len(inputs.classes), 2, frozen=True))
        if on_gpu:
            rates["bare replayed"].append(bare_rate(config, len(inputs.classes), steps, replayed=True))
        print(f"round {round_ + 1}: " + ", ".join(f"{name} {values[-1]:.1f}" for name, values in rates.items()))
    print(f"\ntorch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads, {execution}")
    print(f"input {config.faces.input_size} px, batch {config.train.batch_size}; medians of {options.rounds} rounds\n")
    median = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in median.items():
        print(f"{name:16s} {value:8.1f} faces/s")
    for name in list(rates)[1:]:
        ratios = [a / b for a, b in zip(rates["loop"], rates[name], strict=True)]
        print(f"loop ÷ {name:16s} {statistics.median(ratios):6.2f}  (rounds: {', '.join(f'{r:.2f}' for r in ratios)})")


if __name__ == "__main__":
    main()
