"""`maskbench doctor`: what this installation has, and what it lacks; nothing is downloaded or changed."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

import typer

from maskbench.cli_options import AsJson, Debug, examples
from maskbench.cli_output import is_watched, messages_to_stderr, print_json, progress, say

State = Literal["ok", "absent", "broken"]
#: Libraries whose binaries may not fit each other, or the machine, although their versions do.
_IMPORTED = ("numpy", "torch", "torchvision", "pandas", "pyarrow", "sklearn", "cv2")
#: Abilities of processors that networks are computed with.
_ARITHMETIC = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "neon", "sve", "bf16")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: `versions`, `extras`, `devices`, `weights`, `data` or `cache`.
        name: of the thing.
        state: `ok`; `absent`: not there, and nothing needs it; `broken`: maskbench needs it.
        detail: what was found, and what to do.
    """

    area: str
    name: str
    state: State
    detail: str


def register(app: typer.Typer) -> None:
    """Add `maskbench doctor`."""

    @app.command(epilog=examples("maskbench doctor", "maskbench doctor --json"))
    def doctor(as_json: AsJson = False, debug: Debug = False) -> int:
        """Say which versions, devices, weights and caches there are; exit code 1 when something needed is broken."""
        with messages_to_stderr(as_json):
            findings = examine(progress(is_watched())("looking"))
        broken = [finding for finding in findings if finding.state == "broken"]
        if as_json:
            print_json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
        else:
            say(_as_text(findings))
        return 1 if broken else 0


def examine(progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Look at everything.

    Args:
        progress: called with looks done and in all.
    """
    looks: list[tuple[str, str, Callable[[], list[Finding]]]] = [("versions", "packages", _versions)]
    looks += [("versions", f"import {name}", partial(_importable, name)) for name in _IMPORTED]
    looks += [("devices", "devices", devices), ("weights", "bundled", _bundled), ("weights", "imagenet", _imagenet),
              ("data", "kaggle", _datasets), ("cache", "folder", _cache)]  # fmt: skip
    found: list[Finding] = []
    for done, (area, name, look) in enumerate(looks, start=1):
        try:
            found += look()
        except Exception as error:  # a broken library may raise anything, and the rest is still to be told
            found.append(Finding(area, name, "broken", f"{_line(error)}; install it again"))
        if progress:
            progress(done, len(looks))
    return found


def _as_text(findings: list[Finding]) -> str:
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    for area in dict.fromkeys(finding.area for finding in findings):
        lines.append(area)
        lines += [
            f"  {finding.state:<7} {finding.name:<{width}}  {finding.detail}"
            for finding in findings
            if finding.area == area
        ]
    broken = [finding.name for finding in findings if finding.state == "broken"]
    return "\n".join([*lines, "", f"broken: {', '.join(broken)}" if broken else "nothing that is needed is broken"])


def _versions() -> list[Finding]:
    """Python, and every package that maskbench names, against the versions it names."""
    python = f"{platform.python_version()}, {sys.executable}, {platform.system()} {platform.machine()}"
    found = [Finding("versions", "python", "ok" if sys.version_info >= (3, 11) else "broken", python)]
    try:
        found.append(Finding("versions", "maskbench", "ok", metadata.version("maskbench")))
        named = metadata.requires("maskbench") or []
    except metadata.PackageNotFoundError:
        return [*found, Finding("versions", "maskbench", "broken", "not installed; pip install it")]
    needed = [text for text in named if "extra ==" not in text]
    found += [_requirement(text, needed=True) for text in needed]
    for extra in ("app", "export", "notebook", "ray"):
        marks = (f'extra == "{extra}"', f"extra == '{extra}'")
        found += [
            replace(_requirement(text, needed=False, hint=f"; pip install 'maskbench[{extra}]'"), area="extras")
            for text in named
            if text.endswith(marks)
        ]
    return found


def _requirement(text: str, *, needed: bool, hint: str = "") -> Finding:
    """What is installed of a requirement such as `torch>=2.11; extra == "x"`."""
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    lacking: State = "broken" if needed else "absent"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding("versions", requirement.name, lacking, f"not installed{hint}")
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding("versions", requirement.name, lacking, f"{version}, but {requirement.specifier} is needed{hint}")
    return Finding("versions", requirement.name, "ok", version)


def _importable(name: str) -> list[Finding]:
    """Nothing to say of a library that can be imported; raises what the import raises."""
    importlib.import_module(name)
    return []


def devices() -> list[Finding]:
    """Processors that networks can be computed on, and what a training takes."""
    import torch

    from maskbench.config import TrainConfig
    from maskbench.models.execution import has_fast_bf16, resolve_execution

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    known = torch.cpu.get_capabilities()
    able = [name for name in _ARITHMETIC if known.get(name)]
    bf16 = "fast" if has_fast_bf16("cpu") else "emulated, so float32 is used"
    found = [
        Finding("devices", "cpu", "ok", f"{_processor()}, {usable} of {os.cpu_count()} cores usable, "
                                        f"{torch.get_num_threads()} threads"),
        Finding("devices", "cpu arithmetic", "ok", f"bf16 {bf16}; {', '.join(able) or 'nothing beyond the basics'}"),
    ]  # fmt: skip
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        detail = f"{facts.name}, {facts.total_memory / 2**30:.1f} GiB, capability {facts.major}.{facts.minor}"
        found.append(Finding("devices", f"cuda:{index}", "ok", detail))
    if not torch.cuda.device_count():
        built = f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "PyTorch is built without"
        found.append(Finding("devices", "cuda", "absent", f"no device; {built}"))
    chosen = resolve_execution(TrainConfig(), 64)
    words = f"{chosen.device}, {chosen.precision}, {chosen.memory_format} (for faces of 64 px)"
    return [*found, Finding("devices", "a training takes", "ok", words)]


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file() and (named := re.search(r"^model name\s*:\s*(.+)$", listing.read_text(), re.MULTILINE)):
        return named.group(1)
    return platform.processor() or platform.machine()


def _imagenet() -> list[Finding]:
    from torchvision.models import ResNet34_Weights

    from maskbench.models.pretrained import cached_imagenet

    url = ResNet34_Weights.IMAGENET1K_V1.url
    path, state = cached_imagenet()
    found = {
        "ok": Finding("weights", "imagenet", "ok", f"in torch's cache, SHA-256 as published: {path}"),
        "damaged": Finding("weights", "imagenet", "broken", f"{path} is damaged: delete it"),
        "absent": Finding("weights", "imagenet", "absent", f"not in torch's cache; {url} is downloaded when asked for"),
    }
    return [found[state]]


def _bundled() -> list[Finding]:
    """The package's own weights: whole, fitting the model, and where the installation lists hashes, as installed."""
    from maskbench.models.pretrained import WeightsError, load_into, resolve_weights
    from maskbench.models.resnet34 import ResNet34

    again = "install maskbench again"
    try:
        record = load_into(ResNet34(3), resolve_weights("bundled"))
    except (WeightsError, OSError) as error:
        return [Finding("weights", "bundled", "broken", f"{_line(error)}; {again}")]
    listed, digest = _listed_sha256(record.name), record.sha256
    if listed is not None and listed != digest:
        altered = f"{record.name} was altered (SHA-256 {digest[:12]}…, installed {listed[:12]}…); {again}"
        return [Finding("weights", "bundled", "broken", altered)]
    known = "as installed" if listed else "a source tree lists no hash to hold it against"
    words = f"{record.name}, {record.matched} tensors fit, SHA-256 {digest[:12]}… ({known})"
    return [Finding("weights", "bundled", "ok", words)]


def _listed_sha256(name: str) -> str | None:
    """A file's hash as the installation lists it; None: it is not listed, as when run from a source tree."""
    import base64

    try:
        files = metadata.files("maskbench") or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name and file.hash is not None and file.hash.mode == "sha256":
            return base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4)).hex()
    return None


