"""A run's folders: where a study keeps its files, and what it knows to be complete.

results/NAME/config.yaml           the configuration, complete; a folder never holds two
results/NAME/run.json              versions, commit, machine, commands
results/NAME/STAGE/…               a stage's tables, with manifest.json when complete
plots/NAME/…                       figures
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from maskbench.config import Config, ConfigError, make_config
from maskbench.storage import describe_files, files_match, read_json, read_yaml, write_json, write_yaml

MANIFEST = "manifest.json"
#: Files of the results that a stage is about to replace.
EARLIER = "earlier.json"
#: Packages whose versions decide what a run computes.
PACKAGES = ("maskbench", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "scipy", "scikit-learn",
            "pandas", "pillow", "matplotlib")  # fmt: skip


class RunError(ValueError):
    """A run cannot go on as asked; the message says why and what to do."""


def cache_folder() -> Path:
    """Where datasets and crops are kept between runs: `MASKBENCH_CACHE`, or the user's cache folder."""
    if chosen := os.environ.get("MASKBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskbench"


def versions() -> dict[str, str]:
    """Python's and the packages' versions."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit(folder: Path) -> str:
    """The commit of the source tree the code runs from (with `-dirty` if changed), or empty."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@dataclass(frozen=True)
class RunDir:
    """Paths of one run.

    Attributes:
        results: `results/NAME`.
        plots: `plots/NAME`.
    """

    results: Path
    plots: Path

    @classmethod
    def named(cls, name: str, base: Path) -> RunDir:
        """The folders of run `name` under `base`."""
        return cls(base / "results" / name, base / "plots" / name)

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.results / name

    @property
    def config_file(self) -> Path:
        """The saved configuration."""
        return self.results / "config.yaml"

    def saved_config(self) -> Config | None:
        """The configuration the folder holds, or None when the run is new."""
        if not self.config_file.is_file():
            return None
        values = read_yaml(self.config_file)
        if not isinstance(values, dict):
            raise RunError(f"{self.config_file}: not a configuration; choose another --name")
        try:
            return make_config(values.get("preset", ""), values)
        except ConfigError as error:
            raise RunError(f"{self.config_file}: not a configuration of this version ({error})") from error

    def claim(self, config: Config, used: Collection[str]) -> None:
        """Save the configuration in a run's folder, or check that the folder's results are of the same one.

        Args:
            config: the configuration to work under.
            used: sections that results in the folder depend on already; the others may still change.

        Raises:
            RunError: the folder's results are of another; the message names the fields that differ.
        """
        saved, wanted = self.saved_config(), config.model_dump(mode="json")
        before = {} if saved is None else saved.model_dump(mode="json")
        changed = differences(
            {name: value for name, value in before.items() if name in used},
            {name: value for name, value in wanted.items() if name in used and name in before},
        )
        if changed:
            raise RunError(
                f"{self.results} holds a run with another configuration ({'; '.join(changed[:5])}): "
                "choose another --name, or --overwrite to delete it and start again"
            )
        if before != wanted:
            write_yaml(self.config_file, wanted)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the run's folder.

        Raises:
            RunError: one is at work there.
        """
        with locked(self.results, otherwise="--name"):
            yield

    def is_complete(self, stage: str, key: str) -> bool:
        """Whether a stage was completed under `key` and its files are as it left them."""
        manifest = self.manifest(stage)
        return (
            bool(manifest)
            and manifest["key"] == key
            and files_match(self.results, manifest["outputs"])
            and files_match(self.plots, manifest["figures"])
        )

    def manifest(self, stage: str) -> dict[str, Any]:
        """A stage's manifest; empty when it is not complete."""
        path = self.stage(stage) / MANIFEST
        found: dict[str, Any] = read_json(path) if path.is_file() else {}
        return found

    def reopen(self, stage: str) -> None:
        """A stage is about to run again: until it is complete it counts as not run.

        Files of its earlier results stay, since some are work to go on from; `complete` removes those not made again.
        """
        path, earlier = self.stage(stage) / MANIFEST, self.stage(stage) / EARLIER
        if not path.is_file():
            return
        found = read_json(path)
        before = read_json(earlier) if earlier.is_file() else {"outputs": [], "figures": []}
        write_json(earlier, {name: sorted({*before[name], *found[name]}) for name in before})
        path.unlink()

    def complete(self, stage: str, key: str, outputs: list[Path], seconds: float, outside: str = "") -> None:
        """Write a stage's manifest: from now on it counts as complete.

        Args:
            stage: its name.
            key: what the result depends on.
            outputs: the files it left, in results or plots.
            seconds: it took.
            outside: state of the files outside the run that it read.
        """
        drawn = [path for path in outputs if path.is_relative_to(self.plots)]
        kept = [path for path in outputs if path not in drawn]
        self._remove_earlier(stage, outputs)
        write_json(
            self.stage(stage) / MANIFEST,
            {
                "stage": stage,
                "key": key,
                "outside": outside,
                "seconds": round(seconds, 3),
                "versions": versions(),
                "git_commit": git_commit(Path(__file__).parent),
                "outputs": describe_files(self.results, [path.relative_to(self.results).as_posix() for path in kept]),
                "figures": describe_files(self.plots, [path.relative_to(self.plots).as_posix() for path in drawn]),
            },
        )

    def _remove_earlier(self, stage: str, outputs: list[Path]) -> None:
        """Remove what an earlier run of the stage left and this one did not: it would pass for a result of this one."""
        earlier = self.stage(stage) / EARLIER
        if not earlier.is_file():
            return
        found = read_json(earlier)
        old = [self.results / name for name in found["outputs"]] + [self.plots / name for name in found["figures"]]
        for path in set(old) - set(outputs):
            path.unlink(missing_ok=True)
        earlier.unlink()

    def record_command(self, command: str, device: str) -> None:
        """Note in run.json who ran what, where and with which versions.

        Args:
            command: as typed.
            device: that trains; empty for a command that does not train.
        """
        path = self.results / "run.json"
        previous = read_json(path) if path.is_file() else {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = {
            "name": self.results.name,
            "started": previous.get("started", now),
            "last_command_at": now,
            "commands": [*previous.get("commands", []), command][-50:],
            "git_commit": git_commit(Path(__file__).parent),
            "versions": versions(),
            "machine": {
                "system": f"{platform.system()} {platform.machine()}",
                "cores": os.cpu_count() or 0,
                "device": device or (previous.get("machine") or {}).get("device", ""),
            },
        }
        write_json(path, record)


@contextmanager
def locked(folder: Path, *, otherwise: str) -> Iterator[None]:
    """Keep other processes out of a folder, which is made when missing.

    Args:
        folder: to work in.
        otherwise: the option that chooses another one.

    Raises:
        RunError: one is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"{folder}: another process is working there; wait for it or use {otherwise}") from None
    try:
        yield
    finally:
        lock.release()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """Fields in which two configurations differ, as `section.field: old there, new here`.

    Example:
        >>> differences({"train": {"epochs": 5}}, {"train": {"epochs": 9}})
        ['train.epochs: 5 there, 9 here']
    """
    found: list[str] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{where}{key}.")
        elif before != after:
            found.append(f"{where}{key}: {before!r} there, {after!r} here")
    return found


def command_line() -> str:
    """The command that runs, as a person would type it."""
    return " ".join(["maskbench", *sys.argv[1:]])
