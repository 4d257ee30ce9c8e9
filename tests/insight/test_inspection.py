"""What is looked at: cropped to what fits, with the truth of the same pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.data.normalise import standardise
from unetkit.data.planes import around
from unetkit.image import Image
from unetkit.inference.input import InputImage
from unetkit.insight import inspection as inspection_module
from unetkit.insight.inspection import inspect_array, inspect_image, inspect_noise
from unetkit.io import write, write_labels
from unetkit.io.resample import to_size
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def net_of(**options: Any) -> Any:
    torch.manual_seed(0)
    return build(Architecture(**{"widths": (4, 6, 8), **options}))


def card_of(net: Any, **options: Any) -> Card:
    labels = LabelKind("binary", (0, 255), None, "masks hold 0 and 255")
    return Card(architecture=net.architecture.to_dict(), classes=["background", "cell"], labels=labels, **options)


@pytest.mark.parametrize("have, expected", [((37, 42), (36, 40)), ((40, 40), (40, 40))])
def test_an_image_is_cropped_to_its_middle_that_fits(have: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.arange(have[0] * have[1], dtype=np.float32).reshape(1, *have)
    truth = image[0].astype(np.int64) % 3
    found = inspect_array(net_of(), image, name="net", source="a.png", truth=truth)
    assert found.size == expected
    start = tuple((n - m) // 2 for n, m in zip(have, expected, strict=True))
    part = tuple(slice(a, a + m) for a, m in zip(start, expected, strict=True))
    np.testing.assert_array_equal(found.image[0, 0].numpy(), image[0][part])
    assert found.truth is not None
    np.testing.assert_array_equal(found.truth, truth[part])
    assert found.source == ("a.png" if have == expected else "a.png, its middle 36 x 40 pixels")


def test_the_truth_of_an_unpadded_net_is_that_of_the_pixels_it_predicts() -> None:
    net = net_of(padding="valid", norm="none")
    truth = np.arange(60 * 60).reshape(60, 60) % 5
    found = inspect_array(net, np.zeros((1, 60, 60), np.float32), name="net", source="a", truth=truth)
    assert found.output_truth is not None
    assert found.output_truth.shape == tuple(found.logits().shape[2:])
    margin = net.geometry.margin[0][0]
    assert found.truth is not None
    assert found.output_truth[0, 0] == found.truth[margin, margin]


def test_what_costs_too_much_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_of()
    image = np.zeros((1, 64, 256), np.float32)
    assert inspect_array(net, image, name="n", source="a").size == (64, 256)
    monkeypatch.setattr(inspection_module, "_MOST_MACS", 4 * 10**6)
    small = inspect_array(net, image, name="n", source="a")
    assert small.size[1] < 128
    assert "its middle" in small.source
    assert net.geometry.fits(small.size)


def test_volumes_for_a_2d_net_are_seen_by_their_planes(tmp_path: Path) -> None:
    net = net_of(in_channels=3)
    volume = np.random.default_rng(0).integers(0, 200, (1, 6, 16, 20)).astype(np.uint8)
    labels = np.zeros((6, 16, 20), np.uint8)
    labels[4, 3:9, 3:9] = 255
    write(tmp_path / "a.tif", Image(volume, "czyx", (1.0,) * 3, "px"))
    write_labels(tmp_path / "m.tif", Image(labels, "zyx", (1.0,) * 3, "px"))
    found = inspect_image(net, card_of(net, planes=3), (tmp_path / "a.tif",), mask=tmp_path / "m.tif", name="n")
    np.testing.assert_array_equal(found.image[0].numpy(), around(standardise(volume), 4, 3))
    assert found.source == "a.tif, plane 4"
    assert found.truth is not None
    np.testing.assert_array_equal(found.truth, labels[4] // 255)
    assert found.classes == ("background", "cell")


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_image_of_another_pixel_size_is_resampled_as_for_prediction(tmp_path: Path, ndim: int) -> None:
    net, axes = net_of(ndim=ndim), {2: "cyx", 3: "czyx"}[ndim]
    card = card_of(net, spacing=[0.5] * ndim, unit="µm", resample=True)
    size, spacing = (12, 16, 20)[-ndim:], (1.0,) * ndim
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 200, (1, *size)).astype(np.uint8), 255 * rng.integers(0, 2, size).astype(np.uint8)
    write(tmp_path / "a.tif", Image(pixels, axes, spacing, "µm"))
    write_labels(tmp_path / "m.tif", Image(labels, axes[1:], spacing, "µm"))
    inspection = inspect_image(net, card, (tmp_path / "a.tif",), mask=tmp_path / "m.tif", name="n")
    assert inspection.size == tuple(2 * n for n in size)
    with InputImage.open((tmp_path / "a.tif",), net, card) as image:
        expected = image(tuple(slice(0, n) for n in image.size))
    torch.testing.assert_close(inspection.image[0], expected, rtol=0, atol=0)
    assert inspection.truth is not None
    np.testing.assert_array_equal(inspection.truth, to_size(labels // 255, inspection.size))
    (note,) = inspection.notes
    assert f"pixels of {' x '.join(['1'] * ndim)} µm" in note
    assert f"the {' x '.join(['0.5'] * ndim)} µm of the model, {' x '.join(map(str, inspection.size))} pixels" in note
    alike = inspect_image(net, card.model_copy(update={"spacing": [1.05] * ndim}), (tmp_path / "a.tif",), name="n")
    assert (alike.size, alike.notes) == (size, ())


def test_noise_stands_in_for_an_image() -> None:
    found = inspect_noise(net_of(ndim=3, in_channels=2), name="n")
    assert found.is_noise
    assert not found.is_trained
    assert found.image.shape == (1, 2, 64, 64, 64)
    assert inspect_noise(nn.Conv2d(1, 1, 3), name="own").ndim == 2


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    net = net_of()
    with pytest.raises(ValueError, match=r"the image has the shape \(2, 16, 16\); this 2D net takes 1 channels"):
        inspect_array(net, np.zeros((2, 16, 16), np.float32), name="n", source="a")
    with pytest.raises(ValueError, match="the image has 3 x 30 pixels; the smallest that this net takes is 4 x 4"):
        inspect_array(net, np.zeros((1, 3, 30), np.float32), name="n", source="a")
    with pytest.raises(ValueError, match=r"the truth has \(8, 9\) pixels, the image \(8, 8\)"):
        inspect_array(net, np.zeros((1, 8, 8), np.float32), name="n", source="a", truth=np.zeros((8, 9), np.uint8))
    write(tmp_path / "a.png", Image(np.zeros((1, 16, 16), np.uint8), "cyx", (1.0, 1.0), "px"))
    write_labels(tmp_path / "m.png", Image(np.zeros((16, 18), np.uint8), "yx", (1.0, 1.0), "px"))
    with pytest.raises(ValueError, match=r"a.png: is \(16, 16\) pixels, its mask .*m.png \(16, 18\)"):
        inspect_image(net, card_of(net), (tmp_path / "a.png",), mask=tmp_path / "m.png", name="n")
