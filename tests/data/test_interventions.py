"""Each intervention does to a face what its name says, and nothing where it should do nothing."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maskbench.data.crops import FaceCrops, crop_regions, cut_faces
from maskbench.data.faces import canvas_size, make_canvases
from maskbench.data.interventions import (
    INTERVENTIONS,
    Intervention,
    NativeFace,
    context_margin,
    intervened_canvases,
)
from maskbench.seeding import derive_seed
from tests.conftest import faces_table

SIZE = 32
#: Boxes with fractions, at borders, small and large, in a photograph of 300 × 200 px.
BOXES = [
    (120.0, 60.0, 180.0, 132.0),
    (3.3, 5.7, 21.9, 30.1),
    (270.0, 150.4, 300.0, 200.0),
    (100.0, 100.0, 106.0, 105.0),
]
SOURCE = np.random.default_rng(0)


def photograph() -> np.ndarray:
    """Soft structure with fine grain."""
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).resize(
        (300, 200), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse).astype(int) + rng.integers(-25, 26, (200, 300, 3)), 0, 255).astype(np.uint8)


def table(boxes=BOXES, width: int = 300, height: int = 200) -> pd.DataFrame:
    faces = faces_table(["a", "b"] * (len(boxes) // 2) + ["a"] * (len(boxes) % 2), ["p"] * len(boxes))
    faces[["xmin", "ymin", "xmax", "ymax"]] = np.array(boxes, dtype=float)
    return faces.assign(image_width=width, image_height=height)


def cut(image: np.ndarray, faces: pd.DataFrame, margin: float) -> FaceCrops:
    """What `cut_faces` gives, without files."""
    regions = crop_regions(faces, margin)
    parts = [image[y0:y1, x0:x1].reshape(-1) for x0, y0, x1, y1 in regions]
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return FaceCrops(tuple(faces["face_id"]), np.concatenate(parts), starts, regions)


def view(canvases: torch.Tensor, size: int = SIZE) -> np.ndarray:
    """What the model sees of canvases, as integers (N, S, S, 3)."""
    border = (canvas_size(size) - size) // 2
    return canvases[:, :, border : border + size, border : border + size].permute(0, 2, 3, 1).numpy().astype(int)


def shown(
    name: str | None, level: float = np.nan, margin: float = 0.25, faces=None, rows=None, **options
) -> np.ndarray:
    faces = table() if faces is None else faces
    crops = cut(photograph(), faces, context_margin(margin))
    rows = np.arange(len(faces)) if rows is None else np.array(rows)
    item = INTERVENTIONS[name] if name else None
    return view(intervened_canvases(crops, faces, rows, margin, SIZE, item, level, **options))


def test_cutting_without_files_is_cutting(tmp_path) -> None:
    (tmp_path / "p.png").parent.mkdir(exist_ok=True)
    Image.fromarray(photograph()).save(tmp_path / "p.png")
    images = pd.DataFrame({"image_id": ["p"], "file": ["p.png"]})
    real = cut_faces(tmp_path, images, table(), 0.7, max_pixels=10**6)
    own = cut(photograph(), table(), 0.7)
    np.testing.assert_array_equal(real.pixels, own.pixels)
    np.testing.assert_array_equal(real.starts, own.starts)


@pytest.mark.parametrize("margin", [0.25, 0.3, 0.0])
@pytest.mark.parametrize("size", [32, 63])
def test_untouched_views_are_those_of_the_study_byte_for_byte(margin: float, size: int) -> None:
    faces = table()
    usual = make_canvases(cut(photograph(), faces, margin), faces, margin, size)
    wide = cut(photograph(), faces, context_margin(margin))
    own = intervened_canvases(wide, faces, np.arange(len(faces)), margin, size)
    np.testing.assert_array_equal(view(own, size), view(usual, size))


def test_a_shrunken_face_is_the_face_of_a_shrunken_photograph() -> None:
    image = photograph()
    faces = table([(120.0, 60.0, 180.0, 120.0)])
    # the box has 60 px: to 15 px is a quarter, which takes 300 × 200 px to 75 × 50 px
    small = np.asarray(Image.fromarray(image).resize((75, 50), Image.Resampling.BILINEAR))
    reduced = table([(30.0, 15.0, 45.0, 30.0)], 75, 50)
    expected = view(make_canvases(cut(small, reduced, 0.25), reduced, 0.25, SIZE))
    item = Intervention("shrink", "", "px", (15,), 15, INTERVENTIONS["shrink"].change)
    found = view(intervened_canvases(cut(image, faces, 1.0), faces, np.array([0]), 0.25, SIZE, item, 15))
    # their pixel grids lie differently on the photograph, so grain differs by a little; unshrunken it differs a lot
    untouched = view(intervened_canvases(cut(image, faces, 1.0), faces, np.array([0]), 0.25, SIZE))
    assert np.abs(found - expected).mean() < 0.25 * np.abs(untouched - expected).mean()


def test_shrinking_goes_downwards_only() -> None:
    # longer sides: 72, 24.4, 49.6 and 6 px
    for level, changed in {96: [False] * 4, 64: [True, False, False, False], 24: [True, True, True, False]}.items():
        differs = (shown("shrink", level) != shown(None)).any(axis=(1, 2, 3))
        assert differs.tolist() == changed


def face_of(pixels: np.ndarray, box: tuple[float, ...], margin: float) -> NativeFace:
    """A face in a grey photograph of its own."""
    return NativeFace(pixels[..., None].repeat(3, 2), np.zeros(2, dtype=int), np.array(box, dtype=float), margin)


def test_stripes_finer_than_the_pixels_left_vanish() -> None:
    face = face_of(np.tile(np.array([0, 200], dtype=np.uint8), (80, 40)), (20, 20, 60, 60), 0.0)
    small = INTERVENTIONS["shrink"].change(face, 8, SOURCE)
    assert small.side == pytest.approx(8) and small.pixels.std() < 5 < face.pixels.std()
    assert small.pixels.mean() == pytest.approx(100, abs=1)


@pytest.mark.parametrize(("side", "level"), [(100, 0.05), (50, 0.01), (40, 0.1)])
def test_blur_has_the_variance_it_says_also_below_one_pixel(side: int, level: float) -> None:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    image[:, 100:] = 255
    low, high = 100 - side / 2, 100 + side / 2
    face = NativeFace(image, np.zeros(2, dtype=int), np.array([low, low, high, high]), 0.5)
    blurred = INTERVENTIONS["blur"].change(face, level, SOURCE)
    edge = np.diff(blurred.pixels[blurred.pixels.shape[0] // 2, :, 0].astype(float)) / 255
    places = np.arange(len(edge)) - (edge * np.arange(len(edge))).sum()
    # the derivative of a blurred edge is the blur's kernel, and its variance is σ²
    assert edge.sum() == pytest.approx(1)
    assert (edge * places**2).sum() == pytest.approx((level * side) ** 2, rel=0.06)


def grey() -> NativeFace:
    return face_of(np.full((60, 60), 128, dtype=np.uint8), (20, 20, 40, 40), 0.25)


def test_darkening_multiplies() -> None:
    face = face_of(np.arange(256, dtype=np.uint8).reshape(16, 16), (0, 0, 16, 16), 0.0)
    dark = INTERVENTIONS["darken"].change(face, 0.2, SOURCE)
    # 255 · 0.2 = 51; 7 · 0.2 = 1.4 → 1; 8 · 0.2 = 1.6 → 2
    assert dark.pixels.reshape(-1, 3)[[0, 7, 8, 255], 0].tolist() == [0, 1, 2, 51]


def test_noise_has_its_size_and_grows_in_place() -> None:
    draws = [
        INTERVENTIONS["noise"].change(grey(), sigma, np.random.default_rng(3)).pixels - 128.0 for sigma in (10, 20)
    ]
    # 39 × 39 px (box, margin, canvas, a px around) in 3 channels: the standard error of σ is σ / √(2·4563) ≈ 1 %
    assert draws[0].size >= 4000
    assert draws[0].std() == pytest.approx(10, rel=0.04) and abs(draws[0].mean()) < 0.6
    assert np.abs(draws[1] - 2 * draws[0]).max() <= 1.5  # the same noise, doubled, up to rounding
    assert draws[0][..., 0].std() > 5 and np.abs(draws[0][..., 0] - draws[0][..., 1]).max() > 5  # channels differ


def test_compression_is_that_of_a_jpeg_file() -> None:
    faces = table()
    face = NativeFace(photograph(), np.zeros(2, dtype=int), faces[["xmin", "ymin", "xmax", "ymax"]].to_numpy()[0], 0.25)
    part, file = face.trimmed(), io.BytesIO()
    Image.fromarray(part.pixels).save(file, "JPEG", quality=10)
    np.testing.assert_array_equal(INTERVENTIONS["jpeg"].change(face, 10, SOURCE).pixels, np.asarray(Image.open(file)))


def test_boxes_move_by_their_share_in_one_direction() -> None:
    moves = []
    for level in INTERVENTIONS["shift_box"].levels:
        box = INTERVENTIONS["shift_box"].change(grey(), level, np.random.default_rng(5)).box
        moves.append((box - grey().box) / (20 * level))  # the box has 20 px
    for move in moves:
        assert np.hypot(*move[:2]) == pytest.approx(1) and move[:2] == pytest.approx(move[2:])
        assert move == pytest.approx(moves[0])


def test_shifted_and_scaled_boxes_are_cut_as_if_they_were_annotated() -> None:
    faces = table()
    boxes = faces[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
    for name, level in (("shift_box", 0.5), ("scale_box", 1.6), ("scale_box", 0.6)):
        found = shown(name, level, seed=4)
        item = INTERVENTIONS[name]
        own = []
        for row, box in enumerate(boxes):
            face = NativeFace(photograph(), np.zeros(2, dtype=int), box, 0.25)
            own.append(item.change(face, level, np.random.default_rng(derive_seed(4, name, row))).box)
        moved = faces.assign(**dict(zip(("xmin", "ymin", "xmax", "ymax"), np.array(own).T, strict=True)))
        inside = moved["xmin"].between(0, 290) & moved["ymin"].between(0, 190)
        usual = view(make_canvases(cut(photograph(), moved[inside], 0.25), moved[inside], 0.25, SIZE))
        assert inside.sum() >= 2
        np.testing.assert_allclose(found[inside], usual, atol=1)


def test_another_margin_is_that_of_crops_cut_with_it() -> None:
    for margin in (0.0, 0.75):
        usual = make_canvases(cut(photograph(), table(), margin), table(), margin, SIZE)
        np.testing.assert_allclose(shown("margin", margin), view(usual), atol=1)
    # scaling by k at margin m shows (0.5 + m)·k of the side to each side of the centre: 0.6 · 0.75 = 0.5 - 0.05
    np.testing.assert_allclose(shown("scale_box", 1.4), shown("margin", 1.4 * 0.75 - 0.5), atol=1)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_stronger_levels_change_more_and_all_is_deterministic(name: str) -> None:
    item, faces = INTERVENTIONS[name], table(BOXES[:1])
    untouched = shown(None, faces=faces)
    by_side: dict[int, list[float]] = {1: [], -1: []}
    for level, place in sorted(item.positions(0.25).items(), key=lambda pair: abs(pair[1])):
        found = shown(name, level, faces=faces)
        np.testing.assert_array_equal(found, shown(name, level, faces=faces))
        by_side[np.sign(place)].append(float(np.sqrt(((found - untouched) ** 2).mean())))
    assert len(by_side[1]) + len(by_side[-1]) >= 5
    for distances in filter(None, by_side.values()):
        # the box has 72 px: larger targets leave it as it is. Moved views of fine grain differ wholly at once.
        assert distances[-1] > 3 and (min(distances) > 3 or distances == sorted(distances))


def test_draws_depend_on_seed_and_face_alone() -> None:
    alone = shown("noise", 20, rows=[2], seed=1)
    among = shown("noise", 20, seed=1)
    np.testing.assert_array_equal(alone[0], among[2])
    assert (shown("noise", 20, seed=2) != among).any()
    face = table(BOXES[:1] * 2)  # two annotations of one face get different noise
    pair = shown("noise", 20, faces=face)
    assert (pair[0] != pair[1]).any()


def test_positions_count_from_the_untouched_face() -> None:
    assert INTERVENTIONS["darken"].positions(0.25) == {0.75: 1, 0.5: 2, 0.35: 3, 0.2: 4, 0.1: 5}
    assert INTERVENTIONS["scale_box"].positions(0.25) == {
        0.6: -4, 0.7: -3, 0.8: -2, 0.9: -1, 1.1: 1, 1.2: 2, 1.4: 3, 1.6: 4,
    }  # fmt: skip
    assert INTERVENTIONS["margin"].positions(0.25) == {0: -2, 0.1: -1, 0.5: 1, 0.75: 2, 1: 3}
    assert INTERVENTIONS["margin"].positions(0.0) == {0.1: 1, 0.25: 2, 0.5: 3, 0.75: 4, 1: 5}
    with pytest.raises(ValueError, match="reference 3 is not one of its levels"):
        Intervention("x", "x", "", (1, 2), 3, INTERVENTIONS["blur"].change)


def test_photograph_is_not_made_up() -> None:
    faces = table()
    narrow = cut(photograph(), faces, 0.25)
    rows = np.arange(len(faces))
    with pytest.raises(ValueError, match=r"cut too close for an intervention that needs a margin of 0\.75"):
        intervened_canvases(narrow, faces, rows, 0.25, SIZE, INTERVENTIONS["shift_box"], 0.5)
    with pytest.raises(ValueError, match="not of these faces"):
        intervened_canvases(narrow, faces.iloc[:2], rows[:2], 0.25, SIZE)
    # a box that fills its photograph has nothing around it that could be missing
    whole = table([(0.0, 0.0, 300.0, 200.0)])
    intervened_canvases(cut(photograph(), whole, 0.25), whole, rows[:1], 0.25, SIZE, INTERVENTIONS["shift_box"], 0.5)


def test_crops_stay_as_they_are() -> None:
    faces = table()
    crops = cut(photograph(), faces, context_margin(0.25))
    before = crops.pixels.copy()
    for item in INTERVENTIONS.values():
        intervened_canvases(crops, faces, np.arange(4), 0.25, SIZE, item, item.levels[-1])
    np.testing.assert_array_equal(crops.pixels, before)
