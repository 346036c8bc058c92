"""The study's configuration: typed, strict, frozen; presets; every threshold with its reason.

A configuration is a preset, overridden by a YAML file, overridden by the command line. Unknown or
ill-typed fields fail with a message that names the field. `Config.model_dump(mode="json")` is what a
run saves, complete, and what its stages are keyed by.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maskbench.storage import read_yaml

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


#: Weights that go by a name; anything else is a file.
WEIGHTS_NAMES = ("auto", "imagenet", "bundled", "none")


class ConfigError(ValueError):
    """The configuration is wrong; the message names the field, in one line per field."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class DataConfig(_Section):
    """Where the photographs come from and what their labels mean."""

    source: str = Field("sample", min_length=1, description="`sample`, `kaggle`, or a dataset folder")
    label_map: dict[str, str] = Field(
        default_factory=dict, description="label in the XML -> class name; several labels may share one"
    )
    classes: tuple[str, ...] = Field((), description="class order; empty: names found, sorted")
    sample: dict[str, Any] = Field(default_factory=dict, description="parameters of the built-in sample")

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> DataConfig:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: a name stands there twice")
        if len(self.classes) == 1:
            raise ValueError("classes: a study needs at least two classes")
        return self


class AuditConfig(_Section):
    """Thresholds of the audit."""

    tiny_px: float = Field(4.0, ge=0, description="a box side below this is reported: a 4 px face has 16 pixels in all")
    near_duplicate_bits: int = Field(
        8, ge=0, le=64, description="perceptual hashes differing in at most this many of 64 bits are near-duplicates"
    )
    near_duplicate_correlation: float = Field(
        0.75,
        ge=-1,
        le=1,
        description="least correlation of two 16 × 16 px thumbnails for near-duplicates: of the candidates within "
        "10 bits in the 853 real photographs, the true ones have 0.795 and more, a pair of different scenes 0.731",
    )
    flat_contrast: float = Field(
        2.0, ge=0, description="below this standard deviation of luma (0…255) a photograph's hash is mostly noise"
    )
    max_pixels: int = Field(
        50_000_000, ge=1, description="an image header promising more is a decompression bomb: not decoded"
    )


class EdaConfig(_Section):
    """Settings of the descriptive statistics."""

    bootstrap: int = Field(500, ge=0, description="resamples of photographs for confidence intervals")
    confidence: float = Field(0.95, gt=0, lt=1)
    heatmap_cells: int = Field(40, ge=4, le=400, description="cells along each side of spatial heatmaps")


class SplitConfig(_Section):
    """How faces are divided."""

    strategy: Literal["grouped", "kfold", "random"] = Field(
        "grouped",
        description="`kfold` tests every face once per k runs; `random` splits faces and leaks: for measuring what "
        "leakage does",
    )
    fractions: tuple[float, float, float] = Field((0.70, 0.15, 0.15), description="train, val, test")
    seed: int = Field(0, ge=0)
    folds: int = Field(20, ge=3, description="grouped: stratified folds dealt to the three sides")
    k: int = Field(5, ge=2, description="kfold: run number r tests on fold r mod k of repetition r div k")

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> SplitConfig:
        if min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError("fractions: three positive shares that sum to 1 are needed")
        return self


class SeedsConfig(_Section):
    """How often every arm is trained, and what differs between its runs.

    Run number `s` of one arm and run number `s` of another are a pair: equal faces, order, augmentation.
    """

    count: int = Field(1, ge=1, le=1000, description="runs of every arm")
    first: int = Field(0, ge=0, description="number of the first run")
    vary: Literal["init", "split", "both"] = Field(
        "init",
        description="init: initial weights, order and augmentation; split: the sides of the faces; or both",
    )

    def numbers(self) -> tuple[int, ...]:
        """The runs' numbers: what tables call `seed`."""
        return tuple(range(self.first, self.first + self.count))

    def init_seed(self, number: int) -> int:
        """Seed of initial weights, order and augmentation of a run."""
        return self.first if self.vary == "split" else number

    def split_id(self, number: int) -> int:
        """Which of the study's splits a run uses."""
        return 0 if self.vary == "init" else number - self.first

    def splits(self) -> int:
        """How many splits the study has."""
        return 1 if self.vary == "init" else self.count


class TrainingSetConfig(_Section):
    """Interventions on the training faces, in this order; validation and test faces are never touched."""

    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the training faces that is used, by whole groups of photographs"
    )
    label_noise: Share = Field(0.0, description="share of the training labels replaced by another class")
    balance: Share | None = Field(
        None,
        description="class shares from natural (0) to equal (1), at a total that is the same for every value; none: "
        "all faces, as they are",
    )
    repeat: bool = Field(
        False,
        description="balance: the total is all faces, rare classes repeated; otherwise as many as the rarest class "
        "allows without repetition",
    )

    @property
    def is_whole(self) -> bool:
        """Whether the training faces are used as they are."""
        return self.fraction == 1 and self.label_noise == 0 and self.balance is None

    @model_validator(mode="after")
    def _repeat_needs_balance(self) -> TrainingSetConfig:
        if self.repeat and self.balance is None:
            raise ValueError("repeat: faces are repeated to reach a balance; set training_set.balance too")
        return self


