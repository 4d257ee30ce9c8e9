"""Moving the image: exact at multiples of the total stride, known changes elsewhere, and what sees no border."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.graph.read import read
from unetkit.insight import shift
from unetkit.insight.frequency import checkerboard as checkerboard_module
from unetkit.insight.frequency.checkerboard import constant_response, draw_artefact, inner
from unetkit.insight.inspection import inspect_array, inspect_noise
from unetkit.insight.shift import Shifts, draw_shifts, draw_where, shift_changes, shift_equivariance
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build

VALID: dict[str, Any] = {"padding": "valid", "norm": "none"}
NETS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "2D": ({"widths": (4, 6, 8)}, (88, 80)),
    "valid": ({"widths": (4, 6, 8), **VALID}, (88, 80)),
    "nested": ({"widths": (4, 6, 8), "topology": "unet++"}, (88, 80)),
    "3D": ({"widths": (2, 4), "ndim": 3}, (12, 40, 36)),
    "flat planes": ({"widths": (2, 4, 4), "ndim": 3, "strides": ((1, 2, 2), 2)}, (6, 76, 76)),
}


def fresh(**options: Any) -> Any:
    torch.manual_seed(0)
    return build(Architecture(**options)).double().eval()


def noise(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, *size))


@pytest.mark.parametrize("name", NETS)
def test_moves_by_the_total_stride_change_nothing_and_others_do(name: str) -> None:
    options, size = NETS[name]
    net = fresh(**options)
    stride = net.geometry.stride[-1]
    found = shift_changes(net, noise(*size), shifts=(1, stride, stride + 1))
    assert found.is_clear
    assert found.strides == (stride, stride)
    assert found.axes == (len(size) - 2, len(size) - 1)
    assert (found.changed[:, 1] == 0).all()
    assert found.probability[:, 1].max() < 1e-12
    assert (found.changed[:, [0, 2]] > 0).all()
    assert (found.probability[:, [0, 2]] > 1e-6).all()


def test_without_sampling_down_the_mask_moves_with_the_image() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3)).double()
    found = shift_changes(net, noise(40, 40), shifts=(1, 2, 5))
    assert found.is_clear
    assert not found.changed.any()
    assert found.probability.max() < 1e-12
    assert not found.where.any()


def coarse_and_back(limit: float = 0.5) -> nn.Module:
    """Every second pixel, repeated; foreground where it is above the limit."""
    first, up = nn.Conv2d(1, 1, 1, stride=2), nn.Upsample(scale_factor=2)
    nn.init.constant_(first.weight, 1)
    nn.init.constant_(first.bias, -limit)  # type: ignore[arg-type]
    return nn.Sequential(first, up).double()


def test_stripes_of_two_pixels_flip_with_every_odd_move_across_them() -> None:
    image = np.zeros((1, 32, 48))
    image[..., ::2] = 1
    found = shift_changes(coarse_and_back(), image, shifts=(1, 2, 3, 4))
    assert found.changed.tolist() == [[0, 0, 0, 0], [1, 0, 1, 0]]
    change = 1 / (1 + np.exp(-0.5)) - 1 / (1 + np.exp(0.5))  # logits 1/2 and -1/2
    assert found.probability[1] == pytest.approx([change, 0, change, 0])
    assert found.where == pytest.approx(np.full(found.where.shape, 0.5))
    assert found.outline == 0


def test_changes_are_found_where_they_are_in_the_image() -> None:
    """Only the stripes in columns 20 to 31 can flip; the valid convolution puts the mask off the image's corner."""
    image = np.zeros((1, 32, 64))
    image[..., 20:32:2] = 1
    pick = nn.Conv2d(1, 1, 3)
    with torch.no_grad():
        pick.weight.zero_()[0, 0, 1, 1] = 1
        pick.bias.zero_()  # type: ignore[union-attr]
    net = nn.Sequential(pick.double(), *coarse_and_back().children())
    found = shift_changes(net, image, shifts=(1, 2))
    rows, columns = found.place
    assert found.where.shape == (rows.stop - rows.start, columns.stop - columns.start)
    changes = np.flatnonzero(found.where.any(axis=0)) + columns.start
    assert changes.min() in (19, 20)  # of a pair of columns, the first or the second is taken
    assert changes.max() in (31, 32)


def test_outlines_are_the_pixels_beside_another_class() -> None:
    image = np.zeros((1, 32, 32))
    image[..., 16:] = 1
    net = nn.Conv2d(1, 1, 1).double()
    nn.init.constant_(net.weight, 1)
    nn.init.constant_(net.bias, -0.5)  # type: ignore[arg-type]
    found = shift_changes(net, image, shifts=(2,))
    # moved along y: windows of 32 columns; along x: the middle 30 of them. Two columns are outline.
    assert found.outline == pytest.approx((2 / 32 + 2 / 30) / 2)


