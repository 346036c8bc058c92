from pathlib import Path

import pandas as pd
import pandera.pandas as pa
import pytest

from maskbench import schemas


def small() -> pd.DataFrame:
    return pd.DataFrame(
        {"arm": ["a", "a"], "seed": [0, 0], "split": "test", "true": ["x", "y"], "predicted": ["x", "x"],
         "count": [3, 1], "share": [1.0, float("nan")]}
    )  # fmt: skip


def test_a_table_survives_a_round_trip(tmp_path: Path) -> None:
    schemas.write_table(tmp_path / "confusion.parquet", small(), schemas.CONFUSION, csv=True)
    pd.testing.assert_frame_equal(schemas.read_table(tmp_path / "confusion", schemas.CONFUSION), small())
    assert len(pd.read_csv(tmp_path / "confusion.csv")) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": [1.2, 0.0]}, "in_range"),
        ({"count": [1.0, 2.0]}, "int64"),
        ({"extra": [1, 2]}, "extra"),
        ({"true": ["x", "x"]}, "unique"),
        ({"split": "dev"}, "isin"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(schemas.TableError, match=f"table confusion.*{message}"):
        schemas.write_table(tmp_path / "confusion.parquet", small().assign(**change), schemas.CONFUSION)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Series(["x", 1], dtype=object), "dtype.*1"),
        (pd.Series([1, 2]), "dtype.*1"),
        (pd.Series(["x", None], dtype="str"), "not_nullable"),
        (pd.Categorical(["x", "y"]), "category"),
    ],
)
def test_what_is_not_text_is_refused_as_pandera_does(column: pd.Series, message: str) -> None:
    plain = pa.DataFrameSchema({"text": pa.Column(str)})
    for schema in (plain, pa.DataFrameSchema({"text": schemas.columns.TEXT})):
        with pytest.raises(schemas.TableError, match=message):
            schemas.validate(pd.DataFrame({"text": column}), schema)
        for text in (pd.Series(["x", "y"]), pd.Series(["x", "y"], dtype=object)):
            schemas.validate(pd.DataFrame({"text": text}), schema)


def test_missing_tables_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the stage"):
        schemas.read_table(tmp_path / "absent", schemas.FACES)
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    with pytest.raises(schemas.TableError, match="broken"):
        schemas.read_table(tmp_path / "broken", schemas.FACES)


def test_an_empty_table_is_checked_for_its_columns() -> None:
    assert schemas.validate(schemas.empty_table(schemas.DUPLICATES), schemas.DUPLICATES).empty
    with pytest.raises(schemas.TableError, match=r"columns missing: .*distance"):
        schemas.validate(pd.DataFrame({"image_id_a": []}), schemas.DUPLICATES)
