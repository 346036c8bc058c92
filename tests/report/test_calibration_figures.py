"""Calibration figures show the tables' numbers, raw and scaled, arms in the same colours."""

import numpy as np
import pandas as pd
import pytest

from maskbench.evaluation.calibration import calibration_table, reliability_table
from maskbench.evaluation.temperature import temperature_table
from maskbench.report.figures.calibration import (
    SCORES,
    calibration_figures,
    fig_calibration_scores,
    fig_class_reliability,
    fig_reliability,
)
from maskbench.report.style import colours
from tests.evaluation.tables import plausible_predictions
from tests.report.study_on_disk import ARMS, CLASSES, SEPARATION, SHARES, rows_where
from tests.report.words import without_nan


def tables_of(classes, shares, arms, drop=None, **options):
    predictions = plausible_predictions(classes, shares, arms=arms, splits=("val", "test"), **options)
    if drop:
        predictions = predictions[(predictions["arm"] != drop) | (predictions["split"] != "val")]
    temperatures = temperature_table(predictions, classes, resamples=5)
    made = [
        table(predictions, temperatures, classes, pooled=True, resamples=20)
        for table in (reliability_table, calibration_table)
    ]
    return made[0], made[1]


@pytest.fixture(scope="module")
def tables():
    return tables_of(CLASSES, SHARES, SEPARATION, faces=200, seeds=(0, 1))


def test_points_and_histograms_are_the_bins(tables):
    reliability, calibration = tables
    axes = fig_reliability(reliability, calibration, ARMS).figure.axes
    assert len(axes) == 4 * len(ARMS)
    for row, calibrated in enumerate(("raw", "temperature")):
        for column, arm in enumerate(ARMS):
            diagram, histogram = axes[2 * row * len(ARMS) + column], axes[(2 * row + 1) * len(ARMS) + column]
            bins = rows_where(
                reliability, arm=arm, calibrated=calibrated, scheme="equal_width", class_name="", split="test"
            )
            part = bins[bins["faces"] > 0]
            dots = diagram.collections[-1]
            np.testing.assert_allclose(dots.get_offsets(), part[["stated", "observed"]])
            spans = [segment[:, 1] for segment in diagram.collections[0].get_segments() if len(segment)]
            np.testing.assert_allclose(spans, part[["low", "high"]].dropna())
            assert (np.diff(dots.get_sizes()[np.argsort(part["faces"])]) >= 0).all()
            np.testing.assert_allclose([bar.get_height() for bar in histogram.patches], bins["faces"] / 400)
            error = rows_where(calibration, arm=arm, calibrated=calibrated, metric="ece", class_name="")["value"].item()
            assert diagram.texts[0].get_text().startswith(f"ECE {error:.3f} [")
            assert diagram.get_xlim() == diagram.get_ylim() == (-0.02, 1.02)


def test_each_class_has_its_points_and_errors(tables):
    reliability, calibration = tables
    axes = fig_class_reliability(reliability, calibration, CLASSES, ARMS).figure.axes
    for place, name in enumerate(CLASSES):
        for row, calibrated in enumerate(("raw", "temperature")):
            ax = axes[row * len(CLASSES) + place]
            assert ax.get_title().startswith(f"{name} (")
            texts = [text.get_text() for text in ax.texts]
            for arm, text in zip(ARMS, texts, strict=False):
                keys = {"arm": arm, "calibrated": calibrated, "class_name": name}
                line = next(found for found in ax.get_lines() if found.get_label() == arm)
                part = rows_where(reliability, scheme="equal_mass", **keys).query("faces > 0")
                np.testing.assert_allclose(line.get_xydata(), part[["stated", "observed"]])
                assert line.get_color() == colours(ARMS)[arm]
                error = rows_where(calibration, metric="ece_adaptive", **keys)["value"].item()
                assert text.endswith(f"{error:.3f}")


def test_scores_have_their_intervals_and_what_chance_gives(tables):
    calibration = tables[1]
    axes = fig_calibration_scores(calibration, ARMS).figure.axes
    assert [ax.get_xlabel() for ax in axes] == list(SCORES.values())
    for ax, metric in zip(axes, SCORES, strict=True):
        wanted = rows_where(calibration, metric=metric, class_name="").set_index(["arm", "calibrated"])
        order = [(arm, calibrated) for arm in ARMS for calibrated in ("raw", "temperature")]
        np.testing.assert_allclose([line.get_xdata()[0] for line in ax.get_lines()], wanted.loc[order, "value"])
        fills = [line.get_markerfacecolor() for line in ax.get_lines()]
        assert [fill == "white" for fill in fills] == [True, False] * len(ARMS)
        spans = [s[:, 0] for c in ax.collections if hasattr(c, "get_segments") for s in c.get_segments()]
        np.testing.assert_allclose(spans, wanted.loc[order, ["low", "high"]])


def test_captions_say_what_they_rest_on(tables):
    for drawing in calibration_figures(*tables, CLASSES, ARMS):
        assert "Test faces: 400 of" in drawing.caption
        assert "2 seeds together" in drawing.caption and "15 bins" in drawing.caption


@pytest.mark.parametrize("k", [2, 5])
def test_any_classes_one_arm_and_an_arm_without_temperature(k):
    classes = ["$x_1$ & <b>", *(f"a rather long class name {number}" for number in range(k - 1))]
    made = tables_of(classes, np.full(k, 1 / k), {"only": 1.5}, drop="only", faces=60)
    drawings = calibration_figures(*made, classes, ("only",))
    without_nan(drawings)
    texts = [text.get_text() for ax in drawings[0].figure.axes for text in ax.texts]
    assert "no temperature" in texts and any(text.startswith("ECE – [–, –]") for text in texts)


def test_tables_are_not_changed(tables):
    before = [table.copy(deep=True) for table in tables]
    calibration_figures(*tables, CLASSES, ARMS)
    for table, copy in zip(tables, before, strict=True):
        pd.testing.assert_frame_equal(table, copy)


def test_no_text_hides_a_point_and_points_at_the_edge_are_whole(tables):
    figure = fig_reliability(*tables, ARMS).figure
    figure.canvas.draw()
    for ax in figure.axes[: len(ARMS)]:
        assert all(text.get_window_extent().y0 >= ax.get_window_extent().y1 for text in ax.texts)
        assert not any(points.get_clip_on() for points in ax.collections)
