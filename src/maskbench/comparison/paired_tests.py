"""The classical tests of two arms on the same faces, each with its null hypothesis and what it assumes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from maskbench import schemas
from maskbench.comparison.areas import clustered_delong_test, delong_test
from maskbench.comparison.bootstrap import Draws
from maskbench.comparison.decisions import mcnemar_clustered, mcnemar_exact
from maskbench.comparison.runs import Run, Runs
from maskbench.eda.associations import holm
from maskbench.evaluation.intervals import interval
from maskbench.schemas.comparison import COMPARISON_TESTS

MCNEMAR = "McNemar, exact"
MCNEMAR_CLUSTERED = "McNemar, clustered by photograph"
DELONG = "DeLong"
DELONG_CLUSTERED = "DeLong, clustered by photograph"
BOOTSTRAP = "bootstrap, clustered by photograph"
#: In place of a seed's number in rows that rest on all seeds.
ALL_SEEDS = "all"

_INDEPENDENT_FACES = (
    "Faces are independent of each other. Those of one photograph are not, so p is too small as far as errors "
    "come in photographs together: read the clustered test."
)
_INDEPENDENT_PHOTOGRAPHS = (
    "Photographs are independent of each other; faces within one may depend on each other in any way. "
    "There are enough photographs for a large-sample test."
)
_GIVEN_MODELS = " The trained models are taken as given."


def paired_tests_table(draws: Draws) -> pd.DataFrame:
    """McNemar's and DeLong's tests of every pair of arms, for independent faces and clustered by photograph.

    Args:
        draws: of `bootstrap.draw_metrics`.

    Returns:
        `COMPARISON_TESTS`. Per seed: McNemar exact and clustered, and for each class (against the rest) DeLong, DeLong
        clustered and the bootstrap of the AUC. Over all common seeds (`seed` is "all"): McNemar clustered, in
        which all decisions on a photograph stand together whatever the seed, and the bootstrap of the mean AUC, which
        with two seeds or more also covers the choice of seeds. `p_holm` is Holm's correction over all rows of
        the same test, those of single seeds and those of all seeds apart. No rows for a single arm.
    """
    runs = draws.runs
    rows: list[dict[str, Any]] = []
    for baseline, arm in combinations(runs.arms, 2):
        key = {"arm": arm, "baseline": baseline}
        seeds = runs.common_seeds(arm, baseline)
        for seed in seeds:
            images, faces = runs.basis([seed])
            pair = runs.runs[arm, seed], runs.runs[baseline, seed]
            for row in _seed_rows(draws, arm, baseline, seed, *pair):
                basis = {"images": images, "faces": faces[row["class_name"]]}
                rows.append(key | {"seed": str(seed)} | row | basis)
        if seeds:
            images, faces = runs.basis(seeds)
            for row in [_pooled_decisions(runs, arm, baseline, seeds), *_bootstrap_rows(draws, arm, baseline, seeds)]:
                basis = {"images": images, "faces": faces[row["class_name"]]}
                rows.append(key | {"seed": ALL_SEEDS} | row | basis)
    if not rows:
        return schemas.empty_table(COMPARISON_TESTS)
    table = pd.DataFrame(rows)
    table["p_holm"] = np.nan
    for _, places in table.groupby(["test", table["seed"] == ALL_SEEDS]).groups.items():
        table.loc[places, "p_holm"] = holm(table.loc[places, "p_value"].to_numpy(dtype=np.float64))
    return table[list(COMPARISON_TESTS.columns)]


def _seed_rows(draws: Draws, arm: str, baseline: str, seed: int, own: Run, other: Run) -> Iterator[dict[str, Any]]:
    """All tests of one pair and seed."""
    a, b = own.scored, other.scored
    right = a.true == a.predicted, b.true == b.predicted
    exact, clustered = mcnemar_exact(*right), mcnemar_clustered(*right, a.images)
    same = f"Of the faces on which only one of {arm} and {baseline} is right, each is right on half: equal accuracy."
    for test, found, assumed in (
        (MCNEMAR, exact, _INDEPENDENT_FACES), (MCNEMAR_CLUSTERED, clustered, _INDEPENDENT_PHOTOGRAPHS),
    ):  # fmt: skip
        yield _row(
            test, "accuracy", "", (found.c - found.b) / len(a.true), found.statistic, found.p_value, found.reason,
            same, assumed + _GIVEN_MODELS, b=found.b, c=found.c,
        )  # fmt: skip
    for k, name in enumerate(draws.runs.classes):
        scores = a.probs[:, k], b.probs[:, k], a.true == k
        for test, area, assumed in (
            (DELONG, delong_test(*scores), _INDEPENDENT_FACES),
            (DELONG_CLUSTERED, clustered_delong_test(*scores, a.images), _INDEPENDENT_PHOTOGRAPHS),
        ):
            yield _row(
                test, "roc_auc", name, area.arm - area.baseline, area.statistic, area.p_value, area.reason,
                _equal_areas(arm, baseline, name), assumed + _GIVEN_MODELS,
            )  # fmt: skip
    yield from _bootstrap_rows(draws, arm, baseline, [seed])


def _bootstrap_rows(draws: Draws, arm: str, baseline: str, seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Bootstrap test of the mean AUC of each class: the t of `evaluation.intervals.interval`."""
    runs = draws.runs
    gaps = runs.values(arm, seeds) - runs.values(baseline, seeds)
    drawn = draws.of(arm, seeds) - draws.of(baseline, seeds)
    behind = runs.photographs_behind([arm, baseline], seeds)
    for m, (metric, name) in enumerate(runs.names):
        if metric != "roc_auc":
            continue
        kept = ~np.isnan(gaps[:, m])
        value, statistic, p, reason = float("nan"), float("nan"), float("nan"), "undefined in every seed"
        both = int(kept.sum()) > 1
        if kept.any():
            value = float(gaps[kept, m].mean())
            found = interval(gaps[kept, m], drawn[kept, :, m], int(behind[m]), "share difference", draw_seeds=both)
            p = found.p_value(value)
            statistic = value / found.standard_error if not np.isnan(p) else float("nan")
            reason = found.reason or ("no spread: the arms rank alike" if np.isnan(p) else "")
        covers = " Training seeds are independent of each other too." if both else _GIVEN_MODELS
        assumed = _INDEPENDENT_PHOTOGRAPHS + covers
        yield _row(BOOTSTRAP, metric, name, value, statistic, p, reason, _equal_areas(arm, baseline, name), assumed)


