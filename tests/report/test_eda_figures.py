import itertools
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from maskbench.config import EdaConfig
from maskbench.eda.compute import compute_eda
from maskbench.report.drawing import Drawing, finished, save_drawings, styled
from maskbench.report.figures.eda import (
    eda_drawings,
    fig_faces_per_image,
    fig_image_kinds,
    fig_image_quality,
    fig_image_sizes,
    fig_sample_grid,
)
from maskbench.report.figures.eda_boxes import fig_box_violins, fig_class_bands, fig_tests
from maskbench.report.figures.eda_classes import fig_class_balance, fig_class_cooccurrence
from maskbench.report.figures.eda_spatial import fig_heatmaps
from maskbench.report.style import RC, colours, new_figure, wrapped
from tests.eda.dataset import CLASSES, dataset

Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    return dataset()[0]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return compute_eda(*dataset(), CLASSES, EdaConfig(bootstrap=40, heatmap_cells=8), seed=0)


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_every_drawing_has_its_words_and_leaves_the_style_alone(images: pd.DataFrame, tables: Tables) -> None:
    before = dict(mpl.rcParams)
    drawings = eda_drawings(images, tables, CLASSES)
    assert dict(mpl.rcParams) == before
    names = [drawing.name for drawing in drawings]
    assert len(set(names)) == len(names) == 13
    faces = f"{len(tables['boxes']):,}"
    for drawing in drawings:
        assert drawing.figure.get_suptitle().replace("\n", " ") == drawing.title
        assert "60 photographs" in drawing.caption or f"{faces} faces" in drawing.caption, drawing.name
        assert "nan" not in drawing.caption


@pytest.mark.parametrize("classes", [CLASSES[:2], [*CLASSES, "a class with a very long name", "gone", "x", "y_z"]])
def test_two_and_seven_classes_can_be_drawn(classes: list[str]) -> None:
    images, faces = dataset()
    faces = faces[faces["label"].isin(classes)]
    tables = compute_eda(images, faces, classes, EdaConfig(bootstrap=20, heatmap_cells=4), 0)
    drawings = {drawing.name: drawing for drawing in eda_drawings(images, tables, classes)}
    for drawing in drawings.values():
        assert "nan" not in drawing.caption + texts(drawing.figure)
    for name in ("box_geometry", "class_balance"):  # long names neither overlap nor leave the figure
        figure = drawings[name].figure
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        assert all(not one.overlaps(other) for one, other in itertools.pairwise(boxes))
        assert min(box.x0 for box in boxes) >= 0


def test_no_intervals_can_be_drawn() -> None:
    images, faces = dataset()
    tables = compute_eda(images, faces, CLASSES, EdaConfig(bootstrap=0, heatmap_cells=4), 0)
    drawings = {drawing.name: drawing.figure for drawing in eda_drawings(images, tables, CLASSES)}
    (circles,) = drawings["class_balance"].axes[1].containers  # no squares: no bootstrap
    assert len(circles[0].get_xdata()) == len(CLASSES)
    drawings["class_by_box_side"].draw_without_rendering()
    drawings["tests"].draw_without_rendering()


def test_sizes_show_each_size_once(images: pd.DataFrame) -> None:
    figure = fig_image_sizes(images).figure
    plane, ratio = figure.axes
    places = {tuple(place) for place in plane.collections[0].get_offsets().tolist()}
    assert places == {(float(w), float(h)) for w, h in zip(images["width"], images["height"], strict=True)}
    assert sum(bar.get_height() for bar in ratio.patches) == len(images)


def test_kinds_bars_are_the_counts(tables: Tables) -> None:
    (axes,) = fig_image_kinds(tables["image_kinds"]).figure.axes
    assert [bar.get_width() for bar in axes.patches] == tables["image_kinds"]["photographs"].tolist()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "format: PNG" and len(labels) == len(tables["image_kinds"])


def test_quality_marks_the_tables_quartiles(images: pd.DataFrame, tables: Tables) -> None:
    figure = fig_image_quality(images, tables["image_summary"]).figure
    assert [axes.get_title() for axes in figure.axes] == ["Brightness", "Contrast", "Saturation", "Sharpness"]
    summary = tables["image_summary"].set_index("quantity")
    for axes, quantity in zip(figure.axes, ("brightness", "contrast", "saturation", "sharpness"), strict=True):
        assert sum(bar.get_height() for bar in axes.patches) == len(images)
        marked = [line.get_xdata()[0] for line in axes.lines]
        assert marked == pytest.approx(summary.loc[quantity, ["q1", "median", "q3"]].tolist())


def test_faces_per_image_pools_the_tail() -> None:
    table = pd.DataFrame({"faces": [1, 2, 3, 50], "photographs": [70, 20, 8, 2]})
    table["photograph_share"] = table["photographs"] / 100
    held = table["faces"] * table["photographs"]
    table["face_share"] = held / held.sum()
    drawing = fig_faces_per_image(table)
    bars, curve = drawing.figure.axes
    assert [bar.get_height() for bar in bars.patches] == [70, 20, 8, 2]
    assert bars.get_xticklabels()[-1].get_text() == "> 3" and "2 photographs" in texts(drawing.figure)
    assert curve.lines[0].get_ydata() == pytest.approx([0.7, 0.9, 0.98, 1])
    assert curve.lines[1].get_ydata() == pytest.approx(np.cumsum(held / held.sum()))


