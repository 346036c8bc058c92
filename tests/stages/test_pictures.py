"""Which maps the explain stage keeps for its figures."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from maskbench.config import ConfigError, make_config
from maskbench.models.registry import build_model
from maskbench.stages.context import check_layers
from maskbench.stages.inside import Look
from maskbench.stages.pictures import CHANNELS, kept_maps, layer_maps


def test_a_hard_face_of_a_later_run_keeps_the_map_of_the_first_run_that_tested_it() -> None:
    looks = [
        _look("a", 1, {"x": 1, "y": 2}),
        _look("b", 1, {"x": 3, "y": 4}),
        _look("a", 2, {"y": 5, "z": 6, "w": 7}),
        _look("b", 2, {"y": 8, "z": 9, "w": 10}),
        _look("a", 3, {"z": 11}),
        _look("b", 3, {"z": 12}),
    ]
    maps, ids = kept_maps(looks, {"z", "y"})
    assert ids == ["x", "y", "z"]
    assert maps["a"][:, 0, 0].tolist() == [1, 2, 6]
    assert maps["b"][:, 0, 0].tolist() == [3, 4, 9]
    assert maps["a"].shape == (3, 4, 4)
    assert maps["a"].dtype == np.float16


def test_the_channels_of_any_layer_are_named_by_their_numbers() -> None:
    model, _ = build_model("torchvision", 2, seed=0, loaded=None)
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = layer_maps(model, image, ["stem", "layer2.0.conv1"])
    assert list(found) == ["stem", "layer2.0.conv1"]
    model.eval()
    with torch.no_grad():
        stem = model.maxpool(model.relu(model.bn1(model.conv1(image[None]))))
        answers = model.layer2[0].conv1(model.layer1(stem))[0].numpy()
    channels, maps = found["layer2.0.conv1"]
    assert len(channels) == CHANNELS
    np.testing.assert_allclose(maps, answers[channels], atol=1e-5)
    means = answers.mean(axis=(1, 2))
    assert set(channels) == set(np.argsort(-means)[:CHANNELS])
    assert (np.diff(means[channels]) <= 0).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"feature_layers": ["stem", "layer9"]},
            r"explain.feature_layers: layer 'layer9': ResNet34 has conv1, .*layer4",
        ),
        ({"feature_layers": ["layer1.0.relu"]}, "explain.feature_layers: layer 'layer1.0.relu' is used more than once"),
        ({"feature_layers": ["fc"]}, r"explain.feature_layers: layer 'fc' gives \(B, 2\)"),
        ({"layer": "stem"}, "explain.layer: layer 'stem': ResNet34 has conv1"),
    ],
)
def test_a_layer_that_cannot_be_shown_is_refused_by_name(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_layers(make_config("smoke", {"explain": settings}))
    check_layers(make_config("smoke", {"explain": settings | {"methods": []}}))  # nothing is explained


def test_layers_that_can_be_shown_are_let_through() -> None:
    layers = ["maxpool", "layer4.2.bn2", "stem", "layer2.0.downsample"]
    check_layers(make_config("smoke", {"explain": {"feature_layers": layers}}))
    with pytest.raises(ConfigError, match="stands there twice"):
        make_config("smoke", {"explain": {"feature_layers": ["stem", "stem"]}})


def _look(arm: str, seed: int, values: dict[str, float]) -> Look:
    maps = np.stack([np.full((4, 4), value, dtype=np.float32) for value in values.values()])
    faces = pd.DataFrame({"face_id": list(values)})
    return cast(Look, SimpleNamespace(arm=arm, seed=seed, maps=maps, faces=faces))
