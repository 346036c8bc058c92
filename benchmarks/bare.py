"""A training step and a prediction with nothing around them: random pixels, the study's model and protocol."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from maskbench.config import Config, TrainConfig
from maskbench.data.transforms import Preprocess
from maskbench.models.execution import Execution
from maskbench.models.forward import evaluation_logits
from maskbench.models.registry import build_model
from maskbench.training.losses import build_loss
from maskbench.training.optim import build_optimiser

CLASSES = 3
#: Makes another callable of the model, with the same parameters.
Wrap = Callable[[nn.Module], Callable[[Tensor], Tensor]]


class Step:
    """Forward, backward, clipping, optimiser and schedule of the protocol on a batch that is always the same.

    Args:
        execution: device, precision, layout.
        size: side of the faces, px.
        config: protocol.
        wrap: for instance `torch.compile`.
        classes: K.
    """

    def __init__(
        self,
        execution: Execution,
        size: int,
        config: TrainConfig,
        wrap: Wrap = lambda model: model,
        classes: int = CLASSES,
    ) -> None:
        self.execution, self.config, self.batch = execution, config, config.batch_size
        self.model, _ = build_model("torchvision", classes, seed=0, loaded=None)
        execution.place(self.model).train()
        self.forward = wrap(self.model)
        self.criterion = build_loss(config, torch.full((classes,), 100)).to(execution.device)
        self.optimiser, self.schedule = build_optimiser(self.model, config, 1000)
        pixels = torch.randn(self.batch, 3, size, size, generator=torch.Generator().manual_seed(0))
        self.images = execution.arrange(pixels.to(execution.device))
        self.targets = (torch.arange(self.batch) % classes).to(execution.device)

    def learn(self) -> Tensor:
        """Logits; leaves the gradients of their loss."""
        self.optimiser.zero_grad()
        with self.execution.autocast():
            logits = self.forward(self.images)
        self.criterion(logits, self.targets).backward()
        return logits.detach().float()

    def update(self) -> None:
        """Clip the gradients and move the weights."""
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        self.schedule.step()

    def __call__(self) -> None:
        """One step."""
        self.learn()
        self.update()


class Prediction:
    """Logits of a batch of faces and their mirror images, as validation and testing compute them.

    Args:
        execution: device, precision, layout.
        size: side of the faces, px.
        config: batch size, normalisation, mirror images.
        wrap: for instance `torch.compile`.
    """

    def __init__(self, execution: Execution, size: int, config: Config, wrap: Wrap = lambda model: model) -> None:
        self.execution, self.config, self.batch = execution, config.evaluate, config.evaluate.batch_size
        self.preprocess = Preprocess(size, config.faces.mean, config.faces.std)
        self.model, _ = build_model("torchvision", CLASSES, seed=0, loaded=None)
        execution.place(self.model).eval()
        self.forward = wrap(self.model)
        shape = (self.batch, 3, size, size)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        self.canvases = pixels.to(execution.device)

    def __call__(self) -> Tensor:
        """(B, K) float32."""
        return evaluation_logits(
            self.forward, self.canvases, self.preprocess, self.execution,  # type: ignore[arg-type]
            flip_average=self.config.flip_average,
        )  # fmt: skip
