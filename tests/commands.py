"""The command line called by tests: in this process, because starting one costs more than most commands."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from maskbench.cli import main

#: Settings of a small study that explains nothing.
SMOKE = ["--preset", "smoke", "--weights", "bundled", "--set", "explain.methods=[]", "--set", "report.dpi=50"]
SHARES = "class_shares={with_mask: 0.6, without_mask: 0.25, mask_weared_incorrect: 0.15}"
#: A sample in which few photographs reach every side with every class.
FEW = ["--set", "data.sample.images=24", "--set", f"data.sample.{SHARES}"]


def maskbench(*arguments: str, cwd: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder as a user would, and keep what it says."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["maskbench", *arguments])
        patch.setenv("MASKBENCH_CACHE", str(cache))
        patch.setenv("COLUMNS", "200")
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
