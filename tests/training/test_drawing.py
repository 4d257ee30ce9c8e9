"""Batches drawn ahead in threads: in order by their numbers; what drawing raises is raised where they are taken."""

import gc
import threading
import time

import pytest

from unetkit.training.drawing import DrawnAhead


def drawing_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("draw_")]


def test_batches_come_in_order_and_again_from_any_number():
    drawn = []
    ahead = DrawnAhead(lambda step: drawn.append(step) or f"batch {step}")
    assert [ahead(step) for step in (5, 6, 7)] == ["batch 5", "batch 6", "batch 7"]
    assert ahead(2) == "batch 2"
    assert [ahead(step) for step in (3, 4)] == ["batch 3", "batch 4"]
    ahead.close()
    assert drawn[:3] == [5, 6, 7]
    assert len(drawn) <= 3 + 3 + 2 * 3  # a few ahead, and no more
    assert ahead(9) == "batch 9"
    ahead.close()
    assert not drawing_threads()


def test_an_error_is_raised_where_its_batch_is_taken():
    def draw(step):
        if step == 2:
            raise OSError(5, "the disk is gone")
        return step

    ahead = DrawnAhead(draw)
    assert [ahead(0), ahead(1)] == [0, 1]
    for _ in range(2):  # it is tried again
        with pytest.raises(OSError, match="the disk is gone"):
            ahead(2)
    assert not drawing_threads()


def test_waiting_is_counted():
    ahead = DrawnAhead(lambda step: time.sleep(0.05))
    ahead(0)
    assert ahead.waited_s > 0.04
    ahead.close()


def test_several_threads_draw_at_a_time_and_batches_still_come_in_order():
    meeting = threading.Barrier(3)

    def draw(step):
        if step < 3:
            meeting.wait(10)  # all three are drawn at once, or this raises
            time.sleep(0.02 * (3 - step))
        return step

    ahead = DrawnAhead(draw, threads=3)
    assert [ahead(step) for step in range(8)] == list(range(8))
    ahead.close()
    assert not drawing_threads()


def test_the_thread_ends_with_its_owner():
    ahead = DrawnAhead(lambda step: step)
    assert ahead(0) == 0
    (thread,) = drawing_threads()
    del ahead
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
