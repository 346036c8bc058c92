"""Detect faces in any photographs, videos or a camera's pictures: annotated pictures, COCO's JSON, a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskbench.config import ConfigError
from maskbench.data.images import ImageError
from maskbench.inference.detections import Detections
from maskbench.inference.predictor import Predictor, as_rgb
from maskbench.rundir import RunDir
from maskbench.stages.detect_inputs import VIDEOS, Inputs
from maskbench.storage import atomic_path, read_yaml, write_json
from maskbench.training.checkpoint import BEST

Notify = Callable[[str], None]
#: Called with what is done and in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wish:
    """What is to be written.

    Attributes:
        out: folder of all files.
        pictures: annotated pictures, or a video.
        json: `detections.json` in COCO's format.
        frames: of a camera, or at most of a video; 0: all of a video, of a camera until Ctrl-C.
    """

    out: Path
    pictures: bool = True
    json: bool = False
    frames: int = 0


@dataclass
class Outcome:
    """What was found in all inputs.

    Attributes:
        tables: a part per photograph or frame.
        images: COCO's entries of photographs.
        annotations: COCO's entries of faces.
        problems: a line per input that could not be used.
    """

    tables: list[pd.DataFrame] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, found: Detections) -> None:
        """Take in the faces of one photograph."""
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": name, "width": found.width, "height": found.height})
        for entry in found.to_coco(number):
            *_, width, height = entry["bbox"]
            facts = {"id": len(self.annotations) + 1, "area": width * height, "iscrowd": 0}
            self.annotations.append(facts | entry)
        self.tables.append(found.to_table(name))


def find_detector(path: Path) -> Path:
    """A checkpoint, or of a run's folder the best detector: that of its last arm's first run.

    Raises:
        ConfigError: neither is there.
    """
    if path.is_file():
        return path
    config = RunDir(path, path).config_file
    if not config.is_file():
        raise ConfigError(f"{path}: neither a checkpoint (.safetensors) nor the folder of a run (results/NAME)")
    arm = read_yaml(config)["arms"][-1]["name"]
    found = sorted(path.glob(f"detect-train/{arm}/seed*/{BEST}"), key=lambda file: int(file.parent.name[4:]))
    if not found:
        raise ConfigError(f"{path}: no trained detector of {arm}; run maskbench detect-train first")
    return found[0]


def detect_files(
    predictor: Predictor,
    inputs: Inputs,
    wish: Wish,
    notify: Notify,
    *,
    batch: int = 8,
    progress: Callable[[str], Progress | None] = lambda title: None,
) -> Outcome:
    """Detect in photographs and videos; what cannot be read is told, and the rest goes on.

    Args:
        predictor: that finds faces.
        inputs: photographs, and videos by their extension.
        wish: what is to be written.
        notify: receives a line per problem and video.
        batch: photographs, or frames of a video, looked at together.
        progress: given a title, returns a callback for photographs, or frames of a video, done and in all; None hides
            progress.

    Returns:
        What was found; `detections.csv`, the pictures and, if wished, `detections.json` lie in `wish.out`.
    """
    wish.out.mkdir(parents=True, exist_ok=True)
    outcome, stems = Outcome(problems=list(inputs.problems)), inputs.stems()
    for problem in inputs.problems:
        notify(f"error: {problem}")
    photographs = [path for path in inputs.titles if path.suffix.lower() not in VIDEOS]
    show, done = progress("photographs"), 0
    for start in range(0, len(photographs), batch):
        part = {path: inputs.titles[path] for path in photographs[start : start + batch]}
        done += _photographs(predictor, part, stems, wish, outcome, notify)
        if show:
            show(done, len(photographs))
    for path, title in inputs.titles.items():
        if path.suffix.lower() in VIDEOS:
            show = progress(f"frames of {path.name}")
            _video(predictor, path, title, stems[path], wish, outcome, notify, show, batch)
    write_outcome(outcome, predictor.classes, wish)
    return outcome


def write_outcome(outcome: Outcome, classes: Sequence[str], wish: Wish) -> None:
    """The table, and COCO's JSON if it is wished for."""
    columns = ["image", "label", "score", "xmin", "ymin", "xmax", "ymax"]
    table = pd.concat(outcome.tables, ignore_index=True) if outcome.tables else pd.DataFrame(columns=columns)
    with atomic_path(wish.out / "detections.csv") as temporary:
        table.to_csv(temporary, index=False)
    if wish.json:
        write_json(wish.out / "detections.json", as_coco(outcome, classes))


def as_coco(outcome: Outcome, classes: Sequence[str]) -> dict[str, Any]:
    """All faces in COCO's format; categories count from 1 in class order."""
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": outcome.images, "annotations": outcome.annotations, "categories": categories}


