"""Figures of convergence and data efficiency show the tables' numbers on shared axes and scales."""

import numpy as np
import pandas as pd
import pytest

from maskbench.comparison import convergence as measure
from maskbench.comparison import dynamics, efficiency
from maskbench.report.figures.convergence import (
    convergence_figures,
    fig_autocorrelation,
    fig_best_epochs,
    fig_convergence,
    fig_gradient_flow,
    fig_gradient_ratio,
)
from maskbench.report.figures.efficiency import fig_learning_curves, fig_regimes
from maskbench.report.style import colours
from tests.comparison.test_efficiency import logarithmic, runs_of
from tests.report.study_on_disk import ARMS, history_tables, rows_where


def tables_of(history, seconds=2.0):
    runs = history["epochs"].groupby(["arm", "seed"])["epoch"].nunique()
    fits = [{"arm": a, "seed": s, "epoch_seconds": [seconds] * n if seconds else []} for (a, s), n in runs.items()]
    times = measure.epoch_times_table(fits)
    convergence = measure.convergence_table(history["epochs"], times)
    return {
        "epochs": history["epochs"],
        "times": times,
        "convergence": convergence,
        "best_epochs": measure.best_epochs_table(convergence),
        "autocorrelation": dynamics.loss_autocorrelation_table(history["steps"], lags=6),
        "flow": dynamics.gradient_flow_table(history["gradients"]),
        "ratio": dynamics.gradient_ratio_table(history["gradients"]),
    }


@pytest.fixture(scope="module")
def tables():
    return tables_of(history_tables(epochs=6, steps=8, seeds=(0, 1, 2), interval=4))


def line(ax, label):
    return next(found for found in ax.get_lines() if found.get_label() == label)


def test_curves_are_means_over_seeds_and_bands_their_range(tables):
    axes = fig_convergence(tables["epochs"], tables["times"], tables["convergence"], ARMS).figure.axes
    assert len(axes) == 4
    for number, arm in enumerate(ARMS):
        part = rows_where(tables["epochs"], arm=arm, split="val", metric="f1_macro")
        by_epoch = part.groupby("epoch")["value"]
        np.testing.assert_allclose(line(axes[0], arm).get_ydata(), by_epoch.mean())
        assert line(axes[0], arm).get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
        assert line(axes[1], arm).get_xdata().tolist() == [2, 4, 6, 8, 10, 12]
        band = axes[0].collections[number].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == (pytest.approx(by_epoch.min().min()), pytest.approx(by_epoch.max().max()))


def test_the_strip_shows_when_shares_are_reached(tables):
    axes = fig_convergence(tables["epochs"], tables["times"], tables["convergence"], ARMS).figure.axes
    assert [tick.get_text() for tick in axes[2].get_yticklabels()] == [f"{n} % of its best" for n in (90, 95, 99)]
    for ax, unit in ((axes[2], "epochs"), (axes[3], "seconds")):
        dots = {found.get_ydata()[0]: (found.get_xdata()[0], found.get_color()) for found in ax.get_lines()}
        for number, target in enumerate((90, 95, 99)):
            for index, arm in enumerate(ARMS):
                values = rows_where(tables["convergence"], arm=arm, metric=f"{unit}_to_{target}")["value"]
                place = min(dots, key=lambda at, want=number + (index - 0.5) * 0.35: abs(at - want))
                assert dots[place] == (pytest.approx(values.mean()), colours(ARMS)[arm])


def test_without_times_there_is_one_panel():
    found = tables_of(history_tables(epochs=2, steps=3), seconds=0)
    assert len(fig_convergence(found["epochs"], found["times"], found["convergence"], ARMS).figure.axes) == 2


def test_bars_count_the_runs_of_each_best_epoch(tables):
    axes = fig_best_epochs(tables["best_epochs"], ARMS).figure.axes
    for ax, arm in zip(axes, ARMS, strict=True):
        part = rows_where(tables["best_epochs"], arm=arm)
        assert [bar.get_height() for bar in ax.patches] == part["runs"].tolist()
        assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx(part["epoch"].tolist())
    assert axes[0].get_xlim() == axes[1].get_xlim()


def test_dots_are_mean_autocorrelations(tables):
    axes = fig_autocorrelation(tables["autocorrelation"], ARMS).figure.axes
    for ax, method in zip(axes, ("within_epoch", "first_difference"), strict=True):
        for arm in ARMS:
            part = rows_where(tables["autocorrelation"], arm=arm, method=method)
            wanted = part[part["lag"] > 0].groupby("lag")["value"].mean()
            np.testing.assert_allclose(line(ax, arm).get_ydata(), wanted)


def test_heatmaps_are_medians_over_seeds_on_one_scale(tables):
    axes = fig_gradient_flow(tables["flow"], ARMS).figure.axes[:2]
    meshes = [ax.collections[0] for ax in axes]
    assert meshes[0].norm is meshes[1].norm
    for mesh, arm in zip(meshes, ARMS, strict=True):
        part = rows_where(tables["flow"], arm=arm)
        wanted = part.pivot_table(index="position", columns="epoch", values="gradient_norm", aggfunc="median")
        np.testing.assert_allclose(mesh.get_array().reshape(wanted.shape), np.log10(wanted))
    assert axes[0].get_yticklabels()[0].get_text() == "stem"


