"""What every stage is given, and what several of them read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from maskbench.config import WEIGHTS_NAMES, Config, ConfigError, DetectConfig, TrainConfig
from maskbench.rundir import RunDir, cache_folder
from maskbench.schemas import read_table
from maskbench.storage import canonical_json, read_json, sha256_file

if TYPE_CHECKING:
    from maskbench.data.keeping import Keeper

#: Photographs are kept at most this many times as large as detectors see them: what training may enlarge.
KEPT_FACTOR = 2


@dataclass(frozen=True)
class Engine:
    """How jobs are run; no part of a study's configuration, for it changes no result.

    Attributes:
        name: `local` or `ray`.
        workers: jobs side by side; 0: as many as `side_by_side.places` says.
        address: of a running Ray cluster; empty: Ray starts one on this machine.
        retries: how often a job that died is tried again.
        devices: that train one model together on each machine: GPUs, or processes without one; local only.
        nodes: machines that train one model together; local only.
        node: number of this machine among them; only number 0 does the study, the others take part.
        meeting: HOST:PORT of machine 0, where several machines meet.
    """

    name: Literal["local", "ray"] = "local"
    workers: int = 0
    address: str = ""
    retries: int = 1
    devices: int = 1
    nodes: int = 1
    node: int = 0
    meeting: str = ""

    @property
    def processes(self) -> int:
        """That train one model together."""
        return self.devices * self.nodes

    @property
    def follows(self) -> bool:
        """Whether another machine does the study."""
        return self.node > 0


@dataclass(frozen=True)
class Context:
    """What a stage needs to know.

    Attributes:
        config: the study's configuration.
        folders: where its files are.
        notify: receives lines for the user.
        progress: given a title, returns a callback for (done, total); None hides progress.
        interactive: a person watches the terminal: show progress bars.
        engine: where trainings run.
        planned: stages that this call is to bring up to date.
    """

    config: Config
    folders: RunDir
    notify: Callable[[str], None]
    progress: Callable[[str], Callable[[int, int], None] | None]
    interactive: bool = False
    engine: Engine = Engine()
    planned: frozenset[str] = frozenset()

    def bars(self) -> Callable[[str], Callable[[int, int], None] | None] | None:
        """`progress` where a person watches, else None."""
        return self.progress if self.interactive else None

    def table(self, stage: str, name: str, schema: Any) -> pd.DataFrame:
        """A table that an earlier stage wrote."""
        return read_table(self.folders.stage(stage) / name, schema)

    def classes(self) -> tuple[str, ...]:
        """The class order, decided by the audit."""
        return tuple(read_json(self.folders.stage("audit") / "classes.json"))


def dataset_root(context: Context) -> Path:
    """The dataset's folder; downloads or draws it when it is not there yet."""
    from maskbench.data.sources import locate_dataset

    return locate_dataset(
        context.config.data.source,
        sample_params=context.config.data.sample,
        cache=cache_folder(),
        notify=context.notify,
        progress=context.progress("sample"),
    )


def check_inputs(context: Context) -> None:
    """Refuse, before anything runs, what training would refuse an hour later.

    Raises:
        ConfigError: an arm's implementation is unknown, the weights are neither a name nor a file, or an arm has no
            such layer as is to be explained.
    """
    config = context.config
    pretrained = any(arm.initialisation == "pretrained" for arm in config.arms)
    if pretrained and config.weights not in WEIGHTS_NAMES and not Path(config.weights).is_file():
        raise ConfigError(f"weights: {config.weights} is not a file, nor one of {', '.join(WEIGHTS_NAMES)}")
    from maskbench.models.registry import IMPLEMENTATIONS

    for arm in config.arms:
        if arm.implementation not in IMPLEMENTATIONS:
            raise ConfigError(
                f"arms: {arm.name}: implementation {arm.implementation!r} is not one of {', '.join(IMPLEMENTATIONS)}"
            )
    check_layers(config)


def check_engine(context: Context, stages: Collection[str]) -> None:
    """Refuse, before anything runs, devices that are not there or that a batch is too small for.

    Raises:
        ConfigError: names the option or the field.
    """
    engine, config = context.engine, context.config
    if engine.processes == 1:
        return
    if engine.name == "ray":
        raise ConfigError("--devices and --num-nodes are for --engine local")
    _check_nodes(engine)
    trained = {"train": {"train", "experiments"}, "detect": {"detect-train"}}
    for section in (name for name, makers in trained.items() if makers & set(stages)):
        part = config.train if section == "train" else config.detect
        check_devices(engine.devices, part, config.faces.input_size, section, engine.nodes)


def _check_nodes(engine: Engine) -> None:
    if engine.nodes == 1:
        return
    port = engine.meeting.rpartition(":")[2]
    if not port.isdigit():
        raise ConfigError(
            f"--num-nodes {engine.nodes}: set MASTER_ADDR, MASTER_PORT and NODE_RANK (0 to {engine.nodes - 1}) on "
            "every machine"
        )
    if not 0 < int(port) < 2**16:
        raise ConfigError(f"--num-nodes {engine.nodes}: MASTER_PORT is 1 to 65535, not {port}")
    if not 0 <= engine.node < engine.nodes:
        raise ConfigError(f"--num-nodes {engine.nodes}: NODE_RANK is 0 to {engine.nodes - 1}, not {engine.node}")
    if engine.workers > 1:
        raise ConfigError(f"--workers {engine.workers}: several machines (--num-nodes) train one model after another")


