"""Pretrained weights: where they come from, and the record that travels with every result.

`resolve_weights` turns the choice on the command line into tensors and a record, `load_into` puts
the tensors into a model. The head (`fc`) is never loaded: its classes are others, and it starts
equal in every arm.
"""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.request import Request, urlopen

import torch
from torch import Tensor, nn

from maskbench.models.weight_files import COUNTER, WeightsError, first_few, read_weight_file
from maskbench.storage import atomic_path, sha256_file

__all__ = [
    "HEAD",
    "RANDOM",
    "LoadedWeights",
    "WeightsError",
    "WeightsRecord",
    "backbone_tensors",
    "load_into",
    "resolve_weights",
]

#: Prefix of the head's tensors.
HEAD = "fc."
#: The package's own file; everything else about it stands in its metadata.
BUNDLED = "resnet34-tiny-imagenet.int8.safetensors"
#: Without a network the answer should come at once; with one, a server answers well within this.
PROBE_SECONDS = 5.0
#: A download may pause, but not for longer than this.
STALL_SECONDS = 30.0


@dataclass(frozen=True)
class WeightsRecord:
    """What a model started from; saved with every run and checkpoint.

    Attributes:
        requested: the choice as given: `auto`, `imagenet`, `bundled`, `none` or a file.
        source: where the weights came from; `none` is random initialisation.
        name: of the weights, or of the file without its folder.
        sha256: of the file, 64 hexadecimal digits; empty for `none`.
        version: of the weights, as their publisher names it.
        pretraining: data and duration; `unknown` where the file does not say.
        top1: accuracy in the pretraining's own validation, share of 1; None where unknown.
        mean: RGB mean the weights were trained with, on 0…1; empty where unknown.
        std: the same for the standard deviation.
        matched: tensors loaded into the model.
        not_matched: the model's tensors the file was not used for: its head.
        dropped: the file's tensors that were not loaded: its head.
        notice: what the user must be told, or empty.
    """

    requested: str
    source: Literal["imagenet", "bundled", "file", "none"]
    name: str
    sha256: str
    version: str
    pretraining: str
    top1: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    matched: int = 0
    not_matched: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Primitives and lists, for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


#: The record of random initialisation.
RANDOM = WeightsRecord("none", "none", "random initialisation", "", "", "none", None, (), ())


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """Tensors in memory and where they come from.

    Attributes:
        tensors: float32 CPU tensors by name; none for `none`.
        record: not yet matched with a model.
    """

    tensors: Mapping[str, Tensor]
    record: WeightsRecord

    @property
    def sha256(self) -> str:
        """Of the file; empty for `none`."""
        return self.record.sha256


class _UnreachableError(Exception):
    """ImageNet's weights cannot be had; the message says why, without local paths."""


def resolve_weights(choice: str, notify: Callable[[str], None] | None = None) -> LoadedWeights:
    """The weights behind a choice.

    Args:
        choice: `imagenet` (torchvision's, from its cache or downloaded), `bundled` (the package's
            own), `auto` (`imagenet`, or where those cannot be reached `bundled` with a notice in the
            record), `none` (random initialisation) or a `.safetensors`, `.pth` or `.pt` file.
        notify: receives a line before a download begins.

    Returns:
        Tensors and record.

    Raises:
        WeightsError: they cannot be reached, or the file cannot be read; says what to do.
    """
    if choice == "none":
        return LoadedWeights({}, RANDOM)
    if choice == "bundled":
        return _bundled(choice)
    if choice in ("imagenet", "auto"):
        try:
            return _imagenet(choice, notify)
        except _UnreachableError as error:
            if choice == "imagenet":
                raise WeightsError(
                    f"the ImageNet weights cannot be had: {error}. Connect to the network, put the file into "
                    f"{_cache_folder()}, or choose --weights bundled or a file"
                ) from error
            return _fallback(choice, str(error))
    path = Path(choice).expanduser()
    if not path.is_file():
        raise WeightsError(f"{choice}: neither a weights file nor one of auto, imagenet, bundled, none")
    return _from_file(path, requested=choice, source="file")


def load_into(model: nn.Module, loaded: LoadedWeights) -> WeightsRecord:
    """Put weights into `model`, in place, all but its head; nothing is changed if they do not fit.

    Batch norm's step counters are left alone: nothing reads them.

    Returns:
        The record, with what was matched, not matched and dropped.

    Raises:
        WeightsError: tensors are missing, unexpected or of another shape; names them.
    """
    if loaded.record.source == "none":
        return loaded.record
    state = model.state_dict()
    wanted = backbone_tensors(model)
    given = {name: t for name, t in loaded.tensors.items() if not name.startswith(HEAD)}
    wrong = [
        f"{name} {tuple(given[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    problems = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": wrong,
    }
    found = [f"{len(names)} {problem} ({first_few(names)})" for problem, names in problems.items() if names]
    if found:
        raise WeightsError(f"{loaded.record.name} does not fit {type(model).__name__}: {'; '.join(found)}")
    model.load_state_dict(given, strict=False)
    return replace(
        loaded.record,
        matched=len(given),
        not_matched=tuple(name for name in state if name.startswith(HEAD)),
        dropped=tuple(name for name in loaded.tensors if name.startswith(HEAD)),
    )