def test_ratio_lines_are_medians_over_seeds(tables):
    axes = fig_gradient_ratio(tables["ratio"], ARMS).figure.axes
    for arm in ARMS:
        wanted = rows_where(tables["ratio"], arm=arm).groupby("epoch")["ratio"].median()
        np.testing.assert_allclose(line(axes[0], arm).get_ydata(), wanted)
    assert axes[0].get_ylabel() == "stem / head"


@pytest.mark.parametrize(
    ("arms", "options"),
    [
        (("only $x$ & with a very long name that goes on",), {"epochs": 1, "steps": 1, "interval": 1}),
        (("a", "b", "c"), {"epochs": 4, "steps": 9, "interval": 3, "seeds": (0, 4)}),
    ],
)
def test_any_number_of_arms_epochs_and_seeds(arms, options):
    found = tables_of(history_tables(arms=arms, **options))
    drawings = convergence_figures(**found, arms=arms)
    assert len({drawing.name for drawing in drawings}) == len(drawings) == 5
    for drawing in drawings:
        drawing.figure.canvas.draw()


def test_groups_that_did_not_learn_are_left_empty_and_no_gradients_leave_figures_out(tables):
    history = history_tables(epochs=3, steps=4, interval=2)
    part = history["gradients"]
    frozen = part[(part["arm"] == ARMS[0]) & (part["group"] != "head")]
    found = tables_of(history | {"gradients": part.drop(frozen.index)})
    mesh = fig_gradient_flow(found["flow"], ARMS).figure.axes[0].collections[0]
    cells = mesh.get_array().reshape(6, 3)
    assert cells.mask[:5].all() and not cells.mask[5].any()
    fig_gradient_ratio(found["ratio"], ARMS).figure.canvas.draw()
    nothing = tables_of(history | {"gradients": part.iloc[:0]})
    assert len(convergence_figures(**nothing, arms=ARMS)) == 3


def test_tables_are_not_changed(tables):
    before = {name: table.copy(deep=True) for name, table in tables.items()}
    convergence_figures(**tables, arms=ARMS)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, before[name])


def test_learning_curves_have_bands_and_arrows():
    runs = runs_of({ARMS[0]: logarithmic, ARMS[1]: lambda faces: logarithmic(4 * faces)}, seeds=3, noise=0.001)
    curves = efficiency.learning_curves_table(runs)
    worth = efficiency.label_worth_table(runs, ARMS[1], ARMS[0])
    drawing = fig_learning_curves(curves, worth, ARMS)
    ax = drawing.figure.axes[0]
    assert ax.get_xscale() == "log"
    for arm, band in zip(ARMS, ax.collections, strict=True):
        part = rows_where(curves, arm=arm)
        np.testing.assert_allclose(line(ax, arm).get_xydata(), part[["train_faces", "mean"]])
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(part["high"].max())
    shown = [text.get_text() for text in ax.texts if text.get_text()]
    # 100, 200, 500 faces are worth four times as many; 1000 more than twice; 2000 is as far as the other goes.
    assert shown[:2] == ["×4", "×4"] and len(shown) == 4 and shown[3] == ">×2"
    drawing.figure.canvas.draw()
    assert ax.get_xticklabels()[0].get_text() == "100\n5 %"
    assert "another seed" in drawing.caption and "3 seeds a point" in drawing.caption
    alone = fig_learning_curves(efficiency.learning_curves_table(runs.query("seed == 0")), worth.iloc[:0], ARMS[:1])
    assert "No bands." in alone.caption
    alone.figure.canvas.draw()


def test_regimes_bars_are_the_table():
    rows = [
        {"arm": ARMS[0], "seed": seed, "regime": regime, "metric": "f1_macro", "value": value + seed / 100,
         "low": np.nan, "high": np.nan, "trained_parameters": count, "seconds": seconds}
        for seed in (0, 1)
        for regime, value, count, seconds in (("frozen", 0.6, 1539, 20.0), ("full", 0.9, 10**7, 90.0))
    ]  # fmt: skip
    regimes = efficiency.regimes_table(pd.DataFrame(rows))
    drawing = fig_regimes(regimes, ARMS)
    for ax, column in zip(drawing.figure.axes, ("mean", "trained_parameters", "seconds"), strict=True):
        assert [bar.get_width() for bar in ax.patches] == pytest.approx(regimes[column].tolist())
    assert [text.get_text() for text in drawing.figure.axes[1].texts] == ["1,539", "10,000,000"]
    assert "another seed" in drawing.caption
    regimes.loc[0, ["mean", "low", "high"]] = np.nan
    redrawn = fig_regimes(regimes, ARMS)
    redrawn.figure.canvas.draw()
    assert redrawn.figure.axes[0].texts[0].get_text() == "–"