def check_devices(
    devices: int, part: TrainConfig | DetectConfig, input_size: int, section: str, machines: int = 1
) -> None:
    """Refuse devices of a machine that are not there, or that a batch is too small for.

    Args:
        devices: that train one model together on each machine.
        part: what is trained.
        input_size: px.
        section: the part's name.
        machines: that take part.

    Raises:
        ConfigError: names the option or the field.
    """
    import torch

    from maskbench.models.execution import resolve_execution

    together = devices * machines
    if together == 1:
        return
    if part.batch_size < together:
        raise ConfigError(f"{section}.batch_size: {together} devices cannot share batches of {part.batch_size}")
    on_gpu = resolve_execution(part, input_size).device == "cuda"
    found, what = (torch.cuda.device_count(), "GPU") if on_gpu else (os.cpu_count() or 1, "CPU core")
    if devices > found:
        raise ConfigError(f"--devices {devices}: this machine has {found} {what}{'' if found == 1 else 's'}")


def check_layers(config: Config) -> None:
    """Refuse layers whose activations no map can show, before any model is asked.

    Raises:
        ConfigError: of `explain.layer` or `explain.feature_layers`; names the field, the layer and those to choose.
    """
    import torch

    from maskbench.explain.features import layer_named
    from maskbench.explain.hooks import require_maps
    from maskbench.models.registry import IMPLEMENTATIONS

    if not config.explain.methods:
        return
    wanted = [("layer", config.explain.layer)]
    wanted += [("feature_layers", layer_named(name)) for name in config.explain.feature_layers]
    for implementation in sorted({arm.implementation for arm in config.arms}):
        with torch.device("meta"):  # shapes without weights
            model = IMPLEMENTATIONS[implementation](2)
            image = torch.zeros(1, 3, config.faces.input_size, config.faces.input_size)
        for field, layer in wanted:
            try:
                require_maps(model, layer, image)
            except ValueError as error:
                raise ConfigError(f"explain.{field}: {error}") from error


def check_explanations(context: Context) -> None:
    """Refuse, before anything runs, explanation methods that do not exist.

    Raises:
        ConfigError: names the method and those that there are.
    """
    from maskbench.explain.cam import check_methods

    try:
        check_methods(context.config.explain.methods)
    except ValueError as error:
        raise ConfigError(f"explain.methods: {error}") from error


def weights_state(context: Context) -> str:
    """Hash of the weights file that was named; empty for weights that go by a name."""
    path = Path(context.config.weights)
    return sha256_file(path) if path.is_file() else ""


def dataset_state(context: Context) -> str:
    """Hash of names, sizes and modification times of the dataset's files."""
    root = dataset_root(context)
    # The bytes of `content_key` of [[root, 0, 0], [name, size, time], …], one file at a time.
    digest = hashlib.sha256(b"[" + canonical_json([str(root.resolve()), 0, 0]))
    for folder in ("images", "annotations"):
        with os.scandir(root / folder) as entries:
            # A dangling link is the audit's to report.
            names = sorted(entry.name for entry in entries if entry.is_file())
        for name in names:
            facts = (root / folder / name).stat()
            digest.update(b"," + canonical_json([f"{folder}/{name}", facts.st_size, facts.st_mtime_ns]))
    digest.update(b"]")
    return digest.hexdigest()


@contextmanager
def kept_pixels(context: Context) -> Iterator[Sequence[Keeper]]:
    """What the audit keeps of the photographs it decodes: all that the planned stages would decode them again for."""
    from maskbench.data.crops import CropKeeper
    from maskbench.data.photographs import PhotographKeeper

    config = context.config
    margins = {config.faces.margin}
    if "intervene" in context.planned and config.interventions.run:
        from maskbench.data.interventions import INTERVENTIONS, context_margin

        margins.add(context_margin(config.faces.margin, [INTERVENTIONS[name] for name in config.interventions.run]))
    with ExitStack() as stack:
        keepers: list[Keeper] = [stack.enter_context(CropKeeper(faces_cache(), margin)) for margin in sorted(margins)]
        if "detect-train" in context.planned:
            keepers.append(stack.enter_context(PhotographKeeper(photographs_cache(), longest_side(config))))
        yield keepers


def faces_cache() -> Path:
    """Where faces' crops are kept."""
    return cache_folder() / "faces"


def photographs_cache() -> Path:
    """Where decoded photographs are kept."""
    return cache_folder() / "photographs"


def longest_side(config: Config) -> int:
    """Side above which a photograph is reduced for detectors, px."""
    return KEPT_FACTOR * config.detect.input_size


def face_crops(context: Context, images: pd.DataFrame, faces: pd.DataFrame, margin: float | None = None) -> Any:
    """The faces' crops, from the cache when they are there.

    Args:
        context: of the study.
        images: `schemas.IMAGES`.
        faces: `schemas.FACES`.
        margin: context around the box; None: the study's.
    """
    from maskbench.data.crops import cached_faces

    return cached_faces(
        faces_cache(),
        lambda: dataset_root(context),
        images,
        faces,
        context.config.faces.margin if margin is None else margin,
        max_pixels=context.config.audit.max_pixels,
        progress=context.progress("face crops"),
    )
