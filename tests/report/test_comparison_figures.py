"""Figures of the comparison show the tables' numbers, whatever the arms, seeds and classes."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.arms import compare_arms
from maskbench.report.figures.comparison import (
    comparison_figures,
    fig_difference_forest,
    fig_seed_slopes,
    fig_summary_forest,
)
from maskbench.report.figures.evaluation import HEADLINES
from maskbench.report.style import colours
from tests.evaluation.tables import plausible_predictions
from tests.report.words import without_nan

ARMS, CLASSES = ("manual-random", "torchvision-pretrained"), ("alpha", "beta", "gamma")
ROWS = [*((metric, "") for metric in HEADLINES), *(("f1", name) for name in CLASSES)]
ORDER = ("seeds", "summary", "differences")


def compared(classes, arms, seeds, faces=150):
    shares = np.linspace(3, 1, len(classes)) / np.linspace(3, 1, len(classes)).sum()
    separations = dict(zip(arms, np.linspace(1, 3, len(arms)), strict=True))
    table = plausible_predictions(classes, shares, faces=faces, arms=separations, seeds=seeds)
    return compare_arms(table, classes, resamples=60, permutations=199)


@pytest.fixture(scope="module")
def tables():
    return compared(CLASSES, ARMS, (0, 1, 2))


def line(ax, label):
    return next(found for found in ax.get_lines() if found.get_label() == label)


def spans(collection):
    return np.array([[segment[0][0], segment[1][0]] for segment in collection.get_segments()])


def rows_of(table, rows, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    return table.set_index(["metric", "class_name"]).loc[rows]


def test_forest_of_arms_is_the_summary_with_every_seed(tables):
    axes = fig_summary_forest(tables["summary"], tables["seeds"], CLASSES, ARMS).figure.axes
    for index, arm in enumerate(ARMS):
        part = rows_of(tables["summary"], ROWS, arm=arm)
        np.testing.assert_allclose(line(axes[0], arm).get_xdata(), part["value"])
        assert line(axes[0], arm).get_color() == colours(ARMS)[arm]
        np.testing.assert_allclose(spans(axes[0].collections[index]), part[["low", "high"]])
        loss = rows_of(tables["summary"], [("loss", "")], arm=arm)
        np.testing.assert_allclose(line(axes[1], arm).get_xdata(), loss["value"])
    dots = sorted(float(x) for found in axes[0].get_lines() if found.get_marker() == "." for x in found.get_xdata())
    keys = zip(tables["seeds"]["metric"], tables["seeds"]["class_name"], strict=True)
    single = tables["seeds"][[pair in ROWS for pair in keys]]
    np.testing.assert_allclose(dots, sorted(single["value"]))
    low, high = axes[0].get_xlim()
    assert low <= single["value"].min()
    assert high >= single["value"].max()


def test_forest_of_differences_has_zero_line_p_and_verdict(tables):
    table = tables["differences"].copy()
    shown = (table["metric"] == "accuracy") | (table["metric"] == "loss")
    table.loc[shown, ["verdict", "p_holm"]] = [f"{ARMS[1]} higher", 0.0001]
    table.loc[~shown, ["verdict", "p_holm"]] = ["no difference shown", 0.2]
    drawing = fig_difference_forest(table, CLASSES, ARMS[1], ARMS[0])
    ax = drawing.figure.axes[0]
    rows = [*((metric, "") for metric in HEADLINES), ("loss", "")]
    rows += [(metric, name) for metric in ("f1", "roc_auc") for name in CLASSES]
    part = rows_of(table, rows)
    np.testing.assert_allclose(spans(ax.collections[0]), part[["low", "high"]])
    filled, hollow = (found for found in ax.get_lines() if found.get_marker() == "o")
    np.testing.assert_allclose(filled.get_xdata(), part.loc[[("accuracy", ""), ("loss", "")], "value"])
    assert hollow.get_markerfacecolor() == "white"
    assert len(hollow.get_xdata()) == len(rows) - 2
    side = [label.get_text() for label in ax.child_axes[0].get_yticklabels()]
    assert side[0] == f"p < 0.001   {ARMS[1]} higher"
    assert side[1] == "p = 0.20   no difference shown"
    low, high = ax.get_xlim()
    assert low <= 0 <= high
    assert f"over {len(table)} differences" in drawing.caption


def test_slopes_are_the_seeds(tables):
    drawing = fig_seed_slopes(tables["seeds"], ARMS)
    ax = drawing.figure.axes[0]
    wide = tables["seeds"].query("metric == 'f1_macro'").pivot_table(index="seed", columns="arm", values="value")
    drawn = [found.get_ydata() for found in ax.get_lines()]
    np.testing.assert_allclose(drawn[:3], wide[list(ARMS)])
    np.testing.assert_allclose(drawn[-1], wide[list(ARMS)].mean())  # the dashed mean
    assert {text.get_text() for text in ax.texts} == {"mean", "seed 0", "seed 1", "seed 2"}
    assert f"{ARMS[1]} is above {ARMS[0]} in 3 of 3" in drawing.caption


def test_captions_say_what_they_rest_on(tables):
    for drawing in comparison_figures(*(tables[name] for name in ORDER), CLASSES, ARMS):
        for part in ("150 faces", "test photographs", "3 seeds"):
            assert part in drawing.caption
    assert "test photographs and training seeds" in drawing_named(tables, "comparison-arms").caption


def drawing_named(tables, name):
    found = comparison_figures(*(tables[part] for part in ORDER), CLASSES, ARMS)
    return next(drawing for drawing in found if drawing.name == name)


def test_one_arm_has_no_differences_to_draw():
    found = compared(CLASSES, ("only",), (0,), faces=60)
    drawings = comparison_figures(*(found[name] for name in ORDER), CLASSES, ("only",))
    assert [drawing.name for drawing in drawings] == ["comparison-arms"]
    assert "one seed" in drawings[0].caption


def test_many_arms_long_names_and_an_absent_class():
    classes = ["$x$ & a rather long class name <b>", "7", "ü"]
    arms = tuple(f"an-arm-with-a-rather-long-name-number-{number}" for number in range(4))
    table = plausible_predictions(classes, [0.6, 0.3, 0.1], faces=80, arms=dict.fromkeys(arms, 2.0), seeds=(0, 1))
    kept = table[table["label"] != "ü"]
    found = compare_arms(kept, classes, resamples=30, permutations=19)
    drawings = comparison_figures(*(found[name] for name in ORDER), classes, arms)
    assert len({drawing.name for drawing in drawings}) == len(drawings) == 1 + 6 + 1
    for drawing in (drawings[0], drawings[1], drawings[-1]):
        drawing.figure.canvas.draw()


def test_a_bar_far_beyond_the_others_ends_in_a_triangle(tables):
    table = tables["differences"].copy()
    table.loc[table["metric"] == "f1_macro", ["low", "high"]] = [-9.0, 9.0]
    ax = fig_difference_forest(table, CLASSES, ARMS[1], ARMS[0]).figure.axes[0]
    assert {"<", ">"} <= {found.get_marker() for found in ax.get_lines()}
    assert ax.get_xlim()[1] < 9


def test_tables_are_not_changed(tables):
    before = {name: table.copy(deep=True) for name, table in tables.items()}
    comparison_figures(*(tables[name] for name in ORDER), CLASSES, ARMS)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, before[name])


def test_differences_of_shares_stay_within_one_and_rows_without_interval_have_no_verdict(tables):
    table = tables["differences"].copy()
    bare = table["metric"].isin(["f1_macro", "roc_auc_macro", "balanced_accuracy"])
    table.loc[bare, ["low", "high"]] = np.nan
    table.loc[~bare, ["low", "high"]] = [-0.9, 0.9]  # long bars do not widen the axis for rows without any
    drawing = fig_difference_forest(table, CLASSES, ARMS[1], ARMS[0])
    ax = drawing.figure.axes[0]
    assert ax.get_xlim()[0] >= -1.1 and ax.get_xlim()[1] <= 1.1
    side = [label.get_text().split("   ")[1] for label in ax.child_axes[0].get_yticklabels()]
    assert side[1:4] == ["no interval, no verdict"] * 3
    assert "no interval, no verdict" not in [side[0], *side[4:]]
    assert "3 rows have no interval and therefore no verdict" in drawing.caption


def test_undefined_values_are_dashes(tables):
    undefined = {name: table.copy() for name, table in tables.items()}
    columns = {"seeds": ["value"], "summary": ["value", "low", "high"], "differences": ["value", "low", "high"]}
    for name, table in undefined.items():
        if name in columns:
            table.loc[table["metric"] == "f1", columns[name]] = np.nan
    undefined["differences"].loc[undefined["differences"]["metric"] == "f1", ["p_value", "p_holm"]] = np.nan
    without_nan(comparison_figures(*(undefined[name] for name in ORDER), CLASSES, ARMS))
