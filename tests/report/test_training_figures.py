"""Training figures show the tables' numbers, on shared axes and scales, for any number of classes and arms."""

import numpy as np
import pandas as pd
import pytest

from maskbench.report.drawing import Drawing
from maskbench.report.figures.gradients import fig_gradient_depth, fig_gradient_time, fig_update_ratio, main_tensors
from maskbench.report.figures.training import fig_class_f1, fig_loss, fig_metrics, fig_step_loss, training_figures
from maskbench.report.style import colours
from tests.report.study_on_disk import ARMS, CLASSES, best_epochs, history_tables, rows_where


@pytest.fixture(scope="module")
def history():
    return history_tables(epochs=5, steps=6, interval=3)


@pytest.fixture(scope="module")
def best(history):
    return best_epochs(history["epochs"])


def values(table, arm, split, metric, class_name=""):
    chosen = rows_where(table, arm=arm, split=split, metric=metric, class_name=class_name)
    return chosen.sort_values("epoch")["value"].to_numpy()


def line(ax, label):
    return next(found for found in ax.get_lines() if found.get_label() == label)


def test_loss_curves_are_the_table(history, best):
    drawing = fig_loss(history["epochs"], ARMS, best)
    axes = drawing.figure.axes
    assert [ax.get_title() for ax in axes] == list(ARMS)
    for ax, arm in zip(axes, ARMS, strict=True):
        for label, split in (("training", "train"), ("validation", "val")):
            np.testing.assert_array_equal(line(ax, label).get_ydata(), values(history["epochs"], arm, split, "loss"))
        assert line(ax, "validation").get_xdata().tolist() == [1, 2, 3, 4, 5]
        marks = [found for found in ax.get_lines() if found.get_linestyle() == ":"]
        assert [mark.get_xdata()[0] for mark in marks] == [best[arm, 0] + 1]
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_step_losses_are_the_table(history):
    axes = fig_step_loss(history["steps"], ARMS).figure.axes
    for ax, arm in zip(axes, ARMS, strict=True):
        part = rows_where(history["steps"], arm=arm)
        np.testing.assert_array_equal(line(ax, "one batch").get_ydata(), part["loss"])
        np.testing.assert_array_equal(line(ax, "moving average").get_ydata(), part["loss_moving_average"])
        corners = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
        known = part[part["loss_variance"].notna()]
        top = known["loss_mean"] + np.sqrt(known["loss_variance"])
        assert corners[:, 1].max() == pytest.approx(top.max())


def test_metric_curves_are_the_table_and_its_moving_average(history, best):
    figure = fig_metrics(history["epochs"], ARMS, best).figure
    paint = colours(ARMS)
    for ax, metric in zip(figure.axes, ("accuracy", "precision_macro", "recall_macro", "f1_macro"), strict=True):
        for arm in ARMS:
            raw = values(history["epochs"], arm, "val", metric)
            mine = [found for found in ax.get_lines() if found.get_color() == paint[arm]]
            np.testing.assert_array_equal(mine[0].get_ydata(), raw)
            # Third epoch: the mean of epochs 1, 2 and 3.
            assert line(ax, arm).get_ydata()[2] == pytest.approx(raw[:3].mean())
            ring = next(found for found in ax.get_lines() if found.get_markeredgecolor() == paint[arm]
                        and found.get_marker() == "o")  # fmt: skip
            assert ring.get_xydata().tolist() == [[best[arm, 0] + 1, raw[best[arm, 0]]]]


def test_class_f1_has_a_panel_per_class(history, best):
    axes = fig_class_f1(history["epochs"], CLASSES, ARMS, best).figure.axes
    assert [ax.get_title() for ax in axes] == list(CLASSES)
    for ax, name in zip(axes, CLASSES, strict=True):
        raw = values(history["epochs"], ARMS[0], "val", "f1", name)
        np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), raw)


def test_an_undefined_metric_is_a_gap(history, best):
    table = history["epochs"].copy()
    undefined = (table["epoch"] == 2) & (table["metric"] == "f1") & (table["class_name"] == CLASSES[2])
    table.loc[undefined, "value"] = np.nan
    ax = fig_class_f1(table, CLASSES, ARMS, best).figure.axes[2]
    assert np.isnan(line(ax, ARMS[0]).get_ydata()[2])
    assert np.isfinite(line(ax, ARMS[0]).get_ydata()[3])


