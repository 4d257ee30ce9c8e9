"""Arrays in, labels out: the same as files give, in 2D, 3D and plane by plane, for models and for any Module."""

import numpy as np
import pytest
import torch
from torch import nn

from unetkit import io
from unetkit.image import Image
from unetkit.inference.execution import Execution
from unetkit.inference.outputs import Outputs
from unetkit.inference.predictor import Predictor, load_model
from unetkit.labels.instances import InstanceThresholds
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

CLASSES = LabelKind("classes", (0, 7, 300))


def model(path, *, labels=CLASSES, about=None, seed=1, **options):
    """A net with random weights whose masks have structure everywhere, as a model file."""
    torch.manual_seed(seed)
    architecture = Architecture(widths=(4, 8), out_channels=len(labels.values), **options)
    net = UNet(architecture)
    with torch.no_grad():
        net.heads[0].weight.mul_(100)
    card = Card(architecture=architecture.to_dict(), classes=["c"] * len(labels.values), labels=labels, **(about or {}))
    save_model(path, net, card)
    return path


def smooth(size, channels=1, seed=0):
    values = np.random.default_rng(seed).normal(size=(channels, *size)).cumsum(-1).cumsum(-2)
    return ((values - values.min()) / np.ptp(values) * 255).astype(np.uint8)


CASES = {
    "2D": ({}, {}, (50, 61)),
    "valid": ({"padding": "valid"}, {}, (50, 61)),
    "3D": ({"ndim": 3}, {}, (9, 21, 18)),
    "planes": ({"in_channels": 3}, {"planes": 3}, (4, 30, 25)),
    "tta": ({}, {}, (50, 61)),
    "streamed": ({}, {}, (600, 500)),
}


@pytest.mark.parametrize("case", CASES)
def test_an_array_gives_the_mask_that_its_file_gives(case, tmp_path):
    options, about, size = CASES[case]
    file = model(tmp_path / "m.safetensors", about=about, **options)
    predictor = load_model(file, Execution(tta=case == "tta"))
    array = smooth(size)
    io.write(tmp_path / "a.tif", Image(array, {2: "cyx", 3: "czyx"}[len(size)], (1.0,) * len(size)))
    (done,) = predictor.predict_files([tmp_path / "a.tif"], tmp_path / "out")
    expected = io.read_labels(done.mask).array
    for image in (array, array[0], torch.from_numpy(array), array.astype(np.float64)):
        result = predictor(image)
        assert np.array_equal(result.labels, expected)
    assert result.probabilities is None
    assert result.logits is None
    assert len(np.unique(expected)) > 1


def test_objects_are_those_of_the_file(tmp_path):
    labels = LabelKind("instances", (0, 1)).with_distance(4)
    about = {"decoding": InstanceThresholds()}
    predictor = load_model(model(tmp_path / "m.safetensors", labels=labels, about=about))
    array = smooth((90, 80))
    io.write(tmp_path / "a.tif", Image(array, "cyx", (1.0, 1.0)))
    (done,) = predictor.predict_files([tmp_path / "a.tif"], tmp_path / "out")
    result = predictor(array, Outputs(probabilities=True, uncertainty=True))
    assert np.array_equal(result.labels, io.read_labels(done.mask).array)
    assert result.labels.max() > 1
    assert result.probabilities.shape == (2, 90, 80)
    assert result.probabilities.dtype == np.float32
    np.testing.assert_allclose(result.probabilities.sum(0), 1, atol=1e-5)
    assert 0 <= result.uncertainty.min() <= result.uncertainty.max() <= 1


def test_maps_are_calibrated_and_those_of_the_files(tmp_path):
    predictor = load_model(model(tmp_path / "m.safetensors", about={"temperature": 40.0}))
    array, outputs = smooth((40, 50)), Outputs(probabilities=True, uncertainty=True)
    io.write(tmp_path / "a.tif", Image(array, "cyx", (1.0, 1.0)))
    predictor.predict_files([tmp_path / "a.tif"], tmp_path / "out", outputs=outputs)
    result = predictor(array, outputs)
    for folder, values in (("probability_7", result.probabilities[1]), ("uncertainty", result.uncertainty)):
        percent = io.read_labels(tmp_path / "out" / folder / "a.tif").array
        assert np.abs(percent - 100 * values).max() <= 0.51


def test_an_image_keeps_its_spacing_and_is_resampled_to_that_of_the_training(tmp_path):
    about = {"resample": True, "spacing": [1.0, 1.0], "unit": "µm"}
    predictor = load_model(model(tmp_path / "m.safetensors", about=about))
    image = Image(smooth((80, 64)), "cyx", (500.0, 500.0), "nm")
    io.write(tmp_path / "a.tif", image)
    (done,) = predictor.predict_files([tmp_path / "a.tif"], tmp_path / "out")
    labels = predictor(image).to_image()
    assert np.array_equal(labels.array, io.read_labels(done.mask).array)
    assert (labels.axes, labels.spacing, labels.unit) == ("yx", (500.0, 500.0), "nm")
    assert not np.array_equal(labels.array, predictor(image.array).labels)  # an array is taken to have the usual size
    io.write_labels(tmp_path / "mask.tif", labels)
    assert io.read_labels(tmp_path / "mask.tif").unit in ("nm", "µm")


