"""The environment by which torchrun, and `launch`, tell processes that they are to train together."""

from __future__ import annotations

import os

__all__ = ["environment_notes", "is_first", "is_started"]

_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # beside WORLD_SIZE


def is_started() -> bool:
    """Whether the environment, as torchrun sets it, says that this process is one of several that are to join.

    Raises
    ------
    ValueError
        If it says so only in part: the process would wait for others, or train what they train.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal():
        raise ValueError(f"WORLD_SIZE={size!r} in the environment: expected the number of processes; unset it")
    if int(size) < 2:
        return False
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE={size} in the environment says that several processes train together, but "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: start them by torchrun or "
            "--devices, or unset WORLD_SIZE"
        )
    return True


def is_first() -> bool:
    """Whether this process writes and prints, before the processes have joined."""
    return not is_started() or os.environ["RANK"] == "0"


def environment_notes() -> list[str]:
    """What the environment says of other processes, where it has no effect."""
    if is_started() or os.environ.get("RANK", "0") == "0":
        return []
    return [f"RANK={os.environ['RANK']} without WORLD_SIZE in the environment: ignored, this process trains alone"]
