"""What an int8 model costs the run that it was made of: measured once, kept beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from ...json_text import parse_json
from ...model.files import weights_hash

__all__ = ["FILE", "QuantisationReport", "is_current", "read_report"]

FILE = "price.json"


@dataclass(frozen=True)
class QuantisationReport:
    """What int8 costs a run, and what it gives.

    Attributes
    ----------
    weights : str
        SHA-256 of the model.safetensors that was calibrated.
    patches : int
        Training patches that it was calibrated on.
    measured_on : "validation" or "training"
        Images that everything below was measured on.
    images, pixels : int
    dice_float32, dice_int8 : float
        Mean over the foreground classes, all pixels together.
    pixel_error_float32, pixel_error_int8 : float
    changed_share : float
        Share of the pixels whose class is another, 0 to 1.
    float32_s, int8_s : float
        Of all images, by torch in float32 and by OpenVINO in int8.
    allowed_loss : float
        Dice that it was allowed to lose.
    made_with : str
        Versions of openvino and nncf.
    """

    weights: str
    patches: int
    measured_on: str
    images: int
    pixels: int
    dice_float32: float
    dice_int8: float
    pixel_error_float32: float
    pixel_error_int8: float
    changed_share: float
    float32_s: float
    int8_s: float
    allowed_loss: float
    made_with: str

    @property
    def loss(self) -> float:
        """Dice lost."""
        return self.dice_float32 - self.dice_int8

    @property
    def is_allowed(self) -> bool:
        """Whether no more is lost than was allowed."""
        return self.loss <= self.allowed_loss

    def table(self) -> list[dict[str, object]]:
        """A row for float32 and one for int8."""
        rate = self.pixels / 1e6
        columns = ("engine", "dice", "pixel error", "changed pixels", "s", "Mpx/s")
        rows = (
            ("float32", self.dice_float32, self.pixel_error_float32, "-", self.float32_s, rate / self.float32_s),
            (
                "int8",
                self.dice_int8,
                self.pixel_error_int8,
                f"{self.changed_share:.3%}",
                self.int8_s,
                rate / self.int8_s,
            ),
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def describe(self) -> str:
        """In a sentence."""
        gain, where = self.float32_s / self.int8_s, f"{self.images} {self.measured_on} image{'s'[: self.images > 1]}"
        flatters = ", which the net knows" if self.measured_on == "training" else ""
        return (
            f"int8 is {gain:.1f} times as fast as float32 by torch, changes {self.changed_share:.3%} of the pixels and "
            f"the Dice by {-self.loss:+.4f}, measured on {where}{flatters}"
        )


def read_report(folder: Path | str) -> QuantisationReport | None:
    """The price of an int8 folder, None where there is none.

    Raises
    ------
    ValueError
        If its file is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        found = parse_json(path.read_text())
        return QuantisationReport(**{field.name: found[field.name] for field in fields(QuantisationReport)})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: is damaged ({type(error).__name__}: {error}); make it anew: delete the folder "
            f"{path.parent} and run unetkit quantise"
        ) from None


def is_current(run: Path | str, report: QuantisationReport) -> bool:
    """Whether a report is on the weights that the run has now."""
    return report.weights == weights_hash(run)