def _datasets() -> list[Finding]:
    from maskbench.data.sources import KAGGLE_HANDLE, cached_kaggle

    folder = cached_kaggle()
    if folder is None:
        detail = f"{KAGGLE_HANDLE} is not in kagglehub's cache; --data kaggle downloads it (about 400 MB)"
        return [Finding("data", "kaggle", "absent", detail)]
    return [Finding("data", "kaggle", "ok", str(folder))]


def _cache() -> list[Finding]:
    from maskbench.rundir import cache_folder

    folder = cache_folder()
    problem = _unwritable(folder)
    if problem:
        detail = f"{folder}: {problem}; set MASKBENCH_CACHE to a folder that can be written"
        return [Finding("cache", "folder", "broken", detail)]
    there = _nearest(folder)
    free = shutil.disk_usage(there).free
    found = [Finding("cache", "folder", "ok", f"{folder}, {_size(_bytes(folder))}; {_size(free)} free")]
    for name, what in (("samples", "drawn samples"), ("faces", "cut faces"), ("photographs", "decoded photographs")):
        inside = folder / name
        entries = [path for path in inside.iterdir() if path.suffix != ".lock"] if inside.is_dir() else []
        state: State = "ok" if entries else "absent"
        found.append(Finding("cache", name, state, f"{len(entries)} {what}, {_size(_bytes(inside))}"))
    return found


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _unwritable(folder: Path) -> str:
    """Why files cannot be kept in a folder; empty: they can."""
    there = _nearest(folder)
    if not there.is_dir():
        return f"{there} is a file"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} may not be written"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