def test_class_bars_are_the_counts_in_the_classes_colours(tables: Tables) -> None:
    drawing = fig_class_balance(tables["class_balance"], tables["class_measures"])
    bars, shares = drawing.figure.axes
    assert [bar.get_width() for bar in bars.patches] == tables["class_balance"]["faces"].tolist()
    shades = [mpl.colors.to_hex(bar.get_facecolor()).upper() for bar in bars.patches]
    assert shades == list(colours(CLASSES).values())
    wilson, cluster = (container[0].get_xdata() for container in shares.containers)
    assert wilson == pytest.approx(tables["class_balance"]["share"])
    assert set(cluster) <= set(wilson)
    ends = [segment[:, 0].tolist() for segment in shares.containers[0][2][0].get_segments()]
    assert ends == [pytest.approx(pair) for pair in tables["class_balance"][["wilson_low", "wilson_high"]].to_numpy()]


def test_cooccurrence_cells_are_the_table(tables: Tables) -> None:
    figure = fig_class_cooccurrence(tables["class_cooccurrence"], CLASSES).figure
    counts, phi = figure.axes[:2]
    table = tables["class_cooccurrence"].set_index(["scope", "class_a", "class_b"])
    for row, a in enumerate(CLASSES):
        for column, b in enumerate(CLASSES):
            assert counts.images[0].get_array()[row, column] == table.loc[("all", a, b), "together"]
            if a != b:
                assert phi.images[0].get_array()[row, column] == pytest.approx(table.loc[("several", a, b), "phi"])
    assert [text.get_text() for text in phi.texts[::4]] == ["–"] * 3


def test_violins_carry_the_tables_quartiles(tables: Tables) -> None:
    figure = fig_box_violins(tables["boxes"], tables["box_summary"], CLASSES).figure
    assert len(figure.axes) == 6
    summary = tables["box_summary"].set_index(["quantity", "class_name"])
    quantities = ("box_width", "box_height", "box_area", "box_aspect", "box_share")
    for axes, quantity in zip(figure.axes, quantities, strict=False):
        assert axes.get_xscale() == "log"
        bars = [line for line in axes.lines if line.get_linewidth() == 4]
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        for place, name in enumerate(CLASSES):
            row = summary.loc[(quantity, name)]
            assert bars[place].get_xdata() == pytest.approx([row["q1"], row["q3"]])
            assert (dots[place].get_xdata()[0], dots[place].get_ydata()[0]) == (pytest.approx(row["median"]), place)
        assert len(axes.collections) == int((tables["boxes"]["class_name"].value_counts() >= 10).sum())
    count = int((tables["boxes"]["class_name"] == CLASSES[1]).sum())
    assert figure.axes[0].get_yticklabels()[1].get_text().endswith(f"n = {count:,}")
    assert sum(len(points.get_offsets()) for points in figure.axes[5].collections) == len(tables["boxes"])


@pytest.mark.parametrize("factor", ["box_side", "faces_in_image"])
def test_bands_show_shares_and_counts(tables: Tables, factor: str) -> None:
    figure = fig_class_bands(tables["class_bands"], CLASSES, factor).figure
    table = tables["class_bands"].query("factor == @factor")
    stack, *single = figure.axes
    assert len(single) == len(CLASSES)
    assert [bar.get_height() for bar in stack.patches] == pytest.approx(
        np.concatenate([table.loc[table["class_name"] == name, "share"] for name in CLASSES])
    )
    heads = [text.get_text() for text in stack.texts]
    assert heads == [f"{faces:,}" for faces in table.drop_duplicates("band_index")["band_faces"]]
    for axes, name in zip(single, CLASSES, strict=True):
        assert axes.get_title() == wrapped(name, 30)
        assert axes.lines[0].get_ydata() == pytest.approx(table.loc[table["class_name"] == name, "share"])


def test_effects_and_p_values_are_the_tables(tables: Tables) -> None:
    drawing = fig_tests(tables["tests"])
    kruskal, chi_squared = drawing.figure.axes
    effects = [*kruskal.lines[0].get_xdata(), *chi_squared.lines[0].get_xdata()]
    assert effects == pytest.approx(tables["tests"]["effect"].tolist())
    shown = [text.get_text() for axes in drawing.figure.axes for text in axes.texts if text.get_text() != "p (Holm)"]
    expected = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in tables["tests"]["p_value_holm"]]
    assert shown == expected and "7 tests" in drawing.caption


