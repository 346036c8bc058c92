"""The configuration and the folders that a command's options stand for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskbench.config import WEIGHTS_NAMES, Config, ConfigError, make_config, merge, parse_setting, read_config_file

if TYPE_CHECKING:
    from maskbench.rundir import RunDir


def default_name(source: str) -> str:
    """A run's name from its data: the last part of a folder's path, made safe for a file name.

    Example:
        >>> default_name("/data/Face masks!")
        'Face-masks'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).resolve().name).strip("-._")[:80] or "study"


def nested(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings with dotted names as nested ones; later ones win.

    Example:
        >>> nested({"train.epochs": 2, "train": {"loss": "focal"}})
        {'train': {'epochs': 2, 'loss': 'focal'}}
    """
    found: dict[str, Any] = {}
    for name, value in (settings or {}).items():
        layer: Any = value
        for part in reversed(name.split(".")):
            layer = {part: layer}
        found = merge(found, layer)
    return found


def parse_settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """The layer that repeated `--set section.field=value` stand for; later ones win.

    Raises:
        ConfigError: one of them is not of this form.

    Example:
        >>> parse_settings(["train.epochs=5", "train.loss=focal"])
        {'train': {'epochs': 5, 'loss': 'focal'}}
    """
    found: dict[str, Any] = {}
    for text in texts or []:
        found = merge(found, parse_setting(text))
    return found


def choose_config(
    base: Path,
    *,
    data: str | None,
    name: str | None,
    preset: str | None,
    config_file: Path | None,
    weights: str | None,
    settings: Mapping[str, Any] | None,
    seeds: int | None = None,
    fresh: bool = False,
) -> tuple[Config, RunDir]:
    """The configuration that the options stand for, and the run's folders.

    A run that exists keeps the configuration it has, where the options say nothing else; a
    configuration file, a preset or `fresh` stands for the whole, so nothing saved is mixed in.
    """
    from maskbench.rundir import RunDir

    layers: list[dict[str, Any]] = []
    if config_file:
        layers.append(read_config_file(config_file))
    layers.append(nested(settings))
    if data:
        layers.append({"data": {"source": data}})
    if weights:
        layers.append({"weights": weights})
    if seeds:
        layers.append({"seeds": {"count": seeds}})
    chosen: dict[str, Any] = {}
    for layer in layers:
        chosen = merge(chosen, layer)
    chosen = with_absolute_paths(chosen)
    if name:
        chosen["name"] = name
    chosen.setdefault("name", default_name(chosen.get("data", {}).get("source", "sample")))
    folders = RunDir.named(make_config("quick", {"name": chosen["name"]}).name, base)
    saved = None if fresh or preset or config_file else folders.saved_config()
    if saved:
        return make_config(saved.preset, saved.model_dump(mode="json"), chosen), folders
    in_file = chosen.pop("preset", "quick")
    return make_config(preset or in_file, chosen), folders


def with_absolute_paths(layer: dict[str, Any]) -> dict[str, Any]:
    """The layer with its paths made absolute, so that a run finds its files from any working directory."""
    source, weights = layer.get("data"), layer.get("weights")
    source = source.get("source") if isinstance(source, dict) else None
    if isinstance(source, str) and source and source not in {"sample", "kaggle"}:
        layer = merge(layer, {"data": {"source": str(Path(source).expanduser().resolve())}})
    if isinstance(weights, str) and weights and weights not in WEIGHTS_NAMES:
        layer = merge(layer, {"weights": str(Path(weights).expanduser().resolve())})
    return layer


def parse_box(text: str) -> tuple[float, float, float, float]:
    """The box that `xmin,ymin,xmax,ymax` stands for, px.

    Raises:
        ConfigError: not four finite numbers.

    Example:
        >>> parse_box("10,20,30.5,60")
        (10.0, 20.0, 30.5, 60.0)
    """
    try:
        values = [float(part) for part in text.split(",")]
        xmin, ymin, xmax, ymax = values
    except ValueError as error:
        raise ConfigError(f"--box {text}: write it as xmin,ymin,xmax,ymax in px") from error
    if not all(map(math.isfinite, values)):
        raise ConfigError(f"--box {text}: write it as xmin,ymin,xmax,ymax in px")
    return xmin, ymin, xmax, ymax
