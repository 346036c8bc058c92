"""Commands that need no torch do not wait for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import typer

from maskbench import cli
from tests.commands import FEW, SMOKE

#: Runs command lines one after the other in a fresh process, imports what others use, and tells what that loaded.
CODE = """
import contextlib, importlib, io, json, sys
from maskbench.cli import main
lines, modules, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2]), {*json.loads(HEAVY)}
for line in lines:
    sys.argv, said = ["maskbench", *line], io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main()
    except SystemExit as end:
        assert end.code == 0, (line, end.code, said.getvalue())
    assert not heavy & set(sys.modules), (line, heavy & set(sys.modules))
for name in modules:
    importlib.import_module(name)
    assert not heavy & set(sys.modules), (name, heavy & set(sys.modules))
"""
SLOW = ["torch", "torchvision", "lightning", "torchmetrics", "onnxruntime", "gradio", "cv2"]


def loads_none_of(names: list[str], lines: list[list[str]], cwd: Path, modules: tuple[str, ...] = ()) -> None:
    """Run command lines, and import modules, in a process of their own; none may load a package of these names."""
    code = CODE.replace("HEAVY", repr(json.dumps(names)))
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines), json.dumps(modules)], cwd=cwd, env=dict(os.environ),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_help_is_there_at_once(tmp_path: Path) -> None:
    root = typer.main.get_command(cli.app)
    commands = sorted(root.commands)  # type: ignore[attr-defined]
    assert {"run", "train", "split", "audit", "detect"} <= set(commands)
    lines = [["--help"], ["--version"], *([name, "--help"] for name in commands)]
    loads_none_of([*SLOW, "numpy", "pandas", "scipy", "matplotlib", "sklearn"], lines, tmp_path)


def test_data_stages_do_without_torch(tmp_path: Path) -> None:
    stages = [["audit", "sample", *SMOKE, *FEW, "-n", "a"], ["split", "-n", "a"]]
    eda = ("maskbench.data.crops", "maskbench.data.photographs", "maskbench.eda.compute", "maskbench.report.sections")
    loads_none_of(SLOW, stages, tmp_path, eda)


def test_the_audit_begins_without_scipy(tmp_path: Path) -> None:
    loads_none_of([*SLOW, "scipy", "sklearn", "matplotlib"], [], tmp_path, ("maskbench.api", "maskbench.audit.scan"))
