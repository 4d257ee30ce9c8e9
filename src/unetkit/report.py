"""A run folder as one self-contained HTML page."""

from pathlib import Path


def write_report(run: Path, out: Path | None = None) -> Path:
    return out or run / "report.html"