def _pooled_decisions(runs: Runs, arm: str, baseline: str, seeds: list[int]) -> dict[str, Any]:
    """McNemar clustered over all seeds together."""
    right_a, right_b, images = [], [], []
    for seed in seeds:
        own, other = runs.runs[arm, seed], runs.runs[baseline, seed]
        right_a.append(own.scored.true == own.scored.predicted)
        right_b.append(other.scored.true == other.scored.predicted)
        images.append(own.positions[own.scored.images])
    a, b = np.concatenate(right_a), np.concatenate(right_b)
    found = mcnemar_clustered(a, b, np.concatenate(images))
    null = (
        f"Of the decisions, over all seeds, in which only one of {arm} and {baseline} is right, each is right in half: "
        "equal accuracy."
    )
    return _row(
        MCNEMAR_CLUSTERED, "accuracy", "", (found.c - found.b) / len(a), found.statistic, found.p_value, found.reason,
        null, _INDEPENDENT_PHOTOGRAPHS + _GIVEN_MODELS, b=found.b, c=found.c,
    )  # fmt: skip


def _equal_areas(arm: str, baseline: str, name: str) -> str:
    return f"The area under the ROC curve of {name} against the rest is the same for {arm} and {baseline}."


def _row(
    test: str, metric: str, name: str, value: float, statistic: float, p_value: float, reason: str, null: str,
    assumed: str, *, b: float = float("nan"), c: float = float("nan"),
) -> dict[str, Any]:  # fmt: skip
    return {
        "test": test, "metric": metric, "class_name": name, "value": float(value), "statistic": float(statistic),
        "b": float(b), "c": float(c), "p_value": float(p_value), "null_hypothesis": null, "assumptions": assumed,
        "reason": reason,
    }  # fmt: skip
