"""Where the photographs come from: a folder, the public dataset, or the built-in sample.

All three end as a folder that holds `images` and `annotations`. Downloads and drawn samples are kept
and reused; a folder that the user gives is only read.
"""

from __future__ import annotations

import shutil
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock

from maskbench.config import ConfigError
from maskbench.storage import content_key

if TYPE_CHECKING:
    from maskbench.data.sample import SampleParams

#: The version is pinned: the same dataset for everyone, and no request when it is cached.
KAGGLE_HANDLE = "andrewmvd/face-mask-detection/versions/1"
KAGGLE_PAGE = "https://www.kaggle.com/datasets/andrewmvd/face-mask-detection"
#: Seconds to wait for a sign of the network. Without it, kagglehub's own retries take minutes.
PROBE_SECONDS = 5.0

FOLDERS = ("images", "annotations")
_KEY_LENGTH = 16


class DatasetError(ValueError):
    """There is no usable dataset where one was asked for; the message says what to do, in one line."""


def locate_dataset(
    source: str, *, sample_params: Mapping[str, Any], cache: Path, notify: Callable[[str], None]
) -> Path:
    """The folder of a dataset; downloads or draws it when it is not there yet.

    Args:
        source: `kaggle`, `sample`, or the path of a folder.
        sample_params: parameters of the sample.
        cache: where samples are kept.
        notify: told, in one line, about anything that takes time.

    Returns:
        A folder that holds `images` and `annotations`.

    Raises:
        DatasetError: it cannot be had.
        ConfigError: a parameter of the sample is unknown or out of range.
    """
    if source == "kaggle":
        return _kaggle(notify)
    if source == "sample":
        return _sample(sample_params, cache, notify)
    return dataset_folder(Path(source).expanduser())


def dataset_folder(folder: Path) -> Path:
    """`folder`, or its only subfolder (as archives often unpack), if that holds a dataset.

    Raises:
        DatasetError: there is no dataset; says what is missing.
    """
    try:
        if not folder.exists():
            raise DatasetError(f"{folder}: no such folder; data is `sample`, `kaggle` or a folder")
        if not folder.is_dir():
            raise DatasetError(f"{folder}: not a folder; unpack archives first")
        if _holds_dataset(folder):
            return folder
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
        if len(inside) == 1 and _holds_dataset(inside[0]):
            return inside[0]
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror})") from error
    missing = " and ".join(f"{name}/" for name in FOLDERS if not (folder / name).is_dir())
    raise DatasetError(f"{folder}: {missing} missing; a dataset folder holds images/ and annotations/")


def sample_params(values: Mapping[str, Any]) -> SampleParams:
    """Validated parameters of the sample.

    Raises:
        ConfigError: a parameter is unknown or out of range; names it.
    """
    from pydantic import ValidationError

    from maskbench.data.sample import SampleParams

    try:
        return SampleParams(**values)
    except ValidationError as error:
        details = []
        for item in error.errors():
            field = ".".join(str(part) for part in ("data", "sample", *item["loc"]))
            unknown = item["type"] == "extra_forbidden"
            details.append(f"{field}: " + ("no such field" if unknown else item["msg"].removeprefix("Value error, ")))
        raise ConfigError("; ".join(details)) from error


def _holds_dataset(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in FOLDERS)


def _sample(values: Mapping[str, Any], cache: Path, notify: Callable[[str], None]) -> Path:
    """The sample of these parameters, drawn once.

    A lock lets one process draw while others wait. The generator gives the folder its name when it is
    complete, so an interrupted drawing leaves nothing that looks like a dataset.
    """
    from maskbench.data.sample import GENERATOR_VERSION, generate_sample

    params = sample_params(values)
    key = content_key({"generator": GENERATOR_VERSION, "params": params.model_dump(mode="json")})[:_KEY_LENGTH]
    folder = cache / "samples" / f"sample-{key}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if _holds_dataset(folder):
                return folder
            notify(f"drawing the built-in sample ({params.images} photographs) into {folder}")
            if folder.exists():  # left by a person or a damaged disk, never by this function
                shutil.rmtree(folder)
            generate_sample(folder, params)
    except OSError as error:
        raise DatasetError(f"{folder}: the sample cannot be written ({error.strerror or error})") from error
    return folder


def cached_kaggle() -> Path | None:
    """The public dataset in kagglehub's cache; None: it is not there."""
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    cached = Cache().load_from_cache(parse_dataset_handle(KAGGLE_HANDLE))
    return None if cached is None else Path(cached)


def _kaggle(notify: Callable[[str], None]) -> Path:
    """The public dataset, from kagglehub's cache or the network."""
    instead = f"download it by hand from {KAGGLE_PAGE} and give the unpacked folder (--data PATH), or use --data sample"
    try:
        import kagglehub
        from kagglehub import exceptions
    except ImportError as error:
        raise DatasetError(f"kaggle: the package kagglehub cannot be imported ({error}); {instead}") from error

    cached = cached_kaggle()
    if cached is not None:
        return dataset_folder(cached)
    reason = _unreachable(KAGGLE_PAGE, PROBE_SECONDS)
    if reason is not None:
        raise DatasetError(f"kaggle: {KAGGLE_HANDLE} is not cached and the site is out of reach ({reason}); {instead}")
    notify(f"downloading {KAGGLE_HANDLE} (about 400 MB)")
    # OSError covers every error of requests; the rest is what kagglehub and its archives raise.
    failures = (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        exceptions.BackendError,
        exceptions.NotFoundError,
        exceptions.CredentialError,
        exceptions.UnauthenticatedError,
        exceptions.DataCorruptionError,
        exceptions.KaggleEnvironmentError,
    )
    try:
        downloaded = kagglehub.dataset_download(KAGGLE_HANDLE)
    except failures as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise DatasetError(f"kaggle: the download of {KAGGLE_HANDLE} failed ({said}); {instead}") from error
    return dataset_folder(Path(downloaded))


def _unreachable(url: str, seconds: float) -> str | None:
    """Why `url` cannot be reached within `seconds`, or None when something answers.

    Any answer counts, also an HTTP error. A thread bounds the whole: looking up a name has no time limit
    of its own. Proxies of the environment are honoured, as kagglehub does.
    """
    outcome: list[str | None] = []

    def probe() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=seconds):
                outcome.append(None)
        except HTTPError:
            outcome.append(None)
        except URLError as error:
            # A certificate that this probe cannot check was sent by somebody: kagglehub shall judge.
            reached = "CERTIFICATE" in str(error.reason)
            outcome.append(None if reached else " ".join(str(error.reason).split()))
        except (OSError, ValueError) as error:
            outcome.append(" ".join(str(error).split()) or type(error).__name__)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else f"no answer within {seconds:g} s"
