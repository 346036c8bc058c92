"""What the Python interface hands back: a study, and what one of its stages left."""

from __future__ import annotations

import fnmatch
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from maskbench import schemas
from maskbench.config import Config
from maskbench.rundir import EARLIER, MANIFEST
from maskbench.stages.context import Context, dataset_root
from maskbench.storage import read_json
from maskbench.study import STAGES, is_current, run_stages, stage_key

Value = TypeVar("Value")
#: Sections of the report whose figures are drawn from a stage's tables, in the report's order.
SECTIONS: dict[str, tuple[str, ...]] = {
    "eda": ("eda",),
    "train": ("training",),
    "evaluate": ("evaluation",),
    "factors": ("factors",),
    "intervene": ("interventions",),
    "experiments": ("label experiments", "data experiments"),
    "explain": ("question 3", "explanations", "representations", "failures"),
    "compare": ("comparison", "calibration", "convergence"),
    "detect-train": ("detection",),
    "detect-evaluate": ("detection",),
    "detect-factors": ("detection",),
}
#: Beginnings of the names of those figures of detection that belong to the stage; all others belong to detect-evaluate.
_DETECTION = {"detect-train": ("detector-",), "detect-factors": ("detection-losses", "missed-", "misplaced-")}
#: JSON files that say how far the work is, not what was found.
_BOOKKEEPING = frozenset({MANIFEST, EARLIER, "job.json", "request.json", "run.json"})
_REPORT = "report.html"


class Files(Mapping[str, Value], Generic[Value]):
    """Files by name, each read when it is asked for.

    Args:
        kind: what they are, for messages.
        paths: file by name.
        read: gives a file's content.
    """

    def __init__(self, kind: str, paths: Mapping[str, Path], read: Callable[[Path], Value]) -> None:
        self.kind, self.paths, self._read = kind, dict(paths), read

    def __getitem__(self, name: str) -> Value:
        if name not in self.paths:
            raise KeyError(f"no {self.kind} {name!r}; there are: {', '.join(self.paths) or 'none'}")
        return self._read(self.paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"<{self.kind}s: {', '.join(self.paths) or 'none'}>"


@dataclass(frozen=True, eq=False)
class StageResult:
    """What a stage left on disk; files are read when they are asked for.

    Attributes:
        name: of the stage; `run` for a whole study.
        folder: of its tables.
        plots: folder of the study's figures.
        sections: of the report whose figures belong to it; None: all that there are.
        drawn: whether the figures on disk are of these results.
    """

    name: str
    folder: Path
    plots: Path
    sections: tuple[str, ...] | None
    drawn: Callable[[], bool]

    @property
    def tables(self) -> Files[pd.DataFrame]:
        """Tables by file name without suffix, those in folders as `FOLDER/NAME`; a fresh copy each time."""
        found = {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in self._files(".csv")}
        found |= {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in self._files(".parquet")}
        return Files("table", dict(sorted(found.items())), _read_table)

    @property
    def summary(self) -> Files[Any]:
        """Content of the stage's JSON files by name without suffix: answers, counts, records of trainings."""
        paths = [path for path in self._files(".json") if path.name not in _BOOKKEEPING]
        return Files(
            "summary", {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in paths}, read_json
        )

    @property
    def figures(self) -> dict[str, Path]:
        """PNG files by the figure's name, in the report's order; an SVG lies beside each.

        `eda` draws its own; those of other stages are drawn by `report`, and there are none before it.
        """
        return {entry["name"]: self.plots / f"{entry['name']}.png" for entry in self._listed()}

    def show(self, *names: str) -> None:
        """Show figures and their captions in a notebook.

        Args:
            names: of figures, in the order wanted; or patterns, `roc-*`, of which one may match nothing. None: all.

        Raises:
            KeyError: there is no figure of that name.
        """
        page: Any = import_module("IPython.display")  # every notebook has it, this package does not need it
        listed = {entry["name"]: entry for entry in self._listed()}
        for wanted in names or listed:
            found = fnmatch.filter(listed, wanted)
            if not found and "*" not in wanted:
                raise KeyError(f"no figure {wanted!r}; there are: {', '.join(listed) or 'none'}")
            if not found:
                page.display(page.HTML(f"<p><i>{html.escape(wanted)}: nothing to draw.</i></p>"))
            for name in found:
                caption = page.HTML(f"<p><i>{html.escape(listed[name]['caption'])}</i></p>")
                page.display(page.Image(self.plots / f"{name}.png"), caption)

    @property
    def report(self) -> Path | None:
        """The report, where this is a whole study or a comparison and it has been written."""
        path = self.folder / _REPORT
        return path if path.is_file() else None

    def _files(self, suffix: str) -> list[Path]:
        found = (path for path in self.folder.rglob(f"*{suffix}") if not path.name.startswith("."))
        return sorted(found, key=lambda path: path.relative_to(self.folder).as_posix())

    def _listed(self) -> list[dict[str, str]]:
        """Entries of the sections' listings, in order."""
        if not self.drawn():
            return []
        chosen = self.sections
        if chosen is None:
            known = [section for sections in SECTIONS.values() for section in sections]
            there = sorted(path.stem for path in self.plots.glob("*.json"))
            chosen = (*dict.fromkeys(known), *(section for section in there if section not in known))
        listings = [self.plots / f"{section}.json" for section in chosen]
        listed = [entry for path in listings if path.is_file() for entry in read_json(path)]
        return [entry for entry in listed if chosen != ("detection",) or _is_of(self.name, entry["name"])]

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.tables)} tables, {len(self.figures)} figures in {self.folder}>"

    def _repr_html_(self) -> str:
        """For notebooks: what there is, by name."""
        figures = [f"{entry['name']} ({entry['title']})" for entry in self._listed()]
        parts = {"tables": list(self.tables), "summary": list(self.summary), "figures": figures}
        rows = "".join(
            f"<tr><th style='text-align:left;vertical-align:top'>{kind}</th>"
            f"<td style='text-align:left'>{', '.join(f'<code>{html.escape(name)}</code>' for name in names)}</td></tr>"
            for kind, names in parts.items()
            if names
        )
        return f"<div><b>{self.name}</b>: <code>{html.escape(str(self.folder))}</code><table>{rows}</table></div>"


