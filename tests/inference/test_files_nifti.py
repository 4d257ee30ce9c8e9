"""Volumes of medical imaging: masks of the same name, size, affine and orientation, and a file per channel."""

import nibabel
import numpy as np
import pytest
import torch

from unetkit import io
from unetkit.image import Image
from unetkit.inference.predictor import load_model
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet


def model(folder, **options):
    torch.manual_seed(1)
    architecture = Architecture(widths=(2, 4), out_channels=2, **options)
    net = UNet(architecture)
    kind = LabelKind("binary", (0, 1))
    folder.mkdir()
    save_model(
        folder / "model.safetensors", net, Card(architecture=architecture.to_dict(), classes=["a", "b"], labels=kind)
    )
    return folder


def volume(path, seed=0, affine=None):
    array = np.random.default_rng(seed).normal(size=(9, 10, 12)).astype(np.float32)
    picture = nibabel.Nifti1Image(array, np.diag([-0.5, 2, 1, 1]) if affine is None else affine)
    picture.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(exist_ok=True)
    nibabel.save(picture, path)
    return path


@pytest.mark.parametrize("name", ["scan.1.nii.gz", "scan.nii"])
def test_a_mask_lies_where_its_volume_lies(tmp_path, name):
    affine = np.array([[0, 0, -2.0, 4], [0.5, 0, 0, -3], [0, -1, 0, 9], [0, 0, 0, 1]])
    source = volume(tmp_path / "in" / name, affine=affine)
    (done,) = load_model(model(tmp_path / "run", ndim=3)).predict_files([source.parent], tmp_path / "out")
    assert done.mask == tmp_path / "out" / name
    mask, stored = nibabel.load(done.mask), nibabel.load(source)
    assert mask.shape == stored.shape == (9, 10, 12)
    assert np.array_equal(mask.affine, stored.affine)
    assert mask.header.get_xyzt_units() == ("mm", "sec")
    assert mask.header.get_zooms() == stored.header.get_zooms()
    assert mask.get_data_dtype() == np.uint8


def test_the_orientation_of_the_file_does_not_change_the_mask(tmp_path):
    run = model(tmp_path / "run", ndim=3)
    source = volume(tmp_path / "in" / "a.nii.gz")
    turned = nibabel.load(source).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nibabel.save(turned, tmp_path / "in" / "b.nii.gz")
    load_model(run).predict_files([tmp_path / "in"], tmp_path / "out")
    masks = [nibabel.as_closest_canonical(nibabel.load(tmp_path / "out" / f"{name}.nii.gz")) for name in "ab"]
    assert np.array_equal(*(np.asanyarray(mask.dataobj) for mask in masks))
    assert np.asanyarray(masks[0].dataobj).any()


@pytest.mark.parametrize("channels", [1, 2])
def test_files_of_channels_are_one_image(tmp_path, channels):
    run = model(tmp_path / "run", ndim=3, in_channels=channels)
    folder = tmp_path / "in"
    for case in ("x", "y"):
        for channel in range(channels):
            volume(folder / f"{case}_{channel:04d}.nii.gz", seed=channel)
    done = load_model(run).predict_files([folder], tmp_path / "out")
    assert [one.mask.name for one in done] == ["x.nii.gz", "y.nii.gz"]
    assert [one.source.name for one in done] == ["x_0000.nii.gz", "y_0000.nii.gz"]
    stacked = np.concatenate([io.read(folder / f"x_{channel:04d}.nii.gz").array for channel in range(channels)])
    whole = tmp_path / "whole.nii.gz"
    io.write(whole, Image(stacked, "czyx", (1.0,) * 3))
    (alone,) = load_model(run).predict_files([whole], tmp_path / "out")
    assert np.array_equal(io.read_labels(alone.mask).array, io.read_labels(done[0].mask).array)


def test_missing_channels_are_named(tmp_path):
    run = model(tmp_path / "run", ndim=3, in_channels=2)
    for name in ("x_0000", "x_0001", "y_0001"):
        volume(tmp_path / "in" / f"{name}.nii.gz")
    with pytest.raises(ValueError, match=r"1 unusable case:\n.*in/y: y_0000\.nii\.gz missing; has 1 of 2 channels"):
        load_model(run).predict_files([tmp_path / "in"], tmp_path / "out")


def test_numbers_that_are_not_those_of_channels(tmp_path):
    """Frames of a film keep their names: more numbers than channels, or files that hold all channels themselves."""
    run = model(tmp_path / "run", in_channels=2)
    (tmp_path / "in").mkdir()
    for frame in range(2):
        array = np.random.default_rng(frame).integers(0, 255, (2, 16, 20), dtype=np.uint8)
        io.write(tmp_path / "in" / f"film_{frame:04d}.tif", Image(array, "cyx", (1.0, 1.0)))
    done = load_model(run).predict_files([tmp_path / "in"], tmp_path / "out")
    assert [one.mask.name for one in done] == ["film_0000.tif", "film_0001.tif"]
    gray = model(tmp_path / "gray")
    for frame in range(3):
        array = np.random.default_rng(frame).integers(0, 255, (1, 16, 20), dtype=np.uint8)
        io.write(tmp_path / "in" / f"film_{frame:04d}.tif", Image(array, "cyx", (1.0, 1.0)))
    done = load_model(gray).predict_files([tmp_path / "in"], tmp_path / "gray_out")
    assert [one.mask.name for one in done] == [f"film_{frame:04d}.tif" for frame in range(3)]


def test_a_damaged_channel_is_named_with_the_others(tmp_path):
    run = model(tmp_path / "run", ndim=3, in_channels=2)
    for name in ("x_0000", "x_0001", "y_0000", "y_0001"):
        volume(tmp_path / "in" / f"{name}.nii.gz")
    for name in ("x_0000", "y_0001"):
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2 unusable images:") as caught:
        load_model(run).predict_files([tmp_path / "in"], tmp_path / "out")
    assert "x_0000.nii.gz: empty file" in str(caught.value)
    assert f"\n  {tmp_path / 'in' / 'y_0001.nii.gz'}: empty file" in str(caught.value)
