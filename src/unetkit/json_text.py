"""JSON of files, which anybody may have written."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parse_json"]

_DEEPEST = 100  # levels; what this package writes has fewer than ten


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises
    ------
    ValueError
        If it is not JSON, not UTF-8, or nested beyond 100 levels: functions that call themselves for each level, as
        those of Python's own `json`, end in a RecursionError from some depth on.

    Examples
    --------
    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parse_json("[" * 101 + "]" * 101)
    Traceback (most recent call last):
    ValueError: nested more than 100 levels deep
    """
    too_deep = ValueError(f"nested more than {_DEEPEST} levels deep")
    try:
        whole = json.loads(text)
    except RecursionError:
        raise too_deep from None
    level = [whole]
    for _ in range(_DEEPEST):
        values = [value.values() if isinstance(value, dict) else value for value in level]
        level = [value for inner in values if not isinstance(inner, str | int | float | None) for value in inner]
    if level:
        raise too_deep
    return whole
