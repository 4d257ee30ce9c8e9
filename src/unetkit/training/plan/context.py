"""The input and the output of the rules of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...data.dataset import Dataset
from ...model.card import Card
from .fingerprint import Fingerprint, fingerprint

__all__ = ["Choice", "PlanContext"]


@dataclass(frozen=True)
class Choice:
    """A value of a plan, and why; "" where the user need not read it."""

    value: Any
    reason: str


@dataclass(frozen=True)
class PlanContext:
    """The data, the budget, the user's settings, and the choices of the rules before this one.

    Attributes
    ----------
    dataset : Dataset
    time_s : float or None
    settings : mapping
        By dotted path.
    init_from : Card or None
        Of the model that training starts from.
    choices : mapping
        By dotted path; a setting has taken the place of what its rule chose.
    """

    dataset: Dataset
    time_s: float | None
    settings: Mapping[str, Any]
    init_from: Card | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)

    def value(self, path: str) -> Any:
        """The value that was chosen for a dotted path."""
        return self.choices[path].value

    @property
    def planes(self) -> int | None:
        """Adjacent planes that a 2D net is given; None for a net of all axes, which a user sets as 0."""
        return self.value("data.planes") or None

    @property
    def fingerprint(self) -> Fingerprint:
        """The data as the net gets them."""
        return fingerprint(self.dataset, self.planes)

    @property
    def is_quick(self) -> bool:
        """Less than five minutes: a quick look."""
        return self.time_s is not None and self.time_s < 300

    @property
    def is_large(self) -> bool:
        """A GPU, or more than three hours of a CPU."""
        return bool(self.value("device.name") != "cpu") or (self.time_s or 0) > 3 * 3600

    @property
    def voxels(self) -> int:
        """Voxels of a batch of volumes: those of four patches of 256 x 256 pixels, 8 times as many on a GPU."""
        return (2**18 if self.value("device.name") == "cpu" else 2**21) // (4 if self.is_quick else 1)
