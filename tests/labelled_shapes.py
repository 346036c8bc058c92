"""A folder of drawn shapes, each class a shape on a random background: what a pretraining can learn in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("bar", "disc", "ring")
Layout = Literal["imagenet", "tiny", "plain"]


def draw(name: str, rng: np.random.Generator, side: int = 24) -> Image.Image:
    """One picture: a bright shape of random place and colour on dark noise."""
    image = Image.fromarray(rng.integers(0, 70, (side, side, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in rng.integers(130, 256, 3))
    x, y = (int(value) for value in rng.integers(2, side // 4, 2))
    box = (x, y, x + side // 2, y + side // 2)
    if name == "bar":
        pen.rectangle((x, y, x + side // 2, y + side // 8), fill=colour)
    elif name == "disc":
        pen.ellipse(box, fill=colour)
    else:
        pen.ellipse(box, outline=colour, width=2)
    return image


def make_shapes(root: Path, layout: Layout = "imagenet", train: int = 16, val: int = 8, seed: int = 0) -> Path:
    """Draw the folder; equal arguments, equal pictures."""
    rng = np.random.default_rng(seed)
    lines = []
    for name in CLASSES:
        for number in range(train):
            inside = {"imagenet": f"train/{name}", "tiny": f"train/{name}/images", "plain": name}[layout]
            _save(root / inside / f"{name}_{number}.png", draw(name, rng))
        for number in range(0 if layout == "plain" else val):
            file = f"val_{name}_{number}.png"
            _save(root / "val" / ("images" if layout == "tiny" else name) / file, draw(name, rng))
            lines.append(f"{file}\t{name}\t0\t0\t23\t23\n")
    if layout == "tiny":
        (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
