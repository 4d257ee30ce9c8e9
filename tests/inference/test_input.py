"""What the net is given, region by region, is what it would be given of the whole image in memory."""

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from unetkit import io
from unetkit.data.channels import open_channels, read_channels
from unetkit.data.normalise import measure_normalisation, standardise
from unetkit.data.planes import around
from unetkit.image import Image
from unetkit.inference.input import InputImage
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet


def random(channels, size, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, 250, (channels, *size)).astype(dtype)


def write(path, array, **options):
    ndim = array.ndim - 1
    io.write(path, Image(array, {2: "cyx", 3: "czyx"}[ndim], (1.0,) * ndim, **options))
    return path


def net_and_card(*, planes=None, **options):
    net = UNet(Architecture(widths=(2, 4), **options))
    labels = LabelKind("binary", (0, 255))
    return net, Card(architecture=net.architecture.to_dict(), classes=["a", "b"], labels=labels, planes=planes)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_regions_of_an_image_are_those_of_the_standardised_one(ndim, channels, dtype, tmp_path):
    array = random(channels, (40, 30) if ndim == 2 else (6, 40, 30), dtype)
    net, card = net_and_card(in_channels=channels, ndim=ndim)
    whole = standardise(array)
    pixels = (slice(2, 5), slice(7, 33), slice(0, 30))[-ndim:]
    with InputImage.open([write(tmp_path / "a.tif", array)], net, card) as given:
        assert given.size == array.shape[1:]
        found = given(pixels)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), whole[(slice(None), *pixels)])


def test_measured_alike_on_disk_and_in_memory_whatever_the_bands(tmp_path, monkeypatch):
    array = random(2, (300, 41), "uint16")
    path = write(tmp_path / "a.tif", array)
    for chunk, band in ((2**20, 2**26), (1000, 2**26), (1000, 5000), (1, 1)):
        monkeypatch.setattr("unetkit.data.normalise._CHUNK", chunk)
        monkeypatch.setattr("unetkit.data.normalise._BAND_BYTES", band)
        with io.open_lazy(path) as image:
            lazy = measure_normalisation(image)
        memory = measure_normalisation(array)
        assert np.array_equal(lazy.mean, memory.mean)
        assert np.array_equal(lazy.std, memory.std)
        np.testing.assert_allclose(lazy.mean, array.mean((1, 2)), rtol=1e-6)
        np.testing.assert_allclose(lazy.std, array.std((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("planes", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 2])
def test_planes_of_a_volume_with_their_neighbours(planes, channels, tmp_path):
    array = random(channels, (6, 20, 15))
    net, card = net_and_card(in_channels=planes * channels, planes=planes)
    volume = standardise(array)
    with InputImage.open([write(tmp_path / "v.ome.tif", array)], net, card) as given:
        for z in range(6):
            found = given.plane(z)((slice(3, 17), slice(0, 15))).numpy()
            assert np.array_equal(found, around(volume, z, planes)[:, 3:17])


def test_gray_in_three_channels_is_one_and_one_is_three(tmp_path):
    gray = random(1, (20, 30))
    Picture.fromarray(np.stack([gray[0]] * 3, -1)).save(tmp_path / "rgb.tif")
    whole = standardise(gray)
    pixels = (slice(0, 20), slice(5, 9))
    for channels in (1, 3):
        net, card = net_and_card(in_channels=channels)
        for path in (tmp_path / "rgb.tif", write(tmp_path / "gray.tif", gray)):
            with InputImage.open([path], net, card) as given:
                found = given(pixels).numpy()
            assert np.array_equal(found, np.repeat(whole[:, :, 5:9], channels, 0))
    with InputImage.open([tmp_path / "rgb.tif"], *net_and_card()) as given:
        assert "three equal channels: read as one" in given.notes


def test_channels_in_files_of_their_own(tmp_path):
    arrays = [random(n, (20, 30), dtype, seed=n) for n, dtype in ((1, "uint8"), (2, "uint16"))]
    files = [write(tmp_path / f"a_000{i}.tif", array) for i, array in enumerate(arrays)]
    whole = read_channels(files)
    with open_channels(files) as image:
        assert (image.shape, image.dtype, image.notes) == ((3, 20, 30), np.uint16, whole.notes)
        assert np.array_equal(image[:], whole.array)
        assert np.array_equal(image[1:3, 4:6], whole.array[1:3, 4:6])
        assert np.array_equal(image[0:2, 4:6, 1:2], whole.array[0:2, 4:6, 1:2])
    write(files[1], arrays[1][:, :19])
    with pytest.raises(ValueError, match=r"a_0001\.tif: one channel of .*a_0000\.tif, but it has size \(19, 30\)"):
        open_channels(files)


def test_what_does_not_fit_is_refused(tmp_path):
    flat, deep = write(tmp_path / "a.tif", random(1, (20, 30))), write(tmp_path / "v.ome.tif", random(1, (4, 20, 30)))
    for file, options, message in (
        (flat, {"ndim": 3}, r"has 2 spatial axes, 20 x 30; this is a 3D net"),
        (deep, {}, r"has 3 spatial axes, 4 x 20 x 30; this is a 2D net"),
        (flat, {"planes": 3, "in_channels": 3}, r"has 2 spatial axes, 20 x 30; this net was trained on volumes, 3 pl"),
        (flat, {"in_channels": 2}, r"got an image of 1 channels, expected 2"),
    ):
        with pytest.raises(ValueError, match=message):
            InputImage.open([file], *net_and_card(**options))


@pytest.mark.parametrize("channels, ndim, reason", [(3, 2, "got an image of 3 channels, expected 1"), (1, 3, "axes")])
def test_an_image_that_does_not_suit_the_net_is_named(tmp_path, channels, ndim, reason):
    size = (6, 20, 20)[-ndim:]
    image = Image(np.arange(channels * np.prod(size)).reshape(channels, *size), "c" + "zyx"[-ndim:], (1.0,) * ndim)
    io.write(tmp_path / "a.tif", image)
    with pytest.raises(ValueError, match=rf"^\S*a\.tif: .*{reason}"):
        InputImage.open([tmp_path / "a.tif"], *net_and_card())
