"""Nets by name: this package's own, whose widths are free, and those of papers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .architecture import Architecture
from .papers import PAPERS

CONFIGURABLE: dict[str, dict[str, Any]] = {"unet": {}, "unet++": {"topology": "unet++", "heads": "all"}}
NAMES = (*CONFIGURABLE, *PAPERS)


def named(name: str, *, divide_width: int | None = None, **options: Any) -> Architecture:
    """The architecture of a name.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    divide_width : int, optional
        Divides the widths of a paper's net.
    **options
        Values of `Architecture` that take the place of the net's own. A paper's widths and axes are its own.

    Raises
    ------
    ValueError
        If no net has the name, an option does not go with it, or a value is not possible.
    """
    if name not in NAMES:
        raise ValueError(f"no net is named {name!r}; expected {', '.join(NAMES)}")
    if name in CONFIGURABLE:
        if divide_width is not None:
            raise ValueError(f"divide_width is {divide_width}, but {name} has no paper's widths to divide; give widths")
        return Architecture(**CONFIGURABLE[name] | options)
    if "widths" in options:
        raise ValueError(
            f"widths are {tuple(options['widths'])}, but {name} has its paper's widths; give divide_width instead"
        )
    if divide_width is not None and divide_width < 1:
        raise ValueError(f"divide_width is {divide_width}; expected 1 or more")
    paper = PAPERS[name](divide_width=divide_width or 1)
    if options.get("ndim", paper.ndim) != paper.ndim:
        raise ValueError(f"{name} is a {paper.ndim}D net, not one of {options['ndim']} spatial axes")
    return replace(paper, **options)
