"""The section on cost: parameters, multiplications, time and memory of each stage, and the cost of the skips."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from ...graph.allocation import laid_out_as
from ...graph.cost import cost
from ...graph.graph import Graph
from ...graph.memory import PeakMemory, measured_bytes, peak_memory
from ...graph.read import read
from ...graph.stages import structure
from ...inference.prepare import prepare
from ...insight.inspection import Inspection
from ...insight.resources.concatenation import Concatenation, concatenation_share, draw_concatenation, reducing_net
from ...insight.resources.memory import draw_memory
from ...insight.resources.timing import LayerTimes, StageTime, draw_times, layer_times, predict_time, stage_times
from ...insight.summary import macs_text, size_text
from ...nets.net import Net
from ...plotting.html import Html, duration, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg

__all__ = ["costs_section"]

_LARGE = {2: 2048, 3: 256}  # pixels per axis of an image from a scanner
_ENOUGH_S = 2.0  # of timing, where three runs take longer: the page should not take minutes
_LEAST_SHARE = 0.03  # of the time; the rates of smaller stages say little


@dataclass(frozen=True)
class _PreparedNet:
    """The net as `predict` runs it, if it is one of this package: batch norm folded, channels last in memory."""

    net: nn.Module
    graph: Graph
    image: Tensor
    is_ours: bool

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(self.image.shape[2:])


def costs_section(inspection: Inspection) -> Html:
    """Parameters, multiplications, time and memory per stage; cost of concatenation; predictions and measurements."""
    run = _prepare(inspection)
    macs = cost(run.graph, run.size).macs
    times = layer_times(run.net, run.graph, run.image, enough_s=_ENOUGH_S)
    stages = stage_times(run.graph, run.size, times)
    peak, measured = peak_memory(run.net, run.size, graph=run.graph), measured_bytes(run.net, run.image)
    skips = concatenation_share(inspection.graph, inspection.size)
    memory = svg(draw_memory(peak, run.graph, measured=measured), label="memory over the run")
    pictures = [
        figure(svg(draw_times(stages), label="time per stage"), _describe_rates(stages), title="Time"),
        figure(memory, _describe_peak(peak, measured, run), title="Memory"),
    ]
    tables = [_stage_table(inspection, stages)]
    if skips.readers:
        drawing = svg(draw_concatenation(skips, inspection.graph), label="channels of concatenated maps")
        pictures.append(figure(drawing, _describe_concatenation(skips), title="Skips"))
        tables += [_concatenation_table(skips, inspection.graph), *_reduction(inspection, skips, peak)]
    return section(
        "Cost",
        paragraph(_describe_time(run, times, macs), _slowest(stages), _check_prediction(run, times)),
        paragraph(_large_image(run, times, macs), _training_memory(inspection, peak)),
        grid(*pictures),
        *tables,
    )


def _prepare(inspection: Inspection) -> _PreparedNet:
    if not isinstance(inspection.net, Net):
        return _PreparedNet(inspection.net, inspection.graph, inspection.image, False)
    net = prepare(inspection.net)
    return _PreparedNet(net, read(net), laid_out_as(net, inspection.image), True)


# --- time ---


def _describe_time(run: _PreparedNet, times: LayerTimes, macs: int) -> str:
    threads = torch.get_num_threads()
    preparation = " as predict runs it (batch norm folded, channels last in memory)" if run.is_ours else ""
    return (
        f"One image of {size_text(run.size)} pixels costs {macs_text(macs)} multiplications and took "
        f"{_time(times.total_s)} on this machine with {threads} thread{'s'[: threads > 1]}{preparation}: "
        f"{macs_text(int(macs / times.total_s))} multiplications per second."
    )


def _slowest(stages: Sequence[StageTime]) -> str:
    slowest = max(stages, key=lambda s: s.time_s)
    time, macs = _shares(slowest, stages)
    return f"The bottleneck is {slowest.name}: {time:.0%} of the time, for {macs:.0%} of the multiplications."


def _shares(stage: StageTime, stages: Sequence[StageTime]) -> tuple[float, float]:
    """Of the time and of the multiplications."""
    return (
        stage.time_s / max(sum(s.time_s for s in stages), 1e-12),
        stage.macs / max(sum(s.macs for s in stages), 1),
    )


def _describe_rates(stages: Sequence[StageTime]) -> str:
    words = (
        "A stage with a larger share of the time than of the multiplications is limited by something else, such as the "
        "transfer of large maps from and to memory."
    )
    timed = [s for s in stages if s.macs and _shares(s, stages)[0] >= _LEAST_SHARE]
    if len(timed) < 2:
        return words
    slow, fast = min(timed, key=lambda s: s.rate), max(timed, key=lambda s: s.rate)
    return (
        f"{words} Among the stages that take {_LEAST_SHARE:.0%} of the time or more, {fast.name} multiplies fastest "
        f"({macs_text(int(fast.rate))} per second), {slow.name} slowest ({macs_text(int(slow.rate))})."
    )


def _check_prediction(run: _PreparedNet, times: LayerTimes) -> str:
    prediction = predict_time(run.net, run.graph, run.size, repeats=3 if times.total_s < _ENOUGH_S else 1)
    if prediction.crop == run.size:
        return ""
    error = prediction.predicted_s / times.total_s - 1
    return (
        f"The prediction from a crop of {size_text(prediction.crop)} pixels ({_time(prediction.crop_s)}) and the ratio "
        f"of multiplications is {_time(prediction.predicted_s)}, {error:+.0%} compared with the measured time."
    )


def _stage_table(inspection: Inspection, stages: Sequence[StageTime]) -> Html:
    """Costs per stage; parameters are those of the trained net, since folding batch norm changes a few."""
    layers, net = cost(inspection.graph, inspection.size).layers, structure(inspection.graph)
    learned = {net.name(s.key): sum(layers[i].parameters for i in s.layers) for s in net.stages}
    rows = [
        [
            stage.name,
            f"{learned.get(stage.name, stage.parameters):,}",
            macs_text(stage.macs),
            f"{_shares(stage, stages)[1]:.1%}",
            _megabytes(stage.memory_bytes),
            _time(stage.time_s),
            f"{_shares(stage, stages)[0]:.1%}",
        ]
        for stage in stages
    ]
    header = ["stage", "parameters", "MACs", "share", "its maps", "time", "share"]
    return table(header, rows, caption=f"Cost per stage, for {size_text(inspection.size)} pixels")


# --- memory ---


def _describe_peak(peak: PeakMemory, measured: int, run: _PreparedNet) -> str:
    net = structure(run.graph)
    stage = next((f" ({net.name(s.key)})" for s in net.stages if peak.layer in s.layers), "")
    error = peak.peak_bytes / max(measured, 1) - 1
    return (
        "Memory while each layer runs, without the weights: maps that are still needed, and the workspace of the "
        f"convolution. The peak predicted from the net alone is {_megabytes(peak.peak_bytes)}, at {peak.at}{stage}; "
        f"{_megabytes(measured)} were measured (difference {error:+.1%}; memory that torch's allocator handed out, to "
        "which the process may add freed blocks that it keeps)."
    )


def _large_image(run: _PreparedNet, times: LayerTimes, macs: int) -> str:
    ndim = len(run.size)
    size = run.graph.geometry.above((_LARGE[ndim],) * ndim)
    peak = peak_memory(run.net, size, graph=run.graph)
    time = times.total_s * cost(run.graph, size).macs / max(macs, 1)
    tiles = " If that is too much, predict --memory runs the image in tiles." if run.is_ours else ""
    return (
        f"An image of {size_text(size)} pixels would take {_megabytes(peak.peak_bytes)} at once, with the peak at "
        f"{peak.at}, and about {_time(time)}.{tiles}"
    )


def _training_memory(inspection: Inspection, peak: PeakMemory) -> str:
    net, ndim = inspection.net, inspection.ndim
    if isinstance(net, Net):  # trained with channels last, batch norm not folded
        layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
        net = copy.deepcopy(net).to(memory_format=layout)  # type: ignore[call-overload]
    training = peak_memory(net, inspection.size, graph=inspection.graph, is_training=True)
    return (
        "Training on one image of this size keeps every map until its gradient is computed: a peak of "
        f"{_megabytes(training.peak_bytes)} is predicted, {training.peak_bytes / peak.peak_bytes:.1f} times that of "
        f"prediction, plus {_megabytes(training.weights_bytes + training.optimiser_bytes)} for weights and optimiser."
    )


# --- cost of concatenation ---


def _describe_concatenation(skips: Concatenation) -> str:
    whole = skips.cost
    return (
        "Channels that each decoder stage reads, and how many of them come from a skip. The skipped channels cost "
        f"{skips.parameters:,} weights ({skips.parameters / whole.parameters:.1%} of all parameters) and "
        f"{macs_text(skips.macs)} multiplications ({skips.macs / whole.macs:.1%} of all), and their copies in the "
        f"concatenated maps take {_megabytes(skips.memory_bytes)} in total, not all at the same time."
    )


def _concatenation_table(skips: Concatenation, graph: Graph) -> Html:
    net, rows = structure(graph), []
    for join, following in zip(skips.joins, [*skips.joins[1:], None], strict=True):
        readers = [r for r in skips.readers if r.layer > join.layer and (not following or r.layer < following.layer)]
        rows.append(
            [
                net.name(join.stage),
                f"{join.channels}",
                f"{join.skipped}",
                f"{sum(r.parameters for r in readers):,}",
                macs_text(sum(r.macs for r in readers)),
                _megabytes(join.memory_bytes),
            ]
        )
    header = ["concatenated in", "channels", "skipped", "weights for them", "MACs for them", "copied"]
    return table(header, rows, caption="Cost of concatenation")


def _reduction(inspection: Inspection, skips: Concatenation, peak: PeakMemory) -> list[Html]:
    """The net compared with one that has 1x1 convolutions after its concatenations; a remark if it has them already."""
    if all(prod(inspection.graph.layers[r.layer].weights[2:]) == 1 for r in skips.readers):
        return [paragraph("Here 1x1 convolutions read the concatenated maps, and reduce their channels at once.")]
    net = reducing_net(inspection.net) if isinstance(inspection.net, Net) else None
    if net is None:
        parameters, macs = skips.reduced_parameters, skips.reduced_macs
        words = "Counted on the graph, with a 1x1 convolution after each concatenation that removes as many channels "
        words += "as the skip has added."
    else:
        reduced = cost(net.graph, inspection.size)
        parameters, macs = reduced.parameters, reduced.macs
        words = 'Exact: the same architecture with skip="reduce" was built and counted. Only training can tell whether '
        words += "its masks are as good."
    rows = [
        _change("parameters", skips.cost.parameters, parameters, "{:,}".format),
        _change("multiplications", skips.cost.macs, macs, macs_text),
    ]
    if net is not None:
        prepared = prepare(net, device="meta")
        least = peak_memory(prepared, inspection.size, graph=read(prepared))
        rows.append(_change("peak memory", peak.peak_bytes, least.peak_bytes, _megabytes))
    header = ["", "this net", "with 1x1 reduction", "change"]
    return [table(header, rows, caption="1x1 convolutions after concatenation"), paragraph(words)]


def _change(name: str, before: int, after: int, text: Callable[[int], str]) -> list[str]:
    return [name, text(before), text(after), f"{after / before - 1:+.1%}"]


# --- numbers as text ---


def _megabytes(n: int) -> str:
    return f"{n / 2**30:.2f} GB" if n >= 2**30 else f"{n / 2**20:,.1f} MB"


def _time(time_s: float) -> str:
    return f"{1000 * time_s:.1f} ms" if time_s < 1 else duration(time_s)
