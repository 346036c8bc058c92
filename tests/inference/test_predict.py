"""A model and faces in, one row per face out."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from maskbench import schemas
from maskbench.config import TrainConfig
from maskbench.data.datamodule import FaceDataModule
from maskbench.data.transforms import Preprocess
from maskbench.inference.predict import Logits, predict_logits, prediction_table
from maskbench.models.execution import resolve_execution
from tests.conftest import faces_table

CLASSES = ("a/b", "c = [d]", "é")
PREPROCESS = Preprocess(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
EXECUTION = resolve_execution(TrainConfig(precision="fp32", device="cpu"), 4)


class LeftHalf(nn.Module):
    """Logits that are multiples of the mean of the view's left half: a mirror image has others."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        left = images[..., :2].mean(dim=(1, 2, 3))
        return torch.stack([left, 2 * left, 3 * left], dim=1)


def dataset() -> tuple[pd.DataFrame, pd.DataFrame]:
    faces = faces_table([CLASSES[i % 3] for i in range(9)], [f"p{i // 2}" for i in range(9)])
    images = pd.DataFrame({"image_id": sorted(set(faces["image_id"]))})
    images = images.assign(brightness=np.arange(5.0), contrast=2.0, sharpness=3.0)
    return faces, images


def batches(faces: pd.DataFrame) -> FaceDataModule:
    canvases = torch.zeros(9, 3, 4, 4, dtype=torch.uint8)
    canvases[..., :2] = (torch.arange(9, dtype=torch.uint8) * 10).view(9, 1, 1, 1)
    canvases[..., 2:] = 200
    split = pd.DataFrame({"label": faces["label"], "split": ["test", "train", "val"] * 3})
    return FaceDataModule(canvases, split, CLASSES, seed=0, batch_size=2, eval_batch_size=2)


def test_logits_come_with_their_faces_and_labels() -> None:
    data = batches(dataset()[0])
    found = predict_logits(LeftHalf(), data.ordered_dataloader("test"), PREPROCESS, EXECUTION, flip_average=False)
    assert found.rows.tolist() == [0, 3, 6] and found.targets.tolist() == [0, 0, 0]
    # left halves are 0, 30 and 60 of 255; the logits 1, 2 and 3 times that
    np.testing.assert_allclose(found.logits, np.outer([0, 30 / 255, 60 / 255], [1, 2, 3]), rtol=1e-6)


def test_mirror_averaging_is_the_mean_of_both_views() -> None:
    data = batches(dataset()[0])
    found = predict_logits(LeftHalf(), data.ordered_dataloader("test"), PREPROCESS, EXECUTION, flip_average=True)
    # the mirror image's left half is 200 of 255 for every face
    expected = (np.array([0, 30, 60]) + 200) / 2 / 255
    np.testing.assert_allclose(found.logits[:, 0], expected, rtol=1e-6)


def test_rows_carry_probabilities_loss_and_properties_under_any_class_names() -> None:
    faces, images = dataset()
    logits = np.array([[0.0, np.log(2), 0.0], [0.0, 0.0, np.log(6)]], dtype=np.float32)
    found = Logits(logits, np.array([1, 0]), np.array([4, 6]))
    table = prediction_table(found, faces, images, CLASSES, arm="m", seed=3, split="test")
    schemas.validate(table, schemas.PREDICTIONS)
    assert table["face_id"].tolist() == faces["face_id"].iloc[[4, 6]].tolist()
    # softmax of (0, ln 2, 0) is (1, 2, 1) / 4; of (0, 0, ln 6) it is (1, 1, 6) / 8
    np.testing.assert_allclose(table["prob_c = [d]"], [0.5, 1 / 8], rtol=1e-6)
    np.testing.assert_allclose(table["loss"], [np.log(2), np.log(8)], rtol=1e-6)
    assert table["predicted"].tolist() == ["c = [d]", "é"] and table["correct"].tolist() == [True, False]
    assert table["image_brightness"].tolist() == [2.0, 3.0]  # of photographs p2 and p3
    assert table["box_width"].tolist() == [20.0, 20.0] and table["faces_in_image"].tolist() == [2, 2]


def test_labels_that_contradict_the_table_are_refused() -> None:
    faces, images = dataset()
    found = Logits(np.zeros((1, 3), dtype=np.float32), np.array([2]), np.array([0]))
    with pytest.raises(ValueError, match="labels of the faces table contradict"):
        prediction_table(found, faces, images, CLASSES, arm="m", seed=0, split="test")
