"""Figures of interventions show the tables' numbers, with the untouched faces in every curve."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison.interventions import intervention_curves, intervention_ranking
from maskbench.report.figures.interventions import fig_intervention_curves, fig_intervention_ranking
from maskbench.report.style import colours
from tests.comparison.intervened import plausible
from tests.report.study_on_disk import ARMS, CLASSES, rows_where

COSTS = {
    "shrink": {64.0: 0.01, 32.0: 0.1, 8.0: 0.4},
    "blur": {0.01: 0.0, 0.05: 0.05, 0.2: 0.3},
    "noise": {5.0: 0.0, 20.0: 0.01, 80.0: 0.2},
    "jpeg": {50.0: 0.0, 20.0: 0.02, 5.0: 0.1},
}


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    found = intervention_curves(
        plausible(CLASSES, COSTS, dict(zip(ARMS, (0.8, 0.9), strict=True))), CLASSES, resamples=60
    )
    few = (found["intervention"] == "shrink") & (found["level"] == 64)
    return found.assign(changed=found["changed"].mask(few, 17))


def line(ax, label):
    return next(found for found in ax.get_lines() if found.get_label() == label)


def test_curves_are_the_table_with_bands_and_the_untouched_in_each(curves) -> None:
    drawing = fig_intervention_curves(curves, ARMS)
    axes = [ax for ax in drawing.figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in axes] == [f"{name} at" for name in COSTS]
    assert len({ax.get_ylim() for ax in axes}) == 1
    for ax, name in zip(axes, COSTS, strict=True):
        for arm, band in zip(ARMS, ax.collections, strict=True):
            part = rows_where(curves, arm=arm, intervention=name, metric="f1_macro")
            np.testing.assert_allclose(line(ax, arm).get_xydata(), part[["position", "value"]])
            assert line(ax, arm).get_color() == colours(ARMS)[arm]
            heights = band.get_paths()[0].vertices[:, 1]
            assert (heights.min(), heights.max()) == pytest.approx((part["low"].min(), part["high"].max()))
        assert line(ax, "untouched").get_xdata() == [0, 0]
    ticks = [tick.get_text() for tick in axes[0].get_xticklabels()]
    assert ticks == ["as is", "64\n(17)", "32", "8"]
    assert "60 photographs, 1 seed" in drawing.caption and "95% intervals" in drawing.caption


def test_accuracy_has_a_figure_of_its_own(curves) -> None:
    drawing = fig_intervention_curves(curves, ARMS, metric="accuracy")
    assert drawing.name == "interventions-accuracy" and drawing.figure.axes[0].get_ylabel() == "test accuracy"
    part = rows_where(curves, arm=ARMS[0], intervention="shrink", metric="accuracy")
    np.testing.assert_allclose(line(drawing.figure.axes[0], ARMS[0]).get_ydata(), part["value"])


def test_bars_are_the_drops_costliest_first(curves) -> None:
    ranking = intervention_ranking(curves)
    drawing = fig_intervention_ranking(ranking, ARMS)
    ax = drawing.figure.axes[0]
    order = ranking.groupby("intervention")["drop"].mean().sort_values(ascending=False).index
    names = [tick.get_text().replace("\n", " ") for tick in ax.get_yticklabels()]
    assert names == [f"{name} at {rows_where(ranking, intervention=name)['level'].iloc[0]:g} px" for name in order]
    for arm, bars in zip(ARMS, ax.containers, strict=True):
        drops = rows_where(ranking, arm=arm).set_index("intervention").loc[order, "drop"]
        assert [bar.get_width() for bar in bars] == pytest.approx(drops.tolist())
    bottom, top = ax.get_ylim()
    assert bottom > top  # the first stands on top
    assert (
        ax.texts[0].get_text() == f"{rows_where(ranking, arm=ARMS[0]).set_index('intervention')['drop'][order[0]]:.3f}"
    )


def test_undefined_values_leave_gaps_and_dashes(curves) -> None:
    holes = curves.copy()
    gone = (holes["arm"] == ARMS[0]) & (holes["intervention"] == "blur") & (holes["position"] > 0)
    holes.loc[gone, ["value", "low", "high", "drop", "drop_low", "drop_high"]] = np.nan
    fig_intervention_curves(holes, ARMS).figure.canvas.draw()
    drawing = fig_intervention_ranking(intervention_ranking(holes), ARMS)
    drawing.figure.canvas.draw()
    assert "–" in [text.get_text() for text in drawing.figure.axes[0].texts]


@pytest.mark.parametrize("arms", [("only $x$ & with a very long name that goes on and on",), tuple("abcde")])
def test_any_number_of_arms_and_interventions(arms) -> None:
    found = intervention_curves(
        plausible(("a", "b"), dict(list(COSTS.items())[:1]), dict.fromkeys(arms, 0.8)), ("a", "b"), resamples=20
    )
    for drawing in (fig_intervention_curves(found, arms), fig_intervention_ranking(intervention_ranking(found), arms)):
        drawing.figure.canvas.draw()
    fig_intervention_curves(found.iloc[:0], arms).figure.canvas.draw()
    fig_intervention_ranking(intervention_ranking(found).iloc[:0], arms).figure.canvas.draw()