def detect_camera(predictor: Predictor, number: int, wish: Wish) -> Outcome:
    """Detect in a camera's pictures until Ctrl-C, or as many as are wished for.

    Raises:
        ConfigError: it cannot be opened.
    """
    wish.out.mkdir(parents=True, exist_ok=True)
    outcome, name = Outcome(), f"camera-{number}"
    watch(predictor, frames_of(number), name, name, wish, outcome)
    write_outcome(outcome, predictor.classes, wish)
    return outcome


def _photographs(
    predictor: Predictor, titles: dict[Path, str], stems: dict[Path, str], wish: Wish, outcome: Outcome, notify: Notify
) -> int:
    """One batch; returns how many files it had."""
    read: list[tuple[Path, NDArray[np.uint8]]] = []
    for path in titles:
        try:
            read.append((path, as_rgb(path)))
        except (ImageError, OSError) as error:
            outcome.problems.append(str(error))
            notify(f"error: {error}")
    for (path, pixels), found in zip(read, predictor.many([pixels for _, pixels in read], max(1, len(read))),
                                     strict=True):  # fmt: skip
        outcome.add(titles[path], found)
        if wish.pictures:
            # Never the name of a photograph: --out may be the folder they lie in.
            with atomic_path(wish.out / f"{stems[path]}.detected.png") as temporary:
                found.plot(pixels).save(temporary, format="PNG")
    return len(titles)


def frames_of(source: str | int) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Pictures (H, W, 3) RGB of a video file or camera, with the frames per second it names (0: unknown).

    Raises:
        ConfigError: it cannot be opened.
    """
    import cv2

    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            raise ConfigError(f"{source}: not a video or camera that can be opened")
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield np.ascontiguousarray(frame[:, :, ::-1]), rate
    finally:
        capture.release()


def _frame_count(path: Path) -> int:
    """How many frames a video says it has; 0: it does not say."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return max(count, 0)


def _video(
    predictor: Predictor,
    path: Path,
    title: str,
    stem: str,
    wish: Wish,
    outcome: Outcome,
    notify: Notify,
    progress: Progress | None,
    batch: int,
) -> None:
    total = _frame_count(path)
    total = min(total, wish.frames) if wish.frames else total

    def counted() -> Iterator[tuple[NDArray[np.uint8], float]]:
        for done, frame in enumerate(frames_of(str(path)), start=1):
            yield frame
            if progress and total:
                progress(min(done, total), total)

    try:
        count = watch(predictor, counted(), title, stem, wish, outcome, batch)
    except ConfigError as error:
        outcome.problems.append(str(error))
        notify(f"error: {error}")
        return
    if not count:
        outcome.problems.append(f"{title}: no frame could be read")
        notify(f"error: {title}: no frame could be read")
    else:
        notify(f"{title}: {count} frames")


def watch(
    predictor: Predictor,
    frames: Iterable[tuple[NDArray[np.uint8], float]],
    title: str,
    name: str,
    wish: Wish,
    outcome: Outcome,
    batch: int = 1,
) -> int:
    """Detect in frames as they come; returns how many there were.

    Args:
        predictor: that finds faces.
        frames: pictures and frames per second.
        title: what tables call the source; frames are `TITLE#000001` and so on.
        name: stem of the annotated video `NAME.detected.mp4`.
        wish: what is to be written.
        outcome: takes in what is found.
        batch: frames looked at together; those of a camera should not wait for others.
    """
    import cv2

    count, writer = 0, None
    target = wish.out / f"{name}.detected.mp4"
    part_file = target.with_name(f".{target.name}.part.mp4")
    try:
        source = islice(frames, wish.frames or None)
        while part := list(islice(source, batch)):
            for (pixels, rate), found in zip(part, predictor.many([frame for frame, _ in part], batch), strict=True):
                count += 1
                outcome.add(f"{title}#{count:06d}", found)
                if not wish.pictures:
                    continue
                drawn = np.asarray(found.plot(pixels))[:, :, ::-1]
                if writer is None:
                    size = (drawn.shape[1] // 2 * 2, drawn.shape[0] // 2 * 2)
                    writer = cv2.VideoWriter(str(part_file), cv2.VideoWriter.fourcc(*"mp4v"), rate or 10.0, size)
                writer.write(np.ascontiguousarray(drawn[: size[1], : size[0]]))
    except KeyboardInterrupt:
        pass  # how a camera is stopped; what was seen so far is kept
    finally:
        if writer is not None:
            writer.release()
            part_file.replace(target)
    return count
