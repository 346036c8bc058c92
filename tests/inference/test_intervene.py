"""A checkpoint on intervened faces: untouched as evaluated, changed ones predicted again, in one table."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from maskbench import schemas
from maskbench.config import TrainConfig
from maskbench.data.datamodule import FaceDataModule
from maskbench.data.faces import make_canvases
from maskbench.data.interventions import INTERVENTIONS, Intervention, NativeFace, context_margin
from maskbench.inference.intervene import intervened_table
from maskbench.inference.predict import predict_logits, prediction_table
from maskbench.models.execution import resolve_execution
from maskbench.models.registry import build_model
from maskbench.schemas.interventions import INTERVENED
from maskbench.training.checkpoint import execution_of, preprocess_of
from tests.conftest import faces_table
from tests.data.test_interventions import cut, photograph

CLASSES = ("a b", "0", "ñ")
MARGIN, SIZE, BATCH = 0.25, 32, 3


def study() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Faces of several sizes in one photograph, every second one tested."""
    rng = np.random.default_rng(2)
    sides = np.array([8.5, 14, 20, 26, 33.3, 40, 50, 61, 70, 90])
    corners = rng.uniform(0, 100, (10, 2)).round(1)
    faces = faces_table([CLASSES[i % 3] for i in range(10)], ["p"] * 10).assign(image_width=300, image_height=200)
    faces[["xmin", "ymin"]] = corners
    faces[["xmax", "ymax"]] = corners + sides[:, None]
    return faces, pd.DataFrame({"label": faces["label"], "split": ["train", "test"] * 5})


def record() -> dict[str, Any]:
    preprocess = {"input_size": SIZE, "margin": MARGIN, "mean": [0.5] * 3, "std": [0.25] * 3}
    execution = resolve_execution(TrainConfig(device="cpu", precision="fp32"), SIZE).to_dict()
    evaluate = {"batch_size": BATCH, "flip_average": True}
    return {"arm": "m", "seed": 4, "classes": list(CLASSES), "preprocess": preprocess, "execution": execution,
            "evaluate": evaluate}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """The study's network as it starts."""
    return build_model("manual", 3, seed=0, loaded=None)[0].eval()


def table(model: nn.Module, *interventions: Intervention, **options: Any) -> pd.DataFrame:
    faces, split = study()
    rows = np.flatnonzero(split["split"] == "test")
    crops = cut(photograph(), faces, context_margin(MARGIN))
    return intervened_table([(model, record())], crops, faces, rows, interventions, **options)


def test_untouched_faces_are_predicted_as_by_the_evaluation(model: nn.Module) -> None:
    faces, split = study()
    canvases = make_canvases(cut(photograph(), faces, MARGIN), faces, MARGIN, SIZE)
    data = FaceDataModule(canvases, split, CLASSES, seed=0, batch_size=2, eval_batch_size=BATCH)
    execution, preprocess = execution_of(record()), preprocess_of(record())
    execution.place(model)
    found = predict_logits(model, data.ordered_dataloader("test"), preprocess, execution, flip_average=True)
    images = pd.DataFrame({"image_id": ["p"], "brightness": [1.0], "contrast": [1.0], "sharpness": [1.0]})
    evaluated = prediction_table(found, faces, images, CLASSES, arm="m", seed=4, split="test")
    own = table(model)
    schemas.validate(own, INTERVENED)
    columns = ["arm", "seed", "face_id", "image_id", "label", "predicted", "correct", "loss"]
    pd.testing.assert_frame_equal(own[columns], evaluated[columns], check_exact=True)
    assert own["intervention"].unique().tolist() == ["none"] and not own["changed"].any()


