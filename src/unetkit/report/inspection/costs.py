"""The section on cost: where parameters, multiplications, time and memory go, and what the skips add to them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from ...graph.allocation import laid_out_as
from ...graph.cost import cost
from ...graph.graph import Graph, read
from ...graph.memory import PeakMemory, measured_bytes, peak_memory
from ...graph.stages import structure
from ...inference.prepare import prepare
from ...insight.inspection import Inspection
from ...insight.resources.concatenation import Concatenation, concatenation_share, draw_joins, reducing_net
from ...insight.resources.memory import draw_memory
from ...insight.resources.timing import LayerTimes, StageTime, draw_times, layer_times, predict_time, stage_times
from ...insight.summary import macs_text, size_text
from ...nets.net import Net
from ...plotting.html import Html, duration, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg

__all__ = ["costs_section"]

_LARGE = {2: 2048, 3: 256}  # pixels per axis of an image as it comes from a scanner
_ENOUGH_S = 2.0  # of timing, where three runs take longer: the page should not take minutes
_LEAST_SHARE = 0.03  # of the time; the rates of smaller stages say little


@dataclass(frozen=True)
class _Run:
    """The net as `predict` runs it, where it is one of ours: batch norm folded, channels last in memory."""

    net: nn.Module
    graph: Graph
    image: Tensor
    is_ours: bool

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(self.image.shape[2:])


def costs_section(subject: Inspection) -> Html:
    """Parameters, multiplications, time and memory per stage; what concatenation adds; predicted against measured."""
    run = _run(subject)
    macs = cost(run.graph, run.size).macs
    times = layer_times(run.net, run.graph, run.image, enough_s=_ENOUGH_S)
    stages = stage_times(run.graph, run.size, times)
    peak, measured = peak_memory(run.net, run.size, graph=run.graph), measured_bytes(run.net, run.image)
    joins = concatenation_share(subject.graph, subject.size)
    pictures = [
        figure(Html(svg(draw_times(stages), label="time per stage")), _rates(stages), title="Time"),
        figure(
            Html(svg(draw_memory(peak, run.graph, measured=measured), label="memory over the run")),
            _highest(peak, measured, run),
            title="Memory",
        ),
    ]
    tables = [_stage_table(subject, stages)]
    if joins.readers:
        pictures.append(
            figure(
                Html(svg(draw_joins(joins, subject.graph), label="joined channels")), _explosion(joins), title="Skips"
            )
        )
        tables += [_join_table(joins, subject.graph), *_reduction(subject, joins, peak)]
    return section(
        "What it costs",
        paragraph(_whole(run, times, macs), _slowest(stages), _predicted(run, times)),
        paragraph(_large(run, times, macs), _training(subject, peak)),
        grid(*pictures),
        *tables,
    )


def _run(subject: Inspection) -> _Run:
    if not isinstance(subject.net, Net):
        return _Run(subject.net, subject.graph, subject.image, False)
    net = prepare(subject.net)
    return _Run(net, read(net), laid_out_as(net, subject.image), True)


# --- time ---


def _whole(run: _Run, times: LayerTimes, macs: int) -> str:
    threads = torch.get_num_threads()
    how = " as predict runs it (batch norm folded, channels last in memory)" if run.is_ours else ""
    return (
        f"One image of {size_text(run.size)} pixels costs {macs_text(macs)} multiplications and took "
        f"{_time(times.total_s)} on this machine with {threads} thread{'s'[: threads > 1]}{how}: "
        f"{macs_text(int(macs / times.total_s))} multiplications a second."
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


def _rates(stages: Sequence[StageTime]) -> str:
    words = (
        "A stage whose time is longer than its multiplications is held up by more than multiplying, such as moving "
        "large maps through memory."
    )
    timed = [s for s in stages if s.macs and _shares(s, stages)[0] >= _LEAST_SHARE]
    if len(timed) < 2:
        return words
    slow, fast = min(timed, key=lambda s: s.rate), max(timed, key=lambda s: s.rate)
    return (
        f"{words} Among the stages that take {_LEAST_SHARE:.0%} of the time or more, {fast.name} multiplies fastest "
        f"({macs_text(int(fast.rate))} a second), {slow.name} slowest ({macs_text(int(slow.rate))})."
    )


def _predicted(run: _Run, times: LayerTimes) -> str:
    found = predict_time(run.net, run.graph, run.size, repeats=3 if times.total_s < _ENOUGH_S else 1)
    if found.crop == run.size:
        return ""
    off = found.predicted_s / times.total_s - 1
    return (
        f"Predicted from a crop of {size_text(found.crop)} pixels ({_time(found.crop_s)}) by the ratio of "
        f"multiplications it would take {_time(found.predicted_s)}: {off:+.0%} predicted against measured."
    )


def _stage_table(subject: Inspection, stages: Sequence[StageTime]) -> Html:
    """Parameters are those of the net as it was trained: folding batch norm changes a few."""
    layers, found = cost(subject.graph, subject.size).layers, structure(subject.graph)
    learned = {found.name(s.key): sum(layers[i].parameters for i in s.layers) for s in found.stages}
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
    header = ["stage", "parameters", "MACs", "of all", "its maps", "time", "of all"]
    return table(header, rows, caption=f"Cost per stage, for {size_text(subject.size)} pixels")


# --- memory ---


def _highest(peak: PeakMemory, measured: int, run: _Run) -> str:
    found = structure(run.graph)
    stage = next((found.name(s.key) for s in found.stages if peak.layer in s.layers), "")
    where = f"{peak.at} ({stage})" if stage else peak.at
    off = peak.peak_bytes / max(measured, 1) - 1
    return (
        "What the run holds in memory while each layer works, beyond the weights: maps that are still needed, and "
        "what a convolution takes for itself. Predicted from the net alone, the peak is "
        f"{_megabytes(peak.peak_bytes)}, at {where}; measured it was {_megabytes(measured)} ({off:+.1%} predicted "
        "against measured: what torch's allocator gave out; the process may keep freed blocks beside that)."
    )


def _large(run: _Run, times: LayerTimes, macs: int) -> str:
    ndim = len(run.size)
    size = run.graph.geometry.above((_LARGE[ndim],) * ndim)
    peak = peak_memory(run.net, size, graph=run.graph)
    time = times.total_s * cost(run.graph, size).macs / max(macs, 1)
    tiles = " Where that is too much, predict --memory runs the image in tiles." if run.is_ours else ""
    return (
        f"An image of {size_text(size)} pixels would take {_megabytes(peak.peak_bytes)} at once, with the peak at "
        f"{peak.at}, and about {_time(time)}.{tiles}"
    )


def _training(subject: Inspection, peak: PeakMemory) -> str:
    net, ndim = subject.net, subject.ndim
    if isinstance(net, Net):  # trained with channels last, batch norm not folded
        layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
        net = copy.deepcopy(net).to(memory_format=layout)  # type: ignore[call-overload]
    found = peak_memory(net, subject.size, graph=subject.graph, is_training=True)
    return (
        f"Training on one image of this size holds every map until its gradient is known: "
        f"{_megabytes(found.peak_bytes)} are predicted, {found.peak_bytes / peak.peak_bytes:.1f} times as much as "
        f"predicting, and {_megabytes(found.weights_bytes + found.optimiser_bytes)} of weights and optimiser beside "
        "them."
    )


# --- what concatenation adds ---


def _explosion(joins: Concatenation) -> str:
    whole = joins.cost
    return (
        "Channels that each decoder stage reads, and how many of them a skip has put beside its own. These cost "
        f"{joins.parameters:,} weights ({joins.parameters / whole.parameters:.1%} of all parameters) and "
        f"{macs_text(joins.macs)} multiplications ({joins.macs / whole.macs:.1%} of all), and the joined maps are "
        f"copies of {_megabytes(joins.memory_bytes)} in all, not all at the same time."
    )


def _join_table(joins: Concatenation, graph: Graph) -> Html:
    found, rows = structure(graph), []
    for join in joins.joins:
        readers = [r for r in joins.readers if _owner(joins, r.layer) == join.layer]
        rows.append(
            [
                found.name(join.stage),
                f"{join.channels}",
                f"{join.skipped}",
                f"{sum(r.parameters for r in readers):,}",
                macs_text(sum(r.macs for r in readers)),
                _megabytes(join.memory_bytes),
            ]
        )
    header = ["joined in", "channels", "skipped", "weights for them", "MACs for them", "copied"]
    return table(header, rows, caption="What concatenation adds")


def _owner(joins: Concatenation, layer: int) -> int:
    """The last join before a layer."""
    return max((join.layer for join in joins.joins if join.layer < layer), default=-1)


def _reduction(subject: Inspection, joins: Concatenation, peak: PeakMemory) -> list[Html]:
    """The net as it is beside one with 1x1 convolutions after its joins; nothing where it has them already."""
    if all(prod(subject.graph.layers[r.layer].weights[2:]) == 1 for r in joins.readers):
        return [paragraph("Here 1x1 convolutions read the joined maps, and bring their channels back right away.")]
    net = reducing_net(subject.net) if isinstance(subject.net, Net) else None
    if net is None:
        rows = [
            _change("parameters", joins.cost.parameters, joins.reduced_parameters, "{:,}".format),
            _change("multiplications", joins.cost.macs, joins.reduced_macs, macs_text),
        ]
        words = (
            "Counted on the graph: a 1x1 convolution after each join brings its channels back to the unskipped ones."
        )
    else:
        reduced = cost(net.graph, subject.size)
        ready = prepare(net, device="meta")
        least = peak_memory(ready, subject.size, graph=read(ready))
        rows = [
            _change("parameters", joins.cost.parameters, reduced.parameters, "{:,}".format),
            _change("multiplications", joins.cost.macs, reduced.macs, macs_text),
            _change("peak memory", peak.peak_bytes, least.peak_bytes, _megabytes),
        ]
        words = (
            'Exact: the same architecture with skip="reduce" was built and counted. Whether its masks are as good, '
            "only training it can tell."
        )
    return [
        table(["", "as it is", "with 1x1 reduction", "change"], rows, caption="1x1 convolutions after joining"),
        paragraph(words),
    ]


def _change(name: str, before: int, after: int, text: Callable[[int], str]) -> list[str]:
    return [name, text(before), text(after), f"{after / before - 1:+.1%}"]


# --- numbers as people read them ---


def _megabytes(n: int) -> str:
    return f"{n / 2**30:.2f} GB" if n >= 2**30 else f"{n / 2**20:,.1f} MB"


def _time(time_s: float) -> str:
    return f"{1000 * time_s:.1f} ms" if time_s < 1 else duration(time_s)
