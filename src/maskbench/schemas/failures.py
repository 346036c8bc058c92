"""Tables of what goes wrong: hard faces, confusions, prototypes, neighbours, labels to look at again."""

from __future__ import annotations

import json

import pandera.pandas as pa

from maskbench.schemas.columns import COUNT, KEY, NONNEGATIVE, POSITIVE, REAL, RUN, SHARE, TEXT, table_schema

#: Test faces that an arm finds hardest, means over the `seeds` runs that tested them: `hard_loss` by cross-entropy,
#: `hard_margin` by the true class's probability minus the largest other one, `confident` the mistakes of the highest
#: wrong probability. `rank` counts from 1.
FAILURES = table_schema(
    "failures",
    {
        "arm": KEY,
        "kind": pa.Column(str, pa.Check.isin(["hard_loss", "hard_margin", "confident"])),
        "rank": POSITIVE,
        "face_id": KEY,
        "image_id": KEY,
        "label": KEY,
        "predicted": KEY,
        "prob_label": SHARE,
        "prob_predicted": SHARE,
        "loss": NONNEGATIVE,
        "margin": pa.Column(float, pa.Check.in_range(-1, 1)),
        "seeds": POSITIVE,
    },
    unique=["arm", "kind", "rank"],
)
#: Faces of a class that were taken for another, over all runs; `examples` the most confident ones, a JSON list: names
#: of photographs may hold commas, and all else. See `example_ids`.
CONFUSION_PAIRS = table_schema(
    "confusion_pairs",
    {
        "arm": KEY,
        "label": KEY,
        "predicted": KEY,
        "mistakes": POSITIVE,
        "share_of_class": SHARE,
        "mean_prob": SHARE,
        "examples": TEXT,
    },
    unique=["arm", "label", "predicted"],
)
#: Test faces of a class that lie nearest to the class's mean direction in the features the head reads.
PROTOTYPES = table_schema(
    "prototypes",
    {**RUN, "label": KEY, "rank": POSITIVE, "face_id": KEY, "similarity": REAL},
    unique=["arm", "seed", "label", "rank"],
)
#: For each mistake: its nearest training faces (`train`), and the nearest test face of its true class that the arm
#: gets right (`right`), by cosine similarity of the features the head reads. `prob_predicted` is the mistake's.
NEIGHBOURS = table_schema(
    "neighbours",
    {
        **RUN,
        "face_id": KEY,
        "label": KEY,
        "predicted": KEY,
        "prob_predicted": SHARE,
        "kind": pa.Column(str, pa.Check.isin(["train", "right"])),
        "rank": POSITIVE,
        "neighbour_id": KEY,
        "neighbour_label": KEY,
        "similarity": REAL,
    },
    unique=["arm", "seed", "face_id", "kind", "rank"],
)
#: Faces that every method is shown on: what the arms of the first run say of them, and at how many places down and
#: across the layer `explain.layer` answers, which maps that weigh its activations are enlarged from.
PORTRAITS = table_schema(
    "portraits",
    {
        **RUN, "face_id": KEY, "label": KEY, "predicted": KEY, "prob_predicted": SHARE, "map_height": POSITIVE,
        "map_width": POSITIVE,
    },
    unique=["arm", "face_id"],
)  # fmt: skip
#: The channels whose feature maps are kept, strongest first: `maps/NUMBER/LAYER` in `layers.safetensors`, where the
#: number is the face's position and a layer is called as in `explain.feature_layers`, in the order of which it stands.
FEATURE_CHANNELS = table_schema(
    "feature_channels",
    {
        **RUN, "face_id": KEY, "layer": KEY, "rank": POSITIVE, "channel": COUNT, "mean_activation": REAL,
    },
    unique=["arm", "face_id", "layer", "rank"],
)  # fmt: skip
#: Labels that a classifier which has not seen the photograph doubts, most doubtful first; `quality` is its
#: probability of the given label.
LABEL_ISSUES = table_schema(
    "label_issues",
    {
        "rank": POSITIVE,
        "face_id": KEY,
        "image_id": KEY,
        "file": KEY,
        "xmin": REAL,
        "ymin": REAL,
        "xmax": REAL,
        "ymax": REAL,
        "label": KEY,
        "suggested": KEY,
        "quality": SHARE,
        "prob_suggested": SHARE,
        "split": TEXT,
        "fold": COUNT,
    },
    unique=["rank"],
)


def example_ids(text: str) -> list[str]:
    """Faces named in `CONFUSION_PAIRS`'s column `examples`."""
    return [str(face_id) for face_id in json.loads(text)]


FAILURE_TABLES = {
    "failures": FAILURES,
    "confusion_pairs": CONFUSION_PAIRS,
    "prototypes": PROTOTYPES,
    "neighbours": NEIGHBOURS,
}
