"""A progress that keeps what it is told, for tests."""

from dataclasses import dataclass, field


@dataclass
class Update:
    """One call."""

    done: float
    total: float
    message: str
    values: dict[str, float]

    @property
    def share(self) -> float:
        """Of the work, 0 to 1."""
        return self.done / self.total if self.total else 0.0


@dataclass
class Recorder:
    """Keeps all calls in a list."""

    updates: list[Update] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        """The lines for the user."""
        return [update.message for update in self.updates if update.message]

    @property
    def steps(self) -> list[Update]:
        """The steps of a training."""
        return [update for update in self.updates if "step" in update.values]

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        self.updates.append(Update(done, total, message, values))
