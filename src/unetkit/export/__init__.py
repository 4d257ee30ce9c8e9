"""A trained model in other forms: int8."""

from __future__ import annotations

from pathlib import Path

from ..inference.engines.int8_card import QuantisationReport
from ..progress import SILENT, Progress
from ..training.run import Run
from .int8 import ALLOWED_LOSS, export_int8

__all__ = ["export_model"]


def export_model(
    run: Run | Path | str,
    format: str = "int8",
    *,
    out: Path | str | None = None,
    allowed_loss: float = ALLOWED_LOSS,
    progress: Progress = SILENT,
) -> QuantisationReport:
    """Write the model of a run in another form.

    Parameters
    ----------
    run : Run or path
        Run folder; its images are read from where they were.
    format : str
        "int8": several times as fast on a processor, by OpenVINO (`export_int8`).
    out : path, optional
        Folder to write, `RUN/int8` by default.
    allowed_loss : float
        Dice that may be lost, 0 to 1; more is refused.
    progress : Progress

    Returns
    -------
    QuantisationReport

    Raises
    ------
    ValueError
        If there is no such format, or as `export_int8` raises it.
    """
    if format != "int8":
        raise ValueError(f"format is {format!r}; expected int8")
    return export_int8(run, out=out, allowed_loss=allowed_loss, progress=progress)
