"""Sections on what is done with trained arms: interventions, variants, comparison, report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from maskbench.config.base import Section, Share

Experiment = Literal["leakage", "data_efficiency", "regimes", "losses", "imbalance", "label_noise"]


class ExperimentsConfig(Section):
    """Variants of the study, each with one thing changed; every variant is trained as often as the study itself."""

    run: tuple[Experiment, ...] = Field((), description="which; each costs a study's training time per level")
    fractions: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.05, 0.1, 0.25, 0.5), description="data_efficiency: shares of the training faces, beside all of them"
    )
    equal_steps: bool = Field(
        True,
        description="data_efficiency: a share of the faces is repeated to epochs of full length, so that fewer labels "
        "are not also fewer steps",
    )
    regimes: tuple[Literal["full", "frozen", "gradual", "discriminative"], ...] = Field(
        ("full", "frozen", "gradual"), description="regimes: values of train.regime"
    )
    losses: tuple[Literal["cross_entropy", "class_balanced", "focal"], ...] = Field(
        ("cross_entropy", "class_balanced", "focal"), description="losses: values of train.loss"
    )
    balance: tuple[Share, ...] = Field((0.0, 0.5, 1.0), description="imbalance: 0 natural, 1 equal classes")
    label_noise: tuple[Share, ...] = Field((0.1, 0.2, 0.4), description="shares of training labels made wrong")
    resamples: int = Field(2000, ge=2, description="draws of photographs for the variants' intervals")

    @field_validator("run", "fractions", "regimes", "losses", "balance", "label_noise")
    @classmethod
    def _differ(cls, levels: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(levels)) < len(levels):
            raise ValueError("a level stands there twice")
        return levels

    @field_validator("label_noise")
    @classmethod
    def _noisy(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if 0 in levels:
            raise ValueError("0 is the study itself, which is always among the levels: leave it out")
        return levels


Intervention = Literal["shrink", "blur", "darken", "noise", "jpeg", "shift_box", "scale_box", "margin"]


class FactorsConfig(Section):
    """Which properties of the faces go with errors."""

    bins: int = Field(5, ge=2, description="quantile bins of each property")
    folds: int = Field(5, ge=2, description="of the model of the errors, dealt by photograph")
    repeats: int = Field(10, ge=1, description="shufflings of each property for its importance")
    resamples: int = Field(1000, ge=2, description="draws of photographs for intervals")


class InterventionsConfig(Section):
    """Test faces changed in one way at a time."""

    run: tuple[Intervention, ...] = Field(
        (), description="which; each predicts the test faces again at five to nine levels"
    )
    resamples: int = Field(2000, ge=2, description="draws of photographs for intervals")


#: Methods of the large presets. Which exist, `explain.cam.METHODS` says alone, so that a new one is one entry there.
EXPLAIN_METHODS = (
    "grad_cam", "grad_cam_pp", "layer_cam", "hires_cam", "eigen_cam", "score_cam", "integrated_gradients", "occlusion",
    "gradient_shap",
)  # fmt: skip


class ExplainConfig(Section):
    """What is looked at inside trained models, on the test faces."""

    methods: tuple[str, ...] = Field(
        (
            "grad_cam", "grad_cam_pp", "layer_cam", "hires_cam", "eigen_cam", "integrated_gradients", "occlusion",
            "gradient_shap",
        ),
        description="measured for faithfulness; none: the stage does nothing. score_cam asks the model once per "
        "channel and face: slow on a CPU",
    )  # fmt: skip
    layer: str = Field(
        "layer3", min_length=1, description="whose activations class activation maps weigh; any module's name"
    )
    faithfulness_faces: int = Field(
        100, ge=2, description="test faces, drawn evenly over classes, that faithfulness is measured on"
    )
    steps: int = Field(10, ge=2, description="of deletion and insertion curves")
    perplexity: float = Field(30, gt=1, description="of t-SNE; lowered where there are too few faces")
    neighbours: int = Field(5, ge=1, description="k of the nearest-neighbour classifier and of a face's neighbours")
    folds: int = Field(5, ge=3, description="of models of the mistakes and of label checks, dealt by photograph")
    gallery: int = Field(12, ge=1, description="faces per gallery")
    feature_faces: int = Field(3, ge=0, description="faces whose feature maps are drawn")
    feature_layers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("stem", "layer1", "layer2", "layer3", "layer4"),
        min_length=1,
        description="whose feature maps are drawn, in this order: depths or any module's name, e.g. layer2.0.conv1",
    )
    maximised_channels: int = Field(0, ge=0, description="channels per layer whose activation is maximised; 0: none")
    resamples: int = Field(1000, ge=2, description="draws of photographs for intervals")

    @field_validator("feature_layers")
    @classmethod
    def _differ(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(layers)) < len(layers):
            raise ValueError("a layer stands there twice")
        return layers


class CompareConfig(Section):
    """How arms are compared over their runs."""

    resamples: int = Field(10_000, ge=2, description="draws of photographs for intervals")
    permutations: int = Field(9_999, ge=99, description="swaps of photographs; the smallest p is 1 / (this + 1)")
    alpha: float = Field(0.05, gt=0, lt=1, description="level of verdicts; intervals have confidence 1 - alpha")
    bins: int = Field(15, ge=2, description="bins of reliability diagrams (Guo et al. 2017)")
    calibration_resamples: int = Field(1000, ge=2, description="draws for calibration, whose bins are found anew each")


class ReportConfig(Section):
    """Figures and warnings of the report."""

    dpi: int = Field(130, ge=50, le=600, description="of figures as PNG")
    few_faces: int = Field(
        30, ge=0, description="below this many test faces, one face moves a class's recall by over 3 points: warned of"
    )
    few_images: int = Field(
        30,
        ge=0,
        description="percentile intervals from fewer photographs cover less than they promise (Efron & Tibshirani "
        "1993, section 13.7): warned of",
    )
