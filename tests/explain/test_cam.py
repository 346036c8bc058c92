"""Attribution maps against closed forms, and against the package's own output up to its scaling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskbench.explain.cam import BASELINES, METHODS, attribution_maps
from maskbench.explain.hooks import named_layer, preserved, record_activations
from maskbench.models.execution import Execution
from maskbench.models.registry import build_model

#: Weights of the head: class 0 likes channel 0 and dislikes channel 1, class 1 the other way round.
HEAD = torch.tensor([[3.0, -1.0], [-2.0, 4.0]])


class Tiny(nn.Module):
    """Two channels, pooled by the mean, weighed by `HEAD`: Grad-CAM can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]).view(2, 3, 1, 1))
            self.fc.weight.copy_(HEAD)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.relu(self.features(x)).mean(dim=(2, 3)))
        return scores


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("target", [0, 1])
def test_grad_cam_is_the_closed_form(images: Tensor, target: int) -> None:
    # logit_k = Σ_c w_kc · mean(A_c), so d logit / dA_c = w_kc / 16 everywhere: the weight of a channel is w_kc / 16
    # (Selvaraju 2017, eq. 1) and the map max(0, Σ_c w_kc A_c / 16) (eq. 2). Here A_c is the image's channel c.
    expected = torch.einsum("c,bchw->bhw", HEAD[target], images[:, :2]).clamp_min(0) / 16
    found = attribution_maps(Tiny(), images, torch.full((3,), target), "grad_cam", layer="features")
    assert torch.allclose(found, expected, atol=1e-7)
    assert (found > 0).any()
    assert (found == 0).any()