def _is_of(stage: str, figure: str) -> bool:
    """Whether a figure of detection belongs to a stage."""
    home = next((name for name, starts in _DETECTION.items() if figure.startswith(starts)), "detect-evaluate")
    return stage == home


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@dataclass(frozen=True, eq=False)
class Study:
    """A dataset, and the run's folder in which what is learned of it is kept; made by `maskbench.load_dataset`.

    Attributes:
        context: configuration, folders, and where messages go.
        command: what `run.json` notes as the command; empty: the function that is called.
    """

    context: Context
    command: str = ""

    @property
    def name(self) -> str:
        """Of the run."""
        return self.context.config.name

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return self.context.config

    @property
    def results(self) -> Path:
        """`results/NAME`."""
        return self.context.folders.results

    @property
    def plots(self) -> Path:
        """`plots/NAME`."""
        return self.context.folders.plots

    @property
    def root(self) -> Path:
        """The dataset's folder, with images/ and annotations/; downloaded or drawn if it is not there yet."""
        return dataset_root(self.context)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order, decided by the audit, which runs if it has not."""
        return self._audited().classes()

    @property
    def images(self) -> pd.DataFrame:
        """The audited photographs, `schemas.IMAGES`; the audit runs if it has not."""
        return self._audited().table("audit", "images", schemas.IMAGES)

    @property
    def faces(self) -> pd.DataFrame:
        """The audited faces, `schemas.FACES` (boxes in px); the audit runs if it has not."""
        return self._audited().table("audit", "faces", schemas.FACES)

    def checkpoints(self) -> pd.DataFrame:
        """Best checkpoints of finished trainings: `task` (`classify`, `detect`), `arm`, `seed`, `path`."""
        rows = []
        for task, stage in (("classify", "train"), ("detect", "detect-train")):
            for arm in self.config.arms:
                for seed in self.config.seeds.numbers():
                    folder = self.context.folders.stage(stage) / arm.name / f"seed{seed}"
                    if (folder / "fit.json").is_file() and (folder / "best.safetensors").is_file():
                        rows.append((task, arm.name, seed, folder / "best.safetensors"))
        return pd.DataFrame(rows, columns=["task", "arm", "seed", "path"])

    def result(self, stage: str) -> StageResult:
        """What a stage has left, without running anything.

        Args:
            stage: a stage's name, or `run` for everything.
        """
        folders, whole = self.context.folders, stage in ("run", "report")

        def drawn() -> bool:
            """Whether the stage that draws has seen these results."""
            name = "eda" if stage == "eda" else "report"
            saved = folders.manifest(name)
            return bool(saved) and saved["key"] == stage_key(STAGES[name], self.context, "")

        folder = folders.results if whole else folders.stage(stage)
        return StageResult(stage, folder, folders.plots, None if whole else SECTIONS.get(stage, ()), drawn)

    def bring_up_to_date(self, stages: Sequence[str], call: str = "") -> None:
        """Run stages, skipping what is complete and unchanged.

        Args:
            stages: their names; what they need must be complete or among them.
            call: what `run.json` notes where the study has no command.

        Raises:
            RunError: the folder holds another configuration, a stage that is needed has not run, or another process is
                at work there.
            ConfigError: an arm, the weights or an explanation method are not known.
            AuditFailedError: the dataset has an error that stops a study.
        """
        from maskbench.stages.context import check_engine, check_explanations, check_inputs
        from maskbench.stages.nodes import follow, leading
        from maskbench.study import used_sections

        config, folders, device = self.config, self.context.folders, ""
        engine = self.context.engine
        check_engine(self.context, stages)
        if engine.follows:
            follow(engine, self.context.notify)
            return
        if {"train", "detect-train"} & set(stages):
            check_inputs(self.context)
            device = _device(config, stages)
        if "explain" in stages:
            check_explanations(self.context)
        with leading(engine), folders.lock():
            folders.claim(config, used_sections(folders))
            folders.record_command(self.command or call, device)
            run_stages(stages, self.context)

    def _audited(self) -> Context:
        if not is_current("audit", self.context):
            self.bring_up_to_date(["audit"], "maskbench.audit")
        return self.context

    def __repr__(self) -> str:
        return f"<study {self.name} of {self.config.data.source} in {self.results}>"


def _device(config: Config, stages: Sequence[str]) -> str:
    from maskbench.models.execution import resolve_execution

    return resolve_execution(config.train if "train" in stages else config.detect, config.faces.input_size).device
