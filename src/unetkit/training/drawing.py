"""Batches drawn ahead in a thread, so that a step does not wait for files; the same batches, by their numbers."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["DrawnAhead"]

_AHEAD = 2  # batches: more would only take memory, as drawing is faster than a step
_LOOK_EVERY_S = 0.1  # whether the training has ended
_Batch = TypeVar("_Batch")


_Drawn = tuple[_Batch | None, BaseException | None]


class DrawnAhead(Generic[_Batch]):
    """Draws batch after batch in a thread.

    Parameters
    ----------
    draw : callable
        Takes the number of a batch; gives the same one whenever it is asked. Called in one thread at a time.

    Attributes
    ----------
    waited_s : float
        Seconds for which batches were waited for.
    """

    def __init__(self, draw: Callable[[int], _Batch]) -> None:
        self._draw, self.waited_s = draw, 0.0
        self._next = 0
        self._queue: queue.Queue[_Drawn[_Batch]] = queue.Queue(_AHEAD)
        self._is_ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, step: int) -> _Batch:
        """Batch number `step`; quick where the one before it was asked for last.

        Raises
        ------
        Exception
            What drawing it raised.
        """
        start = time.perf_counter()
        if self._thread is None or step != self._next:
            self.close()
            self._begin(step)
        batch, error = self._queue.get()
        self._next = step + 1
        self.waited_s += time.perf_counter() - start
        if error is not None or batch is None:
            self.close()
            raise error or RuntimeError(f"batch {step} was not drawn")
        return batch

    def _begin(self, step: int) -> None:
        self._queue, self._is_ended = queue.Queue(_AHEAD), threading.Event()
        arguments = (self._draw, step, self._queue, self._is_ended)
        self._thread = threading.Thread(target=_draw_on, args=arguments, name="draw", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._is_ended.set)  # the thread holds no reference to this object

    def close(self) -> None:
        """End the thread; the next batch begins a new one."""
        if self._thread is not None:
            self._is_ended.set()
            self._thread.join()
            self._thread = None


def _draw_on(
    draw: Callable[[int], _Batch], step: int, drawn: queue.Queue[_Drawn[_Batch]], is_ended: threading.Event
) -> None:
    """Draw batches from number `step` on until the end, or an error."""
    while not is_ended.is_set():
        result: _Drawn[_Batch]
        try:
            result = draw(step), None
        except BaseException as error:
            result = None, error
        while not is_ended.is_set():
            with suppress(queue.Full):
                drawn.put(result, timeout=_LOOK_EVERY_S)
                break
        if result[1] is not None:
            return
        step += 1
