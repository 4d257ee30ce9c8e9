"""Encoders of timm, on a stand-in with its interface: shapes, exact tiles, weights by name, and refusals."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unetkit.inference.prepare import prepare
from unetkit.inference.runner import run
from unetkit.inference.tiling import plan_tiles
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import read_model, save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.net import Net
from unetkit.nets.pretrained import TimmEncoder, check_encoder, encoder_shape, load_encoder
from unetkit.nets.unetpp import UNetPlusPlus


def shaped(name: str = "tiny", *, in_channels: int = 1, width: int = 3, **options: Any) -> Architecture:
    shape = encoder_shape(name, in_channels=in_channels, width=width)
    return Architecture(in_channels=in_channels, out_channels=2, **shape | options)


def drawn(architecture: Architecture, *, seed: int = 0) -> Net:
    """A float64 net in evaluation mode whose batch norms do something."""
    torch.manual_seed(seed)
    net = build(architecture)
    for name, buffer in net.named_buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 1.5) if "var" in name else nn.init.normal_(buffer, std=0.1)
    return net.double().eval()


def body(net: Net) -> dict[str, Tensor]:
    encoder: Any = net.encoder
    return dict(encoder.body.state_dict())


@pytest.fixture
def file(timm: Any, tmp_path: Path) -> Path:
    """Weights as one downloads them: a model of three channels, with its classifier."""
    path = tmp_path / "tiny.safetensors"
    save_file(timm.weights("tiny") | {"fc.weight": torch.ones(5, 8), "fc.bias": torch.ones(5)}, path)
    return path


@pytest.mark.parametrize("topology", ["unet", "unet++"])
@pytest.mark.parametrize("name", ["tiny", "tiny_patch4", "tiny_se"])
@pytest.mark.parametrize("options", [{}, {"skip": "attention"}, {"up": "nearest", "block": "residual"}])
def test_masks_have_the_size_of_the_image(timm: Any, topology: Any, name: str, options: dict[str, Any]) -> None:
    net = drawn(shaped(name, in_channels=2, topology=topology, **options))
    assert isinstance(net.encoder, TimmEncoder)
    assert net.geometry.stride == (8, 8)
    assert net.is_local == (name != "tiny_se")
    with torch.no_grad():
        for size in [(8, 24), (1, 9), (17, 30)]:
            assert net(torch.rand(2, 2, *size, dtype=torch.float64)).shape == (2, 2, *size)


def test_an_own_level_at_full_resolution_comes_first(timm: Any) -> None:
    net = build(shaped(width=5))
    assert (net.architecture.widths, net.architecture.strides) == ((5, 4, 6, 8), ((2, 2),) * 3)
    encoder: Any = net.encoder
    maps = encoder(torch.rand(1, 1, 32, 16))
    assert [tuple(m.shape[1:]) for m in maps] == [(5, 32, 16), (4, 16, 8), (6, 8, 4), (8, 4, 2)]
    assert encoder.channels == (5, 4, 6, 8)


def test_a_model_that_begins_with_a_stride_of_four_is_pooled_by_four(timm: Any) -> None:
    net = build(shaped("tiny_patch4", width=5))
    assert (net.architecture.widths, net.architecture.strides) == ((5, 6, 8), ((4, 4), (2, 2)))


@pytest.mark.parametrize(("width", "decoder"), [(1, (1, 2, 4)), (2, (2, 4, 6)), (16, (16, 4, 6))])
def test_the_decoder_doubles_and_is_nowhere_wider_than_the_encoder(timm: Any, width: int, decoder: Any) -> None:
    assert encoder_shape("tiny", in_channels=1, width=width)["decoder_widths"] == decoder


@pytest.mark.parametrize("name", ["tiny", "tiny_patch4"])
@pytest.mark.parametrize("topology", ["unet", "unet++"])
def test_tiles_equal_the_whole_image(timm: Any, name: str, topology: Any) -> None:
    net = drawn(shaped(name, topology=topology))
    image = torch.rand(1, 203, 61, dtype=torch.float64)
    tiling = plan_tiles(net, image.shape[1:], core=(16, 64))
    assert tiling.is_exact
    assert len(tiling.tiles) > 4
    with torch.no_grad():
        expected = net(image[None])[0]
    assert expected.std() > 1e-3
    assert torch.allclose(run(net, image, tiling), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["tiny", "tiny_patch4"])
def test_the_receptive_field_is_that_of_the_gradient(timm: Any, name: str, probe: Any) -> None:
    net = build(shaped(name))
    axis = net.geometry.axes[0]
    n = 8 * (net.geometry.halo[0] // 4) + 8
    first = n // 2 // 8 * 8
    outputs = range(first, first + 8)
    assert probe(net, (n, n), axis=0, outputs=outputs) == [axis.reads(i, i) for i in outputs]


def test_a_net_with_squeeze_and_excitation_runs_whole_or_blended_and_says_so(timm: Any) -> None:
    net = drawn(shaped("tiny_se"))
    image = torch.rand(1, 120, 80, dtype=torch.float64)
    whole, tiled = plan_tiles(net, (120, 80)), plan_tiles(net, (120, 80), core=(64, 64))
    assert whole.is_exact
    assert not tiled.is_exact
    assert "approximate, blended" in tiled.describe()
    with torch.no_grad():
        expected = net(image[None])[0]
    assert torch.allclose(run(net, image, whole), expected, rtol=0, atol=1e-10)
    assert run(net, image, tiled).shape == (2, 120, 80)


def test_a_model_file_holds_the_encoder_and_nothing_is_fetched(timm: Any, tmp_path: Path) -> None:
    net = build(shaped())
    load_encoder(net, "imagenet")
    card = Card(architecture=net.architecture.to_dict(), classes=["a", "b"], labels=LabelKind("binary", (0, 255)))
    save_model(tmp_path / "model.safetensors", net, card)
    timm.calls.clear()
    again, _ = read_model(tmp_path / "model.safetensors")
    assert not any(call["pretrained"] for call in timm.calls)
    assert again.architecture == net.architecture
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_pruned_net_keeps_the_finest_levels_of_the_encoder(timm: Any) -> None:
    net = drawn(shaped(topology="unet++", heads="all"))
    assert isinstance(net, UNetPlusPlus)
    x = torch.rand(1, 1, 40, 48, dtype=torch.float64)
    for level in (1, 2, 3):
        small = net.prune(level)
        assert small.geometry.stride == (2**level,) * 2
        assert [key in body(small) for key in ("layer1.conv1.weight", "layer2.conv1.weight")] == [level > 1, level > 2]
        with torch.no_grad():
            assert torch.equal(small(x), net.levels(x)[level - 1])


# --- weights ---


@pytest.mark.parametrize("in_channels", [1, 2, 3, 4, 7])
def test_a_file_gives_what_timm_gives(timm: Any, file: Path, in_channels: int) -> None:
    fetched, read = (build(shaped(in_channels=in_channels)) for _ in range(2))
    rest = {name: t.clone() for name, t in read.state_dict().items() if not name.startswith("encoder.body.")}
    load_encoder(fetched, "imagenet")
    load_encoder(read, str(file))
    one, other = body(fetched), body(read)
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert torch.equal(other["layer2.conv2.weight"], timm.weights("tiny")["layer2.conv2.weight"])
    assert all(torch.equal(t, read.state_dict()[name]) for name, t in rest.items())  # decoder and own level


def test_equal_channels_give_what_three_gave(timm: Any, file: Path) -> None:
    gray = torch.rand(1, 1, 16, 16)
    maps = []
    for n in (1, 3, 6):
        net = build(shaped(in_channels=n)).eval()
        load_encoder(net, str(file))
        encoder: Any = net.encoder
        # one channel takes the sum over three, so it gives what three equal ones gave
        maps.append(encoder.body(gray.expand(-1, n, -1, -1)))
    for other in maps[1:]:
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(maps[0], other, strict=True))


def test_none_leaves_the_weights_as_they_are(timm: Any) -> None:
    net = build(shaped())
    before = {name: t.clone() for name, t in body(net).items()}
    load_encoder(net, "none")
    assert all(torch.equal(before[name], t) for name, t in body(net).items())


def test_names_of_whole_models_and_of_feature_nets_are_the_same(timm: Any, tmp_path: Path) -> None:
    renamed = {name.replace("layer1.", "layer1_"): t for name, t in timm.weights("tiny").items()}
    untracked = {name: t for name, t in renamed.items() if "num_batches" not in name}  # as older files are
    save_file(untracked, tmp_path / "flat.safetensors")
    net = build(shaped(in_channels=3))
    load_encoder(net, str(tmp_path / "flat.safetensors"))
    assert torch.equal(body(net)["layer1.conv1.weight"], renamed["layer1_conv1.weight"])


def test_every_tensor_that_does_not_fit_is_counted_and_the_first_are_named(timm: Any, tmp_path: Path) -> None:
    state = timm.weights("tiny")
    state = {name: t for name, t in state.items() if not name.startswith("layer2.bn1")}
    state |= {"layer9.weight": torch.ones(2), "conv1.weight": torch.ones(4, 3, 3, 3), "bn1.bias": torch.ones(5)}
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    net = build(shaped())
    before = {name: t.clone() for name, t in body(net).items()}
    message = (
        r"other\.safetensors: does not fit encoder tiny: 4 missing \(layer2\.bn1\.weight, layer2\.bn1\.bias, "
        r"layer2\.bn1\.running_mean, \.\.\.\); 1 unexpected \(layer9\.weight\); 2 of another shape \(conv1\.weight is "
        r"\(4, 3, 3, 3\), not \(4, 1, 7, 7\), bn1\.bias is \(5,\), not \(4,\)\)$"
    )
    with pytest.raises(ValueError, match=message):
        load_encoder(net, str(path))
    assert all(torch.equal(before[name], t) for name, t in body(net).items())  # all or nothing


def test_weights_that_cannot_be_fetched_are_one_line_with_two_ways_out(timm: Any) -> None:
    net = build(shaped())
    timm.is_offline = True
    message = r"weights of tiny could not be fetched \(no route to the hub\): .*--weights FILE.* --weights none$"
    with pytest.raises(RuntimeError, match=message):
        load_encoder(net, "imagenet")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".PTH"])
def test_pickled_weights_are_never_read(timm: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(timm.weights("tiny"), path)
    for refuse in (lambda: check_encoder("tiny", str(path)), lambda: load_encoder(build(shaped()), str(path))):
        with pytest.raises(ValueError, match=r"is pickled, which can run any code .*weights_only=True"):
            refuse()


def test_files_that_are_no_weights(timm: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: .*no such file"):
        check_encoder("tiny", str(tmp_path / "none.safetensors"))
    with pytest.raises(ValueError, match=r"weights are 'imagenett'; expected imagenet, none, or a \.safetensors file"):
        check_encoder("tiny", "imagenett")
    torch.save({}, tmp_path / "renamed.safetensors")
    with pytest.raises(ValueError, match=r"renamed\.safetensors: is truncated or .* safetensors file \(\d+ bytes"):
        load_encoder(build(shaped()), str(tmp_path / "renamed.safetensors"))


def test_weights_need_an_encoder(timm: Any) -> None:
    check_encoder(None, None)
    check_encoder("tiny", None)
    with pytest.raises(ValueError, match="weights are 'imagenet', but there is no encoder"):
        check_encoder(None, "imagenet")
    with pytest.raises(ValueError, match="weights are 'imagenet', but the net has its own encoder"):
        load_encoder(build(Architecture(widths=(2, 2))), "imagenet")


# --- refusals ---


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ImportError('no such thing')", "no such thing"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "operator torchvision::nms does not exist"),
    ],
    ids=["not installed", "beside a torchvision of another torch"],
)
def test_without_timm_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, timm: Any, tmp_path: Path, source: str, reason: str
) -> None:
    architecture = shaped()
    (tmp_path / "timm.py").write_text(source)
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.syspath_prepend(tmp_path)
    for wanted in (lambda: build(architecture), lambda: check_encoder("tiny", None)):
        with pytest.raises(ImportError) as caught:
            wanted()
        assert str(caught.value) == f"encoder tiny needs timm ({reason}): pip install 'unetkit[pretrained]'"
    build(Architecture(widths=(2, 2)))  # our own needs none


def test_names_that_timm_does_not_know(timm: Any) -> None:
    with pytest.raises(ValueError, match=r"no encoder 'huge' that gives feature maps: Unknown model \(huge\)$"):
        check_encoder("huge", None)
    with pytest.raises(ValueError, match=r"encoder tiny_flat has maps of the strides \(2, 2, 2\); expected each"):
        check_encoder("tiny_flat", None)


def test_an_architecture_of_another_shape(timm: Any) -> None:
    wrong = replace(shaped(), widths=(3, 4, 6, 9))
    with pytest.raises(ValueError, match=r"tiny has the widths \(4, 6, 8\) and strides .*\(4, 6, 9\)"):
        build(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ndim": 3}, "encoder resnet34 is a 2D net, but ndim is 3"),
        ({"padding": "valid"}, 'encoder resnet34 pads its convolutions, which padding="valid"'),
        ({"stem": 4}, "stem is 4, but encoder resnet34 begins with its own"),
        ({"encoder": "hf-hub:some/one"}, "encoder is 'hf-hub:some/one'; expected the plain name"),
    ],
)
def test_what_an_encoder_does_not_go_with(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**{"encoder": "resnet34", **options})


class NormAndActivation(nn.BatchNorm2d):
    """As some of timm's norms are: of the norm's type, and more than a norm."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


def test_a_norm_that_is_more_than_a_norm_is_not_folded_away() -> None:
    torch.manual_seed(0)
    net = build(Architecture(widths=(4, 4), norm="batch"))
    net.encoder.blocks[0] = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), NormAndActivation(4))  # type: ignore[index,operator,union-attr]
    x = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(prepare(net)(x), net.eval()(x), atol=1e-5)
