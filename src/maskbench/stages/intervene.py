"""The stage that intervenes: test faces changed in one way at a time, and what that does to each arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench import schemas
from maskbench.schemas import write_table
from maskbench.schemas.interventions import INTERVENED, INTERVENTION_CURVES, INTERVENTION_RANKING
from maskbench.stages.context import Context, face_crops
from maskbench.stages.jobs import Job, split_of_run
from maskbench.stages.training import make_jobs
from maskbench.steps import in_steps

#: Models of one split that are shown the same changed faces, side by side in memory: 85 MB each.
_TOGETHER = 10


def intervene(context: Context) -> list[Path]:
    """Predict intervened test faces with every best checkpoint; only the interventions that were asked for."""
    from maskbench.comparison.interventions import intervention_curves, intervention_ranking

    wanted = context.config.interventions.run
    if not wanted:
        return []
    folder, config = context.folders.stage("intervene"), context.config
    table = _intervened(context)
    show = context.progress("curves")
    drawn: dict[str, Any] = {"seed": config.split.seed, "resamples": config.interventions.resamples}
    curves = in_steps(show, {"curves": lambda: intervention_curves(table, context.classes(), **drawn)})["curves"]
    written = []
    tables = {
        "intervened": (table, INTERVENED),
        "curves": (curves, INTERVENTION_CURVES),
        "ranking": (intervention_ranking(curves), INTERVENTION_RANKING),
    }
    for name, (frame, schema) in tables.items():
        csv = name != "intervened"
        write_table(folder / f"{name}.parquet", frame, schema, csv=csv)
        written += [folder / f"{name}.parquet", *([folder / f"{name}.csv"] if csv else [])]
    return written


def _intervened(context: Context) -> pd.DataFrame:
    from maskbench.data.interventions import INTERVENTIONS, context_margin
    from maskbench.inference.intervene import intervened_table
    from maskbench.training.checkpoint import BEST, load_checkpoint

    config = context.config
    chosen = [INTERVENTIONS[name] for name in config.interventions.run]
    images = context.table("audit", "images", schemas.IMAGES)
    faces = context.table("audit", "faces", schemas.FACES)
    crops = face_crops(context, images, faces, context_margin(config.faces.margin, chosen))
    groups: dict[bytes, tuple[NDArray[np.int64], list[Job]]] = {}
    for job in make_jobs(context, context.folders.stage("train"), config, None):
        rows = np.flatnonzero((split_of_run(context, job.seed)["split"] == "test").to_numpy())
        groups.setdefault(rows.tobytes(), (rows, []))[1].append(job)
    parts = [(rows, jobs[start : start + _TOGETHER]) for rows, jobs in groups.values()
             for start in range(0, len(jobs), _TOGETHER)]  # fmt: skip

    def predict(number: int, rows: NDArray[np.int64], jobs: list[Job]) -> pd.DataFrame:
        title = "interventions" if len(parts) == 1 else f"interventions, part {number} of {len(parts)}"
        found = intervened_table(
            [load_checkpoint(job.folder / BEST) for job in jobs], crops, faces, rows, chosen,
            seed=config.split.seed, progress=context.progress(title),
        )  # fmt: skip
        context.notify("intervened with " + ", ".join(f"{job.arm.name} seed {job.seed}" for job in jobs))
        return found

    return pd.concat([predict(number, *part) for number, part in enumerate(parts, start=1)], ignore_index=True)
