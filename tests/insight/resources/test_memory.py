"""Picture of memory over the layers: every layer a bar, every stage by its name."""

from itertools import pairwise
from typing import Any

import pytest

from unetkit.graph.memory import peak_memory
from unetkit.graph.read import read
from unetkit.graph.stages import structure
from unetkit.inference.prepare import prepare
from unetkit.insight.resources.memory import draw_memory
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


@pytest.mark.parametrize(
    "options",
    [{}, {"topology": "unet++", "heads": "all", "widths": (4, 6, 8, 10)}, {"ndim": 3, "norm": "none"}],
    ids=str,
)
def test_the_picture_shows_every_layer_and_names_the_stages(options: dict[str, Any]) -> None:
    net = prepare(build(Architecture(**{"widths": (4, 6, 8)} | options)).eval())
    graph = read(net)
    found = peak_memory(net, (32,) * net.ndim, graph=graph)
    figure = draw_memory(found, graph, measured=found.peak_bytes + 2**20)
    axis = figure.axes[0]
    heights = [bar.get_height() * 2**20 for bar in axis.containers[0]]
    assert heights == pytest.approx(found.layers_bytes)
    assert [bar.get_height() * 2**20 for bar in axis.containers[1]] == pytest.approx([found.peak_bytes])
    assert axis.get_ylim()[1] * 2**20 > found.peak_bytes + 2**20
    names = structure(graph)
    shown = [label.get_text() for label in axis.get_xticklabels()]
    assert set(shown) <= {names.name(stage.key) for stage in names.stages}
    places = axis.get_xticks()
    assert min(b - a for a, b in pairwise(places)) >= 0.03 * len(heights)  # or else they overlap
    if not options:
        assert shown == ["encoder 0", "encoder 1", "bottom", "decoder 1", "decoder 0"]
    without = draw_memory(peak_memory(net, (32,) * net.ndim, graph=graph, is_training=True), graph)
    assert len(without.axes[0].containers) == 1  # the peak is in the backward pass
