"""Evaluation figures show the tables' numbers, arms in the same colours and on the same scales."""

import numpy as np
import pandas as pd
import pytest

from maskbench.report.figures.evaluation import (
    HEADLINES,
    evaluation_figures,
    fig_class_f1_bars,
    fig_confusion,
    fig_headline,
    fig_precision_recall,
    fig_roc,
)
from maskbench.report.style import colours
from tests.report.study_on_disk import ARMS, CLASSES, evaluation_tables, rows_where

ORDER = ("metrics", "confusion", "roc", "precision_recall", "intervals", "differences")


@pytest.fixture(scope="module")
def tables():
    return evaluation_tables(faces=200, resamples=40)


def line(ax, start):
    return next(found for found in ax.get_lines() if str(found.get_label()).startswith(start))


def hexadecimal(colour):
    return "#" + "".join(f"{round(float(part) * 255):02X}" for part in colour[:3])


def test_cells_show_the_counts_and_shares(tables):
    figure = fig_confusion(tables["confusion"], CLASSES, ARMS, 0).figure
    panels = [ax for ax in figure.axes if ax.get_images()]
    assert [ax.get_title() for ax in panels] == [f"{arm}: {what}" for what in ("faces", "share of row") for arm in ARMS]
    for ax, arm, column in zip(panels, ARMS * 2, ("count", "count", "share", "share"), strict=True):
        part = rows_where(tables["confusion"], arm=arm)
        np.testing.assert_allclose(ax.get_images()[0].get_array().ravel(), part[column])
        shown = [text.get_text() for text in ax.texts]
        expected = [f"{v:.0f}" if column == "count" else f"{v:.0%}" for v in part[column]]
        assert shown == expected
    assert [label.get_text() for label in panels[0].get_yticklabels()] == list(CLASSES)
    assert [label.get_text() for label in panels[2].get_xticklabels()] == list(CLASSES)
    for left, right in ((0, 1), (2, 3)):
        one, other = (panels[place].get_images()[0].norm for place in (left, right))
        assert (one.vmin, one.vmax) == (other.vmin, other.vmax)


def test_an_absent_class_has_dashes(tables):
    table = tables["confusion"].copy()
    table.loc[table["true"] == "gamma", "count"] = 0
    table.loc[table["true"] == "gamma", "share"] = np.nan
    panels = [ax for ax in fig_confusion(table, CLASSES, ARMS, 0).figure.axes if ax.get_images()]
    assert [text.get_text() for text in panels[2].texts][6:] == ["–"] * 3


def test_roc_curves_are_the_table_with_the_area_in_the_legend(tables):
    axes = fig_roc(tables["roc"], tables["metrics"], CLASSES, ARMS, 0).figure.axes
    for ax, name in zip(axes, CLASSES, strict=True):
        assert line(ax, "chance").get_xydata().tolist() == [[0, 0], [1, 1]]
        for arm in ARMS:
            part = rows_where(tables["roc"], arm=arm, class_name=name)
            drawn = line(ax, arm)
            np.testing.assert_array_equal(drawn.get_xdata(), part["false_positive_rate"])
            np.testing.assert_array_equal(drawn.get_ydata(), part["true_positive_rate"])
            area = rows_where(tables["metrics"], arm=arm, class_name=name, metric="roc_auc")["value"].item()
            assert drawn.get_label() == f"{arm}: AUC {area:.3f}"
            assert drawn.get_color() == colours(ARMS)[arm]


def test_precision_recall_curves_are_the_table_with_the_prevalence(tables):
    axes = fig_precision_recall(tables["precision_recall"], tables["metrics"], CLASSES, ARMS, 0).figure.axes
    labels = rows_where(tables["predictions"], arm=ARMS[0])["label"]
    for ax, name in zip(axes, CLASSES, strict=True):
        assert line(ax, "prevalence").get_ydata()[0] == pytest.approx((labels == name).mean())
        for arm in ARMS:
            part = rows_where(tables["precision_recall"], arm=arm, class_name=name)
            np.testing.assert_array_equal(line(ax, arm).get_xdata(), part["recall"])
            np.testing.assert_array_equal(line(ax, arm).get_ydata(), part["precision"])


