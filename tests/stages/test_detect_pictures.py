"""Which boxes count as badly placed."""

from __future__ import annotations

import pandas as pd

from maskbench.data.boxes import BOX_COLUMNS
from maskbench.stages.detect_pictures import worst_placed

NAN = float("nan")
NEIGHBOUR, OWN = (0.0, 0.0, 10.0, 10.0), (30.0, 30.0, 50.0, 50.0)
#: Face, photograph, found, IoU, box.
FACES = [
    ("neighbour", "p", True, 0.9, NEIGHBOUR),
    ("beside", "p", False, 0.4, NEIGHBOUR),  # its best box is the neighbour's
    ("same place", "q", False, 0.3, NEIGHBOUR),  # the same numbers in another photograph are another box
    ("grazed", "p", False, 0.05, OWN),
    ("touched", "q", False, 0.1, OWN),
    ("exact", "q", True, 0.51, (1.0, 2.0, 3.0, 4.0)),
    ("unseen", "q", False, NAN, (NAN, NAN, NAN, NAN)),
]


def found_faces() -> pd.DataFrame:
    rows = [
        {"face_id": name, "image_id": image, "found": found, "iou": iou, **dict(zip(BOX_COLUMNS, box, strict=True))}
        for name, image, found, iou, box in FACES
    ]
    return pd.DataFrame(rows)


def test_boxes_of_other_faces_and_boxes_that_graze_are_left_out() -> None:
    assert list(worst_placed(found_faces(), 10)["face_id"]) == ["touched", "same place", "exact", "neighbour"]
    assert list(worst_placed(found_faces(), 2)["face_id"]) == ["touched", "same place"]


def test_a_detector_that_finds_nothing_has_no_badly_placed_box() -> None:
    table = found_faces().assign(found=False, iou=NAN)
    assert worst_placed(table, 3).empty
