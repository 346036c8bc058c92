import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from maskbench.config import AugmentConfig
from maskbench.data.shares import Share
from maskbench.data.transforms import Preprocess, affine_matrices, augment
from maskbench.seeding import generator

IDENTITY = AugmentConfig(
    flip=0, rotate_degrees=0, scale=0, translate=0, brightness=0, contrast=0, saturation=0, blur=0, rescale=0, erase=0
)
PLAIN = Preprocess(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def canvases() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 40, 40), generator=generator(0, "test"), dtype=torch.uint8)


def test_the_view_is_the_centre_normalised_as_torchvision_does(canvases: torch.Tensor) -> None:
    preprocess = Preprocess(32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    centre = TF.to_dtype(TF.center_crop(canvases, [32, 32]), torch.float32, scale=True)
    expected = TF.normalize(centre, list(preprocess.mean), list(preprocess.std))
    torch.testing.assert_close(preprocess.view(canvases), expected)


def test_without_strength_augmentation_is_the_plain_view(canvases: torch.Tensor) -> None:
    augmented = augment(canvases, PLAIN, IDENTITY, generator(0))
    torch.testing.assert_close(augmented, PLAIN.view(canvases), atol=1e-5, rtol=0)


def test_a_smaller_view_shows_the_same(canvases: torch.Tensor) -> None:
    half = augment(canvases, PLAIN, IDENTITY, generator(0), size=16)
    torch.testing.assert_close(half, torch.nn.functional.avg_pool2d(PLAIN.view(canvases), 2), atol=1e-5, rtol=0)


def test_a_certain_flip_mirrors(canvases: torch.Tensor) -> None:
    flipped = augment(canvases, PLAIN, IDENTITY.model_copy(update={"flip": 1.0}), generator(0))
    torch.testing.assert_close(flipped, PLAIN.view(canvases).flip(-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("field", "reference"),
    [("brightness", TF.adjust_brightness), ("contrast", TF.adjust_contrast), ("saturation", TF.adjust_saturation)],
)
def test_each_colour_change_alone_equals_torchvisions(canvases: torch.Tensor, field: str, reference) -> None:
    changed = augment(canvases, PLAIN, IDENTITY.model_copy(update={field: 0.4}), generator(3))
    view = PLAIN.view(canvases)
    # Recover the drawn factors: same generator, same order of draws as augment makes before colour.
    source = generator(3)
    affine_matrices(len(canvases), IDENTITY, 0.8, source)
    torch.rand(len(canvases), generator=source), torch.randint(8, 33, (1,), generator=source)
    torch.rand(len(canvases), generator=source), torch.rand(1, generator=source)
    for name in ("brightness", "contrast", "saturation"):
        factors = torch.rand(len(canvases), generator=source) * 2 - 1
        if name == field:
            break
    # torchvision weighs 0.2989, 0.587, 0.114; ours are the same to three places
    expected = torch.stack([reference(image, 1 + 0.4 * float(f)) for image, f in zip(view, factors, strict=True)])
    torch.testing.assert_close(changed, expected, atol=1e-3, rtol=0)


def test_equal_generators_give_equal_pixels_and_inputs_are_untouched(canvases: torch.Tensor) -> None:
    before = canvases.clone()
    config = AugmentConfig(erase=0.5)
    first = augment(canvases, PLAIN, config, generator(1, "augment", 2, 3))
    torch.testing.assert_close(first, augment(canvases, PLAIN, config, generator(1, "augment", 2, 3)), atol=0, rtol=0)
    assert not torch.equal(first, augment(canvases, PLAIN, config, generator(1, "augment", 2, 4)))
    assert torch.equal(canvases, before)
    assert first.shape == (6, 3, 32, 32) and first.isfinite().all()


def test_views_stay_on_the_canvas_at_the_default_strengths() -> None:
    theta = affine_matrices(4000, AugmentConfig(), 0.8, generator(0))
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T
    reached = (theta @ corners).abs()
    # 80 % view, zoomed by at most 15 % and shifted by 8 % of it: some corners leave, few by much
    assert (reached > 1).float().mean() < 0.25
    assert reached.max() < 1.35


def test_erasing_replaces_a_rectangle_by_the_mean(canvases: torch.Tensor) -> None:
    erased = augment(canvases, PLAIN, IDENTITY.model_copy(update={"erase": 1.0}), generator(5))
    view = PLAIN.view(canvases)
    changed = (erased - view).abs().amax(dim=1) > 1e-4
    for mask, image, original in zip(changed, erased, view, strict=True):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert mask.sum() >= 0.98 * area  # a filled rectangle (a pixel may equal the mean)
        inside = image[:, mask]
        torch.testing.assert_close(inside, original.mean(dim=(1, 2))[:, None].expand_as(inside), atol=1e-4, rtol=0)


def test_an_images_augmentation_does_not_depend_on_who_shares_the_batch() -> None:
    canvases = torch.randint(0, 256, (7, 3, 40, 40), dtype=torch.uint8, generator=generator(0))
    config = AugmentConfig(blur=0.5, erase=0.5, rescale=0.5)
    whole = augment(canvases, PLAIN, config, generator(9))
    for rank in range(3):
        own = augment(canvases[rank::3], PLAIN, config, generator(9), Share(rank, 3), 7)
        torch.testing.assert_close(own, whole[rank::3], atol=1e-6, rtol=0)


def test_channels_that_prediction_asked_for_first_carry_gradients_later() -> None:
    preprocess = Preprocess(4, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    with torch.inference_mode():
        preprocess.normalise(torch.zeros(1, 3, 4, 4))
    rgb = torch.rand(1, 3, 4, 4, requires_grad=True)
    preprocess.normalise(rgb).square().sum().backward()  # keeps the channels for the backward pass
    assert rgb.grad is not None
    torch.testing.assert_close(rgb.grad[0, :, 0, 0], 2 * (rgb.detach()[0, :, 0, 0] - torch.tensor([0.1, 0.2, 0.3]))
                               / torch.tensor([0.4, 0.5, 0.6]) ** 2)  # fmt: skip
