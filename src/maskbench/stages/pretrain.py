"""Pretraining: a folder of labelled images in, a file of weights and its record out; all in files, all resumable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.config import ConfigError
from maskbench.config.pretraining import PretrainConfig
from maskbench.data.image_store import ImageStore, StoredImages, native_side, stored_images, stored_side
from maskbench.data.labelled import LabelledImages, read_labelled
from maskbench.rundir import RunError, cache_folder, command_line, differences, locked, versions
from maskbench.storage import read_json, sha256_file, write_json
from maskbench.training.fit_pretraining import FITTED, PretrainInputs, fit_backbone

#: What a folder of a pretraining was begun with.
BEGUN = "begun.json"
#: Broken images that are named on the screen; the JSON names all.
_NAMED = 5


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        data: folder of labelled images.
        out: file of weights, `….safetensors`; the record lies beside it as `….json`, the training's files in
            `….training/`.
        release: version of the weights, kept in the file.
        overwrite: delete an earlier pretraining of this name and begin again.
    """

    data: Path
    out: Path
    release: str
    overwrite: bool = False

    @property
    def record(self) -> Path:
        """The JSON beside the file."""
        return self.out.with_suffix(".json")

    @property
    def folder(self) -> Path:
        """Where the training's files lie."""
        return self.out.with_suffix(".training")


def pretrain(
    wish: Wish,
    recipe: PretrainConfig,
    *,
    notify: Callable[[str], None],
    progress: Callable[[str], Callable[[int, int], None] | None],
    interactive: bool = False,
) -> dict[str, Any]:
    """Pretrain a backbone, or go on where an interrupted pretraining stopped, and write its file of weights.

    Args:
        wish: data and files.
        recipe: how.
        notify: receives lines for the user.
        progress: given a title, returns a callback for (done, total); None hides progress.
        interactive: a person watches: show the training's bar.

    Returns:
        The content of the JSON beside the file.

    Raises:
        ConfigError: the file's name has another suffix.
        LabelledError: the folder cannot be trained on; names folder or file.
        RunError: a pretraining with another recipe or other images lies there, or a file that is none of ours.
    """
    from maskbench.stages.pretrain_files import release

    if wish.out.suffix != ".safetensors":
        raise ConfigError(f"--out {wish.out}: a file of weights ends with .safetensors")
    images = read_labelled(wish.data, validation_share=recipe.validation_share, seed=recipe.seed)
    native = native_side(images)
    sides = {stored_side(phase.size, native) for phase in recipe.sizes}
    store = stored_images(
        cache_folder() / "images", images, sides, max_pixels=recipe.max_pixels, progress=progress("decoding")
    )
    kept = images.without(frozenset(store.problems))
    data = _describe(images, store, kept, native)
    _tell(images, data, store.problems, notify)
    if wish.overwrite:
        _remove(wish)
    with locked(wish.folder, otherwise="--out"):
        commands = _claim(wish, recipe, data)
        if wish.out.is_file() and wish.record.is_file():
            found: dict[str, Any] = read_json(wish.record)
            if found["sha256"] == sha256_file(wish.out) and found["version"] == wish.release:
                notify(f"{wish.out}: finished already")
                return found
        inputs = PretrainInputs(
            StoredImages(store.by_side), _split(images, kept), images.classes, native, versions()
        )  # fmt: skip
        done = wish.folder / FITTED
        fitted = read_json(done) if done.is_file() else None
        if fitted is None:
            fitted = fit_backbone(inputs, recipe, wish.folder, notify=notify, progress=interactive)
        facts = {"commands": commands, "recipe": recipe.model_dump(mode="json"), "data": data, "training": fitted}
        return release(wish, inputs, recipe, facts)


def _split(images: LabelledImages, kept: NDArray[np.bool_]) -> pd.DataFrame:
    """Label and side of every image; no side for those that cannot be read."""
    names = np.asarray(images.classes, dtype=object)
    side = np.where(kept, np.where(images.validation, "val", "train"), "")
    return pd.DataFrame({"label": names[images.targets], "split": side})


def _describe(images: LabelledImages, store: ImageStore, kept: NDArray[np.bool_], native: int) -> dict[str, Any]:
    """The data, as the record tells them: no path of this machine."""
    return {
        "folder": images.root.resolve().name,
        "layout": images.layout,
        "fingerprint": store.fingerprint,
        "classes": len(images.classes),
        "train_images": int((kept & ~images.validation).sum()),
        "val_images": int((kept & images.validation).sum()),
        "native_px": native,
        "unreadable": store.problems,
    }


def _tell(
    images: LabelledImages, data: dict[str, Any], problems: dict[str, str], notify: Callable[[str], None]
) -> None:
    notify(
        f"{data['folder']} ({images.layout}): {data['classes']} classes, {data['train_images']} training and "
        f"{data['val_images']} validation images of {data['native_px']} px"
    )
    for file, problem in list(problems.items())[:_NAMED]:
        notify(f"left out: {images.root / file}: {problem}")
    if len(problems) > _NAMED:
        notify(f"left out: {len(problems) - _NAMED} more images that cannot be read")


def _claim(wish: Wish, recipe: PretrainConfig, data: dict[str, Any]) -> list[str]:
    """Note what the folder is begun with, or check that it is the same; the commands so far."""
    path, begun = wish.folder / BEGUN, {"recipe": recipe.model_dump(mode="json"), "data": data}
    commands = [command_line()]
    if path.is_file():
        saved = read_json(path)
        changed = differences({name: saved[name] for name in begun}, begun)
        if changed:
            raise RunError(
                f"{wish.folder} holds another pretraining ({'; '.join(changed[:5])}): choose another --out, "
                "or --overwrite to delete it and begin again"
            )
        commands = [*saved["commands"], *commands]
    elif wish.out.is_file():
        raise RunError(f"{wish.out}: exists already; choose another --out, or --overwrite")
    write_json(path, {**begun, "commands": commands})
    return commands


def _remove(wish: Wish) -> None:
    """Delete an earlier pretraining; a folder that is none stays."""
    if wish.folder.is_dir():
        if not (wish.folder / BEGUN).is_file() and any(path.name != ".lock" for path in wish.folder.iterdir()):
            raise RunError(f"{wish.folder}: not a pretraining's folder; nothing was deleted")
        with locked(wish.folder, otherwise="--out"):
            pass  # nobody works there
        shutil.rmtree(wish.folder)
    for path in (wish.out, wish.record):
        path.unlink(missing_ok=True)
