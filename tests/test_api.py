"""`import maskbench as mb`: one small study through the functions; the command line gives the same tables."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

import maskbench as mb
from maskbench.rundir import RunError
from maskbench.storage import read_json
from tests.commands import SHARES, maskbench

SETTINGS = {
    "train.epochs": 1,
    "data": {"sample": {"images": 24, "class_shares": {"with_mask": 0.6, "without_mask": 0.25,
                                                      "mask_weared_incorrect": 0.15}}},
    "arms": [{"name": "a", "implementation": "manual", "initialisation": "random"}],
    "report.dpi": 50,
}  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """A study whose one arm is measured."""

    study: mb.Study
    evaluated: mb.StageResult
    lines: list[str]
    base: Path
    cache: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    base, cache, lines = tmp_path_factory.mktemp("api"), tmp_path_factory.mktemp("cache"), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKBENCH_CACHE", str(cache))
        study = mb.load_dataset(
            "sample", name="demo", preset="smoke", weights="bundled", settings=SETTINGS, out=base, notify=lines.append
        )
        evaluated = mb.evaluate(study)
    return Finished(study, evaluated, lines, base, cache)


@pytest.fixture(autouse=True)
def _cache(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKBENCH_CACHE", str(finished.cache))


def test_a_stage_runs_what_it_needs_and_nothing_twice(finished: Finished) -> None:
    ran = [line.removesuffix(": running") for line in finished.lines if line.endswith(": running")]
    assert ran == ["audit", "split", "train", "evaluate"]
    assert mb.evaluate(finished.study).folder == finished.study.results / "evaluate"
    assert [line for line in finished.lines if line.endswith(": running")] == [f"{name}: running" for name in ran]


def test_the_study_knows_its_data(finished: Finished) -> None:
    study = finished.study
    assert study.classes == ("mask_weared_incorrect", "with_mask", "without_mask")
    assert len(study.images) == 24 and set(study.faces["image_id"]) <= set(study.images["image_id"])
    assert {path.name for path in study.root.iterdir()} >= {"images", "annotations"}
    found = study.checkpoints()
    assert found[["task", "arm", "seed"]].to_numpy().tolist() == [["classify", "a", 0]]
    assert Path(found["path"][0]).is_file()
    assert study.config.train.epochs == 1 and study.config.preset == "smoke"


def test_results_are_the_files_of_the_stage(finished: Finished) -> None:
    result = finished.evaluated
    assert list(result.tables) == [
        "confusion", "differences", "intervals", "metrics", "precision_recall", "predictions", "roc",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(
        result.tables["metrics"], pd.read_parquet(finished.study.results / "evaluate" / "metrics.parquet")
    )
    with pytest.raises(KeyError, match="no table 'metric'; there are: confusion"):
        result.tables["metric"]
    trained = mb.train(finished.study)
    assert {"layers", "a/seed0/epochs"} <= set(trained.tables)
    assert trained.summary["a/seed0/fit"] == read_json(trained.folder / "a" / "seed0" / "fit.json")
    assert mb.audit(finished.study).summary["audit"]["summary"]["photographs"] == 24


def test_figures_are_those_that_the_report_drew_of_these_results(finished: Finished) -> None:
    assert finished.evaluated.figures == {} and finished.evaluated.report is None
    report = mb.report(finished.study)
    drawn = finished.evaluated.figures
    assert "confusion-seed0" in drawn and all(path.is_file() for path in drawn.values())
    assert "class_balance" in finished.study.result("eda").figures and "class_balance" not in drawn
    assert report.report == finished.study.results / "report.html"
    assert set(report.figures) == {path.stem for path in finished.study.plots.glob("*.png")}
    page = finished.evaluated._repr_html_()
    assert "metrics" in page and "confusion-seed0" in page
    listing = finished.study.results / "evaluate" / "manifest.json"
    saved = listing.read_text()
    listing.write_text(saved.replace('"sha256": "', '"sha256": "0'))  # as if it had been measured again
    try:
        assert finished.evaluated.figures == {}
    finally:
        listing.write_text(saved)


def test_the_command_line_gives_the_same_tables(finished: Finished) -> None:
    texts = ["train.epochs=1", "data.sample.images=24", f"data.sample.{SHARES}", "report.dpi=50",
             "arms=[{name: a, implementation: manual, initialisation: random}]"]  # fmt: skip
    options = [part for text in texts for part in ("-s", text)]
    begun = maskbench("split", "sample", "-p", "smoke", "-w", "bundled", "-n", "typed", *options,
                      cwd=finished.base, cache=finished.cache)  # fmt: skip
    assert begun.returncode == 0, begun.stderr
    for stage in ("train", "evaluate"):
        assert maskbench(stage, "-n", "typed", cwd=finished.base, cache=finished.cache).returncode == 0
    folder = finished.base / "results" / "typed" / "evaluate"
    for name, table in finished.evaluated.tables.items():
        pd.testing.assert_frame_equal(table, pd.read_parquet(folder / f"{name}.parquet"))


def test_opening_again_keeps_the_configuration_and_refuses_another(finished: Finished) -> None:
    again = mb.load_dataset(name="demo", out=finished.base)
    assert again.config == finished.study.config
    other = mb.load_dataset(name="demo", out=finished.base, settings={"train": {"epochs": 2}})
    with pytest.raises(RunError, match=r"train\.epochs: 1 there, 2 here"):
        mb.train(other)
    with pytest.raises(RunError, match="no such run"):
        mb.load_dataset(name="typo", out=finished.base, existing=True)
    with pytest.raises(ValueError, match="no such folder"):
        mb.load_dataset(finished.base / "absent", out=finished.base)
    assert not (finished.base / "results" / "absent").exists()


def test_any_photograph_can_be_explained(finished: Finished, tmp_path: Path) -> None:
    photograph = min((finished.study.root / "images").iterdir())
    (tmp_path / "torn.png").write_bytes(b"no picture")
    table = mb.explain(
        finished.study.checkpoints()["path"][0], [photograph, tmp_path / "torn.png"], out=tmp_path / "out"
    )
    assert list(table["arm"]) == ["a"] and (tmp_path / "out" / table["overlay"][0]).is_file()
    assert len(table.attrs["problems"]) == 1 and "torn.png" in table.attrs["problems"][0]


def test_models_start_alike() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second = (mb.build_model(name, 4, weights="bundled").eval() for name in ("manual", "torchvision"))
    with torch.inference_mode():
        torch.testing.assert_close(first(images), second(images))
        assert first(images).shape == (2, 4)


def test_public_names_are_there_whatever_was_imported_before() -> None:
    """Four functions bear the names of subpackages."""
    import maskbench.audit.scan
    import maskbench.report.build  # noqa: F401
    from maskbench.audit import checks

    assert all(callable(getattr(mb, name)) for name in mb.__all__)
    assert mb.audit.__module__ == mb.report.__module__ == "maskbench.api"
    assert checks.__name__ == "maskbench.audit.checks"
    assert set(mb.__all__) <= set(dir(mb))
    with pytest.raises(AttributeError, match="no attribute 'adit'"):
        mb.adit  # type: ignore[attr-defined]  # noqa: B018


HELP = "import sys; sys.argv = ['maskbench', '--help']; from maskbench.cli import main; main()"


@pytest.mark.parametrize("code", ["import maskbench", HELP])
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    heavy = "{'torch', 'pandas', 'matplotlib', 'sklearn', 'numpy'}"
    tell = f"import atexit, sys; atexit.register(lambda: print(sorted({heavy} & set(sys.modules)), file=sys.stderr)); "
    done = subprocess.run([sys.executable, "-c", tell + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr.strip() == "[]", done.stderr
