"""`maskbench doctor`: what there is and what is lacking, without downloading or changing anything."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from maskbench import cli_doctor
from maskbench.models import pretrained
from tests.commands import maskbench


def findings(cwd: Path, cache: Path, code: int) -> dict[str, Any]:
    done = maskbench("doctor", "--json", cwd=cwd, cache=cache)
    assert done.returncode == code, done.stdout
    found = json.loads(done.stdout)
    assert found["ok"] == (code == 0)
    return {finding["name"]: finding for finding in found["findings"]}


def test_a_sound_installation_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    samples = tmp_path / "cache" / "samples" / "sample-1"
    samples.mkdir(parents=True)
    (samples / "a.png").write_bytes(b"x" * 2_000_000)
    before = sorted(tmp_path.rglob("*"))
    found = findings(tmp_path, tmp_path / "cache", 0)
    assert found["torch"]["detail"] == importlib.metadata.version("torch")
    assert found["python"]["state"] == found["bundled"]["state"] == "ok" and "180 tensors" in found["bundled"]["detail"]
    assert found["imagenet"]["state"] == "absent"
    assert found["samples"]["detail"] == "1 drawn samples, 2.0 MB" and found["faces"]["state"] == "absent"
    assert ("avx512_bf16" in found["cpu arithmetic"]["detail"]) == bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    assert sorted(tmp_path.rglob("*")) == before
    text = maskbench("doctor", cwd=tmp_path, cache=tmp_path / "cache").stdout
    assert text.rstrip().endswith("nothing that is needed is broken")


def test_what_is_broken_is_named_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cache that is a file, a library that cannot be imported, damaged weights."""
    (tmp_path / "file").touch()
    original = importlib.import_module

    def broken(name: str, *rest: Any) -> Any:
        if name == "pyarrow":
            raise RuntimeError("built for\nanother machine")
        return original(name, *rest)

    monkeypatch.setattr(cli_doctor.importlib, "import_module", broken)
    kept = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth").write_bytes(b"half of it")
    try:
        found = findings(tmp_path, tmp_path / "file", 1)
    finally:
        torch.hub.set_dir(kept)
    assert found["folder"]["state"] == "broken" and "MASKBENCH_CACHE" in found["folder"]["detail"]
    assert found["import pyarrow"]["detail"] == "built for another machine; install it again"
    assert found["imagenet"]["state"] == "broken" and "delete it" in found["imagenet"]["detail"]
    assert found["bundled"]["state"] == "ok"


@pytest.mark.parametrize(
    ("text", "state"),
    [("numpy>=1", "ok"), ("numpy>=99", "broken"), ("no-such-package-of-ours>=1", "broken")],
)
def test_packages_are_held_against_the_versions_that_are_needed(text: str, state: str) -> None:
    assert cli_doctor._requirement(text, needed=True).state == state
    lacking = cli_doctor._requirement(text, needed=False, hint="; pip install it")
    assert lacking.state == ("ok" if state == "ok" else "absent")
    assert ("pip install it" in lacking.detail) == (state != "ok")


def test_bundled_weights_that_were_altered_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_doctor, "_listed_sha256", lambda name: "0" * 64)
    assert "was altered" in cli_doctor._bundled()[0].detail
    monkeypatch.setattr(cli_doctor, "_listed_sha256", lambda name: None)
    source = Path(pretrained.__file__).parents[1] / "weights" / pretrained.BUNDLED
    torn = tmp_path / "maskbench" / "weights" / pretrained.BUNDLED
    torn.parent.mkdir(parents=True)
    shutil.copy(source, torn)
    torn.write_bytes(torn.read_bytes()[:-1000])
    monkeypatch.setattr(pretrained.resources, "files", lambda name: tmp_path / "maskbench")
    assert cli_doctor._bundled()[0].state == "broken"
