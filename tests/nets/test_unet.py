"""The U-Net: any size in, the same size out, in 2D and 3D; and refusals with their numbers."""

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.graph.cost import map_sizes
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.unet import UNet

OPTIONS = {
    "transposed": {},
    "nearest": {"up": "nearest"},
    "linear": {"up": "linear"},
    "batch": {"norm": "batch"},
    "instance": {"norm": "instance"},
    "group": {"norm": "group"},
    "strides 3, 2": {"strides": (3, 2)},
    "kernels 5, 3, 1": {"kernels": (5, 3, 1)},
}


def small(**options: Any) -> Architecture:
    defaults: dict[str, Any] = {"widths": (2, 3, 4), "norm": "none"}
    return Architecture(**(defaults | options))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_output_has_the_size_of_the_input(ndim: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = UNet(small(ndim=ndim, in_channels=2, out_channels=3, **options)).eval()
    lengths = [1, 2, 3, 5, 7, 12, 13] if ndim == 2 else [1, 3, 8]
    with torch.no_grad():
        for size in product(lengths, repeat=ndim):
            if options.get("norm") in ("instance", "group") and max(size) <= net.geometry.stride[0]:
                continue  # one value per map has no variance, and torch refuses it
            y = net(torch.rand(2, 2, *size))
            assert y.shape == (2, 3, *size)
            assert torch.isfinite(y).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_size_that_does_not_fit_is_mirrored_at_the_far_end(ndim: int) -> None:
    torch.manual_seed(0)
    net = UNet(small(ndim=ndim)).eval()
    size = (9, 6, 11)[:ndim]
    image = np.random.default_rng(0).random((1, 1, *size), dtype=np.float32)
    pads = [(0, want - have) for have, want in zip(size, net.geometry.above(size), strict=True)]
    whole = torch.from_numpy(np.pad(image, [(0, 0), (0, 0), *pads], mode="reflect"))
    part: Any = (..., *(slice(n) for n in size))
    with torch.no_grad():
        assert torch.equal(net(torch.from_numpy(image)), net.body(whole)[part])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("options", [{}, {"up": "nearest"}, {"strides": 3}, {"kernels": (3, 1, 5)}])
def test_valid_nets_take_what_fits_and_name_the_nearest_sizes_otherwise(ndim: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = UNet(small(ndim=ndim, widths=(1, 1, 1), padding="valid", **options)).eval()
    axis, other = net.geometry.axes[0], net.geometry.axes[0].above(1)
    fitted = 0
    with torch.no_grad():
        for n in range(1, other + 12):
            size = (n, *(other,) * (ndim - 1))
            x = torch.rand(1, 1, *size)
            if axis.fits(n):
                fitted += 1
                assert tuple(net(x).shape[2:]) == net.geometry.output_size(size)
            else:
                below = max((m for m in range(1, n) if axis.fits(m)), default="none")
                above = next(m for m in range(n, 999) if axis.fits(m))
                rest = f", {other}" * (ndim - 1)
                message = (
                    rf"input size \({n}{rest}\) .* nearest sizes are \({below}{rest}\) below and \({above}{rest}\)"
                )
                with pytest.raises(ValueError, match=message):
                    net(x)
    assert fitted >= 12 // net.geometry.stride[0]


def test_other_channels_or_axes_are_refused() -> None:
    net = UNet(small(in_channels=3))
    with pytest.raises(
        ValueError, match=r"shape \(1, 2, 8, 8\); expected \(N, 3, y, x\) for this 2D net of 3 channels"
    ):
        net(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\); expected \(N, 3, y, x\)"):
        net(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(1, 1, 8, 8\); expected \(N, 1, z, y, x\) for this 3D net"):
        UNet(small(ndim=3))(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("options", [{}, {"up": "nearest"}, {"up": "linear"}, {"norm": "batch"}, {"padding": "valid"}])
def test_a_3d_net_of_one_plane_is_the_2d_net_per_plane(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    flat = UNet(small(**options))
    flat_kernels, flat_strides = (1, 3, 3), (1, 2, 2)
    deep = UNet(small(ndim=3, kernels=(flat_kernels,) * 3, strides=(flat_strides,) * 2, **options))
    for key, weight in flat.state_dict().items():
        shape = deep.state_dict()[key].shape
        deep.state_dict()[key].copy_(weight.reshape(shape))
    size = (44, 48) if options.get("padding") == "valid" else (13, 10)
    volume = torch.rand(1, 1, 3, *size)
    with torch.no_grad():
        planes = torch.stack([flat.double().eval()(plane.double()) for plane in volume.unbind(2)], 2)
        assert torch.allclose(deep.double().eval()(volume.double()), planes, rtol=0, atol=1e-12)
    assert deep.geometry.stride == (1, *flat.geometry.stride)
    assert deep.geometry.halo == (0, *flat.geometry.halo)


def test_strides_and_kernels_are_per_level_and_axis() -> None:
    net = UNet(small(ndim=3, kernels=((1, 3, 3), 3, 3), strides=((1, 2, 2), (2, 2, 3))))
    assert net.geometry.stride == (2, 4, 6)
    sizes = dict(zip(net.geometry.names, map_sizes(net.graph, (10, 12, 12)), strict=True))
    assert (sizes["encoder.downs.0"], sizes["encoder.downs.1"]) == ((10, 6, 6), (5, 3, 2))
    assert [field.sizes[0] for field in net.geometry.receptive_field("encoder.blocks.0.2")] == [1, 5, 5]
    assert [field.sizes[0] for field in net.geometry.receptive_field("encoder.blocks.1.2")] == [5, 14, 14]
    assert net(torch.rand(1, 1, 3, 5, 7)).shape == (1, 2, 3, 5, 7)


@pytest.mark.parametrize("ndim", [2, 3])
def test_parameters_by_hand(ndim: int) -> None:
    taps, corner = 3**ndim, 2**ndim
    plain = 3 * 4 * taps + 4 + 4 * 4 * taps + 4 + 4 * 6 * taps + 6 + 6 * 6 * taps + 6  # encoder 3 -> 4 -> 6
    plain += 8 * 4 * taps + 4 + 4 * 4 * taps + 4 + 4 * 5 + 5  # decoder and head
    for options, up in (({}, 6 * 4 * corner + 4), ({"up": "nearest"}, 6 * 4 * taps + 4), ({"up": "linear"}, 6 * 4 + 4)):
        net = UNet(small(ndim=ndim, in_channels=3, out_channels=5, widths=(4, 6), **options))
        assert parameters(net) == plain + up
        for norm in ("batch", "instance", "group"):  # scale and shift for each of six convolutions, whose bias goes
            normed = UNet(small(ndim=ndim, in_channels=3, out_channels=5, widths=(4, 6), **options | {"norm": norm}))
            assert parameters(normed) == plain + up + 4 * 4 + 2 * 6


@pytest.mark.parametrize("norm, is_local", [("none", True), ("batch", True), ("instance", False), ("group", False)])
def test_is_local_follows_the_norm(norm: str, is_local: bool) -> None:
    assert UNet(small(norm=norm)).is_local == is_local


@pytest.mark.parametrize("ndim", [2, 3])
def test_state_dict_holds_every_weight_once(ndim: int) -> None:
    net = UNet(small(ndim=ndim, norm="batch", dropout=0.5))
    net(torch.rand(2, 1, *(8,) * ndim))  # reads the graph, which must leave nothing behind
    state = net.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    assert sum(state[name].numel() for name, _ in net.named_parameters()) == parameters(net)
    assert set(state) == {name for name, _ in (*net.named_parameters(), *net.named_buffers())}
    other = UNet(small(ndim=ndim, norm="batch", dropout=0.5))
    assert other.load_state_dict(state).missing_keys == []
    x = torch.rand(1, 1, *(7,) * ndim)
    assert torch.equal(other.eval()(x), net.eval()(x))


@pytest.mark.parametrize("ndim", [2, 3])
def test_dropout_acts_in_training_on_the_two_coarsest_levels(ndim: int) -> None:
    torch.manual_seed(0)
    net = UNet(small(ndim=ndim, widths=(4, 8, 8, 8), dropout=0.5))
    kinds = nn.Dropout
    assert [name for name, m in net.named_modules() if isinstance(m, kinds)] == [
        "encoder.dropouts.2",
        "encoder.dropouts.3",
    ]
    assert net.is_local  # the net is read before the hooks are there
    features: list[torch.Tensor] = []
    for level in (0, 1, 2, 3):
        net.encoder.dropouts[level].register_forward_hook(lambda module, x, y: features.append(y))
    for block in net.encoder.blocks:  # all-positive weights: a value is zero only where it was dropped
        for parameter in block.parameters():
            nn.init.constant_(parameter, 0.1)
    net(torch.ones(8, 1, *(16,) * ndim))
    shares = [(map == 0).float().mean().item() for map in features]
    assert shares[:2] == [0, 0]
    assert all(0.2 < share < 0.8 for share in shares[2:])
    features.clear()
    net.eval()(torch.ones(8, 1, *(16,) * ndim))
    assert all((map > 0).all() for map in features)
    assert not any(isinstance(m, kinds) for m in UNet(small(ndim=ndim)).modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_precision_runs(dtype: torch.dtype) -> None:
    net = UNet(small()).to(dtype).eval()
    assert net(torch.rand(1, 1, 9, 9, dtype=dtype)).dtype == dtype


ARCHITECTURES = [
    Architecture(),
    small(ndim=3, strides=((1, 2, 2), 2), kernels=((1, 3, 3), 3, 3), padding="valid", up="nearest"),
    small(widths=[4, 8], norm="group", up="linear", dropout=0.25),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architecture_survives_json(architecture: Architecture) -> None:
    plain = architecture.to_dict()
    assert Architecture(**plain) == architecture
    assert Architecture(**json.loads(json.dumps(plain))) == architecture
    assert hash(Architecture(**json.loads(json.dumps(plain)))) == hash(architecture)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ndim": ({"ndim": 4}, "ndim is 4; expected 2 or 3"),
    "one level": ({"widths": (8,)}, r"widths are \(8,\); expected at least two levels of at least 1 channel"),
    "empty level": ({"widths": (8, 0)}, r"widths are \(8, 0\); expected at least two levels"),
    "channels in": ({"in_channels": 0}, "got 0 input and 2 output channels; expected 1 or more"),
    "channels out": ({"out_channels": -1}, "got 1 input and -1 output channels; expected 1 or more"),
    "padding": ({"padding": "full"}, "padding is 'full'; expected one of same, valid"),
    "norm": ({"norm": "layer"}, "norm is 'layer'; expected one of batch, instance, group, none"),
    "up": ({"up": "cubic"}, "up is 'cubic'; expected one of transposed, overlapping, nearest, linear"),
    "dropout": ({"dropout": 1.0}, "dropout is 1.0; expected 0 <= dropout < 1"),
    "negative dropout": ({"dropout": -0.5}, "dropout is -0.5; expected 0 <= dropout < 1"),
    "linear and valid": ({"padding": "valid", "up": "linear"}, 'up="linear" repeats the edge pixel'),
    "kernels": ({"kernels": (3, 3)}, r"kernels are \(3, 3\); expected 3 entries \(one per level\)"),
    "kernel axes": ({"kernels": ((3, 3, 3), 3, 3)}, r"expected 3 entries \(one per level\), each an int or 2 ints"),
    "strides": ({"strides": (2, 2, 2)}, r"strides are \(2, 2, 2\); expected 2 entries"),
    "stride of 0": ({"strides": 0}, "strides are 0; expected whole numbers of at least 1"),
    "even kernel": ({"kernels": (3, (3, 4), 3)}, "kernels hold the even size 4; expected odd sizes"),
}


@pytest.mark.parametrize("options, message", REFUSED.values(), ids=REFUSED)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_weights_that_do_not_fit_into_memory():
    with pytest.raises(MemoryError, match=r"weights of a net of widths \(1000000, 2000000\) do not fit"):
        build(Architecture(widths=(1_000_000, 2_000_000)))
