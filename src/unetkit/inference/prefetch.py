"""Read what comes next while the net computes, and write what came last."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

from ..tiles import Slices
from .runner import Read

__all__ = ["BackgroundWriter", "Prefetcher"]


class Prefetcher:
    """Reads an image in a thread of its own, guessing that the rows after the last ones come next.

    A wrong guess costs nothing but the read. Use it as a context manager.

    Parameters
    ----------
    read : callable
        Reads pixels of the image; called by one thread at a time.
    n : int
        Rows (planes) of the image.
    """

    def __init__(self, read: Read, n: int) -> None:
        self._read, self._n = read, n
        self._thread = ThreadPoolExecutor(1)
        self._next: tuple[Slices, Future[Tensor]] | None = None

    def __call__(self, pixels: Slices) -> Tensor:
        """Pixels of the image."""
        guess, self._next = self._next, None
        future = guess[1] if guess and guess[0] == pixels else self._thread.submit(self._read, pixels)
        values = future.result()
        rows = pixels[0]
        low, high = rows.stop, min(2 * rows.stop - rows.start, self._n)
        if low < high:
            after = (slice(low, high), *pixels[1:])
            self._next = (after, self._thread.submit(self._read, after))
        return values

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)


class BackgroundWriter:
    """Runs one task at a time in a thread of its own; what a task raises is raised by the next call, or on leaving."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[Any] | None = None

    def __call__(self, task: Callable[..., Any], *arguments: Any) -> None:
        """Start a task once the last one is done."""
        if self._last is not None:
            self._last.result()
        self._last = self._thread.submit(task, *arguments)

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._last is not None and kind is None:
                self._last.result()
        finally:
            self._thread.shutdown()
