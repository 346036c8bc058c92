"""Sections on data: sources, checks, splits, crops."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from maskbench.config.base import Section, Share


class DataConfig(Section):
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


class AuditConfig(Section):
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


class EdaConfig(Section):
    """Settings of the descriptive statistics."""

    bootstrap: int = Field(500, ge=0, description="resamples of photographs for confidence intervals")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the intervals")
    heatmap_cells: int = Field(40, ge=4, le=400, description="cells along each side of spatial heatmaps")


class SplitConfig(Section):
    """How faces are divided."""

    strategy: Literal["grouped", "kfold", "random"] = Field(
        "grouped",
        description="`kfold` tests every face once per k runs; `random` splits faces and leaks: for measuring what "
        "leakage does",
    )
    fractions: tuple[float, float, float] = Field((0.70, 0.15, 0.15), description="train, val, test")
    seed: int = Field(0, ge=0, description="of the deal; split number s is dealt with seed + s")
    folds: int = Field(20, ge=3, description="grouped: stratified folds dealt to the three sides")
    k: int = Field(5, ge=2, description="kfold: run number r tests on fold r mod k of repetition r div k")

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> SplitConfig:
        if min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError("fractions: three positive shares that sum to 1 are needed")
        return self


class SeedsConfig(Section):
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


class TrainingSetConfig(Section):
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
        description="an epoch is as long as with all training faces, by repeating those of the fraction or of rare "
        "classes; otherwise every face is used once at most, and fewer faces are also fewer steps",
    )

    @property
    def is_whole(self) -> bool:
        """Whether the training faces are used as they are."""
        return self.fraction == 1 and self.label_noise == 0 and self.balance is None

    @model_validator(mode="after")
    def _repeat_needs_a_reason(self) -> TrainingSetConfig:
        if self.repeat and self.balance is None and self.fraction == 1:
            raise ValueError(
                "repeat: all faces are used already; set training_set.fraction or training_set.balance too"
            )
        return self


class FacesConfig(Section):
    """How a face is cut out and presented to a model."""

    margin: float = Field(0.25, ge=0, le=2, description="context on each side, as a share of the box's longer side")
    input_size: int = Field(64, ge=32, le=512, description="side of the square model input in px")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="RGB mean (ImageNet)")
    std: tuple[float, float, float] = Field((0.229, 0.224, 0.225), description="RGB standard deviation (ImageNet)")
