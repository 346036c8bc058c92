import numpy as np
import pandas as pd
import pytest

from maskbench.report.figures.portraits import OPACITY, WRONG, Cell, fig_cells, overlay
from maskbench.report.scatter import HEAD, PANEL, Sheet, make_scatter

FACE = np.full((4, 4, 3), 200, dtype=np.uint8)


def test_where_a_map_is_zero_the_face_stays_grey_and_its_peak_takes_the_colour() -> None:
    heat = np.zeros((4, 4))
    heat[1, 2] = 7.0
    shown = overlay(FACE, heat)
    assert np.allclose(shown[0, 0], 200 / 255)  # no map: the grey of the face
    brightest = np.array([0.988362, 0.998364, 0.644924])  # the upper end of the colour map
    assert np.allclose(shown[1, 2], OPACITY * brightest + (1 - OPACITY) * 200 / 255, atol=1e-4)


def test_a_map_without_evidence_or_undefined_lays_nothing_over_the_face() -> None:
    for heat in (np.zeros((4, 4)), np.full((4, 4), np.nan)):
        assert np.allclose(overlay(FACE, heat), 200 / 255)


def test_only_the_shape_of_a_map_is_shown_not_its_magnitude() -> None:
    heat = np.arange(16.0).reshape(4, 4)
    assert np.allclose(overlay(FACE, heat), overlay(FACE, 1000 * heat))


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) does not lie over a face of \(4, 4\)"):
        overlay(FACE, np.zeros((2, 2)))


def test_a_grid_shows_every_cell_frames_mistakes_and_has_one_colour_bar() -> None:
    rows = [[Cell(FACE, lines=("masked", "p = 0.98"), wrong=True), Cell(FACE, np.ones((4, 4)), "Grad-CAM"), None]]
    drawing = fig_cells(rows, ["arm"], name="maps", title="Maps", caption="Look here.")
    axes = drawing.figure.axes
    assert [bool(ax.images) for ax in axes] == [True, True, False, False]  # two faces, an empty place, the bar
    assert axes[0].spines["left"].get_edgecolor()[:3] == pytest.approx(
        [int(WRONG[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    )
    assert not axes[1].axison
    assert axes[1].get_title() == "Grad-CAM"
    assert "masked\np = 0.98" in [text.get_text() for text in axes[0].texts]
    assert drawing.caption.endswith("so maps say where, not how much.")


def test_a_grid_of_faces_alone_has_no_colour_bar() -> None:
    drawing = fig_cells([[Cell(FACE)]], [""], name="faces", title="Faces", caption="Look here.")
    assert len(drawing.figure.axes) == 1
    assert drawing.caption == "Look here."


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one cell"):
        fig_cells([[None]], [""], name="x", title="t", caption="c")


def embedding() -> pd.DataFrame:
    rows = [
        ("one", "a#0", "masked", "masked", True, 0.0, 0.0),
        ("one", "b#0", "bare", "masked", False, 2.0, 1.0),
        ("one", "c#0", "bare", "bare", True, 1.0, 5.0),  # has no tile
        ("two", "a#0", "masked", "bare", False, 1.0, 1.0),
    ]
    columns = ["arm", "face_id", "label", "predicted", "correct", "x", "y"]
    return pd.DataFrame(rows, columns=columns).assign(box_side_px=20.4)


def test_points_lie_in_their_arms_panel_mistakes_on_top_with_the_tile_of_their_face() -> None:
    sheet = Sheet(b"jpeg", ("a#0", "b#0", "d#0"), columns=2, tile=8)
    assert sheet.size == (16, 16)
    scatter = make_scatter(embedding(), sheet, ("masked", "bare"), ("one", "two", "three"), "Faces.")
    one, two = scatter.panels
    assert [point.lines[0] for point in one.points] == ["a#0", "b#0"]
    assert one.points[1].wrong
    assert one.points[1].lines[1:] == ("bare, predicted masked", "20 px wide")
    assert (one.points[0].tile, one.points[1].tile) == ((0, 0), (8, 0))
    # x rises to the right, y upwards; both panels are apart
    assert (one.points[0].x, one.points[0].y) == (10, HEAD + PANEL - 10)
    assert (one.points[1].x, one.points[1].y) == (PANEL - 10, HEAD + 10)
    assert two.left > PANEL
    assert two.points[0].x == two.left + PANEL / 2  # a single face stands in the middle


@pytest.mark.parametrize("name", [r"a$\frac$.png", r"a\$\frac\$.png"])
def test_dollar_signs_in_names_are_shown_and_no_mathematics(name: str) -> None:
    """Also where somebody has made them literal before."""
    cells = [Cell(FACE, title=name, lines=(name,))]
    drawing = fig_cells([cells], [name], name="faces", title=name, caption="Look here.")
    drawing.figure.draw_without_rendering()
    shown = drawing.figure._suptitle
    assert shown is not None
    assert shown.get_text().replace("\n", "") == r"a\$\frac\$.png"
    assert drawing.figure.axes[0].get_title() == r"a\$\frac\$.png"
    assert drawing.title == name


def test_a_place_without_a_face_says_why() -> None:
    rows = [[Cell(FACE), Cell(None, title="nearest right one", lines=("none: no test face", "is right"))]]
    drawing = fig_cells(rows, [""], name="faces", title="Faces", caption="Look here.")
    drawing.figure.draw_without_rendering()
    empty = drawing.figure.axes[1]
    assert not empty.images and empty.get_title() == "nearest right one"
    assert [text.get_text() for text in empty.texts] == ["none: no test face\nis right"]