def test_several_models_are_an_ensemble(tmp_path):
    files = [model(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2)]
    array, outputs = smooth((40, 50)), Outputs(probabilities=True)
    each = [load_model(file)(array, outputs).probabilities for file in files]
    both = load_model(files)(array, outputs)
    np.testing.assert_allclose(both.probabilities, np.mean(each, 0), atol=1e-5)
    other = model(tmp_path / "other.safetensors", labels=LabelKind("binary", (0, 255)))
    with pytest.raises(ValueError, match=r"other\.safetensors: its architecture is not that of .*1\.safetensors"):
        load_model([files[0], other])


# --- any Module ---


class Foreign(nn.Module):
    def __init__(self, ndim):
        super().__init__()
        conv, pool = {2: (nn.Conv2d, nn.MaxPool2d), 3: (nn.Conv3d, nn.MaxPool3d)}[ndim]
        self.first, self.second = conv(2, 6, 3, padding=1), conv(6, 6, 3, padding=1)
        self.pool, self.up, self.last = pool(2), nn.Upsample(scale_factor=2), conv(12, 3, 1)

    def forward(self, x):
        skip = self.first(x).relu()
        deep = self.up(self.second(self.pool(skip)).relu())
        return self.last(torch.cat([skip, deep], 1))


@pytest.mark.parametrize(
    ("ndim", "size", "memory"), [(2, (64, 48), 2**31), (2, (640, 512), 2**23), (3, (16, 24, 20), 2**31)]
)
def test_a_module_of_ones_own_gives_its_raw_output(ndim, size, memory):
    torch.manual_seed(0)
    module = Foreign(ndim).eval()
    array = smooth(size, channels=2).astype(np.float32) / 255
    predictor = Predictor(module, execution=Execution(memory_bytes=memory))
    result = predictor(array)
    with torch.no_grad():
        expected = module(torch.from_numpy(array)[None])[0].numpy()
    np.testing.assert_allclose(result.logits, expected, rtol=1e-4, atol=1e-4)
    assert (result.labels != expected.argmax(0)).mean() < 1e-3
    assert predictor.net.module is module
    assert predictor.card is None
    assert module.first.weight.is_contiguous()  # the module itself is left as it was


def test_a_module_without_a_card_reads_no_files(tmp_path):
    with pytest.raises(ValueError, match="has no card"):
        Predictor(Foreign(2)).predict_files([tmp_path], tmp_path / "out")


def test_a_module_that_cannot_be_read_is_refused():
    class Flat(nn.Module):
        def forward(self, x):
            return x.flatten(1)

    with pytest.raises(ValueError, match=r"returns a tensor of shape \(1, 129032\)"):
        Predictor(nn.Sequential(nn.Conv2d(1, 2, 3), Flat()))


# --- refused ---


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros(5), ValueError, r"shape \(5,\); expected \(1, y, x\) or \(y, x\)"),
        (np.zeros((1, 2, 8, 8)), ValueError, r"shape \(1, 2, 8, 8\); expected \(1, y, x\)"),
        (np.zeros((2, 8, 8)), ValueError, r"shape \(2, 8, 8\); expected \(1, y, x\)"),
        (np.zeros((40, 50, 3)), ValueError, r"shape \(40, 50, 3\); .*move the last axis to the front"),
        (np.zeros((0, 8)), ValueError, r"shape \(0, 8\) is empty"),
        (np.zeros((8, 8), complex), TypeError, r"dtype complex128; expected real numbers"),
        (np.full((8, 8), None), TypeError, r"dtype object; expected real numbers"),
        (np.full((8, 8), np.nan), ValueError, r"64 of 64 values are NaN or infinite"),
        (Image(np.zeros((1, 4, 8, 8)), "czyx", (1.0,) * 3), ValueError, r"shape \(1, 4, 8, 8\); expected \(1, y, x\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_not_an_image_for_the_model(tmp_path, image, error, message):
    with pytest.raises(error, match=message):
        load_model(model(tmp_path / "m.safetensors"))(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_bytes": 0}, "memory_bytes is 0"),
        ({"engine": "fast"}, "engine is 'fast'; expected one of auto, torch"),
        ({"device": "tpu"}, "device is 'tpu'; expected auto, cpu, cuda, mps or xpu"),
        ({"device": "mps", "engine": "compiled"}, "engine compiled does not compute on mps: use engine torch"),
        ({"device": "xpu", "engine": "int8"}, "engine int8 does not compute on xpu: use engine torch"),
        ({"device": "cuda", "engine": "int8"}, "int8 computes on the processor"),
        ({"level": 0}, "level is 0; expected 1"),
    ],
)
def test_an_execution_checks_itself(options, message):
    with pytest.raises(ValueError, match=message):
        Execution(**options)


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device here"):
        Predictor(Foreign(2), execution=Execution(device="cuda"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    for device, name in (("mps", "GPU of Apple"), ("xpu", "GPU of Intel")):
        with pytest.raises(ValueError, match=f"device is '{device}', but torch finds no {name}"):
            Predictor(Foreign(2), execution=Execution(device=device))
        assert Execution().find_device() == "cpu"


def test_other_gpus_are_taken_by_name_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert Execution(device="mps").find_device() == "mps"
    assert Execution().find_device() == "cpu"
