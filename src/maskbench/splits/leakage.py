"""Leakage: how much of one side can be seen from another."""

from __future__ import annotations

import pandas as pd

from maskbench.schemas import SPLITS


def measure_leakage(split: pd.DataFrame) -> pd.DataFrame:
    """Count what two sides share.

    Args:
        split: `schemas.SPLIT`.

    Returns:
        One row per pair of sides: `side_a`, `side_b`, `shared_faces`, `shared_photographs`,
        `shared_groups`, and `exposed_faces`: faces of `side_b` whose group also sits in `side_a`.
        All are 0 for a leak-free split.
    """
    rows = []
    parts = {side: split[split["split"] == side] for side in SPLITS}
    for index, side_a in enumerate(SPLITS):
        for side_b in SPLITS[index + 1 :]:
            a, b = parts[side_a], parts[side_b]
            rows.append(
                {
                    "side_a": side_a,
                    "side_b": side_b,
                    "shared_faces": len(set(a["face_id"]) & set(b["face_id"])),
                    "shared_photographs": len(set(a["image_id"]) & set(b["image_id"])),
                    "shared_groups": len(set(a["group"]) & set(b["group"])),
                    "exposed_faces": int(b["group"].isin(a["group"]).sum()),
                }
            )
    return pd.DataFrame(rows)


def is_leak_free(split: pd.DataFrame) -> bool:
    """Whether no group of photographs sits on two sides."""
    return not measure_leakage(split)["shared_groups"].any()
