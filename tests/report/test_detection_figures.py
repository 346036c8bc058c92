"""Figures of detection show the tables' numbers, arms in their colours, whatever the names and numbers of classes."""

import numpy as np
import pandas as pd
import pytest

from maskbench.evaluation.detection_matching import SIZE_BANDS
from maskbench.report.figures.detection import (
    detection_figures,
    fig_detection_ap,
    fig_detection_confusion,
    fig_detection_curves,
    fig_detection_errors,
    fig_found_iou,
)
from maskbench.report.figures.localisation import Placed, fig_localisation
from maskbench.report.figures.systems import pairs_in
from maskbench.report.style import colours
from maskbench.schemas.detection import ALL_CLASSES, ANY_FACE, BACKGROUND, ERROR_KINDS
from tests.report.detection_tables import ARMS, CLASSES, ORDER, detection_tables
from tests.report.words import without_nan, words_of

FACE = np.full((20, 30, 3), 90, dtype=np.uint8)


@pytest.fixture(scope="module")
def tables():
    return detection_tables()


def part_of(table: pd.DataFrame, pair: tuple[str, str], **columns: object) -> pd.DataFrame:
    rows = (table["arm"] == pair[0]) & (table["pipeline"] == pair[1])
    for name, value in columns.items():
        rows &= table[name] == value
    return table[rows]


def test_curves_are_the_interpolated_precision_and_legends_the_ap(tables):
    axes = fig_detection_curves(tables["curves"], tables["metrics"], CLASSES, ARMS, 0).figure.axes
    pairs = pairs_in(tables["metrics"], ARMS)
    assert len(pairs) == 4
    for ax, name in zip(axes, [*CLASSES, ANY_FACE], strict=True):
        for line, pair in zip(ax.get_lines(), pairs, strict=True):
            curve = part_of(tables["curves"], pair, class_name=name, iou=0.5)
            assert line.get_color() == colours(ARMS)[pair[0]]
            assert (line.get_linestyle() == "-") == (pair[1] == "detector")
            assert line.get_xdata()[-1] == curve["recall"].max()
            at = np.searchsorted(line.get_xdata()[1:-1], curve["recall"])  # the highest precision at that recall
            assert (line.get_ydata()[1:-1][at] >= curve["interpolated"]).all()
            assert set(line.get_ydata()[:-1]) <= set(curve["interpolated"])
        metric = [part_of(tables["metrics"], pair, metric="ap50", class_name=name, band="all") for pair in pairs]
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert texts == [f"AP50 {row['value'].item():.3f}" for row in metric]


def test_dots_and_bars_are_values_and_intervals(tables):
    axes = fig_detection_ap(tables["metrics"], CLASSES, ARMS, 0).figure.axes
    rows = [[(name, "all") for name in (ALL_CLASSES, *CLASSES, ANY_FACE)], [(ANY_FACE, band) for band in SIZE_BANDS]]
    for ax, part in zip(axes, rows, strict=True):
        lines = [line for line in ax.get_lines() if line.get_linestyle() == "None"]
        for line, bars, pair in zip(lines, ax.collections, pairs_in(tables["metrics"], ARMS), strict=True):
            table = part_of(tables["metrics"], pair, metric="ap").set_index(["class_name", "band"]).loc[part]
            np.testing.assert_allclose(line.get_xdata(), table["value"])
            known = table[["low", "high"]].dropna()
            np.testing.assert_allclose([segment[:, 0] for segment in bars.get_segments()], known)
    faces = tables["metrics"].query("class_name == 'bare' and band == 'all'")["faces"].iloc[0]
    assert f"bare\n{faces} faces" in [label.get_text() for label in axes[0].get_yticklabels()]


def test_cells_are_counts_and_shares_of_faces(tables):
    figure = fig_detection_confusion(tables["confusion"], CLASSES, ARMS, 0).figure
    order = [(arm, pipeline) for pipeline in ("detector", "two-stage") for arm in ARMS]
    assert [ax.get_title().replace("\n", " ") for ax in figure.axes] == [f"{arm}, {name}" for arm, name in order]
    for ax, pair in zip(figure.axes, order, strict=True):
        table = part_of(tables["confusion"], pair)
        texts = [text.get_text() for text in ax.texts]
        assert texts[-1] == "–"
        assert [int(text.split("\n")[0].replace(",", "")) for text in texts[:-1]] == list(table["count"])
        faces = table[table["label"] == CLASSES[0]]["count"]
        assert [text.split("\n")[1] for text in texts[:4]] == [f"{n / faces.sum():.0%}" for n in faces]
        shares = np.asarray(ax.get_images()[0].get_array().filled(np.nan))
        np.testing.assert_allclose(shares[:-1].sum(axis=1), 1)
        assert np.isnan(shares[-1]).all()  # boxes on no face are no share of faces
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*CLASSES, BACKGROUND]


def test_bars_of_errors_are_counts_and_gains(tables):
    axes = fig_detection_errors(tables["errors"], ARMS, 0).figure.axes
    for ax, column in zip(axes, ("count", "gain"), strict=True):
        for bars, pair in zip(ax.containers, pairs_in(tables["errors"], ARMS), strict=True):
            table = part_of(tables["errors"], pair).set_index("kind").loc[list(ERROR_KINDS)]
            np.testing.assert_allclose([bar.get_width() for bar in bars], table[column])
            assert bool(bars[0].get_hatch()) == (pair[1] == "two-stage")


