"""The section on detectors of faces in whole photographs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskbench.config.base import Section, Share


class DetectAugmentConfig(Section):
    """Augmentation of photographs and their boxes."""

    flip: Share = Field(0.5, description="probability of a horizontal flip")
    scale: tuple[float, float] = Field(
        (0.6, 1.8),
        description="a photograph is shown at `detect.input_size` times a factor drawn log-uniformly from here",
    )
    visible: Share = Field(0.5, description="a face counts if at least this share of its box lies in the crop")
    brightness: float = Field(0.3, ge=0, le=1, description="factor in [1 - b, 1 + b]")
    contrast: float = Field(0.3, ge=0, le=1, description="likewise")
    saturation: float = Field(0.3, ge=0, le=1, description="likewise")
    hue: float = Field(0.02, ge=0, le=0.5, description="turned by up to this share of the circle, either way")

    @model_validator(mode="after")
    def _scale_rises(self) -> DetectAugmentConfig:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale: two positive factors are needed, the smaller first")
        return self


class DetectConfig(Section):
    """One protocol for the detectors of every arm."""

    detector: Literal["fcos", "retinanet"] = Field("fcos", description="head around each arm's own ResNet34")
    channels: int = Field(
        96, ge=64, multiple_of=32, description="of the feature pyramid; its norms have 32 groups of two or more"
    )
    convolutions: int = Field(2, ge=1, le=8, description="of each branch of FCOS's head")
    input_size: int = Field(512, ge=64, le=2048, description="longer side of a photograph when predicting, px")
    crop_sizes: tuple[Annotated[int, Field(ge=64, multiple_of=32)], ...] = Field(
        (224, 256, 288), min_length=1, description="sides of the squares trained on, drawn per batch, px"
    )
    epochs: int = Field(16, ge=1, description="passes over the training photographs")
    batch_size: int = Field(8, ge=2, description="squares per step")
    learning_rate: float = Field(1e-3, gt=0, description="peak rate of AdamW")
    weight_decay: float = Field(0.05, ge=0, description="of weights; biases and gains have none")
    warmup_share: Share = Field(0.1, description="share of all steps over which the rate rises linearly")
    final_rate_share: Share = Field(0.01, description="the cosine ends at this share of the peak rate")
    gradient_clip: float = Field(5.0, ge=0, description="largest global gradient norm; 0: no clipping")
    average_decay: float = Field(0.995, ge=0, lt=1, description="of the moving average of weights that is kept")
    validate_every: int = Field(
        2, ge=1, description="epochs between measurements on validation photographs; the last is always measured"
    )
    score_threshold: Share = Field(
        0.15,
        description="boxes below are dropped, by both pipelines; on validation photographs 0.15 lost nothing of AP50 "
        "against 0.02 and kept 125 rows a photograph instead of 444",
    )
    nms_iou: Share = Field(0.5, description="of two boxes that overlap more, the better is kept")
    max_detections: int = Field(
        300, ge=1, description="answers per photograph, and boxes per class; one of the real ones has 115 faces"
    )
    eval_batch_size: int = Field(8, ge=1, description="photographs looked at together")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")
    memory_format: Literal["auto", "channels_last", "contiguous"] = Field("auto", description="auto: as in `train`")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")
    workers: int = Field(-1, ge=-1, description="processes that cut and augment; -1: none on a CPU, 8 beside a GPU")
    resume_seconds: float = Field(60.0, ge=0, description="least time between resume checkpoints")
    augment: DetectAugmentConfig = DetectAugmentConfig()


class DetectionsConfig(Section):
    """How detections are measured and shown."""

    resamples: int = Field(500, ge=2, description="draws of photographs for intervals")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the intervals")
    gallery: int = Field(18, ge=0, description="badly localised faces that are shown of each arm")