def test_heatmaps_are_the_table(tables: Tables) -> None:
    table = tables["heatmaps"]
    coverage = fig_heatmaps(table, CLASSES, "coverage").figure
    for axes, name in zip(coverage.axes, ["", *CLASSES], strict=False):
        chosen = (table["quantity"] == "coverage") & (table["class_name"] == name)
        values = table.loc[chosen, "value"].to_numpy()
        assert np.asarray(axes.images[0].get_array()).ravel() == pytest.approx(values)
    limits = {axes.images[0].get_clim() for axes in coverage.axes[:4]}
    assert len(limits) == 1  # one scale
    centres = fig_heatmaps(table, CLASSES, "centres").figure
    drawn = np.asarray(centres.axes[0].images[0].get_array())
    values = table.query("quantity == 'centres' and class_name == ''")["value"].to_numpy()
    assert drawn.ravel() == pytest.approx(values * 64)  # 8 × 8 cells: 64 times the share is the density
    for axes in centres.axes[:4]:
        shown = axes.images[0].get_array()
        assert shown.mean() == pytest.approx(1)
    counts = tables["boxes"]["class_name"].value_counts()
    rare = str(counts.index[-1])
    side = max(side for side in (1, 2, 4) if side**2 <= counts.iloc[-1])  # 8 does not fit: fewer than 64 faces
    assert counts.iloc[-1] < 64
    assert centres.axes[1 + CLASSES.index(rare)].images[0].get_array().shape == (side, side)


def test_the_sample_grid_shows_the_crops_as_they_are() -> None:
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((8, 6), (20, 20), (5, 30))]
    drawing = fig_sample_grid(crops, ["b", "a", "b"], ["6 px", "20 px", "30 px"], ["a", "b", "absent"])
    axes = drawing.figure.axes
    assert len(axes) == 4  # two rows with two columns
    shown = [image.get_array() for panel in axes for image in panel.images]
    for found, expected in zip(shown, (crops[1], crops[0], crops[2]), strict=True):
        assert np.array_equal(found, expected)
    assert [panel.get_title() for panel in axes] == ["20 px", "", "6 px", "30 px"]
    assert {"a", "b"} <= set(texts(drawing.figure).split())
    for wrong in (([], [], []), (crops, ["a"], ["x"]), ([np.zeros((4, 4, 3))], ["a"], ["x"])):
        with pytest.raises(ValueError):
            fig_sample_grid(*wrong)
    with pytest.raises(ValueError, match="not classes"):
        fig_sample_grid(crops, ["a", "b", "c"], ["", "", ""], ["a", "b"])


def test_files_are_equal_for_equal_figures(tables: Tables, tmp_path: Path) -> None:
    first = fig_image_kinds(tables["image_kinds"]).save(tmp_path / "one", dpi=60)
    second = fig_image_kinds(tables["image_kinds"]).save(tmp_path / "two", dpi=60)
    assert [path.name for path in first] == ["image_kinds.png", "image_kinds.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"<dc:date>" not in first[1].read_bytes() and b"format: PNG" in first[1].read_bytes()


def test_figures_saved_side_by_side_are_those_saved_one_by_one(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings = [replace(fig_image_kinds(tables["image_kinds"]), name=f"kinds{number}") for number in range(8)]
    alone = [path.read_bytes() for drawing in drawings for path in drawing.save(tmp_path / "alone", dpi=60)]
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    seen: list[tuple[int, int]] = []
    together = save_drawings(drawings, tmp_path / "together", 60, lambda *done: seen.append(done))
    assert [path.name for path in together] == [f"kinds{n}.{kind}" for n in range(8) for kind in ("png", "svg")]
    assert [path.read_bytes() for path in together] == alone
    assert seen == [(number, 8) for number in range(1, 9)]


def test_a_drawing_needs_a_name_and_words(tmp_path: Path) -> None:
    figure, _ = new_figure()
    for name in ("", "../up", "Upper", "a b"):
        with pytest.raises(ValueError, match="file stem"):
            Drawing(figure, name, "title", "caption")
    with pytest.raises(ValueError, match="caption"):
        Drawing(figure, "name", "title", " ")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        Drawing(figure, "name", "title", "caption").save(tmp_path / "file")


def test_styled_functions_see_the_style_and_leave_none() -> None:
    before = mpl.rcParams["legend.frameon"], mpl.rcParams["font.size"]

    @styled
    def inside(value: int) -> tuple[int, bool]:
        return value, mpl.rcParams["legend.frameon"]

    assert inside(3) == (3, RC["legend.frameon"])
    assert (mpl.rcParams["legend.frameon"], mpl.rcParams["font.size"]) == before


def test_titles_are_wrapped_to_the_figure() -> None:
    figure, _ = new_figure(size=(3.0, 2.0))
    drawing = finished(figure, "long", "a title that is much too long for a figure of three inches", "caption")
    assert max(map(len, figure.get_suptitle().split("\n"))) <= 33
    assert drawing.title.startswith("a title that")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("mask_weared_incorrect", ["mask_weared_", "incorrect"]),
        ("with_mask", ["with_mask"]),
        ("two words here", ["two words", "here"]),
        ("unbreakablename", ["unbreakablen", "ame"]),
    ],
)
def test_names_break_where_words_do(name: str, lines: list[str]) -> None:
    assert wrapped(name, 12).split("\n") == lines