def test_errors_are_counted_at_the_chosen_score_and_gains_taken_over_all_boxes(tables):
    every = tables["errors"].assign(min_score=0.0)
    chosen = every.assign(min_score=0.3, count=every["count"] // 2, gain=every["gain"] / 2, ap50=0.1)
    drawing = fig_detection_errors(pd.concat([every, chosen], ignore_index=True), ARMS, 0)
    for ax, table, column in zip(drawing.figure.axes, (chosen, every), ("count", "gain"), strict=True):
        for bars, pair in zip(ax.containers, pairs_in(every, ARMS), strict=True):
            wanted = part_of(table, pair).set_index("kind").loc[list(ERROR_KINDS), column]
            np.testing.assert_allclose([bar.get_width() for bar in bars], wanted)
    left, right = drawing.caption.split("Right:")
    assert "Boxes of a score of 0.30 or more." in left and "All boxes, whatever their score." in right
    assert "AP50 0.100" not in " ".join(words_of(drawing))


def test_curves_of_exactness_start_at_the_share_found_and_fall_to_none(tables):
    axes = fig_found_iou(tables["found"], ARMS, 0).figure.axes
    edges = [0, 16, 32, 96, np.inf]
    for ax, low, high in zip(axes, edges[:-1], edges[1:], strict=True):
        here = tables["found"][(tables["found"]["side"] >= low) & (tables["found"]["side"] < high)]
        for line, pair in zip(ax.get_lines(), pairs_in(tables["found"], ARMS), strict=True):
            part = part_of(here, pair)
            assert line.get_ydata()[0] == pytest.approx(part["found"].mean())
            assert line.get_ydata()[-1] == 0
            ious = part.loc[part["found"], "iou"]
            middle = np.searchsorted(line.get_xdata(), 0.7, side="right") - 1
            assert line.get_ydata()[middle] == pytest.approx((ious > 0.7).sum() / len(part))
        assert ax.get_title().endswith(f": {len(part):,} faces")


@pytest.mark.parametrize("classes", [("$x_1$ & <b>", "y"), [f"a rather long class name, number {i}" for i in range(7)]])
def test_any_number_of_classes_and_one_system(classes):
    found = detection_tables(classes, ("only",), ("two-stage",), images=8, resamples=3)
    drawings = detection_figures(*(found[name] for name in ORDER), classes, ("only",))
    assert len({drawing.name for drawing in drawings}) == len(drawings) == 6
    without_nan(drawings)


def test_a_class_without_faces_and_a_system_without_boxes_are_drawn():
    found = detection_tables(images=9, resamples=3, absent="worn badly")
    no_boxes = found["curves"].iloc[:0]
    for curves in (found["curves"], no_boxes):
        figure = fig_detection_curves(curves, found["metrics"], CLASSES, ARMS, 0).figure
        assert {text.get_text() for text in figure.axes[2].get_legend().get_texts()} == {"AP50 –"}
        figure.canvas.draw()
    figure = fig_detection_ap(found["metrics"], CLASSES, ARMS, 0).figure
    assert [text.get_text() for text in figure.axes[0].texts].count("–") == 4


def test_every_seed_has_its_figures():
    found = detection_tables(images=8, seeds=(0, 3), resamples=3, pipelines=("detector",))
    drawings = detection_figures(*(found[name] for name in ORDER), CLASSES, ARMS)
    assert len(drawings) == 12
    assert all("Seed 3." in drawing.caption for drawing in drawings[6:])
    assert "0.30 (hand-written), 0.35 (torchvision)" in drawings[3].caption


def placed(iou: float, predicted: tuple[float, float, float, float] | None = (3, 2, 12, 11)) -> Placed:
    return Placed(FACE, (2, 2, 10, 10), predicted, iou, ("class_$1",))


def test_the_worst_box_comes_first_true_solid_predicted_dashed():
    faces = [placed(0.4), placed(0.1), placed(float("nan"), None)]
    drawing = fig_localisation(faces, name="boxes", title="Boxes", caption="Look here.", columns=2)
    axes = drawing.figure.axes
    assert [ax.texts[0].get_text().split("\n")[0] for ax in axes[:3]] == ["no box", "IoU 0.10", "IoU 0.40"]
    assert not axes[3].patches
    assert [len(ax.patches) for ax in axes[:3]] == [2, 4, 4]  # each line has a dark one below it
    true, predicted = axes[1].patches[1], axes[1].patches[3]
    assert true.get_bbox().extents.tolist() == [2, 2, 10, 10]
    assert predicted.get_bbox().extents.tolist() == [3, 2, 12, 11]
    assert true.get_linestyle() in ("-", "solid")
    assert predicted.get_linestyle() not in ("-", "solid")
    assert axes[0].get_images()[0].get_extent() == [0, 30, 20, 0]  # a box of whole pixels lies on their edges
    drawing.figure.canvas.draw()


def test_a_gallery_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match="at least one face"):
        fig_localisation([], name="x", title="t", caption="c")
    with pytest.raises(ValueError, match="not uint8"):
        fig_localisation([Placed(FACE[..., 0], (0, 0, 1, 1), None, 0.0)], name="x", title="t", caption="c")
