"""Pretraining: a folder of labelled images in, a file of weights and its record out; all in files, all resumable."""

from __future__ import annotations

import shutil
import sys
import time
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
from maskbench.stages.context import check_devices
from maskbench.stages.groups import POLL, Group, Log, Place, end_with_parent, environment_of, epoch_of, free_port
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
    devices: int = 1,
) -> dict[str, Any]:
    """Pretrain a backbone, or go on where an interrupted pretraining stopped, and write its file of weights.

    Args:
        wish: data and files.
        recipe: how.
        notify: receives lines for the user.
        progress: given a title, returns a callback for (done, total); None hides progress.
        interactive: a person watches: show the training's bar.
        devices: GPUs that train it together; without a GPU, processes. Changes no result beyond rounding.

    Returns:
        The content of the JSON beside the file.

    Raises:
        ConfigError: the file's name has another suffix, or the devices are not there or cannot share a batch.
        LabelledError: the folder cannot be trained on; names folder or file.
        RunError: a pretraining with another recipe or other images lies there, or a file that is none of ours, or one
            of several processes failed.
    """
    from maskbench.stages.pretrain_files import release

    if wish.out.suffix != ".safetensors":
        raise ConfigError(f"--out {wish.out}: a file of weights ends with .safetensors")
    check_devices(devices, recipe.train, recipe.longest_size, "train")
    gathered = gather(wish.data, recipe, progress("decoding"))
    data = gathered.described
    _tell(gathered, notify)
    if wish.overwrite:
        _remove(wish)
    with locked(wish.folder, otherwise="--out"):
        commands = _claim(wish, recipe, data)
        if wish.out.is_file() and wish.record.is_file():
            found: dict[str, Any] = read_json(wish.record)
            if found["sha256"] == sha256_file(wish.out) and found["version"] == wish.release:
                notify(f"{wish.out}: finished already")
                return found
        done = wish.folder / FITTED
        fitted = read_json(done) if done.is_file() else None
        if fitted is None and devices > 1:
            fitted = fit_together(wish, recipe, devices, notify, progress("epochs"))
        elif fitted is None:
            fitted = fit_backbone(gathered.inputs, recipe, wish.folder, notify=notify, progress=interactive)
        facts = {"commands": commands, "recipe": recipe.model_dump(mode="json"), "data": data, "training": fitted}
        return release(wish, gathered.inputs, recipe, facts)


def fit_together(
    wish: Wish,
    recipe: PretrainConfig,
    devices: int,
    notify: Callable[[str], None],
    bar: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """Train in as many processes as there are devices, and pass on what the first says.

    Raises:
        RunError: one of them failed; what was done up to the last resume point is kept.
    """
    import torch

    request = wish.folder / "request.json"
    write_json(request, {"data": str(wish.data.resolve()), "folder": str(wish.folder.resolve()),
                         "recipe": recipe.model_dump(mode="json")})  # fmt: skip
    logs = [wish.folder / f"process-{number}.log" for number in range(devices)]
    log = Log(logs[0], " epoch ")
    environment = environment_of(max(1, torch.get_num_threads() // devices))
    command = [sys.executable, "-m", "maskbench.stages.pretrain", str(request)]
    group = Group(command, logs, Place(devices, port=free_port()), environment)
    try:
        code = None
        while code is None:
            time.sleep(POLL)
            code = group.poll()
            for line in log.news():
                notify(line)
                if bar:
                    bar(epoch_of(line) or 0, recipe.epochs)
    finally:
        group.kill()
    if code:
        raise RunError(f"pretraining failed ({group.reason()}); the same command goes on from its last resume point")
    fitted: dict[str, Any] = read_json(wish.folder / FITTED)
    return fitted


@dataclass(frozen=True, eq=False)
class Gathered:
    """A folder of labelled images, read.

    Attributes:
        inputs: what is trained with.
        described: the data as the record tells them: no path of this machine.
        root: the folder.
    """

    inputs: PretrainInputs
    described: dict[str, Any]
    root: Path


def gather(root: Path, recipe: PretrainConfig, bar: Callable[[int, int], None] | None = None) -> Gathered:
    """Read a folder's images, from the cache where they were decoded before.

    Args:
        root: folder of labelled images.
        recipe: sizes, validation share, seed.
        bar: called with images decoded and in all.

    Raises:
        LabelledError: the folder cannot be trained on; names folder or file.
    """
    images = read_labelled(root, validation_share=recipe.validation_share, seed=recipe.seed)
    native = native_side(images)
    sides = {stored_side(phase.size, native) for phase in recipe.sizes}
    store = stored_images(cache_folder() / "images", images, sides, max_pixels=recipe.max_pixels, progress=bar)
    kept = images.without(frozenset(store.problems))
    inputs = PretrainInputs(StoredImages(store.by_side), _split(images, kept), images.classes, native, versions())
    return Gathered(inputs, _describe(images, store, kept, native), images.root)


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


def _tell(gathered: Gathered, notify: Callable[[str], None]) -> None:
    data, problems = gathered.described, gathered.described["unreadable"]
    notify(
        f"{data['folder']} ({data['layout']}): {data['classes']} classes, {data['train_images']} training and "
        f"{data['val_images']} validation images of {data['native_px']} px"
    )
    for file, problem in list(problems.items())[:_NAMED]:
        notify(f"left out: {gathered.root / file}: {problem}")
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


def _main(request: dict[str, Any]) -> None:
    """Train as one of the processes that the environment tells of; the first speaks for all."""
    from maskbench.training.processes import Processes

    end_with_parent()
    processes, recipe = Processes.from_environment(), PretrainConfig.model_validate(request["recipe"])
    inputs = gather(Path(request["data"]), recipe).inputs

    def say(line: str) -> None:
        if processes.first:
            print(line, flush=True)

    fit_backbone(inputs, recipe, Path(request["folder"]), notify=say, processes=processes)


if __name__ == "__main__":
    _main(read_json(Path(sys.argv[1])))
