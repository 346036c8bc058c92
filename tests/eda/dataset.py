"""A made dataset: images and faces tables with three classes of different sizes."""

import numpy as np
import pandas as pd

CLASSES = ["mask_worn_incorrectly", "bare", "with mask"]


def dataset(photographs: int = 60, most: int = 6, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of the audit with 1…`most` faces in each photograph."""
    rng = np.random.default_rng(seed)
    width, height = rng.choice([200, 300, 400], photographs), rng.choice([200, 260], photographs)
    counts = rng.integers(1, most + 1, photographs)
    image_ids = [f"p{index:04d}" for index in range(photographs)]
    images = pd.DataFrame(
        {
            "image_id": image_ids,
            "file": [f"images/{name}.png" for name in image_ids],
            "sha256": ["0" * 64] * photographs,
            "bytes": rng.integers(1000, 9000, photographs),
            "format": "PNG",
            "mode": rng.choice(["RGB", "RGBA"], photographs),
            "bit_depth": 8,
            "transparent_share": 0.0,
            "width": width,
            "height": height,
            "aspect": width / height,
            "brightness": rng.uniform(20, 230, photographs),
            "contrast": rng.uniform(10, 90, photographs),
            "saturation": rng.uniform(0, 120, photographs),
            "sharpness": rng.lognormal(6, 1, photographs),
            "phash": ["0" * 16] * photographs,
            "faces": counts,
        }
    )
    owner = np.repeat(np.arange(photographs), counts)
    n = len(owner)
    label = rng.choice(CLASSES, n, p=[0.1, 0.25, 0.65])
    side = np.minimum(rng.lognormal(3, 0.6, n) * np.where(label == "bare", 0.7, 1.0), 90)
    tall = side * rng.uniform(0.9, 1.4, n)
    left, top = rng.uniform(0, 1, n) * (width[owner] - side), rng.uniform(0, 0.7, n) * (height[owner] - tall)
    faces = pd.DataFrame(
        {
            "face_id": [f"{image_ids[index]}#{number:04d}" for number, index in enumerate(owner)],
            "image_id": [image_ids[index] for index in owner],
            "label": label,
            "source_label": label,
            "xmin": left,
            "ymin": top,
            "xmax": left + side,
            "ymax": top + tall,
            "image_width": width[owner],
            "image_height": height[owner],
            "clipped": False,
            "pose": "",
            "truncated": False,
            "occluded": False,
            "difficult": False,
        }
    )
    return images, faces
