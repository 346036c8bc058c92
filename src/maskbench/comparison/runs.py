"""The runs of a comparison, summed up by photograph: arms × seeds on one split, paired by face within a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.evaluation.classification import Scored
from maskbench.evaluation.uncertainty import check_same_faces
from maskbench.evaluation.weighted import WeightedMetrics, metric_names, photographs_behind


@dataclass(frozen=True, eq=False)
class Run:
    """One arm and seed.

    Attributes:
        scored: predictions in the order of `face_id`, the same for all arms of a seed.
        metrics: the same, summed up by photograph.
        positions: int64 (I,), where each of its photographs stands among all of the comparison.
    """

    scored: Scored
    metrics: WeightedMetrics
    positions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """All runs of a comparison.

    Attributes:
        classes: class order.
        arms: in order of appearance; the first is the baseline.
        seeds: in order.
        image_ids: photographs of all runs, sorted.
        runs: by arm and seed; an arm may lack seeds.
        faces: `face_id`, `seed`, `label`, `image_id` of every face of every seed.
    """

    classes: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    image_ids: pd.Index
    runs: dict[tuple[str, int], Run]
    faces: pd.DataFrame

    @classmethod
    def of(cls, predictions: pd.DataFrame, classes: Sequence[str], split: str = "test") -> Runs:
        """Sum up the predictions of one split.

        Args:
            predictions: `schemas.PREDICTIONS`.
            classes: class order, at least two.
            split: the side that is compared.

        Raises:
            ValueError: no predictions of that split, fewer than two classes, a label outside `classes`, or two arms
                of one seed that were not measured on the same faces.
        """
        if len(classes) < 2:
            raise ValueError(f"classes: at least two are compared, not {len(classes)}")
        table = predictions[predictions["split"] == split]
        if table.empty:
            raise ValueError(f"predictions: no face of split {split!r}; name a split that was predicted")
        image_ids = pd.Index(np.sort(table["image_id"].unique()))
        parts: dict[tuple[str, int], pd.DataFrame] = {}
        for key, part in table.groupby(["arm", "seed"], sort=False):
            arm, seed = cast("tuple[str, int]", key)
            parts[str(arm), int(seed)] = part.sort_values("face_id")
        arms, seeds = tuple(dict.fromkeys(arm for arm, _ in parts)), tuple(sorted({seed for _, seed in parts}))
        for seed in seeds:
            for baseline, arm in combinations([arm for arm in arms if (arm, seed) in parts], 2):
                check_same_faces(parts[baseline, seed], parts[arm, seed])
        runs = {}
        for key, part in parts.items():
            scored = Scored.of(part, classes)
            positions = image_ids.get_indexer(pd.Index(np.sort(part["image_id"].unique())))
            runs[key] = Run(scored, WeightedMetrics(scored), positions.astype(np.int64))
        faces = table[["face_id", "seed", "label", "image_id"]].drop_duplicates(["face_id", "seed"])
        return cls(tuple(classes), arms, seeds, image_ids, runs, faces.reset_index(drop=True))

    @property
    def names(self) -> list[tuple[str, str]]:
        """Metric and class name of each measurement (`weighted.metric_names`), M of them."""
        return metric_names(self.classes)

    def common_seeds(self, *arms: str) -> list[int]:
        """Seeds that all of `arms` ran."""
        return [seed for seed in self.seeds if all((arm, seed) in self.runs for arm in arms)]

    def values(self, arm: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """(S, M): the measurements of one arm on the photographs as they are."""
        found = [run.metrics.measure(np.ones((1, run.metrics.images)))[0] for run in self._of(arm, seeds)]
        return np.array(found).reshape(len(found), len(self.names))

    def basis(self, seeds: Sequence[int]) -> tuple[int, dict[str, int]]:
        """Distinct photographs, and distinct faces by class name (all under ""), of these seeds."""
        part = self.faces[self.faces["seed"].isin(list(seeds))]
        distinct = part.drop_duplicates("face_id")
        counts = distinct["label"].value_counts()
        return part["image_id"].nunique(), {"": len(distinct)} | {
            name: int(counts.get(name, 0)) for name in self.classes
        }

    def photographs_behind(self, arms: Sequence[str], seeds: Sequence[int]) -> NDArray[np.int64]:
        """How many photographs say something about each measurement.

        Returns:
            (M,), as `weighted.photographs_behind` counts them, photographs of all the seeds together; for precision
            by the arm that gave the class least widely.
        """
        found = []
        for arm in arms:
            shown = np.zeros((len(self.image_ids), 3, len(self.classes)), dtype=bool)
            for run in self._of(arm, seeds):
                shown[run.positions] |= run.metrics.shown()
            found.append(photographs_behind(shown))
        return np.asarray(np.min(found, axis=0))

    def _of(self, arm: str, seeds: Sequence[int]) -> list[Run]:
        return [self.runs[arm, seed] for seed in seeds]
