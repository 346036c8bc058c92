"""Tables of the comparison of arms: over seeds, with intervals over photographs, and tests of the differences."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, KEY, NONNEGATIVE, REAL, RUN, SHARE, TEXT, table_schema

_metric = {"metric": KEY, "class_name": TEXT}
_basis = {"images": COUNT, "faces": COUNT}
_pair = {"arm": KEY, "baseline": KEY}
_stated = {"null_hypothesis": KEY, "assumptions": KEY, "reason": TEXT}

#: Each metric of each run on one split; `faces` counts the true faces of `class_name`, or all.
COMPARISON_SEEDS = table_schema(
    "comparison_seeds",
    {**RUN, **_metric, "value": REAL, **_basis, "reason": TEXT},
    unique=["arm", "seed", "metric", "class_name"],
)

_estimate = {
    "value": REAL,
    "sd": NONNEGATIVE,
    "low": REAL,
    "high": REAL,
    "confidence": SHARE,
    "standard_error": NONNEGATIVE,
    "resamples": COUNT,
    "incomplete": COUNT,
    "covers": KEY,
    "seeds": COUNT,
    **_basis,
    "photographs_behind": COUNT,
}

#: Mean over seeds (`value`), standard deviation between seeds (`sd`), and interval of the mean, by arm. `covers` says
#: which choices the interval covers; in `incomplete` of the draws a class was missing; `photographs_behind` is the
#: number of photographs that say something about the metric (those with a face of the class), which sets the degrees
#: of freedom.
COMPARISON_SUMMARY = table_schema(
    "comparison_summary",
    {"arm": KEY, **_metric, **_estimate, "reason": TEXT},
    unique=["arm", "metric", "class_name"],
)

#: `arm` minus `baseline`, paired by photograph and seed, with a permutation test. `p_holm` is corrected over all rows.
#: `d_z` is the mean difference in standard deviations between seeds (two seeds or more), `h` Cohen's h of the mean
#: accuracies or recalls (0.2 small, 0.5 medium, 0.8 large). `verdict` is "ARM higher" where `p_holm` is at most `alpha`
#: and the interval does not contain 0, "nothing can be said" where there is no interval, otherwise "no difference
#: shown".
COMPARISON_DIFFERENCES = table_schema(
    "comparison_differences",
    {
        **_pair,
        **_metric,
        **_estimate,
        "permutations": COUNT,
        "p_value": SHARE,
        "p_holm": SHARE,
        "alpha": SHARE,
        "d_z": REAL,
        "h": REAL,
        "verdict": KEY,
        **_stated,
    },
    unique=["arm", "baseline", "metric", "class_name"],
)

#: Classical tests of pairs of arms. `seed` is a number or "all". `value` is the difference (arm minus
#: baseline) that is tested; `b` and `c` count faces that only the baseline and only the arm got right (NaN
#: where the test has none). `p_holm` is corrected over all rows of the same `test`, "all" apart from seeds.
COMPARISON_TESTS = table_schema(
    "comparison_tests",
    {
        **_pair,
        "seed": KEY,
        "test": KEY,
        **_metric,
        "value": REAL,
        "statistic": REAL,
        "b": NONNEGATIVE,
        "c": NONNEGATIVE,
        "p_value": SHARE,
        "p_holm": SHARE,
        **_basis,
        **_stated,
    },
    unique=["arm", "baseline", "seed", "test", "metric", "class_name"],
)

#: What `maskbench.comparison` leaves, by file name.
COMPARISON_TABLES: dict[str, pa.DataFrameSchema] = {
    "seeds": COMPARISON_SEEDS,
    "summary": COMPARISON_SUMMARY,
    "differences": COMPARISON_DIFFERENCES,
    "tests": COMPARISON_TESTS,
}