def test_a_small_image_lets_borders_in_and_says_so() -> None:
    net = fresh(widths=(4, 6, 8))
    found = shift_changes(net, noise(44, 44), shifts=(1, 4))
    assert not found.is_clear
    assert np.isfinite(found.changed).all()


def test_statistics_over_space_break_equivariance() -> None:
    net = fresh(widths=(4, 6), norm="instance")
    found = shift_changes(net, noise(48, 48), shifts=(2,))
    assert found.probability.max() > 1e-6


@pytest.mark.parametrize(
    ("net", "size", "shifts", "words"),
    [
        (
            lambda: nn.Conv2d(1, 2, 3),
            (32, 32),
            (0, 1),
            r"shifts are \(0, 1\); expected whole numbers of pixels, at least 1",
        ),
        (lambda: nn.Conv2d(1, 2, 3), (32, 32), (), r"shifts are \(\)"),
        (lambda: nn.Conv2d(1, 2, 2, 2), (32, 32), (1,), r"one pixel per 2 x 2 of the image"),
        (lambda: nn.Conv2d(1, 2, 3), (64, 16), (15,), r"64 x 16 pixels: too few along axis 1 to move by 15"),
        (lambda: nn.Conv2d(1, 2, 3), (12, 32), (14,), r"12 x 32 pixels: too few along axis 0 to move by 14"),
    ],
)
def test_errors_say_what_was_given(
    net: Callable[[], nn.Module], size: tuple[int, ...], shifts: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        shift_changes(net().double(), noise(*size), shifts=shifts)


@pytest.mark.parametrize(
    "options", [{"widths": (2, 3, 4)}, {"widths": (2, 3, 4), **VALID}, {"widths": (2, 3), "up": "linear"}]
)
@torch.no_grad()
def test_inner_outputs_are_those_of_a_larger_image(options: dict[str, Any]) -> None:
    net = fresh(**options)
    (axis, _), n, side = net.geometry.axes, 64, 16
    if not net.geometry.fits((n, n)):
        n = axis.below(n)
    image = torch.from_numpy(noise(axis.above(n + 2 * side), n))[None]
    part = net(image[:, :, side : side + n])
    whole = net(image)[:, :, side : side + part.shape[2]]
    differs = (part - whole).abs().amax(dim=(0, 1, 3)).numpy()
    found = inner(axis, n)
    assert len(found) > 0
    assert differs[found.start : found.stop].max() < 1e-12
    if sum(axis.margin) == 0:
        assert differs[found.start - 1] > 1e-9
        assert differs[found.stop] > 1e-9
    else:
        assert found == range(part.shape[2])
    assert len(inner(axis, axis.above(1))) == (axis.output_size(axis.above(1)) if sum(axis.margin) else 0)


def test_subjects_choose_shifts_that_their_image_has_room_for() -> None:
    net = build(Architecture(widths=(2, 4)))
    large, small = (
        inspect_array(net, noise(*size).astype(np.float32), name="n", source="n") for size in ((128, 140), (40, 128))
    )
    assert shift_equivariance(large).shifts == tuple(range(1, 17))
    assert shift_equivariance(small).shifts == (1, 2, 3, 4, 5)
    found = shift_equivariance(large, shifts=(3, 2))
    assert found.shifts == (3, 2)
    direct = shift_changes(net, large.image[0].numpy(), shifts=(3, 2))
    np.testing.assert_array_equal(found.changed, direct.changed)


def test_slow_nets_move_less(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inspect_noise(build(Architecture(widths=(2, 4))), name="n")
    monkeypatch.setattr(shift, "_MOST_S", 0.0)
    assert shift_equivariance(given).shifts == (1, 4, 16)


class Up(nn.Module):
    """Down by 2 and up by a transposed convolution of kernel 3, all of whose weights are 1."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        down, up = {2: (nn.AvgPool2d, nn.ConvTranspose2d), 3: (nn.AvgPool3d, nn.ConvTranspose3d)}[ndim]
        self.down, self.up = down(2), up(1, 1, 3, 2, 1, 1, bias=False)
        self.conv = {2: nn.Conv2d, 3: nn.Conv3d}[ndim](1, 1, 1)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up(self.down(self.conv(x)))
        return y


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("is_clear", [True, False])
def test_the_pattern_of_uneven_overlap_is_known(ndim: int, is_clear: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even outputs are reached by 1 tap, odd ones by 2, per axis: mean 3/2, mean square 5/2."""
    if not is_clear:
        monkeypatch.setattr(checkerboard_module, "_MOST_CONSTANT_MACS", 0)
    image = 2 + noise(*(20,) * ndim)
    found = constant_response(inspect_array(Up(ndim), image, name="up", source="up"))
    assert found is not None
    value = 1 + float(image.mean())
    expected = value * (2.5**ndim - 1.5 ** (2 * ndim)) ** 0.5
    assert found.is_clear == is_clear
    assert found.periodic.periods == (2,)
    assert found.periodic.amplitudes[0] == pytest.approx(expected, rel=1e-5)
    assert found.periodic.deviation == pytest.approx(expected, rel=1e-5)


def test_repeated_pixels_have_no_pattern_and_flat_nets_no_answer() -> None:
    up = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(4), nn.Upsample(scale_factor=4))
    found = constant_response(inspect_noise(up, name="nearest"))
    assert found is not None
    assert found.periodic.periods == (2, 4)
    assert found.periodic.amplitudes == pytest.approx((0, 0), abs=1e-7)
    assert constant_response(inspect_noise(nn.Conv2d(1, 2, 3), name="flat")) is None


def test_axes_of_different_strides_share_the_longest_period() -> None:
    torch.manual_seed(2)
    net = build(Architecture(widths=(2, 4, 4), ndim=3, strides=((1, 2, 2), 2)))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    image = 1 + noise(16, 48, 48).astype(np.float32)
    found = constant_response(inspect_array(net, image, name="planes", source="planes"))
    assert found is not None
    assert found.logits.shape == (2, 2, 4, 4)
    assert found.periodic.periods == (2, 4)
    assert np.linalg.norm(found.periodic.amplitudes) == pytest.approx(found.periodic.deviation, rel=1e-4)
    assert found.periodic.deviation > 0


def test_pictures_show_what_was_found() -> None:
    image = np.zeros((1, 32, 48))
    image[..., ::2] = 1
    found = shift_changes(coarse_and_back(), image, shifts=(1, 2, 3))
    top, bottom = draw_shifts(found).axes
    assert [line.get_ydata().tolist() for line in top.lines if len(line.get_xdata()) == 3] == [[0, 0, 0], [100, 0, 100]]  # type: ignore[union-attr]
    assert bottom.get_ylim()[1] > 100 * found.probability.max()
    shown = draw_where(found, image).axes
    rows, columns = found.place
    middle = (columns.start + columns.stop - 32) // 2  # cut to a square
    np.testing.assert_array_equal(shown[0].images[0].get_array(), image[0][rows, middle : middle + 32])
    assert shown[1].images[0].get_array().max() == pytest.approx(200 / 3)  # type: ignore[union-attr]
    volume = constant_response(inspect_array(Up(3), 2 + noise(20, 20, 20), name="up", source="up"))
    assert volume is not None
    assert draw_artefact(volume).axes[0].images[0].get_array().shape == (4, 4)  # type: ignore[union-attr]


def test_graphs_at_hand_are_used() -> None:
    net = coarse_and_back()
    a, b = (shift_changes(net, noise(24, 24), graph=graph, shifts=(1,)) for graph in (None, read(net)))
    np.testing.assert_array_equal(a.changed, b.changed)


def test_what_all_classes_share_is_no_pattern() -> None:
    up = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(2), nn.ConvTranspose2d(1, 2, 3, 2, 1, 1))
    for parameter in up.parameters():
        nn.init.constant_(parameter, 1)
    found = constant_response(inspect_array(up, 2 + noise(20, 20), name="up", source="up"))
    assert found is not None
    assert not found.logits.any()


def test_a_mask_as_large_as_the_image_covers_it() -> None:
    """Blurred pooling moves the map by half a pixel, which without skips stays; the mask still begins at the corner."""
    found = shift_changes(fresh(widths=(2, 4), skip="none", down="blur"), noise(32, 40), shifts=(1, 2))
    assert found.place[0] == slice(0, 32)
    assert found.where.shape == tuple(s.stop - s.start for s in found.place)


def test_the_picture_shows_where_most_changes_are() -> None:
    where = np.zeros((3, 10, 30))
    where[1, 4, 26], where[0, 5, 3], where[0, 5, 5] = 1, 1, 0.5
    image = np.arange(where.size, dtype=np.float64).reshape(1, *where.shape)
    place = tuple(slice(0, n) for n in where.shape)
    found = Shifts((1,), (1, 2), (2, 2), np.ones((2, 1)), np.ones((2, 1)), 0.1, where, place, True)
    shown = [axis.images[0].get_array() for axis in draw_where(found, image).axes[:2]]
    np.testing.assert_array_equal(shown[0], image[0, 0, :, :10])
    np.testing.assert_array_equal(shown[1], 100 * where[0, :, :10])
