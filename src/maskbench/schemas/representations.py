"""Tables of what models see in faces, layer by layer."""

from __future__ import annotations

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, FLAG, KEY, NONNEGATIVE, POSITIVE, REAL, RUN, SHARE, TEXT, table_schema

#: Test faces in two dimensions, by the features that the head reads.
EMBEDDING = table_schema(
    "embedding",
    {
        **RUN,
        "method": pa.Column(str, pa.Check.isin(["pca", "tsne"])),
        "perplexity": REAL,
        "face_id": KEY,
        "image_id": KEY,
        "label": KEY,
        "predicted": KEY,
        "correct": FLAG,
        "box_side_px": NONNEGATIVE,
        "x": pa.Column(float),
        "y": pa.Column(float),
    },
    unique=["arm", "seed", "method", "face_id"],
)
#: Shares of the variance of the penultimate features on their principal components, counted from 1.
EXPLAINED_VARIANCE = table_schema(
    "explained_variance",
    {**RUN, "component": POSITIVE, "ratio": SHARE, "cumulative": SHARE},
    unique=["arm", "seed", "component"],
)
#: Similarity of two models' features of the same faces; `kind`: two arms of one run, or two runs of one arm.
CKA = table_schema(
    "cka",
    {
        "kind": pa.Column(str, pa.Check.isin(["arms", "seeds"])),
        "arm_a": KEY,
        "seed_a": COUNT,
        "layer_a": KEY,
        "arm_b": KEY,
        "seed_b": COUNT,
        "layer_b": KEY,
        "cka": REAL,
        "faces": COUNT,
        "reason": TEXT,
    },
    unique=["kind", "arm_a", "seed_a", "layer_a", "arm_b", "seed_b", "layer_b"],
)
#: What simple classifiers make of each depth's features: fitted on training faces, measured on test faces.
PROBES = table_schema(
    "probes",
    {
        **RUN,
        "depth": KEY,
        "probe": pa.Column(str, pa.Check.isin(["linear", "neighbours"])),
        "metric": pa.Column(str, pa.Check.isin(["accuracy", "f1_macro"])),
        "value": SHARE,
        "low": SHARE,
        "high": SHARE,
        "confidence": SHARE,
        "train_faces": COUNT,
        "faces": COUNT,
        "images": COUNT,
        "reason": TEXT,
    },
    unique=["arm", "seed", "depth", "probe", "metric"],
)
#: How far apart classes lie among the test faces: mean silhouette (cosine), and the ratio of scatter between classes
#: to scatter within.
SEPARATION = table_schema(
    "separation",
    {**RUN, "depth": KEY, "silhouette": REAL, "scatter_ratio": NONNEGATIVE, "faces": COUNT, "reason": TEXT},
    unique=["arm", "seed", "depth"],
)
#: See `explain.features.layer_statistics`.
LAYER_STATISTICS = table_schema(
    "layer_statistics",
    {
        **RUN,
        "depth": KEY,
        "channels": POSITIVE,
        "positions": POSITIVE,
        "sparsity": SHARE,
        "dead_channels": COUNT,
        "mean_activation": REAL,
        "effective_rank": REAL,
    },
    unique=["arm", "seed", "depth"],
)
REPRESENTATION_TABLES = {
    "embedding": EMBEDDING,
    "explained_variance": EXPLAINED_VARIANCE,
    "cka": CKA,
    "probes": PROBES,
    "separation": SEPARATION,
}
