import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

import pytest

from maskbench.config import ConfigError
from maskbench.data import sources
from maskbench.data.sources import DatasetError, dataset_folder, find_dataset, locate_dataset


def layout(folder: Path) -> Path:
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    return folder


def locate(source, tmp_path, params=None, notify=lambda line: None):
    return locate_dataset(str(source), sample_params=params or {}, cache=tmp_path / "cache", notify=notify)


def test_a_folder_is_used_as_it_is(tmp_path):
    folder = layout(tmp_path / "data set")
    assert locate(folder, tmp_path) == folder
    assert not (tmp_path / "cache").exists()


def test_a_single_subfolder_is_entered(tmp_path):
    inner = layout(tmp_path / "data" / "archive")
    (tmp_path / "data" / "__MACOSX").mkdir()
    (tmp_path / "data" / "readme.txt").write_text("x")
    assert dataset_folder(tmp_path / "data") == inner


def test_two_candidates_are_not_guessed_between(tmp_path):
    layout(tmp_path / "data" / "a")
    layout(tmp_path / "data" / "b")
    with pytest.raises(DatasetError, match="images/ and annotations/ missing"):
        dataset_folder(tmp_path / "data")


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    with pytest.raises(DatasetError, match="data: annotations/ missing"):
        dataset_folder(tmp_path / "data")
    with pytest.raises(DatasetError, match="no such folder"):
        locate(tmp_path / "nothing", tmp_path)
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(DatasetError, match="not a folder"):
        locate(tmp_path / "a.zip", tmp_path)


@pytest.fixture
def drawn(monkeypatch):
    """Counts drawings; the drawing itself is replaced by an empty layout."""
    pytest.importorskip("maskbench.data.sample")
    calls = []

    def generate(directory, params, *, workers=None, progress=None):
        calls.append(params)
        time.sleep(0.05)
        layout(directory)

    monkeypatch.setattr("maskbench.data.sample.generate_sample", generate)
    return calls


def test_a_sample_is_drawn_once_per_parameters(tmp_path, drawn):
    told = []
    first = locate("sample", tmp_path, {"images": 5}, told.append)
    assert first == locate("sample", tmp_path, {"images": 5}, told.append)
    assert len(drawn) == len(told) == 1 and drawn[0].images == 5
    assert locate("sample", tmp_path, {"images": 6}) != first
    # A default that is written out is the same sample.
    assert locate("sample", tmp_path, {"images": 5, "seed": 0}) == first


def test_simultaneous_requests_draw_once(tmp_path, drawn):
    barrier = threading.Barrier(4)

    def ask(_):
        barrier.wait()
        return locate("sample", tmp_path, {"images": 5})

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert len(drawn) == 1


def test_an_incomplete_sample_is_drawn_again(tmp_path, drawn):
    folder = locate("sample", tmp_path, {"images": 5})
    (folder / "annotations").rmdir()
    assert locate("sample", tmp_path, {"images": 5}) == folder
    assert len(drawn) == 2 and (folder / "annotations").is_dir()


@pytest.mark.parametrize(
    ("params", "said"), [({"imagez": 5}, "data.sample.imagez: no such"), ({"images": -1}, "data.sample.images: ")]
)
def test_wrong_sample_parameters_name_the_field(tmp_path, drawn, params, said):
    with pytest.raises(ConfigError, match=said):
        locate("sample", tmp_path, params)


@pytest.fixture
def kaggle_cache(tmp_path, monkeypatch):
    """An empty cache of kagglehub's, and a network in which nothing answers."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setattr(sources, "_unreachable", lambda url, seconds: "no network in tests")
    return tmp_path / "kagglehub"


def test_kaggle_without_network_says_what_to_do(tmp_path, kaggle_cache):
    with pytest.raises(DatasetError) as caught:
        locate("kaggle", tmp_path)
    message = str(caught.value)
    assert "andrewmvd/face-mask-detection" in message and "no network in tests" in message
    assert "--data PATH" in message and "--data sample" in message and "\n" not in message


def test_kaggle_copy_works_without_network(tmp_path, kaggle_cache):
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    handle = parse_dataset_handle(sources.KAGGLE_HANDLE)
    folder = layout(Path(Cache().get_path(handle)))
    Cache().mark_as_complete(handle)
    assert kaggle_cache in folder.parents
    assert locate("kaggle", tmp_path) == folder


@pytest.mark.parametrize("place", ["face-mask-detection", "datasets/andrewmvd/face-mask-detection/archive"])
def test_a_dataset_added_to_a_notebook_comes_first(tmp_path, kaggle_cache, place):
    folder = layout(tmp_path / "input" / place)
    (tmp_path / "input" / "other" / "images").mkdir(parents=True)  # something else that was added
    layout(folder / "images" / "nested")  # nothing inside a dataset is one
    assert find_dataset(tmp_path / "input") == str(folder)


def test_several_datasets_of_a_notebook_are_not_guessed_between(tmp_path, kaggle_cache):
    for name in "ab":
        layout(tmp_path / "input" / name)
    with pytest.raises(DatasetError, match="several datasets") as caught:
        find_dataset(tmp_path / "input")
    assert str(tmp_path / "input" / "a") in str(caught.value)


def test_without_network_the_sample_is_what_is_left(tmp_path, kaggle_cache, monkeypatch):
    assert find_dataset(tmp_path / "input") == "sample"
    monkeypatch.setattr(sources, "_unreachable", lambda url, seconds: None)
    assert find_dataset(tmp_path / "input") == "kaggle"


def test_a_copy_of_kaggle_needs_no_network(tmp_path, kaggle_cache):
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    handle = parse_dataset_handle(sources.KAGGLE_HANDLE)
    layout(Path(Cache().get_path(handle)))
    Cache().mark_as_complete(handle)
    assert find_dataset(tmp_path / "input") == "kaggle"


def test_a_failed_download_is_one_line(tmp_path, kaggle_cache, monkeypatch):
    import kagglehub

    def fail(handle):
        raise ConnectionError("reset\nby peer")

    monkeypatch.setattr(sources, "_unreachable", lambda url, seconds: None)
    monkeypatch.setattr(kagglehub, "dataset_download", fail)
    told = []
    with pytest.raises(DatasetError, match="reset by peer") as caught:
        locate("kaggle", tmp_path, notify=told.append)
    assert "\n" not in str(caught.value) and len(told) == 1


def test_the_probe_is_bounded(monkeypatch):
    # Looking up a name may hang beyond any socket's time limit.
    released = threading.Event()

    def hang(*args, **kwargs):
        released.wait(5)
        raise URLError("too late")

    monkeypatch.setattr(sources, "urlopen", hang)
    start = time.monotonic()
    assert sources._unreachable("http://localhost", 0.1) == "no answer within 0.1 s"
    assert time.monotonic() - start < 1
    released.set()


def test_a_refused_connection_is_seen_at_once():
    assert sources._unreachable("http://127.0.0.1:9", 5) is not None
