"""Volumes through 2D nets: which plane lands in which channel, and that a volume is nothing but its planes."""

import numpy as np
import pytest
import torch
from classes import classes_of
from recorder import Recorder
from torch import nn

from unetkit.data.normalise import standardise
from unetkit.data.planes import around, by_planes, check_planes, fold, mirror
from unetkit.image import Image
from unetkit.inference.execution import Execution
from unetkit.inference.input import InputImage
from unetkit.inference.outputs import Outputs, PixelRecords
from unetkit.inference.predictor import Predictor
from unetkit.inference.prepare import prepare
from unetkit.inference.tiling import plan_tiles
from unetkit.io import write
from unetkit.io.block_store import BlockStore
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def volume(channels=1, size=(7, 12, 14), seed=0):
    return np.random.default_rng(seed).normal(size=(channels, *size)).astype(np.float32)


def random_net(channels, seed=0):
    torch.manual_seed(seed)
    return prepare(build(Architecture(in_channels=channels, out_channels=3, widths=(4, 8))))


class Picks(nn.Module):
    """Classes 0 and 1 by the sign of one input channel; what `run` needs of a net is borrowed from a real one."""

    def __init__(self, channels, channel):
        super().__init__()
        net = build(Architecture(in_channels=channels, widths=(2, 2), kernels=1, strides=1, norm="none")).eval()
        self.__dict__["net"] = net
        self.scale = nn.Parameter(torch.ones(1))
        self.channel = channel

    def __getattr__(self, name):
        if name in (
            "ndim",
            "graph",
            "geometry",
            "architecture",
            "is_local",
            "out_channels",
            "in_channels",
            "read",
            "memory",
        ):
            return getattr(self.__dict__["net"], name)
        return super().__getattr__(name)

    def body(self, x):
        chosen = x[:, self.channel : self.channel + 1] * self.scale
        return torch.cat((-chosen, chosen), dim=1)

    forward = body


# --- folding ---


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_mirror_is_numpy_reflection(n):
    padded = np.pad(np.arange(n), 20, mode="reflect" if n > 1 else "edge")
    for start in range(-20, n + 5):
        assert mirror(start, 15, n).tolist() == padded[start + 20 : start + 35].tolist()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("planes", [1, 3, 5])
