"""Figures of what drives the errors show their tables."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.factors import explain_errors
from maskbench.report.drawing import Drawing
from maskbench.report.figures.factors import (
    factor_figures,
    fig_error_rates,
    fig_importance,
    fig_odds,
    fig_partial_dependence,
)
from maskbench.report.figures.properties import fig_property_correlations
from maskbench.report.style import colours
from tests.comparison.simulated_faces import STRONG, simulated_predictions, simulated_properties
from tests.report.study_on_disk import rows_where
from tests.report.words import without_nan

ARMS = ("one", "two words")
QUICK = {"folds": 3, "repeats": 2, "resamples": 40}


@pytest.fixture(scope="module")
def tables():
    properties = simulated_properties(80).assign(copy=lambda table: table["size"] * 2)
    return explain_errors(simulated_predictions(properties, STRONG, arms=ARMS), properties, **QUICK)


def drawn(drawing: Drawing) -> Drawing:
    drawing.figure.canvas.draw()
    return drawing


def points(ax, label):
    return next(line for line in ax.get_lines() if line.get_label() == label)


def test_rates_are_the_table_strongest_first(tables):
    drawing = drawn(fig_error_rates(tables.rates, tables.ranking, ARMS))
    titles = [ax.get_title() for ax in drawing.figure.axes if ax.get_title()]
    assert set(titles[:2]) == set(STRONG) and titles[-1] == "copy"
    ax = drawing.figure.axes[0]
    for arm in ARMS:
        part = rows_where(tables.rates, property=titles[0], arm=arm)
        line = points(ax, arm)
        np.testing.assert_allclose(line.get_ydata(), part["rate"])
        assert line.get_color() == colours(ARMS)[arm]
    errors, faces = tables.skill.iloc[0][["errors", "faces"]]
    assert f"one: {errors:.3g} errors on {faces} faces" in drawing.caption


def test_odds_are_the_table_with_the_vif_and_what_was_left_out(tables):
    drawing = drawn(fig_odds(tables.odds, tables.ranking, ARMS))
    left, right = drawing.figure.axes[:2]
    labels = [label.get_text() for label in left.get_yticklabels()]
    vif = tables.odds.query("property == 'blur' and model == 'together'")["vif"].max()
    assert f"blur  (VIF {vif:.1f})" in labels and "log copy  (left out)" in labels
    order = [next(n for n in tables.odds["property"] if n in label.split()) for label in labels]
    for ax, model in ((left, "together"), (right, "alone")):
        part = rows_where(tables.odds, arm="one", model=model).set_index("property").loc[order]
        np.testing.assert_allclose(points(ax, "one").get_xdata(), part["odds_ratio"])
    low, high = left.get_xlim()
    assert low * high == pytest.approx(1) and left.get_xscale() == "log"


def test_importances_stand_under_the_models_skill(tables):
    drawing = drawn(fig_importance(tables.importance, tables.skill, ARMS))
    auc = tables.skill.query("arm == 'one' and metric == 'auc'")["value"].item()
    assert f"one: AUC {auc:.2f}" in drawing.title
    ax = drawing.figure.axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    part = tables.importance.query("arm == 'one'").set_index("property").loc[names]
    np.testing.assert_allclose([bar.get_width() for bar in ax.containers[0]], part["importance"])


def test_a_model_without_skill_is_drawn_pale_and_named(tables):
    skill = tables.skill.assign(skill="not shown")
    figure = drawn(fig_importance(tables.importance, skill, ARMS)).figure
    assert all(bar.get_alpha() < 0.5 for container in figure.axes[0].containers for bar in container)
    assert "one (no skill shown)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_dependence_is_the_table(tables):
    drawing = drawn(fig_partial_dependence(tables.dependence, tables.skill, ARMS))
    name = tables.dependence["property"].iloc[0]
    ax = next(ax for ax in drawing.figure.axes if ax.get_title() == name)
    part = rows_where(tables.dependence, property=name, arm="one")
    np.testing.assert_allclose(points(ax, "one").get_ydata(), part["error_rate"])


def test_correlations_are_the_table(tables):
    ax = drawn(fig_property_correlations(tables.correlations)).figure.axes[0]
    matrix = ax.get_images()[0].get_array()
    assert matrix[0, 0] == 1 and np.asarray(matrix) == pytest.approx(np.asarray(matrix).T)
    value = tables.correlations.query("property_a == 'size' and property_b == 'light'")["correlation"].item()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert matrix[names.index("size"), names.index("light")] == pytest.approx(value)


@pytest.mark.parametrize("arms", [("only",), tuple(f"an arm with quite a long name {n}" for n in range(5))])
def test_any_number_of_arms(arms):
    properties = simulated_properties(30).rename(columns={"age": "a rather long property name that goes on and on"})
    found = explain_errors(simulated_predictions(properties, STRONG, arms=arms), properties, folds=2, repeats=1,
                           resamples=20)  # fmt: skip
    drawings = factor_figures(found, arms)
    assert len({drawn(drawing).name for drawing in drawings}) == 5


@pytest.mark.parametrize("correct", [True, False])
def test_nothing_to_show_is_said_and_not_a_traceback(correct):
    properties = simulated_properties(20).assign(hollow=np.nan, constant=1.0)
    found = explain_errors(simulated_predictions(properties, {}).assign(correct=correct), properties, **QUICK)
    drawings = [drawn(drawing) for drawing in factor_figures(found, ARMS)]
    words = " ".join(text.get_text() for ax in drawings[2].figure.axes for text in ax.texts)
    assert "fewer" in words.replace("\n", " ")
    (odds,) = drawings[1].figure.axes  # one note in place of two empty panels
    assert "All in one model: not fitted." in odds.texts[0].get_text().replace("\n", " ")
    assert "Each alone: not fitted (" in drawings[1].caption
    without_nan(drawings)


def test_a_missing_interval_is_said_with_its_reason(tables):
    reason = "no interval from 9 photograph(s): fewer than 10"
    skill = tables.skill.assign(low=np.nan, high=np.nan, skill="undefined", reason=reason)
    importance = tables.importance.assign(low=np.nan, high=np.nan)
    drawings = (fig_importance(importance, skill, ARMS), fig_partial_dependence(tables.dependence, skill, ARMS))
    without_nan(drawings)
    for drawing in drawings:
        assert f"Missing: {reason}." in drawing.caption
        assert "[no interval]" in drawing.title + drawing.caption


@pytest.mark.parametrize(("repeats", "bars"), [(4, False), (5, True)])
def test_the_spread_of_a_few_shufflings_is_not_drawn(tables, repeats, bars):
    drawing = drawn(fig_importance(tables.importance.assign(repeats=repeats), tables.skill, ARMS))
    widths = {float(width) for lines in drawing.figure.axes[0].collections for width in lines.get_linewidths()}
    assert (2.4 in widths) == bars
    assert ("too few to draw their spread" in drawing.caption) != bars
    assert ("no interval" in drawing.caption) == bars


def test_a_model_that_was_not_fitted_has_no_panel(tables):
    odds = tables.odds.copy()
    rows = odds["model"] == "together"
    odds.loc[rows, ["log_odds", "odds_ratio", "low", "high"]] = np.nan
    odds.loc[rows, "reason"] = "too few errors"
    drawing = drawn(fig_odds(odds, tables.ranking, ARMS))
    assert [ax.get_title() for ax in drawing.figure.axes] == ["Each alone"]
    assert "All in one model: not fitted (too few errors)." in drawing.caption


def test_tables_are_not_changed(tables):
    before = {name: getattr(tables, name).copy(deep=True) for name in vars(tables)}
    factor_figures(tables, ARMS)
    for name, table in before.items():
        pd.testing.assert_frame_equal(getattr(tables, name), table)
