"""`torch.compile` against eager PyTorch: speed, start-up, and after how much work it pays.

    python benchmarks/compiling.py [--size 64] [--precisions bf16 fp32] [--faces 2900] [--rounds 5]

The bare training step and a prediction, each in a fresh process: first with nothing compiled before, then with the
caches that this left on disk. The start-up is what the first two calls take beyond two later ones. `frozen` also folds
weights and batch norms into constants, which only predicting allows. Differences are those of the first logits, and of
a step all its gradients, relative to their length; beside them what eager bfloat16 differs from eager float32.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bare import Prediction, Step, Wrap
from maskbench.config import PRESETS, make_config
from maskbench.models.execution import Execution, resolve_execution
from measuring import Clock

TRAINING, PREDICTING, FROZEN = WORKS = ("training step", "prediction", "prediction, frozen")


def pays_after(start_up: float, eager: float, compiled: float) -> float:
    """Calls after which compiling has saved its start-up; infinite where it never does.

    Args:
        start_up: seconds.
        eager: seconds of a call.
        compiled: seconds of the same call, compiled.
    """
    return start_up / (eager - compiled) if compiled < eager else math.inf


def saved(start_up: float, eager: float, compiled: float, calls: int) -> float:
    """Seconds that compiling saves over this many calls, its start-up included; negative where it costs."""
    return calls * (eager - compiled) - start_up


def differences(found: Iterable[Tensor], reference: Iterable[Tensor]) -> list[float]:
    """Lengths of the differences, relative to the references'."""
    return [float((own - other).norm() / other.norm()) for own, other in zip(found, reference, strict=True)]


def missing_compiler() -> str:
    """What the compiler behind `torch.compile` lacks on this machine, in one line; empty: nothing."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler, and none was found: install g++ or clang++, or name one in CXX"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "torch.compile needs Python's C headers, and Python.h was not found: install them (python3-dev)"
    return ""


def build(work: str, execution: Execution, size: int, compiled: bool) -> Step | Prediction:
    """What is measured, on a model of its own."""
    config = make_config("quick")
    wrap: Wrap = lambda model: model  # noqa: E731
    if compiled:
        options: dict[str, Any] | None = {"freezing": True} if work == FROZEN else None
        wrap = lambda model: torch.compile(model, options=options)  # noqa: E731
    return Step(execution, size, config.train, wrap) if work == TRAINING else Prediction(execution, size, config, wrap)


def execution_at(precision: str, size: int) -> Execution:
    """How the study would run at a precision."""
    return resolve_execution(make_config("quick").train.model_copy(update={"precision": precision}), size)


def answer(work: Step | Prediction) -> tuple[Tensor, ...]:
    """Logits of a call, and of a step the gradients."""
    if isinstance(work, Prediction):
        return (work(),)
    logits = work.learn()
    gradients = torch.cat([p.grad.flatten() for p in work.model.parameters() if p.grad is not None])
    work.update()
    return logits, gradients


def measure(work: str, precision: str, size: int, rounds: int) -> dict[str, Any]:
    """Seconds and differences, in this process."""
    execution, exact_execution = (execution_at(name, size) for name in (precision, "fp32"))
    clock = Clock(execution.device)
    eager, compiled = build(work, execution, size, False), build(work, execution, size, True)
    plain = answer(eager)
    exact = plain if precision == "fp32" else answer(build(work, exact_execution, size, False))
    started = clock.now()
    own = answer(compiled)
    compiled()
    first_two = clock.now() - started
    times = clock.alternate({"eager": (eager, 2), "compiled": (compiled, 2)}, rounds)
    return {
        "clock": str(clock),
        "layout": execution.memory_format,
        "batch": eager.batch,
        "start_up": first_two - 2 * statistics.median(times["compiled"]),
        **times,
        "to_eager": differences(own, plain),
        "to_fp32": differences(own, exact),
        "eager_to_fp32": differences(plain, exact),
    }


def in_fresh_process(work: str, precision: str, size: int, rounds: int, cache: str) -> dict[str, Any]:
    """`measure` where nothing is compiled yet but what `cache` holds."""
    threads = str(torch.get_num_threads())  # one: the compiler runs in the process, and its clock sees it
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": threads}
    command = [sys.executable, __file__, "--measure", work, precision, "--size", str(size), "--rounds", str(rounds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"compiling: {work}, {precision}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure in fresh processes and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="side of the faces, px")
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--faces", type=int, default=2900, help="of a training epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        work, precision = options.measure
        print(json.dumps(measure(work, precision, options.size, options.rounds)))
        return
    if missing := missing_compiler():
        sys.exit(f"compiling: {missing}")
    print(f"{'':25} {'start-up s':>17} {'faces/s':>18} {'':6} {'pays after':>13}")
    print(f"{'':25} {'cold':>8} {'caches':>8} {'eager':>8} {'compiled':>9} {'ratio':>6} {'faces':>13}")
    for precision in options.precisions:
        for work in WORKS:
            with tempfile.TemporaryDirectory() as cache:
                cold = in_fresh_process(work, precision, options.size, options.rounds, cache)
                warm = in_fresh_process(work, precision, options.size, 1, cache)
            show(f"{precision} {work}", cold, warm["start_up"])
            if work == TRAINING:
                show_presets(cold, warm["start_up"], options.faces)
    print(f"\n{cold['clock']}; {options.size} px; medians of {options.rounds} rounds")


def show(name: str, found: dict[str, Any], warm: float) -> None:
    """A line of the table."""
    eager, compiled = (statistics.median(found[kind]) for kind in ("eager", "compiled"))
    ratio = statistics.median(a / b for a, b in zip(found["eager"], found["compiled"], strict=True))
    faces = found["batch"] * pays_after(found["start_up"], eager, compiled)
    after = "never" if math.isinf(faces) else f"{faces:,.0f}"
    print(
        f"{name:25} {found['start_up']:8.1f} {warm:8.1f} {found['batch'] / eager:8.1f} {found['batch'] / compiled:9.1f}"
        f" {ratio:6.2f} {after:>13}"
    )
    words = {"to_eager": "differs from eager", "to_fp32": "from float32", "eager_to_fp32": "eager from float32"}
    differs = (f"{text} by {' and '.join(f'{value:.1e}' for value in found[kind])}" for kind, text in words.items())
    print(f"    {found['layout']}; {', '.join(differs)}", flush=True)


def show_presets(found: dict[str, Any], warm: float, faces: int) -> None:
    """What compiling the training step would save in a training of each preset, at this size."""
    eager, compiled = (statistics.median(found[kind]) for kind in ("eager", "compiled"))
    for preset in PRESETS:
        epochs = make_config(preset).train.epochs
        calls = epochs * math.ceil(faces / found["batch"])
        cold, second = (saved(start, eager, compiled, calls) for start in (found["start_up"], warm))
        print(f"    {preset}: {epochs} epochs, {calls:,} steps, {calls * eager:,.0f} s eager; compiling saves"
              f" {cold:,.0f} s, with caches {second:,.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
