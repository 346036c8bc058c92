"""The recipe by which a backbone is pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from maskbench.config.base import ConfigError, Section, validated
from maskbench.config.sizes import Phase, Phases, epochs_of, size_in
from maskbench.config.study import merge
from maskbench.config.training import TrainConfig

#: What a study's protocol has and a pretraining has no use for, with the reason.
_UNUSED = {
    "epochs": "epochs follow from sizes",
    "patience": "a pretraining runs to the end of its schedule",
    "selection_window": "the last epoch's weights are kept",
    "small_inputs": "inputs grow by sizes",
}
#: Where the recipe differs from a study's protocol: many classes and images, a random start.
_TRAIN: dict[str, Any] = {
    "batch_size": 256,
    "learning_rate": 2e-3,
    "warmup_share": 0.05,
    "final_rate_share": 0.001,
    "loss": "cross_entropy",
    "label_smoothing": 0.1,
    "zero_init_residual": True,
    "gradient_interval": 0,
    "resume_seconds": 300.0,
    "augment": {"rotate_degrees": 5.0, "scale": 0.25, "translate": 0.12, "blur": 0.0, "rescale": 0.1, "erase": 0.1},
}


class PretrainConfig(Section):
    """Everything that decides what a pretraining computes, but its images."""

    implementation: Literal["manual", "torchvision"] = Field("manual", description="which ResNet34; both read the file")
    sizes: Phases = Field(
        (Phase(size=64, epochs=30), Phase(size=96, epochs=20), Phase(size=128, epochs=10)),
        min_length=1,
        description="input sizes, px, in order with their epochs: small ones are cheap, large ones last show details",
    )
    crop: float = Field(0.75, gt=0, le=1, description="share of the side that an augmented view shows before zooming")
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="of each class, where the folder has no validation images of its own"
    )
    average_decay: float = Field(
        0.999, ge=0, lt=1, description="of the moving average of the weights, which is what is validated and kept"
    )
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="RGB mean (ImageNet)")
    std: tuple[float, float, float] = Field((0.229, 0.224, 0.225), description="RGB standard deviation (ImageNet)")
    max_pixels: int = Field(50_000_000, ge=1, description="an image header promising more is not decoded")
    evaluate_batch_size: int = Field(256, ge=1, description="images predicted at once")
    seed: int = Field(0, ge=0, description="of initial weights, order, augmentation and the validation share")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate(_TRAIN))

    @property
    def epochs(self) -> int:
        """In all."""
        return epochs_of(self.sizes)

    def size_in(self, epoch: int) -> int:
        """Input size of a 0-based epoch, px."""
        return size_in(self.sizes, epoch, self.sizes[-1].size)

    @property
    def longest_size(self) -> int:
        """The size at which most pixels are computed: what the memory layout is chosen for."""
        return max(self.sizes, key=lambda phase: phase.epochs * phase.size**2).size


def make_pretraining(layer: Mapping[str, Any]) -> PretrainConfig:
    """A recipe: the defaults with `layer` laid over them.

    Raises:
        ConfigError: an unknown field, one that means nothing here, or a value out of range; names the field.

    Example:
        >>> recipe = make_pretraining({"sizes": "64:2,96:1", "train": {"batch_size": 32}})
        >>> [recipe.size_in(epoch) for epoch in range(recipe.epochs)], recipe.train.loss
        ([64, 64, 96], 'cross_entropy')
    """
    changed = layer.get("train")
    for name in changed if isinstance(changed, Mapping) else ():
        if name in _UNUSED:
            raise ConfigError(f"train.{name}: {_UNUSED[name]}")
    recipe = validated(PretrainConfig, merge({"train": _TRAIN}, layer))
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": recipe.epochs})})
