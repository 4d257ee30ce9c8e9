"""A file per channel gives the image that one file with all channels gives; what does not fit is named."""

from dataclasses import replace

import numpy as np
import pytest

from unetkit import io
from unetkit.data.channels import distance_voxels, misplacement, read_channels
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.image import Image, WorldAffine

RAS = ((1.0, 0.0, 0.0, 5.0), (0.0, 1.0, 0.0, 6.0), (0.0, 0.0, 2.0, 7.0), (0.0, 0.0, 0.0, 1.0))
LPS = ((-1.0, 0.0, 0.0, 9.0), (0.0, -1.0, 0.0, 9.0), (0.0, 0.0, 2.0, 7.0), (0.0, 0.0, 0.0, 1.0))
SIZE = (3, 4, 5)


def volume(seed=0, dtype=np.int16, size=SIZE, affine=RAS, orientation="RAS"):
    array = np.random.default_rng(seed).integers(0, 100, (1, *size)).astype(dtype)
    return Image(array, "czyx", (2.0, 1.0, 1.0), "mm", place=WorldAffine(affine, orientation, size))


def moved(by):
    rows = np.array(RAS)
    rows[:3, 3] += by
    return tuple(map(tuple, rows.tolist()))


def turned():
    """The affine of a volume stored to the left and to the back, about the world's origin."""
    return tuple(map(tuple, (np.diag([-1.0, -1, 1, 1]) @ np.array(RAS)).tolist()))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_stacked_in_order(tmp_path, ndim, channels):
    size = (6, 7, 8)[-ndim:]
    whole = np.random.default_rng(0).integers(0, 255, (channels, *size), dtype=np.uint8)
    axes, spacing = "c" + "zyx"[-ndim:], (1.5, 0.5, 0.25)[-ndim:]
    files = [tmp_path / f"a_{channel:04d}.tif" for channel in range(channels)]
    for file, channel in zip(files, whole, strict=True):
        io.write(file, Image(channel[None], axes, spacing, "µm"))
    image = read_channels(files)
    assert np.array_equal(image.array, whole)
    assert (image.axes, image.spacing, image.unit) == (axes, pytest.approx(spacing), "µm")
    assert image.notes == ((f"{channels} channels, each a file of its own",) if channels > 1 else ())


def test_the_place_of_the_first_and_a_dtype_for_all(tmp_path):
    files = [tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"]
    for file, image in zip(files, (volume(0), volume(1, np.float32)), strict=True):
        io.write(file, image)
    image = read_channels(files)
    assert image.array.dtype == np.float32
    assert image.place == io.read(files[0]).place
    assert np.array_equal(image.array[:1], volume(0).array)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (volume(size=(3, 4, 6)), r"b\.nii: one channel of .*a\.nii, but it has size \(3, 4, 6\), not \(3, 4, 5\)"),
        (
            replace(volume(), spacing=(2.0, 1.0, 1.1), place=None),
            r"b\.nii: one channel of .*a\.nii, but it has spacing \(2, 1, 1\.1\) mm, not \(2, 1, 1\) mm; resample",
        ),
        (
            replace(volume(), unit="µm", place=None),
            r"b\.nii: one channel of .*a\.nii, but it has spacing \(2, 1, 1\) µm, not \(2, 1, 1\) mm; resample",
        ),
    ],
)
def test_grids_that_differ_are_named(tmp_path, other, message):
    io.write(tmp_path / "a.nii", volume())
    io.write(tmp_path / "b.nii", other)
    with pytest.raises(ValueError, match=message) as caught:
        read_channels([tmp_path / "a.nii", tmp_path / "b.nii"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("by", "is_said"), [(0.4, False), (1.5, True)])
def test_channels_that_lie_apart_are_said(tmp_path, by, is_said):
    io.write(tmp_path / "a.nii", replace(volume(), place=WorldAffine(RAS, "RAS", SIZE, pixdim=(1.0, 1.0, 1.0, 2.0))))
    io.write(
        tmp_path / "b.nii", replace(volume(), place=WorldAffine(moved(by), "RAS", SIZE, pixdim=(1.0, 1.0, 1.0, 2.0)))
    )
    notes = read_channels([tmp_path / "a.nii", tmp_path / "b.nii"]).notes
    assert ("by their headers the files of the channels lie a voxel or more apart: stacked as they are" in notes) is (
        is_said
    )


# --- where things lie ---


def test_the_same_place_stored_in_two_orientations_is_not_apart():
    assert distance_voxels(volume(), volume(affine=LPS, orientation="LPS")) == 0
    assert misplacement(volume(), volume(affine=LPS, orientation="LPS")) == ""


def test_a_shift_is_measured_in_voxels():
    assert distance_voxels(volume(), volume(affine=moved(3.0))) == pytest.approx(3 * np.sqrt(3))
    longer = ((1.1, 0.0, 0.0, 5.0), *RAS[1:])  # along x, of 5 voxels: 4 steps of 0.1 too far
    assert distance_voxels(volume(), volume(affine=longer)) == pytest.approx(0.4)
    assert distance_voxels(volume(), replace(volume(), place=None)) == 0
    assert misplacement(volume(), volume(affine=moved(3.0))) == ""  # shifted but not turned


def test_a_lost_header_is_noticed(tmp_path):
    # The same pixels in the same order, but the mask says R where the image says L: read, it would be turned.
    lost, image = volume(), volume(affine=turned(), orientation="LPS")
    assert "is stored RAS, its image LPS, and their affines put them" in misplacement(image, lost)


def test_training_reads_files_of_channels_and_names_masks_that_are_turned(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for case in "ab":
        for channel in range(2):
            io.write(tmp_path / "images" / f"{case}_{channel:04d}.nii.gz", volume(channel))
        labels = np.zeros(SIZE, np.uint8)
        labels[1] = 1
        io.write_labels(tmp_path / "masks" / f"{case}.nii.gz", labels, like=volume())
    data = load_dataset(find_pairs(tmp_path))
    assert (data.channels, data.ndim, [case.name for case in data.cases]) == (2, 3, ["a", "b"])
    assert data.cases[0].image.shape == (2, *SIZE)
    assert "2 files: 2 channels, each a file of its own" in data.notes

    like = replace(volume(), place=WorldAffine(turned(), "LPS", SIZE))
    io.write_labels(tmp_path / "masks" / "b.nii.gz", labels, like=like)
    with pytest.raises(ValueError, match=r"1 unusable file:\n.*masks/b\.nii\.gz: is stored LPS, its image RAS"):
        load_dataset(find_pairs(tmp_path))
