"""Work in named steps, told one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

Result = TypeVar("Result")
#: Called with steps done and in all.
Progress = Callable[[int, int], None]


def in_steps(progress: Progress | None, steps: Mapping[str, Callable[[], Result]]) -> dict[str, Result]:
    """Do pieces of work in order; their results by name.

    Args:
        progress: called before the first and after every step; None: nobody watches.
        steps: what to do, by name; one may use what earlier ones left.

    Example:
        >>> in_steps(lambda done, total: print(f"{done}/{total}"), {"a": lambda: 1, "b": lambda: 2})
        0/2
        1/2
        2/2
        {'a': 1, 'b': 2}
    """
    found: dict[str, Result] = {}
    if progress and steps:
        progress(0, len(steps))
    for done, (name, work) in enumerate(steps.items(), start=1):
        found[name] = work()
        if progress:
            progress(done, len(steps))
    return found