def test_channels_are_the_neighbours_of_channel_0_first(channels, planes):
    image = volume(channels)
    padded = np.pad(image, ((0, 0), (planes // 2,) * 2, (0, 0), (0, 0)), mode="reflect")
    for z in range(image.shape[1]):
        given = around(image, z, planes)
        assert given.shape == (channels * planes, 12, 14)
        for c in range(channels):
            for k in range(planes):
                assert np.array_equal(given[c * planes + k], padded[c, z + k])


def test_a_single_plane_is_its_own_neighbour():
    image = volume(size=(1, 4, 5))
    assert np.array_equal(around(image, 0, 3), np.repeat(image[0], 3, axis=0))


def test_folding_copies_nothing():
    window = np.zeros((2, 3, 4, 5), np.float32)
    assert fold(window).shape == (6, 4, 5)
    assert np.shares_memory(fold(window), window)


# --- predicting ---


@pytest.mark.parametrize("channels", [1, 2])
def test_one_plane_at_a_time_is_the_2d_prediction_of_each(channels):
    net, image = random_net(channels), volume(channels)
    whole = classes_of(net, image, planes=1)
    assert whole.shape == (7, 12, 14)
    assert whole.dtype == np.uint8
    for z in range(7):
        assert np.array_equal(whole[z], classes_of(net, np.ascontiguousarray(image[:, z])))
    assert len(np.unique(whole)) > 1


def test_planes_are_what_a_3d_net_of_flat_kernels_computes():
    """With kernels (1, 3, 3) and strides (1, 2, 2) a 3D net is the 2D net of the same weights, plane by plane."""
    flat, deep = (
        build(Architecture(ndim=ndim, out_channels=3, widths=(4, 8), kernels=(kernel,) * 2, strides=(stride,)))
        for ndim, kernel, stride in ((2, (3, 3), (2, 2)), (3, (1, 3, 3), (1, 2, 2)))
    )
    weights = {name: w.unsqueeze(2) if w.ndim == 4 else w for name, w in flat.state_dict().items()}
    deep.load_state_dict(weights)
    image = volume()
    one, other = classes_of(flat, image, planes=1), classes_of(deep, image)
    assert (one != other).mean() < 1e-3  # but for ties in float32
    assert len(np.unique(one)) > 1


@pytest.mark.parametrize("planes", [3, 5])
def test_the_net_sees_the_neighbour_that_its_weights_read(planes):
    image = volume(2)
    for channel in range(2 * planes):
        c, k = divmod(channel, planes)
        predicted = classes_of(Picks(2 * planes, channel), image, planes=planes)
        neighbours = image[c][mirror(k - planes // 2, 7, 7)]
        assert np.array_equal(predicted > 0, neighbours > 0)


@pytest.mark.parametrize("planes", [1, 3, 5])
def test_shifting_a_volume_shifts_its_mask(planes):
    net, image = random_net(planes), volume(size=(9, 12, 14))
    half = planes // 2
    first = classes_of(net, image[:, :-1], planes=planes)
    second = classes_of(net, image[:, 1:], planes=planes)
    assert np.array_equal(first[1 + half : 8 - half], second[half : 7 - half])


@pytest.mark.parametrize("averages", [False, True])
def test_tiles_of_planes_give_the_same_volume(averages, tmp_path):
    net, image = random_net(3), volume(size=(4, 40, 52))
    write(tmp_path / "v.tif", Image(image, "czyx", (1.0,) * 3))
    labels = LabelKind("classes", (0, 1, 2))
    card = Card(architecture=net.architecture.to_dict(), classes=["a", "b", "c"], labels=labels, planes=3)
    masks, updates = [], []
    for core in ((40, 52), (8, 16)):
        predictor, tiling = Predictor(net, card, Execution(tta=averages)), plan_tiles(net, (40, 52), core=core)
        records = PixelRecords(card, Outputs())
        store = BlockStore(None, (4, 40, 52), block=predictor.block_size(tiling, (4, 40, 52)), dtype=records.dtype)
        with InputImage.open([tmp_path / "v.tif"], net, card) as source:
            predictor.fill(store, source, tiling, records, Recorder(updates))
        masks.append(store.read((slice(0, 1), slice(0, 4), slice(0, 40), slice(0, 52)))[0])
        store.close()
    whole, tiled = masks
    assert (whole != tiled).mean() < 1e-3  # but for ties in float32
    assert len(np.unique(whole)) > 1
    shares = [update.share for update in updates if update.total]
    assert shares[-1] == 1.0
    assert shares[-4:] == sorted(shares[-4:])
    assert len(shares) >= 4 + 4 * (3 if averages else 20)
    if not averages:
        assert np.array_equal(whole, classes_of(net, standardise(image), planes=3))


def test_each_plane_is_predicted_once_in_order():
    seen = []

    def note(part, z):
        seen.append((z, part.shape))
        return part[1]

    image = volume()
    assert np.array_equal(by_planes(image, 3, note), image[0])
    assert seen == [(z, (3, 12, 14)) for z in range(7)]


# --- refused ---


@pytest.mark.parametrize(("planes", "ndim"), [(0, 3), (2, 3), (-3, 3), (4, 2)])
def test_numbers_without_a_middle(planes, ndim):
    with pytest.raises(ValueError, match=rf"planes is {planes}; expected an odd number, such as 1, 3 or 5"):
        check_planes(planes, ndim)


def test_images_have_no_planes():
    with pytest.raises(ValueError, match=r"planes is 3, but the images have 2 spatial axes: it is for volumes"):
        check_planes(3, 2)
    check_planes(1, 3)
