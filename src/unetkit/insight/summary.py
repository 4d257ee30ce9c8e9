"""Summary of a net as a table: stages, sizes, receptive fields, parameters, multiplications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch

from ..graph.cost import Cost, cost
from ..graph.graph import Graph
from ..graph.stages import structure
from ..io.atomic import check_writable, write_text
from ..model.files import read_model
from ..nets.build import build
from ..nets.net import Net
from ..nets.papers import named
from .drawing.draw import draw

__all__ = ["Summary", "choose_net", "summarise", "write_drawing"]

_DEFAULT_SIZE = {("valid", 2): 572, ("same", 2): 256, ("valid", 3): 132, ("same", 3): 64}


class Totals(TypedDict):
    """Of a net at a size, in pixels and bytes (float32); None in `below` and `above` where there is no such size."""

    given_size: tuple[int, ...]
    size: tuple[int, ...]
    fits: bool
    below: tuple[int | None, ...]
    above: tuple[int | None, ...]
    output_size: tuple[int, ...]
    parameters: int
    macs: int
    inference_bytes: int
    training_bytes: int
    receptive_field: tuple[tuple[int, int], ...]
    stride: tuple[int, ...]
    halo: tuple[int, ...]
    margin: tuple[tuple[int, int], ...]
    is_local: bool


@dataclass(frozen=True)
class Summary:
    """A net at one input size.

    Attributes
    ----------
    graph : Graph
    requested : tuple of int
        The requested size.
    size : tuple of int
        The smallest size from it on that fits the net, for which everything is counted.
    cost : Cost
    """

    graph: Graph
    requested: tuple[int, ...]
    size: tuple[int, ...]
    cost: Cost

    def stage_rows(self) -> list[dict[str, object]]:
        """A row per stage: level, layers, channels and size of its last map, receptive field, parameters, MACs."""
        net, rows = structure(self.graph), []
        for stage in sorted(net.stages, key=lambda s: (s.key.turn, 2 * s.key.deepest - s.key.level, s.key.level)):
            layers = [self.cost.layers[i] for i in stage.layers]
            last = self.cost.layers[stage.bars[-1]]
            rows.append(
                {
                    "stage": net.name(stage.key),
                    "level": stage.key.level,
                    "layers": len(layers),
                    "channels": last.channels,
                    "map": last.size,
                    "receptive_field": self._field(stage.bars[-1]),
                    "parameters": sum(layer.parameters for layer in layers),
                    "macs": sum(layer.macs for layer in layers),
                }
            )
        return rows

    def layer_rows(self) -> list[dict[str, object]]:
        """A row per layer, in order of computation."""
        return [
            {
                "layer": layer.name,
                "kind": layer.kind,
                "channels": layer.channels,
                "map": layer.size,
                "receptive_field": self._field(i),
                "parameters": layer.parameters,
                "macs": layer.macs,
            }
            for i, layer in enumerate(self.cost.layers)
        ]

    def _field(self, layer: int) -> tuple[tuple[int, int], ...]:
        """Smallest and largest receptive field over the phases of the pooling grid, per axis."""
        fields = (axis.receptive_field(layer) for axis in self.graph.geometry.axes)
        return tuple((field.smallest, field.largest) for field in fields)

    def table(self, *, layers: bool = False) -> list[dict[str, object]]:
        """Rows of the stages, or of every layer, for people."""
        rows = self.layer_rows() if layers else self.stage_rows()
        texts: dict[str, Callable[[Any], str]] = {"map": size_text, "receptive_field": field_text, "macs": macs_text}
        return [{key: texts[key](value) if key in texts else value for key, value in row.items()} for row in rows]

    def to_dict(self) -> Totals:
        """Totals, for machines."""
        geometry = self.graph.geometry
        above = geometry.above([n + 1 for n in self.size]) if self.requested == self.size else self.size
        return {
            "given_size": self.requested,
            "size": self.size,
            "fits": self.requested == self.size,
            "below": geometry.below([n - 1 for n in self.requested]),
            "above": above,
            "output_size": geometry.output_size(self.size),
            "parameters": self.cost.parameters,
            "macs": self.cost.macs,
            "inference_bytes": self.cost.peak_bytes,
            "training_bytes": self.cost.memory_bytes,
            "receptive_field": self._field(-1),
            "stride": geometry.stride,
            "halo": geometry.halo,
            "margin": geometry.margin,
            "is_local": self.graph.is_local,
        }

    def lines(self) -> list[str]:
        """Totals, for people."""
        d = self.to_dict()
        inference, training = (f"{n / 2**20:,.0f} MB" for n in (d["inference_bytes"], d["training_bytes"]))
        margins = [f"{a} and {b}" if a != b else f"{a} per side" for a, b in d["margin"]]
        margin = margins[0] if len(set(margins)) == 1 else " x ".join(margins)
        local = "" if d["is_local"] else ", and on statistics over the whole map: tiles are not exact"
        below = "none" if None in d["below"] else size_text(d["below"])
        near = f"nearest sizes: {below} below, {size_text(d['above'])} above"
        fit = "fits" if d["fits"] else f"does not fit, so everything is counted for {size_text(self.size)}"
        return [
            f"{d['parameters']:,} parameters; {macs_text(d['macs'])} multiplications, {inference} of maps to predict, "
            f"{training} to train, per image of {size_text(self.size)} (float32)",
            f"An output depends on {field_text(d['receptive_field'])} pixels{local}; "
            f"total stride {axes_text(d['stride'])}, halo {axes_text(d['halo'])}, margin {margin}",
            f"Input {size_text(self.requested)} {fit}; output {size_text(d['output_size'])}; {near}",
        ]


def size_text(size: Sequence[int | None]) -> str:
    """Sizes as in 132 x 132 x 116."""
    return " x ".join(map(str, size))


def axes_text(numbers: Sequence[int]) -> str:
    """One number if all axes agree, else as `size_text`."""
    return str(numbers[0]) if len(set(numbers)) == 1 else size_text(numbers)


def macs_text(macs: int) -> str:
    """150.4 G for 150,400,000,000."""
    for unit, factor in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if macs >= factor:
            return f"{macs / factor:.1f} {unit}"
    return str(macs)


def field_text(field: Sequence[tuple[int, int]]) -> str:
    """Sizes as in 185 to 203, or one such range per axis."""
    texts = [str(low) if low == high else f"{low} to {high}" for low, high in field]
    return texts[0] if len(set(texts)) == 1 else " x ".join(texts)


def choose_net(model: Path | None = None, net: str | None = None, **options: Any) -> Net:
    """Read the net of a run folder or model file, or build one by its name, without weights.

    Parameters
    ----------
    model : Path, optional
        A run folder, or a model.safetensors.
    net : str, optional
        One of `nets.papers.NAMES`; "unet" if there is no model either.
    **options
        As `nets.papers.named` takes them; None stands for the net's own value.

    Raises
    ------
    ValueError
        If both a model and a net are named, or none has that name, or a value does not go with it.
    """
    options = {key: value for key, value in options.items() if value is not None}
    if model is None:
        with torch.device("meta"):
            return build(named(net or "unet", **options))
    if net is not None or options:
        raise ValueError(f"{model} defines its net: leave out --net, --block, --channels and other options of a net")
    return read_model(model)[0]


def summarise(graph: Graph, size: Sequence[int] | None = None) -> Summary:
    """Summarise a net: one of this package, or any Module that `graph.read.read` reads.

    Parameters
    ----------
    graph : Graph
    size : sequence of int, optional
        Of the input, in pixels; one number stands for all axes. Default: 572 (3D: 132) for unpadded nets, 256 (3D: 64)
        for padded ones. A size that does not fit is rounded up.

    Raises
    ------
    ValueError
        If the number of axes is not the net's.
    """
    geometry, ndim = graph.geometry, len(graph.geometry.axes)
    if size is None:
        is_valid = any(sum(margin) for margin in geometry.margin)
        n = _DEFAULT_SIZE["valid" if is_valid else "same", ndim]
        size = geometry.above((n,) * ndim)
    requested = tuple(size) * ndim if len(size) == 1 else tuple(size)
    if len(requested) != ndim or min(requested) < 1:
        raise ValueError(f"size is {size_text(requested)}; expected {ndim} numbers of at least 1 for this {ndim}D net")
    fitting = geometry.above(requested)
    return Summary(graph, requested, fitting, cost(graph, fitting))


def check_drawing_path(path: Path) -> None:
    """Raise ValueError or FileNotFoundError if no drawing can be written there."""
    if path.suffix.lower() != ".svg":
        raise ValueError(f"{path}: the drawing is an SVG; name a file that ends in .svg")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first")
    check_writable(path)


def write_drawing(path: Path, summary: Summary, *, title: str = "") -> None:
    """Write the drawing of a net, replacing a file of that name.

    Raises
    ------
    ValueError
        If the name does not end in .svg.
    FileNotFoundError
        If the folder does not exist.
    """
    check_drawing_path(path)
    write_text(path, draw(summary.graph, summary.size, title=title))