class FacesConfig(_Section):
    """How a face is cut out and presented to a model."""

    margin: float = Field(0.25, ge=0, le=2, description="context on each side, as a share of the box's longer side")
    input_size: int = Field(64, ge=32, le=512, description="side of the square model input in px")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="RGB mean (ImageNet)")
    std: tuple[float, float, float] = Field((0.229, 0.224, 0.225), description="RGB standard deviation (ImageNet)")


class ArmConfig(_Section):
    """What is compared: an implementation with an initialisation."""

    name: Name
    implementation: str = Field(min_length=1)
    initialisation: Literal["random", "pretrained"]


class AugmentConfig(_Section):
    """Augmentation, drawn per batch on the device; sized for faces of about 20 px."""

    flip: Share = Field(0.5, description="probability of a horizontal flip")
    rotate_degrees: float = Field(10.0, ge=0, le=180)
    scale: float = Field(0.15, ge=0, lt=1, description="zoom by a factor in [1 - s, 1 + s]")
    translate: Share = Field(0.08, description="shift by up to this share of the crop")
    brightness: float = Field(0.3, ge=0, le=1)
    contrast: float = Field(0.3, ge=0, le=1)
    saturation: float = Field(0.3, ge=0, le=1)
    blur: Share = Field(0.1, description="probability of a Gaussian blur")
    rescale: Share = Field(0.3, description="probability of shrinking to 8…32 px and back: tiny faces from large ones")
    erase: Share = Field(0.0, description="probability of erasing a random rectangle")


class TrainConfig(_Section):
    """One protocol for every arm."""

    epochs: int = Field(14, ge=1)
    batch_size: int = Field(32, ge=2)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(
        4e-4, gt=0, description="of 1e-3 and 4e-4 the better on validation faces for pretrained weights, see docs"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    weight_decay: float = Field(0.05, ge=0)
    warmup_share: Share = Field(0.15, description="share of all steps over which the rate rises linearly")
    final_rate_share: Share = Field(0.01, description="the cosine ends at this share of the peak rate")
    loss: Literal["cross_entropy", "class_balanced", "focal"] = "class_balanced"
    class_balance_beta: float = Field(0.999, ge=0, lt=1, description="Cui et al. 2019, eq. 2")
    focal_gamma: float = Field(2.0, ge=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    balanced_sampler: bool = False
    regime: Literal["full", "frozen", "gradual", "discriminative"] = "full"
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
    device: Literal["auto", "cpu", "cuda"] = "auto"
    augment: AugmentConfig = AugmentConfig()


class EvaluateConfig(_Section):
    """How predictions are made (the same on validation while training and on the test split) and measured."""

    batch_size: int = Field(128, ge=1)
    flip_average: bool = Field(True, description="average the logits of a face and its mirror image")
    resamples: int = Field(1000, ge=2, description="draws of photographs for bootstrap intervals")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the intervals")


Experiment = Literal["leakage", "data_efficiency", "regimes", "losses", "imbalance", "label_noise"]


class ExperimentsConfig(_Section):
    """Variants of the study, each with one thing changed; every variant is trained as often as the study itself."""

    run: tuple[Experiment, ...] = Field((), description="which; each costs a study's training time per level")
    fractions: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.05, 0.1, 0.25, 0.5), description="data_efficiency: shares of the training faces, beside all of them"
    )
    regimes: tuple[Literal["full", "frozen", "gradual", "discriminative"], ...] = ("full", "frozen", "gradual")
    losses: tuple[Literal["cross_entropy", "class_balanced", "focal"], ...] = (
        "cross_entropy", "class_balanced", "focal",
    )  # fmt: skip
    balance: tuple[Share, ...] = Field((0.0, 0.5, 1.0), description="imbalance: 0 natural, 1 equal classes")
    label_noise: tuple[Share, ...] = Field((0.1, 0.2, 0.4), description="shares of training labels made wrong")
    resamples: int = Field(2000, ge=2, description="draws of photographs for the variants' intervals")


class CompareConfig(_Section):
    """How arms are compared over their runs."""

    resamples: int = Field(10_000, ge=2, description="draws of photographs for intervals")
    permutations: int = Field(9_999, ge=99, description="swaps of photographs; the smallest p is 1 / (this + 1)")
    alpha: float = Field(0.05, gt=0, lt=1, description="level of verdicts; intervals have confidence 1 - alpha")
    bins: int = Field(15, ge=2, description="bins of reliability diagrams (Guo et al. 2017)")
    calibration_resamples: int = Field(1000, ge=2, description="draws for calibration, whose bins are found anew each")


