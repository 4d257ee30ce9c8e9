"""U-Nets for every pixel: from a folder of images and masks to exact masks of images of any size.

Names are loaded on first use, so that importing the package takes no time.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public name -> module and name within it.
_HOMES = {
    "Architecture": ("nets.architecture", "Architecture"),
    "Graph": ("nets.graph", "Graph"),
    "Image": ("image", "Image"),
    "Plan": ("learn.plan", "Plan"),
    "UNet": ("nets.unet", "UNet"),
    "border_weights": ("learn.weights", "border_weights"),
    "build": ("nets.build", "build"),
    "draw": ("insight.drawing", "draw"),
    "evaluate": ("masks.evaluate", "evaluate"),
    "find_pairs": ("learn.pairs", "find_pairs"),
    "inspect": ("report.inspection.write", "inspect"),
    "load": ("learn.data", "load"),
    "load_model": ("learn.checkpoint", "load_model"),
    "named": ("nets.named", "named"),
    "plan_tiles": ("infer.tiling", "plan_tiles"),
    "predict": ("infer.predict", "predict"),
    "prepare": ("infer.prepare", "prepare"),
    "read": ("io", "read"),
    "read_graph": ("nets.graph", "read"),
    "read_labels": ("io", "read_labels"),
    "run": ("infer.tiled", "run"),
    "train": ("learn.train", "train"),
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
