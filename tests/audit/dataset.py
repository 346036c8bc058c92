"""A small dataset whose faults tests choose."""

import numpy as np
from PIL import Image

from maskbench.audit.checks import CHECKS
from maskbench.audit.scan import scan_dataset
from maskbench.config import AuditConfig

CONFIG = AuditConfig(max_pixels=1_000_000)
WIDTH, HEIGHT = 64, 48


def picture(seed, mode="RGB", size=(WIDTH, HEIGHT)):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def face(label="a", box=(4, 4, 24, 24)):
    fields = "".join(
        f"<{name}>{value}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{label}</name><bndbox>{fields}</bndbox></object>"


class Dataset:
    """A dataset in a temporary folder, sound unless told otherwise: 3 photographs of each of 2 classes."""

    def __init__(self, root, sound=True):
        self.root = root
        for name in ("images", "annotations"):
            (root / name).mkdir()
        if sound:
            for index in range(6):
                self.add(f"sound{index}", picture(100 + index), face("ab"[index % 2]))

    def add(self, stem, image, *faces, suffix=".png", size=(WIDTH, HEIGHT), filename=None, extra=""):
        if image is not None:
            self.image(stem + suffix, image)
        name = stem + suffix if filename is None else filename
        self.annotation(
            stem,
            f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            f"{''.join(faces)}{extra}</annotation>",
        )

    def image(self, name, content):
        path = self.root / "images" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, "PNG")

    def annotation(self, stem, text):
        (self.root / "annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")

    def scan(self, label_map=None, classes=(), config=CONFIG, **options):
        return scan_dataset(self.root, config, label_map or {}, classes, **options)


def found(result, check):
    """Rows of one check as (file, detail)."""
    rows = result.findings[result.findings["check"] == check]
    assert set(rows["severity"]) <= {CHECKS[check].severity}
    return list(zip(rows["file"], rows["detail"], strict=True))


def files_of(result, check):
    return [file for file, _ in found(result, check)]