def test_gradients_over_depth_are_the_mean_of_the_epoch(history):
    table = history["gradients"]
    axes = fig_gradient_depth(table, ARMS).figure.axes
    for ax, arm in zip(axes, ARMS, strict=True):
        assert [text.get_text() for text in ax.get_legend().get_texts()] == [
            "epoch 1 (first)", "epoch 3 (middle)", "epoch 5 (last)",
        ]  # fmt: skip
        part = rows_where(main_tensors(table), arm=arm, epoch=4)
        expected = part.groupby("depth")["gradient_norm"].mean()
        np.testing.assert_allclose(line(ax, "epoch 5 (last)").get_ydata(), expected)
        assert ax.get_yscale() == "log"
    assert axes[0].get_ylim() == axes[1].get_ylim()


@pytest.mark.parametrize(("epochs", "labels"), [(1, ["first"]), (2, ["first", "last"])])
def test_few_epochs_are_named_once(epochs, labels):
    table = history_tables(epochs=epochs, steps=3, interval=1)["gradients"]
    legend = fig_gradient_depth(table, ARMS).figure.axes[0].get_legend()
    assert [text.get_text().split("(")[1].rstrip(")") for text in legend.get_texts()] == labels


def test_gradients_over_time_share_one_colour_scale(history):
    table = main_tensors(history["gradients"])
    axes = fig_gradient_time(history["gradients"], ARMS).figure.axes[: len(ARMS)]
    meshes = [ax.collections[0] for ax in axes]
    logs = np.log10(table["gradient_norm"])
    for mesh, arm in zip(meshes, ARMS, strict=True):
        assert (mesh.norm.vmin, mesh.norm.vmax) == (logs.min(), logs.max())
        grid = rows_where(table, arm=arm).pivot_table(index="depth", columns="step", values="gradient_norm")
        np.testing.assert_allclose(mesh.get_array(), np.log10(grid))


def test_update_ratios_are_medians_of_a_stage(history):
    table = main_tensors(history["gradients"])
    ax = fig_update_ratio(history["gradients"], ARMS).figure.axes[1]
    part = rows_where(table, arm=ARMS[1], group="layer3")
    np.testing.assert_allclose(line(ax, "layer3").get_ydata(), part.groupby("step")["update_ratio"].median())


def test_zero_gradients_and_a_frozen_arm_are_drawn(history):
    table = history["gradients"].copy()
    table.loc[table["step"] == 3, "gradient_norm"] = 0.0
    table.loc[table["step"] == 6, "update_ratio"] = np.nan
    frozen = (table["arm"] == ARMS[0]) & (table["group"] != "head")
    for fig in (fig_gradient_depth, fig_gradient_time, fig_update_ratio):
        fig(table[~frozen], ARMS).figure.canvas.draw()


def test_main_tensors_are_convolutions_and_the_head(history):
    kept = set(main_tensors(history["gradients"])["layer"])
    assert {"conv1.weight", "layer2.0.downsample.0.weight", "fc.weight"} <= kept
    assert not [name for name in kept if "bn" in name or name.endswith("bias") or "downsample.1" in name]
    assert len(kept) == 37  # 1 stem + 32 in blocks + 3 shortcuts + 1 head
    other = pd.DataFrame({"layer": ["a.weight", "a.bias", "b.weight", "b.bias"], "depth": range(4)})
    assert len(main_tensors(other)) == 4


def test_two_seeds_are_told_apart():
    history = history_tables(epochs=3, steps=3, seeds=(0, 7))
    ax = fig_loss(history["epochs"], ARMS, {}).figure.axes[0]
    one, other = line(ax, "validation, seed 0"), line(ax, "validation, seed 7")
    assert one.get_linestyle() != other.get_linestyle()
    assert "2 seeds" in fig_loss(history["epochs"], ARMS, {}).caption


@pytest.mark.parametrize("k", [2, 7])
def test_any_number_of_classes_and_one_arm(k):
    classes = ["$x_1$ & <b>", *(f"a rather long class name {i}" for i in range(k - 1))]
    shares = np.full(k, 1 / k)
    history = history_tables(classes, shares, ("only",), epochs=2, steps=3)
    drawings = training_figures(
        history["epochs"], history["steps"], history["gradients"], classes, ("only",), best_epochs(history["epochs"])
    )
    assert len({drawing.name for drawing in drawings}) == len(drawings) == 7
    assert all(isinstance(drawing, Drawing) and drawing.caption.endswith(".") for drawing in drawings)
    drawings[3].figure.canvas.draw()


def test_without_gradients_their_figures_are_left_out(history, best):
    empty = history["gradients"].iloc[:0]
    assert len(training_figures(history["epochs"], history["steps"], empty, CLASSES, ARMS, best)) == 4


def test_tables_are_not_changed(history, best):
    before = {name: table.copy(deep=True) for name, table in history.items()}
    training_figures(history["epochs"], history["steps"], history["gradients"], CLASSES, ARMS, best)
    for name, table in history.items():
        pd.testing.assert_frame_equal(table, before[name])
