"""The files that set a machine up."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")


def without_torch(*arguments: str) -> str:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "without_torch.py"),
        *arguments,
        str(ROOT / "requirements/lock.txt"),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_lock_pins_everything_by_hash_and_names_no_host() -> None:
    blocks = re.findall(r"^[a-z0-9][^\n]*\n(?:[ #][^\n]*\n)*", LOCK, flags=re.MULTILINE)
    assert len(blocks) > 80
    for block in blocks:
        assert re.match(r"[a-z0-9._-]+==", block) and "--hash=sha256:" in block, block.splitlines()[0]
    assert "://" not in LOCK and "--index" not in LOCK


def test_malicious_releases_are_not_in_the_lock() -> None:
    assert not re.search(r"lightning==2\.6\.[23]\b", LOCK)


def test_another_build_of_torch_keeps_its_version_and_drops_the_gpu_libraries() -> None:
    pins = without_torch("--pins").split()
    assert [pin.split("==")[0] for pin in pins] == ["torch", "torchvision"] and all(pin in LOCK for pin in pins)
    rest = without_torch()
    names = re.findall(r"^([a-z0-9._-]+)==", rest, flags=re.MULTILINE)
    assert "numpy" in names and "lightning" in names and "torchmetrics" in names
    assert not [name for name in names if name in {"torch", "torchvision", "triton"} or name.startswith("nvidia")]
    assert rest.count("--hash") > 500
