"""What bounds training, predicting and detecting: counted operations and bytes against this machine's ceilings.

    python benchmarks/ceilings.py [--size 64] [--photographs 4] [--precision auto] [--rounds 5]

Counted: floating-point operations of convolutions and matrix products; bytes of the tensors that kernels read and
write, each once per kernel. Measured in the same process, taking turns: large matrix products (operations a second),
copies (bytes a second, of tensors larger than the caches and of ones that fit), and every convolution of the network
alone, at its own shape, precision and layout, forward and backward, as the library computes it. From these:

    arithmetic   operations at the rate of the large matrix product
    bytes        weights, gradients and optimiser state at the rate of the large copy, or of changing in place where
                 that is faster; activations at the small copy's
    floor        convolutions alone, and what all other kernels move as in `bytes`: what these kernels could reach at
                 best, one after the other

A share says how much of the time measured is explained: 100 % is the ceiling itself.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bare import CLASSES, Prediction, Step
from counting import ACTIVATIONS, GRADIENTS, STATE, WEIGHTS, Conv, Rates, Traffic, bounds, convolutions, count_flops
from maskbench.config import Config, make_config
from maskbench.models.detecting import DetectSettings, detect_batch
from maskbench.models.detectors import build_detector
from maskbench.models.execution import Execution, resolve_execution
from measuring import Clock, KernelTimes

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MATMUL = "matrix product {}"
LARGE, IN_PLACE, SMALL = "copy beyond the caches", "in place beyond them", "copy within them"
#: Side of the matrices, and bytes read and written by the large and the small copy.
SIDES, COPIES = {"cpu": 2048, "cuda": 8192}, {"cpu": (2**28, 2**22), "cuda": (2**31, 2**24)}


@dataclass
class Work:
    """A computation with what was counted of it.

    Attributes:
        call: does it.
        flops: of convolutions and matrix products.
        traffic: bytes.
        layers: its convolutions, with how often each runs.
        backward: whether these are followed by their backward passes.
    """

    call: Callable[[], object]
    flops: int
    traffic: Traffic
    layers: Counter[Conv] = field(default_factory=Counter)
    backward: bool = False


class Alone:
    """One convolution, forward and perhaps backward, as the library computes it in the network."""

    def __init__(self, conv: Conv, execution: Execution, backward: bool) -> None:
        self.backward, self.padding, self.stride = backward, conv.padding, conv.stride
        self.masks = [conv.input_gradient, True, False]
        self.images = self._drawn(execution, conv.batch, conv.inputs, *conv.size)
        self.weights = self._drawn(execution, conv.outputs, conv.inputs, *conv.kernel)
        self.gradient = self._drawn(execution, conv.batch, conv.outputs, *conv.output_size())

    @staticmethod
    def _drawn(execution: Execution, *shape: int) -> torch.Tensor:
        return execution.arrange(torch.randn(shape, device=execution.device, dtype=DTYPES[execution.precision]))

    def __call__(self) -> None:
        """Compute it."""
        form = (self.stride, self.padding, (1, 1), False, (0, 0), 1)
        with torch.no_grad():
            torch.ops.aten.convolution(self.images, self.weights, None, *form)
            if self.backward:
                torch.ops.aten.convolution_backward(self.gradient, self.images, self.weights, None, *form, self.masks)


def training_works(execution: Execution, size: int, config: Config) -> Iterator[tuple[str, Work]]:
    """The step and its two halves."""
    step = Step(execution, size, config.train)
    step()  # now the optimiser has its state
    layers = convolutions(step.model, step.learn)
    halves = {"forward and backward": step.learn, "clipping and optimiser": step.update}
    whole = Traffic()
    state = [tensor for own in step.optimiser.state.values() for tensor in own.values()]
    for name, half in halves.items():
        traffic = Traffic()
        traffic.name(step.model.parameters(), WEIGHTS)
        traffic.name((p.grad for p in step.model.parameters()), GRADIENTS)
        traffic.name(state, STATE)
        flops = count_flops(half)
        with traffic:
            half()
        whole.moved += traffic.moved
        learns = name.startswith("forward")
        yield name, Work(half, flops, traffic, layers if learns else Counter(), backward=learns)
    yield "training step", Work(step, count_flops(step), whole, layers, backward=True)


def watched(model: torch.nn.Module, call: Callable[[], object]) -> Work:
    """A computation without backward pass."""
    traffic = Traffic()
    traffic.name(model.parameters(), WEIGHTS)
    with traffic:
        call()
    return Work(call, count_flops(call), traffic, convolutions(model, call))


def detector_work(precision: str, photographs: int, config: Config) -> tuple[Execution, Work]:
    """Photographs of 400 x 300 px to boxes: resizing, padding, network, suppression."""
    detect = config.detect.model_copy(update={"precision": precision})
    execution = resolve_execution(detect, detect.input_size)
    mean, std = config.faces.mean, config.faces.std
    model, _ = build_detector("torchvision", CLASSES, detect, mean=mean, std=std, seed=0, loaded=None)
    execution.place(model).eval()
    settings = DetectSettings(detect.input_size, detect.nms_iou, detect.max_detections)
    images = list(np.random.default_rng(0).integers(0, 255, (photographs, 300, 400, 3)).astype(np.uint8))
    return execution, watched(model, lambda: detect_batch(model, images, settings, execution))


def machine(device: str) -> dict[str, tuple[Callable[[], object], float]]:
    """What measures the machine: a call, and the operations or bytes of one."""
    side, (large, small) = SIDES[device], COPIES[device]
    found: dict[str, tuple[Callable[[], object], float]] = {}
    for precision, dtype in DTYPES.items():
        matrices = [torch.randn(side, side, device=device, dtype=dtype) for _ in range(2)]
        found[MATMUL.format(precision)] = (lambda pair=matrices: pair[0] @ pair[1]), 2.0 * side**3
    for name, size in ((LARGE, large), (IN_PLACE, large), (SMALL, small)):
        tensors = [torch.ones(size // 8, device=device) for _ in range(2)]
        copy, add = (lambda pair=tensors: pair[0].copy_(pair[1])), (lambda pair=tensors: pair[0].add_(1))
        found[name] = (add if name == IN_PLACE else copy), float(size)
    return found


def round_rates(times: dict[Any, list[float]], amounts: dict[str, float], precision: str) -> list[Rates]:
    """What the machine reached in each round, at a precision."""
    flops, copied, changed, cached = (
        [amounts[name] / seconds for seconds in times[name]]
        for name in (MATMUL.format(precision), LARGE, IN_PLACE, SMALL)
    )
    return [Rates(a, max(b, c), d) for a, b, c, d in zip(flops, copied, changed, cached, strict=True)]


def show_work(name: str, work: Work, rates: list[Rates], alone: list[float], measured: list[float]) -> None:
    """A line of the table; shares are taken inside each round."""
    found = [bounds(work.flops, work.traffic, *pair) for pair in zip(rates, alone, strict=True)]
    arithmetic, moving, floor = (
        statistics.median(getattr(one, part) for one in found) for part in ("arithmetic", "bytes", "floor")
    )
    of_peak, of_floor = (
        statistics.median(getattr(one, part) / seconds for one, seconds in zip(found, measured, strict=True))
        for part in ("arithmetic", "floor")
    )
    megabytes = (work.traffic.bytes(WEIGHTS, GRADIENTS, STATE) / 1e6, work.traffic.bytes(ACTIVATIONS) / 1e6)
    times = (arithmetic, moving, statistics.median(alone), floor, statistics.median(measured))
    print(
        f"{name:22} {work.flops / 1e9:7.1f} {megabytes[0]:10.0f} {megabytes[1]:11.0f}"
        + "".join(f" {1000 * seconds:10.1f}" for seconds in times)
        + f" {of_peak:10.0%} {of_floor:8.0%}   {Counter(one.tighter() for one in found).most_common(1)[0][0]}"
    )


def show_layers(work: Work, seconds: dict[Conv, list[float]], rates: list[Rates]) -> None:
    """The convolutions alone, forward and backward together."""
    print("\nconvolutions of the training step alone   times   GFLOP  GFLOP/s  share of the matrix product")
    for conv, count in work.layers.items():
        flops = conv.forward_flops() + conv.backward_flops()
        share = statistics.median(flops / s / rate.flops for s, rate in zip(seconds[conv], rates, strict=True))
        shape = f"{conv.kernel[0]} x {conv.kernel[1]}, {conv.inputs} to {conv.outputs}, stride {conv.stride[0]}"
        place = f"{conv.size[0]} x {conv.size[1]} px"
        speed = flops / statistics.median(seconds[conv]) / 1e9
        print(f"{shape:30} {place:12} {count:4} {count * flops / 1e9:7.1f} {speed:8.0f} {share:8.0%}")


def main() -> None:
    """Count, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="side of the faces, px")
    parser.add_argument("--photographs", type=int, default=4, help="that the detector sees together")
    parser.add_argument("--precision", choices=("auto", *DTYPES), default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    config = make_config("quick")
    execution = resolve_execution(config.train.model_copy(update={"precision": options.precision}), options.size)
    works = dict(training_works(execution, options.size, config))
    prediction = Prediction(execution, options.size, config)
    works["prediction"] = watched(prediction.model, prediction)
    detector_execution, works["detector"] = detector_work(options.precision, options.photographs, config)
    executions = dict.fromkeys(works, execution) | {"detector": detector_execution}

    clock, limits = Clock(execution.device), machine(execution.device)
    calls: dict[Any, tuple[Callable[[], object], int]] = {
        name: (call, 20 if name == SMALL else 1) for name, (call, _) in limits.items()
    }
    calls |= {name: (work.call, 1) for name, work in works.items()}
    for name, work in works.items():
        own = executions[name]
        calls |= {(own, conv, work.backward): (Alone(conv, own, work.backward), 2) for conv in work.layers}
    times = clock.alternate(calls, options.rounds)

    amounts = {name: amount for name, (_, amount) in limits.items()}
    print(f"{clock}; medians of {options.rounds} rounds")
    for name, amount in amounts.items():
        unit = "GB/s" if name in (LARGE, IN_PLACE, SMALL) else "GFLOP/s"
        print(f"{name:24} {statistics.median(amount / seconds for seconds in times[name]) / 1e9:8.1f} {unit}")
    print(f"faces of {options.size} px, {config.train.batch_size} in a step, {config.evaluate.batch_size} in a"
          f" prediction; {options.photographs} photographs at {config.detect.input_size} px; {execution.precision},"
          f" {execution.memory_format}; detector {detector_execution.memory_format}\n")  # fmt: skip
    print(f"{'':22} {'':7} {'MB moved':>10} {'':11}" + f" {'ms':>10}" + " " * 45 + f"{'share of time':>19}")
    print(f"{'':22} {'GFLOP':>7} {'parameters':>10} {'activations':>11} {'arithmetic':>10} {'bytes':>10} {'convs':>10}"
          f" {'floor':>10} {'measured':>10} {'arithmetic':>10} {'floor':>8}   bounded by")  # fmt: skip
    for name, work in works.items():
        own = executions[name]
        layers = [[count * s for s in times[own, conv, work.backward]] for conv, count in work.layers.items()]
        alone = [sum(found) for found in zip(*layers, strict=True)] or [0.0] * options.rounds
        show_work(name, work, round_rates(times, amounts, own.precision), alone, times[name])
    print("\nkernels that take longest")
    for name in ("training step", "prediction", "detector"):
        with KernelTimes(clock):  # once for nothing: memory is fetched
            works[name].call()
        with KernelTimes(clock) as kernels:
            clock.seconds(works[name].call, 3)
        print(f"{name:22} " + ", ".join(f"{kernel} {share:.1%}" for kernel, share in kernels.largest(6)))
    step = works["training step"]
    seconds = {conv: times[execution, conv, True] for conv in step.layers}
    show_layers(step, seconds, round_rates(times, amounts, execution.precision))


if __name__ == "__main__":
    main()
