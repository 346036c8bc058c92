"""`maskbench bench`: which benchmarks there are, what runs, and what is said of it."""

import json
from pathlib import Path

import pytest

from maskbench import cli_bench
from tests.commands import maskbench

SCRIPT = '''"""Says what it was given.

More.
"""
import sys
if __name__ == "__main__":
    print("given", *sys.argv[1:])
    sys.exit({code})
'''


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a benchmark that works, one that fails, and a module that is none."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "works.py").write_text(SCRIPT.format(code=0))
    (folder / "fails.py").write_text(SCRIPT.format(code=3))
    (folder / "exporting.py").write_text(SCRIPT.format(code=0))
    (folder / "shared.py").write_text('"""Not a script."""\n')
    monkeypatch.setattr(cli_bench, "folder_of_benchmarks", lambda: folder)
    return tmp_path


def test_the_benchmarks_of_the_project_are_listed(tmp_path: Path) -> None:
    done = maskbench("bench", "--list", cwd=tmp_path, cache=tmp_path)
    folder = cli_bench.folder_of_benchmarks()
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"training", "bootstrap", "detecting", "exporting"} <= set(listed) and "generated" not in listed
    assert set(listed) <= {path.stem for path in folder.glob("*.py")}


def test_figures_come_with_machine_and_versions(scripts: Path) -> None:
    done = maskbench("bench", "works", "--", "--rounds", "2", cwd=scripts, cache=scripts)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("machine: cpu ") and "cores usable" in lines[0]
    assert lines[1].startswith("versions: ") and "torch 2" in lines[1]
    assert lines[3:5] == ["works: Says what it was given.", "given --rounds 2"]
    assert lines[5].startswith("works: done in ")


def test_all_run_and_a_failed_one_is_the_exit_code(scripts: Path) -> None:
    done = maskbench("bench", "--json", cwd=scripts, cache=scripts)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(part["name"], part["exit_code"], part["output"]) for part in found["benchmarks"]] == [
        ("fails", 3, ["given"]),
        ("works", 0, ["given"]),
    ]  # fmt: skip  (exporting needs a checkpoint)


@pytest.mark.parametrize(("name", "words"), [("none", "none is none of exporting, fails, works"),
                                             ("exporting", "maskbench bench exporting -- CHECKPOINT")])  # fmt: skip
def test_what_cannot_run_is_one_line(scripts: Path, name: str, words: str) -> None:
    done = maskbench("bench", name, cwd=scripts, cache=scripts)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1
