"""Batches drawn ahead in threads, so that a step does not wait for files; the same batches, by their numbers."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["DrawnAhead"]

_Batch = TypeVar("_Batch")


class DrawnAhead(Generic[_Batch]):
    """Draws the batches that come next in threads.

    Parameters
    ----------
    draw : callable
        Takes the number of a batch; gives the same one whenever it is asked. With several threads it is called in each
        of them at a time.
    threads : int
        One more batch than these is ready at most.

    Attributes
    ----------
    waited_s : float
        Seconds for which batches were waited for.
    """

    def __init__(self, draw: Callable[[int], _Batch], threads: int = 1) -> None:
        self._draw, self._threads, self.waited_s = draw, threads, 0.0
        self._coming: deque[Future[_Batch]] = deque()
        self._next = 0  # of those to come
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, step: int) -> _Batch:
        """Batch number `step`; quick where the one before it was asked for last.

        Raises
        ------
        Exception
            What drawing it raised.
        """
        start = time.perf_counter()
        if self._pool is None or step != self._next:
            self.close()
            self._next = step
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="draw")
            weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        while len(self._coming) < self._threads + 2:
            self._coming.append(self._pool.submit(self._draw, self._next + len(self._coming)))
        try:
            batch = self._coming.popleft().result()
        except BaseException:
            self.close()
            raise
        self._next = step + 1
        self.waited_s += time.perf_counter() - start
        return batch

    def close(self) -> None:
        """End the threads; the next batch begins new ones."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._coming.clear()