def test_other_weighings_have_their_closed_forms_where_gradients_are_constant(images: Tensor) -> None:
    targets, model = torch.tensor([0, 1, 0]), Tiny()
    weights = HEAD[targets] / 16
    # HiResCAM multiplies element by element: with constant gradients the same as Grad-CAM.
    hires = torch.einsum("bc,bchw->bhw", weights, images[:, :2]).clamp_min(0)
    assert torch.allclose(attribution_maps(model, images, targets, "hires_cam", layer="features"), hires, atol=1e-7)
    # LayerCAM keeps positive gradients only.
    layer = torch.einsum("bc,bchw->bhw", weights.clamp_min(0), images[:, :2])
    assert torch.allclose(attribution_maps(model, images, targets, "layer_cam", layer="features"), layer, atol=1e-7)
    # Integrated gradients of a linear model: gradient times (input - 0), here over 16 positions (Sundararajan 2017).
    gradients = attribution_maps(model, images, targets, "integrated_gradients")
    assert torch.allclose(gradients, hires, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "name"),
    [("grad_cam", "GradCAM"), ("grad_cam_pp", "GradCAMPlusPlus"), ("layer_cam", "LayerCAM"), ("hires_cam", "HiResCAM"),
     ("score_cam", "ScoreCAM")],
)  # fmt: skip
def test_maps_are_the_packages_up_to_its_scaling(method: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, _ = build_model("manual", 3, seed=1, loaded=None)
    model.eval()
    faces = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    found = attribution_maps(model, faces, torch.tensor([0, 2]), method, layer="layer2.3.conv2").numpy()
    cam = getattr(pytorch_grad_cam, name)(model=model, target_layers=[model.layer2[3].conv2])
    package = cam(input_tensor=faces, targets=[ClassifierOutputTarget(0), ClassifierOutputTarget(2)])
    for ours, theirs in zip(found, package, strict=True):
        assert ours.max() > 0
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97  # it enlarges with OpenCV, after scaling


def test_eigen_cam_shows_where_activity_is_whatever_sign_the_decomposition_has() -> None:
    faces = torch.zeros(1, 3, 8, 8)
    faces[0, :2, 5:, 5:] = 1.0
    shown = attribution_maps(Tiny(), faces, torch.tensor([0]), "eigen_cam", layer="features")[0]
    assert shown[5:, 5:].min() > 0
    assert shown[:4, :4].max() == 0


@pytest.mark.parametrize("method", ["occlusion", "gradient_shap", "integrated_gradients"])
def test_input_methods_find_the_only_region_that_counts(method: str) -> None:
    class Corner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer3 = nn.Identity()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            corner = self.weight * self.layer3(x)[:, :, :8, :8].sum(dim=(1, 2, 3))
            return torch.stack([corner, -corner], dim=1)

    maps = attribution_maps(Corner(), torch.ones(2, 3, 16, 16), torch.tensor([0, 0]), method)
    assert maps[:, :8, :8].sum() > 0
    assert maps[:, 12:, 12:].abs().sum() == 0
    assert (
        attribution_maps(Corner(), torch.ones(2, 3, 16, 16), torch.tensor([1, 1]), method).sum() == 0
    )  # evidence against


@pytest.mark.parametrize("method", [*METHODS, *BASELINES])
def test_every_method_leaves_no_trace_and_repeats_itself(method: str) -> None:
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    model.train()
    model.layer1.eval()
    model.fc.weight.requires_grad_(False)
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    faces, targets = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    state = torch.get_rng_state()
    found = attribution_maps(model, faces, targets, method, layer="layer2", seed=5)
    assert torch.equal(state, torch.get_rng_state())
    assert found.shape == (2, 32, 32)
    assert found.dtype == torch.float32
    assert (found >= 0).all()
    assert torch.equal(found, attribution_maps(model, faces, targets, method, layer="layer2", seed=5))
    assert model.training
    assert not model.layer1.training
    assert not model.fc.weight.requires_grad
    assert model.bn1.weight.requires_grad
    assert torch.equal(model.conv1.weight.grad, torch.ones_like(model.conv1.weight))
    assert model.bn1.weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_hooks_and_modes_are_restored_after_an_error() -> None:
    model = Tiny().train()
    with pytest.raises(ValueError, match="used more than once, or not at all"):
        attribution_maps(Twice(), torch.ones(1, 3, 4, 4), torch.tensor([0]), "grad_cam", layer="layer")
    with pytest.raises(RuntimeError), preserved(model):
        raise RuntimeError
    assert model.training
    assert model.fc.weight.requires_grad
    twice = Twice()
    with pytest.raises(ValueError, match="more than once"):
        attribution_maps(twice, torch.ones(1, 3, 4, 4), torch.tensor([0]), "layer_cam", layer="layer")
    assert not twice.layer._forward_hooks


class Twice(nn.Module):
    """Uses its layer twice: whose activations should be weighed is not said."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.layer(self.layer(x)).mean(dim=(2, 3))
        return pooled


def test_a_map_does_not_depend_on_the_other_faces_of_the_batch() -> None:
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    faces, targets = (
        torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(2)),
        torch.tensor([0, 1, 2, 0, 1]),
    )
    whole = attribution_maps(model, faces, targets, "grad_cam")
    parts = attribution_maps(model, faces, targets, "grad_cam", batch_size=2)
    assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-6)


def test_a_method_that_draws_shows_a_face_alone_as_it_does_in_a_batch() -> None:
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    faces = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    targets = torch.tensor([0, 1, 2, 0, 1])
    whole = attribution_maps(model, faces, targets, "gradient_shap", seed=3)
    parts = attribution_maps(model, faces, targets, "gradient_shap", seed=3, batch_size=2)
    alone = attribution_maps(model, faces[3:4], targets[3:4], "gradient_shap", seed=3)
    assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-5)
    assert torch.allclose(whole[3:4], alone, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(alone, attribution_maps(model, faces[3:4], targets[3:4], "gradient_shap"), rtol=1e-2)


def test_gradient_shap_is_the_packages_where_many_draws_leave_no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    from captum.attr import GradientShap

    from maskbench.explain import cam

    class Curved(nn.Module):
        """logit_0 = Σ x², whose gradient at the points 2 u (x + n): attribution E[2 u (x + n)²] = x² + 0.01."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([(x**2).sum(dim=(1, 2, 3)), x.sum(dim=(1, 2, 3))], dim=1)

    monkeypatch.setattr(cam, "SHAP_SAMPLES", 3000)
    faces, targets = torch.linspace(-1, 1, 48).view(1, 3, 4, 4), torch.tensor([0])
    found = attribution_maps(Curved(), faces, targets, "gradient_shap")
    torch.manual_seed(0)
    package = GradientShap(Curved()).attribute(
        faces, baselines=torch.zeros_like(faces), target=targets, n_samples=3000, stdevs=cam.SHAP_NOISE
    )
    assert torch.allclose(found, package.sum(dim=1).float(), rtol=0.1, atol=0.02)
    assert torch.allclose(found, (faces**2 + 0.01).sum(dim=1), rtol=0.1, atol=0.02)


def test_layers_without_maps_are_refused_with_those_that_have_some(images: Tensor) -> None:
    model, targets = Tiny(), torch.tensor([0, 1, 0])
    for method in ("grad_cam", "eigen_cam", "random"):
        with pytest.raises(ValueError, match=r"'fc' gives \(B, 2\); maps need \(B, C, h, w\), once: features, relu$"):
            attribution_maps(model, images, targets, method, layer="fc")
    assert not any(module._forward_hooks for module in model.modules())
    attribution_maps(model, images, targets, "occlusion", layer="fc")  # which weighs no layer


def test_bfloat16_shows_the_same_places() -> None:
    model, _ = build_model("manual", 3, seed=0, loaded=None)
    faces = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    exact = attribution_maps(model, faces, torch.tensor([0, 1]), "grad_cam", layer="layer2")
    quick = attribution_maps(
        model, faces, torch.tensor([0, 1]), "grad_cam", layer="layer2", execution=Execution("cpu", "bf16", "contiguous")
    )
    for one, other in zip(exact, quick, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.99


def test_what_is_not_known_is_refused_with_the_choices() -> None:
    model, faces, targets = Tiny(), torch.ones(2, 3, 4, 4), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="layer 'layer9': Tiny has features, relu, fc"):
        attribution_maps(model, faces, targets, "grad_cam", layer="layer9")
    with pytest.raises(ValueError, match="method 'gradcam': choose among grad_cam"):
        attribution_maps(model, faces, targets, "gradcam", layer="features")
    with pytest.raises(ValueError, match="2 faces and 1 targets"):
        attribution_maps(model, faces, targets[:1], "grad_cam", layer="features")
    assert named_layer(model, "fc") is model.fc


def test_activations_are_recorded_as_they_were_and_hooks_released(images: Tensor) -> None:
    model = Tiny()
    with record_activations(model, ["features", "fc"]) as found:
        logits = model(images - 0.5)
    assert torch.equal(found["features"], (images - 0.5)[:, :2])  # before the ReLU that works in place
    assert torch.equal(found["fc"], logits.detach())
    assert not model.features._forward_hooks
