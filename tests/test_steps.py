"""Work on many things side by side: in order, and not far ahead."""

import threading
import time

import pytest

from maskbench.steps import in_order


def test_results_come_in_the_order_of_the_items_whoever_is_faster() -> None:
    assert list(in_order(lambda n: time.sleep(0.002 * (n % 3)) or n, range(30), 4)) == list(range(30))
    assert list(in_order(abs, [], 2)) == []


@pytest.mark.parametrize("ahead", [1, 4])
def test_only_a_few_items_are_begun_before_their_turn(ahead: int) -> None:
    taken = 0

    def items():
        nonlocal taken
        for index in range(1000):
            taken += 1
            yield index

    results = in_order(lambda index: index, items(), 2, ahead=ahead)
    for done in range(20):
        next(results)
        assert taken <= done + 2 + 2 * ahead
    results.close()  # the rest is not begun
    assert taken < 40


def test_an_error_comes_in_its_turn_and_ends_the_work() -> None:
    begun, lock = [], threading.Lock()

    def work(index: int) -> int:
        with lock:
            begun.append(index)
        if index == 3:
            raise ValueError("three")
        return index

    results = in_order(work, range(1000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(begun) < 30
