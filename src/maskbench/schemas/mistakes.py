"""Tables of question 3: do explanations tell which faces are misclassified, beyond what probabilities tell?"""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, FLAG, KEY, REAL, SHARE, TEXT, table_schema

#: A face tested in several runs has several predictions; `mistaken_images` is the smaller count of photographs with
#: wrong and with right ones, which limits what can be said.
_basis = {
    "predictions": COUNT,
    "faces": COUNT,
    "images": COUNT,
    "seeds": COUNT,
    "mistakes": COUNT,
    "mistaken_faces": COUNT,
    "mistaken_images": COUNT,
    "reason": TEXT,
}

#: How well scores tell misclassified from other faces of photographs that the score's model has not seen. `features`:
#: `confidence` (1 - largest probability, nothing fitted), `probability`, `maps`, `both`, `arms` (both, and agreement
#: with the maps of the other arms); `model`: how they were put together. Intervals over photographs, on the same
#: draws for all rows of an arm.
MISTAKE_SKILL = table_schema(
    "mistake_skill",
    {
        "arm": KEY,
        "model": KEY,
        "features": pa.Column(str, pa.Check.isin(["confidence", "probability", "maps", "both", "arms"])),
        "metric": pa.Column(str, pa.Check.isin(["auc", "average_precision"])),
        "value": SHARE,
        "low": SHARE,
        "high": SHARE,
        "chance": SHARE,
        "confidence": SHARE,
        **_basis,
    },
    unique=["arm", "model", "features", "metric"],
)

#: Paired differences of the above. `shown`: the interval lies above 0; `beyond_margin`: gains larger than `margin`
#: fit the data, so that no difference shown does not mean none that matters. Both keep a reserve for the chance of
#: the draws.
MISTAKE_GAIN = table_schema(
    "mistake_gain",
    {
        "arm": KEY,
        "model": KEY,
        "features": KEY,
        "baseline": KEY,
        "metric": KEY,
        "gain": REAL,
        "low": REAL,
        "high": REAL,
        "shown": FLAG,
        "margin": SHARE,
        "beyond_margin": FLAG,
        **_basis,
    },
    unique=["arm", "model", "features", "baseline", "metric"],
)

#: Each feature alone (`auc` below 0.5: misclassified faces have smaller values), and its coefficient per standard
#: deviation in the logistic regression on all of them.
MISTAKE_FEATURES = table_schema(
    "mistake_features",
    {
        "arm": KEY,
        "feature": KEY,
        "kind": pa.Column(str, pa.Check.isin(["probability", "maps"])),
        "auc": SHARE,
        "low": SHARE,
        "high": SHARE,
        "log_odds": REAL,
        "missing": COUNT,
        **_basis,
    },
    unique=["arm", "feature"],
)
MISTAKE_TABLES = {"skill": MISTAKE_SKILL, "gain": MISTAKE_GAIN, "features": MISTAKE_FEATURES}
