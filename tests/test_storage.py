from pathlib import Path

import numpy as np
import pytest

from maskbench import storage
from maskbench.storage import (
    atomic_path,
    content_key,
    describe_files,
    files_match,
    read_arrays,
    read_json,
    read_yaml,
    write_arrays,
    write_json,
)


def test_a_failed_write_keeps_the_previous_file_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("previous")
    with pytest.raises(OSError, match="disk full"), atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise OSError("disk full")
    assert target.read_text() == "previous"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_new_file_appears_whole_with_ordinary_permissions(tmp_path: Path) -> None:
    write_json(tmp_path / "sub" / "a.json", {"x": 1})
    assert read_json(tmp_path / "sub" / "a.json") == {"x": 1}
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "sub" / "a.json").stat().st_mode == plain.stat().st_mode


def test_nan_is_not_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("reader", "text"), [(read_json, "{"), (read_yaml, "a: [1")])
def test_damaged_files_are_named(tmp_path: Path, reader, text: str) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(ValueError, match="broken"):
        reader(path)


def test_content_keys_ignore_order_and_see_values() -> None:
    assert content_key({"a": 1, "b": [2, 3]}) == content_key({"b": [2, 3], "a": 1})
    assert content_key({"a": [2, 3]}) != content_key({"a": [3, 2]})


def test_described_files_match_until_one_changes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    described = describe_files(tmp_path, ["a", "b"])
    assert files_match(tmp_path, described)
    (tmp_path / "b").write_text("owt")  # same size, other content
    assert not files_match(tmp_path, described)


def test_arrays_come_back_as_they_were_with_their_names(tmp_path: Path) -> None:
    maps = np.arange(12, dtype=np.float16).reshape(3, 4).T  # not contiguous
    write_arrays(tmp_path / "maps.safetensors", {"one": maps, "two": np.zeros(0, np.uint8)}, ["a#0", "ü"])
    arrays, ids = read_arrays(tmp_path / "maps.safetensors")
    assert ids == ("a#0", "ü")
    assert arrays["one"].dtype == np.float16
    assert np.array_equal(arrays["one"], maps)
    assert arrays["two"].shape == (0,)


def test_missing_and_damaged_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors: missing"):
        read_arrays(tmp_path / "gone.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"torn\.safetensors: not readable"):
        read_arrays(tmp_path / "torn.safetensors")


def test_no_more_is_read_than_shows_that_a_file_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    for limit in range(13):
        assert storage.read_at_most(path, limit) == b"0123456789"[: limit + 1]
    if Path("/proc/self/status").is_file():  # its size is given as 0
        assert storage.read_at_most(Path("/proc/self/status"), 10**6).startswith(b"Name:")
        assert len(storage.read_at_most(Path("/proc/self/status"), 20)) == 21
