"""Time of calls that take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import platform
import resource
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch

from counting import EachKernel

Name = TypeVar("Name", bound=Hashable)


class Clock:
    """Seconds of work on a device.

    Wall time; where one CPU thread computes, the processor time of this process and of those it waited for, which
    other work on the machine does not lengthen by taking turns (it still shares caches and memory).

    Args:
        device: `cpu` or `cuda`.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.of_processor = device == "cpu" and torch.get_num_threads() == 1

    def now(self) -> float:
        """Seconds, once the device has done what it was told."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        if not self.of_processor:
            return time.perf_counter()
        waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + waited_for.ru_utime + waited_for.ru_stime

    def seconds(self, call: Callable[[], object], count: int = 1) -> float:
        """Mean time of `count` calls."""
        started = self.now()
        for _ in range(count):
            call()
        return (self.now() - started) / count

    def alternate(self, calls: Mapping[Name, tuple[Callable[[], object], int]], rounds: int) -> dict[Name, list[float]]:
        """Mean time of each call in each round, after one round that warms up.

        Args:
            calls: what to do, and how often in a round, by name.
            rounds: that count.
        """
        found: dict[Name, list[float]] = {name: [] for name in calls}
        for number in range(rounds + 1):
            for name, (call, count) in calls.items():
                seconds = self.seconds(call, count if number else 1)
                if number:
                    found[name].append(seconds)
        return found

    def __str__(self) -> str:
        """What is measured on."""
        processor = torch.cuda.get_device_name() if self.device == "cuda" else platform.machine()
        kind = "processor time" if self.of_processor else "wall time"
        return f"torch {torch.__version__}, {processor}, {torch.get_num_threads()} threads, {kind}"


class KernelTimes(EachKernel):
    """Seconds inside each kind of kernel, one after the other.

    Args:
        clock: that tells them.

    Attributes:
        seconds: by the kernel's name.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.seconds = clock, Counter[str]()

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run the kernel and time it."""
        started = self.clock.now()
        result = super().run(func, args, kwargs)
        self.seconds[func.overloadpacket.__name__] += self.clock.now() - started  # type: ignore[assignment]
        return result

    def largest(self, count: int) -> list[tuple[str, float]]:
        """The kernels that take longest, with their share of the time in all."""
        return [(name, seconds / self.seconds.total()) for name, seconds in self.seconds.most_common(count)]
