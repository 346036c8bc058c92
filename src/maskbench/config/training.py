"""Sections on models, training and prediction."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from maskbench.config.base import Name, Section, Share
from maskbench.config.sizes import Phases, epochs_of


class ArmConfig(Section):
    """What is compared: an implementation with an initialisation."""

    name: Name = Field(description="of the arm, in tables, figures and folders")
    implementation: str = Field(min_length=1, description="a model of `models.registry`: `manual` or `torchvision`")
    initialisation: Literal["random", "pretrained"] = Field(description="pretrained: from `weights`")


class AugmentConfig(Section):
    """Augmentation, drawn per batch on the device; sized for faces of about 20 px."""

    flip: Share = Field(0.5, description="probability of a horizontal flip")
    rotate_degrees: float = Field(10.0, ge=0, le=180, description="rotation by up to this, either way")
    scale: float = Field(0.15, ge=0, lt=1, description="zoom by a factor in [1 - s, 1 + s]")
    translate: Share = Field(0.08, description="shift by up to this share of the crop")
    brightness: float = Field(0.3, ge=0, le=1, description="factor in [1 - b, 1 + b]")
    contrast: float = Field(0.3, ge=0, le=1, description="likewise")
    saturation: float = Field(0.3, ge=0, le=1, description="likewise")
    blur: Share = Field(0.1, description="probability of a Gaussian blur")
    rescale: Share = Field(0.3, description="probability of shrinking to 8…32 px and back: tiny faces from large ones")
    erase: Share = Field(0.0, description="probability of erasing a random rectangle")


class TrainConfig(Section):
    """One protocol for every arm."""

    epochs: int = Field(14, ge=1, description="passes over the training faces, at most")
    small_inputs: Phases = Field(
        (),
        description="smaller inputs of the first epochs, px, as `SIZE:EPOCHS,…` (progressive resizing); after them "
        "and always for validation `faces.input_size`",
    )
    batch_size: int = Field(32, ge=2, description="faces per step")
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="sgd: with Nesterov momentum")
    learning_rate: float = Field(
        4e-4, gt=0, description="of 1e-3 and 4e-4 the better on validation faces for pretrained weights, see docs"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    weight_decay: float = Field(0.05, ge=0, description="of weights; biases and batch-norm gains have none")
    warmup_share: Share = Field(0.15, description="share of all steps over which the rate rises linearly")
    final_rate_share: Share = Field(0.01, description="the cosine ends at this share of the peak rate")
    loss: Literal["cross_entropy", "class_balanced", "focal"] = Field(
        "class_balanced", description="class_balanced: classes weighed by their effective number of faces"
    )
    class_balance_beta: float = Field(0.999, ge=0, lt=1, description="Cui et al. 2019, eq. 2")
    focal_gamma: float = Field(2.0, ge=0, description="focal: exponent, Lin et al. 2017, eq. 4")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="share of each target spread over all classes")
    balanced_sampler: bool = Field(False, description="faces are drawn so that classes come equally often")
    regime: Literal["full", "frozen", "gradual", "discriminative"] = Field(
        "full", description="which layers learn: all, the head, one more group of layers at a time, all at other rates"
    )
    layer_decay: float = Field(0.7, gt=0, le=1, description="discriminative: rate factor per depth group from the head")
    unfreeze_every: int = Field(1, ge=1, description="gradual: epochs between unfreezing one more depth group")
    gradient_clip: float = Field(1.0, ge=0, description="largest global gradient norm; 0: no clipping")
    selection_window: int = Field(
        3,
        ge=1,
        description="an epoch is judged by the mean validation macro-F1 of this many epochs up to it: with a score of "
        "validation faces, a rare class makes single epochs jump by several points",
    )
    patience: int = Field(0, ge=0, description="epochs without a better validation macro-F1 before stopping; 0: never")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")
    memory_format: Literal["auto", "channels_last", "contiguous"] = Field(
        "auto", description="auto: by device, precision and input size, as measured in benchmarks/"
    )
    zero_init_residual: bool = Field(False, description="zero the last batch-norm gain of each block (random starts)")
    gradient_interval: int = Field(20, ge=0, description="steps between gradient-flow rows; 0: never")
    resume_seconds: float = Field(
        20.0, ge=0, description="least time between resume checkpoints (250 MB each), written at the end of an epoch"
    )
    moving_average: float = Field(0.95, ge=0, lt=1, description="decay of the loss's moving average")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _ends_with_whole_inputs(self) -> TrainConfig:
        if self.small_inputs and epochs_of(self.small_inputs) >= self.epochs:
            raise ValueError(
                f"small_inputs: {epochs_of(self.small_inputs)} epochs of {self.epochs}; the last need the whole input"
            )
        return self


class EvaluateConfig(Section):
    """How predictions are made (the same on validation while training and on the test split) and measured."""

    batch_size: int = Field(128, ge=1, description="faces predicted at once")
    flip_average: bool = Field(True, description="average the logits of a face and its mirror image")
    resamples: int = Field(1000, ge=2, description="draws of photographs for bootstrap intervals")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the intervals")
