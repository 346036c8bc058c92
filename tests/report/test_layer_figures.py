"""Feature maps: every tile is the channel that its number says."""

import numpy as np
import pytest

from maskbench.report.figures.layers import fig_feature_maps

FACE = np.zeros((8, 8, 3), np.uint8)


def test_each_tile_stands_under_its_channels_number_on_the_rows_scale() -> None:
    rng = np.random.default_rng(0)
    maps = {arm: {"stem": rng.normal(size=(3, 4, 4)), "layer2.0.conv1": rng.random((10, 2, 3))} for arm in ("a", "b$")}
    channels = {arm: {"stem": [7, 0, 63], "layer2.0.conv1": list(range(20, 30))} for arm in maps}
    drawing = fig_feature_maps(FACE, maps, channels, number=1, title="A face")
    drawing.figure.draw_without_rendering()
    rows = [drawing.figure.axes[start : start + 9] for start in range(0, 36, 9)]
    assert [ax.get_title() for ax in rows[0][1:4]] == ["7", "0", "63"]
    assert [ax.get_title() for ax in rows[1][1:]] == [str(number) for number in range(20, 28)]
    drawn = [layer for layers in maps.values() for layer in layers.values()]
    for row, layer in zip(rows, drawn, strict=True):
        for ax, values in zip(row[1:], layer, strict=False):
            image = ax.get_images()[0]
            np.testing.assert_allclose(image.get_array(), values)
            # activations before a ReLU may be negative: nothing is cut off at 0
            shown = layer[:8]
            assert image.get_clim() == pytest.approx((min(0, shown.min()), shown.max()))
    assert [row[1].texts[0].get_text().splitlines()[-1] for row in rows[:2]] == ["4 × 4", "2 × 3"]