def test_only_changed_faces_get_other_predictions(model: nn.Module) -> None:
    seen = []
    found = table(model, INTERVENTIONS["shrink"], INTERVENTIONS["scale_box"], progress=lambda *step: seen.append(step))
    schemas.validate(found, INTERVENED)
    assert len(found) == 5 * (1 + 9 + 8) and seen[-1] == (17, 17)
    untouched = found[found["intervention"] == "none"].set_index("face_id")["loss"]
    shrunk = found[(found["intervention"] == "shrink") & (found["level"] == 32)].set_index("face_id")
    # the test faces have sides of 14, 26, 40, 61 and 90 px
    assert shrunk["changed"].tolist() == [False, False, True, True, True]
    assert ((shrunk["loss"] != untouched) == shrunk["changed"]).all()
    assert ((shrunk["distortion"] > 0) == shrunk["changed"]).all()
    scaled = found[found["intervention"] == "scale_box"]
    assert scaled["changed"].all() and sorted(scaled["position"].unique()) == [-4, -3, -2, -1, 1, 2, 3, 4]
    assert scaled.loc[scaled["reference"], "level"].unique().tolist() == [1.2]


class Brightness(nn.Module):
    """Logits that follow the mean of what is seen."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([mean, -mean, 0 * mean], dim=1)


def test_a_new_intervention_is_one_entry() -> None:
    def paint(face: NativeFace, level: float, source: np.random.Generator) -> NativeFace:
        return NativeFace(np.full_like(face.pixels, int(level)), face.origin, face.box, face.margin)

    item = Intervention("paint", "painted", "grey level", (0, 255), 255, paint)
    found = table(Brightness(), item).set_index(["level", "face_id"])
    # mean 0.5, deviation 0.25: black is -2, white is 2, so black is named the second class and white the first
    assert (found.loc[0.0, "predicted"] == "0").all() and (found.loc[255.0, "predicted"] == "a b").all()
    # losses of logits (2, -2, 0): ln(e² + e⁻² + 1) - logit
    total = np.log(np.exp(2) + np.exp(-2) + 1)
    white = found.loc[255.0]
    expected = white["label"].map({"a b": total - 2, "0": total + 2, "ñ": total})
    np.testing.assert_allclose(white["loss"], expected, rtol=1e-5)
    assert (white["description"] == "painted").all() and white["reference"].all()


def test_models_that_see_faces_alike_share_what_is_drawn(model: nn.Module) -> None:
    other = build_model("torchvision", 3, seed=1, loaded=None)[0].eval()
    faces, split = study()
    rows, crops = np.flatnonzero(split["split"] == "test"), cut(photograph(), faces, context_margin(MARGIN))
    items = (INTERVENTIONS["noise"], INTERVENTIONS["shift_box"])
    both = intervened_table([(model, record()), (other, record() | {"arm": "o"})], crops, faces, rows, items)
    alone = [table(model, *items), intervened_table([(other, record() | {"arm": "o"})], crops, faces, rows, items)]
    pd.testing.assert_frame_equal(both, pd.concat(alone, ignore_index=True), check_exact=True)
    smaller = record() | {"preprocess": record()["preprocess"] | {"input_size": 24}}
    with pytest.raises(ValueError, match="unlike preprocessing"):
        intervened_table([(model, record()), (other, smaller)], crops, faces, rows, items)


def test_draws_follow_the_seed(model: nn.Module) -> None:
    noise = Intervention("noise", "noise", "", (40,), 40, INTERVENTIONS["noise"].change)
    first, again, other = (table(model, noise, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert (first["loss"] != other["loss"]).sum() == 5  # the noisy ones, not the untouched


def test_faces_the_checkpoint_does_not_know_are_refused(model: nn.Module) -> None:
    faces, _ = study()
    faces.loc[3, "label"] = "other"
    crops = cut(photograph(), faces, 1.0)
    with pytest.raises(ValueError, match="'other' is none of the checkpoint's classes"):
        intervened_table([(model, record())], crops, faces, np.array([1, 3]), ())
    with pytest.raises(ValueError, match="no face"):
        intervened_table([(model, record())], crops, faces, np.array([], dtype=int), ())