def test_bars_are_the_f1_of_each_class(tables):
    ax = fig_class_f1_bars(tables["intervals"], CLASSES, ARMS, 0).figure.axes[0]
    for container, lines, arm in zip(ax.containers, ax.collections, ARMS, strict=True):
        part = rows_where(tables["intervals"], arm=arm, metric="f1").set_index("class_name").loc[list(CLASSES)]
        np.testing.assert_allclose([bar.get_height() for bar in container], part["value"])
        spans = [segment[:, 1] for segment in lines.get_segments()]
        np.testing.assert_allclose(spans, part[["low", "high"]])
        assert hexadecimal(container[0].get_facecolor()) == colours(ARMS)[arm]


def test_headline_dots_are_the_values_and_the_differences(tables):
    axes = fig_headline(tables["intervals"], tables["differences"], ARMS, 0).figure.axes
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(HEADLINES.values())
    for arm in ARMS:
        part = rows_where(tables["intervals"], arm=arm, class_name="").set_index("metric").loc[list(HEADLINES)]
        np.testing.assert_allclose(line(axes[0], arm).get_xdata(), part["value"])
    part = rows_where(tables["differences"], class_name="").set_index("metric").loc[list(HEADLINES)]
    np.testing.assert_allclose(line(axes[1], ARMS[1]).get_xdata(), part["value"])
    spans = [segment[:, 0] for segment in axes[1].collections[0].get_segments()]
    np.testing.assert_allclose(spans, part[["low", "high"]])


@pytest.mark.parametrize("k", [2, 7])
def test_any_number_of_classes_and_one_arm(k):
    classes = ["$x_1$ & <b>", *(f"a rather long class name {i}" for i in range(k - 1))]
    found = evaluation_tables(classes, np.full(k, 1 / k), ("only",), faces=60, resamples=5)
    drawings = evaluation_figures(*(found[name] for name in ORDER), classes, ("only",))
    assert len({drawing.name for drawing in drawings}) == len(drawings) == 5
    for drawing in (drawings[1], drawings[2]):
        drawing.figure.canvas.draw()


def test_three_arms_and_two_seeds():
    arms = ("a", "b", "c")
    found = evaluation_tables(CLASSES, (0.5, 0.3, 0.2), arms, faces=60, seeds=(0, 3), resamples=5)
    drawings = evaluation_figures(*(found[name] for name in ORDER), CLASSES, arms)
    assert len(drawings) == 10
    assert all("Seed 3." in drawing.caption for drawing in drawings[5:])


def test_a_class_without_test_faces_is_drawn():
    found = evaluation_tables(CLASSES, (0.6, 0.3, 0.1), faces=60, resamples=5)
    from maskbench.evaluation import classification, uncertainty

    kept = found["predictions"].query("label != 'gamma'")
    drawings = evaluation_figures(
        classification.metrics_table(kept, CLASSES), classification.confusion_table(kept, CLASSES),
        classification.roc_table(kept, CLASSES), classification.precision_recall_table(kept, CLASSES),
        uncertainty.intervals_table(kept, CLASSES, resamples=5),
        uncertainty.differences_table(kept, CLASSES, resamples=5), CLASSES, ARMS,
    )  # fmt: skip
    roc = drawings[3].figure.axes[2]
    assert line(roc, ARMS[0]).get_label().endswith("AUC –")
    drawings[2].figure.canvas.draw()


def test_tables_are_not_changed(tables):
    before = {name: table.copy(deep=True) for name, table in tables.items()}
    evaluation_figures(*(tables[name] for name in ORDER), CLASSES, ARMS)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, before[name])
