"""Reading ahead and writing behind: the same values, in order, and no error lost."""

import threading

import pytest
import torch

from unetkit.inference.prefetch import BackgroundWriter, Prefetcher

IMAGE = torch.arange(200.0).reshape(1, 20, 10)


def test_rows_are_those_asked_for_whatever_was_guessed():
    asked = []

    def give(pixels):
        asked.append(pixels[0])
        return IMAGE[(slice(None), *pixels)]

    across = slice(2, 7)
    with Prefetcher(give, 20) as read:
        for low, high in ((0, 6), (6, 12), (12, 18), (18, 20), (3, 5), (0, 20), (0, 0)):
            assert torch.equal(read((slice(low, high), across)), IMAGE[:, low:high, across])
    assert asked[:4] == [slice(0, 6), slice(6, 12), slice(12, 18), slice(18, 20)]  # none of them twice


def test_a_read_that_fails_is_raised():
    def give(pixels):
        if pixels[0].start >= 6:
            raise ValueError(f"damaged at {pixels[0].start}")
        return IMAGE[(slice(None), *pixels)]

    with Prefetcher(give, 20) as read:
        read((slice(0, 6), slice(0, 10)))
        with pytest.raises(ValueError, match="damaged at 6"):
            read((slice(6, 12), slice(0, 10)))


def test_tasks_run_in_order_in_another_thread():
    seen = []
    with BackgroundWriter() as write:
        for i in range(5):
            write(lambda i: seen.append((i, threading.get_ident())), i)
    assert [i for i, _ in seen] == list(range(5))
    assert threading.get_ident() not in {thread for _, thread in seen}


@pytest.mark.parametrize("then", [0, 1])
def test_a_task_that_fails_is_raised_by_the_next_or_on_leaving(then):
    def fail():
        raise OSError(28, "No space left on device")

    def work():
        with BackgroundWriter() as write:
            write(fail)
            for _ in range(then):
                write(print)

    with pytest.raises(OSError, match="No space left"):
        work()
