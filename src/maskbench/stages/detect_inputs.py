"""Which files a detector is to look at, and what their results are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskbench.config import ConfigError
from maskbench.data.images import SUFFIXES

PHOTOGRAPHS = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})


@dataclass(frozen=True)
class Inputs:
    """Files to look at.

    Attributes:
        titles: each file, in order, and what tables call it: its place in the folder that was named, or its name;
            the whole path where two would be called the same.
        problems: a line for each path that gives nothing.
    """

    titles: dict[Path, str]
    problems: tuple[str, ...] = ()

    def stems(self) -> dict[Path, str]:
        """What the pictures of each file are called: its stem, with a number where several have the same."""
        stems: dict[Path, str] = {}
        taken: set[str] = set()
        for path in self.titles:
            stem, number = path.stem, 1
            while stem.casefold() in taken:
                number += 1
                stem = f"{path.stem}-{number}"
            taken.add(stem.casefold())
            stems[path] = stem
        return stems


def find_inputs(paths: Sequence[Path], recursive: bool) -> Inputs:
    """Files that are named, and photographs and videos in folders that are named, each once.

    Args:
        paths: files and folders.
        recursive: look into folders of folders.

    Raises:
        ConfigError: no path gives anything; the message is the first one's.
    """
    titles: dict[Path, str] = {}
    problems = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob("*") if recursive else path.iterdir())
            found = [one for one in inside if one.suffix.lower() in PHOTOGRAPHS | VIDEOS and one.is_file()]
            titles |= {one: one.relative_to(path).as_posix() for one in found if one not in titles}
            if not found:
                problems.append(f"{path}: no photograph or video in it ({', '.join(sorted(PHOTOGRAPHS | VIDEOS))})")
        elif path.is_file():
            titles.setdefault(path, path.name)
        else:
            problems.append(f"{path}: no such file or folder")
    if not titles:
        raise ConfigError(problems[0] if problems else "name photographs, folders or videos")
    often = Counter(titles.values())
    return Inputs(
        {path: path.as_posix() if often[title] > 1 else title for path, title in titles.items()}, tuple(problems)
    )
