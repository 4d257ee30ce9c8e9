"""What a net is, in a table and three lines."""

from typing import Any

import pytest
from torch import nn

from unetkit.graph.read import read
from unetkit.insight.summary import choose_net, field_text, macs_text, size_text, summarise, write_drawing


def plain(ndim: int) -> nn.Module:
    convolution: Any = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
    return nn.Sequential(convolution(1, 4, 3), nn.ReLU(), convolution(4, 2, 1))


@pytest.mark.parametrize(
    ("net", "side", "size"),
    [("ronneberger2015", None, 572), ("unet", None, 256), ("ronneberger2015", 573, 588), ("unet", 256, 256)],
)
def test_the_size_is_one_that_fits(net: str, side: int | None, size: int) -> None:
    summary = summarise(choose_net(net=net).graph, None if side is None else (side,))
    assert summary.size == (size, size)
    assert summary.requested == ((side or size,) * 2)
    assert summary.to_dict()["fits"] == (side in (None, size))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_users_module_too(ndim: int) -> None:
    summary = summarise(read(plain(ndim)))
    n = {2: 572, 3: 132}[ndim]  # unpadded
    d = summary.to_dict()
    assert (d["size"], d["output_size"], d["margin"]) == ((n,) * ndim, (n - 2,) * ndim, ((1, 1),) * ndim)
    assert (d["parameters"], d["macs"]) == (4 * 3**ndim + 4 + 10, (4 * 3**ndim + 8) * (n - 2) ** ndim)
    assert (d["below"], d["above"]) == ((n - 1,) * ndim, (n + 1,) * ndim)
    assert [row["layer"] for row in summary.layer_rows()] == ["input", "0", "1", "2"]


@pytest.mark.parametrize("net", ["ronneberger2015", "zhou2018", "oktay2018", "unet"])
def test_stages_add_up_to_the_whole(net: str) -> None:
    summary = summarise(choose_net(net=net).graph)
    rows, layers = summary.stage_rows(), summary.layer_rows()
    for key, total in (("parameters", summary.cost.parameters), ("macs", summary.cost.macs)):
        assert sum(row[key] for row in rows) == sum(row[key] for row in layers) == total
    assert sum(row["layers"] for row in rows) == len(layers)
    assert rows[0]["receptive_field"] == ((5, 5),) * len(summary.size)


def test_the_three_lines() -> None:
    lines = summarise(choose_net(net="ronneberger2015").graph, (570,)).lines()
    assert lines[0].startswith("31,030,658 parameters; 150.4 G multiplications, ")
    assert lines[1] == "An output depends on 188 to 204 pixels; total stride 16, halo 96, margin 92 per side"
    assert lines[2] == (
        "Input 570 x 570 does not fit, so everything is counted for 572 x 572; output 388 x 388; "
        "nearest sizes: 556 x 556 below, 572 x 572 above"
    )
    small = summarise(choose_net(net="ronneberger2015").graph, (9,)).lines()
    assert small[2].endswith("counted for 188 x 188; output 4 x 4; nearest sizes: none below, 188 x 188 above")
    normed = summarise(read(nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4))))
    assert "statistics over the whole map: tiles are not exact" in normed.lines()[1]


def test_numbers_as_people_read_them() -> None:
    assert [macs_text(n) for n in (7, 1500, 2_000_000, 150_432_000_000, 3 * 10**12)] == [
        *("7", "1.5 k", "2.0 M", "150.4 G", "3.0 T")
    ]
    assert field_text(((188, 204), (188, 204))) == "188 to 204"
    assert field_text(((1, 1), (5, 6), (5, 6))) == "1 x 5 to 6 x 5 to 6"
    assert size_text((132, 132, 116)) == "132 x 132 x 116"


def test_nets_by_name() -> None:
    net = choose_net(net="ronneberger2015", in_channels=3, out_channels=5, width_divisor=8)
    assert (net.in_channels, net.out_channels, net.architecture.widths) == (3, 5, (8, 16, 32, 64, 128))
    assert (choose_net().ndim, choose_net(ndim=3).ndim) == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "vnet"}, "no net is named 'vnet'; expected unet, unet\\+\\+, ronneberger2015"),
        ({"width_divisor": 2}, "width_divisor is 2, but unet has no paper's widths to divide"),
        ({"net": "ronneberger2015", "width_divisor": 0}, "width_divisor is 0; expected 1 or more"),
        ({"model": "run", "channels": 3}, "run defines its net: leave out --net"),
    ],
)
def test_nets_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_net(**options)


def test_sizes_of_other_dimensions() -> None:
    with pytest.raises(ValueError, match="size is 8 x 8 x 8; expected 2 numbers of at least 1 for this 2D net"):
        summarise(read(plain(2)), (8, 8, 8))
    with pytest.raises(ValueError, match="size is 0 x 0; expected 2 numbers of at least 1"):
        summarise(read(plain(2)), (0,))


def test_drawings_are_replaced_and_refused(tmp_path: Any) -> None:
    path = tmp_path / "net.svg"
    path.write_text("old")
    write_drawing(path, summarise(read(plain(2))), title="mine")
    assert path.read_text(encoding="utf-8").startswith("<svg ")
    assert "<title>mine</title>" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"net\.png: the drawing is an SVG; name a file that ends in \.svg"):
        write_drawing(tmp_path / "net.png", summarise(read(plain(2))))
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none; make it first"):
        write_drawing(tmp_path / "none" / "net.svg", summarise(read(plain(2))))