def backbone_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a file of weights holds of `model`: everything but its head and batch norm's step counters."""
    state = model.state_dict()
    return {name: t for name, t in state.items() if not name.startswith(HEAD) and not name.endswith(COUNTER)}


def _bundled(requested: str) -> LoadedWeights:
    with resources.as_file(resources.files("maskbench") / "weights" / BUNDLED) as path:
        return _from_file(path, requested=requested, source="bundled")


def _fallback(requested: str, reason: str) -> LoadedWeights:
    """The bundled weights, with a notice that they are not ImageNet's."""
    loaded = _bundled(requested)
    top1 = "" if loaded.record.top1 is None else f", top-1 {loaded.record.top1:.1%} there"
    notice = (
        f"the ImageNet weights cannot be had ({reason}); the bundled ones are used instead: weaker, pretrained on "
        f"{loaded.record.pretraining}{top1}"
    )
    return replace(loaded, record=replace(loaded.record, notice=notice))


def _from_file(path: Path, *, requested: str, source: Literal["bundled", "file"]) -> LoadedWeights:
    tensors, metadata = read_weight_file(path)
    record = WeightsRecord(
        requested=requested,
        source=source,
        name=path.name,
        sha256=sha256_file(path),
        version=metadata.get("version", "unknown"),
        pretraining=metadata.get("pretraining", "unknown"),
        top1=_share(path, metadata),
        mean=_numbers(path, metadata, "mean"),
        std=_numbers(path, metadata, "std"),
    )
    return LoadedWeights(tensors, record)


def _numbers(path: Path, metadata: Mapping[str, str], key: str) -> tuple[float, ...]:
    """Comma-separated numbers of the metadata; empty where it has none."""
    text = metadata.get(key, "")
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise WeightsError(f"{path}: metadata {key}={text!r} is not a list of numbers") from error


def _share(path: Path, metadata: Mapping[str, str]) -> float | None:
    """Top-1 accuracy of the metadata; None where it has none."""
    values = _numbers(path, metadata, "top1")
    if not values:
        return None
    if len(values) > 1 or not 0 <= values[0] <= 1:
        raise WeightsError(f"{path}: metadata top1={metadata['top1']!r} is not a share in 0…1")
    return values[0]


def _cache_folder() -> Path:
    """Where torch keeps downloaded weights; moved by TORCH_HOME."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def cached_imagenet() -> tuple[Path, Literal["ok", "damaged", "absent"]]:
    """Where torchvision's ImageNet weights lie in torch's cache, and whether they are there and whole."""
    from torchvision.models import ResNet34_Weights

    path = _cache_folder() / ResNet34_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    if not path.is_file():
        return path, "absent"
    return path, "ok" if sha256_file(path).startswith(_hash_prefix(path.name)) else "damaged"


def _imagenet(requested: str, notify: Callable[[str], None] | None) -> LoadedWeights:
    """Torchvision's ImageNet-1k weights, from its cache or downloaded into it.

    Raises:
        _UnreachableError: not in the cache, or damaged there, and not to be downloaded.
    """
    from torchvision.models import ResNet34_Weights

    weights = ResNet34_Weights.IMAGENET1K_V1
    path = _cache_folder() / weights.url.rsplit("/", 1)[-1]
    try:
        if not path.is_file():
            _download(weights.url, path, notify)
        digest = sha256_file(path)
    except (OSError, http.client.HTTPException) as error:
        # Not str(error): for a file it holds the local path, and notices are saved with results.
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        tried = f"{path.name} is not in torch's cache, and {weights.url} could not be downloaded"
        raise _UnreachableError(f"{tried}: {reason}") from error
    if not digest.startswith(_hash_prefix(path.name)):
        raise _UnreachableError(f"{path.name} in torch's cache is damaged (SHA-256 {digest[:8]}…): delete it there")
    tensors, _ = read_weight_file(path)
    transforms = weights.transforms()
    record = WeightsRecord(
        requested=requested,
        source="imagenet",
        name=str(weights),
        sha256=digest,
        version=weights.name,
        pretraining="ImageNet-1k, 1.28 million images at 224 px",
        top1=round(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 6),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
    return LoadedWeights(tensors, record)


def _hash_prefix(name: str) -> str:
    """The first digits of the SHA-256 that published files carry in their name: `resnet34-b627a593.pth`."""
    found = re.search(r"-([0-9a-f]{8,})\.", name)
    if not found:
        raise WeightsError(f"{name}: no hash in its name to check it against")
    return found.group(1)


def _download(url: str, path: Path, notify: Callable[[str], None] | None) -> None:
    """Fetch `url` to `path`, whole and with the right hash, or not at all.

    Raises:
        OSError: no network, no answer, no room.
        http.client.HTTPException: the connection broke.
        _UnreachableError: what came is not the published file.
    """
    with urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS):
        pass
    if notify is not None:
        notify(f"downloading {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        with urlopen(url, timeout=STALL_SECONDS) as answer, temporary.open("wb") as file:
            shutil.copyfileobj(answer, file)
        digest = sha256_file(temporary)
        if not digest.startswith(_hash_prefix(path.name)):
            raise _UnreachableError(f"{url} gave another file than the published one (SHA-256 {digest[:8]}…)")
