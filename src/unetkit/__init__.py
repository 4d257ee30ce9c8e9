"""U-Nets for every pixel: from a folder of images and masks to exact masks of images of any size.

Names are loaded on first use, so that importing the package takes no time.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public name -> module and name within it.
_HOMES = {
    "Architecture": ("nets.architecture", "Architecture"),
    "Graph": ("graph.graph", "Graph"),
    "Image": ("image", "Image"),
    "Plan": ("training.plan.plan", "Plan"),
    "UNet": ("nets.unet", "UNet"),
    "border_weights": ("labels.borders", "border_weights"),
    "build": ("nets.build", "build"),
    "draw": ("insight.drawing.draw", "draw"),
    "evaluate": ("metrics.folders", "evaluate"),
    "find_pairs": ("data.pairs", "find_pairs"),
    "inspect": ("report.inspection.write", "inspect"),
    "load": ("data.dataset", "load"),
    "load_model": ("model.files", "read_model"),
    "named": ("nets.papers", "named"),
    "plan_tiles": ("inference.tiling", "plan_tiles"),
    "predict": ("inference.files", "predict"),
    "prepare": ("inference.prepare", "prepare"),
    "read": ("io", "read"),
    "read_graph": ("graph.graph", "read"),
    "read_labels": ("io", "read_labels"),
    "run": ("inference.runner", "run"),
    "train": ("training.loop", "train"),
    "write": ("io", "write"),
    "write_labels": ("io", "write_labels"),
    "write_report": ("report", "write_report"),
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unetkit' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
