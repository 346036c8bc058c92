import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maskbench.config import EdaConfig
from maskbench.eda.bootstrap import draw_resamples
from maskbench.eda.compute import EDA_TABLES, compute_eda, write_eda
from maskbench.eda.statistics import box_summary, box_table, describe, faces_per_image, image_kinds
from maskbench.schemas import FACES, IMAGES, read_table, validate
from tests.eda.dataset import CLASSES, dataset

CONFIG = EdaConfig(bootstrap=60, heatmap_cells=8)


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    images, faces = dataset()
    return compute_eda(images, faces, CLASSES, CONFIG, seed=1)


def test_the_made_dataset_fits_the_audits_schemas() -> None:
    images, faces = dataset()
    validate(images, IMAGES)
    validate(faces, FACES)


def test_every_table_is_there_and_survives_a_round_trip(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    assert list(tables) == list(EDA_TABLES)
    written = write_eda(tables, tmp_path)
    assert all(path.is_file() for path in written)
    tables_on_disk = [path for path in written if path.suffix == ".parquet"]
    assert [path.stem for path in tables_on_disk] == list(EDA_TABLES)
    for path in tables_on_disk:
        pd.testing.assert_frame_equal(read_table(path, EDA_TABLES[path.stem]), tables[path.stem], check_dtype=False)
        assert path.with_suffix(".csv") in written


def test_equal_seeds_give_equal_tables_and_inputs_stay_as_they_are(tables: dict[str, pd.DataFrame]) -> None:
    images, faces = dataset()
    before = images.copy(), faces.copy()
    again = compute_eda(images, faces, CLASSES, CONFIG, seed=1)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(again[name], table)
    pd.testing.assert_frame_equal(images, before[0])
    pd.testing.assert_frame_equal(faces, before[1])
    other = compute_eda(images, faces, CLASSES, CONFIG, seed=2)
    assert not other["class_balance"]["cluster_low"].equals(tables["class_balance"]["cluster_low"])


def test_summaries_equal_numpy_and_pandas(tables: dict[str, pd.DataFrame]) -> None:
    boxes = tables["boxes"]
    for name, group in boxes.groupby("class_name"):
        row = tables["box_summary"].set_index(["class_name", "quantity"]).loc[(name, "box_area")]
        values = group["box_area"]
        assert row["n"] == len(values) and row["photographs"] == group["image_id"].nunique()
        for column, expected in (("mean", values.mean()), ("sd", values.std()), ("q1", values.quantile(0.25)),
                                 ("median", values.median()), ("q3", values.quantile(0.75)),
                                 ("minimum", values.min()), ("maximum", values.max())):  # fmt: skip
            assert row[column] == pytest.approx(expected)
    summary = tables["image_summary"].set_index("quantity")
    images, _ = dataset()
    assert summary.loc["brightness", "mean"] == pytest.approx(images["brightness"].mean())
    assert summary.loc["coverage", "median"] == pytest.approx(tables["image_coverage"]["coverage"].median())
    assert (summary["mean_low"] <= summary["mean"] + 1e-9).all() and (
        summary["mean"] <= summary["mean_high"] + 1e-9
    ).all()


def test_what_cannot_be_described_says_why() -> None:
    resamples = draw_resamples(pd.Series(["p", "q"]), 10, 0.95, 0)
    nothing = describe(np.empty(0), np.empty(0, dtype=int), resamples)
    assert nothing["n"] == 0 and np.isnan(nothing["mean"]) and nothing["reason"] == "nothing to describe"
    one = describe(np.array([3.0, np.nan]), np.array([0, 1]), resamples)
    assert (one["n"], one["mean"]) == (1, 3) and np.isnan(one["sd"])
    assert one["reason"].startswith("1 undefined value(s) left out; no sd of one value; no interval from 1")


def test_box_table_by_hand() -> None:
    _, faces = dataset()
    faces = faces.head(1).assign(xmin=10.0, ymin=20.0, xmax=40.0, ymax=80.0, image_width=200, image_height=100)
    row = box_table(faces).iloc[0]
    assert (row["box_width"], row["box_height"], row["box_area"]) == (30, 60, 1800)
    assert (row["box_side"], row["box_aspect"], row["box_share"]) == (pytest.approx(1800**0.5), 0.5, 0.09)
    flat = box_table(faces.assign(ymax=20.0)).iloc[0]
    assert np.isnan(flat["box_aspect"]) and flat["box_area"] == 0
    resamples = draw_resamples(pd.Series([faces["image_id"].iloc[0]]), 5, 0.95, 0)
    summary = box_summary(box_table(faces.assign(ymax=20.0)), CLASSES, resamples).set_index(["class_name", "quantity"])
    assert summary.loc[("", "box_aspect"), "reason"].startswith("1 undefined value(s) left out")


def test_kinds_and_faces_per_image_by_hand() -> None:
    images = pd.DataFrame(
        {
            "format": ["PNG", "PNG", "JPEG", "PNG"],
            "mode": ["RGB", "L", "RGB", "RGBA"],
            "bit_depth": [8, 16, 8, 8],
            "transparent_share": [0.0, np.nan, 0.0, 0.2],
            "faces": [1, 3, 1, 0],
        }
    )
    kinds = image_kinds(images).set_index(["property", "value"])["photographs"]
    assert kinds.loc["format"].to_dict() == {"PNG": 3, "JPEG": 1}
    assert kinds.loc["bit_depth"].to_dict() == {"8 bit": 3, "16 bit": 1}
    assert kinds.loc["transparency"].to_dict() == {"opaque": 2, "partly transparent": 1, "unknown": 1}
    table = faces_per_image(images)
    assert table["faces"].tolist() == [0, 1, 3] and table["photographs"].tolist() == [1, 2, 1]
    assert table["face_share"].tolist() == [0, 0.4, 0.6]


@pytest.mark.parametrize("classes", [CLASSES[:2], [*CLASSES, "gone", "also-gone"]])
def test_any_number_of_classes(classes: list[str]) -> None:
    images, faces = dataset()
    faces = faces[faces["label"].isin(classes)]
    tables = compute_eda(images, faces, classes, CONFIG, seed=0)
    assert tables["class_balance"]["class_name"].tolist() == classes
    gone = tables["box_summary"].query("class_name == 'gone'")
    assert (gone["n"] == 0).all() and (gone["reason"] == "nothing to describe").all()


def test_no_resamples_and_no_faces_are_reasons_not_errors() -> None:
    images, faces = dataset()
    none = compute_eda(images, faces, CLASSES, EdaConfig(bootstrap=0, heatmap_cells=4), 0)
    assert set(none["class_balance"]["reason"]) == {"no resamples asked for"}
    empty = compute_eda(images.assign(faces=0), faces.iloc[:0], CLASSES, EdaConfig(bootstrap=5, heatmap_cells=4), 0)
    assert empty["tests"]["p_value"].isna().all() and empty["faces_per_image"]["face_share"].isna().all()


def test_wrong_inputs_are_refused() -> None:
    images, faces = dataset()
    with pytest.raises(ValueError, match="labels that are not classes"):
        compute_eda(images, faces, CLASSES[:2], CONFIG, 0)
    with pytest.raises(ValueError, match="at least two distinct"):
        compute_eda(images, faces, ["a"], CONFIG, 0)
    with pytest.raises(ValueError, match="without a row in images"):
        compute_eda(images.iloc[1:], faces, CLASSES, CONFIG, 0)


def test_four_thousand_faces_take_seconds() -> None:
    images, faces = dataset(photographs=850, most=9)
    start = time.process_time()
    compute_eda(images, faces, CLASSES, EdaConfig(), 0)
    assert time.process_time() - start < 15  # 2 s on one idle core