class ReportConfig(_Section):
    """Figures and warnings of the report."""

    dpi: int = Field(130, ge=50, le=600)
    few_faces: int = Field(
        30, ge=0, description="below this many test faces, one face moves a class's recall by over 3 points: warned of"
    )
    few_images: int = Field(
        30,
        ge=0,
        description="percentile intervals from fewer photographs cover less than they promise (Efron & Tibshirani "
        "1993, section 13.7): warned of",
    )


STUDY_ARMS = (
    ArmConfig(name="manual-random", implementation="manual", initialisation="random"),
    ArmConfig(name="torchvision-pretrained", implementation="torchvision", initialisation="pretrained"),
)


class Config(_Section):
    """Everything that defines a study."""

    name: Name = "study"
    preset: str = "quick"
    data: DataConfig = DataConfig()
    audit: AuditConfig = AuditConfig()
    eda: EdaConfig = EdaConfig()
    split: SplitConfig = SplitConfig()
    training_set: TrainingSetConfig = TrainingSetConfig()
    faces: FacesConfig = FacesConfig()
    arms: tuple[ArmConfig, ...] = STUDY_ARMS
    weights: str = Field("auto", min_length=1, description="`auto`, `imagenet`, `bundled`, `none` or a file")
    seeds: SeedsConfig = SeedsConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    experiments: ExperimentsConfig = ExperimentsConfig()
    compare: CompareConfig = CompareConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _arms_are_distinct(self) -> Config:
        names = [arm.name for arm in self.arms]
        if not names:
            raise ValueError("arms: at least one is needed")
        if len(set(names)) != len(names):
            raise ValueError("arms: a name stands there twice")
        return self

    @model_validator(mode="after")
    def _folds_vary(self) -> Config:
        if self.split.strategy == "kfold" and self.seeds.vary == "init" and self.seeds.count > 1:
            raise ValueError("seeds.vary: kfold tests another fold in every run: choose `split` or `both`")
        return self


#: Sizes of a study, as changes to the defaults above.
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "data": {"sample": {"images": 60}},  # enough for a class of 3 % to reach all three sides
        "eda": {"bootstrap": 50},
        "faces": {"input_size": 32},
        "train": {"epochs": 2, "gradient_interval": 5},
        "compare": {"resamples": 200, "permutations": 1999},
    },
    "quick": {},
    "standard": {"seeds": {"count": 3}, "faces": {"input_size": 96}, "train": {"epochs": 30, "patience": 10}},
    "paper": {
        "seeds": {"count": 10, "vary": "both"},
        "faces": {"input_size": 112},
        "train": {"epochs": 60, "patience": 15},
    },
}


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section; neither is mutated.

    Example:
        >>> merge({"train": {"epochs": 5, "loss": "focal"}}, {"train": {"epochs": 9}})
        {'train': {'epochs': 9, 'loss': 'focal'}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def make_config(preset: str = "quick", *layers: Mapping[str, Any]) -> Config:
    """A validated configuration: the preset with `layers` laid over it in order.

    Raises:
        ConfigError: unknown preset or field, or a value out of range; names the field.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset: {preset!r} is not one of {', '.join(PRESETS)}")
    chosen: dict[str, Any] = {}
    for layer in layers:
        chosen = merge(chosen, layer)
    values = merge({**PRESETS[preset], "preset": preset}, chosen)
    if _names_a_dataset(chosen) and "sample" not in chosen["data"]:
        values["data"].pop("sample", None)  # the preset's size of a sample that is not used
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_one_line(item) for item in error.errors())) from error


def _names_a_dataset(layer: Mapping[str, Any]) -> bool:
    data = layer.get("data")
    return isinstance(data, Mapping) and data.get("source", "sample") != "sample"


def _one_line(item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{field}: no such field"
    message = item["msg"].removeprefix("Value error, ")
    got = "" if item["type"] == "value_error" else f" (got {item['input']!r})"
    return f"{field}: {message}{got}" if field else message


def read_config_file(path: Path) -> dict[str, Any]:
    """The layer a YAML configuration file holds.

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    try:
        value = read_yaml(path)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a configuration is a mapping of sections, not {type(value).__name__}")
    return value


def parse_setting(text: str) -> dict[str, Any]:
    """The layer that a command-line setting `section.field=value` stands for (value read as YAML).

    Raises:
        ConfigError: it has no `=` or no field, or the value is not YAML.

    Example:
        >>> parse_setting("train.epochs=5")
        {'train': {'epochs': 5}}
    """
    import yaml

    field, equals, value = text.partition("=")
    if not equals or not all(field.split(".")):
        raise ConfigError(f"--set {text}: write it as section.field=value")
    try:
        layer: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not YAML") from error
    for part in reversed(field.split(".")):
        layer = {part: layer}
    return dict(layer)
