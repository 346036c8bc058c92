"""The server's port, its end, and the command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from maskbench.app import examples, serve
from maskbench.app.examples import example_photographs
from maskbench.app.uploads import delete_older, upload_folder
from maskbench.config import ConfigError
from tests.app.test_models import save_classifier
from tests.commands import maskbench
from tests.training.detector_in_memory import tiny_backbone  # noqa: F401

SERVER = """
from fastapi import FastAPI
from maskbench.app import serve

app = FastAPI()

@app.get("/")
def answer() -> str:
    return "yes"

serve.serve(app, serve.open_socket("127.0.0.1", 0), lambda line: print(line, flush=True))
"""


def test_a_port_that_is_taken_is_named() -> None:
    with closing(serve.open_socket("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {port}: taken by another program; choose another"):
            serve.open_socket("127.0.0.1", port)


def test_a_host_that_is_none_of_this_machine_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--host 192\.0\.2\.1: cannot be listened at"):
        serve.open_socket("192.0.2.1", 0)
    with pytest.raises(ConfigError, match=r"--host no\.such\.host\.invalid: not an address"):
        serve.open_socket("no.such.host.invalid", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_server_quietly(number: signal.Signals) -> None:
    # In a process of its own: a signal to the one that runs the tests may end more than the server.
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = re.fullmatch(
            r"maskbench app: (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", process.stdout.readline()
        )
        assert found
        assert urllib.request.urlopen(f"{found[1]}/", timeout=60).read() == b'"yes"'
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_uploads_do_not_outlive_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with upload_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "deep").mkdir()
        (folder / "deep" / "face.png").write_bytes(b"x")
    assert not folder.exists() and "GRADIO_TEMP_DIR" not in os.environ


def test_uploads_are_deleted_while_the_server_runs() -> None:
    with upload_folder(kept=0.2, every=0.05) as folder:
        (folder / "deep").mkdir()
        face = folder / "deep" / "face.png"
        face.write_bytes(b"x")
        os.utime(face, (0, 0))  # a copy that kept the time of its original
        delete_older(folder, time.time() - 60)
        assert face.exists()
        end = time.monotonic() + 20
        while face.exists():
            assert time.monotonic() < end
            time.sleep(0.02)


def test_examples_are_drawn_once(tmp_path: Path) -> None:
    said: list[str] = []
    few = {**examples.EXAMPLES, "images": 1, "faces_per_image": 1}
    first = example_photographs(tmp_path, said.append, few)
    drawn = [path.stat().st_mtime_ns for path in first]
    assert len(first) == len(said) == 1
    time.sleep(0.01)
    again = example_photographs(tmp_path, said.append, few)
    assert again == first and [path.stat().st_mtime_ns for path in again] == drawn and len(said) == 1


def test_the_command_serves_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "EXAMPLES", {**examples.EXAMPLES, "images": 1, "faces_per_image": 1})
    served: list[Any] = []

    def serves(app: FastAPI, bound: socket.socket, say: Any) -> None:
        served.extend([app.title, bound.getsockname()[0]])

    monkeypatch.setattr(serve, "serve", serves)
    model = save_classifier(tmp_path / "m.safetensors")
    done = maskbench("app", str(model), "--host", "0.0.0.0", "--port", "0", cwd=tmp_path, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert served == ["maskbench", "0.0.0.0"]
    assert "warning: 0.0.0.0 can be reached from other machines" in done.stdout


def test_a_wrong_call_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = maskbench("app", "gone", cwd=tmp_path, cache=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "gone: no such file or folder" in done.stderr
    monkeypatch.setattr("maskbench.cli_app.find_spec", lambda name: None)
    done = maskbench("app", "gone", cwd=tmp_path, cache=tmp_path)
    assert done.returncode == 2 and "gradio is not installed: pip install 'maskbench[app]'" in done.stderr
