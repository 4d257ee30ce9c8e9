"""The section on cost says what the numbers say, for every kind of net."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.graph.cost import cost
from unetkit.graph.memory import peak_memory
from unetkit.graph.read import read
from unetkit.inference.prepare import prepare
from unetkit.insight.inspection import Inspection, inspect_array, inspect_noise
from unetkit.insight.resources.concatenation import concatenation_share, reducing_net
from unetkit.insight.resources.timing import LayerTimes, StageTime
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.report.inspection import costs
from unetkit.report.inspection.costs import costs_section

SIZE = {2: (48, 56), 3: (16, 24, 24)}


class Own(nn.Module):
    """Two branches of different depth, no attribute but forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 2, stride=2)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.first(x))
        result: Tensor = self.last(torch.cat([y, self.up(torch.relu_(self.down(y)))], 1))
        return result


def inspection(ndim: int = 2, **options: Any) -> Inspection:
    torch.manual_seed(0)
    net = build(Architecture(ndim=ndim, **{"widths": (4, 8, 8)} | options))
    image = np.random.default_rng(0).normal(size=(1, *net.geometry.above(SIZE[ndim]))).astype(np.float32)
    return inspect_array(net, image, name="net", source="image")


def text(markup: str) -> str:
    """The words of a section, every figure of which must say something, without a number that is none."""
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", markup)
    assert len(captions) == markup.count("<svg ") == markup.count("<figure>")
    assert all(caption.endswith(".") and len(caption) > 40 for caption in captions)
    words = re.sub(r"<svg.*?</svg>", "", markup, flags=re.S)
    assert not re.search(r"\b(nan|inf|None)\b", words)
    return words


def rows(words: str, caption: str) -> list[list[str]]:
    """The cells of the table of that caption."""
    table = words[words.index(f"<caption>{caption}") :].split("</table>")[0]
    body = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", table)]
    return [row for row in body if row]


def whole(number: str) -> int:
    return int(number.replace(",", ""))


@pytest.mark.parametrize(
    "ndim, options, figures",
    [
        (2, {}, 3),
        (2, {"topology": "unet++", "heads": "all"}, 3),
        (2, {"padding": "valid", "norm": "none", "skip": "add"}, 2),
        (3, {"padding": "valid", "norm": "none"}, 3),
        (3, {"skip": "attention", "block": "residual"}, 3),
        (3, {"norm": "instance", "skip": "none"}, 2),
    ],
    ids=str,
)
def test_every_net_has_its_costs(ndim: int, options: dict[str, Any], figures: int) -> None:
    shown = inspection(ndim, **options)
    words = text(costs_section(shown))
    assert words.count("<figure>") == figures
    counted = cost(shown.graph, shown.size)
    assert sum(whole(row[1]) for row in rows(words, "Cost per stage")) == counted.parameters
    for column in (3, 6):
        shares = [float(row[column].rstrip("%")) for row in rows(words, "Cost per stage")]
        assert sum(shares) == pytest.approx(100, abs=0.06 * len(shares))
    ready = prepare(shown.net)  # type: ignore[arg-type]
    peak = peak_memory(ready, shown.size, graph=read(ready))
    assert f"{peak.peak_bytes / 2**20:,.1f} MB, at {peak.at}" in words


def test_a_net_of_ones_own() -> None:
    image = np.zeros((1, 32, 40), np.float32)
    words = text(costs_section(inspect_array(Own(), image, name="own", source="image")))
    assert "as predict runs it" not in words
    found = concatenation_share(read(Own()), (32, 40))
    listed = {row[0]: row[1:] for row in rows(words, "1x1 convolutions")}
    assert [whole(cell) for cell in listed["parameters"][:2]] == [found.cost.parameters, found.reduced_parameters]
    assert "peak memory" not in listed
    assert "Counted on the graph" in words


def test_the_reduced_net_is_built_and_counted() -> None:
    shown = inspection()
    words = text(costs_section(shown))
    reduced = cost(reducing_net(shown.net).graph, shown.size)  # type: ignore[arg-type,union-attr]
    listed = {row[0]: row[1:] for row in rows(words, "1x1 convolutions")}
    before = cost(shown.graph, shown.size).parameters
    assert [whole(cell) for cell in listed["parameters"][:2]] == [before, reduced.parameters]
    assert listed["parameters"][2] == f"{reduced.parameters / before - 1:+.1%}"
    assert "peak memory" in listed
    due = concatenation_share(shown.graph, shown.size)
    joined = rows(words, "Cost of concatenation")
    assert [whole(row[3]) for row in joined] == [reader.parameters for reader in due.readers]
    assert [row[0] for row in joined] == ["decoder 1", "decoder 0"]


def test_joins_that_are_reduced_already_say_so() -> None:
    words = text(costs_section(inspection(skip="reduce")))
    assert "1x1 convolutions read the concatenated maps" in words
    assert "<caption>1x1 convolutions" not in words


def test_noise_will_do() -> None:
    net = build(Architecture(widths=(2, 3)))
    assert "256 x 256 pixels costs" in text(costs_section(inspect_noise(net, name="net")))


def test_training_takes_more_than_predicting() -> None:
    found = re.search(r"is predicted, ([\d.]+) times that of", text(costs_section(inspection())))
    assert found is not None
    assert float(found[1]) > 1


def stage(name: str, macs: int, time_s: float) -> StageTime:
    return StageTime(name, 10, macs, 100, time_s)


def test_the_bottleneck_is_where_the_time_goes() -> None:
    stages = (stage("encoder 0", 100, 3.0), stage("bottom", 800, 1.0), stage("decoder 0", 100, 4.0))
    assert costs._slowest(stages) == "The bottleneck is decoder 0: 50% of the time, for 10% of the multiplications."
    words = costs._describe_rates(stages)
    assert "bottom multiplies fastest (800 per second), decoder 0 slowest (25)" in words


def test_rates_of_stages_that_take_no_time_are_not_compared() -> None:
    stages = (stage("encoder 0", 100, 3.0), stage("bottom", 8000, 0.01), stage("decoder 0", 0, 4.0))
    assert "fastest" not in costs._describe_rates(stages)


def test_times_are_predicted_from_a_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = inspection()
    run = costs._prepare(shown)
    times = LayerTimes((), 2.0, ())
    assert costs._check_prediction(run, times) == ""  # so small an image is not cropped
    monkeypatch.setattr("unetkit.insight.resources.timing._CROP_MACS", cost(run.graph, run.size).macs // 2)
    pattern = r"from a crop of \d+ x \d+ pixels .* -\d+% compared with the measured"
    assert re.search(pattern, costs._check_prediction(run, times))
