"""Print a lock without torch, torchvision and the GPU libraries, or only torch's and torchvision's pins.

Usage: without_torch.py [--pins] LOCK. Needs nothing but Python: it runs before anything is installed.
"""

import re
import sys
from pathlib import Path

TORCH = ("torch", "torchvision")
GPU = re.compile(r"^(nvidia-|cuda-|triton)")


def entries(text: str) -> dict[str, str]:
    """Requirement blocks of a lock (name -> lines, hashes included)."""
    blocks = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return {re.split(r"==", block, maxsplit=1)[0]: block for block in blocks}


def main(arguments: list[str]) -> None:
    """Print what was asked for."""
    blocks = entries(Path(arguments[-1]).read_text(encoding="utf-8"))
    if "--pins" in arguments:
        print(*(blocks[name].split()[0] for name in TORCH))
    else:
        print("".join(block for name, block in blocks.items() if name not in TORCH and not GPU.match(name)), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
