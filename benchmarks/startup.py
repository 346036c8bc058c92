"""Start-up of the command line: whole processes of commands that need no torch, against a Python that does nothing.

    python benchmarks/startup.py [--rounds 5] [--verbose]

Rounds take turns. Compiled files are kept, as Python does unless told otherwise; `first` is a command's first process,
before there were any. `start-up` is a process that imports what the command imports, in its order, and does nothing
else; `whole` is the command, which for `sample`, `audit` and `split` works on twelve drawn photographs. Beside other
work only processor time counts, and its ratio to that of `python -c pass`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

#: Seconds that a start-up may take.
BOUND = 1.0
MASKBENCH = ["-c", "from maskbench.cli import main; main()"]
IMPORT = [
    "-c",
    """
import contextlib, importlib, sys
for name in sys.argv[1:]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
""",
]
#: Of a sample so small that each side of a split still gets every class.
SHARES = "class_shares={with_mask: 0.34, without_mask: 0.33, mask_weared_incorrect: 0.33}"
#: Command lines; NUMBER is the round's, for those that write.
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "--help": [*MASKBENCH, "--help"],
    "--version": [*MASKBENCH, "--version"],
    "audit --help": [*MASKBENCH, "audit", "--help"],
    "run --help": [*MASKBENCH, "run", "--help"],
    "bench --list": [*MASKBENCH, "bench", "--list"],
    "sample": [*MASKBENCH, "sample", "drawn-NUMBER", "-s", "images=12", "-s", SHARES],
    "audit": [*MASKBENCH, "audit", "drawn-0", "-n", "run-NUMBER"],
    "split": [*MASKBENCH, "split", "-n", "run-NUMBER"],
}
REFERENCE = next(iter(COMMANDS))


@dataclass(frozen=True)
class Taken:
    """Seconds of one process: of the wall's clock and of the processor."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Imported:
    """A module, and the seconds that its import took without those of what it imports."""

    name: str
    seconds: float


def imported(log: str) -> list[Imported]:
    """Modules in the order in which their imports ended.

    Args:
        log: what `python -X importtime` writes: `import time: own [us] | cumulative | name`, indented by depth.
    """
    found = []
    for line in log.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(parts) == 3 and parts[0].strip().isdigit():
            found.append(Imported(parts[2].strip(), int(parts[0]) / 1e6))
    return found


def by_package(modules: list[Imported]) -> list[tuple[str, float, int]]:
    """Packages with their seconds and their number of modules, by falling time."""
    seconds, counts = Counter[str](), Counter[str]()
    for module in modules:
        package = module.name.partition(".")[0]
        seconds[package] += module.seconds  # type: ignore[assignment]
        counts[package] += 1
    return [(name, own, counts[name]) for name, own in seconds.most_common()]


def run(arguments: list[str], folder: Path, python: tuple[str, ...] = ()) -> tuple[Taken, str]:
    """One process, and what it wrote to stderr.

    Raises:
        SystemExit: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    with (folder / "stderr").open("w+", encoding="utf-8") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *python, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        taken = Taken(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read()
    if process.returncode:
        sys.exit(f"startup: {' '.join(arguments[2:])}: {(said.strip() or 'failed').splitlines()[-1]}")
    return taken, said


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--verbose", action="store_true", help="which packages are imported, the slowest ten")
    options = parser.parse_args()
    whole: dict[str, list[Taken]] = {name: [] for name in COMMANDS}
    start: dict[str, list[Taken]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(options.rounds + 1):
            for name, line in COMMANDS.items():
                whole[name].append(run(numbered(line, number), folder)[0])
        logs = {
            name: run(numbered(line, options.rounds + 1), folder, ("-X", "importtime"))[1]
            for name, line in COMMANDS.items()
        }
        modules = {name: imported(log) for name, log in logs.items()}
        for _ in range(options.rounds):
            for name, own in modules.items():
                line = COMMANDS[name] if name == REFERENCE else [*IMPORT, *(module.name for module in own)]
                start[name].append(run(line, folder)[0])
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, medians of {options.rounds} rounds; bound of the"
          f" start-up: {BOUND:g} s")  # fmt: skip
    print(f"{'':16} {'start-up':>23} {'whole':>24} {'first':>17} {'modules':>8}")
    print(f"{'':16} {'s':>6} {'processor':>9} {'÷ python':>8} {'s':>8} {'processor':>9} {'s':>7} {'processor':>9}")
    for name in COMMANDS:
        show(name, start, whole, len(modules[name]))
        if options.verbose:
            for package, seconds, count in by_package(modules[name])[:10]:
                print(f"    {package:20} {1000 * seconds:7.1f} ms {count:5} modules")


def numbered(line: list[str], number: int) -> list[str]:
    """A command line of this round."""
    return [part.replace("NUMBER", str(number)) for part in line]


def show(name: str, start: dict[str, list[Taken]], whole: dict[str, list[Taken]], modules: int) -> None:
    """A line of the table; the first round of the whole commands is told apart."""
    first, later = whole[name][0], whole[name][1:]
    pairs = zip(start[name], start[REFERENCE], strict=True)
    ratio = statistics.median(own.processor / reference.processor for own, reference in pairs)
    wall, processor, whole_wall, whole_processor = (
        statistics.median(getattr(one, kind) for one in found)
        for found in (start[name], later) for kind in ("wall", "processor")
    )  # fmt: skip
    print(
        f"{name:16} {wall:6.2f} {processor:9.2f} {ratio:8.1f} {whole_wall:8.2f} {whole_processor:9.2f}"
        f" {first.wall:7.2f} {first.processor:9.2f} {modules:8,}{'   over' if processor > BOUND else ''}"
    )


if __name__ == "__main__":
    main()
