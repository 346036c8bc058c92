"""Tables of convergence and data efficiency: how fast arms learn, in epochs, seconds and labels."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import (
    COUNT,
    KEY,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    RUN,
    SHARE,
    STATED,
    TEXT,
    table_schema,
)

#: Wall time of each epoch (training and validation) and the time from the start to its end, in seconds.
EPOCH_TIMES = table_schema(
    "epoch_times",
    {**RUN, "epoch": COUNT, "seconds": NONNEGATIVE, "elapsed": NONNEGATIVE},
    unique=["arm", "seed", "epoch"],
)

UNITS = ("share", "epochs", "seconds")

#: Convergence figures of each run; epochs are counted from 1.
CONVERGENCE = table_schema(
    "convergence",
    {**RUN, "metric": KEY, "unit": pa.Column(str, pa.Check.isin(UNITS)), "value": REAL, "reason": TEXT},
    unique=["arm", "seed", "metric"],
)

#: The same over the seeds of an arm: `runs` of which `defined` have a value.
CONVERGENCE_SUMMARY = table_schema(
    "convergence_summary",
    {
        "arm": KEY,
        "metric": KEY,
        "unit": pa.Column(str, pa.Check.isin(UNITS)),
        "runs": POSITIVE,
        "defined": COUNT,
        "mean": REAL,
        "sd": NONNEGATIVE,
        "minimum": REAL,
        "median": REAL,
        "maximum": REAL,
        "reason": TEXT,
    },
    unique=["arm", "metric"],
)

#: `arm` minus `baseline`, paired by seed. `p_value` of the sign-flip test (`exact` over all flips),
#: which cannot fall below `smallest_p`; `p_value_holm` is corrected over the metrics of the pair.
CONVERGENCE_DIFFERENCES = table_schema(
    "convergence_differences",
    {
        "arm": KEY,
        "baseline": KEY,
        "metric": KEY,
        "unit": pa.Column(str, pa.Check.isin(UNITS)),
        "pairs": COUNT,
        "mean": REAL,
        "sd": NONNEGATIVE,
        "minimum": REAL,
        "maximum": REAL,
        "p_value": SHARE,
        "p_value_holm": SHARE,
        "smallest_p": SHARE,
        "exact": pa.Column(bool),
        "reason": TEXT,
        **STATED,
    },
    unique=["arm", "baseline", "metric"],
)

#: How many runs of an arm were best in which epoch (counted from 1; `length` is the longest run's).
BEST_EPOCHS = table_schema(
    "best_epochs",
    {"arm": KEY, "epoch": POSITIVE, "runs": POSITIVE, "share": SHARE, "length": POSITIVE},
    unique=["arm", "epoch"],
)

#: Batch losses of each epoch: mean, unbiased variance, standard deviation, and the moving average over
#: the run as it stands at the epoch's end.
LOSS_STATISTICS = table_schema(
    "loss_statistics",
    {
        **RUN,
        "epoch": COUNT,
        "steps": POSITIVE,
        "mean": REAL,
        "variance": NONNEGATIVE,
        "sd": NONNEGATIVE,
        "moving_average": REAL,
        "reason": TEXT,
    },
    unique=["arm", "seed", "epoch"],
)

#: `within_epoch`: of the losses after each epoch's line is taken out; `first_difference`: of the change
#: from one step to the next, in which independent losses give −0.5 at lag 1.
AUTOCORRELATION_METHODS = ("within_epoch", "first_difference")

#: Autocorrelation of batch losses at lags 0…k; independent values stay within ± `band` 95 times of 100.
LOSS_AUTOCORRELATION = table_schema(
    "loss_autocorrelation",
    {
        **RUN,
        "method": pa.Column(str, pa.Check.isin(AUTOCORRELATION_METHODS)),
        "lag": COUNT,
        "value": pa.Column(float, pa.Check.in_range(-1.0001, 1.0001), nullable=True),
        "band": NONNEGATIVE,
        "steps": COUNT,
        "reason": TEXT,
    },
    unique=["arm", "seed", "method", "lag"],
)

#: Gradient flow by depth group (`position` 0 is nearest the input) and epoch: medians over the recorded
#: steps of the group's gradient norm, of ‖gradient‖ / ‖weights‖, and of ‖Δw‖ / ‖w‖.
GRADIENT_FLOW = table_schema(
    "gradient_flow",
    {
        **RUN,
        "epoch": COUNT,
        "position": COUNT,
        "group": KEY,
        "tensors": POSITIVE,
        "steps": POSITIVE,
        "gradient_norm": NONNEGATIVE,
        "relative_norm": NONNEGATIVE,
        "update_ratio": NONNEGATIVE,
    },
    unique=["arm", "seed", "epoch", "group"],
)

#: Median over the recorded steps of an epoch of the first group's norm over the last group's.
GRADIENT_RATIO = table_schema(
    "gradient_ratio",
    {
        **RUN,
        "epoch": COUNT,
        "shallow": KEY,
        "deep": KEY,
        "ratio": NONNEGATIVE,
        "relative_ratio": NONNEGATIVE,
        "reason": TEXT,
    },
    unique=["arm", "seed", "epoch"],
)

#: Runs at several shares of the training faces. `low`/`high` may be NaN; where given, they bound an
#: interval over photographs.
EFFICIENCY_RUNS = table_schema(
    "efficiency_runs",
    {
        **RUN,
        "fraction": pa.Column(float, [pa.Check.gt(0), pa.Check.le(1)]),
        "train_faces": POSITIVE,
        "metric": KEY,
        "value": REAL,
        "low": REAL,
        "high": REAL,
    },
    unique=["arm", "seed", "fraction", "metric"],
)

#: What an interval covers: the choice of the seed (Student's t over runs), of the test photographs (as given for a
#: single run), or of both; empty where there is none.
INTERVAL_BASES = ("seeds", "photographs", "photographs and seeds", "")

#: Learning curves: `train_faces` is the mean over the runs.
LEARNING_CURVES = table_schema(
    "learning_curves",
    {
        "arm": KEY,
        "metric": KEY,
        "fraction": pa.Column(float, [pa.Check.gt(0), pa.Check.le(1)]),
        "train_faces": pa.Column(float, pa.Check.gt(0)),
        "runs": POSITIVE,
        "defined": COUNT,
        "mean": REAL,
        "sd": NONNEGATIVE,
        "low": REAL,
        "high": REAL,
        "basis": pa.Column(str, pa.Check.isin(INTERVAL_BASES)),
        "reason": TEXT,
    },
    unique=["arm", "metric", "fraction"],
)

#: `arm` with `train_faces` is as good as `baseline` with `baseline_faces`, `worth` times as many; where
#: the baseline never gets there, `at_least` (or `at_most`) says how far it was followed.
LABEL_WORTH = table_schema(
    "label_worth",
    {
        "arm": KEY,
        "baseline": KEY,
        "metric": KEY,
        "fraction": pa.Column(float, [pa.Check.gt(0), pa.Check.le(1)]),
        "train_faces": pa.Column(float, pa.Check.gt(0)),
        "value": REAL,
        "baseline_faces": NONNEGATIVE,
        "worth": NONNEGATIVE,
        "low": NONNEGATIVE,
        "high": NONNEGATIVE,
        "at_least": NONNEGATIVE,
        "at_most": NONNEGATIVE,
        "reason": TEXT,
    },
    unique=["arm", "baseline", "metric", "fraction"],
)

#: Runs under several fine-tuning regimes. `trained_parameters` at the end of training.
REGIME_RUNS = table_schema(
    "regime_runs",
    {
        **RUN,
        "regime": KEY,
        "metric": KEY,
        "value": REAL,
        "low": REAL,
        "high": REAL,
        "trained_parameters": COUNT,
        "seconds": NONNEGATIVE,
    },
    unique=["arm", "seed", "regime", "metric"],
)

#: Regimes side by side, over the seeds of an arm.
REGIMES = table_schema(
    "regimes",
    {
        "arm": KEY,
        "regime": KEY,
        "metric": KEY,
        "runs": POSITIVE,
        "defined": COUNT,
        "mean": REAL,
        "sd": NONNEGATIVE,
        "low": REAL,
        "high": REAL,
        "basis": pa.Column(str, pa.Check.isin(INTERVAL_BASES)),
        "trained_parameters": COUNT,
        "seconds": NONNEGATIVE,
        "reason": TEXT,
    },
    unique=["arm", "regime", "metric"],
)
