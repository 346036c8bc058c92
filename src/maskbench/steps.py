"""Work in named steps, told one after the other; work on many things side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
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


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, *, ahead: int = 4
) -> Iterator[Result]:
    """Results of `work` on each item, by threads, in the items' order.

    Only a few items per thread are begun before their turn: memory does not grow with their number.

    Args:
        work: what the threads do; an error is raised here, in its turn.
        items: as many as there are.
        workers: threads, ≥ 1.
        ahead: items per thread that are begun, or done, before their turn, ≥ 1.

    Example:
        >>> list(in_order(abs, [-1, 2, -3], workers=2))
        [1, 2, 3]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > ahead * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
