"""The study's configuration: typed, strict, frozen; presets; every threshold with its reason.

A configuration is a preset, overridden by a YAML file, overridden by the command line. Unknown or
ill-typed fields fail with a message that names the field. `Config.model_dump(mode="json")` is what a
run saves, complete, and what its stages are keyed by.
"""

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
from maskbench.config.base import ConfigError
from maskbench.config.data import (
    AuditConfig,
    DataConfig,
    EdaConfig,
    FacesConfig,
    SeedsConfig,
    SplitConfig,
    TrainingSetConfig,
)
from maskbench.config.detection import DetectAugmentConfig, DetectConfig, DetectionsConfig
from maskbench.config.study import (
    PRESETS,
    STUDY_ARMS,
    WEIGHTS_NAMES,
    Config,
    make_config,
    merge,
    parse_setting,
    read_config_file,
)
from maskbench.config.training import ArmConfig, AugmentConfig, EvaluateConfig, TrainConfig

__all__ = [
    "EXPLAIN_METHODS",
    "PRESETS",
    "STUDY_ARMS",
    "WEIGHTS_NAMES",
    "ArmConfig",
    "AuditConfig",
    "AugmentConfig",
    "CompareConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DetectAugmentConfig",
    "DetectConfig",
    "DetectionsConfig",
    "EdaConfig",
    "EvaluateConfig",
    "Experiment",
    "ExperimentsConfig",
    "ExplainConfig",
    "FacesConfig",
    "FactorsConfig",
    "Intervention",
    "InterventionsConfig",
    "ReportConfig",
    "SeedsConfig",
    "SplitConfig",
    "TrainConfig",
    "TrainingSetConfig",
    "make_config",
    "merge",
    "parse_setting",
    "read_config_file",
]
