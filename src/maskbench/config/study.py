"""The study's configuration as a whole: presets, layers, messages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, model_validator

from maskbench.config.analysis import (
    EXPLAIN_METHODS,
    CompareConfig,
    Experiment,
    ExperimentsConfig,
    ExplainConfig,
    FactorsConfig,
    Intervention,
    InterventionsConfig,
    ReportConfig,
)
from maskbench.config.base import ConfigError, Name, Section, validated
from maskbench.config.data import (
    AuditConfig,
    DataConfig,
    EdaConfig,
    FacesConfig,
    SeedsConfig,
    SplitConfig,
    TrainingSetConfig,
)
from maskbench.config.detection import DetectConfig, DetectionsConfig
from maskbench.config.training import ArmConfig, EvaluateConfig, TrainConfig
from maskbench.storage import read_yaml

#: Weights that go by a name; anything else is a file.
WEIGHTS_NAMES = ("auto", "imagenet", "bundled", "none")

STUDY_ARMS = (
    ArmConfig(name="manual-random", implementation="manual", initialisation="random"),
    ArmConfig(name="torchvision-pretrained", implementation="torchvision", initialisation="pretrained"),
)


class Config(Section):
    """Everything that defines a study."""

    name: Name = Field("study", description="of the run: results/NAME and plots/NAME")
    preset: str = Field("quick", description="what the other layers are laid over")
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
    factors: FactorsConfig = FactorsConfig()
    interventions: InterventionsConfig = InterventionsConfig()
    experiments: ExperimentsConfig = ExperimentsConfig()
    explain: ExplainConfig = ExplainConfig()
    compare: CompareConfig = CompareConfig()
    detect: DetectConfig = DetectConfig()
    detections: DetectionsConfig = DetectionsConfig()
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
    def _small_inputs_are_smaller(self) -> Config:
        for phase in self.train.small_inputs:
            if phase.size >= self.faces.input_size:
                raise ValueError(f"train.small_inputs: {phase} is not below faces.input_size, {self.faces.input_size}")
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
        "factors": {"folds": 3, "repeats": 2, "resamples": 50},
        "explain": {"faithfulness_faces": 6, "steps": 4, "folds": 3, "resamples": 50},
        "detect": {
            "epochs": 1,
            "channels": 64,
            "convolutions": 1,
            "input_size": 128,
            "crop_sizes": [96],
        },
        "detections": {"resamples": 20, "gallery": 4},
    },
    "quick": {"explain": {"faithfulness_faces": 24, "steps": 8}},  # two cores take half a minute an arm
    "standard": {
        "seeds": {"count": 3},
        "faces": {"input_size": 96},
        "train": {"epochs": 30, "patience": 10},
        "interventions": {"run": get_args(Intervention)},
        "explain": {"methods": EXPLAIN_METHODS},
        "detect": {"epochs": 60, "channels": 128, "convolutions": 4, "input_size": 640, "crop_sizes": [320, 384, 448]},
    },
    "paper": {
        "seeds": {"count": 10, "vary": "both"},
        "faces": {"input_size": 112},
        "train": {"epochs": 60, "patience": 15},
        "interventions": {"run": get_args(Intervention)},
        "experiments": {"run": get_args(Experiment)},
        "explain": {"methods": EXPLAIN_METHODS, "faithfulness_faces": 300},
        "detect": {"epochs": 120, "channels": 128, "convolutions": 4, "input_size": 640, "crop_sizes": [320, 384, 448]},
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
    if _names_a_dataset(chosen) and not chosen["data"].get("sample"):
        values["data"].pop("sample", None)  # the preset's size of a sample that is not used
    return validated(Config, values)


def _names_a_dataset(layer: Mapping[str, Any]) -> bool:
    data = layer.get("data")
    return isinstance(data, Mapping) and data.get("source", "sample") != "sample"


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
