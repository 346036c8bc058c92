"""Atomic reading and writing: files appear whole or not at all.

Everything the study leaves on disk goes through this module. A file is written beside its
destination, flushed to the disk, and renamed over it, so a crash or a full disk leaves either the
previous file or the new one, never half of one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on error it is removed.

    Args:
        path: the destination; its parent folder is made when missing.

    Yields:
        A path in the same folder (same file system, so the rename is atomic), with the same suffix.

    Raises:
        OSError: the disk is full or the folder not writable; an existing `path` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as written:  # some systems flush only what may be written to
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_at_most(path: Path, limit: int) -> bytes:
    """The first `limit` + 1 bytes of a file at most, so that a longer one is noticed without being read.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, limit) + 1)  # memory for what there is: asking for `limit` would reserve that
        if size < len(content) <= limit:  # it grew, or its size is not known beforehand
            content += file.read(limit + 1 - len(content))
    return content


def umask() -> int:
    """The process's umask; `tempfile` ignores it and makes private files and folders."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN is refused (it is not JSON: write None and a reason)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def write_yaml(path: Path, value: Any) -> None:
    """Write `value` (dicts, lists, primitives) as YAML in the given key order."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


def read_yaml(path: Path) -> Any:
    """Read a YAML file with the safe loader.

    Raises:
        ValueError: the file cannot be read or is not YAML; the message names it and the line.
    """
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], ids: Sequence[str] = ()) -> None:
    """Write named arrays as one safetensors file.

    Args:
        path: `….safetensors`.
        arrays: any shapes and number types; made contiguous.
        ids: names of the arrays' first axis, kept with them.

    Raises:
        OSError: it cannot be written; an existing file survives.
    """
    import numpy as np
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(whole, temporary, metadata={"ids": json.dumps(list(ids), ensure_ascii=False)})


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Arrays and ids that `write_arrays` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged; names it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; run the stage that writes it first")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return arrays, tuple(json.loads(file.metadata()["ids"]))
    except SafetensorError as error:
        raise ValueError(f"{path}: not readable ({error})") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    facts = Path(path).stat()
    return _sha256(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)


@functools.lru_cache(maxsize=4096)
def _sha256(path: str, size: int, mtime_ns: int, inode: int) -> str:
    """The hash, computed once a process for a file that stays as it is (checkpoints are asked for often)."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(value: Any) -> str:
    """SHA-256 of `value`'s canonical JSON: equal values have equal keys, on any machine.

    Args:
        value: dicts, lists, strings, numbers, booleans, None.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> content_key({"b": 1, "a": 2}) == content_key({"a": 2, "b": 1})
        True
    """
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """The bytes that `content_key` hashes: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def describe_files(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of files below `folder`, keyed by their relative names."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)} for name in sorted(names)
    }


def files_match(folder: Path, described: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every described file is there, with the described size and hash."""
    return all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == facts["bytes"]
        and sha256_file(folder / name) == facts["sha256"]
        for name, facts in described.items()
    )
