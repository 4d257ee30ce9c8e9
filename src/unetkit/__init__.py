"""U-Nets for every pixel: from a folder of images and masks to exact masks of images of any size.

Names are loaded on first use, so that importing the package takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers, which do not run `__getattr__`
    from .data.check import check as check
    from .export import export_model as export_model
    from .graph.read import read as read_graph  # noqa: F401
    from .image import Image as Image
    from .inference.arrays import Prediction as Prediction
    from .inference.execution import Execution as Execution
    from .inference.outputs import Outputs as Outputs
    from .inference.predictor import Predictor as Predictor
    from .inference.predictor import load_model as load_model
    from .io import read as read
    from .io import read_labels as read_labels
    from .io import write as write
    from .io import write_labels as write_labels
    from .measurements.table import measure as measure
    from .metrics.folders import evaluate as evaluate
    from .nets import papers as papers
    from .nets.architecture import Architecture as Architecture
    from .nets.build import build as build
    from .report import write_report as write_report
    from .report.inspection.write import inspect as inspect
    from .training.cross_validation import cross_validate as cross_validate
    from .training.loop import train as train
    from .training.plan.plan import Plan as Plan
    from .training.plan.rules import make_plan as make_plan
    from .training.run import Run as Run

__version__ = "0.2.0"

# Public name -> module and name within it; "" for the module itself.
_HOMES = {
    "Architecture": ("nets.architecture", "Architecture"),
    "Execution": ("inference.execution", "Execution"),
    "Image": ("image", "Image"),
    "Outputs": ("inference.outputs", "Outputs"),
    "Plan": ("training.plan.plan", "Plan"),
    "Prediction": ("inference.arrays", "Prediction"),
    "Predictor": ("inference.predictor", "Predictor"),
    "Run": ("training.run", "Run"),
    "build": ("nets.build", "build"),
    "check": ("data.check", "check"),
    "cross_validate": ("training.cross_validation", "cross_validate"),
    "evaluate": ("metrics.folders", "evaluate"),
    "export_model": ("export", "export_model"),
    "inspect": ("report.inspection.write", "inspect"),
    "load_model": ("inference.predictor", "load_model"),
    "measure": ("measurements.table", "measure"),
    "make_plan": ("training.plan.rules", "make_plan"),
    "papers": ("nets.papers", ""),
    "read": ("io", "read"),
    "read_graph": ("graph.read", "read"),
    "read_labels": ("io", "read_labels"),
    "train": ("training.loop", "train"),
    "write": ("io", "write"),
    "write_labels": ("io", "write_labels"),
    "write_report": ("report", "write_report"),
}
# Names of version 0.1 -> what to use now.
_MOVED = {
    "Graph": "unetkit.graph.graph.Graph",
    "UNet": "unetkit.nets.unet.UNet",
    "border_weights": "unetkit.labels.borders.border_weights",
    "draw": "unetkit.insight.drawing.draw.draw",
    "find_pairs": "unetkit.data.pairs.find_pairs",
    "load": "unetkit.data.dataset.load_dataset",
    "named": "unetkit.nets.papers.named",
    "plan_tiles": "unetkit.inference.tiling.plan_tiles",
    "predict": "load_model(RUN).predict_files(inputs, out)",
    "prepare": "unetkit.inference.prepare.prepare",
    "run": "unetkit.inference.runner.run",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        raise AttributeError(f"unetkit.{name} of version 0.1 is now {_MOVED[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module 'unetkit' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    path, attribute = _HOMES[name]
    module = import_module(f"{__name__}.{path}")
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
